# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: how long deploys and rollbacks take on the lab's prod group, beside what rsync needs for the same bytes.

Every figure is a whole command, as an operator types it. The rsync floor copies with checksums and hardlinks, checks
the bytes with sha256sum, syncs and renames, on all hosts in parallel; it verifies no signature, keeps no history, asks
for no health and cannot go back by itself. Repetitions are interleaved; the table shows medians and the spread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PLACE = REPOSITORY / ".slipway" / "bench"
BUNDLE = PLACE / "bundle"
CATALOGUE = PLACE / "catalogue"
VARIABLES = PLACE / "variables.json"
FILES, FILE_BYTES, CHANGED = 2000, 16 * 1024, 20
SUMS = "cd /srv/bench/current/ && find . -type f -print0 | xargs -0 sha256sum > /dev/null"
APPLICATION = {"slipway_applications": {"bench": {"strategy": "none"}}, "release_waves": ["100%"]}


@dataclass(frozen=True)
class Target:
    """A host of the prod group and how to reach it over ssh."""

    name: str
    ssh: tuple[str, ...]
    login: str


def targets() -> list[Target]:
    """The prod hosts of the lab, from its inventory."""
    listed = json.loads(_output([str(REPOSITORY / "inventories/lab/hosts"), "--list"]))
    hosts = listed["_meta"]["hostvars"]
    return [_target(name, hosts[name]) for name in listed["prod"]["hosts"]]


def _target(name: str, variables: Mapping[str, str]) -> Target:
    ssh = ("ssh", "-i", variables["ansible_ssh_private_key_file"], *shlex.split(variables["ansible_ssh_common_args"]))
    control = (
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=60s",
        "-o",
        f"ControlPath=/tmp/slipway-bench-{name}-%C",
    )
    return Target(name, (*ssh, *control), f"{variables['ansible_user']}@{variables['ansible_host']}")


