# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that can be put back to what it was: a host below a directory, with a systemd whose memory is a file.

Everything that an exchange leaves is on this disk, what runs included, so an exchange may end in any process, and
another process finds what it left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import played_creds
import releases
import signed
from ansible.module_utils.slipway.base import command
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host.places import Host, Places
from ansible.module_utils.slipway.host.store import Store
from releases import UNIT, V1, V2, V3, Site
from stores import Mirror

from faults import calls

Exchange = Callable[[Site], dict[str, Any]]
OUTSIDE = "/etc/motd"
PARTS = ("root", "systemd")
V4 = {**V1, "bin/shop!": b"#!/bin/sh\necho four\n"}
# Commands that releases bring, at every moment of a host, and a migration that v2 brings.
COMMAND = {"argv": ["true"], "timeout_seconds": 20}
MOMENTS = ("before_switch", "after_switch", "before_confirm", "after_confirm", "before_rollback", "after_rollback")
HOOKS = f"hooks: {json.dumps({moment: [COMMAND] for moment in MOMENTS})}"
MIGRATION = {**COMMAND, "name": "first", "reversible": True, "back": ["true"]}
MIGRATIONS = f"migrations: {json.dumps([MIGRATION])}"
# What the service gets of secrets under each release; "turned" is what v1 gets when it is deployed again.
CREDENTIALS = {
    **{release_id: {"key": f"of {release_id}", release_id: "one of its own"} for release_id in ("v1", "v2", "v3", "v4")},
    "turned": {"key": "another one"},
}  # fmt: skip


@dataclass
class Clock:
    """Stands still until something sleeps or a test moves it: the wall clock and CLOCK_BOOTTIME apart."""

    time: float = signed.NOW
    boot: float = 1000.0

    def now(self) -> int:
        return int(self.time)

    def elapsed(self) -> float:
        return self.boot

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.boot += seconds
        self.time += seconds


@dataclass(frozen=True)
class Systemd:
    """A Runner that plays `systemctl`: a file for each unit that runs says what release it runs, with which credentials; all else is run for real."""

    memory: Path
    link: Path
    credentials: Path
    before: list[Callable[[str], None]] = field(default_factory=list)  # asked with each verb

    def __call__(self, argv: Sequence[str], **options: Any) -> Finished:
        if argv[0] == "systemd-creds":
            return played_creds.play(argv, options.get("given"))
        if argv[0] != "systemctl":
            return command.run(argv, **options)
        verb, unit = argv[2], argv[-1]
        for ask in self.before:
            ask(verb)
        if verb == "show":
            names = re.fullmatch(r"--property=(.*)", argv[3])
            assert names
            state = "active" if (self.memory / unit).exists() else "inactive"
            known = {
                "LoadState": "loaded",
                "ActiveState": state,
                "SubState": "running" if state == "active" else "dead",
            }
            return Finished(0, "".join(f"{name}={known.get(name, '')}\n" for name in names[1].split(",")))
        if verb in ("restart", "reload-or-restart", "start"):
            links = [os.readlink(link) if link.is_symlink() else "nothing" for link in (self.link, self.credentials)]
            (self.memory / unit).write_text(" ".join(links))
        if verb == "stop":
            for each in argv[3:]:
                (self.memory / each).unlink(missing_ok=True)
        return Finished(0, "")

    def runs(self) -> dict[str, str]:
        """What runs: by unit, what the links to release and credentials said when it was started."""
        return {path.name: path.read_text() for path in sorted(self.memory.glob("*.service"))}

    def timers(self) -> list[str]:
        """The timers that were started and not stopped."""
        return sorted(path.name for path in self.memory.glob("*.timer"))


def credentials_of(which: str) -> dict[str, str]:
    """What the service gets of secrets under a release; of those that are not named above the one that all have."""
    return CREDENTIALS.get(which, {"key": f"of {which}"})


def bringing(which: str) -> dict[str, object]:
    """The keys of a request to stage that bring those credentials."""
    return played_creds.bringing(CREDENTIALS[which])


