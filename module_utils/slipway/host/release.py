# SPDX-License-Identifier: GPL-3.0-or-later
"""The four exchanges of a deployment on a host: stage, activate, confirm, revert. A rollback needs the last three.

Each takes a request (plain data), does its part under the application's lock, and returns an answer (plain data) with at
least ``changed``. In check mode it answers what it would do and does nothing. An answer with ``failed`` says that
something was tried and undone; a Refusal says that nothing was tried.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..application.description import Application, Patience
from ..application.health import Verdict
from ..application.rollback_plan import failed_steps
from ..base.clock import require_sane_clock
from ..base.errors import Refusal, shown
from ..base.fields import require_release_id
from ..base.files import full_disk_is_a_refusal
from ..trust import members
from ..trust.promotion import Step
from . import shared
from .artifact_source import Source
from .backup import Replacement
from .deadman import confirm_within, has_outcome
from .evidence import Evidence, Verified
from .history import History, Record, View
from .hooks import Failure
from .incoming import Incoming
from .journal import Transaction
from .judgement import Passed, require_passed
from .lease import Lease, Run, exclusive, locked
from .lock import require_unlocked
from .log import witnessed_size
from .pack import Pack
from .package import install
from .places import Host, Identity, Places, require_environment
from .store import Store, expendable
from .transaction import Intent, Transactions, settled, status_of_failure
from .work import Foreman, Work

if TYPE_CHECKING:
    from .fetch import Brought

Request = Mapping[str, Any]
Answer = dict[str, Any]
ONCE = Patience(interval_seconds=0, retries=0, deadline_seconds=1)
DIFF_LINES = 200
LEASE_WAIT_SECONDS = 10.0
FETCHES = 3  # what was fetched may be pruned before it is used, by the end of another run


@dataclass(frozen=True)
class Exchange:
    """What every exchange begins with: who asks, of whom, for which application."""

    host: Host
    identity: Identity
    application: Application
    places: Places
    run: Run
    check: bool
    witnessed: int | None = None

    @classmethod
    def begin(cls, request: Request, host: Host, *, check: bool) -> Exchange:
        """Parse the request and refuse what is not meant for this host, before anything is looked at."""
        identity = host.identity()
        require_environment(identity, request["environment"])
        if request.get("release_id") is not None:
            require_release_id(request["release_id"])
        application = Application.parse(request["application"]["name"], request["application"]["description"])
        places = Places(host, application.name)
        places.require_bootstrapped()
        run = Run.parse(request["run"])
        return cls(host, identity, application, places, run, check, witnessed_size(request))

    @property
    def store(self) -> Store:
        return Store(self.places)

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.places)

    @property
    def history(self) -> History:
        return History(self.places.history)

    def with_log(self, answer: Answer) -> Answer:
        """The answer with its part ``log``; what is not signed yet is signed first."""
        if not self.check:
            self.transactions.sign()
        return {**answer, "log": self.transactions.log.answer(self.witnessed)}

    @property
    def transactions(self) -> Transactions:
        return Transactions(self.places)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One exchange at a time; looking, as check mode does, needs no lock."""
        with nullcontext() if self.check else exclusive(self.places.lock, self.host.clock):
            yield

    def recover(self, *, forced: bool = False) -> bool:
        """Settle what a dead or expired run left open; a live run's is left alone unless ``forced``. True when it did."""
        if not forced and self.holder():
            return False
        if self.check:
            return self.transactions.journal.read() is not None
        return self.transactions.recover() is not None

    def current(self, *, recovered: bool = True) -> str | None:
        """What is active, or, in check mode, what will be once the open transaction is ``recovered``."""
        if self.check and recovered and not self.holder():
            return settled(self.store.current(), self.transactions.journal.read())
        return self.store.current()

    def is_own_to_recover(self) -> bool:
        """Staging settles this controller's dead runs and what is overdue; another's expired one waits for somebody who wants to switch."""
        lease = self.transactions.leases.read()
        return lease is None or lease.controller_id == self.run.controller_id or self._is_overdue()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One exchange at a time, and no other run that lives: waits a moment for its end, then Refusal ``locked`` names it.

        The wait has gaps of random length in which the other may go on, and so that of many who wait not all come at once.
        """
        deadline = self.host.clock.elapsed() + LEASE_WAIT_SECONDS
        while True:
            with self.locked():
                holder = self.holder()
                if holder is None:
                    yield
                    return
                if self.check or self.host.clock.elapsed() >= deadline:
                    raise locked(holder)
            self.host.clock.sleep(0.1 + secrets.randbelow(400) / 1000)

    def holder(self) -> Lease | None:
        """The lease of another run that lives."""
        return self.transactions.holder(self.run)

    def _is_overdue(self) -> bool:
        transactions = self.transactions
        return transactions.deadman.overdue(transactions.journal.read()) is not None

    def require_passed(
        self, verified: Verified, view: View, current: str | None, request: Request, *, is_rollback: bool
    ) -> Passed:
        """Approvals, expiry and sequence are judged where somebody wants a switch, never where an unconfirmed one is taken back."""
        passed = require_passed(self.places, verified.manifest, view, current, request, is_rollback=is_rollback)
        if passed.judged.authorizations:  # they end soon: a clock that was set back must not revive one
            self.require_sane_clock()
        return passed

    def keep(self, passed: Passed, release_id: str) -> bool:
        """Keep what counted beside the release; True when something was not kept yet. In check mode, only say so."""
        if self.check:
            return any(passed.lacking(self.evidence, release_id).values())
        return passed.keep(self.evidence, release_id)

    def foreman(self, current: str | None) -> Foreman:
        """Who decides about hooks and migrations of a switch from the release ``current``."""
        return Foreman(self.evidence, self.identity.name, current)

    def require_sane_clock(self) -> None:
        newest = self.history.last()
        require_sane_clock(self.host.clock.now(), newest["timestamp"] if newest else None)


def stage(request: Request, host: Host, *, check: bool) -> Answer:
    """Bring a release onto the host, verified and whole, without touching what is active.

    request: application {name, description}, environment, run, release_id, manifest_digest, pack (path or null when the
    host has the release already), resident_digest, approvals and authorizations (envelopes as text, at most 16 each).
    answer: changed, release_id, approvals (those that count, as records name them), recovered, missing (SHA-256 of objects that the pack did not bring: send them and ask
    again), objects, bytes, fetched (null without a source, else what it brought), check, commands (what the switch will run beside the unit, a
    line each), diff; where it is active already and as it should be, so that nothing is to be switched, also outcome (``unchanged``),
    active_release_id and health.
    """
    exchange, source = Exchange.begin(request, host, check=check), Source.parse(request)
    answer = _stage_locked(exchange, request, None if source is None else Incoming(exchange.places))
    if source is not None and answer["missing"]:
        answer = _stage_from(exchange, request, source, answer)
    return {"fetched": None, **answer, "missing": sorted(answer["missing"])}


def _stage_locked(exchange: Exchange, request: Request, incoming: Incoming | None) -> Answer:
    """Stage as far as it goes with what the pack brings and what has been fetched."""
    with exchange.locked():
        require_unlocked(exchange.places, exchange.identity.name)
        recovered = exchange.recover() if exchange.is_own_to_recover() else False
        exchange.require_sane_clock()
        exchange.transactions.strategy(exchange.application).require_loaded()
        if request.get("pack"):
            with open(request["pack"], "rb") as stream:
                answer = _stage(exchange, request, Pack(stream), incoming)
        else:
            answer = _stage(exchange, request, None, incoming)
    return {**answer, "recovered": recovered, "changed": answer["changed"] or recovered}


def _stage_from(exchange: Exchange, request: Request, source: Source, answer: Answer) -> Answer:
    """Fetch what is missing, then stage again; between the two the application is not locked, so that a way back need not wait."""
    incoming, recovered, left = Incoming(exchange.places), answer["recovered"], dict[str, str]()
    fetched = {"objects": 0, "bytes": 0, "resumed_bytes": 0}
    try:
        with incoming.reserved(), _no_parts_on_a_full_disk(incoming):
            for _ in range(FETCHES):
                wanted: Mapping[str, int] = answer["missing"]
                brought = _fetch(exchange, source, incoming, wanted)
                left |= brought.left
                for key in fetched:
                    fetched[key] += getattr(brought, key)
                answer = _stage_locked(exchange, request, replace(incoming, verified=frozenset(wanted)))
                recovered = recovered or answer["recovered"]
                if not answer["missing"]:
                    incoming.discard()
                    break
    except Refusal as refusal:
        if not recovered:
            raise
        return {"failed": True, "changed": True, "missing": (), "msg": str(refusal), **refusal.as_dict()}
    warnings = [f"{mirror} was left for another mirror: {said}" for mirror, said in left.items()]
    return {
        **answer, "changed": answer["changed"] or recovered, "recovered": recovered,
        "fetched": {**fetched, "left": left}, **({"warnings": warnings} if warnings else {}),
    }  # fmt: skip


@contextmanager
def _no_parts_on_a_full_disk(incoming: Incoming) -> Iterator[None]:
    """What has come is gone on with, but not where it is what fills the disk."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason == "disk_full":
            incoming.discard()
        raise


