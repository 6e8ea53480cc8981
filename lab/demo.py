# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: from a fresh clone to a signed release on real hosts, in steps that can all be repeated."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .console import say
from .errors import LabError
from .names import Clone

APPROVE = "ansible-playbook playbooks/approve.yml -e release_id={release_id} -e approval_environment=prod -e approval_confirmed=yes"
STEPS = (
    ("the virtual environment, from locked versions", "make --no-print-directory venv"),
    ("the lab: 1 staging and 3 prod hosts", "python3 -m lab up"),
    ("keys and the trust policy", "ansible-playbook playbooks/keys.yml"),
    ("the hosts are bootstrapped", "ansible-playbook playbooks/bootstrap.yml"),
    (
        "a release of the example application is built and signed",
        "ansible-playbook playbooks/release.yml -e release_id={release_id}",
    ),
    ("it goes to staging", "ansible-playbook deploy.yml -l staging -e release_id={release_id}"),
    (
        "the engineering lead approves it for prod",
        f"{APPROVE} -e approval_role=engineering-lead -e approval_key=.slipway/keys/lead.pem",
    ),
    (
        "the risk manager approves it for prod",
        f"{APPROVE} -e approval_role=risk-manager -e approval_key=.slipway/keys/risk.pem",
    ),
    ("it goes to prod", "ansible-playbook deploy.yml -l prod -e release_id={release_id}"),
    ("what the fleet runs", "ansible-playbook playbooks/status.yml"),
)

NEXT = """
Done in {seconds:.0f} s. Try next:
  . .venv/bin/activate                                  puts ansible-playbook on your PATH
  ansible-playbook playbooks/release.yml                make one more release
  ansible-playbook deploy.yml -l staging                put it on staging (--check --diff shows first)
  make approve RELEASE_ID=… ENVIRONMENT=prod ROLE=engineering-lead KEY=.slipway/keys/lead.pem   let it go to prod; the risk manager too
  make deploy-prod RELEASE_ID=…                         put it on prod
  ansible-playbook rollback.yml                         take the newest deployment run back
  ansible-playbook playbooks/status.yml                 see what runs where
  python3 -m lab ssh prod-1                             print the ssh command for a host
  make clean-lab                                        remove the hosts and all that belongs to them
A release whose health check fails goes back by itself: README.md shows how to watch that.
"""


@dataclass(frozen=True)
class Step:
    """One step of the demo: its place, what it brings and its command."""

    place: str
    title: str
    command: str


def steps(release_id: str) -> list[Step]:
    """Return the demo's steps in order, with a release of this name."""
    return [
        Step(f"[{number}/{len(STEPS)}]", title, command.format(release_id=release_id))
        for number, (title, command) in enumerate(STEPS, start=1)
    ]


def environment(root: Path) -> dict[str, str]:
    """Return the environment in which the clone's own virtual environment comes first."""
    path = f"{root / '.venv' / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(root / "ansible.cfg")}


def run(clone: Clone) -> None:
    """Run all steps; the first that fails ends the demo and is named."""
    start = time.monotonic()
    for step in steps(f"release_{datetime.now(UTC):%Y%m%d_%H%M%S}"):
        begun = time.monotonic()
        say(f"{step.place} {step.title}: {step.command}")
        # A virtual environment's own python3 is as good as the system's for `python3 -m lab`.
        done = subprocess.run(shlex.split(step.command), cwd=clone.root, env=environment(clone.root), check=False)
        now = time.monotonic()
        if done.returncode != 0:
            raise LabError(
                expected=f"step {step.place} to succeed: {step.command}",
                found=f"exit code {done.returncode}, {now - start:.0f} s after the start",
                remedy="Read the message above, then run `make demo` again; it goes on from what is there.",
            )
        say(f"{step.place} done in {now - begun:.1f} s ({now - start:.0f} s since the start)\n")
    print(NEXT.format(seconds=time.monotonic() - start), file=sys.stdout, flush=True)
