# SPDX-License-Identifier: GPL-3.0-or-later
"""Is what is here what was signed: the active release, by its envelope or by every byte, and the history.

Nothing here decides what may be trusted (that is `verify`) nor changes what it looks at. The one thing written is a note
below /run of when every byte was last looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ..base import canonical
from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal
from ..base.fields import RELEASE_ID, Fields
from ..base.files import read_if_there, read_regular, write_durable
from ..trust.approval import open_approval
from ..trust.chain import Record
from ..trust.consent import Scope, judge_approvals
from ..trust.verify import require_policy_of
from . import trust_update
from .evidence import APPROVALS, AUTHORIZATIONS, Evidence, Verified
from .history import Activity
from .journal import Journal
from .log import Log, sizes_of, witnessed_size
from .places import POLICY_LIMIT, Host, Places, require_environment
from .store import Store

CHECKED_LIMIT: Final = 4096
RUNS_TOLD: Final = 1000
SOUND: Final = ("intact", "torn", "nothing_active")


def verify(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Verify the active release and the whole history of one application.

    request: application {name}, environment (or null), bytes (bool: also every byte of the release, else its signatures and
    file list only), witnessed ({size} or null) and sizes (of the checkpoints that the controller keeps, the newest and all).
    answer: changed (never), host {id, name, environment}, application, active, release {release_id, outcome, detail}, trust
    (as `trust` says), policy {version, digest, expires} (null where none can be read), history (as `Log.judge` says, with the roots for those sizes that exist),
    runs [{run_id, controller_id, status, seq}] (of the newest 1,000 records that can be read, oldest first).
    What it finds is its answer; only a request that is not for this host is refused.
    """
    identity = host.identity()
    if request.get("environment"):
        require_environment(identity, request["environment"])
    places = Places(host, request["application"]["name"])
    places.require_bootstrapped()
    since, sizes = witnessed_size(request), sizes_of(request.get("sizes") or [])
    runs, activity = deque[dict[str, Any]](maxlen=RUNS_TOLD), Activity()

    def read(record: Record) -> None:
        activity.add(record)
        runs.append(_run(record))

    history = Log(places).judge(since=since, sizes=sizes, each=read)
    active, trusted = _trust(places, activity if history["outcome"] in ("intact", "torn") else None)
    release = integrity(places, active) if request.get("bytes") and trusted["outcome"] == "intact" else trusted
    if request.get("bytes") and release["outcome"] == "intact" and not check:
        _note(places, release["release_id"])
    return {
        "changed": False,
        "host": {"id": identity.id, "name": identity.name, "environment": identity.environment},
        "application": places.application,
        "active": active,
        "release": release,
        "trust": trusted,
        "policy": _policy(host),
        "history": history,
        "runs": list(runs),
    }


def _trust(places: Places, activity: Activity | None) -> tuple[str | None, dict[str, Any]]:
    try:
        active = Store(places).current()
    except Refusal as refusal:
        return None, {"release_id": None, "outcome": refusal.reason, "detail": str(refusal)}
    return active, trust(places, active, activity)


def trust(places: Places, active: str | None, activity: Activity | None) -> dict[str, Any]:
    """Whether what is active may be believed: {release_id, outcome, detail}, ``intact`` when all of this holds.

    1. It is what the history says is active, by the same manifest (``active_unrecorded``); not asked without ``activity``.
    2. The trust policy is none that is older than one that this host has decided by (``policy_version_older``).
    3. The signatures, scope and file list of its manifest hold.
    4. Its links to shared paths are those that it was switched with (``shared_paths_changed``).
    5. The approvals under which it became active are kept beside it, and hold (``approvals_altered``).
    """
    evidence = Evidence(places)
    try:
        brought = _recorded(places, active, activity) if activity else None
        if activity:
            require_policy_of(places.host.policy(), activity.policy_version)
        if active is None:
            return {"release_id": None, "outcome": "nothing_active", "detail": ""}
        verified = evidence.verify(active)
        if brought:
            _require_manifest(brought, verified)
            _require_links(brought, verified)
            _require_approvals(places, brought, verified)
    except Refusal as refusal:
        return {"release_id": active, "outcome": refusal.reason, "detail": str(refusal)}
    return _intact(active, verified)


def integrity(places: Places, active: str | None) -> dict[str, Any]:
    """The signatures of what is active, its file list and every byte: {release_id, outcome, detail}."""
    if active is None:
        return {"release_id": None, "outcome": "nothing_active", "detail": ""}
    evidence = Evidence(places)
    try:
        verified = evidence.verify(active)
        evidence.verify_tree(verified)
    except Refusal as refusal:
        return {"release_id": active, "outcome": refusal.reason, "detail": str(refusal)}
    return _intact(active, verified)


def _intact(active: str, verified: Verified) -> dict[str, Any]:
    files, size = len(verified.file_list.files), verified.file_list.total_bytes
    return {"release_id": active, "outcome": "intact", "detail": f"{files} files, {size} bytes"}


def _recorded(places: Places, active: str | None, activity: Activity) -> Record | None:
    """The record under which the active release became active; what no record nor open transaction brought is refused."""
    transaction = Journal(places.journal).read()
    if transaction and active in (transaction.intent["release_id"], transaction.intent["previous_release_id"]):
        return None
    if active == activity.active:
        return activity.brought.get(active or "")
    raise Refusal(
        "active_unrecorded",
        expected=f"{activity.active or 'nothing'} to be active in {places.current}, as the history says",
        found=active or "nothing",
        remedy="Find out who moved the link; then deploy a release, or take this host to one with rollback.yml -e release_id=….",
    )


