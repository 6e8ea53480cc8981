# SPDX-License-Identifier: GPL-3.0-or-later
"""The file list of a release: what may stand in it, how a directory becomes one, and how a directory differs from one.

The list is a JSON object of its own, {"entries": [...], "format": 1}, canonical, named by its sha256 in the manifest.
An entry is {path, type: "dir", mode}, {path, type: "file", mode, size, sha256} or {path, type: "symlink", mode,
target}; entries are sorted by the UTF-8 bytes of their paths, and each parent directory has an entry of its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from ..base import canonical
from ..base.errors import Refusal, shown
from ..base.fields import SHA256
from ..base.files import sha256_of_open

FORMAT: Final = 1
FILE: Final = "file"
DIRECTORY: Final = "dir"
SYMLINK: Final = "symlink"
PLAIN_MODE: Final = 0o644
EXECUTABLE_MODE: Final = 0o755
DIRECTORY_MODE: Final = 0o755
SYMLINK_MODE: Final = 0o777
MAX_FILE_LIST_BYTES: Final = 256 << 20
MAX_PATH_BYTES: Final = 3072
MAX_NAME_BYTES: Final = 255
MAX_LEVELS: Final = 128
MAX_TARGET_BYTES: Final = 1024

# C0 and C1 controls, line and paragraph separators, and the characters that reorder or hide text (UAX 9, UTR 36).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
# Nearly all paths are like this: printable ASCII without a backslash, and no segment that is empty, . or ..
_PLAIN = re.compile(r"(?:(?:\A|(?<=.)/)(?!\.{1,2}(?:/|\Z))[ -.0-\[\]-~]{1,100}){1,20}\Z")
_PRIVILEGES: Final = {
    "security.capability": "file_capability",
    "system.posix_acl_access": "file_acl",
    "system.posix_acl_default": "file_acl",
}
_READ_ONCE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


DIFFERENCES: Final = {
    "file_missing": "It is in the signed file list and not there.",
    "file_extra": "It is there and not in the signed file list.",
    "file_content": "Its bytes are others.",
    "file_size": "It is longer or shorter.",
    "file_mode": "Its mode is another.",
    "file_setid": "It has a set-uid, set-gid or sticky bit.",
    "file_owner": "It belongs to somebody else.",
    "file_acl": "An access control list gives rights that its mode does not show.",
    "file_capability": "It gives capabilities to whoever runs it.",
    "file_type": "It is another kind of file: a link, a directory, a FIFO, a socket or a device.",
    "link_target": "The symbolic link leads somewhere else.",
    "file_unreadable": "It cannot be opened or read, so that nothing can be said of it.",
    "shared_path_taken": "It is a shared path of the application, and the release brings something there.",
}


class Entry(NamedTuple):
    """One path of a release; `size` and `sha256` are a file's, `target` a symlink's."""

    path: str
    type: str
    mode: int
    size: int = 0
    sha256: str = ""
    target: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as it stands in the file list."""
        value: dict[str, Any] = {"mode": self.mode, "path": self.path, "type": self.type}
        if self.type == FILE:
            value["sha256"] = self.sha256
            value["size"] = self.size
        elif self.type == SYMLINK:
            value["target"] = self.target
        return value


class Difference(NamedTuple):
    """Where a directory is not what its file list says: the problem in words, and its stable code of DIFFERENCES."""

    path: str
    problem: str
    code: str


# In JSON a quotation mark within a string has a backslash before it, so this is a member and nothing within a path.
_OBJECT_NAME = re.compile(rb'"sha256":"([0-9a-f]{64})"')


