# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may change an application on this host, on two levels.

``exclusive`` (flock) guards one exchange: the kernel frees it when the process dies, however it dies. The lease guards
the time between the exchanges of one run, from the switch to its confirmation, and says who holds it. Staging takes none.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base import canonical
from ..base.clock import Clock, timestamp
from ..base.errors import Refusal
from ..base.files import full_disk_is_a_refusal, open_regular, read_if_there, remove_durable, write_durable

EXCLUSIVE_WAIT_SECONDS = 20.0
POLL_SECONDS = 0.05
LEASE_LIMIT = 64 * 1024
PROC: Final = Path("/proc")
STOPPED: Final = ("T", "t")  # by a signal, by a debugger


@dataclass(frozen=True)
class Run:
    """The run that asks: made once by the controller, the same on every host.

    ``dead_runs`` are runs of the same controller that it knows to be over without having settled.
    """

    run_id: str
    controller_id: str
    deployed_by: str
    dead_runs: tuple[str, ...] = ()
    lease_seconds: int = 900

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Run:
        return cls(
            str(values["run_id"]),
            str(values["controller_id"]),
            str(values["deployed_by"]),
            tuple(str(run) for run in values.get("dead_runs") or ()),
            int(values.get("lease_seconds") or 900),
        )

    def identity(self) -> dict[str, str]:
        """The part that records and journals keep."""
        return {"run_id": self.run_id, "controller_id": self.controller_id, "deployed_by": self.deployed_by}


@dataclass(frozen=True)
class Lease:
    """Times are Unix seconds of the host's own clock; ``token`` grows with every new lease (a fencing token)."""

    run_id: str
    controller_id: str
    holder: str
    reason: str
    since: int
    expires: int
    token: int

    def has_expired(self, now: int) -> bool:
        return now >= self.expires

    def yields_to(self, run: Run, now: int | None) -> bool:
        """Its own run goes on; a controller takes over from its own dead run; everybody may when it has expired.

        ``now`` is None where something else than the wall clock says that the run may still live.
        """
        if self.run_id == run.run_id or (now is not None and self.has_expired(now)):
            return True
        return self.controller_id == run.controller_id and self.run_id in run.dead_runs

    def described(self) -> str:
        return f"{self.holder} (run {self.run_id}, {self.reason}, since {timestamp(self.since)}, until {timestamp(self.expires)})"

    def as_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id, "controller_id": self.controller_id, "holder": self.holder, "reason": self.reason,
            "since": self.since, "expires": self.expires, "token": self.token,
        }  # fmt: skip


@dataclass(frozen=True)
class LeaseFile:
    """The lease of one application. Its methods are called under ``exclusive``."""

    path: Path

    def read(self) -> Lease | None:
        data = read_if_there(self.path, limit=LEASE_LIMIT, what="lease")
        if data is None:
            return None
        try:
            return Lease(**canonical.parse(data, what="lease"))
        except (Refusal, TypeError) as error:
            raise Refusal(
                "lease_unreadable",
                expected=f"the lease that Slipway wrote to {self.path}",
                found=str(error),
                remedy="Make sure that no run is under way for this host, then remove that file.",
            ) from error

    def require_free(self, run: Run, now: int) -> Lease | None:
        """The lease that ``run`` would take over, None where there is none; Refusal ``locked`` names the holder."""
        lease = self.read()
        if lease is not None and not lease.yields_to(run, now):
            raise locked(lease)
        return lease

    def take(self, run: Run, *, reason: str, now: int) -> Lease:
        """Take or renew the lease for ``run``."""
        before = self.require_free(run, now)
        renewed = before is not None and before.run_id == run.run_id
        lease = Lease(
            run_id=run.run_id,
            controller_id=run.controller_id,
            holder=run.deployed_by,
            reason=reason,
            since=before.since if before and renewed else now,
            expires=now + run.lease_seconds,
            token=before.token if before and renewed else max(now, before.token + 1 if before else 0),
        )
        write_durable(self.path, canonical.encode(lease.as_dict()), mode=0o644)
        return lease

    def release(self, run_id: str) -> None:
        """Give the lease up; a lease of another run is left alone."""
        lease = self.read()
        if lease is not None and lease.run_id == run_id:
            remove_durable(self.path)


def locked(lease: Lease) -> Refusal:
    """The holder is named to whoever comes second."""
    return Refusal(
        "locked",
        expected="no other run between its switch and its end on this host",
        found=f"held by {lease.described()}",
        remedy="Wait for that run to end. One that is held for a yes: playbooks/promote.yml. If its controller is gone, the lease ends at the time named.",
    )


@contextmanager
def exclusive(path: Path, clock: Clock, wait_seconds: float = EXCLUSIVE_WAIT_SECONDS) -> Iterator[None]:
    """Hold the application's flock for one exchange; Refusal ``busy`` when another exchange does not end in time."""
    with full_disk_is_a_refusal(path.parent, what="take the lock"):
        descriptor = open_regular(path, what="lock", flags=os.O_RDWR | os.O_CREAT)
    try:
        deadline = clock.elapsed() + wait_seconds
        while not _try_lock(descriptor):
            if clock.elapsed() >= deadline:
                raise Refusal(
                    "busy",
                    expected=f"the exchange that holds {path} to end within {wait_seconds:.0f} s",
                    found=_who_is_at_work(path.with_name("lease.json")),
                    remedy="Run the same command again; `fuser -v` on that file shows the process.",
                )
            clock.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def end_frozen(path: Path, *, proc: Path = PROC) -> int | None:
    """Kill the exchange that holds the lock and was stopped by a signal, as only that can free it; its process id, None where there is none.

    One that runs is left alone, however long it takes.
    """
    return _end_holder(path, proc, _is_stopped)


def end_abandoned(path: Path, *, proc: Path = PROC) -> int | None:
    """Kill what holds the lock, as `end_frozen` does, though it runs: what it works at nobody waits for, and can be gone on with."""
    return _end_holder(path, proc, lambda _process: True)


def _end_holder(path: Path, proc: Path, is_meant: Callable[[Path], bool]) -> int | None:
    """A process is the holder when the kernel says so of its open file, as ``proc``/<pid>/fdinfo/<n> has it (proc_pid_fdinfo(5))."""
    for name in (name for name in os.listdir(proc) if name.isdecimal()):
        with suppress(OSError):
            # Of this very process from here on, whoever gets its number when it ends.
            process = os.pidfd_open(int(name))
            try:
                if is_meant(proc / name) and _holds(proc / name, path):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    return int(name)
            finally:
                os.close(process)
    return None


def _is_stopped(process: Path) -> bool:
    state = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2][:1]
    return state in STOPPED


def _holds(process: Path, path: Path) -> bool:
    """Whether one of its open files is this one, with an flock on it."""
    return any(
        (process / "fd" / each).samefile(path) and "FLOCK" in (process / "fdinfo" / each).read_text(encoding="utf-8")
        for each in os.listdir(process / "fd")
        if (process / "fd" / each).exists()
    )


def _who_is_at_work(lease_path: Path) -> str:
    """The holder, as far as the lease beside the lock tells: staging takes none."""
    try:
        lease = LeaseFile(lease_path).read()
    except Refusal:
        lease = None
    return f"it is still running, for {lease.described()}" if lease else "it is still running on this host"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
