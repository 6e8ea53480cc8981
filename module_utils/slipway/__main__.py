# SPDX-License-Identifier: GPL-3.0-or-later
"""``slipway`` on a host, without a controller: ``status``, ``history``, ``verify`` and ``recover``.

Exit codes: 0 all is well; 1 something is not (it says what); 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__
from .base.errors import Refusal
from .base.table import table
from .host.handler import handle
from .host.lease import LeaseFile, Run, exclusive
from .host.places import Host, Places
from .host.status import described_application
from .host.transaction import Transactions


def main(arguments: Sequence[str] | None = None, host: Host | None = None) -> int:
    """Parse ``arguments``, do one verb, return the exit code."""
    parser = argparse.ArgumentParser(prog="slipway", description="What this host serves, and whether it is intact.")
    parser.add_argument("--version", action="version", version=f"slipway {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, help_text in VERBS.items():
        sub = verbs.add_parser(verb, help=help_text, description=help_text)
        sub.add_argument("application", nargs="?", help="one application (default: all)")
        sub.add_argument("--json", action="store_true", help="plain data instead of a table")
        if verb == "recover":
            sub.add_argument("--force", action="store_true", help="also what a run holds that may still be alive")
        if verb == "history":
            sub.add_argument("--limit", type=int, default=10, help="how many records, newest first (default 10)")
    options = parser.parse_args(arguments)
    here = host or Host()
    try:
        names = [options.application] if options.application else here.application_names()
        return {"status": _status, "verify": _verify, "history": _history, "recover": _recover}[options.verb](
            here, names, options
        )
    except (Refusal, OSError) as error:
        print(error, file=sys.stderr)
        return 1


NOBODY = Run(run_id="", controller_id="", deployed_by="")
VERBS = {
    "status": "show what each application serves",
    "verify": "verify signatures, file list and every byte of what is active",
    "history": "show the newest records",
    "recover": "settle what an interrupted run left open",
}


def _status(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    answers = [_inspect(host, name, verify=False) for name in names]
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        rows = [
            (
                answer["application"], answer["active"] or "-", answer["since"] or "-", answer["deployed_by"] or "-",
                answer["health"]["outcome"], answer["previous"] or "-", ", ".join(answer["bad"]) or "-",
            )
            for answer in answers
        ]  # fmt: skip
        print(table(("application", "active", "since", "by", "health", "previous", "bad"), rows))
    return int(any(answer["health"]["outcome"] == "failure" for answer in answers))


def _verify(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    answers = [{"application": name, **_inspect(host, name, verify=True)["integrity"]} for name in names]
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        rows = [(each["application"], each["release_id"] or "-", each["outcome"], each["detail"]) for each in answers]
        print(table(("application", "active", "outcome", "detail"), rows))
    return int(any(each["outcome"] not in ("intact", "nothing_active") for each in answers))


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


def _recover(host: Host, names: Sequence[str], options: argparse.Namespace) -> int:
    for name in names:
        places = Places(host, name)
        places.require_bootstrapped()
        with exclusive(places.lock, host.clock):
            if not options.force:
                LeaseFile(places.lease).require_free(NOBODY, host.clock.now())
            record = Transactions(places).recover()
        found = f"{record['status']}: {record['message']}" if record else "nothing was open"
        print(json.dumps({"application": name, "found": found}) if options.json else f"{name}: {found}")
    return 0


def _inspect(host: Host, name: str, *, verify: bool) -> dict[str, Any]:
    application = described_application(Places(host, name))
    return _asked(host, {"operation": "inspect", "application": application, "health": True, "verify": verify})


def _asked(host: Host, request: dict[str, Any]) -> dict[str, Any]:
    answer = handle(request, host)
    if answer.get("failed"):
        raise Refusal(answer["reason"], expected=answer["expected"], found=answer["found"], remedy=answer["remedy"])
    return answer


if __name__ == "__main__":
    sys.exit(main())