def _fetch(exchange: Exchange, source: Source, incoming: Incoming, wanted: Mapping[str, int]) -> Brought:
    from .fetch import Fetch  # only where it is needed: every exchange begins with the imports above

    places = exchange.places
    with full_disk_is_a_refusal(places.base, what="fetch what the release lacks"):
        incoming.begin(wanted)
        return Fetch(source, exchange.application.name, places.incoming, places.host.clock).bring(wanted)


def _stage(exchange: Exchange, request: Request, pack: Pack | None, incoming: Incoming | None) -> Answer:
    evidence, store, release_id = exchange.evidence, exchange.store, request["release_id"]
    envelope, listed = (pack.manifest, pack.file_list) if pack else evidence.read(release_id)
    verified = evidence.verified(envelope, listed, release_id, exchange.application)
    current = exchange.current(recovered=exchange.is_own_to_recover())
    _require_no_candidate(exchange, verified)
    _require_same_content(exchange, verified)
    passed = exchange.require_passed(verified, View.of(exchange.history.records()), current, request, is_rollback=False)
    answer: Answer = {
        "changed": False, "release_id": release_id, "missing": [], "objects": 0, "bytes": 0, "resident_refreshed": False,
        "check": None, "diff": _difference(exchange, current, verified), "approvals": list(passed.judged.approvals),
        "commands": exchange.foreman(current).lines(verified.manifest),
    }  # fmt: skip
    answer["diff"]["after"] += "".join(f"runs {line}\n" for line in answer["commands"])
    if not store.holds(release_id) or not _is_intact(exchange, verified, current):
        answer |= _bring(exchange, verified, envelope, listed, pack=pack, incoming=incoming, passed=passed)
    else:
        kept = _keep_evidence(exchange, release_id, envelope, listed)
        answer["changed"] = exchange.keep(passed, release_id) or kept
        if release_id != current and not exchange.check:
            answer |= _run_check(exchange, verified, passed)
    if not answer["missing"]:
        answer["resident_refreshed"] = _refresh_resident(exchange, pack)
        answer |= _served(exchange, verified, current)
    return {**answer, "changed": answer["changed"] or answer["resident_refreshed"]}


