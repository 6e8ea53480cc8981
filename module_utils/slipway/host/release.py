# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchanges of a switch on a host: activate, then ready, renew and confirm, or revert; and recover for what was left open.

Staging has been before (`staging.py`). Each takes a request (plain data), does its part under the application's lock, and returns an answer (plain data) with at
least ``changed``. In check mode it answers what it would do and does nothing. An answer with ``failed`` says that
something was tried and undone; a Refusal says that nothing was tried.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..application.health import Verdict
from ..application.rollback_plan import failed_steps
from ..base.errors import Refusal, shown
from ..trust.chain import Record
from ..trust.promotion import Step
from .backup import Replacement
from .credentials import GENERATION, UNMADE, Turnover
from .deadman import confirm_within, has_outcome
from .evidence import Verified
from .exchange import Answer, Exchange, Request
from .history import View
from .hooks import Failure
from .journal import Transaction
from .lease import locked
from .lock import require_unlocked
from .places import Host
from .store import expendable
from .transaction import Intent, Transactions, status_of_failure
from .work import Work


def activate(request: Request, host: Host, *, check: bool) -> Answer:
    """Switch to a staged release, restart, judge its health; when that fails, go back at once.

    request: application, environment, run, release_id, expected_current (what the plan was made for), rollback (bool),
    takes_back (run id or null), retry (bool), keep (bool: confirm as soon as it is healthy, as a rollback does), confirm_within_seconds
    (5 to 604800: the host goes back by itself unless it is confirmed by then), migrate (bool: this host runs the release's
    migrations, or takes back those that it ran), migrated (bool: another host of this run has run them), irreversible_accepted
    (bool: go back over an irreversible one), approvals and authorizations (envelopes as text, beside those that are kept), share
    (percent of its work that the application takes on as a canary, null for all; a rollback has none), generation (of the credentials, as
    the staging answered it; without one they stay, and a rollback takes those that its release had), credentials_replaced (bool: once this
    is confirmed nothing goes back to an older generation).
    answer: changed, outcome (``switched`` waits for confirm or revert, ``confirmed``, ``unchanged``, ``reverted``), release_id,
    previous_release_id, active_release_id, health {outcome, attempts, detail}, commands (what is run beside the unit), generation (of the
    credentials that the service is to have, null for none), diff, log.
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
    exchange.require_no_candidate(verified)
    passed = exchange.require_passed(verified, view, current, request, is_rollback=rollback)
    work = _work(exchange, request, verified, current, records)
    turnover = _turnover(exchange, request, records)
    predicted |= {"commands": list(work.lines), "generation": turnover.after if turnover else None}
    transactions = exchange.transactions
    release = exchange.store.release(release_id)
    replacements = transactions.backups.replacements(exchange.application.files, release, release_id, records)
    outdated = transactions.backups.outdated(replacements)
    is_turned = turnover is not None and turnover.changes
    if current == release_id and not outdated and not is_turned:
        verdict = exchange.judge_once()
        if not verdict.is_failure:
            return {
                **predicted, "changed": False, "outcome": "unchanged", "health": verdict.as_dict(), "diff": {"before": "", "after": ""},
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
        turnover=turnover,
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
        return {**predicted, "health": verdict.as_dict(), **kept}
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


def _turnover(exchange: Exchange, request: Request, records: Sequence[Record]) -> Turnover | None:
    """From which credentials to which; None where the service gets none."""
    credentials, wanted = exchange.credentials, request.get("generation")
    before = credentials.current()
    if request.get("rollback"):
        kept = credentials.of_release(request["release_id"], records)
        wanted = kept if kept and credentials.holds(kept) else None
    elif exchange.check and wanted == UNMADE:
        return Turnover(before or "", UNMADE)
    elif wanted is not None and (not GENERATION.match(wanted) or before is None or not credentials.holds(wanted)):
        raise Refusal(
            "credentials_not_here",
            expected=f"the credentials that were staged as {shown(wanted)} on {exchange.identity.name}",
            found="none, or not as they were made",
            remedy="Another run was here in between: run the same command again.",
        )
    if before is None:
        return None
    return Turnover(before, wanted or before, replaced=bool(request.get("credentials_replaced")))


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


def _taken_back(exchange: Exchange, transaction: Transaction, status: str, reason: str, message: str) -> Answer:
    release_id = transaction.intent["release_id"]
    if exchange.host.is_stopping():
        return _left_to_the_restart(exchange, release_id, message)
    taken_back = exchange.transactions.take_back(transaction, status=status, reason=reason, message=message)
    active = exchange.store.current()
    went_back = active != release_id or _has_turned_back(exchange, transaction)
    serves = f"{active or 'nothing'} is active" + (
        f" but not healthy: {taken_back.verdict.detail}" if taken_back.verdict.is_failure else ""
    )
    return {
        "changed": True,
        "outcome": "reverted" if went_back else "stuck",
        "release_id": release_id,
        "active_release_id": active,
        "healthy": not taken_back.verdict.is_failure,
        "health": taken_back.verdict.as_dict(),
        "record": dict(taken_back.record),
        "reason": taken_back.record["reason"],
        "msg": f"{taken_back.record['reason']}: {release_id} on {exchange.identity.name}: {taken_back.record['message']}. "
        f"{'Went back' if went_back else 'No way back'}: {serves}."
        + (f" {failure}." if (failure := failed_steps(taken_back.record.get("verification", ()))) else ""),
    }


def _has_turned_back(exchange: Exchange, transaction: Transaction) -> bool:
    """Of a release that was deployed again with other credentials: whether it has those of before."""
    turnover = Turnover.of(transaction.intent)
    return turnover is not None and turnover.changes and exchange.credentials.current() == turnover.before


def _left_to_the_restart(exchange: Exchange, release_id: str, message: str) -> Answer:
    """While systemd stops everything no failure is a release's, and no unit can be started: the next start goes back."""
    name, active = exchange.identity.name, exchange.store.current()
    refusal = Refusal(
        "host_is_stopping",
        expected=f"{name} to stay up until {release_id} is confirmed or taken back",
        found=f"it is shutting down, and: {message}",
        remedy="It goes back by itself when it starts. Then run the same command again.",
    )
    return {
        "failed": True, "changed": True, "msg": str(refusal), **refusal.as_dict(), "release_id": release_id, "healthy": False,
        "outcome": "switched" if active == release_id else "unchanged", "active_release_id": active,
    }  # fmt: skip


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


