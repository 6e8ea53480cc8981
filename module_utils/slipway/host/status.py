# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application on this host serves, since when and by whom; what it could go back to. Reading changes nothing.

Three answers are kept apart, because after trouble they differ: ``active`` is what the link says, ``last_success`` the
newest deployment recorded as a success, ``last_good`` the newest release that succeeded and was never taken back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..application.description import ONCE, Application
from ..base.clock import timestamp
from ..base.errors import Refusal
from ..base.files import sha256_of
from ..trust.chain import Record
from . import integrity, lock, readiness, trust_update
from .credentials import Credentials
from .deadman import Deadman
from .evidence import Evidence
from .history import Activity, History, View
from .journal import Journal, Transaction
from .lease import LeaseFile
from .log import Log, witnessed_size
from .places import Host, Identity, Places, require_environment
from .store import Store
from .strategy import strategy_of
from .transaction import settled

RUNS_SHOWN = 50
RUN_KEYS = (
    "run_id", "operation", "release_id", "previous_release_id", "active_release_id", "status", "rollback", "takes_back", "timestamp",
    "deployed_by", "environment", "reason", "window",
)  # fmt: skip


def inspect(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Everything that a plan or a status table needs from this host, in one exchange.

    request: application {name, description}, environment, health (bool), manifest (bool), verify (bool: all bytes),
    preflight (bool: is all ready for a deployment; with health a row for each probe too, but not for a plan), plan (bool), credentials
    (names of those that the deployment would bring), witnessed ({size} or null).
    answer: changed (never), host {id, name, environment}, policy {version, digest, expires, problem},
    application, resident_digest, active, settled (active once the open transaction is settled), since, deployed_by, previous,
    bad {release: why}, last_success, last_good, high_water {sequence, manifest_digest} of the newest release that was deployed
    here with success (null before the first), reach (digests of the manifests that the policy lets this host go back to by itself,
    newest first; null where the policy cannot be read), releases [{release_id, tree, manifest_digest, sequence, was_active}],
    transaction {id, operation, started, run_id, deployed_by, release_id, previous_release_id, step, seconds_left (until the host goes
    back by itself, null where it does not)} or null, lease, lock {id, holder, message, since, until} or null, credentials (what
    the service gets now: {generation, created, credentials {name: {secret, field, provider, version, since}}} or null; never a value), runs (newest first), health, manifest (the predicate of the active release's, for showing),
    trust {release_id, outcome, detail} (signatures and file list of the active release, now), integrity (and every byte),
    bytes_checked (when every byte was last verified), preflight {results, room, schema_revision}, log (what the history is beside
    what was signed of it; see `Log.judge`).
    """
    identity, since = host.identity(), witnessed_size(request)
    if request.get("environment"):
        require_environment(identity, request["environment"])
    application = Application.parse(request["application"]["name"], request["application"]["description"])
    places = Places(host, application.name)
    places.require_bootstrapped()
    history, store = History(places.history), Store(places)
    records = history.records()
    view, active, here = View.of(records), store.current(), store.release_ids()
    told = Log(places).answer(since)
    transaction = Journal(places.journal).read()
    after = settled(active, transaction)
    lease, held = LeaseFile(places.lease).read(), lock.read(places)
    brought = _activation(records, active)
    return {
        "changed": False,
        "host": {"id": identity.id, "name": identity.name, "environment": identity.environment},
        "policy": _policy(host),
        "application": application.name,
        "resident_digest": sha256_of(host.resident) if host.resident.is_file() else None,
        "active": active,
        "settled": after,
        "since": brought["timestamp"] if brought else None,
        "deployed_by": brought["deployed_by"] if brought else None,
        "previous": view.previous(after, here),
        "bad": dict(view.bad),
        "last_success": view.last_success["release_id"] if view.last_success else None,
        "last_good": view.last_good,
        "high_water": _high_water(view),
        "reach": _reach(host, identity, view, after),
        "releases": [release for release_id in here if (release := _kept(places, release_id, view))],
        "transaction": _summary(places, transaction),
        "credentials": Credentials(places).summary(),
        "lease": lease.as_dict() if lease else None,
        "lock": held.as_answer() if held else None,
        "runs": [
            {key: record.get(key) for key in RUN_KEYS}
            for record in reversed([record for record in records if _touched(record)][-RUNS_SHOWN:])
        ],
        "health": _health(application, places, active) if request.get("health") else None,
        "manifest": _manifest(places, active) if request.get("manifest") else None,
        "trust": integrity.trust(places, active, Activity(records)),
        "integrity": integrity.integrity(places, active) if request.get("verify") else None,
        "bytes_checked": integrity.bytes_checked(places, active, brought["timestamp"] if brought else None),
        "preflight": _preflight(application, places, request, active) if request.get("preflight") else None,
        "log": told,
    }


def _preflight(
    application: Application, places: Places, request: Mapping[str, Any], active: str | None
) -> dict[str, Any]:
    return readiness.inspect(
        application,
        places,
        active=active,
        health=bool(request.get("health")) and not request.get("plan"),
        credentials=request.get("credentials") or (),
    )


def _policy(host: Host) -> dict[str, Any]:
    """The trust policy in force; with a reason as its problem where there is none that holds, and nothing can be activated."""
    try:
        return {**trust_update.summary(host.policy()), "problem": None}
    except Refusal as refusal:
        return {"version": None, "digest": None, "expires": None, "problem": refusal.reason}


def _activation(records: list[Record], active: str | None) -> Record | None:
    """The record under which the active release became active."""
    for record in reversed(records):
        if record["active_release_id"] == active and record["status"] == "success" and record["release_id"] == active:
            return record
    return None


def _high_water(view: View) -> dict[str, Any] | None:
    return {"sequence": view.highest.sequence, "manifest_digest": view.highest.digest} if view.highest else None


def _reach(host: Host, identity: Identity, view: View, current: str | None) -> list[str] | None:
    try:
        depth = host.policy().environment(identity.environment).rollback_depth
    except Refusal:
        return None
    return list(view.past(current).before[:depth])


def _kept(places: Places, release_id: str, view: View) -> dict[str, Any] | None:
    """A release whose manifest and file list are kept as they were signed; one without them the controller sends whole."""
    evidence = Evidence(places)
    try:
        manifest = evidence.manifest(release_id)
        file_list = evidence.read(release_id)[1]
    except Refusal:
        return None
    if hashlib.sha256(file_list).hexdigest() != manifest.tree_digest:
        return None
    return {
        "release_id": release_id,
        "tree": manifest.tree_digest,
        "manifest_digest": manifest.digest,
        "sequence": manifest.sequence,
        "was_active": release_id in view.activations,
    }


def _touched(record: Record) -> bool:
    """Whether what is served was switched under this record: a deployment that failed before its switch changed nothing."""
    return bool(record["status"] != "failed" or record["active_release_id"] == record["release_id"])


def _summary(places: Places, transaction: Transaction | None) -> dict[str, Any] | None:
    if transaction is None:
        return None
    return {
        "id": transaction.id,
        "operation": "rollback" if transaction.intent["rollback"] else "deploy",
        "started": timestamp(transaction.intent["started"]),
        "run_id": transaction.run_id,
        "deployed_by": transaction.intent["run"]["deployed_by"],
        "release_id": transaction.intent["release_id"],
        "previous_release_id": transaction.intent["previous_release_id"],
        "step": next((each["step"] for each in reversed(transaction.steps) if each["step"] != "renewed"), "intent"),
        "seconds_left": Deadman(places).seconds_left(transaction),
    }


def remarks(answer: Mapping[str, Any]) -> list[str]:
    """What an answer of `inspect` has that will change by itself or stands in the way: a transaction that is open, a lock."""
    lines = []
    if found := answer.get("transaction"):
        about = (
            f"{found['release_id']} is unconfirmed, {found['operation']} {found['run_id']} by {found['deployed_by']}"
        )
        left = found["seconds_left"]
        when = "when it is settled" if left is None else f"by itself in {left} s" if left else "any moment"
        lines.append(f"{about}: goes back to {found['previous_release_id'] or 'nothing'} {when}")
    if held := answer.get("lock"):
        end = f"until {held['until']}" if held["until"] else "until it is released"
        lines.append(f"locked by {held['holder']} since {held['since']} {end}: {held['message']}")
    return lines


def _health(application: Application, places: Places, active: str | None) -> dict[str, Any]:
    if active is None:
        return {"outcome": "inconclusive", "attempts": 0, "detail": "nothing is active"}
    return strategy_of(application, places).judge(ONCE).as_dict()


def _manifest(places: Places, active: str | None) -> dict[str, Any] | None:
    """What the active release says of itself, None where it cannot be read."""
    try:
        return dict(Evidence(places).manifest(active).predicate) if active else None
    except Refusal:
        return None


def history(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """The newest ``limit`` records, newest first, and the three answers.

    request: application {name}, limit, witnessed ({size} or null).
    answer: changed (never), records, active, last_success, last_good, log.
    """
    since = witnessed_size(request)
    places = Places(host, request["application"]["name"])
    places.require_bootstrapped()
    records = History(places.history).records()
    view = View.of(records)
    return {
        "changed": False,
        "records": [dict(record) for record in reversed(records)][: request["limit"]],
        "active": Store(places).current(),
        "last_success": dict(view.last_success) if view.last_success else None,
        "last_good": view.last_good,
        "log": Log(places).answer(since),
    }


def described_application(places: Places) -> dict[str, Any]:
    """The description that the active release was staged under, for looking at a host without a controller."""
    active = Store(places).current()
    if active is None:
        return {"name": places.application, "description": {}}
    application = Evidence(places).application(active)
    return {"name": application.name, "description": dict(application.raw)}
