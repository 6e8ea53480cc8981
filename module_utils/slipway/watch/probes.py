# SPDX-License-Identifier: GPL-3.0-or-later
"""How each kind of check is asked. A probe looks and changes nothing; whatever it cannot find out is an error of its own.

What is found is HEALTHY, DEGRADED or UNHEALTHY. A probe that itself does not work (a file that cannot be read, an answer that cannot
be understood) is DEGRADED: nothing is known to be wrong, but nothing is watched either, so it escalates like a failure.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ..application.service import Service
from ..base.clock import seconds_of
from ..base.errors import Refusal, shown
from ..base.files import open_regular
from ..host.places import Host, Places
from ..host.store import Store
from .channels import exchange
from .check import Check
from .escalation import DEGRADED, HEALTHY, UNHEALTHY

# What a clock may be ahead of another one's.
FUTURE_SECONDS: Final = 60
# What an application says of itself may be longer than what a receiver answers.
BODY_LIMIT: Final = 64 * 1024
TAIL_BYTES: Final = 256 * 1024
# Those that ask over a socket, and so may be asked at the same time.
REMOTE: Final = ("heartbeat", "http", "tcp", "unit", "database", "fallback", "command")


@dataclass(frozen=True)
class Finding:
    """What a probe found: ``message`` is for people, ``context`` for the alert. ``is_error`` is whether the probe itself did not work."""

    status: str
    message: str
    context: Mapping[str, Any] = field(default_factory=dict)
    is_error: bool = False


class Unanswerable(Exception):
    """The probe itself does not work; the text says why."""


@dataclass(frozen=True)
class Surroundings:
    """What a probe may need of the agent: how many alerts wait, and when all bytes were last verified (Unix seconds by application)."""

    queued: int = 0
    verified: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Probes:
    """Asks checks on one host. ``verified`` is filled with the applications all of whose bytes were verified."""

    host: Host
    around: Surroundings = field(default_factory=Surroundings)
    verified: dict[str, int] = field(default_factory=dict)

    def ask(self, check: Check) -> Finding:
        """Ask once; it may take longer than the check's time-out, which whoever waits keeps."""
        how: Mapping[str, Callable[[Check], Finding]] = {
            "heartbeat": self._heartbeat, "artifact_staleness": self._staleness, "http": self._http, "tcp": self._tcp, "unit": self._unit,
            "database": self._database, "alert_queue": self._queue, "audit_records": self._audit_records, "fallback": self._fallback,
            "integrity": self._integrity, "secret_age": self._secret_age, "disk": self._disk, "command": self._command,
        }  # fmt: skip
        try:
            return how[check.kind](check)
        except Unanswerable as error:
            return Finding(DEGRADED, f"the probe does not work: {error}", is_error=True)
        except Refusal as refusal:
            return Finding(DEGRADED, f"the probe does not work: {refusal}", {"reason": refusal.reason}, is_error=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Finding(DEGRADED, f"the probe does not work: {type(error).__name__}: {error}", is_error=True)

    # does the application live

    def _heartbeat(self, check: Check) -> Finding:
        options = check.options
        if options["unit"]:
            return self._watchdog(check)
        limit = options["lapse_seconds"]
        if options["path"]:
            path = self._below(options["path"])
            try:
                beat = os.stat(path).st_mtime
            except FileNotFoundError:
                return Finding(UNHEALTHY, f"no heartbeat: {options['path']} is not there", {"threshold_seconds": limit})
        else:
            status, body = self._get(check)
            if status is None:
                return Finding(UNHEALTHY, f"no heartbeat: {body}", {"threshold_seconds": limit})
            if status != 200:
                return Finding(
                    UNHEALTHY, f"no heartbeat: answer {status} of {options['url']}", {"threshold_seconds": limit}
                )
            beat = _moment(_member(body, options["member"]))
        return self._aged(beat, limit, what="heartbeat", verb="lapsed")

    def _watchdog(self, check: Check) -> Finding:
        """systemd notes when a unit with WatchdogSec= last said that it lives."""
        unit, limit = check.options["unit"], check.options["lapse_seconds"]
        values = self._shown(unit, "ActiveState", "WatchdogUSec", "WatchdogTimestampMonotonic")
        if values["ActiveState"] != "active":
            return Finding(
                UNHEALTHY, f"no heartbeat: {unit} is {values['ActiveState'] or 'unknown'}", {"threshold_seconds": limit}
            )
        if values["WatchdogUSec"] in ("", "0", "infinity"):
            raise Unanswerable(f"{unit} has no WatchdogSec=")
        noted = int(values["WatchdogTimestampMonotonic"] or 0)
        elapsed = time.clock_gettime(time.CLOCK_MONOTONIC) - noted / 1e6
        return (
            self._judged(elapsed, limit, what="heartbeat", verb="lapsed")
            if noted
            else Finding(UNHEALTHY, f"{unit} never said that it lives")
        )

    # is what it works with fresh

    def _staleness(self, check: Check) -> Finding:
        path, limit = check.options["path"], check.options["limit_seconds"]
        places = Places(self.host, check.application)
        if path.startswith("shared/"):
            try:
                made: float = os.stat(places.base / path).st_mtime
            except FileNotFoundError:
                return Finding(UNHEALTHY, f"{path} is missing", {"artifact": path})
            return self._aged(made, limit, what=path, verb="stale", context={"artifact": path})
        active = self._active(places)
        if active is None:
            return Finding(UNHEALTHY, f"nothing is active, so {path} is missing", {"artifact": path})
        if not os.path.lexists(places.releases / active / path):
            return Finding(UNHEALTHY, f"{path} is missing in {active}", {"artifact": path})
        from ..host.evidence import Evidence

        # An mtime says when it was unpacked here. When it was made is what was signed.
        made = seconds_of(Evidence(places).manifest(active).created)
        return self._aged(made, limit, what=path, verb="stale", context={"artifact": path})

    # does it answer

    def _http(self, check: Check) -> Finding:
        options, started = check.options, time.monotonic()
        status, body = self._get(check)
        took = _milliseconds(started)
        if status is None:
            return Finding(UNHEALTHY, f"no answer from {options['url']}: {body}")
        if status != options["status"]:
            return Finding(
                UNHEALTHY, f"{options['url']} answered {status}, expected {options['status']}", {"answer": status}
            )
        if options["contains"] and options["contains"] not in body:
            return Finding(
                UNHEALTHY,
                f"the answer of {options['url']} does not contain {options['contains']!r}",
                {"answer": status},
            )
        return _timed(f"{options['url']} answers", took, options["slow_milliseconds"])

    def _tcp(self, check: Check) -> Finding:
        host, port, started = check.options["host"], check.options["port"], time.monotonic()
        try:
            socket.create_connection((host, port), timeout=check.timeout_seconds).close()
        except OSError as error:
            return Finding(UNHEALTHY, f"no connection to {host}:{port}: {error}")
        return _timed(f"{host}:{port} takes connections", _milliseconds(started), check.options["slow_milliseconds"])

    def _unit(self, check: Check) -> Finding:
        state = Service(check.options["unit"], self.host.run).state()
        if "unknown" in (state.active, state.load):
            raise Unanswerable(f"systemd says nothing of {check.options['unit']}")
        status = HEALTHY if state.is_running else UNHEALTHY
        return Finding(
            status, f"{check.options['unit']} is {state.active} ({state.sub})", {"unit": check.options["unit"]}
        )

    def _database(self, check: Check) -> Finding:
        options = check.options
        what = options["path"] or f"{options['host']}:{options['port']}"
        started = time.monotonic()
        try:
            ASKED[options["engine"]](self, check)
        except (OSError, ValueError) as error:
            return Finding(
                UNHEALTHY, f"no answer of {options['engine']} at {what}: {error}", {"engine": options["engine"]}
            )
        return _timed(f"{options['engine']} at {what} answers", _milliseconds(started), options["slow_milliseconds"])

    def _postgresql(self, check: Check) -> None:
        """SSLRequest (PostgreSQL's message flow, 55.2.10): the server says S or N before anybody logs in."""
        answer = self._told(check, b"\x00\x00\x00\x08\x04\xd2\x16\x2f", 1)
        if answer not in (b"S", b"N"):
            raise ValueError(f"no PostgreSQL: {shown(answer)}")

    def _mysql(self, check: Check) -> None:
        """The server speaks first: protocol version 10, after three bytes of length and a number."""
        answer = self._told(check, b"", 5)
        if len(answer) < 5 or answer[4] not in (9, 10):
            raise ValueError(f"no MySQL: {shown(answer)}")

    def _redis(self, check: Check) -> None:
        """PING; one that asks for a password answers as well."""
        answer = self._told(check, b"*1\r\n$4\r\nPING\r\n", 5)
        if not answer.startswith((b"+PONG", b"-NOAU", b"-NOPE")):
            raise ValueError(f"no PONG: {shown(answer)}")

    def _sqlite(self, check: Check) -> None:
        import sqlite3

        path = self._below(check.options["path"])
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=check.timeout_seconds)
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise ValueError(str(error)) from None

    def _told(self, check: Check, said: bytes, length: int) -> bytes:
        options = check.options
        with socket.create_connection((options["host"], options["port"]), timeout=check.timeout_seconds) as connection:
            connection.sendall(said)
            answer = b""
            while len(answer) < length and (more := connection.recv(length - len(answer))):
                answer += more
        return answer

    def _command(self, check: Check) -> Finding:
        finished = self.host.run(check.options["argv"], timeout_seconds=check.timeout_seconds)
        said = finished.output.strip().splitlines()
        last = shown(said[-1]) if said else "no output"
        if finished.exit_code == 127:
            raise Unanswerable(f"{check.options['argv'][0]} cannot be run: {last}")
        if finished.succeeded:
            return Finding(HEALTHY, last)
        status = DEGRADED if finished.exit_code == 75 else UNHEALTHY
        how = "no end in time" if finished.exit_code is None else f"exit code {finished.exit_code}"
        return Finding(status, f"{check.options['argv'][0]}: {how}: {last}")

    # does it work as it should

    def _queue(self, check: Check) -> Finding:
        depth = self.around.queued
        context = {"queued": depth}
        if depth >= check.options["unhealthy"]:
            return Finding(UNHEALTHY, f"{depth} alerts wait for a channel that takes them", context)
        return Finding(DEGRADED if depth >= check.options["degraded"] else HEALTHY, f"{depth} alerts wait", context)

    def _audit_records(self, check: Check) -> Finding:
        options = check.options
        now = self.host.clock.now()
        since = now - options["window_seconds"]
        try:
            descriptor = open_regular(self._below(options["path"]), what="audit log")
        except FileNotFoundError:
            return Finding(UNHEALTHY, f"no audit log at {options['path']}", {"records": 0})
        with os.fdopen(descriptor, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - TAIL_BYTES))
            lines = stream.read(TAIL_BYTES).splitlines()
        count = sum(_is_between(line, options["member"], since, now + FUTURE_SECONDS) for line in lines)
        told = f"{count} audit records in the last {options['window_seconds']} s"
        context = {"records": count, "threshold": options["least"]}
        return Finding(
            HEALTHY if count >= options["least"] else UNHEALTHY,
            f"{told}, expected at least {options['least']}",
            context,
        )

    def _fallback(self, check: Check) -> Finding:
        options = check.options
        if options["path"]:
            in_use = os.path.lexists(self._below(options["path"]))
        else:
            status, body = self._get(check)
            if status is None or status != 200:
                raise Unanswerable(
                    f"{options['url']} says nothing of it: {body if status is None else f'answer {status}'}"
                )
            said = _member(body, options["member"])
            if not isinstance(said, bool):
                raise Unanswerable(f"{options['member']} of {options['url']} is neither true nor false")
            in_use = said
        return Finding(DEGRADED, "a fallback is in use") if in_use else Finding(HEALTHY, "no fallback is in use")

    # is it what was signed, and has it a future

    def _integrity(self, check: Check) -> Finding:
        from ..host import integrity

        now = self.host.clock.now()
        verified = self.around.verified.get(check.application)
        all_bytes = verified is None or not 0 <= now - verified < check.options["bytes_interval_seconds"]
        request: dict[str, Any] = {
            "application": {"name": check.application},
            "environment": None,
            "bytes": all_bytes,
            "witnessed": None,
            "sizes": [],
        }
        found = integrity.verify(request, self.host, check=False)
        wrong = [
            (part, found[part]) for part in ("release", "history") if found[part]["outcome"] not in integrity.SOUND
        ]
        if wrong:
            told = "; ".join(f"{part}: {each['outcome']}: {each['detail']}" for part, each in wrong)
            return Finding(UNHEALTHY, told, {"reason": wrong[0][1]["outcome"], "release": found["active"] or ""})
        if all_bytes:
            self.verified[check.application] = now
        return Finding(
            HEALTHY,
            f"{found['active'] or 'nothing'}: {'every byte' if all_bytes else 'signatures and file list'} and the history are as signed",
        )

    def _secret_age(self, check: Check) -> Finding:
        path, limit = check.options["path"], check.options["limit_seconds"]
        place = self._below(path)
        # A directory is one of credentials: the oldest of its files counts.
        files = sorted(each for each in place.iterdir() if each.is_file()) if place.is_dir() else [place]
        if not files or not files[0].exists():
            return Finding(UNHEALTHY, f"no secret at {path}")
        oldest = min(files, key=lambda each: each.stat().st_mtime)
        return self._aged(
            oldest.stat().st_mtime,
            limit,
            what=f"the secret {oldest.name}",
            verb="due for rotation",
            context={"secret": oldest.name},
        )

    def _disk(self, check: Check) -> Finding:
        places = Places(self.host, check.application)
        path = check.options["path"] or f"/srv/{check.application}"
        there = os.statvfs(self._below(path))
        free, needed = there.f_bavail * there.f_frsize, check.options["spare_bytes"] + self._release_bytes(places)
        context = {"path": path, "free_bytes": free, "needed_bytes": needed}
        if there.f_files and there.f_favail < 1000:
            return Finding(UNHEALTHY, f"{there.f_favail} inodes are free below {path}", context)
        if free < needed:
            return Finding(
                UNHEALTHY, f"{_size(free)} are free below {path}, and the next release needs {_size(needed)}", context
            )
        return Finding(HEALTHY, f"{_size(free)} are free below {path}", context)

    def _release_bytes(self, places: Places) -> int:
        """How large the active release is: the next one may have nothing in common with it."""
        active = self._active(places)
        if active is None:
            return 0
        from ..host.evidence import Evidence

        return Evidence(places).manifest(active).limits.bytes

    # what several of them need

    def _active(self, places: Places) -> str | None:
        return Store(places).current()

    def _below(self, path: str) -> Path:
        return self.host.root / path.lstrip("/")

    def _get(self, check: Check) -> tuple[int | None, str]:
        """Status and beginning of the answer; None and why where there is no answer."""
        try:
            status, body = exchange(
                check.options["url"], "", None, {"User-Agent": "slipway"}, timeout_seconds=check.timeout_seconds,
                limit=BODY_LIMIT,
            )  # fmt: skip
        except OSError as error:
            return None, str(error)
        return status, body.decode("utf-8", "replace")

    def _shown(self, unit: str, *properties: str) -> dict[str, str]:
        argv = ("systemctl", "--no-ask-password", "show", f"--property={','.join(properties)}", unit)
        shown_ = self.host.run(argv, timeout_seconds=10.0)
        if not shown_.succeeded:
            raise Unanswerable(f"systemctl show {unit}: {shown_.described()}")
        said = dict(line.split("=", 1) for line in shown_.output.splitlines() if "=" in line)
        return {name: said.get(name, "") for name in properties}

    def _aged(
        self, since: float, limit: int, *, what: str, verb: str, context: Mapping[str, Any] | None = None
    ) -> Finding:
        elapsed = self.host.clock.now() - since
        if elapsed < -FUTURE_SECONDS:
            raise Unanswerable(f"{what} has a time in the future, {-elapsed:.0f} s ahead of this host's clock")
        return self._judged(elapsed, limit, what=what, verb=verb, context=context)

    def _judged(
        self, elapsed: float, limit: int, *, what: str, verb: str, context: Mapping[str, Any] | None = None
    ) -> Finding:
        age = max(0, int(elapsed))
        told = {**(context or {}), "elapsed_seconds": age, "threshold_seconds": limit}
        if elapsed > limit:
            return Finding(UNHEALTHY, f"{what} {verb}: {age} s (threshold: {limit} s)", told)
        return Finding(HEALTHY, f"{what} is {age} s old", told)


