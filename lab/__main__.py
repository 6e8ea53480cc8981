# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 -m lab <verb>`: up, down, clean, status, ssh, and faults to try out on a host (cut, heal, kill …)."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from . import (
    collection,
    demo,
    hosts,
    instance,
    lifecycle,
    names,
    pager,
    postgres,
    preflight,
    prometheus,
    shell,
    ssh,
    vault,
)
from .console import say, step
from .errors import LabError
from .names import Clone

# What tests need that no host has.
PROGRAMS = {
    "vault": vault.ensure,
    "prometheus": prometheus.ensure,
    "postgres": postgres.ensure,
    "awx-collection": collection.ensure,
}
DEMOS = {"demo": demo.run, "demo-alert": pager.run}


def fault(clone: Clone, verb: str, name: str, host_name: str) -> None:
    """Do to a host what life does: see hosts.FAULTS."""
    host = instance.require(clone, name).host(host_name)
    preflight.require_root()
    hosts.FAULTS[verb](host)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--instance", default=names.DEFAULT_INSTANCE, help="name of the set of hosts (default: lab)")
    main_parser = argparse.ArgumentParser(prog="python3 -m lab", description=(__doc__ or "").replace("`", ""))
    verbs = main_parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("up", parents=[common], help="bring the hosts up; running ones are left alone")
    verb.add_argument("--hosts", help=f"hosts of each group (default: those it has, or {lifecycle.DEFAULT_HOSTS})")
    verb.add_argument("--distribution", help="bookworm, trixie or noble (default: bookworm on Debian, noble on Ubuntu)")
    verbs.add_parser("down", parents=[common], help="remove the hosts and the network of one instance")
    verb = verbs.add_parser("clean", help="remove everything of this clone")
    verb.add_argument("--orphans", action="store_true", help="remove instead what clones left whose directory is gone")
    verb = verbs.add_parser("status", parents=[common], help="show the hosts; exit code 1 if one does not answer")
    verb.add_argument("--json", action="store_true", help="as JSON")
    verb = verbs.add_parser("ssh", parents=[common], help="print the ssh command for a host")
    verb.add_argument("host")
    for name, action in hosts.FAULTS.items():
        summary = (action.__doc__ or "").split("\n")[0]
        verbs.add_parser(name, parents=[common], help=summary).add_argument("host")
    verbs.add_parser("demo", help="what `make demo` does")
    verbs.add_parser("demo-alert", help="what `make demo-alert` does")
    verb = verbs.add_parser("install", help="install Debian packages by apt")
    verb.add_argument("package", nargs="+")
    verbs.add_parser("vault", help="print where a Vault or OpenBao for tests is; builds one where there is none")
    verbs.add_parser(
        "prometheus", help="print where Prometheus' programs for tests are; fetches them where there are none"
    )
    verbs.add_parser(
        "postgres", help="print where PostgreSQL's programs for tests are; installs them where there are none"
    )
    verbs.add_parser("awx-collection", help="put the collection awx.awx where this Python's Ansible finds it")
    verb = verbs.add_parser("step", help="run a command, silent unless it fails, and show how long it takes")
    verb.add_argument("title")
    verb.add_argument("command", nargs="+")
    return main_parser


def show(rows: list[dict[str, str]]) -> None:
    """Print rows as a table."""
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in rows[0]}
    for row in [{column: column.upper() for column in widths}, *rows]:
        print("  ".join(row[column].ljust(width) for column, width in widths.items()).rstrip())


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    options = parser().parse_args(arguments)
    clone = Clone.here()
    try:
        if options.verb == "up":
            record = lifecycle.up(clone, options.instance, options.hosts, options.distribution)
            say(f"  the lab `{record.instance}` is up: " + ", ".join(host.name for host in record.hosts))
        elif options.verb == "down":
            lifecycle.down(clone, options.instance)
        elif options.verb == "clean":
            (lifecycle.orphans if options.orphans else lifecycle.clean)(clone)
        elif options.verb == "status":
            record = instance.require(clone, options.instance)
            preflight.require_root()
            rows = hosts.snapshot(clone, record)
            print(json.dumps(rows, indent=2)) if options.json else show([dict(row) for row in rows])
            return 0 if all(row["answers"] == "yes" for row in rows) else 1
        elif options.verb == "ssh":
            host = instance.require(clone, options.instance).host(options.host)
            print(shlex.join(ssh.command(clone, options.instance, host)))
        elif options.verb in DEMOS:
            DEMOS[options.verb](clone)
        elif options.verb == "install":
            preflight.install(options.package)
        elif options.verb in PROGRAMS:
            print(PROGRAMS[options.verb]())
        elif options.verb == "step":
            with step(options.title):
                shell.run(options.command)
        else:
            fault(clone, options.verb, options.instance, options.host)
    except LabError as error:
        say(error.report())
        return 1
    except KeyboardInterrupt:
        say("lab: interrupted; run the same command again, it goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
