# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this host ready for a deployment? Every check is made and every result told; nothing is changed.

Results are plain data for the controller (preflight.py), without any secret value: those are neither told when they are
wrong nor passed on a command line.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import re
import shutil
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ..application import configuration, ports
from ..application.blue_green import COLOURS
from ..application.configuration import Finding, Value
from ..application.database import Answer, Database
from ..application.description import Application
from ..application.health import Undecided
from ..application.preflight import ARRIVAL, FAIL, PASS, WARN, Result
from ..application.settings import Credentials, EnvironmentFile, Unit, below, gather, read_files
from ..base.clock import seconds_of
from ..base.command import PATH
from ..base.errors import Refusal
from ..base.files import read_regular
from .balancer_file import UNIT as BALANCER_UNIT
from .credentials import PREFIX
from .haproxy import Haproxy
from .places import Host, Places
from .strategy import strategy_of

FILE_LIMIT: Final = 1 << 20
QUICK_SECONDS: Final = 10.0
IMPORT_SECONDS: Final = 30.0
RENEW_SECONDS: Final = 30 * 86400
STARTING: Final = (
    "enabled",
    "enabled-runtime",
    "static",
    "indirect",
    "generated",
    "alias",
    "linked",
    "linked-runtime",
    "transient",
)
PLACE: Final = re.compile(r"line (\d+),? column (\d+)")
INSTALLED: Final = ("ii", "hi")
# Imports one module after the other and says for each how that went; what the modules print goes nowhere.
IMPORT_PROGRAM: Final = """
import importlib, json, os, sys
answers = os.fdopen(os.dup(1), "w")
nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 1)
os.dup2(nowhere, 2)
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        error = ""
    except BaseException as caught:
        error = f"{type(caught).__name__}: {caught}"[:200]
    print(json.dumps([name, error]), file=answers, flush=True)
"""


def inspect(
    application: Application, places: Places, *, active: str | None, health: bool, credentials: Sequence[str] = ()
) -> dict[str, Any]:
    """Check everything that this host can tell by itself. ``credentials`` are the names of those that a deployment would bring.

    answer: results [{check, subject, status, found, remedy}], room [{purpose, path, device, bytes_free, bytes_total,
    inodes_free, inodes_total}], schema_revision (applied revisions, null where no database is declared or none answers).
    With ``health`` there is a row for each health probe, asked once.
    """
    readiness = Readiness(application, places, frozenset(PREFIX + name for name in credentials))
    results = [*readiness.results(), *(readiness.health(active) if health else ())]
    return {
        "results": [result.as_dict() for result in results],
        "room": readiness.room(),
        "schema_revision": readiness.applied_revisions(),
    }