@dataclass
class Machine:
    """A site whose host can be put back; ``disk`` holds the host and what systemd remembers, ``desk`` the controller."""

    disk: Path
    desk: Path
    clock: Clock = field(default_factory=Clock)
    generations: dict[str, str] = field(default_factory=dict)  # of credentials, as the staging of each answered

    def __post_init__(self) -> None:
        root, memory = self.disk / "root", self.disk / "systemd"
        for place in (root / "etc", memory):
            place.mkdir(parents=True, mode=0o755)
        releases.bootstrap(root)
        self.systemd = Systemd(memory, root / "srv/shop/current", root / "var/lib/slipway/shop/credentials/current")
        host = Host(root=root, clock=self.clock, run=self.systemd, uid=os.geteuid())
        self.site = Site(self.desk, host)
        self.site.description |= {
            "health": [{"type": "unit"}, self.site.description["health"][-1]],
            "files": [{"source": "motd", "path": OUTSIDE, "owner": self.site.description["user"]}],
        }
        self.outside.write_bytes(b"from before\n")
        self.template = self.desk / "template"

    def use(self, clock: Any) -> None:
        """Let the host go by another clock."""
        self.site.host = replace(self.site.host, clock=clock)
        self.site.places = Places(self.site.host, self.site.application)
        self.site.store = Store(self.site.places)

    @classmethod
    def with_releases(cls, disk: Path, desk: Path) -> Machine:
        """Make one where v1 is active and v2 is staged; v3, packed for run-3, and v4 are only in the catalogue."""
        machine = cls(disk, desk)
        site = machine.site
        for release_id, files in (("v1", V1), ("v2", V2), ("v3", V3), ("v4", V4)):
            site.build(
                release_id,
                {**files, "motd": release_id.encode()},
                more=HOOKS if release_id == "v1" else f"{HOOKS}\n{MIGRATIONS}",
            )
        site.deploy("v1", "run-1", credentials=CREDENTIALS["v1"])
        machine.generations["v2"] = site.stage("v2", run=site.run("run-2"), **bringing("v2"))["generation"]
        machine.pack = site.pack("v3", site.objects("v3"), run_id="run-3")
        machine.bare_pack = site.pack("v3", (), run_id="bare")
        machine.remember()
        return machine

    @cached_property
    def mirror(self) -> Mirror:
        """An artifact store with all of the controller's releases; children of this process ask it too."""
        return Mirror(self.site.catalogue.root)

    @property
    def outside(self) -> Path:
        """The file outside the tree that a release replaces."""
        return self.site.host.root / OUTSIDE.lstrip("/")

    def remember(self) -> None:
        """This is how `start_over` puts the machine back."""
        for part in PARTS:
            calls.copy(self.disk / part, self.template / part)
        self._now = (self.clock.time, self.clock.boot)

    def start_over(self) -> None:
        for part in PARTS:
            calls.copy(self.template / part, self.disk / part)
        self.clock.time, self.clock.boot = self._now

    def lose_memory(self) -> None:
        """What a loss of power does beside the disk: nothing runs, and /run is empty."""
        shutil.rmtree(self.site.host.root / "run", ignore_errors=True)
        for path in self.systemd.memory.iterdir():
            path.unlink()

    def start_units(self) -> None:
        """What systemd does at the end of a boot: the application's unit starts."""
        if self.served:
            self.systemd(("systemctl", "--no-ask-password", "start", UNIT))

    def has_credentials(self, which: str) -> bool:
        """Whether a generation with those credentials is here."""
        directory = self.site.places.credentials
        expected = {f"slipway_{name}": value for name, value in CREDENTIALS[which].items()}
        found = (path for path in directory.iterdir() if path.is_dir() and not path.is_symlink())
        return any(self.site.gets(path.name) == expected for path in found)

    @property
    def credentials(self) -> str:
        """What the link to the credentials says."""
        return os.readlink(self.site.places.credentials / "current")

    @property
    def served(self) -> str | None:
        return Store(self.site.places).current()
