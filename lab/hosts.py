# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as containers that run systemd: brought to life from any state a killed run or a reboot may have left."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from . import network, shell, ssh
from .console import say, step
from .errors import AddressTaken, LabError
from .instance import Host, Instance
from .names import Clone

HEALTHY = ("running", "degraded")
OPEN_FILES = 65536
BOOT_SECONDS = 60
RUNTIMES = ("runc", "crun")

# Waits inside the host until systemd has finished booting, then tells the host's own ssh key.
AWAIT_BOOT = """
until state=$(systemctl is-system-running --wait 2>/dev/null); [ "$state" = running ] || [ "$state" = degraded ]; do
    sleep 0.05
done
cat /etc/ssh/ssh_host_ed25519_key.pub
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Mould:
    """What all new hosts are made with: the image, the OCI runtime, and the key that lets the operator in."""

    image: str
    runtime: str
    public_key: str


def next_step(state: str | None) -> str:
    """Return what a container in podman's `state` needs: leave, start, unpause or create (which replaces)."""
    if state == "running":
        return "leave"
    if state == "paused":
        return "unpause"
    if state in ("exited", "stopped", "created", "configured"):
        return "start"
    return "create"  # absent, or stuck in stopping, dead, removing: podman itself cannot start those


def states(clone: Clone, instance: str | None = None) -> dict[str, str]:
    """Return {container: state} of this clone's containers, those of one instance if it is named."""
    listed = shell.podman("ps", "-a", *clone.filter(instance), "--format", "json").stdout
    return {entry["Names"][0]: entry["State"] for entry in json.loads(listed or "[]")}


def in_parallel(action: Callable[[Host], T], hosts: Iterable[Host]) -> dict[str, T]:
    """Call `action` for all hosts at once and return {host: result}; the first error is raised after all have ended."""
    chosen = list(hosts)
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(chosen)))) as pool:
        futures = {host.name: pool.submit(action, host) for host in chosen}
    return {name: future.result() for name, future in futures.items()}


def answers(clone: Clone, record: Instance, host: Host) -> bool:
    """Tell whether a host lets the operator in by ssh and its systemd has booted."""
    done = ssh.run(clone, record.instance, host, "systemctl is-system-running", timeout=8)
    return done.stdout.strip() in HEALTHY


def bring_up(clone: Clone, record: Instance, image: Callable[[], str]) -> None:
    """Make all hosts of the record answer. Those that do are left alone; `image` is asked for only if one is made.

    A host that was there but does not come back is made anew once, with an empty disk.
    """
    found = states(clone, record.instance)
    steps = {host.name: next_step(found.get(host.container)) for host in record.hosts}
    running = [host for host in record.hosts if steps[host.name] == "leave"]
    alive = {name for name, good in in_parallel(lambda host: answers(clone, record, host), running).items() if good}
    rest = [host for host in record.hosts if host.name not in alive]
    if not rest:
        return
    create = [host for host in rest if steps[host.name] == "create"]
    if create:
        make_all(clone, record, create, image())
    again = [host for host in rest if host not in create]
    if again:
        with step(f"waking {', '.join(host.name for host in again)}"):
            in_parallel(lambda host: wake(clone, host, steps[host.name]), again)
    lost = await_hosts(clone, record, rest)
    if lost:
        say(f"  {', '.join(host.name for host in lost)} cannot be brought back: made anew, with an empty disk")
        make_all(clone, record, lost, image())
        lost = await_hosts(clone, record, lost)
    if lost:
        names = ", ".join(host.name for host in lost)
        raise LabError(
            expected=f"{names} to boot and to answer ssh within {BOOT_SECONDS} s",
            found=shell.podman("logs", "--tail", "5", lost[0].container, check=False).stderr.strip() or "no answer",
            remedy=f"Look at `podman logs {lost[0].container}`; `make clean-lab` and `make lab` start from nothing.",
        )


