# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of AWX, or of the Automation Platform: which one it is, and whether it came with all that it needs, before a host is asked anything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..base.files import is_filled
from . import checkout

# The names of credential types in AWX: the first is its own, the others are made by `awx/`.
MACHINE: Final = "Machine"
TRUST: Final = "Slipway trust"
BUILDER: Final = "Slipway builder"
APPROLE: Final = "Slipway Vault AppRole"
# By each of these AWX, and the platform that it became, say what a job is.
PREFIXES: Final = ("awx", "tower")
IDENTIFIED_BY: Final = (
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_password",
)
OVER_SSH: Final = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh"})
_GROUP = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_REVISION = re.compile(r"[0-9a-f]{7,40}")
_WHOLE_REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Job:
    """A job's number, and the commit that AWX says its project is at; the latter is "" where it says none."""

    number: str
    revision: str = ""
    is_of_workflow: bool = False

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> Job | None:
        """The job that these variables of a play belong to, None for a run without one."""
        number = _said(variables, "job_id")
        if not number:
            return None
        return cls(number, _said(variables, "project_revision"), bool(_said(variables, "workflow_job_id")))


def _said(variables: Mapping[str, Any], what: str) -> str:
    return next((str(value) for prefix in PREFIXES if (value := variables.get(f"{prefix}_{what}"))), "")


def require_revision(asked: str, root: Path, job: Job | None) -> None:
    """Refuse to run from another commit of this repository than was ``asked`` for (7 to 40 hex digits, "" for any).

    Refusals ``project_revision_invalid``, ``project_revision_unknown``, ``project_revision_stale``.
    """
    if not asked:
        return
    if not _REVISION.fullmatch(asked):
        raise Refusal(
            "project_revision_invalid",
            expected="a commit as slipway_project_revision: 7 to 40 lower hex digits",
            found=shown(asked),
            remedy="Give what `git rev-parse HEAD` prints, or leave it out.",
        )
    found = _running_from(root, job)
    if not found:
        raise Refusal(
            "project_revision_unknown",
            expected=f"to run from the commit {asked}",
            found="no checkout, and no word of AWX's about its project",
            remedy="Run it from a checkout of that commit, or leave out slipway_project_revision.",
        )
    if not found.startswith(asked):
        raise Refusal(
            "project_revision_stale",
            expected=f"to run from the commit {asked}",
            found=f"one of {found}",
            remedy="Sync the project in AWX (or let it update on launch), or check that commit out; then launch again. "
            "Without slipway_project_revision it runs from what is there.",
        )


def same_in_workflow(before: str, root: Path, job: Job | None) -> str:
    """The commit of this repository that a job of a workflow runs from, which is handed on to those that follow; "" where there is nothing to hand on.

    ``before`` is what an earlier job of that workflow has handed on (40 hex digits), "" for none. Refusals ``project_revision_invalid``,
    ``project_revision_unknown`` and ``project_revision_stale``, when the project has moved since then.
    """
    is_handed_on = job is not None and job.is_of_workflow
    if not before and not is_handed_on:
        return ""
    found = _running_from(root, job)
    if before and not _WHOLE_REVISION.fullmatch(before):
        raise Refusal(
            "project_revision_invalid",
            expected="as slipway_workflow_revision what an earlier job of the workflow has handed on: 40 lower hex digits",
            found=shown(before),
            remedy="Leave it out: jobs of a workflow give it to each other. What you mean yourself is slipway_project_revision.",
        )
    if before and not found:
        raise Refusal(
            "project_revision_unknown",
            expected=f"to run from the commit {before}, as earlier jobs of this workflow did",
            found="no checkout, and no word of AWX's about its project",
            remedy="Let AWX's project be a git repository.",
        )
    if before and found != before:
        raise Refusal(
            "project_revision_stale",
            expected=f"to run from the commit {before}, as earlier jobs of this workflow did",
            found=f"one of {found}",
            remedy="The project has moved since then. Launch the workflow again, so that staging is deployed from there too; "
            "a project at a tag, or at a branch for releases, moves less.",
        )
    return found if is_handed_on else ""


