# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and sentences for operators: what a fleet serves, how a run ended, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart, head first; a cell is one line, whatever a command on a host printed."""
    lines = [tuple(map(_one_line, line)) for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


def status_table(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a host from the answers of ``status.inspect``; a host without an answer is shown as unreachable."""
    rows = []
    for name, answer in sorted(answers.items()):
        if "active" not in answer:
            rows.append((name, "?", "?", "?", answer.get("reason", "unreachable"), "?", "?"))
            continue
        health = answer.get("health") or {"outcome": "-"}
        rows.append(
            (
                name, answer["active"] or "-", answer["since"] or "-", answer["deployed_by"] or "-", health["outcome"],
                answer["previous"] or "-", ", ".join(answer["bad"]) or "-",
            )
        )  # fmt: skip
    return table(("host", "release", "since", "by", "health", "previous", "bad"), rows)


@dataclass(frozen=True)
class Ending:
    """How one host ended a run.

    ``outcome``: confirmed, unchanged (it served that before), reverted, stuck (no way back), unwell (kept, but it does
    not answer from outside), unconfirmed, untouched, unreachable.
    """

    host: str
    outcome: str
    serves: str
    detail: str = ""

    @property
    def is_as_asked(self) -> bool:
        return self.outcome in ("confirmed", "unchanged")


RELEASE_AT_FAULT = ("health_failed", "smoke_test_failed", "check_failed")
STAGES = ("inspection", "activation", "smoke", "reversion", "contact", "confirmation", "return")
CHANGING = ("activation", "reversion", "confirmation", "return")


def ending(host: str, results: Mapping[str, Mapping[str, Any]]) -> Ending:
    """Judge a host from what its tasks returned.

    ``results`` maps STAGES to the registered result of the stage's task, which may be absent, skipped, failed or
    unreachable. The last exchange that says what is active counts; a host whose last exchange did not arrive is
    unreachable, whatever it said before.
    """
    done = {stage: results[stage] for stage in STAGES if results.get(stage) and not results[stage].get("skipped")}
    detail = next((str(each["msg"]) for each in done.values() if each.get("failed") and each.get("msg")), "")
    is_unwell = bool(done.get("smoke", {}).get("failed"))
    exchanges = [done[stage] for stage in STAGES if stage in done and stage != "smoke"]
    if exchanges and exchanges[-1].get("unreachable"):
        return Ending(
            host, "unreachable", "unknown", "no answer; the next run that reaches it settles what is open there"
        )
    outcomes = [done[stage] for stage in CHANGING if stage in done and "active_release_id" in done[stage]]
    if not outcomes:
        return Ending(host, "untouched", str(results.get("inspection", {}).get("active") or "nothing"), detail)
    serves = str(outcomes[-1]["active_release_id"] or "nothing")
    settled = [each["outcome"] for each in outcomes if each["outcome"] != "unchanged"]
    was_refused = any(stage.get("failed") or stage.get("unreachable") for stage in done.values())
    outcome = str(settled[-1]) if settled else "untouched" if was_refused else "unchanged"
    if outcome == "confirmed" and is_unwell:
        return Ending(host, "unwell", serves, detail)
    return Ending(host, "unconfirmed" if outcome == "switched" else outcome, serves, detail)


def endings_of(results: Mapping[str, Mapping[str, Mapping[str, Any]]], unreachable: Sequence[str] = ()) -> list[Ending]:
    """Judge every host of a run; ``results`` maps each stage to what its task registered, by host."""
    hosts = sorted({host for by_host in results.values() for host in by_host})
    endings = [ending(host, {stage: by_host.get(host, {}) for stage, by_host in results.items()}) for host in hosts]
    silent = [Ending(host, "unreachable", "as before", "did not answer at the start") for host in sorted(unreachable)]
    return [*endings, *silent]


def run_report(title: str, endings: Sequence[Ending], *, rollback: bool, check: bool = False) -> str:
    """The last message of a run: what it was, a line for each host, then what to do."""
    rows = [(each.host, each.outcome, each.serves, each.detail or "-") for each in endings]
    failed = [each for each in endings if not each.is_as_asked]
    if check:
        verdict, following = "check mode: nothing was changed", "the same command without --check"
    elif not failed:
        verdict, following = (
            "done",
            "ansible-playbook rollback.yml" if not rollback else "ansible-playbook playbooks/status.yml",
        )
    else:
        verdict, following = (
            f"not done ({_counted(endings)})",
            _next_command(failed, rollback=rollback),
        )
    return f"{title}: {verdict}\n{table(('host', 'outcome', 'serves', 'why'), rows)}\nnext: {following}"


def _counted(endings: Sequence[Ending]) -> str:
    outcomes = [each.outcome for each in endings]
    return ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes)))


def _next_command(failed: Sequence[Ending], *, rollback: bool) -> str:
    hosts = ",".join(each.host for each in failed)
    if any(each.outcome == "unreachable" for each in failed):
        lost = ",".join(each.host for each in failed if each.outcome == "unreachable")
        return f"when {lost} answers again, the same command: it settles what is open there first"
    if rollback or any(each.outcome == "stuck" for each in failed):
        return f"ansible-playbook playbooks/status.yml -l {hosts}"
    if any(each.detail.startswith(RELEASE_AT_FAULT) for each in failed):
        return "mend the release, build it again (playbooks/release.yml) and deploy that; the one that failed is marked bad"
    return "mend what the table says, then the same command: it settles first what is open"
