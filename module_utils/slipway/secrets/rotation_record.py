# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller keeps of the newest rotation of each secret: how far it is, under whose hands, and never a value.

A file for each environment and secret, ``rotations/<environment>/<name>.json`` below the state directory (a / in the name is a dot), canonical JSON,
replaced by one durable rename before what it announces is done.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..base import canonical
from ..base.errors import Refusal, shown
from ..base.fields import NAME as ENVIRONMENT
from ..base.fields import Fields
from ..base.files import full_disk_is_a_refusal, open_regular, read_if_there, write_durable
from ..base.process import Process

DIRECTORY: Final = "rotations"
FORMAT: Final = 1
LIMIT: Final = 64 << 10
REASON: Final = "rotation_record_altered"
REMEDY: Final = "Put the file back from a backup, or move it away: then the origin of the version in use is not known, and it is not revoked."

MAKING: Final = "making"  # the candidate is being made
MADE: Final = "made"  # it is there; hosts may have it
HANDED_OUT: Final = "handed_out"  # some hosts have it, not all
PROVEN: Final = "proven"  # every host was healthy with it
ADOPTED: Final = "adopted"  # it is the newest version at the provider
RETIRED: Final = "retired"  # and nobody can use the one before
TAKING_BACK: Final = "taking_back"  # hosts go back to the one before, or have
TAKEN_BACK: Final = "taken_back"  # the candidate is gone
CLOSED: Final = (RETIRED, TAKEN_BACK)
STATES: Final = (MAKING, MADE, HANDED_OUT, PROVEN, ADOPTED, RETIRED, TAKING_BACK, TAKEN_BACK)


@dataclass(frozen=True)
class Rotation:
    """One rotation of one secret, from the version ``before`` to ``after``, as the provider calls or will call them.

    ``origin`` and ``origin_before`` say where the two came from (see secret_maker.py). ``applications`` has for each that reads the secret the run in which all
    of its hosts had the new version, or an empty text. ``by`` is who runs it, in ``run_id``, in ``process``; ``resumed`` whether an earlier run may have
    handed it out.
    """

    id: str
    name: str
    provider: str
    state: str
    before: str
    after: str
    by: str
    run_id: str
    process: Process
    began: str
    changed: str
    origin: Mapping[str, str] = field(default_factory=dict)
    origin_before: Mapping[str, str] = field(default_factory=dict)
    applications: Mapping[str, str] = field(default_factory=dict)
    resumed: bool = False

    @property
    def is_open(self) -> bool:
        return self.state not in CLOSED

    @property
    def waits_for(self) -> list[str]:
        """The applications whose hosts did not all have it yet."""
        return sorted(name for name, run in self.applications.items() if not run)


@dataclass(frozen=True)
class RotationRecords:
    """The rotations of one environment, below the state directory."""

    state: Path
    environment: str

    def __post_init__(self) -> None:
        if not ENVIRONMENT.match(self.environment):
            raise Refusal(
                "rotation_environment_invalid",
                expected="slipway_environment of the hosts, a word such as prod",
                found=shown(self.environment),
                remedy="Set it in group_vars, or say -e secret_environment=<a group of hosts that has one>.",
            )

    @property
    def directory(self) -> Path:
        return self.state / DIRECTORY / self.environment

    def read(self, name: str) -> Rotation | None:
        """The newest rotation of a secret, None where there was none."""
        data = read_if_there(self._path(name), limit=LIMIT, what="rotation record")
        return None if data is None else self._parsed(data, name)

    def all(self) -> list[Rotation]:
        """The newest rotation of every secret, sorted by name."""
        names = [path.stem.replace(".", "/") for path in self.directory.glob("[!.]*.json")]
        return [found for name in sorted(names) if (found := self.read(name))]

    def save(self, rotation: Rotation) -> Rotation:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = canonical.encode({"format": FORMAT, **dataclasses.asdict(rotation)}) + b"\n"
        with full_disk_is_a_refusal(self.directory, what="keep how far a rotation is"):
            write_durable(self._path(rotation.name), data, mode=0o600)
        return rotation

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time, for as long as it takes to say whose a rotation is."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_regular(
            self.directory / ".lock", what="lock of the rotations", flags=os.O_RDWR | os.O_CREAT
        )  # fmt: skip
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self.directory / f"{name.replace('/', '.')}.json"

    def _parsed(self, data: bytes, name: str) -> Rotation:
        try:
            given: Any = canonical.parse_canonical(data.removesuffix(b"\n"), what="rotation record", limit=LIMIT)
        except Refusal:
            given = None
        fields = Fields(given, f"record of the rotation of {name}", REASON, REMEDY)
        if fields.integer("format") != FORMAT:
            raise fields.refusal("format", f"format {FORMAT}", given["format"])
        process = fields.object("process")
        found = {
            each.name: fields.take(each.name) for each in dataclasses.fields(Rotation) if each.name != "process"
        }  # fmt: skip
        fields.end()
        if found["name"] != name or found["state"] not in STATES:
            raise fields.refusal("", f"the name {name} and a state of {', '.join(STATES)}", found["state"])
        about = {each.name: process.take(each.name) for each in dataclasses.fields(Process)}
        return Rotation(**found, process=Process(**about))
