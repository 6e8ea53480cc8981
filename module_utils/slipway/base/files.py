# SPDX-License-Identifier: GPL-3.0-or-later
"""Durable file operations: what returns is on disk, whole, under its final name.

The order that survives a power cut is always the same: write a temporary name, fsync it, rename it over the final
name, fsync the directory. A failed fsync is never retried, because the kernel marks the page clean (LWN 752063):
the error goes up and the caller aborts.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Refusal

COPY_BYTES = 1 << 20
HOLE_BYTES = 1 << 16
# What open(2) says, with the flags below, of names that are no regular files.
NOT_REGULAR = {errno.ELOOP: "a symbolic link", errno.ENXIO: "a socket", errno.EISDIR: "a directory"}


def fsync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """One syncfs(2) for a whole tree: far cheaper than an fsync for each of thousands of files."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other writer uses and that readers of ``path`` never see."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def remove_temporary(directory: Path, name: str = "*") -> None:
    """Remove the temporary names that a crash left in a directory, of the file ``name`` or of all; no writer may be at work."""
    for path in directory.glob(f".{name}.{'[0-9a-f]' * 16}"):
        path.unlink()


def write_durable(path: Path, data: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace ``path`` by ``data`` atomically and durably; the old content survives any failure.

    ``owner`` is a numeric (user, group); without one the file belongs to who writes it.
    """
    temporary = temporary_name(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        try:
            write_all(descriptor, data)
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """write(2) may take less than it was given, for one when the disk fills up."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_sparse(descriptor: int, data: bytes) -> None:
    """Write ``data``, or leave a hole where it is many zeros; whoever has written all gives the file its size (ftruncate)."""
    if len(data) >= HOLE_BYTES and data == bytes(len(data)):
        os.lseek(descriptor, len(data), os.SEEK_CUR)
    else:
        write_all(descriptor, data)


def remove_durable(path: Path) -> None:
    """Remove a name and make its absence durable; a name that is gone already is no error."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    fsync_directory(path.parent)


def point_link(link: Path, target: str) -> None:
    """Let the symbolic link ``link`` say ``target`` by one atomic rename."""
    temporary = temporary_name(link)
    os.symlink(target, temporary)
    try:
        os.rename(temporary, link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(link.parent)


def read_link(link: Path) -> str | None:
    """What a symbolic link says, None where there is none; Refusal ``not_a_link`` for anything else of that name."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Refusal(
            "not_a_link",
            expected=f"a symbolic link or nothing at {link}",
            found="a file or directory",
            remedy="Find out who put it there, then remove it.",
        ) from None


@contextmanager
def opened_directory(directory: Path, *, what: str) -> Iterator[int]:
    """A descriptor of a directory that is itself no link; Refusal ``<what>_missing`` where there is none, or no directory."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise _missing(directory, what, error.strerror or "no directory") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(
    path: Path, *, what: str, flags: int = os.O_RDONLY, mode: int = 0o600, directory: int | None = None
) -> int:
    """A descriptor of a regular file; never follows a link, never blocks on a FIFO.

    FileNotFoundError where there is no such name (``flags`` may create it, then with ``mode``); Refusal
    ``<what>_not_regular`` for a link, a directory or a special file. With the descriptor of an open ``directory`` the name is
    looked up in that, whatever the rest of the path has become.
    """
    name = path if directory is None else path.name
    try:
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=directory)
    except OSError as error:
        found = NOT_REGULAR.get(error.errno or 0)
        if found is None:
            raise
        raise _not_regular(path, what, found) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path, what, "a special file or directory")
    return descriptor


def read_regular(
    path: Path,
    *,
    limit: int,
    what: str,
    directory: int | None = None,
    judge: Callable[[int], None] = lambda _file: None,
) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; Refusal ``<what>_missing`` where there is none.

    ``judge`` is shown the descriptor that is read from, and may refuse it.
    """
    data = read_if_there(path, limit=limit, what=what, directory=directory, judge=judge)
    if data is None:
        raise _missing(path, what, "no such file")
    return data