@dataclass(frozen=True)
class FileList:
    """The checked entries of a release, in order."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        _require_sound(self.entries)

    @classmethod
    def parse(cls, data: bytes, *, digest: str, limit: int = MAX_FILE_LIST_BYTES) -> FileList:
        """Read the file list whose sha256 is `digest` and whose length is at most `limit`, or raise Refusal."""
        if len(data) > limit:
            raise _altered(f"at most {limit} bytes", f"{len(data)} bytes")
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise _altered(f"the file list with the sha256 {digest}", found)
        document = canonical.parse_canonical(data, what="file list", limit=limit)
        if not isinstance(document, dict) or set(document) != {"entries", "format"}:
            _malformed("an object with entries and format", document)
        if document["format"] != FORMAT or type(document["format"]) is not int:
            _malformed(f"format {FORMAT}", document["format"])
        if not isinstance(document["entries"], list):
            _malformed("entries as an array", document["entries"])
        return cls(tuple([_entry(item) for item in document["entries"]]))

    def encode(self) -> bytes:
        """Return the canonical bytes that `digest` names."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return canonical.encode({"entries": [entry.as_dict() for entry in self.entries], "format": FORMAT})

    @cached_property
    def digest(self) -> str:
        """The sha256 of the encoded list: the subject `tree` of the manifest."""
        return hashlib.sha256(self._encoded).hexdigest()

    @cached_property
    def files(self) -> tuple[Entry, ...]:
        """The regular files, in order."""
        return tuple([entry for entry in self.entries if entry.type == FILE])

    @staticmethod
    def names_in(data: bytes, *, digest: str) -> frozenset[str]:
        """The `object_names` of the file list with this sha256 without its entries, which takes a fiftieth of the time; or raise Refusal.

        Only for what decides nothing: bytes that are no file list have no names, or wrong ones.
        """
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise _altered(f"the file list with the sha256 {digest}", found)
        return frozenset(name.decode("ascii") for name in _OBJECT_NAME.findall(data))

    @cached_property
    def object_names(self) -> frozenset[str]:
        """The sha256 of every content that the release needs."""
        return frozenset([entry.sha256 for entry in self.files])

    @cached_property
    def total_bytes(self) -> int:
        """The bytes in all regular files."""
        return sum(entry.size for entry in self.entries)


def _altered(expected: str, found: str) -> Refusal:
    return Refusal(
        "file_list_altered",
        expected=expected,
        found=found,
        remedy="Fetch the release again; its file list is not the one that was signed.",
    )


def _malformed(expected: str, found: object) -> NoReturn:
    raise Refusal(
        "file_list_malformed",
        expected=f"file list: {expected}",
        found=shown(found),
        remedy="Build the release again.",
    )


_MEMBERS: Final = {
    DIRECTORY: frozenset({"path", "type", "mode"}),
    FILE: frozenset({"path", "type", "mode", "size", "sha256"}),
    SYMLINK: frozenset({"path", "type", "mode", "target"}),
}
_MODES: Final = {
    DIRECTORY: frozenset({DIRECTORY_MODE}),
    FILE: frozenset({PLAIN_MODE, EXECUTABLE_MODE}),
    SYMLINK: frozenset({SYMLINK_MODE}),
}


def _entry(item: Any) -> Entry:
    if not isinstance(item, dict):
        _malformed("each entry as an object", item)
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        _malformed("type file, dir or symlink", kind)
    if item.keys() != _MEMBERS[kind]:
        _malformed(f"the members {', '.join(sorted(_MEMBERS[kind]))} of a {kind}", sorted(item))
    texts = (item["path"], item.get("sha256", ""), item.get("target", ""))
    if not all(isinstance(text, str) for text in texts):
        _malformed("path, sha256 and target as strings", item)
    numbers = (item["mode"], item.get("size", 0))
    if not all(type(number) is int and number >= 0 for number in numbers):
        _malformed("mode and size as integers from 0", item)
    return Entry(texts[0], kind, numbers[0], numbers[1], texts[1], texts[2])


