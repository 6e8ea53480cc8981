# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release goes to which host: the controller's decisions, as pure functions of what the hosts answered.

``answers`` maps host names to answers of ``status.inspect``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..base.errors import Refusal
from ..base.table import table
from .witness import UNWITNESSED, VERIFY, untrusted

LOCK = "ansible-playbook playbooks/lock.yml"
Answer = Mapping[str, Any]
Answers = Mapping[str, Answer]


@dataclass(frozen=True)
class Candidate:
    """A release in the catalogue; a larger sequence is newer."""

    release_id: str
    sequence: int


@dataclass(frozen=True)
class Choice:
    """The release to deploy; ``skipped`` maps newer releases to the hosts on which they are bad, ``barred`` to the reason
    why this environment may not run them.
    """

    release_id: str
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    barred: Mapping[str, str] = field(default_factory=dict)

    def described(self) -> str:
        skips = "".join(f"; {release} is skipped: bad on {', '.join(hosts)}" for release, hosts in self.skipped.items())
        bars = "".join(f"; {release} is skipped: {reason}" for release, reason in self.barred.items())
        return f"deploying {self.release_id}{skips}{bars}"


def require_reachable(names: Iterable[str], *, next_command: str) -> None:
    """Refuse to begin while a host of the run does not answer."""
    unreachable = sorted(names)
    if unreachable:
        raise Refusal(
            "host_unreachable",
            expected="every host of this run to answer before anything is changed",
            found=f"no answer from {', '.join(unreachable)}; nothing was changed anywhere",
            remedy=next_command,
        )


def require_trusted_histories(answers: Answers) -> None:
    """Refuse to deploy to a host whose history is not the one that this controller witnessed (witness.py)."""
    verdicts = {host: verdict for host, verdict in untrusted(answers).items() if verdict.outcome != UNWITNESSED}
    if verdicts:
        hosts, others = ",".join(verdicts), ",".join(sorted(set(answers) - set(verdicts)))
        rest = f", or leave it out on purpose with -l {others}" if others else ""
        raise Refusal(
            "history_untrusted",
            expected="the history of every host of this run to go on from what this controller witnessed",
            found="; ".join(f"{host}: {verdict}" for host, verdict in verdicts.items())
            + "; nothing was changed anywhere",
            remedy=f"Find out what happened there: {VERIFY} -l {hosts}{rest}. A rollback works all the same.",
        )


def locks(answers: Answers) -> dict[str, str]:
    """The hosts that a person has locked, each with who and why."""
    return {
        host: f"by {held['holder']} since {held['since']} until {held['until'] or 'it is released'}: {held['message']}"
        for host, answer in sorted(answers.items())
        if (held := answer.get("lock"))
    }


def require_unlocked(answers: Answers) -> None:
    """Refuse to deploy to a host that a person has locked; all of them are named at once."""
    held = locks(answers)
    if held:
        hosts, others = ",".join(held), ",".join(sorted(set(answers) - set(held)))
        rest = f", or leave it out on purpose with -l {others}" if others else ""
        raise Refusal(
            "locked_by_hand",
            expected="no lock on any host of this run",
            found="; ".join(f"{host}: locked {why}" for host, why in held.items()) + "; nothing was changed anywhere",
            remedy=f"Ask them, or release it: {LOCK} -l {hosts} -e lock_state=released{rest}. A rollback works all the same.",
        )


OUTCOMES = ("confirmed", "reverted")  # steps of a transaction whose end anybody may complete


WAIT = "Wait for that run to end. One that is held for a yes: playbooks/promote.yml. Where its controller is gone: playbooks/recover.yml."


def require_settled(answers: Answers, is_dead: Callable[[str], bool], *, remedy: str = WAIT) -> None:
    """Refuse to begin while another run waits for its confirmation on a host: it would be refused there after everything is staged."""
    held = {
        host: found
        for host, answer in sorted(answers.items())
        if (found := answer.get("transaction"))
        and found["seconds_left"]
        and found["step"] not in OUTCOMES
        and not is_dead(found["run_id"])
    }
    if held:
        raise Refusal(
            "locked",
            expected="no other run between its switch and its end on any host",
            found="; ".join(
                f"{host}: run {each['run_id']} by {each['deployed_by']} with {each['release_id']}, which goes back by itself in {each['seconds_left']} s"
                for host, each in held.items()
            )
            + "; nothing was changed anywhere",
            remedy=remedy,
        )


