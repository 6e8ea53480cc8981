# SPDX-License-Identifier: GPL-3.0-or-later
"""What the outcomes of hosts mean for a rollout: does it go on, soak, hold at a gate, or is it over and goes back?

Judged here and nowhere else, by pure functions of what the tasks of a play returned: after each wave, and once more at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..base.clock import timestamp
from .rollout import CANARY, Rollout, Wave

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by stage, then by host
ByHost = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by host, then by stage
STAGES = (
    "activation",
    "smoke",
    "analysis",
    "soak",
    "soak_smoke",
    "reversion",
    "renewal",
    "gate",
    "verdict",
    "contact",
    "ready",
)
OK = ("switched", "unchanged", "inconclusive")


@dataclass(frozen=True)
class Found:
    """What became of one host: ``outcome`` switched, unchanged, inconclusive (switched, but nobody can tell yet), failed, unreachable."""

    outcome: str
    detail: str = ""
    is_open: bool = False

    @property
    def is_well(self) -> bool:
        return self.outcome in OK


@dataclass(frozen=True)
class Verdict:
    """What follows: ``decision`` is go_on, soak, pause or stop.

    ``keep`` and ``take_back`` say at the end who is confirmed and who goes back. ``renewals`` {host of this wave: hosts whose
    dead-man it renews}; ``until`` {host: when it goes back by itself at the latest}.
    """

    decision: str
    message: str
    found: Mapping[str, Found]
    keep: tuple[str, ...] = ()
    take_back: tuple[str, ...] = ()
    renewals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    until: Mapping[str, str] = field(default_factory=dict)

    is_promoted: bool = False

    def as_dict(self, rollout: Rollout, wave: int) -> dict[str, Any]:
        """For the play: with the times that follow, and whether hosts are told them (``renews``)."""
        is_open = any(hosts for hosts in self.renewals.values())
        takes_on_all = rollout.share is not None and wave == CANARY
        return {
            "decision": self.decision,
            "msg": self.message,
            "outcomes": {host: {"outcome": each.outcome, "detail": each.detail} for host, each in self.found.items()},
            "switched": sorted(host for host, each in self.found.items() if each.is_open and each.is_well),
            "waiting": sorted(set(_hosts(rollout)) - set(self.found)),
            "keep": list(self.keep),
            "take_back": list(self.take_back),
            "renewals": {host: list(hosts) for host, hosts in self.renewals.items()},
            "renews": self.decision == "go_on" and is_open and (self.is_promoted or takes_on_all),
            "soak_seconds": rollout.waves[wave - 1].soak_seconds if wave else 0,
            "pause_seconds": rollout.pause_seconds,
            "confirm_within_seconds": rollout.in_pause(wave) if self.decision == "pause" else rollout.after_gate(wave),
            "until": dict(self.until),
        }


def judge(rollout: Rollout, results: Results, *, wave: int, now: int, check: bool = False) -> Verdict:
    """Judge the waves up to ``wave``, or, with 0, the whole run at its end.

    ``results`` maps STAGES to what their tasks registered, by host. ``now`` is Unix seconds, for telling when hosts go back.

    1. More failures in a wave than are tolerated, none of the canary that is well, too few hosts left for the next wave, or a gate
       that did not open: stop. Unreachable is a failure, here and nowhere else.
    2. A wave that switched something and has yet to soak: soak.
    3. Somebody cannot tell yet, or the operator wants to look first, and nobody has said yes: pause.
    """
    by_host = {host: {stage: results.get(stage, {}).get(host) or {} for stage in STAGES} for host in _hosts(rollout)}
    begun = [each for each in rollout.waves if wave == 0 or each.number <= wave]
    found = {
        host: outcome
        for each in begun
        for host in each.hosts
        if (outcome := host_outcome(by_host[host], _renewed(host, by_host), check=check)) is not None
    }
    begun = [each for each in begun if any(host in found for host in each.hosts)]
    until = _until(rollout, by_host, found, now)
    stopped = _failed(rollout, begun, found) or _not_wanted(begun, by_host, at_end=wave == 0)
    if wave == 0:
        keep = () if stopped else tuple(host for host, each in found.items() if each.is_open and each.is_well)
        back = tuple(host for host, each in found.items() if each.is_open and host not in keep)
        decision = "stop" if stopped else "go_on"
        return Verdict(decision, stopped or _tolerated(begun, found), found, keep, back, until=until)
    this = rollout.waves[wave - 1]
    switched = [host for host in this.hosts if host in found and found[host].is_open]
    renewals = _shares(this.hosts, [host for host, each in found.items() if each.is_open and each.is_well])
    if stopped := stopped or _too_few(rollout, wave, found):
        return Verdict("stop", stopped, found, renewals=renewals, until=until)
    is_over = check or not switched
    if this.soak_seconds and not is_over and not any(by_host[host]["soak"] for host in switched):
        return Verdict("soak", f"{this.label} soaks for {this.soak_seconds} s", found, renewals=renewals, until=until)
    doubts = {host: found[host].detail for host in switched if found[host].outcome == "inconclusive"}
    is_promoted = any(by_host[host]["gate"].get("decision") == "promoted" for host in this.hosts)
    if (doubts or this.pauses) and not is_over and not is_promoted:
        why = "; ".join(f"{host} cannot tell yet: {detail}" for host, detail in sorted(doubts.items()))
        return Verdict("pause", f"{this.label}: {why or 'release_pause_after'}", found, renewals=renewals, until=until)
    return Verdict(
        "go_on",
        _tolerated(begun, found),
        found,
        renewals={} if check else renewals,
        until=until,
        is_promoted=is_promoted,
    )


def _hosts(rollout: Rollout) -> Iterable[str]:
    return (host for wave in rollout.waves for host in wave.hosts)


def host_outcome(
    stages: Mapping[str, Mapping[str, Any]], renewal: Mapping[str, Any], *, check: bool = False
) -> Found | None:
    """What became of a host by what its tasks returned; None while its wave has not come.

    ``renewal`` is what its dead-man's renewal returned. A later finding replaces an earlier one: who could not tell before the
    soak may be well after it. In check mode a host that would be switched still serves what it did.
    """
    done = {stage: answer for stage, answer in stages.items() if answer and not answer.get("skipped")}
    activation, reversion = done.get("activation", {}), done.get("reversion", {})
    if not activation and not reversion:
        return None
    is_open = bool(activation) and activation.get("outcome", "switched") == "switched" and not reversion.get("outcome")
    exchanges = [*(done.get(stage, {}) for stage in ("activation", "soak", "contact", "ready")), renewal]
    if any(answer.get("unreachable") for answer in exchanges):
        return Found("unreachable", "no answer", is_open)
    if failure := _failure(done, renewal) or ("" if check else _left(done)):
        return Found("failed", failure, is_open)
    if activation.get("outcome") == "unchanged":
        return Found("unchanged")
    doubt = _doubt(done)
    return Found("inconclusive" if doubt else "switched", doubt, is_open)


def _healths(done: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [health for stage in ("activation", "soak", "contact") if (health := done.get(stage, {}).get("health"))]


def _failure(done: Mapping[str, Mapping[str, Any]], renewal: Mapping[str, Any]) -> str:
    """What failed first, "" where nothing did. A host that had to go back has failed, whatever the reason."""
    for stage in ("activation", "smoke", "soak_smoke", "ready"):
        if done.get(stage, {}).get("failed"):
            return str(done[stage].get("msg") or "failed")
    contact = done.get("contact", {})
    for answer, is_well in ((renewal, renewal.get("outcome") == "renewed"), (contact, not contact.get("reason"))):
        if answer and not answer.get("skipped") and not is_well:
            return str(answer.get("msg") or "failed")
    if _analysis(done) == "failure":
        return f"analysis_failed: {done['analysis']['detail']}"
    if (healths := _healths(done)) and healths[-1]["outcome"] == "failure":
        return f"health_failed: {healths[-1]['detail']}"
    return str(done["reversion"].get("msg") or "went back") if "reversion" in done else ""


def _analysis(done: Mapping[str, Mapping[str, Any]]) -> str:
    """What the comparison with the hosts of the release before says of this one; "" where it was not switched, or nothing was compared.

    One that ended without an answer knows nothing of the release: a person decides, as where Prometheus does not answer.
    """
    is_new = done.get("activation", {}).get("outcome", "switched") == "switched"
    return str(done["analysis"].get("outcome", "inconclusive")) if is_new and "analysis" in done else ""


def _left(done: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether a host that was switched serves another release by now, or with other credentials: it was restarted, or nobody confirmed in
    time. The old one may be well.
    """
    switched_to, generation = (done.get("activation", {}).get(key) for key in ("release_id", "generation"))
    for answer in (done.get(stage, {}) for stage in ("soak", "contact")):
        if not switched_to or answer.get("failed") or not ("active" in answer or "stdout" in answer):
            continue
        serves, credentials = _served(answer)
        if serves != switched_to:
            return f"went back by itself: {serves or 'nothing'} is active"
        if generation and credentials != generation:
            return f"went back by itself: {serves} is active with the credentials of before"
    return ""


