# SPDX-License-Identifier: GPL-3.0-or-later
"""File lists: strict in what they hold, and complete in what they find."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import tree
from ansible.module_utils.slipway.trust.tree import Difference, Entry, FileList
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OWNER = os.getuid()
EMPTY = hashlib.sha256(b"").hexdigest()


def file(path, mode=0o644, size=0, sha256=EMPTY):
    return Entry(path, "file", mode, size=size, sha256=sha256)


def directory(path, mode=0o755):
    return Entry(path, "dir", mode)


def link(path, target, mode=0o777):
    return Entry(path, "symlink", mode, target=target)


def listed(*entries):
    return FileList(tuple(entries))


def reason(*entries):
    with pytest.raises(Refusal) as refusal:
        listed(*entries)
    return refusal.value.reason


# --- what may stand in a list


def test_a_list_is_named_by_its_bytes_and_read_back():
    whole = listed(directory("a"), file("a/b", 0o755, 3, "c" * 64), link("a/c", "b"))
    data = whole.encode()
    assert whole.digest == hashlib.sha256(data).hexdigest()
    assert FileList.parse(data, digest=whole.digest) == whole
    assert data.startswith(b'{"entries":[{"mode":493,"path":"a","type":"dir"},')
    assert data.endswith(b'],"format":1}')
    assert whole.files == (whole.entries[1],)
    assert whole.object_names == {"c" * 64}
    assert whole.total_bytes == 3


GOOD_PATHS = ["a", ".hidden", "a b", "a..b", "...", "ü", "zażółć", "日本", "\U0001f600", "x" * 255, "-rf", "a~", "😀‍🔥"]


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_an_ordinary_name_is_accepted(path):
    assert listed(file(path)).entries[0].path == path


def test_the_empty_release_is_a_release():
    assert FileList.parse(listed().encode(), digest=listed().digest) == listed()


BAD_PATHS = {
    "empty": "",
    "a dot": ".",
    "two dots": "..",
    "a way up": "a/../b",
    "a way out": "../a",
    "absolute": "/etc/passwd",
    "a doubled slash": "a//b",
    "a leading dot segment": "./a",
    "an inner dot segment": "a/./b",
    "a trailing slash": "a/",
    "a backslash": "a\\b",
    "a NUL": "a\x00b",
    "a newline": "a\nb",
    "an escape sequence": "\x1b[2J",
    "a delete": "a\x7f",
    "a C1 control": "a\x9bb",
    "a right-to-left override": "exe\u202egnp",
    "an isolate": "a\u2066b",
    "a line separator": "a\u2028b",
    "a byte order mark": "\ufeffa",
    "a zero-width space": "a\u200bb",
    "a soft hyphen": "a\u00adb",
    "form NFD": "u\u0308",
    "full-width dots": "a/\uff0e\uff0e/b",
    "a two-dot leader": "\u2025",
    "a full-width slash": "a\uff0fb",
    "a full-width backslash": "a\uff3cb",
    "a lone surrogate": "a\udcff",
    "a name of 256 bytes": "x" * 256,
    "a name of 256 bytes in UTF-8": "ü" * 128,
    "a path of 3073 bytes": "/".join(["x" * 100] * 31),
    "129 levels": "/".join("x" * 129),
}
PATH_REASONS = {
    BAD_PATHS[name]: reason
    for reason, names in {
        "path_not_plain": [
            "empty",
            "a dot",
            "a doubled slash",
            "a leading dot segment",
            "an inner dot segment",
            "a trailing slash",
            "a backslash",
        ],
        "path_outside": ["two dots", "a way up", "a way out", "absolute"],
        "path_not_nfc": ["form NFD"],
        "path_lookalike": ["full-width dots", "a two-dot leader", "a full-width slash", "a full-width backslash"],
        "path_not_utf8": ["a lone surrogate"],
        "path_too_long": ["a name of 256 bytes", "a name of 256 bytes in UTF-8", "a path of 3073 bytes", "129 levels"],
    }.items()
    for name in names
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_a_path_that_is_not_plain_is_refused(path):
    assert reason(file(path)) == PATH_REASONS.get(path, "path_unprintable")


@given(st.text("a. ~/\\", max_size=8) | st.text("ab/", min_size=95, max_size=210))
def test_the_short_way_for_plain_paths_accepts_nothing_that_the_long_way_refuses(path):
    if tree._PLAIN.match(path):
        for look in (tree._require_encoding, tree._require_text, tree._require_size):
            look(path)


@pytest.mark.parametrize(
    ("first", "second"), [("README", "readme"), ("STRASSE", "straße"), ("\u00e9", "\u00c9"), ("\u1e9e", "ss")]
)
def test_twins_are_refused(first, second):
    assert reason(*sorted([file(first), file(second)])) == "path_twin"


def test_twins_in_a_parent_are_refused():
    assert reason(directory("A"), file("A/x"), directory("a"), file("a/y")) == "path_twin"


@pytest.mark.parametrize("paths", [("b", "a"), ("a", "a"), ("a", "\U0001f600", "\uff21")])
def test_paths_out_of_order_are_refused(paths):
    assert reason(*map(file, paths)) == "path_order"


def test_the_order_is_that_of_the_bytes():
    # beyond U+FFFF, UTF-16 would sort before U+FF21; and a dot sorts before a slash
    assert listed(directory("a"), file("a.b"), file("a/b"), file("\uff21"), file("\U0001f600")).files[3].size == 0


@pytest.mark.parametrize(
    "entries", [(file("a/b"),), (file("a"), file("a/b")), (directory("b"), link("a", "b"), file("a/c"))]
)
def test_an_entry_whose_parent_is_no_listed_directory_is_refused(entries):
    assert reason(*sorted(entries)) == "path_parent"


@pytest.mark.parametrize(
    "entry",
    [file("a", mode) for mode in (0o600, 0o666, 0o777, 0o4755, 0o1644, 0)]
    + [directory("a", mode) for mode in (0o700, 0o777, 0o1777, 0o2755)]
    + [link("b", "a", 0o644)],
)
def test_another_mode_is_refused(entry):
    assert reason(entry) == "mode_unsafe"


GOOD_LINKS = {
    "to a sibling": ("d/l", "f"),
    "to a directory": ("l", "d"),
    "up and down": ("d/l", "../e/f"),
    "to the root": ("d/l", ".."),
    "with a dot": ("l", "./d/./f"),
    "to another link": ("l", "d2"),
}


@pytest.mark.parametrize(("path", "target"), GOOD_LINKS.values(), ids=GOOD_LINKS.keys())
def test_a_link_inside_the_release_is_accepted(path, target):
    entries = [directory("d"), link("d2", "d"), file("d/f"), directory("e"), file("e/f"), link(path, target)]
    assert link(path, target) in listed(*sorted(entries)).entries


BAD_LINKS = {
    "absolute": ("l", "/etc/passwd"),
    "empty": ("l", ""),
    "out of the root": ("l", "../x"),
    "out and in again": ("d/l", "../../x/d/f"),
    "dangling": ("l", "absent"),
    "through a file": ("l", "d/f/x"),
    "through a file and back": ("l", "d/f/../f"),
    "through a link": ("l", "d2/f"),
    "through a link and back": ("l", "d2/.."),
    "to itself": ("l", "l"),
    "with a doubled slash": ("l", "d//f"),
    "with a trailing slash": ("l", "d/"),
    "with a newline": ("l", "d\n"),
    "with a backslash": ("l", "d\\f"),
    "too long": ("l", "./" * 600 + "d"),
    "with a lone surrogate": ("l", "\udcff"),
}
LINK_REASONS = {
    BAD_LINKS[name][1]: reason
    for reason, names in {
        "link_outside": ["absolute", "out of the root", "out and in again"],
        "link_dangling": ["dangling", "with a lone surrogate"],
        "link_through": ["through a file", "through a file and back", "through a link", "through a link and back"],
        "link_circular": ["to itself"],
    }.items()
    for name in names
}


@pytest.mark.parametrize(("path", "target"), BAD_LINKS.values(), ids=BAD_LINKS.keys())
def test_a_link_that_may_lead_elsewhere_is_refused(path, target):
    entries = [directory("d"), link("d2", "d"), file("d/f"), link(path, target)]
    assert reason(*sorted(entries)) == LINK_REASONS.get(target, "link_unsafe")


def test_a_circle_of_links_is_refused():
    assert reason(link("a", "b"), link("b", "c"), link("c", "a")) == "link_circular"


def bent(**changes):
    entry = {"path": "a", "type": "file", "mode": 420, "size": 0, "sha256": EMPTY, **changes}
    return {"entries": [{name: value for name, value in entry.items() if value is not ...}], "format": 1}


MALFORMED = {
    "an array": [],
    "no format": {"entries": []},
    "another format": {"entries": [], "format": 2},
    "a format that is true": {"entries": [], "format": True},
    "an unknown member": {"entries": [], "format": 1, "signed": True},
    "entries as an object": {"entries": {}, "format": 1},
    "an entry that is a string": {"entries": ["a"], "format": 1},
    "an entry without a type": bent(type=...),
    "an unknown type": bent(type="fifo"),
    "a type that is a list": bent(type=["file"]),
    "a file without a digest": bent(sha256=...),
    "a file with a target": bent(target="b"),
    "a path that is a number": bent(path=1),
    "a mode that is a string": bent(mode="0644"),
    "a mode that is true": bent(mode=True),
    "a negative size": bent(size=-1),
    "a digest that is null": bent(sha256=None),
    "a truncated digest": bent(sha256="a" * 63),
    "an upper-case digest": bent(sha256="A" * 64),
    "an empty digest": bent(sha256=""),
}


@pytest.mark.parametrize("document", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_list_is_refused(document):
    data = canonical.encode(document)
    with pytest.raises(Refusal, match="file_list_malformed"):
        FileList.parse(data, digest=hashlib.sha256(data).hexdigest())


def test_a_list_with_another_digest_is_refused():
    data = listed(file("a")).encode()
    with pytest.raises(Refusal, match="file_list_altered"):
        FileList.parse(data, digest="0" * 64)


def test_a_list_longer_than_its_manifest_says_is_refused_unread():
    with pytest.raises(Refusal, match=r"file_list_altered: expected at most 10 bytes"):
        FileList.parse(b"x" * 11, digest="0" * 64, limit=10)


def test_a_list_that_is_not_canonical_is_refused():
    data = b'{"format":1,"entries":[]}'
    with pytest.raises(Refusal, match="json_not_canonical"):
        FileList.parse(data, digest=hashlib.sha256(data).hexdigest())


def test_two_hundred_thousand_files_are_read():
    entries = [file(f"f{number:06}", size=number) for number in range(200_000)]
    whole = FileList(tuple(entries))
    assert FileList.parse(whole.encode(), digest=whole.digest).entries[-1].size == 199_999


# --- how a directory becomes a list


def test_a_directory_becomes_a_list(tmp_path):
    signed.write_tree(tmp_path, {"b/c": b"x", "b/run!": b"#!", "a": b"", "empty/": b"", "zażółć": b"y"})
    (tmp_path / "link").symlink_to("b/c")
    entries = {entry.path: entry for entry in tree.scan(tmp_path).entries}
    assert list(entries) == ["a", "b", "b/c", "b/run", "empty", "link", "zażółć"]
    assert entries["b/c"] == file("b/c", 0o644, 1, hashlib.sha256(b"x").hexdigest())
    assert entries["b/run"].mode == 0o755
    assert entries["link"] == link("link", "b/c")


@pytest.mark.parametrize(
    ("found", "normal"), [(0o600, 0o644), (0o444, 0o644), (0o666, 0o644), (0o700, 0o755), (0o645, 0o755)]
)
def test_modes_are_normalised(tmp_path, found, normal):
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "f").chmod(found)
    assert tree.scan(tmp_path).entries[0].mode == normal


def test_what_is_skipped_is_skipped_with_all_below(tmp_path):
    signed.write_tree(tmp_path, {"a": b"", ".git/config": b"", "b/.git": b""})
    assert [entry.path for entry in tree.scan(tmp_path, lambda path: path == ".git").entries] == ["a", "b", "b/.git"]


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # a socket's path may have 107 bytes only
        server.bind(path.name)


def make_device(path):
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def make_block_device(path):
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))


SPECIAL = {
    "fifo": make_fifo,
    "socket": make_socket,
    "character device": make_device,
    "block device": make_block_device,
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    SPECIAL[kind](tmp_path / "x")
    with pytest.raises(Refusal, match=f"file_special.*found {kind}"):
        tree.scan(tmp_path)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1644])
def test_privileged_bits_are_refused(tmp_path, mode):
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "f").chmod(mode)
    with pytest.raises(Refusal, match="mode_unsafe"):
        tree.scan(tmp_path)


@pytest.mark.parametrize(
    ("target", "reason"),
    [("/etc/passwd", "outside"), ("../x", "outside"), ("absent", "dangling"), ("link", "circular")],
)
def test_a_link_out_of_the_directory_is_refused(tmp_path, target, reason):
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(Refusal, match=f"link_{reason}"):
        tree.scan(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"a\nb", "unprintable"),
        (b"a\\b", "not_plain"),
        (b"u\xcc\x88", "not_nfc"),
        (b"\xff", "not_utf8"),
        (b"a\x1b[1m", "unprintable"),
    ],
)
def test_a_bad_name_in_a_directory_is_refused(tmp_path, name, reason):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    with pytest.raises(Refusal, match=f"path_{reason}"):
        tree.scan(tmp_path)


# --- how a directory differs from its list


@pytest.fixture
def release(tmp_path):
    """A directory that is exactly its list, with a nested file, a link and an empty directory."""
    root = tmp_path / "release"
    signed.write_tree(
        root,
        {"app/bin/run!": b"#!/bin/sh\n", "app/data": b"12345", "empty/": b"", "zero": b"", "big": b"x" * (1 << 21)},
    )
    (root / "link").symlink_to("app/data")
    return root, tree.scan(root)


def problems(root, whole, **options):
    found = tree.differences(whole, root, owner=OWNER, **options)
    assert {difference.code for difference in found} <= tree.DIFFERENCES.keys()
    return {difference.path: difference.problem for difference in found}


def test_a_release_that_is_whole_has_no_differences(release):
    root, whole = release
    assert tree.differences(whole, root, owner=OWNER) == []


def replace_file(path, data):
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o644)


ALTERATIONS = {
    "a byte changed": (lambda r: (r / "app/data").write_bytes(b"12346"), "app/data", "other content"),
    "a byte changed in a big file": (
        lambda r: replace_file(r / "big", b"x" * ((1 << 21) - 1) + b"y"),
        "big",
        "other content",
    ),
    "a file grown": (lambda r: (r / "app/data").write_bytes(b"123456"), "app/data", "6 bytes, not 5"),
    "a file cut": (lambda r: (r / "app/data").write_bytes(b""), "app/data", "0 bytes, not 5"),
    "a file missing": (lambda r: (r / "app/data").unlink(), "app/data", "is missing"),
    "a link missing": (lambda r: (r / "link").unlink(), "link", "is missing"),
    "an empty directory missing": (lambda r: (r / "empty").rmdir(), "empty", "is missing"),
    "a file added": (lambda r: (r / "app/new").write_bytes(b""), "app/new", "is not in the release"),
    "a dotfile added": (lambda r: (r / ".env").write_bytes(b""), ".env", "is not in the release"),
    "bytecode added": (lambda r: (r / "app/x.pyc").write_bytes(b""), "app/x.pyc", "is not in the release"),
    "an empty directory added": (lambda r: (r / "empty/sub").mkdir(), "empty/sub", "is not in the release"),
    "a link added": (lambda r: (r / "l2").symlink_to("/etc/passwd"), "l2", "is not in the release"),
    "a fifo added": (lambda r: os.mkfifo(r / "fifo"), "fifo", "is not in the release"),
    "a mode changed": (lambda r: (r / "app/data").chmod(0o755), "app/data", "mode 0755, not 0644"),
    "a set-uid bit": (lambda r: (r / "app/bin/run").chmod(0o4755), "app/bin/run", "mode 4755, not 0755"),
    "a directory writable by all": (lambda r: (r / "app").chmod(0o777), "app", "mode 0777, not 0755"),
    "the root writable by all": (lambda r: r.chmod(0o777), ".", f"owner {OWNER}, mode 0777"),
}


@pytest.mark.parametrize(("alter", "path", "problem"), ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_an_alteration_is_found(release, alter, path, problem):
    root, whole = release
    alter(root)
    assert problems(root, whole) == {path: problem}


def swap(path, make):
    """Replace what is at `path`, keeping nothing."""
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            child.unlink()
        path.rmdir()
    else:
        path.unlink()
    make(path)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("path", ["app/data", "empty", "link"])
def test_a_special_file_in_place_of_another_is_found_and_does_not_block(release, monkeypatch, kind, path):
    root, whole = release
    monkeypatch.chdir(root)
    swap(root / path, SPECIAL[kind])
    assert f"is a {kind}, not a " in " ".join(p.problem for p in tree.differences(whole, root, owner=OWNER))


def test_a_link_in_place_of_the_same_file_is_found(release):
    root, whole = release
    (root / "app/data").rename(root.parent / "data")
    (root / "app/data").symlink_to(root.parent / "data")
    assert "is a symlink, not a file" in [p.problem for p in tree.differences(whole, root, owner=OWNER)]


def test_a_link_in_place_of_the_same_directory_is_found_and_not_entered(release):
    root, whole = release
    (root / "app").rename(root.parent / "app")
    (root / "app").symlink_to(root.parent / "app")
    found = tree.differences(whole, root, owner=OWNER)
    assert ("app", "is a symlink, not a dir", "file_type") in found
    assert {difference.path for difference in found} == {"app"}


def test_a_link_to_somewhere_else_is_found(release):
    root, whole = release
    swap(root / "link", lambda path: path.symlink_to("zero"))
    assert problems(root, whole) == {"link": "leads to 'zero'"}


def test_another_owner_is_found(release):
    root, whole = release
    for path in ("app/data", "app/bin", "link"):
        os.chown(root / path, 12345, -1, follow_symlinks=False)
    assert problems(root, whole) == dict.fromkeys(("app/data", "app/bin", "link"), f"owner 12345, not {OWNER}")


def test_another_owner_of_the_root_is_found(release):
    root, whole = release
    assert problems(root, whole) == {}
    os.chown(root, 12345, -1)
    assert list(problems(root, whole)) == ["."]


def test_a_file_capability_is_found(release):
    root, whole = release
    # struct vfs_cap_data, revision 2: cap_net_bind_service, effective and permitted
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(root / "app/bin/run", "security.capability", capability)
    assert problems(root, whole) == {"app/bin/run": "has security.capability"}


@pytest.mark.parametrize("kind", ["access", "default"])
@pytest.mark.parametrize("place", ["app", "."])
def test_an_acl_is_found(release, place, kind):
    root, whole = release
    # POSIX ACL, version 2: user::rwx, user:12345:rwx, group::r-x, mask::r-x, other::r-x
    entries = [(1, 7, -1), (2, 7, 12345), (4, 5, -1), (16, 5, -1), (32, 5, -1)]
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + (user & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, permissions, user in entries
    )
    os.setxattr(root / place, f"system.posix_acl_{kind}", acl)
    assert problems(root, whole)[place] == f"has system.posix_acl_{kind}"


def test_harmless_attributes_and_hard_links_are_no_difference(release):
    root, whole = release
    os.setxattr(root / "zero", "user.comment", b"hello")
    os.link(root / "app/data", root.parent / "object")
    assert problems(root, whole) == {}


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.write_bytes(b""), lambda p: p.symlink_to("."), os.mkfifo])
def test_a_release_that_is_no_directory_is_one_difference(tmp_path, make):
    make(tmp_path / "release")
    found = tree.differences(listed(), tmp_path / "release", owner=OWNER)
    assert [difference.path for difference in found] == ["."]
    assert found[0].problem.startswith("cannot be opened as a directory")


@contextmanager
def as_another_user():
    """Do what follows with the rights of user 12345."""
    os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_cannot_be_opened_is_a_difference(release, monkeypatch):
    root, whole = release
    monkeypatch.chdir(root.parent)
    root.parent.chmod(0o755)
    (root / "app/data").chmod(0o600)
    (root / "empty").chmod(0o700)
    with as_another_user():
        found = tree.differences(whole, Path(root.name), owner=OWNER)
    denied = "cannot be opened (Permission denied)"
    assert found == [Difference(path, denied, "file_unreadable") for path in ("app/data", "empty")]


def test_what_cannot_be_read_is_a_difference():
    # /proc/self/mem opens, says that it has no bytes, and fails to read the first one.
    parent = os.open("/proc/self", os.O_RDONLY)
    found = tree._compare_files([file("mem", 0o600)], parent, OWNER)
    os.close(parent)
    assert found == [Difference("mem", "cannot be read (Input/output error)", "file_unreadable")]


def test_where_the_file_system_has_no_attributes_there_is_no_difference(monkeypatch):
    # No file system of the kernel's is without them any more; some in user space are.
    def listxattr(_descriptor):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(tree.os, "listxattr", listxattr)
    assert tree._privilege_differences("a", 0) == []


def test_attributes_that_cannot_be_read_are_no_absence():
    with pytest.raises(OSError, match="Bad file descriptor"):
        tree._privilege_differences("a", 999)


def test_a_file_that_vanishes_while_it_is_looked_at_is_a_difference(release):
    root, whole = release
    entry = next(entry for entry in whole.entries if entry.path == "link")
    parent = os.open(root, os.O_RDONLY)
    (root / "link").unlink()
    assert tree._compare_name(entry, "link", parent, OWNER)[0].problem == (
        "cannot be looked at (No such file or directory)"
    )
    os.close(parent)


def test_a_declared_shared_path_is_expected(release):
    root, whole = release
    (root / "log").symlink_to("/srv/x/shared/log")
    (root / "var").mkdir(mode=0o755)
    (root / "var/run").mkdir(mode=0o755)
    (root / "var/run/x").symlink_to("../../shared/x")
    (root / "app/cache").symlink_to("/srv/x/shared/cache")
    links = {"log": "/srv/x/shared/log", "var/run/x": "../../shared/x", "app/cache": "/srv/x/shared/cache"}
    assert problems(root, whole, links=links) == {}
    assert problems(root, whole).keys() == {"log", "var", "app/cache"}
    links["log"] = "/elsewhere"
    assert problems(root, whole, links=links) == {"log": "leads to '/srv/x/shared/log'"}


def test_a_missing_shared_path_is_found(release):
    root, whole = release
    assert problems(root, whole, links={"a/b": "x"}) == {"a": "is missing"}


@pytest.mark.parametrize("path", ["zero", "zero/below", "app", "link/x"])
def test_a_shared_path_in_the_place_of_a_released_one_is_found(release, path):
    root, whole = release
    assert problems(root, whole, links={path: "x"}) == {path: "is a shared path and in the release too"}


def test_a_tree_wider_and_deeper_than_the_limit_of_open_files_is_compared(tmp_path):
    names = {f"wide/{number}/f": b"x" for number in range(300)} | {f"many/{number}": b"y" for number in range(130)}
    deep = "/".join("d" * 100)
    signed.write_tree(tmp_path / "r", {**names, f"{deep}/f": b"y"})
    whole = tree.scan(tmp_path / "r")
    before = len(os.listdir("/proc/self/fd"))
    assert tree.differences(whole, tmp_path / "r", owner=OWNER) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_comparing_writes_nothing(release):
    root, whole = release
    before = {path: path.lstat() for path in [root, *root.rglob("*")]}
    tree.differences(whole, root, owner=OWNER)
    after = {path: path.lstat() for path in [root, *root.rglob("*")]}
    assert {path: (s.st_mtime_ns, s.st_ctime_ns) for path, s in after.items()} == {
        path: (s.st_mtime_ns, s.st_ctime_ns) for path, s in before.items()
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    position=st.integers(min_value=0), bit=st.integers(0, 7), name=st.sampled_from(["app/bin/run", "app/data", "big"])
)
def test_a_flipped_bit_in_any_file_is_found(release, position, bit, name):
    root, whole = release
    path = root / name
    data = path.read_bytes()
    position %= len(data)
    path.write_bytes(data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])
    try:
        assert problems(root, whole) == {name: "other content"}
    finally:
        path.write_bytes(data)