def _output(argv: Sequence[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout


def play(*arguments: str) -> None:
    """Run ansible-playbook with the bench's own application and catalogue; its output goes to a log."""
    argv = ["ansible-playbook", *arguments, "-e", f"@{VARIABLES}", "-e", f"release_catalogue={CATALOGUE}"]
    with open(PLACE / "output.log", "a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(argv)}\n")
        log.flush()
        done = subprocess.run(argv, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with exit code {done.returncode}; read {PLACE / 'output.log'}")


def make_bundle(seed: int) -> None:
    """2,000 incompressible files of 16 KiB in 20 directories: 32 MB."""
    shutil.rmtree(BUNDLE, ignore_errors=True)
    source = random.Random(seed)
    for number in range(FILES):
        path = BUNDLE / f"d{number % 20:02d}" / f"f{number:04d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(FILE_BYTES))
    (BUNDLE / "slipway.yml").write_text("application: bench\n")


def change_bundle(seed: int) -> None:
    """New content for one file in a hundred."""
    source = random.Random(seed)
    for number in source.sample(range(FILES), CHANGED):
        (BUNDLE / f"d{number % 20:02d}" / f"f{number:04d}").write_bytes(source.randbytes(FILE_BYTES))


def release(release_id: str) -> None:
    play("playbooks/release.yml", "-e", f"release_source={BUNDLE}", "-e", f"release_id={release_id}")


def approve(release_id: str) -> None:
    """Give what the lab's trust policy asks for in prod."""
    for role, key in (("engineering-lead", "lead"), ("risk-manager", "risk")):
        path = REPOSITORY / ".slipway/keys" / f"{key}.pem"
        given = {
            "release_id": release_id,
            "approval_environment": "prod",
            "approval_role": role,
            "approval_key": str(path),
        }
        play("playbooks/approve.yml", "-e", json.dumps({**given, "approval_confirmed": "yes"}))


def forget(hosts: Sequence[Target]) -> None:
    """Hosts as they are before the first deployment of the application."""
    on_all(hosts, "sudo rm -rf /srv/bench /var/lib/slipway/bench /home/operator/floor")
    shutil.rmtree(CATALOGUE, ignore_errors=True)
    play("playbooks/bootstrap.yml", "-l", "prod")
    play("playbooks/verify.yml", "-l", "prod", "-e", "release_history_accepted=true")


def on_all(hosts: Sequence[Target], command: str) -> None:
    """Run a shell command on all hosts in parallel."""
    wait([subprocess.Popen([*host.ssh, host.login, command]) for host in hosts])


def wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.wait() != 0:
            sys.exit(f"{process.args!r} ended with exit code {process.returncode}")


def floor(hosts: Sequence[Target], name: str, previous: str | None) -> None:
    """The same bytes with rsync, checked and switched, and nothing else."""
    base = "/home/operator/floor"
    sums = PLACE / "sums"
    sums.write_text(
        "".join(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(BUNDLE)}\n"
            for path in sorted(BUNDLE.glob("d*/f*"))
        )
    )
    on_all(hosts, f"mkdir -p {base}")
    link = ["--link-dest", f"{base}/{previous}"] if previous else []
    wait(
        [
            subprocess.Popen(
                [
                    "rsync",
                    "-a",
                    "-c",
                    *link,
                    "-e",
                    shlex.join(host.ssh),
                    f"{BUNDLE}/",
                    str(sums),
                    f"{host.login}:{base}/{name}/",
                ]
            )
            for host in hosts
        ]
    )
    on_all(
        hosts,
        f"cd {base}/{name} && sha256sum --quiet -c sums && sync && ln -sfn {name} ../next && mv -T ../next ../current",
    )


def timed(action: Callable[[], None]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def round_of(hosts: Sequence[Target], number: int) -> dict[str, float]:
    """One repetition of every case, Slipway and floor in turn."""
    make_bundle(number)
    forget(hosts)
    release("one")
    approve("one")
    seconds = {"first, rsync floor": timed(lambda: floor(hosts, "one", None))}
    seconds["first"] = timed(lambda: play("deploy.yml", "-l", "prod"))
    change_bundle(1000 + number)
    seconds["release made, 1 % changed"] = timed(lambda: release("two"))
    approve("two")
    seconds["1 % changed, rsync floor"] = timed(lambda: floor(hosts, "two", "one"))
    seconds["1 % changed"] = timed(lambda: play("deploy.yml", "-l", "prod"))
    seconds["verify every byte (slipway verify)"] = timed(
        lambda: on_all(hosts, "sudo slipway verify bench > /dev/null")
    )
    seconds["sha256sum over the same files"] = timed(lambda: on_all(hosts, f"sudo sh -c '{SUMS}'"))
    seconds["no change"] = timed(lambda: play("deploy.yml", "-l", "prod"))
    seconds["no change, rsync floor"] = timed(lambda: floor(hosts, "two", "one"))
    seconds["rollback"] = timed(lambda: play("rollback.yml", "-l", "prod"))
    return seconds


def report(rounds: Sequence[Mapping[str, float]], hosts: int) -> str:
    """Markdown: medians, spread, and ratios to the first deployment and to the floor of the same round."""
    lines = [
        f"{FILES} files, {FILES * FILE_BYTES // 2**20} MiB, {hosts} hosts, {len(rounds)} rounds, {os.cpu_count()} processors "
        f"({platform.machine()}), everything on one machine.",
        "",
        "| case | median s | min - max | of the first deploy | of the rsync floor |",
        "|---|---|---|---|---|",
    ]
    for case in rounds[0]:
        values = [each[case] for each in rounds]
        beside = f"{case}, rsync floor"
        to_first = statistics.median(each[case] / each["first"] for each in rounds)
        to_floor = f"{statistics.median(e[case] / e[beside] for e in rounds):.1f} x" if beside in rounds[0] else "-"
        lines.append(
            f"| {case} | {statistics.median(values):.1f} | {min(values):.1f} - {max(values):.1f} | {to_first:.2f} x | {to_floor} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    VARIABLES.write_text(json.dumps(APPLICATION))
    play("playbooks/keys.yml")
    hosts = targets()
    rounds = []
    for number in range(options.rounds):
        rounds.append(round_of(hosts, number))
        print(
            f"round {number + 1}: " + ", ".join(f"{case} {value:.1f} s" for case, value in rounds[-1].items()),
            flush=True,
        )
    print(report(rounds, len(hosts)))


if __name__ == "__main__":
    main()
