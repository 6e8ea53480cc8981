# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance from nothing to hosts that answer, and back to nothing."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import hosts, image, instance, names, network, preflight, shell, ssh
from .console import say, step
from .errors import AddressTaken, LabError
from .names import Clone

DEFAULT_HOSTS = "staging=1,prod=3"
MANY_ADDRESSES = 100  # lost to killed runs: then something else is wrong


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


def up(clone: Clone, name: str, specification: str | None = None, distribution: str | None = None) -> instance.Instance:
    """Bring an instance up and return it; without a specification it keeps the hosts that it has."""
    names.check_instance(name)
    preflight.require_supported(preflight.system())
    packages = preflight.missing_for_hosts()
    preflight.require_root()
    preflight.install(packages)
    with locked(clone, name):
        before = instance.load(clone, name)
        counts = names.parse_hosts(specification or (specification_of(before) if before else DEFAULT_HOSTS))
        distribution = choose_distribution(before, distribution)
        preflight.raise_inotify_limit()
        unusable: set[str] = set()
        while True:
            try:
                return converge(clone, name, counts, distribution, unusable)
            except AddressTaken as error:
                if len(unusable) > MANY_ADDRESSES:
                    raise
                unusable.add(error.address)


def choose_distribution(before: instance.Instance | None, asked: str | None) -> str:
    """Return the distribution of all hosts of an instance: it keeps the one that it was made with."""
    if before is None:
        return image.check_distribution(asked) if asked else image.default_distribution()
    if asked in (None, before.distribution):
        return before.distribution
    raise LabError(
        expected=f"the distribution of the hosts that are there, {before.distribution}",
        found=asked,
        remedy=f"Choose another --instance, or remove these hosts: python3 -m lab down --instance {before.instance}",
    )


def converge(
    clone: Clone, name: str, counts: dict[str, int], distribution: str, unusable: set[str]
) -> instance.Instance:
    """Make the instance what it shall be, and record it: ready from the moment on that all hosts answer."""
    before = instance.load(clone, name)
    subnet = network.ensure(clone, name)
    record = instance.Instance(
        instance=name,
        distribution=distribution,
        network=clone.network(name),
        subnet=subnet,
        hosts=instance.plan_hosts(clone, name, counts, subnet, before=before, unusable=unusable),
    )
    ready = dataclasses.replace(record, ready=True)
    if before != ready:
        instance.save(clone, record)
    kept = {host.container for host in record.hosts}
    for host in before.hosts if before else ():
        if host.container not in kept:
            hosts.remove(clone, host)
    hosts.bring_up(clone, record, lambda: image.ensure(record.distribution))
    instance.save(clone, ready)
    return ready


def specification_of(record: instance.Instance) -> str:
    """Return the specification that would make the record's hosts: staging=1,prod=3."""
    return ",".join(f"{group}={count}" for group, count in Counter(host.group for host in record.hosts).items())


def down(clone: Clone, name: str | None) -> None:
    """Remove an instance, or all of the clone's (`name` None): whatever carries its labels, and its files."""
    if name:
        names.check_instance(name)
    filters = clone.filter(name)
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
        volumes = shell.podman("volume", "ls", "-q", *filters).stdout.split()
        if volumes:
            shell.podman("volume", "rm", "--force", *volumes)
        network.remove(shell.podman("network", "ls", "-q", *filters).stdout.split())
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