def _served(exchange: Exchange, verified: Verified, current: str | None) -> Answer:
    """What says that nothing is to be switched here: the release is active and confirmed, its files are as they should be, and it is well."""
    release_id, transactions = verified.manifest.release_id, exchange.transactions
    if release_id != current or transactions.journal.read() is not None:
        return {}
    backups, release = transactions.backups, exchange.store.release(release_id)
    replacements = backups.replacements(exchange.application.files, release, release_id, exchange.history.records())
    verdict = _judge_once(exchange)
    if verdict.is_failure or backups.outdated(replacements):
        return {}
    return {"outcome": "unchanged", "active_release_id": current, "health": _plain(verdict)}


def _require_no_candidate(exchange: Exchange, verified: Verified) -> None:
    if verified.manifest.promotion.candidate and not exchange.check:
        raise Refusal(
            "release_is_candidate",
            expected="a release; a candidate is there to be judged in check mode",
            found=f"the candidate {verified.manifest.release_id}",
            remedy="Make the release (make release-manifest, or playbooks/release.yml) and deploy that.",
        )


def _require_same_content(exchange: Exchange, verified: Verified) -> None:
    """An id names one content for ever: the history and the way back rely on it."""
    release_id, digest = verified.manifest.release_id, verified.manifest.digest
    kept = exchange.evidence.digest(release_id)
    if kept not in (None, digest):
        raise Refusal(
            "release_id_taken",
            expected=f"under the id {release_id} the manifest {kept}, which was here first",
            found=f"the manifest {digest}",
            remedy="Build the release under an id of its own.",
        )


def _is_intact(exchange: Exchange, verified: Verified, current: str | None) -> bool:
    """Whether the tree that is here is the one asked for. One that is not is built anew, but never under what is active."""
    release_id = verified.manifest.release_id
    try:
        exchange.evidence.verify_tree(verified)
    except Refusal as refusal:
        if release_id != current:
            return False
        staged_links = exchange.evidence.application(release_id).shared_links()
        if staged_links == verified.links:
            raise Refusal(
                refusal.reason,
                expected=refusal.expected,
                found=refusal.found,
                remedy="It is active, so it is not built anew in place: roll back, or deploy another release.",
            ) from refusal
        raise Refusal(
            "shared_paths_changed",
            expected=f"the shared paths that the active release {release_id} was staged with: {', '.join(staged_links) or 'none'}",
            found=", ".join(verified.links) or "none",
            remedy="Build a new release and deploy that: an active tree is never changed.",
        ) from None
    return True


def _keep_evidence(exchange: Exchange, release_id: str, envelope: bytes, listed: bytes) -> bool:
    """Write what is kept beside a release anew where it differs: the description may change, the rest be damaged."""
    if exchange.evidence.holds(release_id, envelope, listed, exchange.application):
        return False
    if not exchange.check:
        with full_disk_is_a_refusal(exchange.places.state, what=f"keep the manifest of {release_id}"):
            exchange.evidence.keep(release_id, envelope, listed, exchange.application)
    return True


def _bring(
    exchange: Exchange,
    verified: Verified,
    envelope: bytes,
    listed: bytes,
    *,
    pack: Pack | None,
    incoming: Incoming | None,
    passed: Passed,
) -> Answer:
    store = exchange.store
    lacking = store.lacking(verified.file_list)
    sizes = {entry.sha256: entry.size for entry in verified.file_list.files}
    planned = {"changed": True, "objects": len(lacking), "bytes": sum(sizes[sha256] for sha256 in lacking)}
    if exchange.check:
        return planned
    here = incoming.held({sha256: sizes[sha256] for sha256 in lacking}) if incoming else {}
    _require_room(exchange, verified, len(lacking) - len(here), planned["bytes"] - sum(here.values()))
    with _no_litter_on_a_full_disk(store):
        return planned | _unpack(
            exchange, verified, envelope, listed, pack=pack, incoming=incoming, passed=passed, lacking=lacking
        )


