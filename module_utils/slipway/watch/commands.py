# SPDX-License-Identifier: GPL-3.0-or-later
"""``slipway watch``: the agent's run, and what people ask of it.

Exit codes: 0 all is well; 1 something is not (it says what); 2 wrong usage. A run that did its work ends with 0, whatever it found.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal
from ..base.files import read_if_there, write_durable
from ..base.table import table
from ..host.places import Host
from . import hook
from .agent import Agent, alone
from .agent_memory import Memory, Post, Remembered
from .alert_history import AlertHistory
from .check import Check, Settings
from .circuit import CLOSED, Circuit
from .escalation import HEALTHY, SEVERITIES
from .events import Trace

if TYPE_CHECKING:
    import argparse

# After so many intervals a check that did not run is not well.
SILENT_INTERVALS: Final = 3
TEST_LIMIT: Final = 1 << 20


def main(arguments: Sequence[str], host: Host | None = None) -> int:
    """Parse ``arguments`` (what follows ``slipway watch``), do one verb, return the exit code."""
    here = host or Host()
    os.umask(0o022)  # the modes below are what they say, whatever umask the unit has
    try:
        if list(arguments) == [
            "run"
        ]:  # what a timer asks each minute needs no parser, which would take its share of the agent's memory
            return _run(here)
        options = _parsed(arguments)
        return VERBS[options.verb][1](here, options)
    except (Refusal, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(
        prog="slipway watch", description="The checks of this host, and the alerts that they raised."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    subs = {verb: verbs.add_parser(verb, help=text, description=text) for verb, (text, _do) in VERBS.items()}
    subs["run"].add_argument("--all", action="store_true", help="also what is not due")
    subs["test"].add_argument("--last", action="store_true", help="send nothing: say what came of the last test")
    subs["validate"].add_argument("file", type=Path, help="settings as the role writes them")
    for verb in ("status", "alerts", "test"):
        subs[verb].add_argument("--json", action="store_true", help="plain data instead of a table")
    subs["alerts"].add_argument(
        "--severity", action="append", choices=SEVERITIES, default=[], help="of this severity; may be given again"
    )
    subs["alerts"].add_argument("--rule", default="", help="of this rule")
    subs["alerts"].add_argument("--since", type=_moment, help="not before this time, such as 2026-11-21T03:12:56Z")
    subs["alerts"].add_argument("--until", type=_moment, help="not after it")
    subs["alerts"].add_argument("--limit", type=_count, default=100, help="how many, newest first (default 100)")
    return parser.parse_args(arguments)


def _run(host: Host, options: argparse.Namespace | None = None) -> int:
    with alone(Post(host).lock, host.clock.sleep) as is_alone:
        if not is_alone:
            print("another run of the agent does not end", file=sys.stderr)
            return 1
        Agent(host, Settings.load(host), trace=Trace.begin(os.environ.get("TRACEPARENT"))).run(
            everything=options is not None and options.all
        )
    return 0


def _status(host: Host, options: argparse.Namespace) -> int:
    settings, memory, now = Settings.load(host), Memory.load(Post(host)), host.clock.now()
    if memory.is_new and memory.unreadable:
        raise OSError("; ".join(memory.unreadable.values()))
    checks = [_of_check(check, memory.checks.get(check.key, Remembered()), now) for check in settings.checks]
    channels = [_of_channel(kind, memory.circuits.get(kind, Circuit()), now) for kind in settings.channels]
    if options.json:
        print(
            json.dumps(
                {"checks": checks, "channels": channels, "queued": len(memory.queue), "lost": memory.lost}, indent=2
            )
        )
    else:
        head = ("application", "check", "status", "level", "ms", "at", "message")
        print(
            table(
                head,
                [
                    [
                        str(check[name])
                        for name in ("application", "check", "status", "level", "milliseconds", "at", "message")
                    ]
                    for check in checks
                ],
            )
        )
        print()
        print(
            table(
                ("channel", "state", "detail"),
                [[channel["channel"], channel["state"], channel["detail"]] for channel in channels],
            )
        )
        for line in remarks(memory, now):
            print(line)
    return int(
        any(check["status"] != HEALTHY for check in checks) or any(channel["state"] != CLOSED for channel in channels)
    )


def _of_check(check: Check, remembered: Remembered, now: int) -> dict[str, Any]:
    """What is known of a check. One that never ran, or not for a while, is not well."""
    told = dict(remembered.result or {"status": "UNHEALTHY", "milliseconds": 0, "message": "it never ran", "at": "-"})
    if (
        remembered.asked is not None
        and now - remembered.asked > SILENT_INTERVALS * check.interval_seconds + check.timeout_seconds
    ):
        told |= {"status": "UNHEALTHY", "message": f"it did not run for {now - remembered.asked} s"}
    state = remembered.state
    return {
        **told,
        "application": check.application,
        "check": check.name,
        "level": state.level,
        "flapping": state.flapping,
    }


def _of_channel(kind: str, circuit: Circuit, now: int) -> dict[str, Any]:
    state = circuit.state(now) if circuit.opened is not None or circuit.degraded is None else "degraded"
    since = f" since {timestamp(circuit.degraded)}" if circuit.degraded is not None else ""
    return {"channel": kind, "state": state, "detail": f"{circuit.why}{since}" if circuit.failures else ""}


def remarks(memory: Memory, now: int) -> list[str]:
    """What whoever looks at the host must know of its alerts: degraded channels, what waits, what was lost."""
    lines = [
        f"alerts: {kind} is degraded since {timestamp(circuit.degraded)}: {circuit.why}"
        for kind, circuit in sorted(memory.circuits.items())
        if circuit.degraded is not None
    ]
    lines += [f"alerts: {path} cannot be read: {why}" for path, why in memory.unreadable.items()]
    if memory.queue:
        lines.append(f"alerts: {len(memory.queue)} wait for a channel that takes them")
    if memory.lost:
        lines.append(f"alerts: {memory.lost} were given up, since nobody took them in time")
    return lines


def _alerts(host: Host, options: argparse.Namespace) -> int:
    found = AlertHistory(Post(host).alerts).find(
        severities=options.severity, rule=options.rule, since=options.since, until=options.until, limit=options.limit
    )
    for each in found:
        each["at"] = timestamp(each["at"])
        each["delivered"] = {channel: timestamp(at) for channel, at in each["delivered"].items()}
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    rows = [
        (each["at"], each["severity"], each["rule"], each["state"], each["application"] or "-", each["check"] or "-",
         ", ".join(each["delivered"]) or "waits", each["message"])
        for each in found
    ]  # fmt: skip
    print(table(("at", "severity", "rule", "state", "application", "check", "taken by", "message"), rows))
    return 0


def _test(host: Host, options: argparse.Namespace) -> int:
    """The credentials are only there for the agent's units, so one of those sends, and whoever asked for it looks at ``--last``."""
    place = Post(host).runtime / "test.json"
    if options.last:
        data = read_if_there(place, limit=TEST_LIMIT, what="test of alerts")
        answers = json.loads(data) if data else []
    else:
        answers = Agent(host, Settings.load(host), trace=Trace.begin(os.environ.get("TRACEPARENT"))).test()
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_durable(place, json.dumps(answers).encode(), mode=0o644)
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        rows = [
            (each["channel"], "yes" if each["accepted"] else "no", str(each["milliseconds"]), each["detail"])
            for each in answers
        ]
        print(table(("channel", "accepted", "ms", "detail"), rows))
    return int(not answers or not all(each["accepted"] for each in answers))


def _hook(host: Host, _options: argparse.Namespace) -> int:
    """What systemd starts for each connection to the socket, with the connection as standard input and output."""
    sys.stdout.buffer.write(hook.answer(sys.stdin.buffer.readline(hook.MESSAGE_LIMIT), host))
    sys.stdout.flush()
    return 0


def _validate(host: Host, options: argparse.Namespace) -> int:
    Settings.load(host, options.file)
    return 0


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _moment(text: str) -> int:
    return seconds_of(text)


VERBS: Final = {
    "run": ("ask what is due, and say what follows (a timer starts this)", _run),
    "status": ("the last result of each check, and how the channels are", _status),
    "alerts": ("the alerts of this host, newest first", _alerts),
    "test": ("send one message through each enabled channel, and say which took it", _test),
    "hook": ("run the hook of a check (a socket starts this)", _hook),
    "validate": ("say whether settings hold", _validate),
}
