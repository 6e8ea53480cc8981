# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance of the lab is: its hosts and its network, as kept in `.slipway/lab/<instance>.json`.

`inventories/lab/hosts` reads the same file; its members are that script's interface.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from . import names, network, shell
from .errors import LabError
from .names import Clone

FORMAT = 1
USER = "operator"
VOLUME_GROUP = "prod"  # its last host has /srv on a file system of its own: one overlay would hide cross-mount bugs


@dataclass(frozen=True)
class Host:
    """One host: its name in the inventory, its group, its fixed address, its container and (or "") its /srv volume."""

    name: str
    group: str
    address: str
    container: str
    volume: str = ""


@dataclass(frozen=True)
class Instance:
    """One instance of the lab. `ready` is true from the moment on that every host answered."""

    instance: str
    distribution: str
    network: str
    subnet: str
    hosts: tuple[Host, ...]
    ready: bool = False
    user: str = USER

    def host(self, name: str) -> Host:
        """Return the host of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(
            expected="one of the hosts " + ", ".join(host.name for host in self.hosts),
            found=repr(name),
            remedy="Choose a host that `python3 -m lab status` shows.",
        )

    def encode(self) -> str:
        """Return the file's text."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def parse(cls, text: str) -> Instance:
        """Read the file's text; another format is refused."""
        members = json.loads(text)
        if members.pop("format", None) != FORMAT:
            raise ValueError("another format")
        members["hosts"] = tuple(Host(**host) for host in members["hosts"])
        return cls(**members)


def load(clone: Clone, instance: str) -> Instance | None:
    """Return the recorded instance; a file that cannot be read counts as none (`up` finds the rest by its labels)."""
    try:
        return Instance.parse((clone.state / f"{instance}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def require(clone: Clone, instance: str) -> Instance:
    """Return the recorded instance, or say how to make it."""
    found = load(clone, instance)
    if found is None:
        option = "" if instance == names.DEFAULT_INSTANCE else f" (python3 -m lab up --instance {instance})"
        raise LabError(
            expected=f"the lab `{instance}` to be up", found="no such lab", remedy=f"Run `make lab`{option}."
        )
    return found


def save(clone: Clone, record: Instance) -> None:
    """Write the instance's file."""
    shell.write_atomically(clone.state / f"{record.instance}.json", record.encode())


def plan_hosts(
    clone: Clone,
    instance: str,
    counts: Mapping[str, int],
    subnet: str,
    *,
    before: Instance | None = None,
    unusable: Collection[str] = (),
) -> tuple[Host, ...]:
    """Return the hosts that the instance shall have; those recorded keep their volume and, if usable, their address."""
    recorded = {host.name: host for host in before.hosts} if before and before.subnet == subnet else {}
    wanted = names.host_names(counts)
    kept = {name: recorded[name].address for name, _ in wanted if name in recorded}
    addresses = {name: address for name, address in kept.items() if address not in unusable}
    avoided = {*addresses.values(), *unusable}
    free = (place for number in range(200) if (place := network.address(subnet, number)) not in avoided)
    volume_host = next((name for name, group in reversed(wanted) if group == VOLUME_GROUP), None)
    hosts = []
    for name, group in wanted:
        container = clone.container(instance, name)
        volume = f"{container}-srv" if name == volume_host else ""
        hosts.append(
            Host(
                name=name,
                group=group,
                address=addresses.get(name) or next(free),
                container=container,
                volume=recorded[name].volume if name in recorded else volume,
            )
        )
    return tuple(hosts)