@contextmanager
def _no_litter_on_a_full_disk(store: Store) -> Iterator[None]:
    """Objects of an interrupted stage are used by the next one, but not where they are what fills the disk."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason == "disk_full":
            store.prune(())
        raise


def _unpack(
    exchange: Exchange,
    verified: Verified,
    envelope: bytes,
    listed: bytes,
    *,
    pack: Pack | None,
    incoming: Incoming | None,
    passed: Passed,
    lacking: set[str],
) -> Answer:
    """Store what the pack brings, then build the release under its name and run its check."""
    store, release_id, manifest = exchange.store, verified.manifest.release_id, verified.manifest
    with full_disk_is_a_refusal(exchange.places.base, what=f"stage {release_id}"):
        by_digest: dict[str, list[Any]] = {}
        for entry in verified.file_list.files:
            by_digest.setdefault(entry.sha256, []).append(entry)
        exchange.places.objects.mkdir(mode=0o700, exist_ok=True)
        for arriving in pack.objects() if pack else ():
            if arriving.sha256 in lacking:
                store.put(arriving, by_digest[arriving.sha256], manifest.sequence)
                lacking.discard(arriving.sha256)
        if incoming:
            for sha256 in incoming.verified & lacking:
                store.adopt(incoming.path(sha256), by_digest[sha256], manifest.sequence)
                lacking.discard(sha256)
        if lacking:
            return {"changed": False, "missing": {sha256: by_digest[sha256][0].size for sha256 in lacking}}
    _require_sound_members(exchange, verified)
    with full_disk_is_a_refusal(exchange.places.state, what=f"keep the manifest of {release_id}"):
        exchange.evidence.keep(release_id, envelope, listed, exchange.application)
    exchange.keep(passed, release_id)
    with full_disk_is_a_refusal(exchange.places.base, what=f"stage {release_id}"):
        shared.make_paths(exchange.places.shared, exchange.application)
        store.build(release_id, verified.file_list, verified.links, manifest.sequence)
    return _run_check(exchange, verified, passed)


def _require_room(exchange: Exchange, verified: Verified, incoming: int, incoming_bytes: int) -> None:
    """Say at once that it will not fit, instead of filling the disk first. Hardlinks take no inodes."""
    room = os.statvfs(exchange.places.base)
    free, free_inodes = room.f_bavail * room.f_frsize, room.f_favail
    inodes = incoming + sum(entry.type != "file" for entry in verified.file_list.entries)
    has_inode_limit = room.f_files > 0  # btrfs makes inodes as it needs them and says 0
    if free < incoming_bytes or (has_inode_limit and free_inodes < inodes):
        raise Refusal(
            "disk_full",
            expected=f"{incoming_bytes} bytes and {inodes} inodes free below {exchange.places.base}",
            found=f"{free} bytes and {free_inodes} inodes",
            remedy="Free space there (release_keep_count says how many releases stay), then run the same command again.",
        )


def _require_sound_members(exchange: Exchange, verified: Verified) -> None:
    """The declared members again, as far as a host can parse them: it has no YAML parser."""
    entries = {entry.path: entry for entry in verified.file_list.files}
    declared, checks = verified.manifest.members, members.HOST_CHECKS
    read = members.reader(declared, checks, entries, lambda path: exchange.store.read(entries[path]))
    members.check(declared, read, verified.manifest.version, checks)


def _run_check(exchange: Exchange, verified: Verified, passed: Passed) -> Answer:
    """Run the declared check command against the staged tree; a failure is recorded and nothing is switched."""
    check = exchange.application.check
    if check is None:
        return {}
    directory = exchange.store.release(verified.manifest.release_id)
    finished = exchange.host.run(
        check.argv, timeout_seconds=check.timeout_seconds, user=exchange.application.user, directory=directory
    )
    if finished.succeeded:
        return {"check": finished.described()}
    message = f"{' '.join(check.argv)}: {finished.described()}"
    exchange.transactions.record_failure(
        exchange.run,
        exchange.identity,
        application=exchange.application.name,
        release_id=verified.manifest.release_id,
        manifest_digest=verified.manifest.digest,
        reason="check_failed",
        message=message,
        artifacts=verified.artifacts,
        judged=passed.judged,
    )
    return {"failed": True, "reason": "check_failed", "check": finished.described(), "msg": (
        f"check_failed: expected the check command of {exchange.application.name} to succeed on the staged release "
        f"{verified.manifest.release_id}; found {message}. Nothing was switched: mend the release or its configuration."
    )}  # fmt: skip


def _refresh_resident(exchange: Exchange, pack: Pack | None) -> bool:
    """Replace the resident package by the one that the controller has; True when it did (or would)."""
    if pack is None or pack.resident is None:
        return False
    if not exchange.check:
        path = exchange.host.resident
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with full_disk_is_a_refusal(path.parent, what="keep the resident package"):
            install(exchange.host, pack.resident)
    return True


def _difference(exchange: Exchange, current: str | None, verified: Verified) -> dict[str, str]:
    """What ``--diff`` shows: the files that differ between the active release and the staged one."""
    before: dict[str, str] = {}
    if current is not None:
        try:
            before = _described(exchange.evidence.verify(current))
        except Refusal as refusal:
            before = {"": f"the file list of {current} cannot be shown: {refusal.reason}"}
    after = _described(verified)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    shown = changed[:DIFF_LINES]
    rest = [f"(+{len(changed) - DIFF_LINES} more)"] if len(changed) > DIFF_LINES else []
    return {
        "before_header": f"{exchange.application.name} {current or '(nothing)'}",
        "after_header": f"{exchange.application.name} {verified.manifest.release_id}",
        "before": "".join(f"{line}\n" for line in [*(before[path] for path in shown if path in before), *rest]),
        "after": "".join(f"{line}\n" for line in [*(after[path] for path in shown if path in after), *rest]),
    }


def _described(verified: Verified) -> dict[str, str]:
    return {
        entry.path: f"{entry.mode:04o} {(entry.sha256 or entry.target or '-')[:16]:<16} {entry.path}"
        for entry in verified.file_list.entries
    }


def activate(request: Request, host: Host, *, check: bool) -> Answer:
    """Switch to a staged release, restart, judge its health; when that fails, go back at once.

    request: application, environment, run, release_id, expected_current (what the plan was made for), rollback (bool),
    takes_back (run id or null), retry (bool), keep (bool: confirm as soon as it is healthy, as a rollback does), confirm_within_seconds
    (5 to 604800: the host goes back by itself unless it is confirmed by then), migrate (bool: this host runs the release's
    migrations, or takes back those that it ran), migrated (bool: another host of this run has run them), irreversible_accepted
    (bool: go back over an irreversible one), approvals and authorizations (envelopes as text, beside those that are kept), share
    (percent of its work that the application takes on as a canary, null for all; a rollback has none).
    answer: changed, outcome (``switched`` waits for confirm or revert, ``confirmed``, ``unchanged``, ``reverted``), release_id,
    previous_release_id, active_release_id, health {outcome, attempts, detail}, commands (what is run beside the unit), diff, log.
    """
    exchange = Exchange.begin(request, host, check=check)
    with exchange.taken():
        if not request.get("rollback"):
            require_unlocked(exchange.places, exchange.identity.name)
        recovered = exchange.recover()
        if not request.get("rollback"):
            exchange.require_sane_clock()
        current = exchange.current()
        _require_as_planned(request, current)
        answer = exchange.with_log(_activate(exchange, request, current))
    return {**answer, "recovered": recovered, "changed": answer["changed"] or recovered}


def _require_as_planned(request: Request, current: str | None) -> None:
    if "expected_current" in request and request["expected_current"] != current:
        raise Refusal(
            "changed_meanwhile",
            expected=f"{request['expected_current'] or 'nothing'} to be active, as when this run was planned",
            found=f"{current or 'nothing'}: another run was here in between",
            remedy="Look at the status table, then run the same command again.",
        )


def _activate(exchange: Exchange, request: Request, current: str | None) -> Answer:
    release_id, rollback = request["release_id"], bool(request.get("rollback"))
    share = None if rollback else _share(request)
    records = exchange.history.records()
    view = View.of(records)
    predicted: Answer = {
        "changed": True, "outcome": "confirmed" if request.get("keep") else "switched", "release_id": release_id, "previous_release_id": current,
        "active_release_id": release_id, "health": None, "diff": _link_difference(exchange, current, release_id),
    }  # fmt: skip
    _require_not_bad(exchange, view, release_id, retry=bool(request.get("retry")) and not rollback)
    if rollback:
        _require_was_active(exchange, view, release_id)
    if not exchange.store.holds(release_id):
        if exchange.check and not rollback:
            return predicted
        raise _not_here(exchange, view, release_id)
    verified = exchange.evidence.verify(release_id)
    exchange.evidence.verify_tree(verified)
    _require_no_candidate(exchange, verified)
    passed = exchange.require_passed(verified, view, current, request, is_rollback=rollback)
    work = _work(exchange, request, verified, current, records)
    predicted["commands"] = list(work.lines)
    transactions = exchange.transactions
    release = exchange.store.release(release_id)
    replacements = transactions.backups.replacements(exchange.application.files, release, release_id, records)
    outdated = transactions.backups.outdated(replacements)
    if current == release_id and not outdated:
        verdict = _judge_once(exchange)
        if not verdict.is_failure:
            return {
                **predicted, "changed": False, "outcome": "unchanged", "health": _plain(verdict), "diff": {"before": "", "after": ""},
            }  # fmt: skip
    if exchange.check:
        return predicted
    promotion = verified.manifest.promotion
    intent = Intent(
        release_id, verified.manifest.digest, current, rollback, request.get("takes_back"), verified.artifacts, passed.judged,
        watch_hours=promotion.monitoring.heightened_period_hours,
        verification_steps=_plan_of(exchange, current) if rollback else promotion.verification_steps,
        share=share,
        work=work,
        confirm_within_seconds=confirm_within(request),
    )  # fmt: skip
    exchange.keep(passed, release_id)
    transaction = transactions.open(intent, exchange.run, exchange.identity, exchange.application, replacements)
    status, stopped, failure = status_of_failure(transaction), None, None
    try:
        transaction, stopped = transactions.prepare(transaction, exchange.run, intent.confirm_within_seconds)
        if stopped is None:
            transaction, verdict, failure = _switch(exchange, transaction, outdated, in_time=not request.get("keep"))
    except (OSError, Refusal) as error:  # the host is at fault, so the release is not marked bad
        message = f"the switch could not be finished: {error}"
        status, failure = "interrupted", Failure(reason="switch_failed", message=message)
        transaction = transactions.journal.read() or transaction
    if stopped is not None:
        return _not_switched(exchange, transaction, stopped)
    if failure is None and not request.get("keep") and (late := transactions.deadman.overdue(transaction)):
        failure = Failure(late.reason, f"healthy too late: {late.message}")
    if failure is None:
        kept = _keep(exchange, transaction) if request.get("keep") else {}
        return {**predicted, "health": _plain(verdict), **kept}
    return _taken_back(exchange, transaction, status, failure.reason, failure.message) | {
        "failed": True, "previous_release_id": current,
    }  # fmt: skip


def _switch(
    exchange: Exchange, transaction: Transaction, replacements: Sequence[Replacement], *, in_time: bool
) -> tuple[Transaction, Verdict, Failure | None]:
    """Switch, restart, ask for the health, then run the hooks after that; returns what failed, None when nothing did."""
    transactions = exchange.transactions
    transaction = transactions.switch(transaction, replacements)
    transaction, verdict = transactions.start(transaction, exchange.application, in_time=in_time)
    if verdict.is_failure:
        return transaction, verdict, Failure(reason="health_failed", message=verdict.detail)
    transaction, failure = transactions.commands.hooks(transaction, "after_switch")
    return transaction, verdict, Failure(reason="hook_failed", message=failure) if failure else None


def _not_switched(exchange: Exchange, transaction: Transaction, failure: Failure) -> Answer:
    """What stands before the switch failed: the history says why, and what is active stays."""
    taken_back = exchange.transactions.take_back(
        transaction, status="failed", reason=failure.reason, message=failure.message
    )
    release_id, active = transaction.intent["release_id"], exchange.store.current()
    return {
        "changed": True, "failed": True, "outcome": "unchanged", "reason": failure.reason, "release_id": release_id,
        "previous_release_id": active, "active_release_id": active, "health": None, "record": dict(taken_back.record),
        "msg": f"{failure.reason}: {release_id} on {exchange.identity.name}: {taken_back.record['message']}. "
        f"Nothing was switched: {active or 'nothing'} is active.",
    }  # fmt: skip


def _work(
    exchange: Exchange, request: Request, verified: Verified, current: str | None, records: Sequence[Record]
) -> Work:
    """What the switch runs beside the unit; a release that is active already has run it."""
    foreman = exchange.foreman(current)
    if current == verified.manifest.release_id:
        return Work()
    if request.get("rollback"):
        return foreman.of_rollback(verified.manifest, request, records)
    return foreman.of_deployment(verified.manifest, request)


def _share(request: Request) -> int | None:
    share = request.get("share")
    if share is not None and (type(share) is not int or not 1 <= share <= 100):
        raise Refusal(
            "share_invalid",
            expected="a share from 1 to 100 percent",
            found=shown(share),
            remedy="Correct release_canary_share.",
        )
    return share


def _plan_of(exchange: Exchange, release_id: str | None) -> tuple[Step, ...]:
    """How the release that is left says its rollback is verified; one that cannot be trusted has no say."""
    if release_id is None:
        return ()
    try:
        return exchange.evidence.verify(release_id).manifest.promotion.verification_steps
    except Refusal:
        return ()


def _keep(exchange: Exchange, transaction: Transaction) -> Answer:
    """Confirm without a smoke test in between: a way back is not held up by what it could not change."""
    record = exchange.transactions.confirm(transaction, smoke_test_passed=None, confirmed_by=exchange.run.deployed_by)
    return {"record": dict(record)}


def _judge_once(exchange: Exchange) -> Verdict:
    """Health of what is active already, without waiting for it to get better."""
    return exchange.transactions.judge(exchange.application, ONCE)


def _taken_back(exchange: Exchange, transaction: Transaction, status: str, reason: str, message: str) -> Answer:
    release_id = transaction.intent["release_id"]
    taken_back = exchange.transactions.take_back(transaction, status=status, reason=reason, message=message)
    active = exchange.store.current()
    went_back = active != release_id
    serves = f"{active or 'nothing'} is active" + (
        f" but not healthy: {taken_back.verdict.detail}" if taken_back.verdict.is_failure else ""
    )
    return {
        "changed": True,
        "outcome": "reverted" if went_back else "stuck",
        "release_id": release_id,
        "active_release_id": active,
        "healthy": not taken_back.verdict.is_failure,
        "health": _plain(taken_back.verdict),
        "record": dict(taken_back.record),
        "reason": taken_back.record["reason"],
        "msg": f"{taken_back.record['reason']}: {release_id} on {exchange.identity.name}: {taken_back.record['message']}. "
        f"{'Went back' if went_back else 'No way back'}: {serves}."
        + (f" {failure}." if (failure := failed_steps(taken_back.record.get("verification", ()))) else ""),
    }


def _require_not_bad(exchange: Exchange, view: View, release_id: str, *, retry: bool) -> None:
    if release_id in view.bad and not retry:
        raise Refusal(
            "release_bad",
            expected="a release that was not taken back on this host before",
            found=f"{release_id}, bad since: {view.bad[release_id]}",
            remedy=f"Build a new release; or deploy it again with -e release_id={release_id} -e release_retry=true.",
        )


def _require_was_active(exchange: Exchange, view: View, release_id: str) -> None:
    """Going back skips the check command and expiry, so it may only go to what has run here before."""
    if release_id not in view.activations and exchange.store.holds(release_id):
        raise Refusal(
            "release_never_active",
            expected="a release that was active on this host before",
            found=f"{release_id}, which was only staged",
            remedy=f"Deploy it: ansible-playbook deploy.yml -e release_id={release_id}",
        )


def _not_here(exchange: Exchange, view: View, release_id: str) -> Refusal:
    here = ", ".join(f"{release} (bad)" if release in view.bad else release for release in exchange.store.release_ids())
    return Refusal(
        "release_not_here",
        expected=f"the release {release_id} on {exchange.identity.name}",
        found=here or "no release at all",
        remedy="Give one of those with -e release_id=…, or deploy the one you want.",
    )


def _link_difference(exchange: Exchange, current: str | None, release_id: str) -> dict[str, str]:
    link = exchange.places.current
    return {
        "before_header": str(link), "after_header": str(link),
        "before": f"{current or '(nothing)'}\n", "after": f"{release_id}\n",
    }  # fmt: skip


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {"outcome": verdict.outcome, "attempts": verdict.attempts, "detail": verdict.detail}


def confirm(request: Request, host: Host, *, check: bool) -> Answer:
    """Keep the release that this run switched to: one record of success, then prune.

    request: application, environment, run, release_id, smoke_test_passed (true, false or null), keep_count.
    answer: changed, outcome (``confirmed``, ``unchanged``), release_id, active_release_id, pruned, prune_error, record, log.
    """
    exchange = Exchange.begin(request, host, check=check)
    with exchange.locked():
        return exchange.with_log(_confirm(exchange, request))


def _confirm(exchange: Exchange, request: Request) -> Answer:
    release_id, transactions = request["release_id"], exchange.transactions
    transaction = transactions.journal.read()
    if exchange.check:
        changed = exchange.current() != release_id
        return {
            "changed": changed, "outcome": "confirmed" if changed else "unchanged", "release_id": release_id,
            "active_release_id": release_id, "pruned": [],
        }  # fmt: skip
    if transaction is None:
        return _confirmed_before(exchange, release_id)
    confirmable = _confirmable(exchange, transaction, release_id)
    if confirmable is None:
        return _nothing_to_confirm(exchange, release_id)
    if transactions.deadman.overdue(transaction):
        transactions.recover()
        return {**_nothing_to_confirm(exchange, release_id), "changed": True}
    transaction, failure = _pass_before_confirm(transactions, confirmable)
    if failure:
        return _not_confirmed(exchange, transaction, failure)
    record = transactions.confirm(
        transaction, smoke_test_passed=request.get("smoke_test_passed"), confirmed_by=exchange.run.deployed_by
    )
    pruned = _prune(exchange, int(request["keep_count"]))
    return {
        "changed": True, "outcome": "confirmed", "release_id": release_id, "active_release_id": exchange.store.current(),
        **pruned, "record": dict(record),
    }  # fmt: skip


def make_ready(request: Request, host: Host, *, check: bool) -> Answer:
    """Run the hooks that stand before the confirmation; when one fails, go back.

    In an exchange of its own, so that no host of a run is confirmed before all of them have passed.
    request: application, environment, run, release_id. answer: changed, outcome (``ready``, ``unchanged``, ``reverted``),
    release_id, active_release_id, log; of one that went back as for `revert`.
    """
    exchange = Exchange.begin(request, host, check=check)
    with exchange.locked():
        return exchange.with_log(_make_ready(exchange, request))


def _make_ready(exchange: Exchange, request: Request) -> Answer:
    release_id, transactions = request["release_id"], exchange.transactions
    answer = {"changed": False, "outcome": "unchanged", "release_id": release_id, "active_release_id": release_id}
    if exchange.check:
        return answer
    transaction = transactions.journal.read()
    if transaction is None and exchange.store.current() == release_id:
        return answer
    confirmable = _confirmable(exchange, transaction, release_id)
    if confirmable is None or transactions.deadman.overdue(confirmable):
        return _nothing_to_confirm(exchange, release_id)
    transaction, failure = _pass_before_confirm(transactions, confirmable)
    if failure:
        return _not_confirmed(exchange, transaction, failure)
    return {**answer, "changed": len(transaction.steps) > len(confirmable.steps), "outcome": "ready"}


def _confirmable(exchange: Exchange, transaction: Transaction | None, release_id: str) -> Transaction | None:
    """The open transaction, where it is this run's and waits to be confirmed."""
    if transaction is None or transaction.run_id != exchange.run.run_id or not _awaits_confirmation(transaction):
        return None
    return transaction if exchange.store.current() == release_id else None


