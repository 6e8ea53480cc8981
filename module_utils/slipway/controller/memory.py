# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller keeps for itself: who it is, which runs it began, and what it saw of hosts. One database behind one class.

The truth about releases is on the hosts; losing this loses the right to take over from one's own dead runs before
their leases end, and the memory that a host's history is judged by (witness.py): after that each host is seen for the
first time again.
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal
from ..base.files import read_regular, temporary_name, write_durable
from ..base.process import Process
from .state_database import UNUSABLE, Session, StateDatabase
from .state_place import StatePlace, place_of


@dataclass(frozen=True)
class KnownHost:
    """A host as this controller first saw it; the public history key is 64 hex digits and pinned since then."""

    id: str
    name: str
    history_key: str


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint that this controller cosigned: ``size`` lines with this ``root`` (64 hex digits), the signed ``note``."""

    size: int
    root: str
    note: str
    kept: int


@dataclass(frozen=True)
class Acceptance:
    """From when on (Unix seconds) a history is judged anew, since somebody said so of what was ``outcome``: it had ``size`` lines."""

    size: int = 0
    accepted: int = 0
    outcome: str = ""
    accepted_by: str = ""


@dataclass(frozen=True)
class Gate:
    """A run that is held after a wave, for a reason (``why``) and until a time; times are Unix seconds.

    ``decision`` is promoted, aborted or expired, and None while somebody may still say how to go on. ``heard`` is when the run itself
    has read it, None while it has not.
    """

    run_id: str
    wave: int
    why: str
    opened: int
    closes: int
    decision: str | None = None
    decided_by: str | None = None
    decided: int | None = None
    heard: int | None = None


@dataclass(frozen=True)
class Subject:
    """What a run is about: a release, its type and when it was made (Unix seconds), the runs that it takes back, and the group of runs
    that it belongs to, "" for none."""

    release_id: str = ""
    release_type: str = ""
    created: int | None = None
    takes_back: tuple[str, ...] = ()
    is_check: bool = False
    run_group: str = ""


@dataclass(frozen=True)
class HostOfRun:
    """How a run ended on a host, by the name that the inventory had for it; ``region`` is "" where it is not known."""

    name: str
    outcome: str
    region: str = ""


@dataclass(frozen=True)
class RunRecord:
    """What is remembered of a run. Times are Unix seconds; ``ended`` and ``outcome`` (as asked, not as asked) are None while it has no end.

    ``release_id`` and ``release_type`` are "" and ``created`` is None where nobody noted them, as before format 4.
    """

    run_id: str
    operation: str
    application: str
    environment: str
    deployed_by: str
    began: int
    ended: int | None = None
    outcome: str | None = None
    release_id: str = ""
    release_type: str = ""
    created: int | None = None
    takes_back: tuple[str, ...] = ()
    hosts: tuple[HostOfRun, ...] = ()
    run_group: str = ""


NOTHING: Final = Subject()
# Recorded of a run where there was no state to be had; no controller has it as its id.
NOBODY: Final = str(uuid.UUID(int=0))
INSTALLATION_LIMIT: Final = 64
GATE: Final = "run_id, wave, why, opened, closes, decision, decided_by, decided, heard"  # the columns of a Gate
RECORD: Final = (
    "run_id, operation, application, environment, deployed_by, began, ended, outcome, release_id, release_type, release_created, "
    "takes_back, run_group"
)


def installation_of(directory: Path) -> str:
    """The id of a controller's state directory, made when it is first needed; of processes that make it at once the first one's holds."""
    path = directory / "installation"
    if not path.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = temporary_name(path)
        write_durable(made, f"{uuid.uuid4()}\n".encode(), mode=0o600)
        with suppress(FileExistsError):
            os.link(made, path)
        made.unlink()
    return read_regular(path, limit=INSTALLATION_LIMIT, what="controller installation").decode("ascii").strip()


def new_run_id(now: int) -> str:
    """Sorts by time and is unique over controllers: run_20261121T031256Z_9f3a1c."""
    return f"run_{datetime.fromtimestamp(now, UTC).strftime('%Y%m%dT%H%M%SZ')}_{secrets.token_hex(3)}"


class ControllerState:
    """The controller's own memory: in the database of its place, or in the file of a directory alone.

    Where there is none yet, it is made; with ``is_there`` that is the refusal ``state_missing``.
    """

    def __init__(self, place: Path | StatePlace, *, is_there: bool = False) -> None:
        self.place = place_of(place)
        self.database = StateDatabase(self.place, is_there=is_there)

    @property
    def path(self) -> Path:
        """The SQLite file of this memory."""
        return self.place.path

    @cached_property
    def installation(self) -> str:
        """Which controller of those that share this memory it is; "" where it is the only one.

        A machine's and a container's names say too little: another one may have them as well.
        """
        return installation_of(self.place.directory) if self.place.is_shared else ""

    def controller_id(self) -> str:
        with self.database.reading() as connection:
            return str(connection.execute("SELECT id FROM controller").fetchone()[0])

    def begin_run(
        self,
        *,
        operation: str,
        application: str,
        environment: str,
        deployed_by: str,
        now: int,
        process: Process | None = None,
        subject: Subject = NOTHING,
    ) -> str:
        """Note a run before it touches a host, and return its id; ``process`` is the one that dies with the run."""
        run_id, runner = new_run_id(now), process or Process.of(os.getpid())
        with self.database.reading() as connection:
            connection.execute(
                "INSERT INTO runs (run_id, operation, application, environment, deployed_by, began, boot_id, namespace, pid, pid_started, "
                "installation, release_id, release_type, release_created, takes_back, is_check, run_group) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run_id, operation, application, environment, deployed_by, now, runner.boot_id, runner.namespace, runner.pid, runner.started,
                    self.installation, subject.release_id, subject.release_type, subject.created, " ".join(subject.takes_back), int(subject.is_check),
                    subject.run_group,
                ),
            )  # fmt: skip
        return run_id

    def end_run(self, run_id: str, *, outcome: str, now: int) -> None:
        """Note that a run settled every host that it reached. Refusal ``run_forgotten`` where it is not remembered any more."""
        with self.database.reading() as connection:
            found = connection.execute(
                "UPDATE runs SET ended = ?, outcome = ? WHERE run_id = ?", (now, outcome, run_id)
            )
        if not found.rowcount:
            raise Refusal(
                "run_forgotten",
                expected=f"the beginning of {run_id} in {self.place}, to note its end",
                found="no such run: the state was put back, or another one put in its place, while it went on",
                remedy="Its end is missing in reports. Verify what its hosts have recorded: playbooks/verify.yml.",
            )

    def living_runs(self) -> list[str]:
        """The runs without an end whose process is known to be there, oldest first.

        Of a run in another container, on another machine or of another controller nobody here can know that.
        """
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT run_id, boot_id, namespace, pid, pid_started FROM runs WHERE ended IS NULL AND installation = ? ORDER BY began, number",
                (self.installation,),
            ).fetchall()
        return [run_id for run_id, *process in rows if Process(*process).is_here()]

    def dead_runs(self, application: str, *, limit: int = 100) -> list[str]:
        """This controller's runs of an application whose process is gone, newest first.

        Ended ones belong to them: a host that was cut off when its run ended still holds that run's lease. Of another controller's run
        nobody here can know whether it lives: its lease decides.
        """
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT run_id, boot_id, namespace, pid, pid_started FROM runs WHERE application = ? AND installation = ? "
                "ORDER BY began DESC, number DESC LIMIT ?",
                (application, self.installation, limit),
            ).fetchall()
        return [run_id for run_id, *process in rows if not Process(*process).is_alive()]

    def hold(self, gate: Gate) -> None:
        """Let a run be held; whoever decides on it is another process of this controller."""
        with self.database.reading() as connection:
            connection.execute(
                "INSERT INTO gates (run_id, wave, why, opened, closes) VALUES (?, ?, ?, ?, ?) ON CONFLICT (run_id, wave) DO UPDATE SET "
                "why = excluded.why, opened = excluded.opened, closes = excluded.closes, decision = NULL, decided_by = NULL, decided = NULL, "
                "heard = NULL",
                (gate.run_id, gate.wave, gate.why, gate.opened, gate.closes),
            )

    def gate(self, run_id: str, wave: int) -> Gate | None:
        """The gate of a run after a wave, None where it was never held there."""
        with self.database.reading() as connection:
            row = connection.execute(
                f"SELECT {GATE} FROM gates WHERE run_id = ? AND wave = ?",  # noqa: S608 - names of columns
                (run_id, wave),
            ).fetchone()
        return Gate(*row) if row else None

    def held(self, now: int) -> list[Gate]:
        """The gates that nobody has decided on, of runs that may still be there to go on, oldest first.

        Not those of a run that has ended or whose process is gone, and none once its time is over: of a run in another container, such as
        a job of AWX that was cancelled, and of another controller's, nobody here can know more.
        """
        with self.database.reading() as connection:
            rows = connection.execute(
                f"SELECT installation, boot_id, namespace, pid, pid_started, {GATE} FROM gates JOIN runs USING (run_id) "  # noqa: S608 - names of columns
                "WHERE decision IS NULL AND closes > ? AND ended IS NULL ORDER BY opened, run_id, wave",
                (now,),
            ).fetchall()
        return [
            Gate(*gate)
            for installation, boot_id, namespace, pid, started, *gate in rows
            if installation != self.installation or Process(boot_id, namespace, pid, started).is_alive()
        ]

    def decide(self, run_id: str, wave: int, *, decision: str, decided_by: str, now: int) -> Gate | None:
        """Decide on a gate, once: the gate as it is decided now, by whoever came first. None where there is none."""
        with self.database.reading() as connection:
            connection.execute(
                "UPDATE gates SET decision = ?, decided_by = ?, decided = ? WHERE run_id = ? AND wave = ? AND decision IS NULL",
                (decision, decided_by, now, run_id, wave),
            )
        return self.gate(run_id, wave)

    def hear(self, run_id: str, wave: int, *, now: int) -> None:
        """Note that the run itself has read what was decided on its gate."""
        with self.database.reading() as connection:
            connection.execute("UPDATE gates SET heard = ? WHERE run_id = ? AND wave = ?", (now, run_id, wave))

    def run(self, run_id: str) -> RunRecord | None:
        """What is remembered of a run, without its hosts; None for one that was not begun here."""
        with self.database.reading() as connection:
            row = connection.execute(f"SELECT {RECORD} FROM runs WHERE run_id = ?", (run_id,)).fetchone()  # noqa: S608 - names of columns
        return _record(row) if row else None

    def runs_of_group(self, run_group: str) -> set[str]:
        """The ids of the runs of a group."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT run_id FROM runs WHERE run_group = ?", (run_group,)).fetchall()
        return {str(row[0]) for row in rows}

    def newest_run(self, application: str) -> str | None:
        """The run of an application that this controller began last, None where there was none."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT run_id FROM runs WHERE application = ? ORDER BY began DESC, number DESC LIMIT 1", (application,)
            ).fetchone()
        return str(row[0]) if row else None

    def hosts_of(self, application: str, environment: str) -> set[str]:
        """The names of the hosts that said they recorded a run of an application in an environment."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT hosts.name FROM run_hosts JOIN runs USING (run_id) JOIN hosts ON hosts.id = host_id "
                "WHERE application = ? AND environment = ? AND recorded = 1",
                (application, environment),
            ).fetchall()
        return {str(row[0]) for row in rows}

    def run_ids(self, application: str) -> set[str]:
        """Every run of an application that this controller ever began."""
        with self.database.reading() as connection:
            return {
                row[0] for row in connection.execute("SELECT run_id FROM runs WHERE application = ?", (application,))
            }

    def note_host_of_run(
        self, run_id: str, *, host_id: str, outcome: str, recorded: bool, now: int, name: str = "", region: str = ""
    ) -> None:
        """Note how a run ended on a host, and whether the host said that it ``recorded`` something under it."""
        with self.database.reading() as connection:
            connection.execute(
                "INSERT INTO run_hosts (run_id, host_id, outcome, recorded, noted, name, region) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (run_id, host_id) DO UPDATE SET outcome = excluded.outcome, recorded = excluded.recorded, noted = excluded.noted, "
                "name = excluded.name, region = excluded.region",
                (run_id, host_id, outcome, int(recorded), now, name, region),
            )

    def runs(self, *, application: str = "", environment: str = "", since: int = 0) -> list[RunRecord]:
        """The runs that were more than a check, oldest first, of an application and an environment where they are named."""
        with self.database.reading() as connection:
            rows = connection.execute(
                f"SELECT {RECORD} FROM runs WHERE is_check = 0 AND began >= ? AND ? IN ('', application) AND ? IN ('', environment) "  # noqa: S608 - names of columns
                "ORDER BY began, number",
                (since, application, environment),
            ).fetchall()
            reached = connection.execute(
                "SELECT run_id, host_id, run_hosts.name, region, run_hosts.outcome, hosts.name FROM run_hosts JOIN runs USING (run_id) "
                "LEFT JOIN hosts ON hosts.id = host_id WHERE began >= ? ORDER BY run_hosts.name, host_id",
                (since,),
            ).fetchall()
        hosts: dict[str, list[HostOfRun]] = {}
        for run_id, host_id, name, region, outcome, named in reached:
            hosts.setdefault(run_id, []).append(HostOfRun(name or named or host_id, outcome, region))
        return [replace(_record(row), hosts=tuple(hosts.get(row[0], ()))) for row in rows]

    def keeps_checkpoints(self) -> bool:
        """Whether any history was witnessed yet."""
        with self.database.reading() as connection:
            return connection.execute("SELECT 1 FROM checkpoints LIMIT 1").fetchone() is not None

    def recorded_runs(self, host_id: str, application: str, *, since: int) -> list[str]:
        """The runs of an application that the host said it recorded, noted after ``since`` (Unix seconds), oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT run_id FROM run_hosts JOIN runs USING (run_id) "
                "WHERE host_id = ? AND application = ? AND recorded = 1 AND noted > ? ORDER BY began, run_id",
                (host_id, application, since),
            ).fetchall()
        return [row[0] for row in rows]

    def pin(self, host: KnownHost, *, now: int) -> KnownHost:
        """Remember a host by its history key, and return what is remembered: a key that is pinned stays.

        The name may change: it is the inventory's. The host that got a name last is the one that has it.
        """
        with self.database.changing() as connection:
            connection.execute(
                "INSERT INTO hosts SELECT ?, ?, ?, ?, coalesce(max(named), 0) + 1 FROM hosts WHERE true "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, named = excluded.named WHERE hosts.name != excluded.name",
                (host.id, host.name, host.history_key, now),
            )
            row = connection.execute("SELECT id, name, history_key FROM hosts WHERE id = ?", (host.id,)).fetchone()
        return KnownHost(*row)

    def hosts(self) -> list[KnownHost]:
        """Every host that this controller ever saw; of several with one name the last is the one that has it now."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT id, name, history_key FROM hosts ORDER BY named").fetchall()
        return [KnownHost(*row) for row in rows]

    def checkpoints(self, host_id: str, application: str) -> list[KeptCheckpoint]:
        """The checkpoints that a history is judged by, the oldest first: those since the last acceptance."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT size, root, note, kept FROM checkpoints WHERE host_id = ? AND application = ? AND era = ? ORDER BY size",
                (host_id, application, _era(connection, host_id, application)),
            ).fetchall()
        return [KeptCheckpoint(*row) for row in rows]

    def keep_checkpoint(
        self, host_id: str, application: str, checkpoint: KeptCheckpoint, *, after: KeptCheckpoint | None
    ) -> bool:
        """Keep a checkpoint for ever, if the newest one is still the one that it was proven ``after``; False when it is not.

        Another run of this controller may have been there in between: what it kept, this one was not proven against.
        """
        with self.database.changing() as connection:
            era = _era(connection, host_id, application)
            newest = connection.execute(
                "SELECT max(size) FROM checkpoints WHERE host_id = ? AND application = ? AND era = ?",
                (host_id, application, era),
            ).fetchone()[0]
            if newest != (after.size if after else None):
                return False
            connection.execute(
                "INSERT INTO checkpoints (host_id, application, era, size, root, note, kept) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (host_id, application, era, checkpoint.size, checkpoint.root, checkpoint.note, checkpoint.kept),
            )
        return True

    def accept(
        self, host: KnownHost, application: str, *, size: int, outcome: str, detail: str, accepted_by: str, now: int
    ) -> None:
        """Judge a history anew from what the host has now; what was kept before stays, and why it no longer counts."""
        with self.database.changing() as connection:
            pinned = connection.execute("SELECT history_key FROM hosts WHERE id = ?", (host.id,)).fetchone()
            previous = pinned[0] if pinned and pinned[0] != host.history_key else None
            connection.execute(
                "INSERT INTO hosts SELECT ?, ?, ?, ?, coalesce(max(named), 0) + 1 FROM hosts WHERE true "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, history_key = excluded.history_key, named = excluded.named",
                (host.id, host.name, host.history_key, now),
            )
            connection.execute(
                "INSERT INTO acceptances (host_id, application, size, outcome, detail, previous_key, accepted_by, accepted) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (host.id, application, size, outcome, detail, previous, accepted_by, now),
            )

    def acceptance(self, host_id: str, application: str) -> Acceptance:
        """The newest acceptance of a history; one of nothing at the beginning of time where there is none."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT size, accepted, outcome, accepted_by FROM acceptances WHERE host_id = ? AND application = ? ORDER BY number DESC",
                (host_id, application),
            ).fetchone()
        return Acceptance(*row) if row else Acceptance()


def needed_memory(place: StatePlace, what: str, *, is_there: bool = False) -> ControllerState:
    """The memory that something cannot be done without, whatever an operator has said; ``what`` is that, for people.

    Refusal ``controller_memory_needed`` where it cannot be had and he said to go on without it; with ``is_there`` also ``state_missing``.
    """
    try:
        return ControllerState(place, is_there=is_there)
    except Refusal as refusal:
        if place.is_required or refusal.reason not in UNUSABLE:
            raise
        raise Refusal(
            "controller_memory_needed",
            expected=refusal.expected,
            found=refusal.found,
            remedy=f"Mend that: {what} is in it, so that slipway_state_required=false does not do without it here.",
        ) from refusal


def _record(row: Sequence[Any]) -> RunRecord:
    """A run of the columns of RECORD."""
    *about, taken, run_group = row
    return replace(RunRecord(*about), takes_back=tuple(taken.split()), run_group=run_group)


def _era(connection: Session, host_id: str, application: str) -> int:
    """How often a history was accepted: checkpoints of an earlier era judge nothing any more."""
    count = connection.execute(
        "SELECT count(*) FROM acceptances WHERE host_id = ? AND application = ?", (host_id, application)
    ).fetchone()
    return int(count[0])