def _running_from(root: Path, job: Job | None) -> str:
    return checkout.revision(root) or (job.revision if job else "")


def require_run_group(name: str) -> str:
    """What joins runs that belong together, "" for nothing. Refusal ``run_group_invalid``."""
    if name and not _GROUP.fullmatch(name):
        raise Refusal(
            "run_group_invalid",
            expected="as slipway_run_group 1 to 64 letters, digits and . _ : -",
            found=shown(name),
            remedy="Correct it, or leave it out: in AWX it is the number of the workflow job.",
        )
    return name


def require_trust(job: Job | None, policy: Path) -> None:
    """Refuse a job whose controller has no trust policy: Refusal ``job_credential_missing``. Elsewhere the plan says how to make one."""
    if job and not is_filled(policy):
        raise _missing(
            job,
            TRUST,
            f"the signed trust policy at {policy}",
            "or mount the directory that has it into the execution environment (docs/howto/execution-environment.md)",
        )


def require_builder(job: Job | None, key: Path) -> None:
    """Refuse a job that has nothing to sign with: Refusal ``job_credential_missing``. Elsewhere what reads the key says how to make one."""
    if job and not is_filled(key):
        raise _missing(
            job, BUILDER, f"the builder's private key at {key}", "with the key and the trust policy that knows it"
        )


def without_approle(job: Job, what: str) -> Refusal:
    """The refusal ``job_credential_missing`` of a job that cannot log in to Vault, since ``what`` is not there."""
    return _missing(
        job,
        APPROLE,
        what,
        "or correct the paths in secrets_providers: vault_role_id_path and vault_secret_id_path are what it brings",
    )


def require_writable(directory: Path) -> None:
    """Refuse a state directory that this user cannot write to: Refusal ``state_directory_read_only``."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise Refusal(
            "state_directory_read_only",
            expected=f"to write to {directory}, where the controller keeps its memory",
            found=f"{there}, which belongs to user {there.stat().st_uid} and which user {os.geteuid()} cannot write to",
            remedy="Let it belong to this user or group, mount another volume there, or correct slipway_state_directory.",
        )


def require_machine(
    job: Job | None, hosts: Mapping[str, Mapping[str, Any]], *, default: str, has_keys: Callable[[], bool]
) -> None:
    """Refuse a job that cannot identify itself to its hosts: Refusal ``job_credential_missing``.

    ``hosts`` are the connection variables by host; ``default`` is the connection of one that names none. Not of a job, ssh may have means that
    cannot be seen from here.
    """
    if job is None:
        return
    bare = sorted(name for name, variables in hosts.items() if _needs_key(variables, default))
    if bare and not has_keys():
        raise _missing(job, MACHINE, f"an ssh key for {_listed(bare)}", "with the key and the user name of the hosts")


def has_keys(home: Path, agent: Callable[[], int]) -> bool:
    """Whether ssh has a key to offer by itself: in the running agent (``agent`` counts them), or where it looks for one at home."""
    return any((home / ".ssh").glob("id_*")) or agent() > 0


def keys_of_agent() -> int:
    """How many keys the ssh-agent has that this run was given, 0 without one."""
    import paramiko

    if not os.environ.get("SSH_AUTH_SOCK"):
        return 0
    try:
        agent = paramiko.Agent()
    except paramiko.SSHException:
        return 0
    try:
        return len(agent.get_keys())
    finally:
        agent.close()


def _needs_key(variables: Mapping[str, Any], default: str) -> bool:
    connection = str(variables.get("ansible_connection") or default).rpartition(".")[2]
    return connection in OVER_SSH and not any(variables.get(name) for name in IDENTIFIED_BY)


def _listed(names: list[str], limit: int = 5) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def _missing(job: Job, kind: str, what: str, how: str) -> Refusal:
    return Refusal(
        "job_credential_missing",
        expected=what,
        found=f"none, or an empty one, in job {job.number}",
        remedy=f"Attach a credential of type {kind} to the job template in AWX and fill it in, {how}. Then launch again.",
    )
