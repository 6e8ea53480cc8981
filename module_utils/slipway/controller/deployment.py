# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of a run: plan it before a host is touched, pack what travels, note how it ended."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from ..application import preflight
from ..application.description import Application
from ..application.preflight import Judgement, Needs, Result
from ..base.clock import seconds_of
from ..base.errors import Refusal, shown
from ..base.files import full_disk_is_a_refusal, read_regular
from ..base.process import Process
from ..host import pack
from ..host.places import POLICY_LIMIT
from ..host.transaction import RESERVE_BYTES
from ..trust import consent, members, verify
from ..trust.chain import Record
from ..trust.manifest import ReleaseManifest
from ..trust.policy import TrustPolicy
from ..trust.tree import FileList
from . import canary_run, manifest_view, moments, permission, resident, selection
from . import rollout as rollouts
from .catalogue import Catalogue
from .holders import Holders
from .memory import NOBODY, NOTHING, ControllerState, Subject, new_run_id
from .regions import read_regions
from .rollout import Pace, Settings
from .state_database import UNUSABLE
from .state_place import StatePlace, place_of
from .witness import UNWITNESSED, VERIFY, untrusted

Answers = Mapping[str, Mapping[str, Any]]
SMALL_PACK_BYTES = 8 << 20  # a pack of so many is no matter of room
STATE_INODES = 16  # of a release's evidence, the journal, and the reserve for going back
# Reasons for which a release may not run here although it is what it says it is.
DRAIN_SECONDS = 30  # of a balancer that does not say
BARRING = frozenset({"below_floor", "manifest_expired", "manifest_revoked", "manifest_too_old"})


