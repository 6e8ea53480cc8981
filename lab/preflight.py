# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab needs from this machine: installed by apt where it can be, said clearly where not."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import shell
from .console import say, step
from .errors import LabError

BUILD_GIB = 5
INOTIFY_INSTANCES = 512
INOTIFY_FILE = Path("/proc/sys/fs/inotify/max_user_instances")
OLDEST = {"debian": (12,), "ubuntu": (24, 4)}
NETAVARK = ("/usr/lib/podman/netavark", "/usr/libexec/podman/netavark")

# A tool (or one of several files) and the package that brings it.
HOST_TOOLS = {
    "podman": "podman",
    "runc": "runc",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
IMAGE_TOOLS = {"mmdebstrap": "mmdebstrap"}


@dataclass(frozen=True)
class System:
    """The machine's distribution, as /etc/os-release tells it; `family` is "debian", "ubuntu" or ""."""

    family: str
    version: tuple[int, ...]
    codename: str
    title: str


def parse_os_release(text: str) -> System:
    """Read /etc/os-release; derivatives count as their parent family but keep their own title."""
    fields = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.startswith("#"):
            fields[name.strip()] = "".join(shlex.split(value))
    family = fields.get("ID", "")
    numbers = tuple(int(part) for part in fields.get("VERSION_ID", "").split(".") if part.isdigit())
    return System(
        family=family if family in OLDEST else "",
        version=numbers,
        codename=fields.get("VERSION_CODENAME", ""),
        title=fields.get("PRETTY_NAME", family or "an unknown system"),
    )


def system() -> System:
    """Return this machine's distribution."""
    try:
        return parse_os_release(Path("/etc/os-release").read_text(encoding="utf-8"))
    except OSError:
        return System("", (), "", "a system without /etc/os-release")


def require_supported(found: System) -> None:
    """Refuse a machine that the lab was never run on."""
    if not found.family or found.version < OLDEST[found.family]:
        raise LabError(
            expected="Debian 12 or later, or Ubuntu 24.04 or later",
            found=found.title,
            remedy="Run the lab on such a machine; a virtual one will do. Your own hosts need no lab: see README.md.",
        )


def require_root(command: Callable[..., subprocess.CompletedProcess[str]] = shell.run) -> None:
    """Make sure that commands can run as root; asks for the sudo password once if a person is there."""
    if os.geteuid() == 0:
        return
    if not shell.which("sudo"):
        raise LabError(
            expected="to be root, or sudo",
            found=f"user id {os.geteuid()} and no sudo on this machine",
            remedy="Run the same command as root.",
        )
    if command(["sudo", "-n", "true"], check=False).returncode == 0:
        return
    if sys.stdin.isatty():
        say("  the lab's hosts are containers of root: sudo may ask for your password now")
        if subprocess.run(["sudo", "-v"], check=False).returncode == 0:
            return
    raise LabError(
        expected="sudo that lets you run commands as root",
        found="sudo asks for a password, and it was not given",
        remedy="Run `sudo -v` in this terminal first and then the same command again, or run it as root.",
    )


def missing(tools: Mapping[str, str], present: Callable[[str], object]) -> list[str]:
    """Return the packages, each once, whose tools are not present."""
    return list(dict.fromkeys(package for tool, package in tools.items() if not present(tool)))


def missing_for_hosts() -> list[str]:
    """Return the packages that starting hosts still needs on this machine."""
    packages = missing(HOST_TOOLS, shell.which)
    if not any(Path(path).exists() for path in NETAVARK):
        packages.append("netavark")
    return packages


def install(packages: Iterable[str]) -> None:
    """Install Debian packages, if any are named; needs root."""
    names = list(packages)
    if not names:
        return
    require_root()
    if not shell.which("apt-get"):
        raise LabError(
            expected="apt-get, to install " + ", ".join(names),
            found="no apt-get on this machine",
            remedy="Install them with your package manager, then run the same command again.",
        )
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    wanted = [*apt, "install", "-y", "--no-install-recommends", *names]
    with step(f"installing {', '.join(names)} by apt"):
        if shell.run(wanted, root=True, check=False).returncode != 0:  # the package lists may be old or missing
            refresh_package_lists()
            shell.run(wanted, root=True)


def refresh_package_lists() -> None:
    """Run `apt-get update`; a third party's broken archive does not stop us if the packages are found afterwards."""
    shell.run(["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update"], root=True, check=False)


def require_space(
    directory: Path, gib: int, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> None:
    """Refuse to fill a disk up: `directory` (or the nearest parent that exists) must have `gib` GiB left."""
    while not directory.exists():
        directory = directory.parent
    left = free(directory)
    if left < gib * 2**30:
        raise LabError(
            expected=f"{gib} GB free on the disk of {directory}",
            found=f"{left / 2**30:.1f} GB",
            remedy="Free some space (`podman system df` shows what containers use), then run the same command again.",
        )


def raise_inotify_limit() -> None:
    """Let more than about 30 systemds run beside each other (the usual limit is 128 inotify instances per user)."""
    if int(INOTIFY_FILE.read_text(encoding="ascii")) < INOTIFY_INSTANCES:
        shell.run(["sysctl", "-q", "-w", f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}"], root=True)
