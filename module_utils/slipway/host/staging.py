# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchange that brings a release onto a host, verified and whole, without touching what is active: pushed, fetched, or there already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..base.errors import Refusal
from ..base.files import full_disk_is_a_refusal
from ..trust import members
from . import shared
from .artifact_source import Source
from .credentials import UNMADE, Given
from .evidence import Verified
from .exchange import Answer, Exchange, Request
from .history import View
from .incoming import Incoming
from .judgement import Passed
from .lock import require_unlocked
from .pack import Pack
from .package import install
from .places import Host
from .store import Store

if TYPE_CHECKING:
    from .fetch import Brought

DIFF_LINES = 200
FETCHES = 3  # what was fetched may be pruned before it is used, by the end of another run


def stage(request: Request, host: Host, *, check: bool) -> Answer:
    """Bring a release onto the host, verified and whole, without touching what is active.

    request: application {name, description}, environment, run, release_id, manifest_digest, pack (path or null when the
    host has the release already), resident_digest, approvals and authorizations (envelopes as text, at most 16 each), credentials {name:
    {secret, field, provider, version}} and credential_values (as `Given.parse` reads them; null where nothing is said of them).
    answer: changed, release_id, approvals (those that count, as records name them), recovered, missing (SHA-256 of objects that the pack did not bring: send them and ask
    again), objects, bytes, fetched (null without a source, else what it brought), check, commands (what the switch will run beside the unit, a
    line each), diff, generation (of the credentials, for `activate`; null where the service gets none) and credentials {names, added,
    changed, removed}; where it is active already and as it should be, so that nothing is to be switched, also outcome (``unchanged``),
    active_release_id and health.
    """
    exchange, source = Exchange.begin(request, host, check=check), Source.parse(request)
    Given.parse(request)  # what is wrong with it is said before anything is done
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
        with incoming.reserved(exchange.run), _no_parts_on_a_full_disk(incoming):
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
    exchange.require_no_candidate(verified)
    _require_same_content(exchange, verified)
    passed = exchange.require_passed(verified, View.of(exchange.history.records()), current, request, is_rollback=False)
    answer: Answer = {
        "changed": False, "release_id": release_id, "missing": [], "objects": 0, "bytes": 0, "resident_refreshed": False,
        "check": None, "diff": _difference(exchange, current, verified), "approvals": list(passed.judged.approvals),
        "commands": exchange.foreman(current).lines(verified.manifest), "generation": None, "credentials": None,
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
        answer["changed"] |= answer["resident_refreshed"]
        if not answer.get("failed"):
            try:
                _stage_credentials(exchange, request, answer)
            except Refusal as refusal:
                if not answer["changed"]:
                    raise
                # The release came and stays: what is refused is not all that was asked for, so nobody may say that nothing was changed.
                return answer | {"failed": True, "msg": str(refusal), **refusal.as_dict()}
            answer |= _served(exchange, verified, current, answer["generation"])
    return answer


def _stage_credentials(exchange: Exchange, request: Request, answer: Answer) -> None:
    """Have the credentials here that the request brings, and say in the answer which would change by a switch to them."""
    given, credentials = Given.parse(request), exchange.credentials
    if given is None or (not given.values and credentials.current() is None):
        return
    compared = credentials.compare(given)
    answer["credentials"] = compared.as_dict()
    answer["diff"]["after"] += "".join(f"{line}\n" for line in compared.lines())
    answer["generation"] = (compared.generation or UNMADE) if exchange.check else credentials.stage(given)
    answer["changed"] |= compared.generation is None


def _served(exchange: Exchange, verified: Verified, current: str | None, generation: str | None) -> Answer:
    """What says that nothing is to be switched here: the release is active and confirmed, its files and credentials are as they should be,
    and it is well.
    """
    release_id, transactions = verified.manifest.release_id, exchange.transactions
    if release_id != current or transactions.journal.read() is not None:
        return {}
    if generation not in (None, exchange.credentials.current()):
        return {}
    backups, release = transactions.backups, exchange.store.release(release_id)
    replacements = backups.replacements(exchange.application.files, release, release_id, exchange.history.records())
    verdict = exchange.judge_once()
    if verdict.is_failure or backups.outdated(replacements):
        return {}
    return {"outcome": "unchanged", "active_release_id": current, "health": verdict.as_dict()}


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
