# SPDX-License-Identifier: GPL-3.0-or-later
"""A host to work on: real files below tmp_path, a clock that tests set, and a systemctl that says what tests want."""

from __future__ import annotations

import json
import os
import re
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import played_creds
import pytest
import signed
from ansible.module_utils.slipway.base import command
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host.places import Host, Places
from ansible.module_utils.slipway.trust.policy import TrustPolicy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from releases import bootstrap

HOST_ID = signed.HOST_ID

UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


@dataclass
class FakeClock:
    """Stands still until a test sets it or something sleeps; `slept` is what was slept, in order."""

    time: float = signed.NOW
    boot: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> int:
        return int(self.time)

    def elapsed(self) -> float:
        return self.boot

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.boot += seconds
        self.time += seconds


@dataclass
class FakeSystemctl:
    """A Runner in which `systemctl` is played and every other command is run for real.

    `units` maps a unit to its (load, active, sub); an unknown one is not-found. `restart`, `reload-or-restart` and
    `start` make a loaded unit active, `stop` inactive, unless `ends[verb]` says how the verb ends instead. `calls` are
    the played commands without `systemctl --no-ask-password`; `before` is called with each of them first. `properties`
    are what `show` says of a unit beside its state; `credentials` what `busctl` says of it. The timers of dead-men are apart:
    `timers` are those that were started and not stopped; `timers_end` is how starting one ends; `on_timer` is called first.
    `state` is that of the whole system. `creds` is how systemd-creds ends, None where it does what it is asked.
    """

    units: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    ends: dict[str, Finished] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    before: Callable[[tuple[str, ...]], None] = lambda _arguments: None
    properties: dict[str, dict[str, Any]] = field(default_factory=dict)
    credentials: dict[str, dict[str, Any]] = field(default_factory=dict)
    timers: list[str] = field(default_factory=list)
    timers_end: Finished = field(default_factory=lambda: Finished(0, ""))
    on_timer: Callable[[str], None] = lambda _verb: None
    state: str = "running"
    creds: Finished | None = None

    def __call__(self, argv: Sequence[str], **options: Any) -> Finished:
        if argv[0] == "busctl":
            return self._credentials(argv)
        if argv[0] == "systemd-creds":
            return self.creds or played_creds.play(argv, options["given"] if argv[1] == "encrypt" else None)
        if argv[0] != "systemctl":
            return command.run(argv, **options)
        assert argv[1] == "--no-ask-password"
        arguments = tuple(argv[2:])
        if arguments[-1].startswith("slipway-deadman-"):
            return self._timer(arguments[0], arguments[1:])
        if arguments == ("is-system-running",):
            return Finished(0, f"{self.state}\n")
        self.before(arguments)
        self.calls.append(arguments)
        if (
            arguments[0] == "show"
            and "show" not in self.ends
            and (names := re.fullmatch(r"--property=(.*)", arguments[1]))
        ):
            return self._show(names[1].split(","), arguments[-1])
        return self._play(arguments[0], arguments[-1])

    def _timer(self, verb: str, names: Sequence[str]) -> Finished:
        self.on_timer(verb)
        if verb == "start" and self.timers_end.succeeded:
            self.timers.extend(names)
        if verb == "stop":
            self.timers = [timer for timer in self.timers if timer not in names]
        return self.timers_end if verb == "start" else Finished(0, "")

    def _show(self, names: list[str], unit: str) -> Finished:
        """In an order of systemd's own; a list of values is a line for each."""
        load, active, sub = self.units.get(unit, ("not-found", "inactive", "dead"))
        known = {"LoadState": load, "ActiveState": active, "SubState": sub, **self.properties.get(unit, {})}
        lines = []
        for name in sorted(set(names) & set(known)):
            values = known[name] if isinstance(known[name], list) else [known[name]]
            lines += [f"{name}={value}\n" for value in values]
        return Finished(0, "".join(lines))

    def _credentials(self, argv: Sequence[str]) -> Finished:
        """What busctl says of a unit's credentials; an unknown property ends it, as before systemd 254, and is said first."""
        unit = re.sub(r"_([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), argv[4].rpartition("/")[2])
        lines = []
        for name in argv[6:]:
            if name not in self.credentials.get(unit, {}):
                return Finished(1, "".join([f"Failed to get property {name}\n", *lines]))
            lines.append(json.dumps({"type": "", "data": self.credentials[unit][name]}) + "\n")
        return Finished(0, "".join(lines))

    def _play(self, verb: str, unit: str) -> Finished:
        load, _active, _sub = self.units.get(unit, ("not-found", "inactive", "dead"))
        if verb in self.ends:
            return self.ends[verb]
        if verb == "daemon-reload":
            return Finished(0, "")
        if load != "loaded":
            return Finished(5, f"Unit {unit} not loaded.\n")
        if verb in ("restart", "reload-or-restart", "start"):
            self.units[unit] = (load, "active", "running")
        if verb == "stop":
            self.units[unit] = (load, "inactive", "dead")
        return Finished(0, "")

    @property
    def verbs(self) -> list[str]:
        """What was asked of systemd, without the questions about state."""
        return [arguments[0] for arguments in self.calls if arguments[0] != "show"]


@dataclass(frozen=True)
class Signing:
    """The keys of tests/signed.py and the trust policy with the environments staging and prod that they make."""

    root: Ed25519PrivateKey
    builder: Ed25519PrivateKey
    envelope: bytes
    policy: TrustPolicy


class Syscalls:
    """Notes, in order, the calls that durability hangs on, and lets one of them fail where a test says so.

    `calls` are pairs like ("fsync", "history.jsonl"); a temporary name, whose end is random, is noted as "temporary".
    """

    NAMES = ("fsync", "fchmod", "ftruncate", "rename", "symlink", "unlink", "write")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self._failures: dict[str, int] = {}
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def fail(self, name: str, number: int) -> None:
        """Let the next call of `name` fail with this errno."""
        self._failures[name] = number

    def _noting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, self._named(arguments[1] if name in ("rename", "symlink") else arguments[0])))
            if name in self._failures:
                number = self._failures.pop(name)
                raise OSError(number, os.strerror(number))
            return call(*arguments, **options)

        return noted

    def _named(self, target: Any) -> str:
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
        name = os.path.basename(path)
        return "temporary" if re.fullmatch(r"\..+\.[0-9a-f]{16}", name) else name


