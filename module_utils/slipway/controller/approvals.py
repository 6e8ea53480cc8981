# SPDX-License-Identifier: GPL-3.0-or-later
"""Approvals that were given: taking in what was sent, and what a release has and lacks in each environment. Controller only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import canonical
from ..base.errors import Refusal, shown
from ..base.files import read_regular
from ..base.table import table
from ..trust import dsse, verify
from ..trust.approval import APPROVAL_TYPE, Approval, open_approval
from ..trust.authorization import AUTHORIZATION_TYPE, MAX_AUTHORIZATION_BYTES, Authorization, open_authorization
from ..trust.consent import Scope, Standing, judge_approvals, judge_authorizations
from ..trust.manifest import ReleaseManifest
from ..trust.policy import TrustPolicy
from .approving import APPROVAL, AUTHORIZATION
from .catalogue import Catalogue
from .holders import Holders


@dataclass(frozen=True)
class Received:
    """What was sent and taken in: where it is kept, for which release, and whether it is new here."""

    changed: bool
    path: Path
    what: str
    manifest: ReleaseManifest
    consent: Approval | Authorization


def sent(path: Path | None, text: str | None) -> bytes:
    """The envelope that was sent, as a file or as its text, at most MAX_AUTHORIZATION_BYTES long; white space around a text, as pasting adds it, is no part of it.

    Refusals ``approval_input`` where not exactly one of them is given, ``signed_text_too_large``, and those of reading a file.
    """
    if (path is None) == (text is None):
        raise Refusal(
            "approval_input",
            expected="what was sent, once: as a file (approval_file) or as its text (approval_text)",
            found="neither" if path is None else "both",
            remedy="Give the path of the file that make approve wrote, or paste all that is in it.",
        )
    if path is not None:
        return read_regular(path, limit=MAX_AUTHORIZATION_BYTES, what="signed file")
    envelope = str(text).strip().encode("utf-8", "surrogatepass")
    if len(envelope) > MAX_AUTHORIZATION_BYTES:
        raise Refusal(
            "signed_text_too_large",
            expected=f"at most {MAX_AUTHORIZATION_BYTES} bytes of text",
            found=f"{len(envelope)} bytes",
            remedy="Paste what is in the file that make approve wrote, and nothing else.",
        )
    return envelope


def receive(envelope: bytes, catalogue: Catalogue, policy: TrustPolicy, *, now: int, check: bool) -> Received:
    """Verify an approval or a rollback authorization that was sent, as a host would, and add it to the catalogue.

    The release that it names must be in the catalogue.
    """
    what = _kind(envelope)
    consent = open_approval(envelope)[1] if what == APPROVAL else open_authorization(envelope)[1]
    manifest = _manifest_with(catalogue, consent, policy)
    scope = Scope(manifest, policy, consent.environment, now)
    if isinstance(consent, Approval):
        _require_counted(consent, judge_approvals(scope, [envelope]))
        path = catalogue.add_approval(envelope, check=True)
    else:
        _require_counted(consent, judge_authorizations(scope, [envelope], host_id=consent.hosts[0], used=()))
        path = catalogue.add_authorization(envelope, check=True)
    changed = not path.exists() or path.read_bytes() != envelope
    if changed and not check:
        (catalogue.add_approval if what == APPROVAL else catalogue.add_authorization)(envelope, check=False)
    return Received(changed, path, what, manifest, consent)


def standings(
    catalogue: Catalogue, application: str, envelope: bytes, policy: TrustPolicy, *, now: int
) -> dict[str, Standing[Approval]]:
    """How the release of the manifest in `envelope` stands in each environment, by its approvals in the catalogue."""
    found: dict[str, Standing[Approval]] = {}
    for environment in sorted(policy.environments):
        manifest = verify.verify_manifest(policy, envelope, application=application, environment=environment, now=now)
        envelopes = catalogue.approvals(application, manifest.digest)
        found[environment] = judge_approvals(Scope(manifest, policy, environment, now), envelopes)
    return found


def as_data(standing: Standing[Approval]) -> dict[str, Any]:
    """The same as plain data, by ids."""
    return {
        "is_complete": not standing.missing,
        "counted": [each.as_record() for each in standing.counted],
        "lacking": [
            {"role": each.role, "count": each.count, "holders": list(each.holders)} for each in standing.missing
        ],
        "not_counted": [
            {"role": each.role, "holder": each.holder, "reason": each.refusal.reason} for each in standing.uncounted
        ],
    }


def approvals_table(standings_of: Mapping[str, Standing[Approval]], holders: Holders) -> str:
    """What each environment asks for, who gave it and until when, and who can give what is missing."""
    rows: list[tuple[str, ...]] = []
    for environment, standing in standings_of.items():
        lacking = {each.role: each for each in standing.missing}
        for role, count in standing.needed.items():
            given = [
                f"{holders.named(each.holder)} until {each.expires}" for each in standing.counted if each.role == role
            ]
            missing = lacking.get(role)
            rows.append(
                (
                    environment, role, f"{count - (missing.count if missing else 0)} of {count}", ", ".join(given) or "-",
                    ", ".join(map(holders.named, missing.holders)) or "nobody" if missing else "-",
                )
            )  # fmt: skip
        if not standing.needed:
            rows.append((environment, "-", "none asked", "-", "-"))
    told = [table(("environment", "role", "given", "by", "who can give it"), rows)]
    for environment, standing in standings_of.items():
        told += [
            f"not counted in {environment}: {each.described()}"
            for each in standing.uncounted
            if each.refusal.reason != "approval_of_another_environment"  # which is no news there
        ]
    return "\n".join(told)


def what_to_sign(manifest: ReleaseManifest, standings_of: Mapping[str, Standing[Approval]]) -> str:
    """Which manifest those are to sign who can give what is missing, and by which command; "" where nothing is."""
    release_id = manifest.release_id
    commands = [
        f"make approve MANIFEST={release_id}.dsse.json ENVIRONMENT={environment} ROLE={each.role} KEY=… OUTPUT={release_id}.{environment}.{each.role}.json"
        for environment, standing in standings_of.items()
        for each in standing.missing
    ]
    if not commands:
        return ""
    return "\n".join((f"to be signed: the manifest of {release_id} with the sha256 {manifest.digest}", *commands))


def _require_counted(consent: Approval | Authorization, standing: Standing[Any]) -> None:
    for uncounted in standing.uncounted:
        raise uncounted.refusal
    if not standing.counted:
        raise Refusal(
            "approval_not_asked",
            expected=f"a role that the trust policy asks for in {consent.environment}: {standing.asked()}",
            found=consent.role,
            remedy="It counts for nothing. Have it given in a role that is asked for.",
        )


def _kind(envelope: bytes) -> str:
    signed = dsse.Envelope.parse(envelope, payload_type=dsse.IN_TOTO_TYPE, what=APPROVAL)
    document = canonical.parse_canonical(signed.payload, what=APPROVAL, limit=MAX_AUTHORIZATION_BYTES)
    kinds = {APPROVAL_TYPE: APPROVAL, AUTHORIZATION_TYPE: AUTHORIZATION}
    found = document.get("predicateType") if isinstance(document, dict) else None
    if not isinstance(found, str) or found not in kinds:
        raise Refusal(
            "approval_expected",
            expected="a file with an approval or a rollback authorization",
            found=f"a document of the type {shown(found)}",
            remedy="Give the file that make approve or make authorize-rollback wrote.",
        )
    return kinds[found]


def _manifest_with(catalogue: Catalogue, consent: Approval | Authorization, policy: TrustPolicy) -> ReleaseManifest:
    """The verified manifest that the consent is about."""
    for release_id in catalogue.release_ids(consent.application):
        try:
            envelope = catalogue.manifest_bytes(consent.application, release_id)
        except Refusal:
            continue  # a damaged manifest is not the one that was approved
        if verify.parse_manifest(envelope).digest == consent.manifest_digest:
            return verify.verify_manifest(
                policy, envelope, application=consent.application, environment=consent.environment, now=None
            )
    raise Refusal(
        "approval_of_unknown_release",
        expected=f"a release of {consent.application} in {catalogue.root} with the manifest that was signed for",
        found=f"none with the digest {consent.manifest_digest}",
        remedy="Bring the release into the catalogue first, or give the catalogue that has it (release_catalogue).",
    )