def read_if_there(
    path: Path,
    *,
    limit: int,
    what: str,
    directory: int | None = None,
    judge: Callable[[int], None] = lambda _file: None,
) -> bytes | None:
    """The same, and None where there is no such file."""
    try:
        descriptor = open_regular(path, what=what, directory=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        judge(descriptor)
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise Refusal(
            f"{_code(what)}_too_large",
            expected=f"at most {limit} bytes in {path}",
            found="more than that",
            remedy="Replace it by the file that Slipway wrote.",
        )
    return data


def is_filled(path: Path) -> bool:
    """Whether there is something at a path, and, where that is a file that can be read, anything but white space in it."""
    try:
        if not path.is_file():
            return path.exists()
        with path.open("rb") as lines:
            return any(not line.isspace() for line in lines)
    except OSError:  # whoever reads it says why
        return True


def _missing(path: Path, what: str, found: str) -> Refusal:
    return Refusal(
        f"{_code(what)}_missing",
        expected=f"a {what} at {path}",
        found=found,
        remedy="Give the right path. On a host: playbooks/bootstrap.yml makes what belongs to every host.",
    )


def _not_regular(path: Path, what: str, found: str) -> Refusal:
    return Refusal(
        f"{_code(what)}_not_regular",
        expected=f"a regular file at {path}",
        found=found,
        remedy="Find out who put it there, then remove it.",
    )


def _code(what: str) -> str:
    return what.replace(" ", "_")


def sha256_of(path: Path) -> str:
    """Lower hex SHA-256 of a regular file's bytes, in bounded memory."""
    with os.fdopen(open_regular(path, what="file"), "rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_open(descriptor: int, size: int) -> str:
    """The same of a file that should have ``size`` bytes: one more is read at most, so that one that grows meanwhile shows and one
    without end ends.
    """
    data = os.read(descriptor, min(size + 1, COPY_BYTES))
    digest = hashlib.sha256(data)
    left = size + 1 - len(data)
    while data and left and size >= COPY_BYTES:
        data = os.read(descriptor, min(left, COPY_BYTES))
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


def remove_tree(directory: Path) -> None:
    """Remove a directory of ours, read-only subdirectories included; links are removed, never followed."""
    if directory.is_symlink():
        directory.unlink()
        return
    for current, names, _files in os.walk(directory):
        os.chmod(current, 0o700)
        for name in names:
            path = Path(current, name)
            if not path.is_symlink():
                os.chmod(path, 0o700)
    for current, names, files in os.walk(directory, topdown=False):
        for name in files:
            os.unlink(f"{current}/{name}")
        for name in names:
            path = Path(current, name)
            path.unlink() if path.is_symlink() else path.rmdir()
    directory.rmdir()


@contextmanager
def full_disk_is_a_refusal(directory: Path, *, what: str) -> Iterator[None]:
    """Name the full file system instead of showing a bare ENOSPC, EDQUOT or EROFS."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        room = os.statvfs(directory)
        is_read_only = error.errno == errno.EROFS
        raise Refusal(
            "file_system_read_only" if is_read_only else "disk_full",
            expected=f"room to {what} below {directory}",
            found=f"{os.strerror(error.errno)} ({room.f_bavail * room.f_frsize} bytes and {room.f_favail} inodes free)",
            remedy="Find out why (a disk that fails is made read-only), mount it writable, then run the same command again."
            if is_read_only
            else "Free space there (release_keep_count says how many releases stay), then run the same command again.",
        ) from error


@contextmanager
def denied_is_a_refusal(directory: Path, *, what: str) -> Iterator[None]:
    """Name who may write below ``directory`` instead of showing a bare EACCES or EPERM: Refusal ``write_denied``."""
    try:
        yield
    except PermissionError as error:
        path = Path(error.filename2 or error.filename or directory)
        there = next(each for each in (path, *path.parents) if os.path.lexists(each))
        status = os.lstat(there)
        raise Refusal(
            "write_denied",
            expected=f"uid {os.geteuid()} to be allowed to {what} below {directory}",
            found=f"{error.strerror} at {there} ({stat.filemode(status.st_mode)} of uid {status.st_uid}, group {status.st_gid})",
            remedy=f"Run it as who owns it. If uid {os.geteuid()} is to write there, give it all of it, as root: "
            f"chown -R {os.geteuid()}:{os.getegid()} {directory}",
        ) from error