def _pass_before_confirm(transactions: Transactions, transaction: Transaction) -> tuple[Transaction, str | None]:
    """Run the hooks before the confirmation, unless they have passed already; returns what failed."""
    commands = transactions.commands
    if commands.has_passed(transaction, "before_confirm"):
        return transaction, None
    return commands.hooks(transaction, "before_confirm")


def _not_confirmed(exchange: Exchange, transaction: Transaction, failure: str) -> Answer:
    status = status_of_failure(transaction)
    return {
        **_taken_back(exchange, transaction, status, "hook_failed", failure), "failed": True, "pruned": [],
    }  # fmt: skip


def _confirmed_before(exchange: Exchange, release_id: str) -> Answer:
    current = exchange.store.current()
    if current != release_id:
        return _nothing_to_confirm(exchange, release_id)
    return {
        "changed": False, "outcome": "unchanged", "release_id": release_id, "active_release_id": current, "pruned": [],
    }  # fmt: skip


def _awaits_confirmation(transaction: Transaction) -> bool:
    """Only what was healthy is confirmed, and nothing that is already on its way back."""
    return (
        transaction.reached("healthy") and not transaction.reached("reverting") and not transaction.reached("reverted")
    )


def _went_back(exchange: Exchange) -> str:
    """What the history says of a switch of this run that was not kept, to go on a sentence with; "" where there is none."""
    record = next(
        (each for each in reversed(exchange.history.records()) if each["run_id"] == exchange.run.run_id), None
    )
    if record is None or record["status"] == "success":
        return ""
    return f"; {record['status']} at {record['timestamp']}: {record['message']}"