def await_hosts(clone: Clone, record: Instance, hosts: list[Host]) -> list[Host]:
    """Wait until the hosts have booted, learn their ssh keys, and return those that do not answer."""
    with step(f"waiting for {', '.join(host.name for host in hosts)}"):
        keys = in_parallel(boot, hosts)
        ssh.learn(clone, record.instance, {host.address: key for host in hosts if (key := keys[host.name])})
        booted = [host for host in hosts if keys[host.name]]
        good = in_parallel(lambda host: answers(clone, record, host), booted)
    return [host for host in hosts if not good.get(host.name)]


def boot(host: Host) -> str:
    """Wait until systemd has booted and return the host's public ssh key, or "" if it does not boot."""
    heal(host)
    done = shell.podman(
        "exec",
        host.container,
        "timeout",
        str(BOOT_SECONDS),
        "sh",
        "-c",
        AWAIT_BOOT,
        check=False,
        timeout=BOOT_SECONDS + 10,
    )
    return " ".join(done.stdout.split()[:2]) if done.returncode == 0 else ""


def make_all(clone: Clone, record: Instance, hosts: list[Host], image: str) -> None:
    """Create hosts from nothing, all at once."""
    mould = Mould(image, working_runtime(clone, record, image), ssh.ensure_key(clone))
    with step(f"creating {', '.join(host.name for host in hosts)}"):
        in_parallel(lambda host: make(clone, record, host, mould), hosts)


def make(clone: Clone, record: Instance, host: Host, mould: Mould) -> None:
    """Create a host from nothing; what is left of one with the same name goes first."""
    remove(clone, host)
    words = clone.labels(record.instance)
    if host.volume:
        shell.podman("volume", "create", *words, host.volume)
        words += ["--volume", f"{host.volume}:/srv"]
    words += ["--network", f"{record.network}:ip={host.address},mac={network.mac_of(host.address)}"]
    try:
        run_container(host.container, host.name, mould, words)
    except LabError as error:
        if "already allocated" in error.found:
            raise AddressTaken(host.address, host.container) from error
        raise


def run_container(container: str, hostname: str, mould: Mould, options: Iterable[str]) -> None:
    """Start systemd in a new container, with what sandboxed units and systemd credentials need."""
    processes = limit(resource.RLIMIT_NPROC, 4096)
    shell.podman(
        *("--runtime", mould.runtime, "run", "--detach", "--name", container, "--hostname", hostname, *options),
        # Without SYS_PTRACE a unit with both PrivateUsers= and ProtectProc= ends as 217/USER, which no real host does.
        *("--systemd", "always", "--cap-add", "SYS_ADMIN,SYS_PTRACE", "--security-opt", "apparmor=unconfined"),
        # Fixed limits: podman's defaults may be above what this machine allows.
        *("--ulimit", f"nofile={limit(resource.RLIMIT_NOFILE, OPEN_FILES)}", "--ulimit", f"nproc={processes}"),
        *(mould.image, "/usr/local/sbin/lab-init", mould.public_key),
    )


def limit(kind: int, wanted: int) -> str:
    """Return `soft:hard` for podman, within this process's own hard limit."""
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return f"{value}:{value}"


def working_runtime(clone: Clone, record: Instance, image: str) -> str:
    """Return the first OCI runtime under which systemd boots here (crun, for one, fails on some cgroup layouts)."""
    memory = clone.state / "runtime"
    if memory.exists():
        return memory.read_text(encoding="ascii").strip()
    probe = clone.container(record.instance, "probe")
    complaint = "none is installed"
    with step("finding a container runtime under which systemd boots"):
        for runtime in filter(shell.which, RUNTIMES):
            try:
                shell.podman("rm", "--force", "--time", "0", probe, check=False)
                mould = Mould(image, runtime, ssh.ensure_key(clone))
                run_container(probe, "probe", mould, [*clone.labels(record.instance), "--network", record.network])
                if boot(Host("probe", "", "", probe)):
                    shell.write_atomically(memory, runtime + "\n")
                    return runtime
                complaint = f"{runtime}: systemd does not boot"
            except LabError as error:
                complaint = f"{runtime}: {error.found}"
            finally:
                shell.podman("rm", "--force", "--time", "0", probe, check=False)
    raise LabError(
        expected="a container runtime (" + " or ".join(RUNTIMES) + ") under which systemd boots",
        found=complaint,
        remedy="The message above tells why; inside an unprivileged container or a sandbox the lab cannot run.",
    )