ASKED: Final[Mapping[str, Callable[[Probes, Check], None]]] = {
    "postgresql": Probes._postgresql,
    "mysql": Probes._mysql,
    "redis": Probes._redis,
    "sqlite": Probes._sqlite,
}


def _timed(told: str, milliseconds: int, slow: int) -> Finding:
    """HEALTHY when it answers in time, DEGRADED when it takes longer; 0 is no limit."""
    context = {"milliseconds": milliseconds}
    if slow and milliseconds >= slow:
        return Finding(
            DEGRADED,
            f"{told} slowly: {milliseconds} ms (threshold: {slow} ms)",
            {**context, "threshold_milliseconds": slow},
        )
    return Finding(HEALTHY, f"{told} in {milliseconds} ms", context)


def _milliseconds(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _member(body: str, name: str) -> Any:
    """A member of an answer in JSON."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Unanswerable("the answer is not JSON") from None
    if not isinstance(value, dict) or name not in value:
        raise Unanswerable(f"the answer has no member {name}")
    return value[name]


def _moment(value: Any) -> float:
    """Unix seconds, or RFC 3339 as text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise Unanswerable(f"no time: {shown(value)}") from None
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    raise Unanswerable("no time")


def _is_between(line: bytes, member: str, since: int, until: int) -> bool:
    try:
        value = json.loads(line)
        return isinstance(value, dict) and since <= _moment(value.get(member)) <= until
    except (ValueError, RecursionError, Unanswerable):
        return False


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
