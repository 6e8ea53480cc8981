# SPDX-License-Identifier: GPL-3.0-or-later
"""What returns is on disk, whole, under its final name; what fails leaves the old content and no litter."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.slipway.base import files
from ansible.module_utils.slipway.base.errors import Refusal

FIFO = "a FIFO"
SOCKET = "a socket"
DIRECTORY = "a directory"
LINK = "a link to a regular file"
NOT_REGULAR = (FIFO, SOCKET, DIRECTORY, LINK)


def place(kind: str, path: Path) -> Path:
    """Put something that is no regular file at `path`."""
    if kind == FIFO:
        os.mkfifo(path)
    elif kind == SOCKET:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
    elif kind == DIRECTORY:
        path.mkdir()
    else:
        target = path.with_name("target")
        target.write_bytes(b"somebody else's")
        path.symlink_to(target)
    return path


def reason_of(call, *arguments, **options) -> str:
    with pytest.raises(Refusal) as refused:
        call(*arguments, **options)
    return refused.value.reason


def test_a_durable_write_is_synced_before_it_gets_its_name_and_its_name_is_synced_after(tmp_path, syscalls):
    files.write_durable(tmp_path / "file", b"data", mode=0o640)
    assert syscalls.calls == [
        ("write", "temporary"), ("fchmod", "temporary"), ("fsync", "temporary"), ("rename", "file"), ("fsync", tmp_path.name),
    ]  # fmt: skip


def test_a_durable_write_leaves_the_bytes_with_the_mode_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"something longer that was there before")
    before = os.umask(0o077)
    try:
        files.write_durable(path, b"data", mode=0o644, owner=(os.geteuid(), os.getegid()))
    finally:
        os.umask(before)
    assert path.read_bytes() == b"data"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["file"]


def test_a_durable_write_gives_the_file_to_its_owner(tmp_path):
    owner = (4711, 4712) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    files.write_durable(tmp_path / "file", b"data", mode=0o600, owner=owner)
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid) == owner


def test_a_durable_write_replaces_a_link_and_leaves_what_it_points_at(tmp_path):
    path = place(LINK, tmp_path / "file")
    files.write_durable(path, b"data", mode=0o600)
    assert not path.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("call", ["write", "fchmod", "fsync", "rename"])
def test_a_durable_write_that_fails_anywhere_keeps_the_old_content_and_leaves_no_litter(tmp_path, syscalls, call):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    syscalls.fail(call, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        files.write_durable(path, b"new", mode=0o600)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_fsync_is_not_tried_again(tmp_path, syscalls):
    syscalls.fail("fsync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        files.write_durable(tmp_path / "file", b"new", mode=0o600)
    assert [name for name, _ in syscalls.calls].count("fsync") == 1


def test_a_durable_write_that_runs_out_of_room_keeps_the_old_content_and_leaves_no_litter(tmp_path, file_size_limit):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    file_size_limit(4096)
    with pytest.raises(OSError, match="File too large"):
        files.write_durable(path, b"x" * 10_000, mode=0o600)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_durable_write_onto_a_directory_fails_and_leaves_it(tmp_path):
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_durable(tmp_path / "directory", b"data", mode=0o600)
    assert os.listdir(tmp_path) == ["directory"]


def crashed_write(path: Path) -> Path:
    """What a power cut in the middle of a durable write leaves."""
    left = files.temporary_name(path)
    left.write_bytes(b"half")
    return left


def test_what_a_crash_left_is_removed_and_nothing_that_looks_a_little_like_it(tmp_path):
    for name in ("a", "b"):
        crashed_write(tmp_path / name)
        (tmp_path / name).touch()
    alike = [".a", ".a.conf", "a.0123456789abcdef", ".a.0123456789abcde", ".a.0123456789ABCDEF", ".a.0123456789abcdef0"]
    for name in alike:
        (tmp_path / name).touch()
    files.remove_temporary(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(["a", "b", *alike])


def test_of_one_file_only_what_a_crash_left_of_it_is_removed(tmp_path):
    crashed_write(tmp_path / "a")
    other = crashed_write(tmp_path / "b")
    files.remove_temporary(tmp_path, "a")
    assert os.listdir(tmp_path) == [other.name]


def test_all_bytes_are_written_though_each_call_takes_a_few(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    files.write_durable(path, b"0123456789", mode=0o600)
    assert path.read_bytes() == b"0123456789"


def test_a_name_is_removed_and_then_its_directory_synced(tmp_path, syscalls):
    (tmp_path / "file").touch()
    files.remove_durable(tmp_path / "file")
    assert os.listdir(tmp_path) == []
    assert syscalls.calls == [("unlink", "file"), ("fsync", tmp_path.name)]


def test_a_name_that_is_gone_already_costs_no_sync(tmp_path, syscalls):
    files.remove_durable(tmp_path / "file")
    assert syscalls.calls == [("unlink", "file")]


def test_a_link_is_made_aside_and_renamed_and_then_its_directory_synced(tmp_path, syscalls):
    link = tmp_path / "current"
    link.symlink_to("releases/v1")
    syscalls.calls.clear()
    files.point_link(link, "releases/v2")
    assert os.readlink(link) == "releases/v2"
    assert syscalls.calls == [("symlink", "temporary"), ("rename", "current"), ("fsync", tmp_path.name)]
    assert os.listdir(tmp_path) == ["current"]


def test_a_link_that_cannot_be_renamed_says_what_it_said(tmp_path, syscalls):
    link = tmp_path / "current"
    link.symlink_to("releases/v1")
    syscalls.fail("rename", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        files.point_link(link, "releases/v2")
    assert os.readlink(link) == "releases/v1"
    assert os.listdir(tmp_path) == ["current"]


def test_a_directory_in_place_of_a_link_is_not_replaced(tmp_path):
    (tmp_path / "current").mkdir()
    with pytest.raises(IsADirectoryError):
        files.point_link(tmp_path / "current", "releases/v2")
    assert os.listdir(tmp_path) == ["current"]


def test_a_link_says_its_text_also_when_that_leads_nowhere(tmp_path):
    (tmp_path / "current").symlink_to("releases/gone")
    assert files.read_link(tmp_path / "current") == "releases/gone"


def test_no_link_says_nothing(tmp_path):
    assert files.read_link(tmp_path / "current") is None


@pytest.mark.parametrize("kind", ["file", DIRECTORY])
def test_what_is_no_link_is_refused_as_one(tmp_path, kind):
    path = tmp_path / "current"
    path.write_bytes(b"") if kind == "file" else path.mkdir()
    assert reason_of(files.read_link, path) == "not_a_link"


def test_other_errors_of_a_link_go_up(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.read_link(tmp_path / "file" / "current")


def test_a_regular_file_is_read_whole_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert files.read_regular(path, limit=5, what="trust policy") == b"12345"


def test_a_file_over_its_limit_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"123456")
    assert reason_of(files.read_regular, path, limit=5, what="trust policy") == "trust_policy_too_large"


def test_a_missing_file_is_refused_by_what_it_would_be(tmp_path):
    assert reason_of(files.read_regular, tmp_path / "no", limit=5, what="trust policy") == "trust_policy_missing"


def test_a_file_that_may_be_missing_reads_as_none(tmp_path):
    assert files.read_if_there(tmp_path / "no", limit=5, what="lease") is None


@pytest.mark.parametrize("kind", NOT_REGULAR)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT], ids=["to read", "to write"])
def test_what_is_no_regular_file_is_refused_at_once_and_left_as_it_is(tmp_path, kind, flags):
    path = place(kind, tmp_path / "x")
    before, descriptors = os.lstat(path), len(os.listdir("/proc/self/fd"))
    assert reason_of(files.open_regular, path, what="trust policy", flags=flags) == "trust_policy_not_regular"
    assert os.lstat(path).st_ino == before.st_ino
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_no_regular_file_is_not_read(tmp_path, kind):
    path = place(kind, tmp_path / "x")
    assert reason_of(files.read_regular, path, limit=5, what="trust policy") == "trust_policy_not_regular"


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_no_regular_file_has_no_digest(tmp_path, kind):
    assert reason_of(files.sha256_of, place(kind, tmp_path / "x")) == "file_not_regular"


def test_a_fifo_with_a_writer_is_refused_too(tmp_path):
    path = place(FIFO, tmp_path / "x")
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.write(descriptor, b"endless")
        assert reason_of(files.sha256_of, path) == "file_not_regular"
    finally:
        os.close(descriptor)


def test_other_errors_of_opening_go_up(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.read_regular(tmp_path / "file" / "x", limit=5, what="trust policy")


def test_a_digest_is_that_of_the_bytes(tmp_path):
    data = os.urandom(3 * files.COPY_BYTES // 2)
    (tmp_path / "file").write_bytes(data)
    assert files.sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_directory_is_synced_by_its_descriptor(tmp_path, syscalls):
    files.fsync_directory(tmp_path)
    assert syscalls.calls == [("fsync", tmp_path.name)]


def test_a_file_is_not_taken_for_a_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.fsync_directory(tmp_path / "file")


def test_a_whole_file_system_is_synced_through_any_directory_of_it(tmp_path):
    descriptors = len(os.listdir("/proc/self/fd"))
    files.sync_file_system(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_failed_sync_of_the_file_system_goes_up(tmp_path, monkeypatch):
    real_open = os.open
    # A descriptor that was opened with O_PATH is one that the kernel refuses to sync (EBADF).
    monkeypatch.setattr(os, "open", lambda path, flags: real_open(path, flags | os.O_PATH))
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.sync_file_system(tmp_path)


def tree_to_remove(directory: Path) -> Path:
    """A release as it could be: read-only directories, links out of it, and nothing that is ours to follow."""
    (directory / "a/b").mkdir(parents=True)
    (directory / "a/b/file").write_bytes(b"x")
    (directory / "a/file").write_bytes(b"x")
    (directory / "a/file").chmod(0o400)
    (directory / "a/out").symlink_to(directory.parent / "kept")
    (directory / "a/nowhere").symlink_to("gone")
    (directory / "a/b").chmod(0o555)
    (directory / "a").chmod(0o555)
    directory.chmod(0o555)
    return directory


def test_a_tree_is_removed_with_its_links_but_not_what_they_point_at(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o750)
    (kept / "file").write_bytes(b"kept")
    files.remove_tree(tree_to_remove(tmp_path / "release"))
    assert os.listdir(tmp_path) == ["kept"]
    assert (kept / "file").read_bytes() == b"kept"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o750


def test_a_link_in_place_of_a_tree_is_removed_alone(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (tmp_path / "release").symlink_to(kept)
    files.remove_tree(tmp_path / "release")
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(kept) == ["file"]


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(Refusal) as refused, files.full_disk_is_a_refusal(tmp_path, what="stage v1"):
        Path("/dev/full").write_bytes(b"x")
    assert refused.value.reason == "disk_full"
    assert refused.value.expected == f"room to stage v1 below {tmp_path}"
    assert "No space left on device" in refused.value.found


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EDQUOT, "disk_full"), (errno.EROFS, "file_system_read_only")],
    ids=["quota", "read-only"],
)
def test_a_quota_and_a_read_only_file_system_are_named_too(tmp_path, syscalls, number, reason):
    syscalls.fail("fsync", number)
    with pytest.raises(Refusal) as refused, files.full_disk_is_a_refusal(tmp_path, what="stage v1"):
        files.fsync_directory(tmp_path)
    assert refused.value.reason == reason


def test_any_other_error_goes_up_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), files.full_disk_is_a_refusal(tmp_path, what="stage v1"):
        (tmp_path / "no").read_bytes()


@pytest.fixture
def small_disk(tmp_path, file_size_limit):
    """A directory with room for 64 KiB, and what a write says that needs more: on a real small file system for root."""
    directory = tmp_path / "small"
    directory.mkdir()
    if os.geteuid() != 0:
        file_size_limit(64 * 1024)
        yield directory, OSError
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], check=True)
    yield directory, Refusal
    subprocess.run(["umount", directory], check=True)


def test_a_disk_that_fills_up_keeps_the_old_content(small_disk):
    directory, error = small_disk
    files.write_durable(directory / "file", b"old", mode=0o600)
    with pytest.raises(error), files.full_disk_is_a_refusal(directory, what="write"):
        files.write_durable(directory / "file", b"x" * 100_000, mode=0o600)
    assert (directory / "file").read_bytes() == b"old"
    assert os.listdir(directory) == ["file"]


def test_a_file_of_nothing_is_not_filled(tmp_path, monkeypatch):
    path = tmp_path / "credential"
    assert not files.is_filled(path)
    for content in (b"", b"\n", b" \t\n\r\n"):
        path.write_bytes(content)
        assert not files.is_filled(path)
    path.write_bytes(b"\n\xff")
    assert files.is_filled(path)
    assert files.is_filled(tmp_path)

    def closed(*_arguments):
        raise PermissionError

    monkeypatch.setattr(Path, "open", closed)
    assert files.is_filled(path)