class Scope(Protocol):
    """What a release is judged for: an application in an environment, at a time in Unix seconds."""

    @property
    def application(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def now(self) -> int: ...


@dataclass(frozen=True)
class Target:
    """A Scope and nothing else: for looking, without a run."""

    application: str
    environment: str
    now: int


@dataclass(frozen=True)
class Controller:
    """Where the controller keeps things, and what it is asked for. ``now`` is Unix seconds."""

    state: Path
    application: str
    environment: str
    deployed_by: str
    now: int
    process: Process
    lease_seconds: int = 900
    place: StatePlace | None = None
    is_check: bool = False
    run_group: str = ""

    @cached_property
    def _opened(self) -> tuple[ControllerState | None, str]:
        place = self.place or place_of(self.state)
        try:
            return ControllerState(place), ""
        except Refusal as refusal:
            self._require_dispensable(refusal)
            return None, str(refusal)

    @property
    def memory(self) -> ControllerState | None:
        """What this controller remembers; None where it cannot be had and may be done without."""
        return self._opened[0]

    def _require_dispensable(self, refusal: Refusal) -> None:
        """Raise the refusal, unless it says that there is no memory now and somebody said to go on without it."""
        if self.place is None or self.place.is_required or refusal.reason not in UNUSABLE:
            raise refusal

    def require_memory(self) -> str:
        """Refuse, before anything else is judged, what could not be noted, unless somebody said to go on without it: then why there is none."""
        try:
            if self.memory:
                self.memory.database.require_writable()
        except Refusal as refusal:
            self._require_dispensable(refusal)
            return str(refusal)
        return self._opened[1]

    @cached_property
    def dead_runs(self) -> list[str]:
        """The runs of this application that this controller may take over from."""
        return self.memory.dead_runs(self.application) if self.memory else []

    @property
    def own_group(self) -> selection.RunGroup | None:
        """The runs that belong together with this one, None where nothing joins any.

        Refusal ``run_group_unknown`` where the memory that has them cannot be had.
        """
        if not self.run_group:
            return None
        if self.memory is None:
            raise Refusal(
                "run_group_unknown",
                expected=f"to know which runs are of group {self.run_group}: one of them is to be taken back",
                found=f"no memory of runs ({self._opened[1]})",
                remedy="Mend that and run the same again, or take the newest run back, whosever it is: ansible-playbook rollback.yml",
            )
        return selection.RunGroup(self.run_group, frozenset(self.memory.runs_of_group(self.run_group)))

    @property
    def identity(self) -> dict[str, Any]:
        """What hosts are told of who asks."""
        return {
            "controller_id": self.memory.controller_id() if self.memory else NOBODY,
            "deployed_by": self.deployed_by,
            "dead_runs": self.dead_runs,
            "lease_seconds": self.lease_seconds,
        }

    def begin(self, operation: str, subject: Subject = NOTHING) -> tuple[dict[str, Any], str]:
        """Begin a run: its id goes to every host, with the runs that this controller may take over from. And why nobody noted it, "" if somebody did."""
        run_id, unrecorded = new_run_id(self.now), self._opened[1]
        try:
            if self.memory:
                run_id = self.memory.begin_run(
                    operation=operation,
                    application=self.application,
                    environment=self.environment,
                    deployed_by=self.deployed_by,
                    now=self.now,
                    process=self.process,
                    subject=replace(subject, is_check=self.is_check, run_group=self.run_group),
                )
        except Refusal as refusal:
            self._require_dispensable(refusal)
            unrecorded = str(refusal)
        sweep_packs(self.state, self.dead_runs)
        return {"run_id": run_id, **self.identity}, unrecorded

    def as_settler(self) -> dict[str, Any]:
        """What goes to hosts where no run is begun: only what earlier ones left open is settled, under their own names."""
        return {"run_id": "", **self.identity}


@dataclass(frozen=True)
class Reached:
    """A host that a run reached: its id and name, how the run ended there, the record that it says it made of it, and its region if it has one."""

    id: str
    name: str
    outcome: str
    record: Mapping[str, Any]
    region: str = ""


def reached_hosts(
    inspections: Answers,
    outcomes: Mapping[str, str],
    records: Mapping[str, Mapping[str, Any]],
    regions: Mapping[str, str] = MappingProxyType({}),
) -> list[Reached]:
    """The hosts of a run that said who they are; all arguments are by the host's name in the inventory."""
    return [
        Reached(str(inspections[name]["host"]["id"]), name, outcome, records.get(name, {}), regions.get(name, ""))
        for name, outcome in outcomes.items()
        if inspections.get(name, {}).get("host")
    ]


def end_run(state: Path | StatePlace, run: Mapping[str, Any], outcome: str, reached: Iterable[Reached] = ()) -> None:
    """Remove what a run packed, and note how it ended, and on which hosts it ended how."""
    run_id, now = run["run_id"], int(time.time())
    sweep_packs(place_of(state).directory, [run_id])
    memory = ControllerState(state)
    for host in reached:
        recorded = host.record.get("run_id") == run_id
        memory.note_host_of_run(
            run_id,
            host_id=host.id,
            outcome=host.outcome,
            recorded=recorded,
            now=now,
            name=host.name,
            region=host.region,
        )
    memory.end_run(run_id, outcome=outcome, now=now)


def write_views(
    catalogue: Catalogue,
    application: str,
    directory: Path,
    records: Mapping[str, Record],
    *,
    holders: Mapping[str, Any] | None = None,
    check: bool,
) -> str | None:
    """Write the page of every release that a run's ``records`` (by host) say something of; what went wrong, else None.

    A release that is not in this catalogue, since another controller brought it, gets no page. A page that cannot be
    written must not decide how a run ended.
    """
    try:
        people = Holders.parse(holders or {})
        known = set(catalogue.release_ids(application))
        for release_id, concerned in sorted(manifest_view.concerned(records).items()):
            if release_id in known:
                envelope = catalogue.manifest_bytes(application, release_id)
                page = manifest_view.ManifestView(directory, verify.parse_manifest(envelope), people, envelope)
                page.write(concerned, check=check)
    except (Refusal, OSError) as error:
        return str(error)
    return None


def require_one_run(environments: Sequence[str], meant: str, *, is_alone: bool) -> None:
    """Refuse a deployment or rollback that is not one: Refusals ``run_not_alone``, ``environments_mixed``, ``environment_not_meant``.

    ``environments`` are those of its hosts (empty: not asked here), ``meant`` the one that was named, "" for none. What hosts answered to a run
    stays with Ansible's process, and would judge the next one in it.
    """
    if not is_alone:
        raise Refusal(
            "run_not_alone",
            expected="one deployment or rollback in an ansible-playbook",
            found="another one before it",
            remedy="Give each a command of its own.",
        )
    if len(environments) > 1:
        raise Refusal(
            "environments_mixed",
            expected="the hosts of one environment",
            found=" and ".join(environments),
            remedy=f"Limit the run: -l {' or -l '.join(environments)}",
        )
    if environments and meant not in ("", *environments):
        raise Refusal(
            "environment_not_meant",
            expected=f"hosts of {meant}",
            found=f"hosts of {environments[0]}",
            remedy="Correct the limit (-l).",
        )


def resolve_application(applications: object, requested: str) -> str:
    """The application that a run is for: the requested one, or the only one there is. Its description is checked."""
    if not isinstance(applications, Mapping) or not applications:
        raise Refusal(
            "no_application",
            expected="at least one application in slipway_applications",
            found="none",
            remedy="Describe it in group_vars (docs/howto/your-own-application.md).",
        )
    if not requested and len(applications) > 1:
        raise Refusal(
            "application_needed",
            expected="the name of one application",
            found=f"several: {', '.join(sorted(map(str, applications)))}",
            remedy="Say which one: -e application=<name>",
        )
    name = requested or str(next(iter(applications)))
    if name not in applications:
        raise Refusal(
            "application_unknown",
            expected=f"one of {', '.join(sorted(map(str, applications)))}",
            found=repr(name),
            remedy="Correct -e application=, or describe it in slipway_applications.",
        )
    Application.parse(name, applications[name])
    return name


def silent_hosts(answers: Answers) -> dict[str, str]:
    """The hosts without an answer, each as the operator is told: with the reason where the host itself refused."""
    return {
        name: f"{name} ({answer['reason']})" if answer.get("reason") else name
        for name, answer in sorted(answers.items())
        if "active" not in answer
    }


def plan_deployment(
    controller: Controller,
    catalogue: Catalogue,
    policy_path: Path,
    answers: Answers,
    *,
    requested: str,
    retry: bool,
    rollout: Mapping[str, Any],
    description: Mapping[str, Any],
    forks: int,
    files: Mapping[str, Sequence[str]] = MappingProxyType({}),
    fetched: bool = False,
    balancers: Any = (),
    groups: Mapping[str, Sequence[str]] = MappingProxyType({}),
    held: Iterable[str] = (),
    analysis: Mapping[str, Any] = MappingProxyType({}),
    prometheus: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Choose the release, verify it as far as a controller can, judge whether every host is ready for it, begin the run.

    ``rollout`` is what `Settings.parse` reads; ``groups`` of the inventory have the regions that it names, of which balancers keep the hosts ``held``
    out; ``forks`` hosts are worked on at once; ``files`` are the operator's, by moment;
    with ``fetched`` the hosts get objects from a store; ``balancers`` are those of a host, as `balancers_seconds` takes them; ``analysis``
    and ``prometheus`` are what a canary is compared by, judged here since hosts are switched when it is asked.
    Returns {run, unrecorded (why no memory has the run, "" where one has), release_id, manifest_digest, candidate, monitoring, approvals, message, passed_over, preflight_warnings, rollout, hooks,
    migrating (the host that runs migrations, "" for none), checks_before_confirm, commands}. The hosts verify again, by their own policies.
    """
    without_memory = controller.require_memory()
    settings, application = Settings.parse(rollout), Application.parse(controller.application, description)
    regions = read_regions(rollout.get("region_order"), groups, answers, held)
    canary_run.require_comparable(analysis, prometheus)
    selection.require_unlocked(answers)
    selection.require_settled(answers, lambda run_id: run_id in controller.dead_runs)
    selection.require_trusted_histories(answers)
    silent = silent_hosts(answers)
    others = ",".join(sorted(set(answers) - set(silent)))
    way_out = f", or leave it out on purpose with -l {others}." if others else "."
    selection.require_reachable(silent.values(), next_command=f"Mend it{way_out}")
    candidates = _candidates(catalogue, controller.application, requested)
    barred = {} if requested else barred_releases(controller, catalogue, policy_path, candidates)
    choice = selection.choose_release(candidates, answers, requested=requested, retry=retry, barred=barred)
    manifest, file_list = verified_release(controller, catalogue, policy_path, choice.release_id)
    policy = _policy(policy_path)
    selection.require_newest_policy(answers, policy.version)
    scope = consent.Scope(manifest, policy, controller.environment, controller.now)
    allowed = _allowed(controller, catalogue, policy, candidates)
    approvals = permission.require_approved(scope, catalogue, allowed)
    permission.require_in_sequence(scope, catalogue, answers)
    judgement = preflight.judge(answers, needs_of(catalogue, manifest, file_list, answers, fetched=fetched))
    judgement.require_ready()
    sizes = [entry.size for entry in file_list.files]
    work = moments.of_deployment(catalogue, manifest, answers, first=regions[0].hosts[0] if regions else "")
    pace = Pace.of(
        application,
        size=sum(sizes),
        files=len(sizes),
        hooks_seconds=work.seconds,
        migrations_seconds=work.migrations_seconds,
        balancers_seconds=balancers_seconds(balancers),
        forks=forks,
    )
    planned = rollouts.plan(work.settings(settings), pace, answers, regions)
    if without_memory:
        _require_no_pause(planned, without_memory)
    promotion = manifest.promotion
    subject = Subject(manifest.release_id, promotion.release_type, int(seconds_of(manifest.created)))
    run, unrecorded = controller.begin("deploy", subject)
    return {
        "run": run,
        "unrecorded": unrecorded,
        "release_id": choice.release_id,
        "manifest_digest": manifest.digest,
        "candidate": manifest.promotion.candidate,
        "monitoring": manifest.promotion.monitoring.as_dict(),
        "approvals": [approval.as_record() for approval in approvals],
        "message": choice.described(),
        "passed_over": {release: list(hosts) for release, hosts in choice.skipped.items()},
        "preflight_warnings": judgement.warnings(),  # Ansible takes `warnings` out of an answer
        "rollout": planned.as_dict(),
        "hooks": dict(files),
        "migrating": work.migrating,
        "checks_before_confirm": work.checks_before_confirm,
        "commands": [*work.lines, *moments.told_files(files)],
    }


def _require_no_pause(planned: rollouts.Rollout, without_memory: str) -> None:
    """Refuse, before anything is switched, a rollout that could not be held: a yes is a row of the memory that is not there."""
    held = [wave.label for wave in planned.waves if wave.pauses]
    if held:
        raise Refusal(
            "pause_without_memory",
            expected=f"this controller's memory, in which somebody says yes after {', '.join(held)}",
            found=f"none ({without_memory})",
            remedy="Mend that; slipway_state_required=false does without it only where nothing is held. "
            "To deploy without a pause on purpose: -e '{\"release_pause_after\": []}'",
        )


def needs_of(
    catalogue: Catalogue, manifest: ReleaseManifest, file_list: FileList, answers: Answers, *, fetched: bool = False
) -> dict[str, Needs]:
    """What the release needs on each host: what the host has already, it does not need again.

    Where the hosts have ``fetched`` it from a store, nothing big arrives in a pack.
    """
    sizes = {entry.sha256: entry.size for entry in file_list.files}
    links = sum(entry.type != "file" for entry in file_list.entries)
    schema, needs = manifest.promotion.database, {}
    for host, answer in answers.items():
        here = answer.get("releases", [])
        if any(release["manifest_digest"] == manifest.digest for release in here):
            lacking, links_made = set[str](), 0
        else:
            lacking, links_made = missing_objects(catalogue, manifest.application, manifest.tree_digest, here), links
        is_served = answer.get("settled") == manifest.release_id
        size = sum(sizes[sha256] for sha256 in lacking)
        needs[host] = Needs(
            bytes=size,
            pack_bytes=size if size > SMALL_PACK_BYTES and not fetched else 0,
            inodes=len(lacking) + links_made,
            state_bytes=0 if is_served else 2 * RESERVE_BYTES + manifest.tree_size,
            state_inodes=0 if is_served else STATE_INODES,
            schema=schema,
            migrates=moments.may_be_pending(catalogue, manifest, answer),
        )
    return needs


def judge_readiness(
    application: str,
    catalogue: Catalogue,
    policy_path: Path,
    answers: Answers,
    *,
    requested: str,
    now: int,
    fetched: bool = False,
) -> Judgement:
    """Judge whether hosts are ready for the release that a deployment would take, without beginning one.

    Each environment is judged for itself. A host without an answer is a FAIL, and so is a reason for which no release could
    be deployed. Where the catalogue has no release at all, what only a release says is left out.
    """
    silent = silent_hosts(answers)
    rows = [
        (
            host,
            Result("host", "-", preflight.FAIL, f"no answer: {answers[host].get('msg') or 'unreachable'}", "Mend it."),
        )
        for host in silent
    ]
    there = {host: answer for host, answer in answers.items() if host not in silent}
    rows += [
        (
            host,
            Result(
                "history",
                application,
                preflight.WARN if verdict.outcome == UNWITNESSED else preflight.FAIL,
                str(verdict),
                f"{VERIFY} -l {host}",
            ),
        )
        for host, verdict in untrusted(answers).items()
    ]
    rows += [
        (
            host,
            Result(
                "lock",
                application,
                preflight.FAIL,
                f"locked {why}",
                f"{selection.LOCK} -l {host} -e lock_state=released",
            ),
        )
        for host, why in selection.locks(there).items()
    ]
    needs: dict[str, Needs] = {}
    for environment in sorted({str(answer["host"]["environment"]) for answer in there.values()}):
        hosts = {host: answer for host, answer in there.items() if answer["host"]["environment"] == environment}
        found, needed = _judge_release(
            Target(application, environment, now), catalogue, policy_path, hosts, requested, fetched=fetched
        )
        rows += [(f"all of {environment}", row) for row in found]
        needs |= needed
    return Judgement((*rows, *preflight.judge(there, needs).rows))


def _judge_release(
    target: Target, catalogue: Catalogue, policy_path: Path, answers: Answers, requested: str, *, fetched: bool
) -> tuple[list[Result], dict[str, Needs]]:
    """The rows about the release and its approvals for the hosts of one environment, and what it needs on each."""
    try:
        candidates = _candidates(catalogue, target.application, requested)
        if not candidates and not requested:
            found = "the catalogue has none, so that room and migrations were not judged"
            return [Result("release", "-", preflight.WARN, found, "Make one: playbooks/release.yml")], {}
        barred = {} if requested else barred_releases(target, catalogue, policy_path, candidates)
        choice = selection.choose_release(candidates, answers, requested=requested, retry=False, barred=barred)
        manifest, file_list = verified_release(target, catalogue, policy_path, choice.release_id)
        policy = _policy(policy_path)
        scope = consent.Scope(manifest, policy, target.environment, target.now)
        permission.require_in_sequence(scope, catalogue, answers)
    except Refusal as refusal:
        return [_failed("release", requested or "-", refusal)], {}
    rows = [Result("release", choice.release_id, preflight.PASS, choice.described())]
    try:
        allowed = _allowed(target, catalogue, policy, candidates)
        approvals = permission.require_approved(scope, catalogue, allowed)
    except Refusal as refusal:
        rows.append(_failed("approvals", manifest.release_id, refusal))
    else:
        given = ", ".join(f"{each.role} by {each.holder} until {each.expires}" for each in approvals)
        rows.append(Result("approvals", manifest.release_id, preflight.PASS, given or "nobody has to approve"))
    return rows, needs_of(catalogue, manifest, file_list, answers, fetched=fetched)


def require_deployable(
    target: Target, catalogue: Catalogue, policy_path: Path, answers: Answers, release_id: str
) -> None:
    """Refuse, before anything is made for its sake, what a deployment of a certain release would be refused for by a plan: no lock, no history
    in doubt, a release that may run here today, approved by whom it has to be.
    """
    selection.require_unlocked(answers)
    selection.require_trusted_histories(answers)
    manifest, _file_list = verified_release(target, catalogue, policy_path, release_id)
    scope = consent.Scope(manifest, _policy(policy_path), target.environment, target.now)
    permission.require_approved(scope, catalogue, ())
    permission.require_in_sequence(scope, catalogue, answers)


def _failed(check: str, subject: str, refusal: Refusal) -> Result:
    return Result(check, subject, preflight.FAIL, f"{refusal.reason}: {refusal.found}", refusal.remedy)


def _allowed(
    scope: Scope, catalogue: Catalogue, policy: TrustPolicy, candidates: Sequence[selection.Candidate]
) -> Iterator[ReleaseManifest]:
    """The manifests of those candidates that this environment may run once they are approved, newest first."""
    for candidate in sorted(candidates, key=lambda each: each.sequence, reverse=True):
        with suppress(Refusal):
            yield _require_allowed(scope, catalogue, policy, candidate.release_id)


def barred_releases(
    controller: Scope, catalogue: Catalogue, policy_path: Path, candidates: Sequence[selection.Candidate]
) -> dict[str, str]:
    """The releases that this environment may not run (any more), with the reason code of each.

    Where none is left, the newest one's Refusal is raised: it says what to do. What cannot be trusted at all, such as a
    signature that does not hold, bars nothing: it stops the run when it would be chosen.
    """
    policy = _policy(policy_path)
    refusals = {}
    for candidate in sorted(candidates, key=lambda each: each.sequence, reverse=True):
        try:
            _require_allowed(controller, catalogue, policy, candidate.release_id)
        except Refusal as refusal:
            if refusal.reason in BARRING:
                refusals[candidate.release_id] = refusal
    if candidates and len(refusals) == len(candidates):
        raise next(iter(refusals.values()))
    return {release_id: refusal.reason for release_id, refusal in refusals.items()}


def _policy(path: Path) -> TrustPolicy:
    return TrustPolicy.parse(read_regular(path, limit=POLICY_LIMIT, what="trust policy"))


def _require_allowed(controller: Scope, catalogue: Catalogue, policy: TrustPolicy, release_id: str) -> ReleaseManifest:
    """The release's manifest, verified for this environment at this time; whether it is approved is another question."""
    manifest = verify.verify_manifest(
        policy,
        catalogue.manifest_bytes(controller.application, release_id),
        application=controller.application,
        environment=controller.environment,
        now=controller.now,
    )
    verify.require_current(manifest, policy, controller.environment, controller.now)
    return manifest


def _candidates(catalogue: Catalogue, application: str, requested: str) -> list[selection.Candidate]:
    """Every release of the catalogue. A damaged manifest stops the choice of the newest, for that may be the one; it does
    not stand in the way of another release that is asked for by name.
    """
    candidates = []
    for release_id in catalogue.release_ids(application):
        try:
            manifest = catalogue.manifest(application, release_id)
        except Refusal as refusal:
            if requested not in ("", release_id):
                continue
            raise Refusal(
                refusal.reason,
                expected=refusal.expected,
                found=f"{refusal.found} (in {catalogue.manifest_path(application, release_id)})",
                remedy=refusal.remedy,
            ) from refusal
        candidates.append(selection.Candidate(release_id, manifest.sequence))
    return candidates


def verified_release(
    controller: Scope, catalogue: Catalogue, policy_path: Path, release_id: str
) -> tuple[ReleaseManifest, FileList]:
    """Manifest and file list of a release in the catalogue, verified by the controller's copy of the trust policy."""
    manifest = _require_allowed(controller, catalogue, _policy(policy_path), release_id)
    file_list = verify.verify_file_list(
        manifest, catalogue.file_list_bytes(controller.application, manifest.tree_digest)
    )
    objects = {entry.path: entry.sha256 for entry in file_list.files}
    read = members.reader(
        manifest.members,
        members.CONTROLLER_CHECKS,
        objects,
        lambda path: catalogue.object_path(controller.application, objects[path]).read_bytes(),
    )
    members.check(manifest.members, read, manifest.version, members.CONTROLLER_CHECKS)
    return manifest, file_list


def plan_rollback(
    controller: Controller,
    catalogue: Catalogue,
    answers: Answers,
    *,
    requested: str,
    limited: bool,
    files: Mapping[str, Sequence[str]] = MappingProxyType({}),
    others: Sequence[str] = (),
    irreversible_accepted: bool = False,
    undone: bool = False,
) -> dict[str, Any]:
    """Decide who goes back to what, begin the run.

    ``files`` are the operator's, by moment; ``others`` are the hosts of the environment that are not in this run.
    Returns {run (null when nothing is to do), unrecorded, targets, takes_back, recover, message, silent, hooks, migrate}. A host that does not answer
    stops a rollback over the whole inventory, since what it was part of is unknown; with a limit the others go back.
    """
    silent = silent_hosts(answers)
    if not limited:
        selection.require_reachable(silent.values(), next_command="Say which hosts go back: -l <group or hosts>.")
    reachable = {name: answer for name, answer in answers.items() if name not in silent}
    if not reachable:
        selection.require_reachable(
            silent.values(), next_command="Mend the connection, then run the same command again."
        )
    rollback = selection.choose_rollback(
        reachable,
        requested=requested,
        limited=limited,
        undone=undone,
        group=controller.own_group if undone else None,
    )
    permission.require_within_reach(catalogue, controller.application, reachable, rollback.targets)
    way_back = moments.of_rollback(
        catalogue, controller.application, reachable, rollback.targets, others=[*others, *silent], accepted=irreversible_accepted
    )  # fmt: skip
    if not rollback.targets and not rollback.recover:
        selection.require_reachable(silent.values(), next_command=f"On the others: {rollback.message}")
    run, unrecorded = (
        controller.begin("rollback", _of_rollback(rollback)) if rollback.targets or rollback.recover else (None, "")
    )
    return {
        "run": run,
        "unrecorded": unrecorded,
        "targets": dict(rollback.targets),
        "takes_back": dict(rollback.takes_back),
        "recover": list(rollback.recover),
        "message": "\n".join(
            [
                rollback.message,
                *_told_histories(reachable),
                *_told_locks(reachable),
                *way_back.lines,
                *moments.told_files(files if rollback.targets else {}),
            ]
        ),
        "silent": list(silent),
        "hooks": dict(files),
        "migrate": way_back.migrate,
    }


def _of_rollback(rollback: selection.Rollback) -> Subject:
    """What a rollback is about: the release that all hosts go to, "" where they differ, and the runs that it takes back."""
    targets = set(rollback.targets.values())
    return Subject(
        targets.pop() if len(targets) == 1 else "",
        takes_back=tuple(sorted({run for run in rollback.takes_back.values() if run})),
    )


def _told_histories(answers: Answers) -> list[str]:
    """A way back is open whatever became of a history; that it cannot be trusted is told."""
    return [
        f"{host}: its history is {verdict}. It goes back all the same; then {VERIFY} -l {host}"
        for host, verdict in untrusted(answers).items()
    ]


def _told_locks(answers: Answers) -> list[str]:
    """A lock is against deployments; whoever goes back all the same should know of it."""
    return [f"{host} is locked {why}. It goes back all the same." for host, why in selection.locks(answers).items()]


def balancers_seconds(balancers: Any) -> int:
    """How long a host's balancers may take at most to take it out and in again, one after the other.

    Each of the list is {host, backend} as text, and maybe socket (text) and drain_seconds (a whole number). Refusal
    ``balancers_invalid`` for what could not be told to drain a host.
    """
    expected = (
        "a list of balancers, each {host, backend} as text, and maybe socket (text) and drain_seconds (a whole number)"
    )
    for found in balancers if isinstance(balancers, (list, tuple)) else [balancers]:
        is_one = (
            isinstance(balancers, (list, tuple)) and isinstance(found, Mapping) and {"host", "backend"} <= found.keys()
        )
        if not is_one or not all(
            isinstance(value, int) and not isinstance(value, bool) and value >= 0 if key == "drain_seconds" else isinstance(value, str) and value
            for key, value in found.items()
        ) or not found.keys() <= {"host", "backend", "socket", "drain_seconds"}:  # fmt: skip
            raise Refusal(
                "balancers_invalid",
                expected=expected,
                found=shown(found),
                remedy="Correct release_balancers of this host (docs/howto/zero-downtime.md).",
            )
    return sum(each.get("drain_seconds", DRAIN_SECONDS) + 2 * rollouts.EXCHANGE_SECONDS for each in balancers)


def missing_objects(
    catalogue: Catalogue, application: str, tree: str, present: Sequence[Mapping[str, str]]
) -> set[str]:
    """The objects of the file list ``tree`` that no release on the host has, as far as this catalogue knows those releases.

    Sending too much is harmless; what is still missing the host names itself.
    """
    missing = set(_object_names(catalogue, application, tree))
    for release in reversed(present):
        with suppress(Refusal):
            missing -= _object_names(catalogue, application, release["tree"])
        if not missing:
            break
    return missing


@lru_cache(maxsize=64)
def _object_names(catalogue: Catalogue, application: str, tree: str) -> frozenset[str]:
    """Hosts in the same state are many, and what a digest names does not change."""
    return FileList.names_in(catalogue.file_list_bytes(application, tree), digest=tree)


@dataclass(frozen=True)
class Shipment:
    """What one host is to get: the release, and the SHA-256 of objects that it lacks."""

    release_id: str
    run_id: str
    objects: frozenset[str]
    with_objects: bool = True


def packs_of(state: Path, run_id: str) -> Path:
    """Where the packs of a run are until it ends."""
    return state / "packs" / run_id


def make_pack(
    state: Path,
    catalogue: Catalogue,
    application: str,
    shipment: Shipment,
    package: bytes | None,
    *,
    packing: Callable[[int], pack.Moved] = lambda _total: pack.unheard,
) -> Path:
    """The pack for a shipment; hosts in the same state share one, made by whoever comes first.

    ``packing`` is told how many bytes of objects there will be when one is begun, and returns what hears of each some.
    """
    manifest = catalogue.manifest_bytes(application, shipment.release_id)
    objects = sorted(shipment.objects) if shipment.with_objects else []
    key = hashlib.sha256(
        b"\0".join(
            [manifest, resident.digest(package).encode() if package else b"", *(name.encode() for name in objects)]
        )
    )
    directory = packs_of(state, shipment.run_id)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{key.hexdigest()[:32]}.pack"
    with _one_at_a_time(path.with_suffix(".lock")):
        if path.exists():
            return path
        file_list = catalogue.file_list_bytes(application, verify.parse_manifest(manifest).tree_digest)
        paths = [catalogue.object_path(application, sha256) for sha256 in objects]
        partial = path.with_suffix(".partial")
        with full_disk_is_a_refusal(directory, what="pack what hosts lack"), _removed_on_failure(partial):
            with open(partial, "wb") as stream:
                pack.write(
                    stream,
                    manifest=manifest,
                    file_list=file_list,
                    resident=package,
                    objects=zip(objects, paths, strict=True),
                    moved=packing(sum(each.stat().st_size for each in paths if each.exists())),
                )
            os.rename(partial, path)
    return path


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def sweep_packs(state: Path, dead_runs: Sequence[str]) -> None:
    """Remove what runs that are over have packed."""
    for run_id in dead_runs:
        shutil.rmtree(packs_of(state, run_id), ignore_errors=True)


def outdated_resident(digest_on_host: str | None) -> bytes | None:
    """The resident package when the host has another one, or none."""
    return None if resident.own_digest() == digest_on_host else resident.build()