class Readiness:
    """The checks of one application on one host; what several of them need is asked once."""

    def __init__(self, application: Application, places: Places, brought: frozenset[str] = frozenset()) -> None:
        self.application = application
        self.brought = brought
        self.places = places
        self.host: Host = places.host

    def results(self) -> list[Result]:
        """Every result. A check that cannot be made is a FAIL of its own and does not hold the others back."""
        checks: dict[str, Callable[[], Iterator[Result]]] = {
            "policy": self._policy,
            "unit": self._unit,
            "balancer": self._balancing,
            "security": self._security,
            "configuration": self._configuration,
            "file": self._files,
            "port": self._ports,
            "package": self._packages,
            "library": self._library,
            "import": self._imports,
            "command": self._commands,
            "database": self._database,
        }
        results: list[Result] = []
        for name, check in checks.items():
            try:
                results += check()
            except (OSError, Refusal) as error:
                found = error.found if isinstance(error, Refusal) else str(error)
                remedy = "Mend the host, then check again."
                results.append(Result(name, "-", FAIL, f"cannot be checked: {found}", remedy))
        return results

    def _policy(self) -> Iterator[Result]:
        """Whether the trust policy goes on long enough: nothing new can be activated once it has ended."""
        policy = self.host.policy()
        left = seconds_of(policy.expires) - self.host.clock.now()
        status = FAIL if left <= 0 else WARN if left < RENEW_SECONDS else PASS
        found = f"version {policy.version} {'ended' if left <= 0 else 'ends'} at {policy.expires}"
        renew = "Sign the next version and roll it out: docs/howto/rotate-the-trust-policy.md"
        yield Result("policy", "trust policy", status, found, "" if status == PASS else renew)

    @cached_property
    def unit(self) -> Unit | None:
        """What systemd says of the application's unit, None where it has none or systemd does not know it."""
        return self._asked_unit if self._asked_unit is not None and self._asked_unit.is_loaded else None

    @cached_property
    def _asked_unit(self) -> Unit | None:
        return self._asked_units[0] if self._asked_units else None

    @cached_property
    def _asked_units(self) -> list[Unit]:
        """Every unit of the application, the one of what is active first."""
        return [Unit.ask(name, self.host.run) for name in strategy_of(self.application, self.places).units()]

    @cached_property
    def _balancer(self) -> Unit | None:
        return Unit.ask(BALANCER_UNIT, self.host.run) if self.application.blue_green else None

    @cached_property
    def _user(self) -> pwd.struct_passwd | None:
        return _account(self.application.user)

    def room(self) -> list[dict[str, Any]]:
        """What is free where releases and history are kept and where packs arrive; ``inodes_free`` is null where they are made as needed."""
        places = []
        for purpose, path in (
            ("releases", self.places.base), ("history", self.places.state), (ARRIVAL, self._arrival()),
        ):  # fmt: skip
            there = os.statvfs(path)
            places.append(
                {
                    "purpose": purpose,
                    "path": self._named(path),
                    "device": there.f_fsid
                    or os.stat(path).st_dev,  # in an overlay, directories have devices of their own
                    "bytes_free": there.f_bavail * there.f_frsize,
                    "bytes_total": there.f_blocks * there.f_frsize,
                    "inodes_free": there.f_favail if there.f_files else None,
                    "inodes_total": there.f_files,
                }
            )
        return places

    def _arrival(self) -> Path:
        """Where Ansible puts what it sends: the home of whoever logged in, or what is there of the way to it."""
        account = _account(os.environ.get("SUDO_USER", "")) or pwd.getpwuid(os.geteuid())
        home = self.host.root / account.pw_dir.lstrip("/")
        return next(place for place in (home, *home.parents) if place.is_dir())

    def _named(self, path: Path) -> str:
        return "/" if path == self.host.root else f"/{path.relative_to(self.host.root)}"

    # the unit

    def _unit(self) -> Iterator[Result]:
        for asked in self._asked_units:
            if not asked.is_loaded:
                state = asked.value("LoadState") or "unknown"
                remedy = "Run playbooks/bootstrap.yml, or correct `unit` in slipway_applications."
                yield Result("unit", asked.name, FAIL, f"LoadState={state}", remedy)
                continue
            state = asked.value("UnitFileState")
            if state in STARTING:
                yield Result("unit", asked.name, PASS, f"loaded, {state}")
            else:
                remedy = f"systemctl enable {asked.name}, unless it is started otherwise."
                yield Result("unit", asked.name, WARN, f"{state or 'no state'}, so it does not start at boot", remedy)
            if asked.value("NeedDaemonReload") == "yes":
                found = "its file has changed since systemd read it"
                yield Result(
                    "unit", asked.name, WARN, found, "systemctl daemon-reload, or run playbooks/bootstrap.yml."
                )

    def _balancing(self) -> Iterator[Result]:
        """Whether the host's own HAProxy stands before both instances."""
        if self.application.blue_green is None:
            return
        try:
            servers = Haproxy(self.host.balancer_socket, self.host.clock).servers(self.application.name)
        except Refusal as refusal:
            yield Result("balancer", BALANCER_UNIT, FAIL, refusal.found, "Run playbooks/bootstrap.yml.")
            return
        for colour in COLOURS:
            if colour in servers:
                yield Result("balancer", colour, PASS, servers[colour].described())
            else:
                yield Result("balancer", colour, FAIL, "no server of HAProxy's", "Run playbooks/bootstrap.yml.")

    # the configuration

    @cached_property
    def _environment_files(self) -> list[EnvironmentFile]:
        names = [*(self.unit.files() if self.unit else ()), *self.application.configuration.files]
        return read_files(dict.fromkeys(names), self.host.root)

    @cached_property
    def _variables(self) -> dict[str, Value]:
        return gather(self.unit, self._environment_files)

    @cached_property
    def _credentials(self) -> Credentials:
        return self.unit.credentials() if self.unit else Credentials()

    @cached_property
    def _values(self) -> dict[str, list[Value | Refusal]]:
        """What the service gets for each declared key: as a variable, as a credential, both or nothing."""
        return {key.name: list(self._found(key)) for key in self.application.configuration.keys}

    def _found(self, key: configuration.Key) -> Iterator[Value | Refusal]:
        variable = self._variables.get(key.name)
        if variable is not None:
            yield variable
        if key.credential in self.brought:
            yield Value(None, f"the credential {key.credential}, which a deployment brings")
            return
        try:
            credential = self._credentials.find(key.credential, self.host.root)
        except Refusal as refusal:
            if refusal.reason != "credentials_unknown" or (key.required and variable is None):
                yield refusal
        else:
            if credential is not None:
                yield credential

    def _read_values(self, name: str) -> list[Value]:
        """What was found for a key, without what could not be."""
        return [value for value in self._values.get(name, []) if isinstance(value, Value)]

    def _configuration(self) -> Iterator[Result]:
        for file in self._environment_files:
            if file.problem:
                remedy = "Create or correct it, or let a dash before its name say that it may be missing."
                yield Result("configuration", file.path, FAIL, file.problem, remedy)
        place = self._place()
        for key in self.application.configuration.keys:
            given = self._values[key.name]
            findings = [self._finding(key, value, place) for value in given] or [self._finding(key, None, place)]
            for finding in findings:
                yield Result(
                    "configuration", key.name, FAIL if finding.problem else PASS, finding.found, finding.remedy
                )
            values = self._read_values(key.name)
            is_one = len({value.text for value in values}) == 1 and values[0].text is not None
            if len(values) > 1 and not (is_one and not any(finding.problem for finding in findings)):
                found = f"given twice: {' and '.join(value.source for value in values)}"
                remedy = "Keep one: which one counts is up to the application."
                yield Result("configuration", key.name, WARN, found, remedy)

    def _finding(self, key: configuration.Key, value: Value | Refusal | None, place: str) -> Finding:
        if isinstance(value, Refusal):
            unset = "" if key.name in self._variables else "not set, and "
            return Finding(True, f"{unset}as a credential: {value.found}", value.remedy)
        return configuration.judge(key, value, place=place)

    def _place(self) -> str:
        """Where a value belongs that is not there, as a remedy says it."""
        names = [file.path for file in self._environment_files]
        if names:
            return f"in {names[-1]}, or as a credential of the unit" if self.unit else f"in {names[-1]}"
        if self.application.unit:
            return f"in an EnvironmentFile= of {self.application.unit}, or as a credential"
        return "in a file that configuration.files names"

    # security

    def _security(self) -> Iterator[Result]:
        name = self.application.user
        if self._user is None:
            yield Result("security", f"user {name}", FAIL, "no such user", "Run playbooks/bootstrap.yml.")
        elif self._user.pw_uid == 0:
            remedy = "Give the application a user of its own (`user` in slipway_applications)."
            yield Result("security", f"user {name}", FAIL, "it is root", remedy)
        else:
            yield Result("security", f"user {name}", PASS, f"uid {self._user.pw_uid}")
        yield from self._unit_security()
        yield from self._open_secrets()
        for path, has_secret in self._sources().items():
            yield from self._file_security(path, has_secret=has_secret)

    def _unit_security(self) -> Iterator[Result]:
        """A unit that the application brings is its own business: what is loose there is only a warning."""
        if self.unit is None:
            return
        problem = FAIL if self.application.service else WARN
        remedy = "Run playbooks/bootstrap.yml." if self.application.service else "Correct the unit."
        if self.unit.value("User") in ("", "root", "0") and self.unit.value("DynamicUser") != "yes":
            yield Result(
                "security", self.unit.name, problem, "it runs as root", f"User={self.application.user}. {remedy}"
            )
        if self.unit.value("NoNewPrivileges") != "yes":
            found = "its processes may gain privileges"
            yield Result("security", self.unit.name, problem, found, f"NoNewPrivileges=yes. {remedy}")

    def _open_secrets(self) -> Iterator[Result]:
        """Whoever can ask systemd can read what ``Environment=`` says."""
        for key in self.application.configuration.keys:
            for value in self._read_values(key.name):
                if key.secret and value.source.startswith("Environment="):
                    remedy = "Move it to a file that EnvironmentFile= names, or give it as a credential."
                    yield Result("security", key.name, FAIL, f"every user can read {value.source}", remedy)

    def _sources(self) -> dict[str, bool]:
        """Every file that configuration comes from, and whether it has a value of a secret key."""
        sources = {file.path: False for file in self._environment_files if not file.problem}
        for key in self.application.configuration.keys:
            for value in self._read_values(key.name):
                if value.path:
                    sources[value.path] = sources.get(value.path, False) or key.secret
        return sources

    def _file_security(self, path: str, *, has_secret: bool) -> Iterator[Result]:
        place = below(self.host.root, path).resolve()
        status = os.stat(place)
        owners = {self.host.uid, *([self._user.pw_uid] if self._user else ())}
        problems = []
        if status.st_uid not in owners:
            problems.append((f"it belongs to uid {status.st_uid}", f"chown root {path}"))
        if status.st_mode & stat.S_IWOTH:
            problems.append(("others may write it", f"chmod o-w {path}"))
        if has_secret and status.st_mode & stat.S_IROTH:
            problems.append(("others may read it, and it has secrets", f"chmod o-rwx {path}"))
        for directory in place.parents:
            if directory == self.host.root or not directory.is_relative_to(self.host.root):
                break
            mode = os.stat(directory).st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                where = self._named(directory)
                problems.append((f"others may replace it, since they may write {where}", f"chmod o-w {where}"))
        for found, remedy in problems:
            yield Result("security", path, FAIL, f"{found} ({stat.filemode(status.st_mode)})", remedy)
        if not problems:
            yield Result("security", path, PASS, stat.filemode(status.st_mode))

    # what is declared under preflight

    def _as_user(self, *argv: str) -> bool:
        return self.host.run(argv, timeout_seconds=QUICK_SECONDS, user=self.application.user).succeeded

    def _files(self) -> Iterator[Result]:
        for path in self.application.preflight.files:
            found, remedy = self._file_problem(path)
            yield Result("file", path, FAIL if found else PASS, found or "readable", remedy)

    def _file_problem(self, path: str) -> tuple[str, str]:
        place, user = below(self.host.root, path), self.application.user
        if not place.exists():
            return "not there", "Put it there."
        if not stat.S_ISREG(os.stat(place).st_mode):
            return "no regular file", "Put a file there."
        if not self._as_user("test", "-r", str(place)):
            return f"{user} cannot read it", f"Let {user} read it and look into its directories."
        return _unparsed(place)

    def _ports(self) -> Iterator[Result]:
        pair = self.application.blue_green
        declared = dict.fromkeys((*self.application.preflight.ports, *(pair.ports if pair else ())))
        if not declared:
            return
        held = ports.listeners(declared, below(self.host.root, "/proc"))
        for port in declared:
            others = [listener for listener in held.get(port, []) if not self._is_own(listener)]
            if others:
                found = f"held by {', '.join(listener.described() for listener in others)}"
                yield Result("port", str(port), FAIL, found, "Stop it, or give the application another port.")
            else:
                yield Result("port", str(port), PASS, "held by the application itself" if port in held else "free")

    def _is_own(self, listener: ports.Listener) -> bool:
        """Held by the unit's processes, or by systemd for a socket unit of it; without a unit, by the application's user."""
        if self.application.unit is None:
            return self._user is not None and listener.uid == self._user.pw_uid
        units = [*self._asked_units, *([self._balancer] if self._balancer else [])]
        return any(self._is_of(unit, listener) for unit in units if unit.is_loaded)

    def _is_of(self, unit: Unit, listener: ports.Listener) -> bool:
        cgroup = unit.value("ControlGroup")
        if listener.pid is None:  # where root may not look into processes of others, as in many containers
            accounts = (self._user, _account(unit.value("User") or "root"))
            return cgroup != "" and listener.uid in {account.pw_uid for account in accounts if account is not None}
        if listener.pid == 1:
            return any(name.endswith(".socket") for name in unit.value("TriggeredBy").split())
        return listener.is_in(cgroup)

    def _packages(self) -> Iterator[Result]:
        declared = self.application.preflight.packages
        if not declared:
            return
        asked = self.host.run(
            (
                "dpkg-query", "--show", "--showformat=${Package}\t${db:Status-Abbrev}\t${Version}\n",
                *(package.name for package in declared),
            ),
            timeout_seconds=QUICK_SECONDS,
        )  # fmt: skip
        lines = [line.split("\t") for line in asked.output.splitlines()]
        installed = {line[0]: line[2] for line in lines if len(line) == 3 and line[1].strip() in INSTALLED}
        for package in declared:
            version = installed.get(package.name)
            if version is None:
                found = "dpkg-query cannot be started" if asked.exit_code == 127 else "not installed"
                yield Result("package", package.name, FAIL, found, f"apt-get install {package.name}")
            elif package.minimum and not self._is_at_least(version, package.minimum):
                remedy = f"Install version {package.minimum} or newer."
                yield Result("package", package.name, FAIL, f"version {version}", remedy)
            else:
                yield Result("package", package.name, PASS, f"version {version}")

    def _is_at_least(self, version: str, minimum: str) -> bool:
        argv = ("dpkg", "--compare-versions", version, "ge", minimum)
        return self.host.run(argv, timeout_seconds=QUICK_SECONDS).succeeded

    def _library(self) -> Iterator[Result]:
        """What Slipway itself needs on a host: without it no signature can be verified."""
        if importlib.util.find_spec("cryptography"):
            yield Result("library", "python3-cryptography", PASS, f"found by {sys.executable}", "")
        else:
            remedy = "Run playbooks/bootstrap.yml for this host: it installs it."
            yield Result("library", "python3-cryptography", FAIL, f"not found by {sys.executable}", remedy)

    def _imports(self) -> Iterator[Result]:
        declared, python = self.application.preflight.imports, self.application.preflight.python
        if not declared:
            return
        asked = self.host.run(
            (python, "-I", "-c", IMPORT_PROGRAM, *declared), timeout_seconds=IMPORT_SECONDS, user=self.application.user
        )
        errors: dict[str, str] = {}
        for line in asked.output.splitlines():
            try:
                name, error = json.loads(line)
            except ValueError:
                continue
            errors[str(name)] = str(error)
        for name in declared:
            error = errors.get(name, f"{python} did not get to it: {asked.described()}"[:300])
            remedy = f"Install it for {python}." if error else ""
            yield Result("import", name, FAIL if error else PASS, error or f"found by {python}", remedy)

    def _commands(self) -> Iterator[Result]:
        user = self.application.user
        for name in self.application.preflight.commands:
            path = shutil.which(name, path=PATH)
            if path is None:
                yield Result("command", name, FAIL, f"not found in {PATH}", "Install it.")
            elif not self._as_user("test", "-x", path):
                yield Result("command", name, FAIL, f"{user} cannot run {path}", f"Let {user} run it.")
            else:
                yield Result("command", name, PASS, path)

    # the database

    @cached_property
    def databases(self) -> list[tuple[Value, Answer]]:
        """What the declared database says, for each different URL that the service gets for it."""
        values = {
            value.text: value for value in reversed(self._read_values(self.application.preflight.database_url_key))
        }
        return [
            (value, Database(text, self.host.run, self.application.user, self.places.current).ask())
            for text, value in reversed(values.items())
            if text
        ]

    def applied_revisions(self) -> list[str] | None:
        """Those that the database has, None where it could not say; why not is among the results.

        Of two databases those of both; none if one of them has none: either way they are not a release's head alone.
        """
        try:
            answers = [answer for _value, answer in self.databases]
        except (OSError, Refusal):
            return None
        if not answers or any(answer.problem for answer in answers):
            return None
        if not all(answer.revisions for answer in answers):
            return []
        return list(dict.fromkeys(revision for answer in answers for revision in answer.revisions))

    def _database(self) -> Iterator[Result]:
        name = self.application.preflight.database_url_key
        if not name:
            return
        for value, answer in self.databases:
            found = answer.found if len(self.databases) == 1 else f"{answer.found} ({value.source})"
            yield Result("database", name, FAIL if answer.problem else PASS, found, answer.remedy)
        if any(value.text is None for value in self._read_values(name)):
            found = f"{name} cannot be read from here, so the database was not asked"
            yield Result("database", name, WARN, found, "Look at the application's own check for it.")
        elif not self.databases:
            yield Result("database", name, FAIL, f"{name} is not set", f"Set {name} {self._place()}.")

    # health

    def health(self, active: str | None) -> Iterator[Result]:
        """A row for each health probe, asked once: not for a deployment, which may be what mends it."""
        if active is None:
            yield Result("health", "-", WARN, "nothing is active yet", "Deploy a release.")
            return
        strategy = strategy_of(self.application, self.places)
        prober = strategy.prober()
        for probe in strategy.probes():
            finding = prober.ask(probe)
            remedy = "" if finding is None else "slipway status and the application's log say more."
            subject = probe.name or probe.described()
            outcome = PASS if finding is None else WARN if isinstance(finding, Undecided) else FAIL
            yield Result("health", subject, outcome, finding or probe.described(), remedy)


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _unparsed(place: Path) -> tuple[str, str]:
    """Why a file cannot be parsed, and what to do; both empty where it can, or where its name says no format."""
    parse: Callable[[str], object] | None = {".json": json.loads, ".toml": tomllib.loads}.get(place.suffix)
    if parse is None:
        return "", ""
    try:
        parse(read_regular(place.resolve(), limit=FILE_LIMIT, what="file").decode())
    except Refusal as refusal:
        return refusal.found, refusal.remedy
    except (ValueError, RecursionError) as error:  # of either parser, or not UTF-8; its text may quote the file
        at = PLACE.search(str(error))
        where = f" at line {at[1]} column {at[2]}" if at else ""
        return f"not valid {place.suffix[1:].upper()}{where}", "Correct it."
    return "", ""
