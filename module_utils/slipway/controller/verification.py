# SPDX-License-Identifier: GPL-3.0-or-later
"""Is every host what was signed and witnessed? The answers of a whole fleet as one table, and what to do. Controller only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..base.table import table
from .witness import NOT_HERE, TRUSTED, VERIFY

Answer = Mapping[str, Any]
Answers = Mapping[str, Answer]
SOUND: Final = {
    "release": ("intact", "nothing_active"),
    "trust": ("intact", "nothing_active"),
    "history": TRUSTED,
    "runs": ("complete",),
}
HOWTO: Final = "docs/howto/verify-a-fleet.md"
_ACCEPT: Final = "If it was put back on purpose: {verify} -l {host} -e history_accept=true. If nobody did that: {howto}"
_EVIDENCE: Final = "Take the host for tampered with: keep /var/lib/slipway as evidence, then rebuild it ({howto})."
_REMEDIES: Final = {
    ("host", "unreachable"): "Mend the connection, then run the same command again.",
    (
        "release",
        None,
    ): "Go back: ansible-playbook rollback.yml -l {host} -e application={application}, or deploy another release; find out who changed it.",
    (
        "trust",
        None,
    ): "Go back: ansible-playbook rollback.yml -l {host} -e application={application}, or deploy a release that may run here.",
    ("trust", "policy_behind"): "Bring the newest: make trust-rotate LIMIT={host}. If the host had it before: {howto}",
    ("history", "truncated"): _ACCEPT,
    ("history", "restored"): _ACCEPT,
    (
        "history",
        "key_changed",
    ): "If the machine was made anew: {verify} -l {host} -e history_accept=true. If nobody did that: {howto}",
    (
        "history",
        "unknown_witness",
    ): "If .slipway/witness.pem was lost: {verify} -l {host} -e history_accept=true. If not, find out who changed .slipway/state.sqlite.",
    ("history", "unwitnessed"): "Mend the database that slipway_state_url names, then run the same command again.",
    ("history", "unjudged"): "Mend the controller's state directory, then run the same command again.",
    ("history", None): _EVIDENCE,
    (
        "runs",
        None,
    ): "Compare with `slipway history` on the host. If a snapshot of it, or a backup of this controller's state, was put back on purpose: {verify} -l {host} -e history_accept=true. If nobody did that: {howto}",
    ("host", None): "Mend what it says, then run the same command again.",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: where, which ``part`` (host, release, trust, history, runs), and what to do."""

    host: str
    application: str
    part: str
    outcome: str
    detail: str

    @property
    def remedy(self) -> str:
        text = _REMEDIES.get((self.part, self.outcome)) or _REMEDIES[self.part, None]
        return text.format(host=self.host, application=self.application, verify=VERIFY, howto=HOWTO)

    def as_dict(self) -> dict[str, str]:
        return {
            "host": self.host,
            "application": self.application,
            "part": self.part,
            "outcome": self.outcome,
            "detail": self.detail,
            "remedy": self.remedy,
        }


def beside_policy(answers: Answers, version: int) -> dict[str, Answer]:
    """The answers, with ``policy_behind`` for the trust of a host whose policy is older than ``version``, the controller's own."""

    def judged(found: Answer) -> Answer:
        policy = found.get("policy")
        if not policy or policy["version"] >= version or found["trust"]["outcome"] not in SOUND["trust"]:
            return found
        detail = f"version {policy['version']} of the trust policy; this controller has version {version}"
        return {**found, "trust": {**found["trust"], "outcome": "policy_behind", "detail": detail}}

    return {
        host: {**answer, "applications": {name: judged(each) for name, each in answer["applications"].items()}}
        if answer.get("applications")
        else answer
        for host, answer in answers.items()
    }


