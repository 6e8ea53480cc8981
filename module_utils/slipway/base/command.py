# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that may hang, flood its output or leave children behind."""

from __future__ import annotations

import hashlib
import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

OUTPUT_LIMIT = 16 * 1024
DRAIN_SECONDS = 1.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Finished:
    """How a command ended: ``exit_code`` is None when it was killed at its time-out; ``output`` is the tail of both streams."""

    exit_code: int | None
    output: str

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0

    def described(self) -> str:
        ending = "killed at its time-out" if self.exit_code is None else f"exit code {self.exit_code}"
        return f"{ending}: {self.output.strip()}" if self.output.strip() else ending


class OutputDigest:
    """The sha256 of all that a command wrote, for as long as somebody waits for it: a ``take`` of `run`."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def take(self, data: bytes) -> bool:
        self._digest.update(data)
        return True

    def sha256(self) -> str:
        return self._digest.copy().hexdigest()


class Runner(Protocol):
    """How the domain runs a command."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float,
        user: str | None = None,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        given: bytes | None = None,
        take: Callable[[bytes], bool] | None = None,
    ) -> Finished: ...


def run(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    user: str | None = None,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: bytes | None = None,
    take: Callable[[bytes], bool] | None = None,
) -> Finished:
    """Run ``argv`` without a shell, in a session of its own, as ``user`` where one is named.

    Its environment is bare but for ``environment``. ``given`` is what it reads from its standard input, from memory alone; without it there
    is nothing to read. Secrets belong into one of the two: every user can read an argv.

    The whole process group is killed at the time-out, and also after a normal end, so that nothing is left behind. Who
    left the group (a daemon) goes on, but is not waited for, though it may still hold our end of the output.
    A command that cannot be started ends with exit code 127, as in sh(1). ``take`` gets all output as it comes, in another
    thread; when it answers False the group is killed and no more is taken.
    """
    variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/", **(environment or {})}
    try:
        identity = _identity(user)
        with _readable(given) as standard_input:
            process = subprocess.Popen(  # type: ignore[call-overload]
                argv, cwd=directory, env=variables, stdin=standard_input, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True, umask=0o077, **identity,
            )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Finished(127, str(error))
    tail = _Tail(process, take)
    tail.start()
    try:
        exit_code: int | None = process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        exit_code = None
    finally:
        _kill_group(process.pid)
        process.wait()
    tail.join(DRAIN_SECONDS)
    return Finished(exit_code, tail.text())


@contextmanager
def _readable(given: bytes | None) -> Iterator[int]:
    """A descriptor to read that from. A file without a name, since a pipe holds only so much until somebody reads."""
    if given is None:
        yield subprocess.DEVNULL
        return
    with os.fdopen(os.memfd_create("input"), "w+b") as memory:
        memory.write(given)
        memory.seek(0)
        yield memory.fileno()


def _identity(user: str | None) -> dict[str, object]:
    """The credentials to give up root for; nothing to change where we are not root (only tests are not)."""
    if user is None or os.geteuid() != 0:
        return {}
    try:
        group = pwd.getpwnam(user).pw_gid
    except KeyError:
        raise OSError(f"there is no user {user!r} on this host") from None
    return {"user": user, "group": group, "extra_groups": os.getgrouplist(user, group)}


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


class _Tail(threading.Thread):
    """Drains a pipe for as long as it lives and keeps only the end of what came."""

    def __init__(self, process: subprocess.Popen[bytes], take: Callable[[bytes], bool] | None) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._stream = cast(IO[bytes], process.stdout)
        self._take = take
        self._kept = b""

    def run(self) -> None:
        with self._stream:
            while chunk := os.read(self._stream.fileno(), 65536):
                self._kept = (self._kept + chunk)[-OUTPUT_LIMIT:]
                if self._take and not self._take(chunk):
                    self._take = None
                    if self._process.returncode is None:  # or its number may be another's by now
                        _kill_group(self._process.pid)

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")
