# SPDX-License-Identifier: GPL-3.0-or-later
"""``slipway`` on a host, without a controller: ``status``, ``verify``, ``history``, ``proof``, ``recover``, ``expire`` and ``watch``.

Exit codes: 0 all is well; 1 something is not (it says what); 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import __version__
from .base.errors import Refusal
from .base.table import table
from .host import recovery
from .host.handler import handle
from .host.integrity import SOUND
from .host.places import Host, Places
from .host.status import described_application, remarks
from .watch.agent_memory import Memory, Post
from .watch.commands import main as watch
from .watch.commands import remarks as watch_remarks


def main(arguments: Sequence[str] | None = None, host: Host | None = None) -> int:
    """Parse ``arguments``, do one verb, return the exit code."""
    parser = argparse.ArgumentParser(prog="slipway", description="What this host serves, and whether it is intact.")
    parser.add_argument("--version", action="version", version=f"slipway {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, help_text in VERBS.items():
        sub = verbs.add_parser(verb, help=help_text, description=help_text, add_help=verb != "watch")
        if verb == "watch":
            sub.add_argument("rest", nargs=argparse.REMAINDER)
            continue
        if verb == "proof":
            _add_proof(sub)
            continue
        sub.add_argument("application", nargs="?", help="one application (default: all)")
        sub.add_argument("--json", action="store_true", help="plain data instead of a table")
        if verb == "recover":
            sub.add_argument("--force", action="store_true", help="also what a run holds that may still be alive")
            sub.add_argument("--boot", action="store_true", help="before any unit starts: links and files only")
        if verb == "history":
            sub.add_argument("--limit", type=int, default=10, help="how many records, newest first (default 10)")
    options, here = parser.parse_args(arguments), host or Host()
    if options.verb == "watch":
        return watch(options.rest, here)
    try:
        names = [options.application] if options.application else here.application_names()
        return DO[options.verb](here, names, options)
    except (Refusal, OSError) as error:
        print(error, file=sys.stderr)
        return 1


VERBS = {
    "status": "show what each application serves",
    "verify": "verify signatures, file list and every byte of what is active, and the whole history",
    "history": "show the newest records",
    "proof": "prove that the records of a run are in the history that this host signed",
    "recover": "settle what an interrupted run left open",
    "expire": "go back from what nobody confirmed in time (a timer starts this)",
    "watch": "the checks of this host, the alerts that they raised, and the channels by which these go out",
}


def _status(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    answers, broken = _of_each(names, lambda name: _inspect(host, name))
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        rows = [
            (
                answer["application"], answer["active"] or "-", answer["since"] or "-", answer["deployed_by"] or "-",
                answer["health"]["outcome"], answer["previous"] or "-", ", ".join(answer["bad"]) or "-", answer["trust"]["outcome"],
                answer["history"]["outcome"], answer["bytes_checked"] or "-",
            )
            for answer in answers
        ]  # fmt: skip
        print(
            table(
                ("application", "active", "since", "by", "health", "previous", "bad", "trust", "history", "checked"),
                rows,
            )
        )
        for answer in answers:
            for line in remarks(answer):
                print(f"{answer['application']}: {line}")
        for line in watch_remarks(Memory.load(Post(host)), host.clock.now()):
            print(line)
    return int(
        broken
        or any(
            answer["health"]["outcome"] == "failure"
            or answer["trust"]["outcome"] not in SOUND
            or answer["history"]["outcome"] not in SOUND
            for answer in answers
        )
    )


def _verify(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    answers, broken = _of_each(names, lambda name: _verified(host, name, read_bytes=True))
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        rows = [
            (
                each["application"], each["active"] or "-", each["release"]["outcome"], each["history"]["outcome"],
                "; ".join(filter(None, (each["release"]["detail"], each["history"]["detail"]))),
            )
            for each in answers
        ]  # fmt: skip
        print(table(("application", "active", "release", "history", "detail"), rows))
    return int(broken or any(each[part]["outcome"] not in SOUND for each in answers for part in ("release", "history")))


def _history(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    for name in names:
        answer = _asked(host, {"operation": "history", "application": {"name": name}, "limit": options.limit})
        if options.json:
            print(json.dumps(answer["records"], indent=2))
        else:
            rows = [
                (str(record["seq"]), record["timestamp"], record["release_id"], record["status"], record["deployed_by"], record["message"])
                for record in answer["records"]
            ]  # fmt: skip
            print(table(("seq", "timestamp", "release", "status", "by", "message"), rows))
    return 0


def _add_proof(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("application", help="the application")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--run", help="the records of this run")
    chosen.add_argument("--transaction", help="the record of this transaction")
    parser.add_argument(
        "--size", type=int, help="prove them in the first so many records (default: all that are signed)"
    )


def _proof(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    request = {"operation": "proof", "application": {"name": options.application}, "run_id": options.run}
    answer = _asked(host, {**request, "transaction": options.transaction, "size": options.size})
    print(json.dumps({key: answer[key] for key in ("lines", "checkpoint", "key")}, indent=2))
    return 0


def _recover(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    """One application that cannot be settled does not keep the others from it."""

    def settle(name: str) -> dict[str, Any]:
        places = Places(host, name)
        found = recovery.at_boot(places) if options.boot else recovery.by_hand(places, forced=options.force)
        return {"application": name, "found": found}

    answers, broken = _of_each(names, settle)
    for answer in answers:
        print(json.dumps(answer) if options.json else f"{answer['application']}: {answer['found']}")
    return int(broken)


def _expire(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    for name in names:
        print(f"{name}: {recovery.at_deadline(Places(host, name))}")
    return 0


def _of_each(names: Sequence[str], ask: Callable[[str], dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """The answers of all applications that have one, and whether one had none: that is said, and hides no other."""
    if len(names) == 1:
        return [ask(names[0])], False
    answers, broken = [], False
    for name in names:
        try:
            answers.append(ask(name))
        except (Refusal, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            broken = True
    return answers, broken


def _inspect(host: Host, name: str) -> dict[str, Any]:
    application = described_application(Places(host, name))
    answer = _asked(host, {"operation": "inspect", "application": application, "health": True})
    return {**answer, "history": _verified(host, name, read_bytes=False)["history"]}


def _verified(host: Host, name: str, *, read_bytes: bool) -> dict[str, Any]:
    return _asked(host, {"operation": "verify", "application": {"name": name}, "bytes": read_bytes})


def _asked(host: Host, request: dict[str, Any]) -> dict[str, Any]:
    answer = handle(request, host)
    if answer.get("failed"):
        raise Refusal(answer["reason"], expected=answer["expected"], found=answer["found"], remedy=answer["remedy"])
    return answer


DO = {
    "status": _status,
    "verify": _verify,
    "history": _history,
    "proof": _proof,
    "recover": _recover,
    "expire": _expire,
}

if __name__ == "__main__":
    sys.exit(main())
