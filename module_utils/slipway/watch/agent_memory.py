# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent remembers from run to run, and over a reboot: one file, replaced as a whole.

A full disk must not silence it: what cannot be kept on disk is kept in /run until it can, and the newer of the two counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal
from ..base.files import read_if_there, write_durable
from ..host.places import Host
from .alert import Alert, encoded
from .circuit import Circuit
from .escalation import State

FORMAT: Final = 1
LIMIT: Final = 16 << 20
MODE: Final = 0o640


@dataclass(frozen=True)
class Post:
    """Where the agent of a host keeps things."""

    host: Host

    @property
    def directory(self) -> Path:
        """Not among the applications' states, of which each directory is one."""
        return self.host.root / "var/lib/slipway-watch"

    @property
    def state(self) -> Path:
        return self.directory / "state.json"

    @property
    def runtime(self) -> Path:
        """Empty after a reboot."""
        return self.host.root / "run/slipway-watch"

    @property
    def spare(self) -> Path:
        """The state, while the disk takes none."""
        return self.runtime / "state.json"

    @property
    def begun(self) -> Path:
        """There while a run has begun and not ended: the checks that it wanted to make."""
        return self.runtime / "begun.json"

    @property
    def lock(self) -> Path:
        return self.runtime / "lock"

    @property
    def alerts(self) -> Path:
        return self.directory / "alerts.jsonl"

    @property
    def hook_socket(self) -> Path:
        return self.host.root / "run/slipway-escalation.socket"


@dataclass
class Remembered:
    """Of one check: how far it has escalated, its last result, when it was last asked, and how often the probe itself did not work."""

    state: State = field(default_factory=State)
    result: dict[str, Any] | None = None
    asked: int | None = None
    errors: int = 0


@dataclass
class Queued:
    """An alert that waits: for ``alertmanager``, or for each of the channels ``pending`` when that did not take it.

    ``is_for_people`` is whether it goes out directly at all. ``raised`` is when it came here. ``was_taken`` is whether anybody took it;
    ``recipients`` are those who are left when others took the mail; ``waited`` is for how many seconds it was tried.
    """

    number: str
    alert: Alert
    pending: list[str]
    raised: int
    is_for_people: bool = True
    was_taken: bool = False
    recipients: list[str] = field(default_factory=list)
    waited: int = 0


@dataclass
class Memory:
    """All of it.

    ``firing`` are the alerts that were announced and not resolved, by key; ``verified`` is when all bytes of an application were; ``hooks``
    are the checks whose hook is due, and whether it was asked for; ``tried`` is when the queue last was; ``unreadable`` says which files were there and could not be read, and why.
    """

    serial: int = 0
    checks: dict[str, Remembered] = field(default_factory=dict)
    circuits: dict[str, Circuit] = field(default_factory=dict)
    queue: list[Queued] = field(default_factory=list)
    firing: dict[str, Alert] = field(default_factory=dict)
    verified: dict[str, int] = field(default_factory=dict)
    alerts: dict[str, int] = field(default_factory=dict)
    security: dict[str, int] = field(default_factory=dict)
    hooks: dict[str, bool] = field(default_factory=dict)
    tried: int = 0
    lost: int = 0
    is_new: bool = True
    unreadable: dict[Path, str] = field(default_factory=dict, compare=False)

    @classmethod
    def load(cls, post: Post) -> Memory:
        """The newer of what is on disk and in /run; a new one where there is none that can be read."""
        found, unreadable = [], {}
        for path in (post.state, post.spare):
            try:
                data = read_if_there(path, limit=LIMIT, what="watch state")
                found += [cls.of(json.loads(data))] if data is not None else []
            except (OSError, Refusal) as error:
                unreadable[path] = str(error)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                unreadable[path] = "it is no state of this version of the agent"
        memory = max(found, key=lambda memory: memory.serial, default=cls())
        memory.unreadable = unreadable
        return memory

    def save(self, post: Post) -> str:
        """Keep it; why it could only be kept in /run, or not at all, and "" where all is well."""
        self.serial += 1
        self.is_new = False
        data = encoded(json.dumps(self.as_dict(), ensure_ascii=False))  # JSON reads such an escape back as what it was
        try:
            write_durable(post.state, data, mode=MODE)
        except OSError as error:
            try:
                write_durable(post.spare, data, mode=MODE)
            except OSError as second:
                return f"not kept at all: {error}; {second}"
            return f"kept in {post.spare.parent} only: {error}"
        with suppress(OSError):
            post.spare.unlink(missing_ok=True)
        return ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "serial": self.serial,
            "checks": {
                key: {"state": each.state.as_dict(), "result": each.result, "asked": each.asked, "errors": each.errors}
                for key, each in self.checks.items()
            },
            "circuits": {kind: circuit.as_dict() for kind, circuit in self.circuits.items()},
            "queue": [
                {
                    "number": each.number, "alert": each.alert.as_dict(), "pending": each.pending, "raised": each.raised,
                    "is_for_people": each.is_for_people, "was_taken": each.was_taken, "recipients": each.recipients,
                    "waited": each.waited,
                }
                for each in self.queue
            ],
            "firing": {key: alert.as_dict() for key, alert in self.firing.items()},
            "verified": self.verified,
            "alerts": self.alerts,
            "security": self.security,
            "hooks": self.hooks,
            "tried": self.tried,
            "lost": self.lost,
        }  # fmt: skip

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Memory:
        """The reverse of ``as_dict``; KeyError, TypeError, ValueError or AttributeError for anything else."""
        if kept["format"] != FORMAT:
            raise ValueError("a state of another Slipway")
        return cls(
            serial=int(kept["serial"]),
            checks={
                key: Remembered(State.of(each["state"]), each["result"], each["asked"], int(each["errors"]))
                for key, each in kept["checks"].items()
            },
            circuits={kind: Circuit.of(each) for kind, each in kept["circuits"].items()},
            queue=[
                Queued(
                    each["number"], Alert.of(each["alert"]), list(each["pending"]), int(each["raised"]), bool(each["is_for_people"]),
                    bool(each.get("was_taken")), [str(address) for address in each.get("recipients", [])],
                    int(each.get("waited", 0)),
                )
                for each in kept["queue"]
            ],
            firing={key: Alert.of(each) for key, each in kept["firing"].items()},
            verified={name: int(at) for name, at in kept["verified"].items()},
            alerts={name: int(count) for name, count in kept["alerts"].items()},
            security={name: int(count) for name, count in kept["security"].items()},
            hooks={key: bool(was_asked) for key, was_asked in kept.get("hooks", {}).items()},
            tried=int(kept.get("tried", 0)),
            lost=int(kept["lost"]),
            is_new=False,
        )  # fmt: skip