@dataclass(frozen=True)
class Verification:
    """What was found on a fleet; ``answers`` are those of slipway_integrity_info by host, as `verify` of integrity.py gives them."""

    answers: Answers

    @property
    def findings(self) -> list[Finding]:
        return [finding for host in sorted(self.answers) for finding in _of_host(host, self.answers[host])]

    @property
    def is_intact(self) -> bool:
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        return {
            "intact": self.is_intact,
            "hosts": {host: _parts_of(answer) for host, answer in sorted(self.answers.items())},
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def report(self) -> str:
        """A line for each application on each host, then each finding with what to do, then the last word."""
        rows = [row for host in sorted(self.answers) for row in _rows_of(host, self.answers[host])]
        lines = [table(("host", "application", "active", "release", "trust", "history", "runs"), rows)]
        for each in self.findings:
            where = f"{each.host} {each.application}".rstrip()
            detail = each.detail.removeprefix(f"{each.outcome}: ")
            lines += [f"{where}: {each.part} {each.outcome}: {detail}".rstrip(": "), f"  {each.remedy}"]
        accepted = [line for host in sorted(self.answers) for line in _accepted_on(host, self.answers[host])]
        hosts = sorted({finding.host for finding in self.findings})
        sound = "everything else is intact" if accepted else "everything is intact"
        lines += [*accepted, f"not intact: {', '.join(hosts)}" if hosts else sound]
        return "\n".join(lines)


def _parts(answer: Answer) -> dict[str, Answer]:
    """What was found in each part of one application on one host; a part without an answer is left out."""
    release, trust = answer.get("release"), answer.get("trust")
    parts = {"release": release, "trust": trust, "history": answer.get("witness"), "runs": answer.get("own_runs")}
    return {name: part for name, part in parts.items() if part}


def _parts_of(answer: Answer) -> dict[str, Any]:
    """The same for all applications of a host, as data."""
    return {
        application: {"active": each.get("active"), **{name: dict(part) for name, part in _parts(each).items()}}
        for application, each in sorted(answer.get("applications", {}).items())
    }


def _accepted_on(host: str, answer: Answer) -> Iterator[str]:
    """What was accepted once is no finding, and is told all the same."""
    for application, each in sorted(answer.get("applications", {}).items()):
        history = _parts(each).get("history", {})
        if history.get("outcome") == "accepted":
            yield f"{host} {application}: history accepted: {history['detail']}"


def _of_host(host: str, answer: Answer) -> Iterator[Finding]:
    if not answer.get("applications"):
        silent = "nothing_verified" if "applications" in answer else "unreachable"
        yield Finding(host, "", "host", str(answer.get("reason") or silent), str(answer.get("found") or "no answer"))
        return
    for application, each in sorted(answer["applications"].items()):
        yield from _of_application(host, application, each)


def _of_application(host: str, application: str, answer: Answer) -> Iterator[Finding]:
    if answer.get("failed") and not _is_not_here(answer):
        yield Finding(host, application, "host", str(answer["reason"]), str(answer.get("found", "")))
    parts = _parts(answer)
    for part, sound in SOUND.items():
        if part in parts:
            found = parts[part]
            if part == "release" and found["outcome"] == parts.get("trust", {}).get("outcome"):
                continue  # one cause, told once: what `trust` says to do is what helps
            if found["outcome"] not in sound:
                yield Finding(host, application, part, str(found["outcome"]), str(found["detail"]))
        elif not answer.get("failed"):
            yield Finding(host, application, part, "not_told", "the host's answer says nothing of it")


def _is_not_here(answer: Answer) -> bool:
    """Whether the host was never prepared for the application. What was witnessed and is gone, the history says."""
    return bool(answer.get("failed")) and answer.get("reason") == NOT_HERE


def _rows_of(host: str, answer: Answer) -> Iterator[tuple[str, ...]]:
    for application, each in sorted(answer.get("applications", {}).items()):
        parts = _parts(each)
        blank = "-" if _is_not_here(each) else "?"
        outcomes = [str(parts[part]["outcome"]) if part in parts else blank for part in SOUND]
        yield host, application, str(each.get("active") or "-"), *outcomes
    if "applications" not in answer:
        yield host, "?", "?", str(answer.get("reason") or "unreachable"), "?", "?", "?"