def _require_sound(entries: Iterable[Entry]) -> None:
    """Refuse entries that two programs could understand differently, or that reach out of the tree."""
    kinds: dict[str, str] = {}
    folded: dict[str, str] = {}
    previous = ""
    for entry in entries:
        path = entry.path
        require_path(path)
        if path <= previous:  # code point order is the order of the UTF-8 bytes
            _refuse_entry("path_order", "paths once each, sorted by their UTF-8 bytes", f"{path} after {previous}")
        fold = _fold(path)
        if fold in folded:
            _refuse_entry("path_twin", "paths that differ in more than case or Unicode form", f"{folded[fold]}, {path}")
        parent = path.rpartition("/")[0]
        if parent and kinds.get(parent) != DIRECTORY:
            _refuse_entry("path_parent", f"{parent} listed as a directory before {path}", kinds.get(parent, "nothing"))
        if entry.mode not in _MODES[entry.type]:
            _refuse_entry("mode_unsafe", f"{path}: mode {_octal(_MODES[entry.type])}", f"{entry.mode:04o}")
        if entry.type == FILE and not SHA256.match(entry.sha256):
            _malformed(f"{path}: sha256 as 64 lower-case hex digits", entry.sha256)
        kinds[path] = entry.type
        folded[fold] = path
        previous = path
    _require_links_inside({entry.path: entry.target for entry in entries if entry.type == SYMLINK}, kinds)


def _octal(modes: Iterable[int]) -> str:
    return " or ".join(f"{mode:04o}" for mode in sorted(modes))


def _refuse_entry(reason: str, expected: str, found: str) -> NoReturn:
    raise Refusal(
        reason,
        expected=expected,
        found=found,
        remedy="Rename, replace or remove that file in the source and build the release again.",
    )