def _nothing_to_confirm(exchange: Exchange, release_id: str) -> Answer:
    """A refusal that says what became of it: what a host serves is known even where it could not be confirmed."""
    active, became = exchange.store.current(), _went_back(exchange)
    refusal = Refusal(
        "nothing_to_confirm",
        expected=f"{release_id} switched by run {exchange.run.run_id}, healthy and waiting to be confirmed",
        found=f"{active or 'nothing'} active and no such transaction{became}",
        remedy="Look at the history; then deploy again."
        if became
        else "Look at the status table: the host went back, or another run was faster.",
    )
    return {
        "failed": True, "changed": False, "msg": str(refusal), **refusal.as_dict(), "release_id": release_id,
        "outcome": "reverted" if became else "unchanged", "active_release_id": active,
    }  # fmt: skip


def renew(request: Request, host: Host, *, check: bool) -> Answer:
    """Give the release that this run switched to more time to be confirmed. Only a gate of the rollout asks for it.

    request: application, environment, run, release_id, confirm_within_seconds (from now), share (as for `activate`; without it,
    it stays).
    answer: changed, outcome (``renewed``), release_id, seconds_left, active_release_id, log.
    Refusals: ``nothing_to_renew``, ``deadman_not_armed`` (the deadline before stays), ``confirm_within_invalid``.
    """
    exchange = Exchange.begin(request, host, check=check)
    with exchange.locked():
        return exchange.with_log(_renew(exchange, request))