@pytest.fixture
def syscalls(monkeypatch: pytest.MonkeyPatch) -> Syscalls:
    return Syscalls(monkeypatch)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Lift a limit before the test is reported: what pytest prints may go to a file that is longer than it."""
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)


@pytest.fixture
def file_size_limit() -> Callable[[int], None]:
    """Lets writes behind so many bytes of a file fail (EFBIG, after a short write), as on a full disk, without root."""
    return lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, UNLIMITED[1]))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def systemctl() -> FakeSystemctl:
    return FakeSystemctl()


@pytest.fixture(scope="session")
def signing() -> Signing:
    envelope = signed.policy_envelope()
    return Signing(signed.ROOT_KEY, signed.BUILDER_KEY, envelope, TrustPolicy.parse(envelope))


@pytest.fixture
def host(tmp_path: Path, clock: FakeClock, systemctl: FakeSystemctl) -> Host:
    """prod-1 of prod, bootstrapped below tmp_path/host; no application is prepared on it (see `prepare`)."""
    root = tmp_path / "host"
    bootstrap(root)
    return Host(root=root, clock=clock, run=systemctl, uid=os.geteuid())


@pytest.fixture
def prepare(host: Host) -> Callable[[str], Places]:
    """Make an application's directories, as playbooks/bootstrap.yml does; returns its places."""

    def prepared(application: str) -> Places:
        places = Places(host, application)
        for directory in (places.base, places.releases, places.shared, places.state):
            directory.mkdir(parents=True)
            directory.chmod(0o755)
        return places

    return prepared