def _require_manifest(brought: Record, verified: Verified) -> None:
    if brought["manifest_digest"] != verified.manifest.digest:
        raise Refusal(
            "active_unrecorded",
            expected=f"the manifest {brought['manifest_digest']} of {brought['release_id']}, under which it became active",
            found=verified.manifest.digest,
            remedy="Find out who changed it; then deploy another release.",
        )


def _require_links(brought: Record, verified: Verified) -> None:
    """The description beside a release is not signed: what it could let into the tree is held to the history."""
    if brought.get("shared_links", verified.links) != verified.links:
        raise Refusal(
            "shared_paths_changed",
            expected=f"the shared paths with which {brought['release_id']} became active: {', '.join(brought['shared_links']) or 'none'}",
            found=", ".join(verified.links) or "none",
            remedy="Find out who changed application.json beside its manifest; then deploy another release.",
        )


def _require_approvals(places: Places, brought: Record, verified: Verified) -> None:
    """By the policy of then they are judged as they were then; by a later one it is enough that they are still there."""
    named = {each["digest"] for each in brought.get("approvals", ())}
    if not named:
        return
    kept = Evidence(places).consents(verified.manifest.release_id, APPROVALS)
    policy = places.host.policy()
    if brought["policy"]["digest"] == policy.digest:
        at = Scope(verified.manifest, policy, brought["environment"], seconds_of(brought["timestamp"]))
        found = {each.digest for each in judge_approvals(at, kept).counted}
    else:
        found = set()
        for envelope in kept:
            with suppress(Refusal):
                found.add(open_approval(envelope)[1].digest)
    if named - found:
        raise Refusal(
            "approvals_altered",
            expected=f"the approvals beside {verified.manifest.release_id} that the history names",
            found=f"{len(named & found)} of {len(named)}",
            remedy="Find out who changed them; deploying the release again brings them anew.",
        )


def _policy(host: Host) -> dict[str, Any] | None:
    try:
        return trust_update.summary(host.policy())
    except Refusal:
        return None


def _run(record: Record) -> dict[str, Any]:
    """A record as the controller compares it with its own list of runs."""
    return {key: record.get(key) for key in ("run_id", "controller_id", "status", "seq")}


def _note(places: Places, release_id: str) -> None:
    """Note when every byte was verified. A /run that cannot be written is no reason to doubt the bytes."""
    note = canonical.encode({"checked": timestamp(places.host.clock.now()), "release_id": release_id})
    with suppress(OSError):
        places.checked.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_durable(places.checked, note, mode=0o644)


def bytes_checked(places: Places, active: str | None, since: str | None) -> str | None:
    """When every byte of the active release was last verified: at its activation (``since``), or by request after that."""
    if active is None:
        return None
    try:
        data = read_if_there(places.checked, limit=CHECKED_LIMIT, what="check note")
        fields = Fields(canonical.parse(data or b"", what="check note"), "check note", "check_note_invalid")
        checked, release_id = fields.time("checked"), fields.text("release_id", RELEASE_ID)
    except (Refusal, OSError):
        return since
    if release_id != active or seconds_of(checked) > places.host.clock.now():
        return since
    return max(checked, since, key=seconds_of) if since else checked


def prove(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """The records of a run or a transaction, each with the proof that it is in the history that this host signed.

    request: application {name}, run_id or transaction, sizes (of checkpoints that the controller keeps: the smallest that covers
    the records is proven against), size (the same for one; by default that of the host's own), witnessed ({size} or null).
    answer: changed (never), host {id, name, environment}, lines [{seq, line, inclusion [hex], size}], checkpoint, key, envelopes
    (what this host keeps of signed documents about the releases in those records, and its trust policies), log (see `Log.judge`).
    Refusals: ``record_unknown``, ``history_unsigned``, ``history_truncated``, ``history_altered``.
    """
    identity, since = host.identity(), witnessed_size(request)
    places = Places(host, request["application"]["name"])
    places.require_bootstrapped()
    wanted = {key: request[key] for key in ("run_id", "transaction") if request.get(key)}
    log = Log(places)
    records = [
        record
        for record in log.history.records()
        if wanted and all(record.get(key) == value for key, value in wanted.items())
    ]
    chosen = [record["seq"] for record in records]
    if not chosen:
        raise Refusal(
            "record_unknown",
            expected=f"a record of {' and '.join(f'{key} {value}' for key, value in wanted.items()) or 'a run_id or a transaction'}",
            found="none in this history",
            remedy="`slipway history --json` shows the records with their runs and transactions.",
        )
    covering = [size for size in sizes_of(request.get("sizes") or []) if size > max(chosen)]
    return {
        "changed": False,
        "host": {"id": identity.id, "name": identity.name, "environment": identity.environment},
        **log.prove(chosen, min(covering, default=request.get("size"))),
        "envelopes": [data.decode("utf-8", "replace") for data in _signed(places, records)],
        "log": log.answer(since),
    }


def _signed(places: Places, records: Sequence[Record]) -> Iterator[bytes]:
    """The signed documents that are kept here, as far as they can be read; nothing of them is judged."""
    evidence = Evidence(places)
    for release_id in dict.fromkeys(record["release_id"] for record in records):
        with suppress(Refusal):
            yield evidence.envelope(release_id)
        for kind in (APPROVALS, AUTHORIZATIONS):
            yield from evidence.consents(release_id, kind)
    configuration = places.host.configuration
    for path in (configuration / "trust-policy.dsse.json", *sorted(configuration.glob("policies/*.dsse.json"))):
        with suppress(Refusal, OSError):
            yield read_regular(path, limit=POLICY_LIMIT, what="trust policy")
