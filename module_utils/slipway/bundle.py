# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a release: from a directory or an archive to objects, file list and signed manifest in the catalogue.

The source has a descriptor, `slipway.yml`, at its root; it says what the release is of and is itself not shipped:

    application: hello           whose release this is
    version: 1.4.0               optional; else the value of a member's version_key, else the release id
    members:                     optional; files that must or may be there (members.py)
      - path: config.json        required: true and a format by the suffix, unless said otherwise
        schema: {type: object}
    exclude: ["*.pyc", docs/**]  optional; a pattern with a slash is for whole paths, one without for names anywhere

Each byte of the source is read once: the same pass feeds the object, its sha256, and the sha256 of the bundle.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import archive, dsse, verify
from .catalogue import Catalogue
from .clock import CLOCK_TOLERANCE_SECONDS, timestamp
from .errors import Refusal, shown
from .fields import NAME, VERSION, Fields, require_release_id
from .keys import PublicKey
from .manifest import Limits, ReleaseManifest, statement
from .members import (
    CONTROLLER_CHECKS,
    MAX_MEMBER_BYTES,
    Findings,
    Member,
    inspect,
    parse_yaml,
    read_members,
    require_sound,
    require_valid_schemas,
)
from .policy import BUILDER, TrustPolicy
from .tree import FILE, SYMLINK, Entry, FileList, survey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DESCRIPTOR: Final = "slipway.yml"
MAX_DESCRIPTOR_BYTES: Final = 1 << 20
DEFAULT_VALID_SECONDS: Final = 365 * 86400

_NEVER_SHIPPED: Final = (DESCRIPTOR, ".git")
_CHUNK: Final = 1 << 20
_FORMAT_OF_SUFFIX: Final = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}
_TAR_BLOCK: Final = 512


@dataclass(frozen=True)
class Request:
    """What to make a release of, and in whose name; `now` and `valid_seconds` are Unix seconds and seconds."""

    source: Path
    builder_key: Ed25519PrivateKey
    policy: TrustPolicy
    now: int
    release_id: str | None = None
    version: str | None = None
    valid_seconds: int = DEFAULT_VALID_SECONDS
    max_bytes: int = archive.MAX_BYTES


@dataclass(frozen=True)
class Made:
    """A release, and whether it is new; `previous` is the file list of the newest release before it."""

    changed: bool
    manifest: ReleaseManifest
    file_list: FileList
    path: Path
    previous: FileList | None


@dataclass(frozen=True)
class Descriptor:
    """What slipway.yml says."""

    application: str
    version: str | None = None
    members: tuple[Member, ...] = ()
    exclude: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Read a descriptor strictly, or raise Refusal("descriptor_invalid")."""
        try:
            document = parse_yaml(data)
        except (ValueError, RecursionError) as error:
            raise _bad_descriptor("YAML", " ".join(str(error).split())) from None
        remedy = f"Correct {DESCRIPTOR}; examples/ has two that work."
        fields = Fields(document, DESCRIPTOR, "descriptor_invalid", remedy)
        descriptor = cls(
            application=fields.text("application", NAME),
            version=fields.text("version", VERSION) if "version" in fields else None,
            members=read_members(_with_defaults(fields)) if "members" in fields else (),
            exclude=_patterns(fields) if "exclude" in fields else (),
        )
        fields.end()
        require_valid_schemas(descriptor.members)
        return descriptor

    def skips(self, path: str) -> bool:
        """Whether this path of the source is not shipped."""
        return path in _NEVER_SHIPPED or any(_matches(pattern, path) for pattern in self.exclude)


def _bad_descriptor(expected: str, found: str) -> Refusal:
    return Refusal(
        "descriptor_invalid",
        expected=f"{DESCRIPTOR}: {expected}",
        found=found,
        remedy=f"Put a {DESCRIPTOR} at the root of the source; examples/ has two that work.",
    )


def _with_defaults(fields: Fields) -> list[Fields]:
    items = [_completed(item) for item in fields.array("members", maximum=1000)]
    where = f"{DESCRIPTOR}.members"
    return [Fields(item, f"{where}[{i}]", fields.reason, fields.remedy) for i, item in enumerate(items)]


def _completed(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    suffix = posixpath.splitext(str(item.get("path", "")))[1]
    return {"required": True, "format": _FORMAT_OF_SUFFIX.get(suffix, "none"), **item}


def _patterns(fields: Fields) -> tuple[str, ...]:
    patterns = fields.array("exclude", maximum=1000)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise fields.refusal("exclude", "patterns such as *.pyc or docs/**", pattern)
    return tuple(patterns)


def _matches(pattern: str, path: str) -> bool:
    subject = path if "/" in pattern else posixpath.basename(path)
    return re.fullmatch(_regular_expression(pattern.strip("/")), subject) is not None


def _regular_expression(pattern: str) -> str:
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*|\?)", pattern))


def listing(file_list: FileList | None) -> str:
    """Return the list as text, one line for each entry, for people and for comparing."""
    entries = file_list.entries if file_list else ()
    return "".join(f"{e.type:7} {e.mode:04o} {e.sha256[:16] or e.target or '-':16} {e.path}\n" for e in entries)


def make(request: Request, catalogue: Catalogue, *, check: bool = False) -> Made:
    """Make a release and add it to the catalogue; with `check` say what would be made and write nothing there.

    1. The source is surveyed, read once, and surveyed again: one that changed meanwhile is refused.
    2. Its members are checked, all problems named at once.
    3. A release of the same id and content is left alone, or mended when something of it is missing or damaged; one
       of other content is refused.
    4. The sequence is `now`, or one more than the newest release's: no two releases of an application share it.
    """
    with _opened(request) as (directory, descriptor):
        place: AbstractContextManager[Path | None] = nullcontext()
        if not check:
            place = catalogue.workspace(descriptor.application)
        with place as workspace:
            with _vanishing_is_refused():
                content = _read_once(directory, descriptor, workspace)
            return _make(request, catalogue, descriptor, content, workspace)


@contextmanager
def _opened(request: Request) -> Iterator[tuple[Path, Descriptor]]:
    """Give the source as a directory with its descriptor; an archive is unpacked for as long as it is needed."""
    source = request.source
    if source.is_dir():
        yield source, _descriptor(source)
    elif source.is_file() and archive.is_archive(source):
        with tempfile.TemporaryDirectory(prefix="slipway-") as unpacked:
            archive.unpack(source, Path(unpacked), max_bytes=request.max_bytes)
            yield Path(unpacked), _descriptor(Path(unpacked))
    else:
        raise Refusal(
            "source_unknown",
            expected=f"a directory or an archive ({', '.join(archive.SUFFIXES)}) at {source}",
            found="another file" if source.exists() else "nothing",
            remedy="Give the path of what is to be released (release_source).",
        )


def _descriptor(directory: Path) -> Descriptor:
    path = directory / DESCRIPTOR
    if path.is_symlink() or not path.is_file():
        raise _bad_descriptor("a file at the root of the source", "none")
    with open(path, "rb") as stream:
        data = stream.read(MAX_DESCRIPTOR_BYTES + 1)
    if len(data) > MAX_DESCRIPTOR_BYTES:
        raise _bad_descriptor(f"at most {MAX_DESCRIPTOR_BYTES} bytes", "more")
    return Descriptor.parse(data)


@dataclass(frozen=True)
class _Content:
    """What one reading of a source found; `objects` are the copies in the workspace by sha256."""

    file_list: FileList
    bundle_digest: str
    findings: Findings
    objects: Mapping[str, Path]


class BundleDigest:
    """The sha256 of a release as one tar stream that anyone can make again from its files.

    POSIX pax format; the entries in the order of the file list; owner, group and time 0; then two zero blocks.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def start(self, entry: Entry) -> None:
        """Add the entry's header; its bytes follow by `update`, then `end`."""
        kinds = {FILE: tarfile.REGTYPE, SYMLINK: tarfile.SYMTYPE}
        header = tarfile.TarInfo(entry.path)
        header.type = kinds.get(entry.type, tarfile.DIRTYPE)
        header.mode = entry.mode
        header.size = entry.size
        header.linkname = entry.target
        self._digest.update(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))

    def update(self, data: bytes) -> None:
        """Add some of the bytes of the file that was started."""
        self._digest.update(data)

    def end(self, entry: Entry) -> None:
        """Pad the file that was started to whole blocks."""
        self._digest.update(bytes(-entry.size % _TAR_BLOCK))

    def hexdigest(self) -> str:
        """The digest, with the end of the archive added."""
        final = self._digest.copy()
        final.update(bytes(2 * _TAR_BLOCK))
        return final.hexdigest()


def _read_once(directory: Path, descriptor: Descriptor, workspace: Path | None) -> _Content:
    surveyed = survey(directory, descriptor.skips)
    FileList(tuple([_with_placeholder(entry) for entry in surveyed]))  # refuses a bad tree before it is read
    stamps = _stamps(directory, surveyed)
    parsed = {member.path for member in descriptor.members if member.format != "none"}
    bundle = BundleDigest()
    entries: list[Entry] = []
    kept: dict[str, bytes] = {}
    objects: dict[str, Path] = {}
    for number, entry in enumerate(surveyed):
        bundle.start(entry)
        if entry.type == FILE:
            copy = workspace / str(number) if workspace else None
            sha256, data = _read_file(directory, entry, bundle, copy, keep=entry.path in parsed)
            entries.append(entry._replace(sha256=sha256))
            kept[entry.path] = data
            if copy:
                objects[sha256] = copy
        else:
            entries.append(entry)
        bundle.end(entry)
    if survey(directory, descriptor.skips) != surveyed or _stamps(directory, surveyed) != stamps:
        raise _changed("the source", "files added, removed or changed")
    findings = inspect(descriptor.members, kept.get, CONTROLLER_CHECKS)
    return _Content(FileList(tuple(entries)), bundle.hexdigest(), findings, objects)


def _with_placeholder(entry: Entry) -> Entry:
    return entry._replace(sha256="0" * 64) if entry.type == FILE else entry


def _read_file(
    directory: Path, entry: Entry, bundle: BundleDigest, copy: Path | None, *, keep: bool
) -> tuple[str, bytes]:
    """Return the file's sha256, and its bytes when they are to be kept for checking; b"" when not."""
    if keep and entry.size > MAX_MEMBER_BYTES:
        raise Refusal(
            "member_too_large",
            expected=f"{entry.path} with at most {MAX_MEMBER_BYTES} bytes, since it is checked as a member",
            found=f"{entry.size} bytes",
            remedy="Declare it with format: none.",
        )
    digest = hashlib.sha256()
    kept: list[bytes] = []
    descriptor = os.open(directory / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as source, open(copy or os.devnull, "wb") as target:
        left = entry.size + 1  # one more than there should be, to see a file that grows
        while left and (data := source.read(min(left, _CHUNK))):
            left -= len(data)
            digest.update(data)
            bundle.update(data)
            target.write(data)
            if keep:
                kept.append(data)
    if left != 1:
        raise _changed(entry.path, f"{entry.size + 1 - left} bytes or more instead of {entry.size}")
    return digest.hexdigest(), b"".join(kept)


def _stamps(directory: Path, entries: Sequence[Entry]) -> list[tuple[int, ...]]:
    """What a change to a file leaves behind, whoever makes it."""
    statuses = (os.lstat(directory / entry.path) for entry in entries)
    return [(s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in statuses]


@contextmanager
def _vanishing_is_refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise _changed(str(error.filename), error.strerror or "another file in its place") from None


def _changed(path: str, found: str) -> Refusal:
    return Refusal(
        "source_changed",
        expected=f"{path} to stay as it is while it is read",
        found=found,
        remedy="Wait until nobody writes there, then make the release again.",
    )


def _make(
    request: Request, catalogue: Catalogue, descriptor: Descriptor, content: _Content, workspace: Path | None
) -> Made:
    existing = catalogue.releases(descriptor.application)
    sequence = _sequence(request.now, existing)
    release_id = request.release_id or f"release_{datetime.fromtimestamp(sequence, UTC):%Y%m%d_%H%M%S}"
    require_release_id(release_id)
    version = _version(request, descriptor, content.findings, release_id)
    require_sound(content.findings, version)
    same = next((manifest for manifest in existing if manifest.release_id == release_id), None)
    if same:
        _require_same(same, content, version, descriptor)
        envelope = catalogue.manifest_bytes(same.application, release_id)
    else:
        envelope = _signed(request, descriptor, content, sequence=sequence, release_id=release_id, version=version)
    made = Made(
        changed=not same or not catalogue.is_intact(same, content.file_list),
        manifest=verify.parse_manifest(envelope),
        file_list=content.file_list,
        path=catalogue.manifest_path(descriptor.application, release_id),
        previous=content.file_list if same else catalogue.newest_file_list(existing),
    )
    if workspace and made.changed:
        catalogue.add(envelope, content.file_list.encode(), content.objects)
    return made


def _signed(
    request: Request, descriptor: Descriptor, content: _Content, *, sequence: int, release_id: str, version: str
) -> bytes:
    """Return the manifest's envelope, verified with the trust policy as a host would verify it."""
    payload = statement(
        application=descriptor.application,
        version=version,
        release_id=release_id,
        sequence=sequence,
        expires=timestamp(sequence + request.valid_seconds),
        builder=request.policy.holder(BUILDER, PublicKey.of(request.builder_key)),
        source=_described(request.source),
        limits=Limits(len(content.file_list.files), content.file_list.total_bytes),
        tree_digest=content.file_list.digest,
        tree_size=len(content.file_list.encode()),
        bundle_digest=content.bundle_digest,
        members=descriptor.members,
    )
    envelope = dsse.sign(dsse.IN_TOTO_TYPE, payload, request.builder_key)
    keys = request.policy.signed_by(BUILDER, envelope, what="release manifest")
    request.policy.require_valid(BUILDER, keys, at=sequence, what="release manifest")
    return envelope.encode()


def _sequence(now: int, existing: Sequence[ReleaseManifest]) -> int:
    sequence = max(now, existing[0].sequence + 1) if existing else now
    if sequence > now + CLOCK_TOLERANCE_SECONDS:
        raise Refusal(
            "clock_set_back",
            expected=f"a clock later than the newest release, {existing[0].release_id} of {existing[0].created}",
            found=timestamp(now),
            remedy="Set this machine's clock right (timedatectl), then make the release again.",
        )
    return sequence


def _version(request: Request, descriptor: Descriptor, findings: Findings, release_id: str) -> str:
    if request.version and descriptor.version and request.version != descriptor.version:
        raise Refusal(
            "version_mismatch",
            expected=f"the version that {DESCRIPTOR} says, {descriptor.version}",
            found=shown(request.version),
            remedy=f"Give the same version, or leave it out of {DESCRIPTOR}.",
        )
    stated = next(iter(findings.versions.values()), None)
    version = request.version or descriptor.version or stated or release_id
    if not VERSION.match(version):
        raise Refusal(
            "version_invalid",
            expected="a version such as 1.2.3",
            found=shown(version),
            remedy="Use letters, digits, dots, dashes, pluses and underscores, starting with a letter or digit.",
        )
    return version


def _require_same(manifest: ReleaseManifest, content: _Content, version: str, descriptor: Descriptor) -> None:
    """Refuse to give a release id that is taken to something else: an id means one content for ever."""
    facts = (
        ("files", manifest.tree_digest, content.file_list.digest),
        ("version", manifest.version, version),
        ("members", manifest.members, descriptor.members),
    )
    others = [name for name, there, wanted in facts if there != wanted]
    if others:
        raise Refusal(
            "release_exists",
            expected=f"a new release id, or the same content as {manifest.release_id} of {manifest.created}",
            found=f"other {' and '.join(others)}",
            remedy="Give another release_id, or none for one made from the time.",
        )


def _described(source: Path) -> dict[str, str]:
    name = source.resolve().name or "root"
    if not source.is_dir():
        return {"kind": "archive", "name": name}
    commit = git_commit(source)
    return {"kind": "directory", "name": name, **({"git_commit": commit} if commit else {})}


def git_commit(directory: Path) -> str | None:
    """Return the commit that `directory` is exactly, or None when it is changed, no checkout, or git is not there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(directory), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    is_clean = git("status", "--porcelain", "--ignored", "--", ".") == ""
    return git("rev-parse", "--verify", "HEAD") if is_clean else None
