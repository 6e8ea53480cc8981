# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 -m lab <verb>`: up, down, clean, status, ssh, and the faults cut, heal, kill, start, reboot, pause."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import demo, hosts, image, instance, names, network, preflight, shell, ssh
from .console import say, step
from .errors import LabError
from .names import Clone

DEFAULT_HOSTS = "staging=1,prod=3"
FAULTS = ("cut", "heal", "kill", "start", "reboot", "pause")


@contextmanager
def locked(clone: Clone, name: str) -> Iterator[None]:
    """Let one command at a time change an instance."""
    clone.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (clone.state / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  another command works on the lab `{name}`: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(clone: Clone, name: str, specification: str | None, distribution: str | None) -> instance.Instance:
    """Bring an instance up and return it; without a specification it keeps the hosts that it has."""
    names.check_instance(name)
    preflight.require_supported(preflight.system())
    packages = preflight.missing_for_hosts()
    preflight.require_root()
    preflight.install(packages)
    with locked(clone, name):
        before = instance.load(clone, name)
        if before and specification is None:
            counts = {group: sum(host.group == group for host in before.hosts) for group in dict.fromkeys(host.group for host in before.hosts)}
        else:
            counts = names.parse_hosts(specification or DEFAULT_HOSTS)
        chosen = image.check_distribution(distribution) if distribution else before.distribution if before else image.default_distribution()
        preflight.raise_inotify_limit()
        ssh.ensure_key(clone)
        subnet = network.ensure(clone, name)
        record = instance.Instance(
            instance=name,
            distribution=chosen,
            network=clone.network(name),
            subnet=subnet,
            hosts=instance.plan_hosts(clone, name, counts, subnet, before),
        )
        if before != dataclasses.replace(record, ready=True):
            instance.save(clone, record)
        for host in before.hosts if before else ():
            if host.container not in {kept.container for kept in record.hosts}:
                hosts.remove(clone, host)
        hosts.bring_up(clone, record, lambda: image.ensure(chosen))
        record = dataclasses.replace(record, ready=True)
        instance.save(clone, record)
    return record


def down(clone: Clone, name: str | None) -> None:
    """Remove an instance, or all of the clone's (`name` None): whatever carries its labels, and its files."""
    labels = [f"slipway.clone={clone.hash}"] + ([f"slipway.instance={name}"] if name else [])
    filters = [word for label in labels for word in ("--filter", f"label={label}")]
    record_names = [name] if name else sorted(path.stem for path in clone.state.glob("*.json"))
    for record in filter(None, (instance.load(clone, each) for each in record_names)):
        for host in record.hosts:
            ssh.close_connections(clone, host)
    if shell.which("podman"):
        preflight.require_root()
        containers = shell.podman("ps", "-aq", *filters).stdout.split()
        if containers:
            with step(f"removing {len(containers)} hosts"):
                shell.podman("rm", "--force", "--time", "0", "--volumes", *containers)
        for kind in ("volume", "network"):
            found = shell.podman(kind, "ls", "-q", *filters).stdout.split()
            if found:
                shell.podman(kind, "rm", "--force", *found)
    for each in record_names:
        (clone.state / f"{each}.json").unlink(missing_ok=True)
        ssh.known_hosts(clone, each).unlink(missing_ok=True)


def clean(clone: Clone) -> None:
    """Remove everything of this clone; the bootstrapped tar stays in the user's cache for the next one."""
    down(clone, None)
    if shell.which("podman"):
        for name in image.remove_unused():
            say(f"  removed the image {name}")
    shutil.rmtree(clone.state, ignore_errors=True)
    if image.cache().exists():
        say(f"  kept the bootstrapped image in {image.cache()} (rm -r removes it)")


def orphans(clone: Clone) -> None:
    """Remove the hosts, networks and volumes of clones whose directory is gone."""
    preflight.require_root()
    listed = json.loads(shell.podman("ps", "-a", "--filter", "label=slipway.path", "--format", "json").stdout or "[]")
    gone = {entry["Labels"]["slipway.path"] for entry in listed if not Path(entry["Labels"]["slipway.path"]).exists()}
    for path in sorted(gone):
        say(f"  removing the lab of {path}, which is gone")
        down(Clone(Path(path)), None)


def fault(clone: Clone, verb: str, name: str, host_name: str) -> None:
    """Do to a host what life does: see FAULTS. `kill` is a crash, `reboot` keeps the disk, `pause` is a hang."""
    host = instance.require(clone, name).host(host_name)
    preflight.require_root()
    if verb == "cut":
        hosts.cut(host)
    elif verb == "heal":
        hosts.heal(host)
    elif verb == "reboot":
        shell.podman("restart", "--time", "10", host.container)
    else:
        shell.podman(verb, host.container)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--instance", default=names.DEFAULT_INSTANCE, help="name of the set of hosts (default: lab)")
    main_parser = argparse.ArgumentParser(prog="python3 -m lab", description=(__doc__ or "").replace("`", ""))
    verbs = main_parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("up", parents=[common], help="bring the hosts up; running ones are left alone")
    verb.add_argument("--hosts", help=f"hosts of each group (default: those it has, or {DEFAULT_HOSTS})")
    verb.add_argument("--distribution", help="bookworm, trixie or noble (default: bookworm on Debian, noble on Ubuntu)")
    verbs.add_parser("down", parents=[common], help="remove the hosts and the network of one instance")
    verb = verbs.add_parser("clean", help="remove everything of this clone")
    verb.add_argument("--orphans", action="store_true", help="remove instead what clones left whose directory is gone")
    verb = verbs.add_parser("status", parents=[common], help="show the hosts; exit code 1 if one does not answer")
    verb.add_argument("--json", action="store_true", help="as JSON")
    verb = verbs.add_parser("ssh", parents=[common], help="print the ssh command for a host")
    verb.add_argument("host")
    for name in FAULTS:
        verbs.add_parser(name, parents=[common], help=f"{name} a host, as a fault").add_argument("host")
    verbs.add_parser("demo", help="what `make demo` does")
    verb = verbs.add_parser("install", help="install Debian packages by apt")
    verb.add_argument("package", nargs="+")
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
            record = up(clone, options.instance, options.hosts, options.distribution)
            say(f"  the lab `{record.instance}` is up: " + ", ".join(host.name for host in record.hosts))
        elif options.verb == "down":
            names.check_instance(options.instance)
            down(clone, options.instance)
        elif options.verb == "clean":
            (orphans if options.orphans else clean)(clone)
        elif options.verb == "status":
            rows = hosts.snapshot(clone, instance.require(clone, options.instance))
            print(json.dumps(rows, indent=2)) if options.json else show([dict(row) for row in rows])
            return 0 if all(row["answers"] == "yes" for row in rows) else 1
        elif options.verb == "ssh":
            host = instance.require(clone, options.instance).host(options.host)
            print(shlex.join(ssh.command(clone, options.instance, host)))
        elif options.verb == "demo":
            demo.run(clone)
        elif options.verb == "install":
            preflight.install(options.package)
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