def _renew(exchange: Exchange, request: Request) -> Answer:
    release_id, transactions, seconds = request["release_id"], exchange.transactions, confirm_within(request)
    share = _share(request)
    transaction = transactions.journal.read()
    if (
        transaction is None
        or (transaction.run_id, transaction.intent["release_id"]) != (exchange.run.run_id, release_id)
        or not _awaits_confirmation(transaction)
        or has_outcome(transaction)
        or transactions.deadman.overdue(transaction)
    ):
        raise Refusal(
            "nothing_to_renew",
            expected=f"{release_id} switched by run {exchange.run.run_id}, healthy and waiting to be confirmed",
            found=f"{exchange.store.current() or 'nothing'} active and no such transaction that is still in time",
            remedy="Look at the status table: the host went back, or goes back any moment.",
        )
    if not exchange.check:
        transaction = transactions.renew(transaction, exchange.run, seconds)
        if "share" in request:
            transactions.tell_share(share)
            transactions.strategy(exchange.application, transaction).share(share)
    return {
        "changed": True, "outcome": "renewed", "release_id": release_id, "active_release_id": exchange.store.current(),
        "seconds_left": seconds if exchange.check else transactions.deadman.seconds_left(transaction),
    }  # fmt: skip


def _prune(exchange: Exchange, keep_count: int) -> Answer:
    """Remove what is no longer needed; the release is confirmed by now, so a failure here is told and no more."""
    store = exchange.store
    view = View.of(exchange.history.records())
    here, current = store.release_ids(), store.current()
    doomed = expendable(
        here,
        activations=view.activations,
        protected=(current, view.previous(current, here)),
        keep_count=keep_count,
    )
    try:
        store.prune(doomed)
        for release_id in doomed:
            exchange.evidence.thin(release_id)
    except OSError as error:
        return {"pruned": [], "prune_error": str(error)}
    return {"pruned": doomed}


