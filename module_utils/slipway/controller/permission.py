# SPDX-License-Identifier: GPL-3.0-or-later
"""What people allowed, as far as a controller can know: it says early what hosts would refuse, and sends what they judge.

Nothing here lets a release pass: every host judges by its own policy, history and clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..base.clock import seconds_of
from ..base.errors import Refusal
from ..host.judgement import MAX_GIVEN
from ..trust import verify
from ..trust.approval import Approval, open_approval
from ..trust.authorization import Authorization, open_authorization
from ..trust.consent import Scope
from ..trust.manifest import ReleaseManifest
from .catalogue import Catalogue

Answers = Mapping[str, Mapping[str, Any]]


def require_approved(scope: Scope, catalogue: Catalogue, others: Iterable[ReleaseManifest]) -> tuple[Approval, ...]:
    """The approvals of the release that count, or a Refusal that also names the newest of `others` that has all it needs."""
    try:
        return _approvals(scope, catalogue)
    except Refusal as refusal:
        approved = next(
            (each.release_id for each in others if _is_approved(replace(scope, manifest=each), catalogue)), None
        )
        if approved is None:
            raise
        raise Refusal(
            refusal.reason,
            expected=refusal.expected,
            found=refusal.found,
            remedy=f"{refusal.remedy} Or deploy one that is approved: -e release_id={approved}.",
        ) from refusal


def _approvals(scope: Scope, catalogue: Catalogue) -> tuple[Approval, ...]:
    given = catalogue.approvals(scope.manifest.application, scope.manifest.digest)
    here = [envelope for envelope in given if not _is_for_another(scope.environment, envelope)]
    return verify.require_fresh(scope.manifest, scope.policy, scope.environment, scope.now, here)


def _is_for_another(environment: str, envelope: bytes) -> bool:
    """Approvals for other environments lie beside those for this one, and are no news here; what cannot be read is."""
    try:
        return open_approval(envelope)[1].environment != environment
    except Refusal:
        return False


def _is_approved(scope: Scope, catalogue: Catalogue) -> bool:
    if scope.manifest.promotion.candidate:
        return False
    try:
        _approvals(scope, catalogue)
    except Refusal:
        return False
    return True


def require_in_sequence(scope: Scope, catalogue: Catalogue, answers: Answers) -> None:
    """Refuse before anything travels what hosts would refuse as a step too far back."""
    authorizations = catalogue.authorizations(scope.manifest.application, scope.manifest.digest)
    refusals = {}
    for host, answer in sorted(answers.items()):
        try:
            verify.require_in_sequence(
                scope, _past(answer), host_id=answer["host"]["id"], authorizations=authorizations
            )
        except Refusal as refusal:
            refusals[host] = refusal
    if refusals:
        first = next(iter(refusals.values()))
        raise Refusal(
            first.reason,
            expected=first.expected,
            found=f"on {', '.join(refusals)}: {first.found}",
            remedy=first.remedy.replace("HOSTS=…", f"HOSTS={','.join(refusals)}"),
        )


def _past(answer: Mapping[str, Any]) -> verify.Past:
    """What a host said of its past; of what it used it says nothing, for it judges that itself."""
    mark = answer["high_water"]
    digests = {release["release_id"]: release["manifest_digest"] for release in answer["releases"]}
    return verify.Past(
        current=digests.get(answer["settled"]),
        highest=verify.Highest(mark["sequence"], mark["manifest_digest"]) if mark else None,
        before=tuple(answer["reach"] or ()),
    )


def require_within_reach(catalogue: Catalogue, application: str, answers: Answers, targets: Mapping[str, str]) -> None:
    """Refuse a rollback that hosts would refuse as too deep, by what each said of its own policy.

    A host for which the catalogue has an authorization is left to judge it; so is one that could not say.
    """
    deep = {
        host: release_id
        for host, release_id in sorted(targets.items())
        if not _reaches(catalogue, application, answers[host], release_id)
    }
    if deep:
        asked: dict[tuple[str, str], list[str]] = {}
        for host, release_id in deep.items():
            asked.setdefault((release_id, str(answers[host]["host"]["environment"])), []).append(host)
        commands = "; ".join(
            f"make authorize-rollback RELEASE_ID={release_id} ENVIRONMENT={environment} ROLE=… HOSTS={','.join(hosts)}"
            for (release_id, environment), hosts in asked.items()
        )
        raise Refusal(
            "rollback_too_deep",
            expected="a release that the trust policy lets every host go back to by itself (allowedRollback)",
            found="; ".join(f"{release_id} is out of reach on {host}" for host, release_id in deep.items()),
            remedy=f"Have it authorized ({commands}), or deploy a newer release.",
        )


def _reaches(catalogue: Catalogue, application: str, answer: Mapping[str, Any], release_id: str) -> bool:
    mark, reach = answer["high_water"], answer["reach"]
    release = next(each for each in answer["releases"] if each["release_id"] == release_id)
    digest = release["manifest_digest"]
    if mark is None or reach is None or release["sequence"] > mark["sequence"]:
        return True
    return digest in (mark["manifest_digest"], *reach) or any(
        answer["host"]["id"] in authorization.hosts for authorization in _authorizations(catalogue, application, digest)
    )


def _authorizations(catalogue: Catalogue, application: str, manifest_digest: str) -> list[Authorization]:
    found = []
    for envelope in catalogue.authorizations(application, manifest_digest):
        with suppress(Refusal):
            found.append(open_authorization(envelope)[1])
    return found


def signed_for(
    catalogue: Catalogue, application: str, manifest_digest: str, environment: str, now: int
) -> dict[str, list[str]]:
    """What travels with a request about the release: {approvals, authorizations}, envelopes as text.

    Those for the environment that have not expired, as many as a host takes. Who signed them is for the
    host to judge.
    """
    approvals: list[Approval] = []
    for envelope in catalogue.approvals(application, manifest_digest):
        with suppress(Refusal):
            approvals.append(open_approval(envelope)[1])
    authorizations = _authorizations(catalogue, application, manifest_digest)
    return {
        "approvals": _newest(approvals, environment, now),
        "authorizations": _newest(authorizations, environment, now),
    }


def _newest(given: Iterable[Approval | Authorization], environment: str, now: int) -> list[str]:
    """The newest of each holder in each role before anybody's second one: nobody's many shut out another's only one."""
    here = [each for each in given if each.environment == environment and seconds_of(each.expires) > now]
    before: Counter[tuple[str, str]] = Counter()
    ranked = []
    for each in sorted(here, key=lambda each: each.created, reverse=True):
        ranked.append((before[each.role, each.holder], each))
        before[each.role, each.holder] += 1
    return [each.envelope.decode() for _rank, each in sorted(ranked, key=lambda pair: pair[0])[:MAX_GIVEN]]