def _served(answer: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The release and the generation of credentials that a host serves, by an inspection or by what its links say (in settle.yml)."""
    if "active" in answer:
        return answer["active"], (answer.get("credentials") or {}).get("generation")
    links = str(answer["stdout"]).split()
    releases = [link.rpartition("/")[2] for link in links if "/" in link]
    generations = [link for link in links if "/" not in link]
    return releases[0] if releases else "", generations[0] if generations else None


def _doubt(done: Mapping[str, Mapping[str, Any]]) -> str:
    """What the newest judgement of its health, or from outside, could not tell; "" where it could, or where nothing was asked."""
    smokes = [done[stage] for stage in ("smoke", "soak_smoke") if stage in done]
    for newest in (*_healths(done)[-1:], *smokes[-1:]):
        if newest.get("outcome") == "inconclusive" and newest.get("attempts"):
            return str(newest.get("detail") or "inconclusive")
    analysis = done.get("analysis", {})
    return (
        str(analysis.get("detail") or analysis.get("msg") or "not compared")
        if _analysis(done) == "inconclusive"
        else ""
    )


def _renewed(host: str, by_host: ByHost) -> Mapping[str, Any]:
    """What the newest renewal of a host's dead-man returned, whichever host of the wave had it done."""
    answers: list[Mapping[str, Any]] = [
        answer
        for stages in by_host.values()
        for answer in stages["renewal"].get("results", ())
        if answer.get("__release_host") == host
    ]
    return answers[-1] if answers else {}


def _failed(rollout: Rollout, begun: Sequence[Wave], found: Mapping[str, Found]) -> str | None:
    """The first wave with more failures than are tolerated; of the canary, and of each region, at least one host must be well."""
    for wave in begun:
        failed = [host for host in wave.hosts if host in found and not found[host].is_well]
        if len(failed) > rollout.failures_max:
            return f"{wave.label}: {_named(failed, found)}; {rollout.failures_max} tolerated"
        if wave.number == CANARY and len(failed) == len(wave.hosts):
            return f"{wave.label}: {_named(failed, found)}; nothing of the canary is well"
    for region in rollout.regions:
        if all(host in found and not found[host].is_well for host in region.hosts):
            return f"region {region.region}: {_named(region.hosts, found)}; nothing of the region is well"
    return None


def _not_wanted(begun: Sequence[Wave], by_host: ByHost, *, at_end: bool) -> str | None:
    """A gate that did not open, or, at the end, a verdict that ended the waves for a reason that cannot be seen any more."""
    for wave in begun:
        for stages in (by_host[host] for host in wave.hosts):
            gate, verdict = stages["gate"], stages["verdict"]
            if gate.get("decision") in ("aborted", "expired") or gate.get("failed"):
                return f"{wave.label}: {gate.get('msg')}"
            if at_end and verdict.get("decision") == "stop":
                return str(verdict["msg"])
    return None


def _too_few(rollout: Rollout, wave: int, found: Mapping[str, Found]) -> str | None:
    """Whether the next wave would leave fewer hosts in service than have to stay, in a region or in all; one that failed counts as none."""
    if wave >= len(rollout.waves):
        return None
    well = {host for host, each in found.items() if each.is_well}
    serving = (set(rollout.healthy) | well) - (set(found) - well)
    following = rollout.waves[wave]
    for capacity in rollout.capacities:
        left = len(serving.intersection(capacity.hosts).difference(following.hosts))
        if left < capacity.floor:
            return f"{following.label} would leave {left} hosts in service{capacity.where}, and {capacity.floor} have to stay"
    return None


def _named(hosts: Sequence[str], found: Mapping[str, Found]) -> str:
    return ", ".join(f"{host} {found[host].outcome}" for host in hosts)


def _tolerated(begun: Sequence[Wave], found: Mapping[str, Found]) -> str:
    failed = [host for wave in begun for host in wave.hosts if host in found and not found[host].is_well]
    return f"tolerated: {_named(failed, found)}" if failed else ""


def _shares(workers: Sequence[str], hosts: Sequence[str]) -> dict[str, list[str]]:
    """Divide what has to be done on ``hosts`` among the hosts of a wave, which work at the same time; each begins with itself."""
    others = [host for host in hosts if host not in workers]
    return {
        worker: [*([worker] if worker in hosts else []), *others[number :: len(workers)]]
        for number, worker in enumerate(workers)
    }


def _until(
    rollout: Rollout,
    by_host: ByHost,
    found: Mapping[str, Found],
    now: int,
) -> dict[str, str]:
    """When each host that may be switched goes back by itself, at the latest: as it was first judged, or by its newest renewal."""
    until: dict[str, str] = {}
    for wave in rollout.waves:
        for host in wave.hosts:
            if host not in found or not found[host].is_open:
                continue
            known = by_host[host]["verdict"].get("until", {}).get(host)
            renewed = _renewed(host, by_host).get("seconds_left")
            if renewed is not None:
                until[host] = timestamp(now + int(renewed))
            else:
                until[host] = known or timestamp(now + rollout.confirm_within(wave.number))
    return until