def wake(clone: Clone, host: Host, needed: str) -> None:
    """Start, unpause or restart a host that is there; one that cannot be is found out by the wait that follows."""
    ssh.close_connections(clone, host)
    if needed == "unpause":
        shell.podman("unpause", host.container, check=False)
    elif needed == "start":
        shell.podman("start", host.container, check=False)
    else:  # podman says it is running, but it does not answer
        heal(host)
        if not boot_is_alive(host):
            shell.podman("restart", "--time", "2", host.container, check=False)


def boot_is_alive(host: Host) -> bool:
    """Tell whether a command can run in the host at all (podman may not have noticed its death)."""
    return shell.podman("exec", host.container, "true", check=False, timeout=10).returncode == 0


def remove(clone: Clone, host: Host) -> None:
    """Remove a host with its disk, its volume and the connections to it; absent ones are no error."""
    ssh.close_connections(clone, host)
    shell.podman("rm", "--force", "--time", "0", "--volumes", host.container, check=False)
    if host.volume:
        shell.podman("volume", "rm", "--force", host.volume, check=False)


def cut(host: Host) -> None:
    """Take the host's network link down: a partition. Connections hang, as they do in life."""
    shell.podman("exec", "--privileged", host.container, "ip", "link", "set", "eth0", "down")


def heal(host: Host) -> None:
    """Put the link up again, and the default route that went with it; a host that is not cut notices nothing."""
    route = f" && ip route replace default via {network.gateway_of(host.address)}" if host.address else ""
    script = f"ip link set eth0 up{route}"
    shell.podman("exec", "--privileged", host.container, "sh", "-c", script, check=False)


def kill(host: Host) -> None:
    """Crash the host: every process ends at once, the disk stays as it is."""
    shell.podman("kill", host.container)


def pause(host: Host) -> None:
    """Freeze every process of the host: a hang."""
    shell.podman("pause", host.container)


def unpause(host: Host) -> None:
    """Let a frozen host go on."""
    shell.podman("unpause", host.container)


def start(host: Host) -> None:
    """Start a host that was killed, and wait until it has booted."""
    shell.podman("start", host.container)
    require_boot(host)


def reboot(host: Host) -> None:
    """Stop the host in order, start it again with the same disk, and wait until it has booted."""
    shell.podman("restart", "--time", "10", host.container)
    require_boot(host)


def require_boot(host: Host) -> None:
    """Wait until the host has booted."""
    if not boot(host):
        raise LabError(
            expected=f"{host.name} to boot within {BOOT_SECONDS} s",
            found="it did not",
            remedy=f"Look at `podman logs {host.container}`.",
        )


FAULTS = {action.__name__: action for action in (cut, heal, kill, start, reboot, pause, unpause)}


def snapshot(clone: Clone, record: Instance) -> list[Mapping[str, str]]:
    """Return a row for each host: what podman says of it and what it says of itself by ssh."""
    found = states(clone, record.instance)
    alive = in_parallel(
        lambda host: found.get(host.container) == "running" and answers(clone, record, host), record.hosts
    )
    return [
        {
            "host": host.name,
            "group": host.group,
            "address": host.address,
            "container": found.get(host.container, "absent"),
            "answers": "yes" if alive[host.name] else "no",
        }
        for host in record.hosts
    ]
