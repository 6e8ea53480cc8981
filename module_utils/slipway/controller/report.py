# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and sentences for operators: what a fleet serves, how a run ended, what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ..application.rollback_plan import failed_steps
from ..base.clock import timestamp
from ..base.table import table
from ..host.hooks import RUNBOOK, failed_hooks, failed_migrations
from ..host.status import remarks
from ..watch.circuit import CLOSED
from ..watch.escalation import HEALTHY
from ..watch.window import window_of
from .regions import region_lines


def status_table(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a host from the answers of ``status.inspect``; a host without an answer is shown as unreachable.

    ``trust`` is what the host found of signatures, list and approvals just now, ``checked`` when it last looked at every byte.
    """
    rows = []
    for name, answer in sorted(answers.items()):
        if "active" not in answer:
            history = (answer.get("witness") or {"outcome": "?"})["outcome"]
            rows.append((name, "?", "?", "?", answer.get("reason", "unreachable"), "?", history, "?", "?", "?", "?"))
            continue
        health = answer.get("health") or {"outcome": "-"}
        rows.append(
            (
                name, answer["active"] or "-", answer["since"] or "-", answer["deployed_by"] or "-", health["outcome"],
                (answer.get("trust") or {"outcome": "-"})["outcome"], (answer.get("witness") or {"outcome": "-"})["outcome"], answer["previous"] or "-", ", ".join(answer["bad"]) or "-",
                _policy(answer.get("policy")), answer.get("bytes_checked") or "-",
            )
        )  # fmt: skip
    return table(
        ("host", "release", "since", "by", "health", "trust", "history", "previous", "bad", "policy", "checked"), rows
    )


def open_lines(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each release that is not confirmed yet, and for each lock that a person took."""
    return [f"{host}: {line}" for host, answer in sorted(answers.items()) for line in remarks(answer)]


def distrusted_lines(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each host that does not find what it serves to be what was signed, with what to look at next."""
    return [
        f"trust of {host}: {found['detail']} ansible-playbook playbooks/verify.yml -l {host}"
        for host, answer in sorted(answers.items())
        if (found := answer.get("trust")) and found["outcome"] not in ("intact", "nothing_active")
    ]


def window_lines(answers: Mapping[str, Mapping[str, Any]], now: int) -> list[str]:
    """A line for each watch window that is open at ``now`` (Unix seconds): until when, and which release on which hosts."""
    found: dict[tuple[str, str], list[str]] = {}
    for host, answer in sorted(answers.items()):
        window = window_of(reversed(answer.get("runs") or ()))
        if window and window.is_open(now):
            found.setdefault((timestamp(window.end), window.release_id), []).append(host)
    return [
        f"watched more sharply until {end}: {release} on {', '.join(hosts)}" for (end, release), hosts in found.items()
    ]


def agent_lines(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the agents of hosts found not to be well, and how the channels of their alerts are.

    Answers have ``agent``, which is what `slipway watch status` says, or null on a host without one; where nobody asked for it, they have none.
    """
    lines, without = [], []
    for host, answer in sorted(answers.items()):
        if "agent" not in answer:
            continue
        agent = answer["agent"]
        if agent is None:
            without.append(host)
            continue
        lines += [
            f"{host}: {each['check']} of {each['application']} is {each['status']}: {each['message']}"
            for each in agent["checks"]
            if each["status"] != HEALTHY
        ]
        lines += [
            f"{host}: alerts by {each['channel']}: {each['state']}: {each['detail']}"
            for each in agent["channels"]
            if each["state"] != CLOSED
        ]
        if agent["queued"]:
            lines.append(f"{host}: {agent['queued']} alerts wait for a channel that takes them")
    if without:
        lines.append(f"no agent watches {', '.join(without)} (playbooks/observe.yml)")
    return lines


def with_agents(
    answers: Mapping[str, Mapping[str, Any]], agents: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The answers of hosts, each with ``agent``: what its `slipway watch status --json` printed, null where that was nothing to be read."""
    found: dict[str, dict[str, Any]] = {}
    for host, answer in answers.items():
        found[host] = dict(answer)
        if "active" in answer:
            try:
                found[host]["agent"] = json.loads(str(agents.get(host, {}).get("stdout", "")))
            except ValueError:
                found[host]["agent"] = None
    return found


def _policy(policy: Mapping[str, Any] | None) -> str:
    """The version of a host's trust policy and its last day, or what is wrong with it."""
    if not policy:
        return "-"
    return str(policy["problem"] or f"{policy['version']} until {policy['expires'][:10]}")


def not_rotated(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hosts that did not answer a rotation, or refused it; ``answers`` are those of `trust_update.rotate_policy`."""
    return sorted(host for host, answer in answers.items() if "after" not in answer)


def rotation_report(answers: Mapping[str, Mapping[str, Any]], *, is_check: bool = False) -> str:
    """One line a host: the version of the trust policy that it lives by, then in words what has changed, then what is next."""
    rows = []
    for name, answer in sorted(answers.items()):
        if "after" not in answer:
            rows.append((name, "?", "?", answer.get("reason", "unreachable"), str(answer.get("msg") or "-")))
            continue
        outcome = "would be rotated" if is_check else "rotated"
        step = f"{answer['before']['version']} -> {answer['after']['version']}" if answer["rotated"] else "-"
        rows.append(
            (name, str(answer["after"]["version"]), answer["after"]["expires"], outcome if answer["rotated"] else "unchanged", step)
        )  # fmt: skip
    told = [table(("host", "policy", "until", "outcome", "why"), rows)]
    changes: dict[tuple[str, ...], list[str]] = {}
    for name, answer in sorted(answers.items()):
        if answer.get("differences"):
            changes.setdefault(tuple(answer["differences"]), []).append(name)
    told += ["\n".join([f"{', '.join(hosts)}:", *(f"  {line}" for line in lines)]) for lines, hosts in changes.items()]
    return "\n\n".join(told)


def not_settled(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hosts that did not answer a recovery, refused it, or had no way back; ``answers`` are those of `release.recover`."""
    return sorted(
        host for host, answer in answers.items() if "active_release_id" not in answer or answer["outcome"] == "stuck"
    )


def recovery_report(answers: Mapping[str, Mapping[str, Any]], *, is_check: bool = False) -> str:
    """One line a host: what it serves now, and what was found open there."""
    rows = []
    for name, answer in sorted(answers.items()):
        if "active_release_id" not in answer:
            rows.append((name, "unknown", answer.get("reason", "unreachable"), str(answer.get("msg") or "-")))
            continue
        record = answer.get("record")
        found = f"{record['status']}: {record['release_id']}, {record['message']}" if record else "nothing was open"
        if is_check and answer["changed"]:
            found = "something is open and would be settled"
        rows.append((name, answer["active_release_id"] or "nothing", answer["outcome"], found))
    return table(("host", "serves", "outcome", "found"), rows)


def without_answer(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hosts that did not answer what they were asked, or refused it."""
    return sorted(host for host, answer in answers.items() if "outcome" not in answer)


def lock_report(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a host: whether a person has locked it, who and why; ``answers`` are those of `lock.lock`."""
    rows = []
    for name, answer in sorted(answers.items()):
        if "outcome" not in answer:
            rows.append((name, answer.get("reason", "unreachable"), "-", "-", "-", str(answer.get("msg") or "-")))
            continue
        held = answer["lock"] or {"holder": "-", "since": "-", "until": "-", "message": "-"}
        rows.append(
            (name, answer["outcome"], held["holder"], held["since"], held["until"] or "it is released", held["message"])
        )
    return table(("host", "lock", "by", "since", "until", "message"), rows)


@dataclass(frozen=True)
class Ending:
    """How one host ended a run.

    ``outcome``: confirmed, unchanged (it served that before), reverted, stuck (no way back), unwell (kept, but it does
    not answer from outside), unverified (gone back, but a step of the rollback plan failed), unfinished (kept, but a hook after that
    failed, or a migration was not taken back), unconfirmed, untouched,
    unreachable.
    """

    host: str
    outcome: str
    serves: str
    detail: str = ""

    @property
    def is_as_asked(self) -> bool:
        return self.outcome in ("confirmed", "unchanged")


STATUS = "ansible-playbook playbooks/status.yml"
AGAIN = "mend what is said above, then the same command"
RELEASE_AT_FAULT = ("health_failed", "smoke_test_failed", "check_failed", "hook_failed", "migration_failed")
KEPT_BUT_NOT_WELL = ("unfinished", "unverified", "unwell")
STAGES = (
    "inspection", "staging", "activation", "smoke", "soak", "soak_smoke", "reversion", "contact", "ready", "confirmation",
    "return", "hook",
)  # fmt: skip
# What became of its traffic where that is not with its balancers as it was.
WITHOUT_REQUESTS = {
    "drained": "drained: its balancers give it no requests",
    "failed_over": "failed over: its balancers give it no requests",
}
BESIDE = ("traffic",)  # what counts beside the tasks' own answers
FROM_OUTSIDE = ("smoke", "soak_smoke")
NO_EXCHANGE = (*FROM_OUTSIDE, "hook")
CHANGING = ("staging", "activation", "reversion", "ready", "confirmation", "return")


def ending(host: str, results: Mapping[str, Mapping[str, Any]], until: str = "") -> Ending:
    """Judge a host from what its tasks returned.

    ``results`` maps STAGES to the registered result of the stage's task, which may be absent, skipped, failed or
    unreachable. The last exchange that says what is active counts; a host whose last exchange did not arrive is
    unreachable, whatever it said before. ``until`` is when a host that was switched goes back by itself, if that is known.
    """
    done = {stage: results[stage] for stage in STAGES if results.get(stage) and not results[stage].get("skipped")}
    detail = next((told for each in done.values() if (told := _told(each))), "")
    is_unwell = any(done.get(stage, {}).get("failed") for stage in FROM_OUTSIDE)
    exchanges = [done[stage] for stage in STAGES if stage in done and stage not in NO_EXCHANGE]
    if exchanges and exchanges[-1].get("unreachable"):
        by_itself = f"goes back by itself at {until} at the latest; " if until else ""
        lost = f"no answer; {by_itself}the next run that reaches it settles what is open there"
        return Ending(host, "unreachable", "unknown", lost)
    outcomes = [done[stage] for stage in CHANGING if stage in done and "active_release_id" in done[stage]]
    if not outcomes:
        return Ending(host, "untouched", str(results.get("inspection", {}).get("active") or "nothing"), detail)
    serves = str(outcomes[-1]["active_release_id"] or "nothing")
    settled = [each["outcome"] for each in outcomes if each["outcome"] != "unchanged"]
    was_refused = any(stage.get("failed") or stage.get("unreachable") for stage in done.values())
    outcome = str(settled[-1]) if settled else "untouched" if was_refused else "unchanged"
    if outcome == "confirmed" and is_unwell:
        return Ending(host, "unwell", serves, detail)
    if outcome == "confirmed" and (failure := failed_steps(_record_of(done).get("verification", ()))):
        return Ending(host, "unverified", serves, failure)
    if outcome == "confirmed" and (failure := _unfinished(done)):
        return Ending(host, "unfinished", serves, failure)
    return _not_settled(host, done, serves, detail) if outcome == "switched" else Ending(host, outcome, serves, detail)


def _not_settled(host: str, done: Mapping[str, Mapping[str, Any]], serves: str, detail: str) -> Ending:
    """A host that was switched, and of which nothing more was heard but what it serves: it may be back by itself."""
    if serves == str(done["activation"]["active_release_id"] or "nothing"):
        return Ending(host, "unconfirmed", serves, detail)
    return Ending(host, "reverted", serves, detail or str(done.get("return", {}).get("msg") or ""))


def _unfinished(done: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What failed after the release was kept, or beside the way back to it: it stands all the same."""
    record = _record_of(done)
    found = failed_migrations(record.get("migrations", ())) or failed_hooks(record.get("hooks", ()))
    return found or done.get("hook", {}).get("msg")


def _told(answer: Mapping[str, Any]) -> str:
    """What went wrong in a task, in words. A look at a host (it has ``active``) says why that is ill, and Ansible only that it failed."""
    health = answer.get("health") or {}
    if "active" in answer and health.get("outcome") == "failure":
        return f"health_failed: {health['detail']}"
    return str(answer["msg"]) if answer.get("failed") and answer.get("msg") else ""


def _record_of(done: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record that the newest exchange of a host left, nothing where none did."""
    return next((done[stage]["record"] for stage in reversed(CHANGING) if done.get(stage, {}).get("record")), {})


def records_of(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    """The record that a run left on each host that has one; ``results`` as in `endings_of`."""
    hosts = sorted({host for by_host in results.values() for host in by_host})
    records = {host: _record_of({stage: by_host.get(host, {}) for stage, by_host in results.items()}) for host in hosts}
    return {host: record for host, record in records.items() if record}


def is_served(staged: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every host serves the release already, as it should be, so that nothing is to be switched; ``staged`` by host."""
    return bool(staged) and all(answer.get("outcome") == "unchanged" for answer in staged.values())


def newest_answers(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    """The newest answer of each host that says anything of its history; ``results`` as in `endings_of`."""
    newest: dict[str, Mapping[str, Any]] = {}
    for stage in STAGES:
        newest |= {host: answer for host, answer in results.get(stage, {}).items() if answer.get("witness")}
    return newest


def endings_of(results: Mapping[str, Mapping[str, Mapping[str, Any]]], unreachable: Sequence[str] = ()) -> list[Ending]:
    """Judge every host of a run; ``results`` maps each stage to what its task registered, by host.

    Its stage ``verdict`` knows when hosts go back by themselves, and why one was taken back that no task of its own found ill: it was worse than
    those it was compared with. ``traffic`` knows which of them their balancers give no requests.
    """
    verdicts = results.get("verdict", {})
    until = {host: verdict.get("until", {}).get(host, "") for host, verdict in verdicts.items()}
    why = {host: verdict.get("outcomes", {}).get(host, {}).get("detail", "") for host, verdict in verdicts.items()}
    hosts = sorted({host for by_host in results.values() for host in by_host})
    endings = [
        ending(host, {stage: by_host.get(host, {}) for stage, by_host in results.items()}, until.get(host, ""))
        for host in hosts
    ]
    endings = [
        each if each.detail or each.is_as_asked else replace(each, detail=why.get(each.host, "")) for each in endings
    ]
    traffic = {host: WITHOUT_REQUESTS.get(each.get("state", "")) for host, each in results.get("traffic", {}).items()}
    endings = [
        replace(each, detail=f"{kept}{each.detail and f'; {each.detail}'}")
        if (kept := traffic.get(each.host))
        else each
        for each in endings
    ]
    silent = [Ending(host, "unreachable", "as before", "did not answer at the start") for host in sorted(unreachable)]
    return [*endings, *silent]


@dataclass(frozen=True)
class Watch:
    """How a release is watched after its deployment: ``end`` (RFC 3339), ``every_hours``, and what to ``review``."""

    end: str
    every_hours: int
    review: tuple[str, ...] = ()

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]], monitoring: Mapping[str, Any]) -> Watch | None:
        """The watch that a run began: until the last of its windows ends. None where it began none."""
        ends = [record["window"]["end"] for record in records if record.get("window")]
        if not ends:
            return None
        thresholds = [f"{name} {limit}" for name, limit in sorted(monitoring.get("alert_thresholds", {}).items())]
        review = [f"more than {', '.join(thresholds)}"] if thresholds else []
        return cls(max(ends), monitoring["alert_frequency_hours"], (STATUS, *monitoring.get("review", ()), *review))

    def lines(self) -> str:
        return f"watch: until {self.end}, look every {self.every_hours} h\nreview: {'; '.join(self.review)}\n"


def run_report(
    title: str,
    endings: Sequence[Ending],
    *,
    rollback: bool,
    check: bool = False,
    candidate: bool = False,
    watch: Watch | None = None,
    rollout: str = "",
    untrusted: Mapping[str, object] = MappingProxyType({}),
    secrets: Mapping[str, bool] = MappingProxyType({}),
    regions: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """The last message of a run: what it was, a line for each host, what is wrong with histories, how it is watched, then what to do.

    ``rollout`` is why the waves ended, or what they tolerated; ``untrusted`` maps hosts to the verdicts of the witness on their histories.
    ``secrets`` says what became of each secret that the run rotated, and whether nothing is left to do; ``regions`` {region: hosts} are
    told one by one.
    """
    rows = [(each.host, each.outcome, each.serves, each.detail or "-") for each in endings]
    failed = [each for each in endings if not each.is_as_asked]
    if check:
        verdict = "check mode: nothing was changed"
        following = "make the release (playbooks/release.yml)" if candidate else "the same command without --check"
    elif not failed and secrets:
        left = not all(secrets.values())
        verdict, following = ("done, but not settled", AGAIN) if left else ("done", "make secrets-age")
    elif not failed:
        verdict, following = (
            "done",
            STATUS
            if rollback
            else "ansible-playbook rollback.yml takes it back"
            if watch
            else "ansible-playbook rollback.yml",
        )
    else:
        kept = all(each.outcome in KEPT_BUT_NOT_WELL for each in failed)
        verdict, following = (
            f"{'done, but not well' if kept else 'not done'} ({_counted(endings)})",
            _next_command(failed, rollback=rollback, rotates=bool(secrets)),
        )
    watched = watch.lines() if watch and not failed else ""
    histories = "".join(f"{line}\n" for line in untrusted_lines(untrusted))
    waves = f"rollout: {rollout}\n" if rollout else ""
    rotated = "".join(f"{line}\n" for line in secrets)
    hosts = table(("host", "outcome", "serves", "why"), rows)
    serves = {each.host: _served(each) for each in endings}
    waves = "".join(f"{line}\n" for line in region_lines(regions, serves, {})) + waves
    return f"{title}: {verdict}\n{hosts}\n{waves}{histories}{watched}{rotated}next: {following}"


def with_unrecorded(text: str, why: str) -> str:
    """The report of a run that this controller's memory does not have, or not to its end: said before what to do next."""
    told = f"not noted in this controller's memory: {why}"
    before, found, following = text.rpartition("\nnext: ")
    return f"{before}\n{told}{found}{following}"


def _served(ending: Ending) -> str:
    """What a host serves, in the line of its region: also why it is not what was asked, where that is the region's whole story."""
    return f"{ending.serves} (untouched)" if ending.outcome == "untouched" else ending.serves


def untrusted_lines(verdicts: Mapping[str, object]) -> list[str]:
    """A line for each host whose history is not trusted, with the command that says more."""
    return [
        f"history of {host}: {verdict}; ansible-playbook playbooks/verify.yml -l {host}"
        for host, verdict in verdicts.items()
    ]


def _counted(endings: Sequence[Ending]) -> str:
    outcomes = [each.outcome for each in endings]
    return ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes)))


def _next_command(failed: Sequence[Ending], *, rollback: bool, rotates: bool = False) -> str:
    hosts = ",".join(each.host for each in failed)
    if any("migration_irreversible" in each.detail for each in failed):
        return f"see {RUNBOOK}: there is no way back"
    if any(each.outcome == "unreachable" for each in failed):
        lost = ",".join(each.host for each in failed if each.outcome == "unreachable")
        return f"when {lost} answers again, the same command: it settles what is open there first"
    if any(each.outcome in ("unfinished", "unverified") for each in failed):
        return f"{STATUS} -l {hosts} -e release_status_format=full"
    if rollback or any(each.outcome == "stuck" for each in failed):
        return f"{STATUS} -l {hosts}"
    at_fault = [] if rotates else [each for each in failed if each.detail.startswith(RELEASE_AT_FAULT)]
    if at_fault:
        bad = "; the one that failed is marked bad" if any(each.outcome != "untouched" for each in at_fault) else ""
        return f"mend the release, build it again (playbooks/release.yml) and deploy that{bad}"
    retrying = " with -e release_retry=true" if any(each.outcome == "reverted" for each in failed) else ""
    table_says = f"mend what the table says, then the same command{retrying}: it settles first what is open"
    return f"{AGAIN}; the release is not to blame, and not bad" if rotates else table_says