def require_newest_policy(answers: Answers, version: int) -> None:
    """Refuse to deploy to a host with an older trust policy than the controller's: it may not know of what was revoked since."""
    behind = {
        host: policy["version"]
        for host, answer in sorted(answers.items())
        if isinstance((policy := answer.get("policy") or {}).get("version"), int) and policy["version"] < version
    }
    if behind:
        raise Refusal(
            "policy_behind",
            expected=f"version {version} of the trust policy, which this controller has, on every host of this run",
            found="; ".join(f"{host}: version {older}" for host, older in behind.items())
            + "; nothing was changed anywhere",
            remedy=f"Bring the newest: ansible-playbook playbooks/trust.yml -l {','.join(behind)}. A rollback works all the same.",
        )


def choose_release(
    candidates: Sequence[Candidate],
    answers: Answers,
    *,
    requested: str,
    retry: bool,
    barred: Mapping[str, str] = MappingProxyType({}),
) -> Choice:
    """The release for a deployment: the requested one, or the newest that is neither barred nor bad on any of the hosts.

    Refusals: ``release_unknown``, ``release_bad``, ``no_release``, ``older_than_active`` (the newest in the catalogue is
    older than what a host serves, so the catalogue misses something).
    """
    if requested:
        return Choice(_requested(candidates, answers, requested, retry=retry))
    skipped: dict[str, list[str]] = {}
    passed: dict[str, str] = {}
    for candidate in sorted(candidates, key=lambda each: each.sequence, reverse=True):
        if candidate.release_id in barred:
            passed[candidate.release_id] = barred[candidate.release_id]
            continue
        hosts = [] if retry else _bad_on(candidate.release_id, answers)
        if not hosts:
            _require_not_older(candidate, candidates, answers)
            return Choice(candidate.release_id, skipped, passed)
        skipped[candidate.release_id] = hosts
    raise Refusal(
        "no_release",
        expected="a release in the catalogue that is not bad on any host of this run",
        found="; ".join(f"{release} is bad on {', '.join(hosts)}" for release, hosts in skipped.items())
        or "no release at all",
        remedy="Build one (playbooks/release.yml), or name one with -e release_id=… -e release_retry=true.",
    )


def _requested(candidates: Sequence[Candidate], answers: Answers, requested: str, *, retry: bool) -> str:
    if requested not in {candidate.release_id for candidate in candidates}:
        newest = [each.release_id for each in sorted(candidates, key=lambda each: each.sequence, reverse=True)][:5]
        raise Refusal(
            "release_unknown",
            expected=f"a release {requested!r} in the catalogue",
            found=f"the newest are {', '.join(newest)}" if newest else "no release at all",
            remedy="Give one of those, or build it with playbooks/release.yml -e release_id=…",
        )
    hosts = _bad_on(requested, answers)
    if hosts and not retry:
        raise Refusal(
            "release_bad",
            expected="a release that was not taken back on any host of this run",
            found=f"{requested} is bad on {', '.join(hosts)}",
            remedy="Build a new release, or deploy it again with -e release_retry=true.",
        )
    return requested


def _bad_on(release_id: str, answers: Answers) -> list[str]:
    return sorted(name for name, answer in answers.items() if release_id in answer["bad"])


def _require_not_older(chosen: Candidate, candidates: Sequence[Candidate], answers: Answers) -> None:
    sequences = {candidate.release_id: candidate.sequence for candidate in candidates}
    newer = sorted(
        f"{name} serves {answer['settled']}"
        for name, answer in answers.items()
        if sequences.get(answer["settled"], 0) > chosen.sequence
    )
    if newer:
        raise Refusal(
            "older_than_active",
            expected="a release that is not older than what the hosts serve",
            found=f"{chosen.release_id} is the newest usable one, but {'; '.join(newer)}",
            remedy="Say which one you want with -e release_id=…, or take the hosts back with rollback.yml.",
        )


