# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that two clones on one machine never share: each carries a hash of the clone's real path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

DEFAULT_INSTANCE = "lab"
INSTANCE_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,39}")
GROUP_PATTERN = re.compile(r"([a-z][a-z0-9]{0,19})=([1-9][0-9]{0,1})")


@dataclass(frozen=True)
class Clone:
    """One checkout of the repository: where it is, where it keeps the lab's state, and its names in podman."""

    root: Path

    @classmethod
    def here(cls) -> Clone:
        """Return the clone that this package was imported from."""
        return cls(Path(__file__).resolve().parents[1])

    @property
    def hash(self) -> str:
        """Eight hex digits that tell this clone from any other on the machine."""
        return hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:8]

    @property
    def state(self) -> Path:
        """The lab's directory of state, never committed."""
        return self.root / ".slipway" / "lab"

    def network(self, instance: str) -> str:
        """Return the name of an instance's network."""
        return f"slipway-{self.hash}-{instance}"

    def container(self, instance: str, host: str) -> str:
        """Return the name of a host's container."""
        return f"{self.network(instance)}-{host}"

    def labels(self, instance: str) -> list[str]:
        """Return podman's options for the labels by which everything of an instance is found, without any file."""
        labels = {
            "slipway.clone": self.hash,
            "slipway.path": str(self.root.resolve()),
            "slipway.instance": self.network(instance),
        }
        return [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]

    def filter(self, instance: str | None = None) -> list[str]:
        """Return podman's options to list what is an instance's, or all that is this clone's.

        One label alone: podman takes several for "and" with containers, but for "or" with volumes.
        """
        label = f"slipway.instance={self.network(instance)}" if instance else f"slipway.clone={self.hash}"
        return ["--filter", f"label={label}"]


def check_instance(name: str) -> str:
    """Return the instance's name if it may be one."""
    if not INSTANCE_PATTERN.fullmatch(name):
        raise LabError(
            expected="an instance name such as `lab` or `molecule-default` (a-z, 0-9, -, _, 40 characters at most)",
            found=repr(name),
            remedy="Choose another --instance.",
        )
    return name


def parse_hosts(specification: str) -> dict[str, int]:
    """Turn `staging=1,prod=3` into {"staging": 1, "prod": 3}."""
    counts: dict[str, int] = {}
    for part in specification.split(","):
        match = GROUP_PATTERN.fullmatch(part.strip())
        if not match or match[1] in counts:
            raise LabError(
                expected="groups with 1 to 99 hosts each, such as `staging=1,prod=3`",
                found=repr(specification),
                remedy="Correct --hosts.",
            )
        counts[match[1]] = int(match[2])
    return counts


def host_names(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return (host, group) pairs in order: staging-1, prod-1, prod-2 …"""
    return [(f"{group}-{number}", group) for group, count in counts.items() for number in range(1, count + 1)]