def confirm(request: Request, host: Host, *, check: bool) -> Answer:
    """Keep the release that this run switched to: one record of success, then prune.

    request: application, environment, run, release_id, smoke_test_passed (true, false or null), keep_count, generation (as `activate`
    answered it; for check mode alone, which switches nothing).
    answer: changed, outcome (``confirmed``, ``unchanged``), release_id, active_release_id, pruned, prune_error, record, log.
    """
    exchange = Exchange.begin(request, host, check=check)
    with exchange.locked():
        return exchange.with_log(_confirm(exchange, request))


def _confirm(exchange: Exchange, request: Request) -> Answer:
    release_id, transactions = request["release_id"], exchange.transactions
    transaction = transactions.journal.read()
    if exchange.check:
        changed = exchange.current() != release_id or request.get("generation") not in (
            None,
            exchange.credentials.current(),
        )
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
    if transaction is None and exchange.store.current() == release_id and not _went_back(exchange):
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
    if current != release_id or _went_back(exchange):  # one that was deployed again is active either way
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
        _prune_credentials(exchange, view.previous(current, store.release_ids()))
    except OSError as error:
        return {"pruned": [], "prune_error": str(error)}
    return {"pruned": doomed}


def _prune_credentials(exchange: Exchange, previous: str | None) -> None:
    """What stays are the credentials of the active release, and of the one to which a rollback would go."""
    credentials = exchange.credentials
    records = exchange.history.records()
    credentials.prune([credentials.of_release(previous, records) if previous else None])


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