@dataclass(frozen=True)
class Rollback:
    """``targets`` maps the hosts to act on to the release to go to; ``takes_back`` maps them to the run that is undone.

    ``recover`` names hosts on which an interrupted run only has to be settled. Nothing is to do when both are empty;
    ``message`` says what and why either way.
    """

    message: str
    recover: Sequence[str] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    takes_back: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RunGroup:
    """The runs that belong together, such as all of a workflow in AWX, by what joins them."""

    name: str
    run_ids: frozenset[str]


@dataclass(frozen=True)
class _Switch:
    """The newest thing that changed what a host serves."""

    run_id: str
    operation: str
    status: str
    release_id: str
    timestamp: str

    @property
    def stands(self) -> bool:
        """A deployment that the host still serves: confirmed, or failed without a way back."""
        return self.operation == "deploy" and self.status in ("success", "failed")


def choose_rollback(
    answers: Answers, *, requested: str, limited: bool, undone: bool = False, group: RunGroup | None = None
) -> Rollback:
    """What a rollback is to do on hosts that all answered.

    1. With a release: every host goes to it.
    2. Without, over the whole inventory (``limited`` false): the newest deployment run is taken back on the hosts that it
       touched and that still stand on it.
    3. Without, on given hosts: each one's newest deployment is taken back.
    4. With ``undone`` as 2, and only when that run brought ``requested``, and is of ``group`` where there is one: what somebody else
       deployed, before or since, is not taken back.

    A run that was taken back before, by itself, by recovery or by an operator, is named and nothing is done.
    Refusals: ``release_not_here``, ``release_bad``, ``nothing_deployed``, ``no_previous``, ``previous_differs``.
    """
    if undone and not requested:
        raise Refusal(
            "release_id_missing",
            expected="with release_undone the release that is taken back",
            found="no release_id",
            remedy="Give -e release_id=…, or leave release_undone out.",
        )
    if requested and not undone:
        return _to_release(answers, requested)
    switches = {name: switch for name, answer in answers.items() if (switch := _newest_switch(answer))}
    deployments = {
        name: deployment
        for name, answer in answers.items()
        if (deployment := _newest_switch(answer, operation="deploy"))
    }
    if not deployments and undone:
        return Rollback(f"nothing was deployed yet, so {requested} was not: nothing to do")
    if not deployments:
        raise Refusal(
            "nothing_deployed",
            expected="a deployment in the history of at least one host",
            found=f"none on {', '.join(sorted(answers)) or 'any host'}",
            remedy="Deploy something first: ansible-playbook deploy.yml -l <group>",
        )
    newest = max(
        deployments.values(), key=lambda deployment: deployment.run_id
    )  # run ids sort by the controllers' time
    other = _other_than(newest, requested, group) if undone else ""
    if other:
        return Rollback(
            f"the newest run is {newest.run_id} ({newest.release_id}, {newest.timestamp}), {other}: nothing to do"
        )
    concerned = (
        deployments if limited and not undone else {n: d for n, d in deployments.items() if d.run_id == newest.run_id}
    )
    standing = {
        name: deployment for name, deployment in concerned.items() if switches[name] == deployment and deployment.stands
    }
    recover = _open(answers, concerned)
    if not standing and recover:
        return Rollback(
            f"run {newest.run_id} ({newest.release_id}) did not end on {', '.join(recover)}: going back there", recover
        )
    if not standing:
        return Rollback(
            f"run {newest.run_id} ({newest.release_id}, {newest.timestamp}) was already taken back on "
            f"{', '.join(sorted(concerned))}: nothing to do. To go further back, give -e release_id=…"
        )
    targets = _previous(standing, answers)
    runs = sorted({deployment.run_id for deployment in standing.values()})
    return Rollback(
        f"taking back run {', '.join(runs)} on {', '.join(sorted(targets))}: "
        f"{', '.join(sorted({d.release_id for d in standing.values()}))} -> {', '.join(sorted(set(targets.values())))}",
        recover,
        targets,
        {name: deployment.run_id for name, deployment in standing.items()},
    )


