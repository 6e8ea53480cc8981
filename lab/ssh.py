# SPDX-License-Identifier: GPL-3.0-or-later
"""How a controller reaches the lab's hosts: a key of the clone's own, and host keys told by the hosts themselves."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from . import shell
from .instance import USER, Host
from .names import Clone


def private_key(clone: Clone) -> Path:
    """Return the path of the operator's key."""
    return clone.state / "id_ed25519"


def ensure_key(clone: Clone) -> str:
    """Make the operator's key pair unless it is there, and return the public key."""
    path = private_key(clone)
    public = path.with_name(path.name + ".pub")
    with (clone.state / ".key.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two instances may come up at once
        if not path.exists() or not public.exists():
            path.unlink(missing_ok=True)
            comment = f"slipway-lab-{clone.hash}"
            shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return public.read_text(encoding="ascii").strip()


def known_hosts(clone: Clone, instance: str) -> Path:
    """Return the path of the instance's known_hosts file."""
    return clone.state / f"known_hosts_{instance}"


def learn(clone: Clone, instance: str, keys: Mapping[str, str]) -> None:
    """Record host keys ({address: "ssh-ed25519 AAAA…"}) that were read inside the hosts; others keep theirs."""
    path = known_hosts(clone, instance)
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    known = dict(line.split(" ", 1) for line in lines if " " in line) | dict(keys)
    shell.write_atomically(path, "".join(f"{address} {key}\n" for address, key in sorted(known.items())))


def options(clone: Clone, instance: str) -> list[str]:
    """Return ssh's options: only our key, only our known hosts, and nothing of the user's own configuration."""
    return [
        *("-F", "none"),
        *("-o", f"UserKnownHostsFile={quoted(known_hosts(clone, instance))}"),
        *("-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", "IdentitiesOnly=yes"),
    ]


def quoted(path: Path) -> str:
    """Return a path as ssh's options want it: they are split at blanks unless quoted."""
    return f'"{path}"' if " " in str(path) else str(path)


def command(clone: Clone, instance: str, host: Host) -> list[str]:
    """Return the ssh command for a host."""
    return ["ssh", *options(clone, instance), "-i", str(private_key(clone)), f"{USER}@{host.address}"]


def run(clone: Clone, instance: str, host: Host, remote: str, timeout: float = 10) -> subprocess.CompletedProcess[str]:
    """Run a command on a host, without a shared connection; code 255 or 124 says that the host did not answer."""
    words = command(clone, instance, host)
    return shell.run(
        [*words[:1], "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", *words[1:], remote], check=False, timeout=timeout
    )


def close_connections(clone: Clone, host: Host) -> None:
    """End the shared connections that Ansible keeps open to a host, so that none outlives the host itself.

    Their sockets are named by inventories/lab/hosts (ansible_control_path).
    """
    directory = Path(os.environ.get("ANSIBLE_HOME") or Path.home() / ".ansible") / "cp"
    for socket in directory.glob(f"slipway-{clone.hash}-{host.address}-*"):
        shell.run(
            ["ssh", "-F", "none", "-o", f"ControlPath={quoted(socket)}", "-O", "exit", host.address],
            check=False,
            timeout=5,
        )
        socket.unlink(missing_ok=True)
