# SPDX-License-Identifier: GPL-3.0-or-later
"""Was going back right? A release says in its signed manifest how that is verified after it was left.

The steps run on the host as the application's user, in the release that is active again. What they say is recorded and
told; it cannot undo the way back. The plan's restore commands are text for people and never run from a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.command import OutputDigest, Runner


def verify_way_back(
    steps: Sequence[Mapping[str, Any]], run: Runner, user: str, directory: Path
) -> list[dict[str, Any]]:
    """Run every step, whatever the others say. Returns [{argv, exit_code (null: killed), output_sha256, passed}]."""
    results = []
    for step in steps:
        output = OutputDigest()
        finished = run(
            step["argv"], timeout_seconds=step["timeout_seconds"], user=user, directory=directory, take=output.take
        )
        results.append(
            {
                "argv": list(step["argv"]),
                "exit_code": finished.exit_code,
                "output_sha256": output.sha256(),
                "passed": finished.succeeded,
            }
        )
    return results


def has_passed(results: Sequence[Mapping[str, Any]]) -> bool | None:
    """Whether every step passed; None where there was none."""
    return all(result["passed"] for result in results) if results else None


def failed_steps(results: Sequence[Mapping[str, Any]]) -> str | None:
    """The steps that did not pass, as the operator is told; None when all passed or there is none."""
    failed = [f"{' '.join(result['argv'])}: {_ending(result)}" for result in results if not result["passed"]]
    return f"rollback_unverified: {'; '.join(failed)}" if failed else None


def _ending(result: Mapping[str, Any]) -> str:
    return "killed at its time-out" if result["exit_code"] is None else f"exit code {result['exit_code']}"