def _other_than(run: _Switch, release_id: str, group: RunGroup | None) -> str:
    """Why a run is not the one that is to be undone, "" when it is."""
    if run.release_id != release_id:
        return f"which did not bring {release_id}"
    return f"which is no run of group {group.name}" if group and run.run_id not in group.run_ids else ""


def _open(answers: Answers, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if answers[name]["transaction"] is not None)


def _newest_switch(answer: Answer, operation: str | None = None) -> _Switch | None:
    """The newest deployment that moved the link, and the newest rollback that left it moved.

    A rollback that did not end, or went back itself, leaves the host on the deployment that it was to take back. One that brought
    other credentials or files to the release that was active has moved no link.
    """
    moving = [run for run in answer["runs"] if run["previous_release_id"] != run["release_id"]]
    for run in (*_unsettled(answer), *moving):
        stayed = run["active_release_id"] == run["release_id"]
        touched = stayed or (run["operation"] == "deploy" and run["status"] != "failed")
        if touched and operation in (None, run["operation"]):
            return _Switch(run["run_id"], run["operation"], run["status"], run["release_id"], run["timestamp"])
    return None


def _unsettled(answer: Answer) -> list[Answer]:
    """The open transaction as the record that settling it will make."""
    transaction = answer["transaction"]
    if transaction is None:
        return []
    status = "success" if transaction["step"] == "confirmed" else "interrupted"
    return [
        {**transaction, "status": status, "timestamp": transaction["started"], "active_release_id": answer["settled"]}
    ]


def _previous(standing: Mapping[str, _Switch], answers: Answers) -> dict[str, str]:
    targets = {name: answers[name]["previous"] for name in standing}
    rows = [(name, answers[name]["settled"] or "-", targets[name] or "-") for name in sorted(targets)]
    if None in targets.values():
        raise Refusal(
            "no_previous",
            expected="a good release before the active one on every host to take back",
            found="\n" + table(("host", "active", "previous"), rows),
            remedy="Nothing good was active before where none is named: deploy another release there, and limit this run with -l.",
        )
    if len(set(targets.values())) > 1:
        raise Refusal(
            "previous_differs",
            expected="the same previous release on every host to take back",
            found="\n" + table(("host", "active", "previous"), rows),
            remedy="Say which one with -e release_id=…, or limit the run with -l to hosts that agree.",
        )
    return targets


def _been_active(answer: Answer) -> list[str]:
    """Releases that are whole on the host and have run there: only to those can it go back."""
    return [release["release_id"] for release in answer["releases"] if release["was_active"]]


def _to_release(answers: Answers, requested: str) -> Rollback:
    missing = {name: here for name, answer in answers.items() if requested not in (here := _been_active(answer))}
    if missing:
        raise Refusal(
            "release_not_here",
            expected=f"the release {requested}, active before, on every host of this run",
            found="; ".join(f"{name} has {', '.join(here) or 'none'}" for name, here in sorted(missing.items())),
            remedy="Give a release that is there, or limit the run with -l; deploy.yml brings a release to a host.",
        )
    bad = _bad_on(requested, answers)
    if bad:
        raise Refusal(
            "release_bad",
            expected="a release that was not taken back",
            found=f"{requested} is bad on {', '.join(bad)}",
            remedy=f"Deploy it again on purpose: deploy.yml -e release_id={requested} -e release_retry=true",
        )
    leaving = {name: answer for name, answer in answers.items() if answer["settled"] != requested}
    recover = _open(answers, set(answers) - set(leaving))
    if not leaving:
        return Rollback(f"{requested} is already active on {', '.join(sorted(answers))}: nothing to do.", recover)
    switches = {name: _newest_switch(answer) for name, answer in leaving.items()}
    return Rollback(
        f"going back to {requested} on {', '.join(sorted(leaving))}",
        recover,
        dict.fromkeys(sorted(leaving), requested),
        {name: switch.run_id if switch else None for name, switch in switches.items()},
    )