def _fold(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def require_path(path: str) -> None:
    """Raise Refusal for a path that cannot stand in a release: relative, plain, printable, in one spelling, not too long."""
    if not _PLAIN.match(path):
        _require_encoding(path)
        _require_text(path)
        _require_size(path)


def _require_encoding(path: str) -> None:
    if path.isascii():
        return
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        _refuse_entry("path_not_utf8", "names in UTF-8", shown(path))
    if not unicodedata.is_normalized("NFC", path):
        _refuse_entry("path_not_nfc", "names in Unicode's form NFC", shown(path))


def _require_text(path: str) -> None:
    if _UNPRINTABLE.search(path):
        _refuse_entry("path_unprintable", "no control, invisible or reordering character in a path", shown(path))
    if path.startswith("/") or ".." in path.split("/"):
        _refuse_entry(
            "path_outside", "a path inside the release, neither absolute nor with the segment ..", shown(path)
        )
    if "\\" in path or {"", "."}.intersection(path.split("/")):
        _refuse_entry(
            "path_not_plain", "a path without backslash and without empty segments or the segment .", shown(path)
        )
    # Some programs take full-width dots and slashes for plain ones; NFKC shows which characters those are.
    compatible = path if path.isascii() else unicodedata.normalize("NFKC", path)
    alike = "\\" in compatible or compatible.count("/") != path.count("/")
    if alike or {"", ".", ".."}.intersection(compatible.split("/")):
        _refuse_entry(
            "path_lookalike", "no character that some programs take for a dot, slash or backslash", shown(path)
        )


def _require_size(path: str) -> None:
    names = path.encode("utf-8").split(b"/")
    size = len(names) - 1 + sum(map(len, names))
    if size > MAX_PATH_BYTES or len(names) > MAX_LEVELS or max(map(len, names)) > MAX_NAME_BYTES:
        most = f"at most {MAX_PATH_BYTES} bytes, {MAX_LEVELS} levels and {MAX_NAME_BYTES} bytes a name"
        _refuse_entry("path_too_long", most, f"{size} bytes and {len(names)} levels: {shown(path)}")


def _require_links_inside(links: Mapping[str, str], kinds: Mapping[str, str]) -> None:
    """Refuse links that leave the tree, dangle, run in a circle, or pass through another link."""
    for path in links:
        place, seen = path, {path}
        while place in links:
            place = _resolve(path, posixpath.dirname(place), links[place], kinds)
            if place in seen:
                _refuse_entry("link_circular", f"{path} to lead to a file or directory", "a circle of links")
            seen.add(place)


def _resolve(link: str, base: str, target: str, kinds: Mapping[str, str]) -> str:
    """Return the path in the tree that `target`, read in the directory `base`, means; "" is the root."""
    if len(target.encode("utf-8", "replace")) > MAX_TARGET_BYTES or _UNPRINTABLE.search(target) or "\\" in target:
        _refuse_entry("link_unsafe", f"{link} to have a short, printable target", shown(target))
    if target.startswith("/"):
        _refuse_entry("link_outside", f"{link} to have a relative target", shown(target))
    place = base
    for name in target.split("/"):
        if kinds.get(place, DIRECTORY) != DIRECTORY:
            _refuse_entry("link_through", f"{link} to pass through directories only", f"{place} on the way")
        if name == "..":
            if not place:
                _refuse_entry("link_outside", f"{link} to stay in the release", shown(target))
            place = posixpath.dirname(place)
        elif name == "":  # so is the only one of an empty target
            _refuse_entry("link_unsafe", f"{link} to have a plain target", shown(target))
        elif name != ".":
            place = f"{place}/{name}" if place else name
            if place not in kinds:
                _refuse_entry("link_dangling", f"{link} to lead to something in the release", shown(target))
    return place


def normal_mode(path: str, kind: str, mode: int) -> int:
    """Return the mode that a release gives a file of this mode; set-id and sticky bits are refused."""
    if mode & 0o7000 and kind != SYMLINK:
        _refuse_entry("mode_unsafe", f"{path} without set-uid, set-gid and sticky bits", f"mode {mode & 0o7777:04o}")
    if kind == FILE:
        return EXECUTABLE_MODE if mode & 0o111 else PLAIN_MODE
    return DIRECTORY_MODE if kind == DIRECTORY else SYMLINK_MODE


def nothing(_path: str) -> bool:
    """Skip nothing."""
    return False


def survey(directory: Path, skip: Callable[[str], bool] = nothing) -> list[Entry]:
    """List what stands in `directory`, sorted, without reading a file: sizes are as found, sha256 is still empty.

    `skip` says which paths are left out, directories with all below them. Special files and set-id bits are
    refused here; the rest, names too, is for `FileList` to judge.
    """
    entries: list[Entry] = []
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        with os.scandir(directory / parent) as children:
            for child in children:
                path = f"{parent}/{child.name}" if parent else child.name
                if skip(path):
                    continue
                entry = _surveyed(path, child)
                entries.append(entry)
                if entry.type == DIRECTORY:
                    waiting.append(path)
    return sorted(entries)


def _surveyed(path: str, child: os.DirEntry[str]) -> Entry:
    status = child.stat(follow_symlinks=False)
    kind = _kind(status.st_mode)
    if kind not in _MODES:
        _refuse_entry("file_special", f"{path} to be a file, directory or symbolic link", kind)
    mode = normal_mode(path, kind, stat.S_IMODE(status.st_mode))
    if kind == FILE:
        return Entry(path, kind, mode, size=status.st_size)
    target = os.readlink(child.path) if kind == SYMLINK else ""
    return Entry(path, kind, mode, target=target)


def _kind(mode: int) -> str:
    names = {
        stat.S_IFREG: FILE,
        stat.S_IFDIR: DIRECTORY,
        stat.S_IFLNK: SYMLINK,
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
        stat.S_IFBLK: "block device",
    }
    return names.get(stat.S_IFMT(mode), "character device")


def scan(directory: Path, skip: Callable[[str], bool] = nothing) -> FileList:
    """Return the file list of `directory`, each file read once; refuse what cannot be released."""
    entries = survey(directory, skip)
    return FileList(tuple([_hashed(directory, entry) if entry.type == FILE else entry for entry in entries]))


def _hashed(directory: Path, entry: Entry) -> Entry:
    with open(directory / entry.path, "rb", buffering=0, opener=lambda name, _: os.open(name, _READ_ONCE)) as stream:
        return entry._replace(sha256=hashlib.file_digest(stream, "sha256").hexdigest())


# --- comparing a directory with its list -------------------------------------------------------------------------


_Expected = dict[str, dict[str, Entry]]  # the entries of each directory, by name

READERS: Final = min(4, os.cpu_count() or 1)  # threads that read and hash
_BATCH_FILES: Final = 64
_BATCH_BYTES: Final = 4 << 20
_OPEN_DIRECTORIES: Final = 64


def differences(
    file_list: FileList, directory: Path, *, links: Mapping[str, str] | None = None, owner: int = 0
) -> list[Difference]:
    """Return every way in which `directory` is not exactly `file_list`, sorted by path; [] means it is.

    `links` are the declared shared paths {path: target}: each must be a link to exactly its target, and the
    directories that lead to it may be there. Everything must belong to the user `owner` and carry no ACL or file
    capability. Nothing is followed, nothing blocks, nothing is written, and each file is opened and read once: the
    type, mode, size and bytes are those of one descriptor.
    """
    expected, found = _by_directory(file_list, links or {})
    try:
        root = os.open(directory, _OPEN_DIRECTORY)
    except OSError as error:
        return [Difference(".", f"cannot be opened as a directory ({error.strerror})", "file_unreadable")]
    status = os.fstat(root)
    if status.st_uid != owner or status.st_mode & 0o7022:
        code = "file_owner" if status.st_uid != owner else _mode_code(status.st_mode)
        found.append(Difference(".", f"owner {status.st_uid}, mode {status.st_mode & 0o7777:04o}", code))
    found.extend(_privilege_differences(".", root))
    with ThreadPoolExecutor(READERS) as pool:
        _Comparison(expected, owner, pool, found).run(root)
    return sorted(found)


def _by_directory(file_list: FileList, links: Mapping[str, str]) -> tuple[_Expected, list[Difference]]:
    expected: _Expected = {"": {}}
    taken: list[Difference] = []
    for entry in file_list.entries:
        parent, _, name = entry.path.rpartition("/")
        expected[parent][name] = entry
        if entry.type == DIRECTORY:
            expected[entry.path] = {}
    for path, target in links.items():
        parent, _, name = path.rpartition("/")
        if not _make_parents(expected, parent) or name in expected[parent]:
            taken.append(Difference(path, "is a shared path and in the release too", "shared_path_taken"))
            continue
        expected[parent][name] = Entry(path, SYMLINK, SYMLINK_MODE, target=target)
    return expected, taken


def _make_parents(expected: _Expected, directory: str) -> bool:
    """Expect `directory` and those above it; False when a file of the release stands there."""
    if directory in expected:
        return True
    parent, _, name = directory.rpartition("/")
    if not _make_parents(expected, parent) or name in expected[parent]:
        return False
    expected[parent][name] = Entry(directory, DIRECTORY, DIRECTORY_MODE)
    expected[directory] = {}
    return True


class _Comparison:
    """One walk: this thread looks at names and directories, the pool reads the files of the directories it leaves."""

    def __init__(self, expected: _Expected, owner: int, pool: ThreadPoolExecutor, found: list[Difference]) -> None:
        self._expected = expected
        self._owner = owner
        self._pool = pool
        self._found = found
        self._reading: deque[tuple[int, list[Future[list[Difference]]]]] = deque()

    def run(self, root: int) -> None:
        self._walk("", root)
        while self._reading:
            self._finish_oldest()

    def _walk(self, path: str, descriptor: int) -> None:
        """Compare one directory and all below it; the descriptor stays open until the pool has read its files."""
        files, subdirectories = self._names(path, descriptor)
        futures = [self._pool.submit(_compare_files, batch, descriptor, self._owner) for batch in batches(files)]
        for entry in subdirectories:
            below = self._open(entry, descriptor)
            if below is not None:
                self._walk(entry.path, below)
        self._reading.append((descriptor, futures))
        if len(self._reading) > _OPEN_DIRECTORIES:
            self._finish_oldest()

    def _names(self, path: str, descriptor: int) -> tuple[list[Entry], list[Entry]]:
        """Compare the names in one directory, both ways; return the files and directories to look into."""
        missing = dict(self._expected[path])
        files: list[Entry] = []
        subdirectories: list[Entry] = []
        with os.scandir(descriptor) as children:
            for child in children:
                entry = missing.pop(child.name, None)
                if entry is None:
                    here = f"{path}/{child.name}" if path else child.name
                    self._found.append(Difference(here, "is not in the release", "file_extra"))
                elif entry.type == FILE and child.is_file(follow_symlinks=False):
                    files.append(entry)
                elif entry.type == DIRECTORY and child.is_dir(follow_symlinks=False):
                    subdirectories.append(entry)
                else:
                    self._found.extend(_compare_name(entry, child.name, descriptor, self._owner))
        self._found.extend(Difference(entry.path, "is missing", "file_missing") for entry in missing.values())
        return files, subdirectories

    def _open(self, entry: Entry, parent: int) -> int | None:
        try:
            descriptor = os.open(posixpath.basename(entry.path), _OPEN_DIRECTORY, dir_fd=parent)
        except OSError as error:
            self._found.append(Difference(entry.path, f"cannot be opened ({error.strerror})", "file_unreadable"))
            return None
        self._found.extend(_status_differences(entry, os.fstat(descriptor), self._owner))
        self._found.extend(_privilege_differences(entry.path, descriptor))
        return descriptor

    def _finish_oldest(self) -> None:
        descriptor, futures = self._reading.popleft()
        for future in futures:
            self._found.extend(future.result())
        os.close(descriptor)


def _compare_name(entry: Entry, name: str, parent: int, owner: int) -> list[Difference]:
    """Compare what is no file or directory in its place: a symbolic link, or something of another type."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        found = _status_differences(entry, status, owner)
        if entry.type == SYMLINK and stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=parent)
            found += (
                [] if target == entry.target else [Difference(entry.path, f"leads to {shown(target)}", "link_target")]
            )
    except OSError as error:
        found = [Difference(entry.path, f"cannot be looked at ({error.strerror})", "file_unreadable")]
    return found


def batches(files: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The files in groups that are worth a thread's attention each."""
    batch: list[Entry] = []
    size = 0
    for entry in files:
        batch.append(entry)
        size += entry.size
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _compare_files(entries: list[Entry], parent: int, owner: int) -> list[Difference]:
    found: list[Difference] = []
    for entry in entries:
        try:
            descriptor = os.open(posixpath.basename(entry.path), _READ_ONCE, dir_fd=parent)
        except OSError as error:
            found.append(Difference(entry.path, f"cannot be opened ({error.strerror})", "file_unreadable"))
            continue
        try:
            found.extend(_compare_file(entry, descriptor, owner))
        except OSError as error:
            found.append(Difference(entry.path, f"cannot be read ({error.strerror})", "file_unreadable"))
        finally:
            os.close(descriptor)
    return found


def _compare_file(entry: Entry, descriptor: int, owner: int) -> list[Difference]:
    status = os.fstat(descriptor)
    found = _status_differences(entry, status, owner)
    if not stat.S_ISREG(status.st_mode):
        return found
    found.extend(_privilege_differences(entry.path, descriptor))
    if status.st_size != entry.size:
        found.append(Difference(entry.path, f"{status.st_size} bytes, not {entry.size}", "file_size"))
    elif sha256_of_open(descriptor, entry.size) != entry.sha256:
        found.append(Difference(entry.path, "other content", "file_content"))
    return found


def _status_differences(entry: Entry, status: os.stat_result, owner: int) -> list[Difference]:
    kind = _kind(status.st_mode)
    mode = stat.S_IMODE(status.st_mode)
    if kind != entry.type:
        return [Difference(entry.path, f"is a {kind}, not a {entry.type}", "file_type")]
    found: list[Difference] = []
    if mode != entry.mode:
        found.append(Difference(entry.path, f"mode {mode:04o}, not {entry.mode:04o}", _mode_code(mode)))
    if status.st_uid != owner:
        found.append(Difference(entry.path, f"owner {status.st_uid}, not {owner}", "file_owner"))
    return found


def _mode_code(mode: int) -> str:
    return "file_setid" if mode & 0o7000 else "file_mode"


def _privilege_differences(path: str, descriptor: int) -> list[Difference]:
    try:
        attributes = os.listxattr(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []
        raise
    return [Difference(path, f"has {name}", _PRIVILEGES[name]) for name in sorted(_PRIVILEGES.keys() & attributes)]