def recover(request: Request, host: Host, *, check: bool) -> Answer:
    """Settle what a dead or expired run left open; refused while a live run holds the lease.

    request: application, environment, run, forced (bool: also what a run holds that may still live). answer: changed, outcome
    (``recovered``, ``stuck``: there was no way back, ``unchanged``), active_release_id, record (null where none was made), log.
    """
    exchange = Exchange.begin(request, host, check=check)
    with exchange.locked():
        if not request.get("forced") and (holder := exchange.holder()):
            raise locked(holder)
        records = len(exchange.history.records())
        recovered = exchange.recover(forced=bool(request.get("forced")))
        new = [] if exchange.check else exchange.history.records()[records:]
        is_stuck = bool(new) and new[-1]["status"] == "failed" and new[-1]["active_release_id"] == new[-1]["release_id"]
        return exchange.with_log({
            "changed": recovered, "outcome": "stuck" if is_stuck else "recovered" if recovered else "unchanged",
            "active_release_id": exchange.current(), "record": dict(new[-1]) if new else None,
        })  # fmt: skip


def revert(request: Request, host: Host, *, check: bool) -> Answer:
    """Take back what this run switched to; unchanged when the host is back already or never switched.

    request: application, environment, run, release_id, reason, message.
    answer: changed, outcome (``reverted``, ``stuck``, ``unchanged``), release_id, active_release_id, healthy, record, msg, log.
    """
    exchange = Exchange.begin(request, host, check=check)
    with exchange.locked():
        return exchange.with_log(_revert(exchange, request))


def _revert(exchange: Exchange, request: Request) -> Answer:
    release_id = request["release_id"]
    transaction = exchange.transactions.journal.read()
    if exchange.check or transaction is None or transaction.run_id != exchange.run.run_id:
        current = exchange.current()
        return {
            "changed": False, "outcome": "unchanged", "release_id": release_id, "active_release_id": current,
            "msg": f"{exchange.identity.name} has nothing of this run to take back{_went_back(exchange)}; {current or 'nothing'} is active.",
        }  # fmt: skip
    if transaction.reached("confirmed") or transaction.reached("reverted"):
        record = exchange.transactions.recover() or {"status": "nothing was open"}
        return {
            "changed": True, "outcome": "unchanged", "release_id": release_id, "active_release_id": exchange.store.current(),
            "record": dict(record), "msg": f"{exchange.identity.name} had its outcome already: {record['status']}.",
        }  # fmt: skip
    status = status_of_failure(transaction)
    answer = _taken_back(exchange, transaction, status, request["reason"], request["message"])
    if answer["outcome"] == "stuck" or not answer["healthy"]:
        return {**answer, "failed": True}
    return answer
