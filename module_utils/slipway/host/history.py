# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to an application on this host: one line for each outcome, appended and never rewritten.

The lines are chained (`chain`): a changed, dropped or swapped one shows, and they are ready to be the leaves of a Merkle tree (`log`).

A record: seq, prev_hash, application, environment, host_id, timestamp (RFC 3339 Z), transaction, run_id, controller_id,
deployed_by, operation (deploy | rollback), release_id, previous_release_id, active_release_id (what the link said afterwards), manifest_digest, status
(success | failed | rolled_back | interrupted), rollback (whether this took a release back), reason (a stable code or null),
message, artifacts [{path, sha256}], backups [{path, sha256}], smoke_test_passed (true, false or null), sequence (of the
release), policy ({version, digest} of the trust policy that judged it), approvals [{role, holder, digest, created, expires}],
authorizations [{role, holder, digest}] (of a step back that took them), window ({start, end} of the sharper watch after a deployment, or null), verification (what the steps of the rollback plan said
after a way back: [{argv, exit_code, output_sha256, passed}]), hooks (how those of the release ended: [{moment, argv, exit_code,
output_sha256, passed, milliseconds}]), migrations (what this host ran of them: [{name, direction (forward | back), exit_code, output_sha256, passed,
milliseconds}]), irreversible_accepted (the irreversible migrations that an operator went back over), durations {step_ms: int}, takes_back (the run that a rollback
took back, or null), shared_links {path in the release: what its link says} of the description that it was switched under, credentials ({before, after
(the generations of credentials that the service got, and gets now), replaced (whether older ones must not be used any more)}, or null). A
reader takes members that came later (sequence, policy, approvals, authorizations, window, verification, hooks, migrations, irreversible_accepted, shared_links, credentials) as
absent in old records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..base.errors import Refusal
from ..base.files import open_regular, read_if_there
from ..trust.chain import Chain, Record
from ..trust.verify import Highest, Past

HISTORY_LIMIT = 256 << 20
STATUSES = ("success", "failed", "rolled_back", "interrupted")


@dataclass(frozen=True)
class History(Chain):
    """The history file of one application on one host."""

    def opened(self, flags: int) -> int:
        return open_regular(self.path, what="history", flags=flags, mode=0o640)

    def content(self) -> bytes:
        return read_if_there(self.path, limit=HISTORY_LIMIT, what="history") or b""

    def of_transaction(self, transaction_id: str) -> Record | None:
        """The record of a transaction. Only its line is looked at: a way back has its end whatever the lines before it are worth."""
        for line in reversed(self.lines()[0]):
            if transaction_id.encode() in line:
                record = self._parsed(line, "a line")
                if record.get("transaction") == transaction_id:
                    return record
        return None

    def altered(self, where: str, found: str) -> Refusal:
        return Refusal(
            "history_altered",
            expected=f"{where} of {self.path} to be the record that Slipway wrote there",
            found=found,
            remedy="Treat the host as tampered with: keep the file as evidence, then rebuild the host from bootstrap.",
        )


@dataclass(frozen=True)
class View:
    """What the records say when they are read in order.

    ``activations`` are the releases in the order in which they became active; ``bad`` maps each release that was taken
    back to the reason. Both follow from the records alone: link times and directory names say nothing. ``digests`` are those
    of the manifests of ``activations``, one by one; ``highest`` is the newest release that a deployment brought with success;
    ``used`` are the digests of the rollback authorizations that any transaction took; ``policy_version`` is the newest version
    of the trust policy that any record was decided by.
    """

    activations: tuple[str, ...] = ()
    bad: Mapping[str, str] = field(default_factory=dict)
    last_success: Record | None = None
    newest: Record | None = None
    last_good: str | None = None
    digests: tuple[str, ...] = ()
    highest: Highest | None = None
    used: frozenset[str] = frozenset()
    policy_version: int = 0

    @classmethod
    def of(cls, records: Iterable[Record]) -> View:
        activations: list[str] = []
        bad: dict[str, str] = {}
        last_success: Record | None = None
        newest: Record | None = None
        digests: list[str] = []
        highest: Highest | None = None
        used: set[str] = set()
        policy_version = 0
        for record in records:
            newest = record
            policy_version = max(policy_version, policy_version_of(record))
            used.update(each["digest"] for each in record.get("authorizations", ()))
            highest = _higher(highest, record)
            if record["status"] == "success":
                digests.append(record["manifest_digest"])
            release, status = record["release_id"], record["status"]
            if status == "success" and record["rollback"]:
                activations.append(release)
                if (left := record["previous_release_id"]) and left != release:
                    bad[left] = f"taken back by run {record['run_id']}"
            elif status == "success":
                activations.append(release)
                bad.pop(release, None)
                last_success = record
            elif record["previous_release_id"] != release and _was_taken_back(record):
                bad[release] = str(record["reason"])
        good = next((release for release in reversed(activations) if release not in bad), None)
        return cls(
            tuple(activations), bad, last_success, newest, good, tuple(digests), highest, frozenset(used), policy_version
        )  # fmt: skip

    def past(self, current: str | None) -> Past:
        """What decides how far back this host may go, with the release ``current`` active."""
        digest_of = dict(zip(self.activations, self.digests, strict=True))
        active = digest_of.get(current or "")
        before = dict.fromkeys(digest for digest in reversed(self.digests) if digest != active)
        return Past(active, self.highest, tuple(before), self.used)

    def previous(self, current: str | None, present: Iterable[str]) -> str | None:
        """The release to go back to: the newest one that was active before, is not bad and is still here."""
        here = set(present)
        for release in reversed(self.activations):
            if release != current and release not in self.bad and release in here:
                return release
        return None


def policy_version_of(record: Record) -> int:
    """The version of the trust policy that the record was decided by, 0 where it says none."""
    return int((record.get("policy") or {"version": 0})["version"])


class Activity:
    """What the records say is active, under which record each release became active, and by which trust policy."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.active: str | None = None
        self.policy_version = 0
        self.brought: dict[str, Record] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Take the next record. A deployment that failed before its switch says nothing of what is active."""
        release, active = record["release_id"], record["active_release_id"]
        self.policy_version = max(self.policy_version, policy_version_of(record))
        if record["status"] == "failed" and active != release:
            return
        self.active = active
        if record["status"] == "success" and active == release:
            self.brought[release] = record


def _higher(highest: Highest | None, record: Record) -> Highest | None:
    """The high-water mark after this record: it never falls, whatever was gone back to."""
    if record["operation"] != "deploy" or record["status"] != "success" or "sequence" not in record:
        return highest
    if highest is not None and record["sequence"] <= highest.sequence:
        return highest
    return Highest(record["sequence"], record["manifest_digest"])


def _was_taken_back(record: Record) -> bool:
    """Whether the release was active and should not have been; where there was no way back it still is."""
    status: str = record["status"]
    return status == "rolled_back" or (status == "failed" and record["active_release_id"] == record["release_id"])
