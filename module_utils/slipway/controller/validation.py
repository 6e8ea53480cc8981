# SPDX-License-Identifier: GPL-3.0-or-later
"""Validating an audited source: its checklist is complete, and its own validation command passes.

What came of it is added to the audit bundle: `validation.json` (canonical JSON: the sha256 of audit.json, the command,
how it ended, the sha256 of all its output, the result) and `validation.log`, the end of the output. A run that failed is
evidence too, of which no release is made. The same source may be validated again; the newest run counts.
The result follows from how the command ended: evidence that says otherwise, or that is of another command than
slipway.yml declares, is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base import canonical
from ..base.clock import timestamp
from ..base.errors import Refusal, shown
from ..base.fields import SHA256, Fields
from ..base.files import full_disk_is_a_refusal, read_if_there, write_durable
from ..trust.promotion import AuditReference, Step
from . import archive, trial
from .audit import Audit, altered, read_audit
from .descriptor import DESCRIPTOR, Descriptor
from .source import Facts, facts_now, opened

FORMAT: Final = 1
VALIDATION: Final = "validation.json"
LOG: Final = "validation.log"
PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_DECLARED: Final = "not_declared"
COMPLETE: Final = "complete"
MAX_VALIDATION_BYTES: Final = 1 << 20

_WHAT: Final = "validation"
_AGAIN: Final = "Validate the source (playbooks/validate.yml)"


@dataclass(frozen=True)
class Request:
    """What to validate, and the audit bundle of it; `now` is Unix seconds, `max_bytes` what an archive may unpack to."""

    source: Path
    audit: Path | None
    now: int
    version: str | None = None
    max_bytes: int = archive.MAX_BYTES


@dataclass(frozen=True)
class Validated:
    """What was validated, and the evidence; with check mode there is no evidence, and `argv` is what would be run."""

    audit: Audit
    argv: tuple[str, ...]
    evidence: Mapping[str, Any] | None


def validate(request: Request, *, check: bool = False) -> Validated:
    """Validate a source, or with `check` judge its audit and checklist and run nothing.

    1. The bundle is whole and of the source as it is now, and its checklist is complete for this version.
    2. The declared command runs in the source's directory; how it ended is written into the bundle.
    3. A command that failed, hung or flooded its output is refused, after that.
    """
    with opened(request.source, max_bytes=request.max_bytes) as (directory, descriptor):
        audit = read_audit(request.audit)
        audit.require_of(facts_now(request.source, directory, descriptor, request.version), descriptor)
        if audit.checklist:
            audit.checklist.require_complete(audit.version)
        command = descriptor.validation
        if check:
            return Validated(audit, command.argv if command else (), None)
        done = None
        if command:
            done = trial.run(command.argv, timeout_seconds=command.timeout_seconds, directory=directory)
    evidence = _evidence(audit, done, request.now)
    _keep(audit, evidence, done)
    if done and not done.passed:
        raise Refusal(
            "validation_failed",
            expected=f"{' '.join(done.argv)} to end with exit code 0",
            found=done.described(),
            remedy=f"Mend what fails; {LOG} in {audit.path} has more of the output. Then {_AGAIN.lower()}.",
        )
    return Validated(audit, command.argv if command else (), evidence)


def _evidence(audit: Audit, done: trial.Trial | None, now: int) -> dict[str, Any]:
    return {**_derived(audit, done), "audit_sha256": audit.digest, "created": timestamp(now), "format": FORMAT}


def _derived(audit: Audit, done: trial.Trial | None) -> dict[str, Any]:
    """What follows from the audit and from how the command ended."""
    return {
        "application": audit.application,
        "checklist": COMPLETE if audit.checklist else NOT_DECLARED,
        "command": None if done is None else done.as_dict(),
        "log_sha256": None if done is None else hashlib.sha256(done.tail).hexdigest(),
        "result": NOT_DECLARED if done is None else PASSED if done.passed else FAILED,
    }


def _keep(audit: Audit, evidence: Mapping[str, Any], done: trial.Trial | None) -> None:
    """The evidence last: until it is there, the one of a run before names another log, and counts for nothing."""
    with full_disk_is_a_refusal(audit.path, what="keep the evidence of a validation"):
        if done:
            write_durable(audit.path / LOG, done.tail, mode=0o644)
        write_durable(audit.path / VALIDATION, canonical.encode(evidence), mode=0o644)


@dataclass(frozen=True)
class ValidatedAudit:
    """What a manifest takes from a validated audit bundle."""

    reference: AuditReference
    build_id: str | None
    tickets: tuple[str, ...]


def evidence_of(
    path: Path,
    source: Facts,
    descriptor: Descriptor,
    *,
    build_id: str | None = None,
    tickets: tuple[str, ...] = (),
) -> ValidatedAudit:
    """Return the evidence when the bundle is whole, of this source (and of this build, where one is given), and validated."""
    audit = read_audit(path)
    audit.require_of(source, descriptor)
    audit.require_for(build_id, tickets)
    data = read_if_there(audit.path / VALIDATION, limit=MAX_VALIDATION_BYTES, what=_WHAT)
    if data is None:
        raise Refusal(
            "validation_missing",
            expected=f"{VALIDATION} in {audit.path}",
            found="none",
            remedy=f"{_AGAIN}, then make the release.",
        )
    if audit.checklist:
        audit.checklist.require_complete(audit.version)
    result = _result(data, audit, descriptor.validation)
    if result == FAILED:
        raise Refusal(
            "validation_failed",
            expected=f"a validation of {audit.name} that passed",
            found="one that failed",
            remedy=f"Mend what fails ({LOG} there has the end of the output). {_AGAIN}, then make the release.",
        )
    validation = hashlib.sha256(data).hexdigest()
    return ValidatedAudit(AuditReference(audit.name, audit.digest, validation, result), audit.build_id, audit.tickets)


def _result(data: bytes, audit: Audit, declared: Step | None) -> str:
    """The result that the evidence states, when it agrees with itself, its log, audit.json and what is declared."""
    try:
        fields = Fields(canonical.parse_canonical(data, what=_WHAT), _WHAT, "validation_malformed")
        fields.integer("format", minimum=FORMAT, maximum=FORMAT)
        fields.time("created")
        digest = fields.text("audit_sha256", SHA256)
        stated = {name: fields.take(name) for name in ("application", "checklist", "command", "log_sha256", "result")}
        fields.end()
        log = read_if_there(audit.path / LOG, limit=trial.TAIL_BYTES, what="validation log")
        done = None if stated["command"] is None and log is None else _ran(stated["command"], log)
    except Refusal as refusal:
        raise altered(
            audit.path,
            f"{VALIDATION} that cannot be read ({refusal.reason}: {refusal.expected}; found {refusal.found})",
        ) from None
    if digest != audit.digest:
        raise altered(audit.path, f"{VALIDATION} of another audit.json, {digest}")
    ran = Step(done.argv, done.timeout_seconds) if done else None
    if ran != declared:
        raise altered(
            audit.path, f"{VALIDATION} of {_described(ran)}, where {DESCRIPTOR} declares {_described(declared)}"
        )
    derived = _derived(audit, done)
    others = [
        f"{name} {shown(stated[name])}, not {shown(value)}" for name, value in derived.items() if stated[name] != value
    ]
    if others:
        raise altered(audit.path, f"{VALIDATION} that contradicts itself or {LOG}: {'; '.join(others)}")
    return str(derived["result"])


def _ran(value: Any, log: bytes | None) -> trial.Trial:
    fields = Fields(value, f"{_WHAT}.command", "validation_malformed")
    if log is None:
        raise fields.refusal("", f"{LOG} beside it", f"no {LOG}")
    return trial.Trial.take(fields, log)


def _described(step: Step | None) -> str:
    return f"{' '.join(step.argv)} for {step.timeout_seconds} s" if step else "no command"
