# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to an application on this host: one line for each outcome, appended and never rewritten.

A line is canonical JSON (RFC 8785) and LF. ``seq`` counts from 0; ``prev_hash`` is the RFC 6962 leaf hash of the line
before (its bytes without the LF), and for the first line the RFC 6962 hash of an empty tree. So the lines are ready to
be the leaves of a Merkle tree (`log`), and a changed, dropped or swapped line breaks the chain.

A record: seq, prev_hash, application, environment, host_id, timestamp (RFC 3339 Z), transaction, run_id, controller_id,
deployed_by, operation (deploy | rollback), release_id, previous_release_id, active_release_id (what the link said afterwards), manifest_digest, status
(success | failed | rolled_back | interrupted), rollback (whether this took a release back), reason (a stable code or null),
message, artifacts [{path, sha256}], backups [{path, sha256}], smoke_test_passed (true, false or null), sequence (of the
release), policy ({version, digest} of the trust policy that judged it), approvals [{role, holder, digest, created, expires}],
authorizations [{role, holder, digest}] (of a step back that took them), window ({start, end} of the sharper watch after a deployment, or null), verification (what the steps of the rollback plan said
after a way back: [{argv, exit_code, output_sha256, passed}]), hooks (how those of the release ended: [{moment, argv, exit_code,
output_sha256, passed, milliseconds}]), migrations (what this host ran of them: [{name, direction (forward | back), exit_code, output_sha256, passed,
milliseconds}]), irreversible_accepted (the irreversible migrations that an operator went back over), durations {step_ms: int}, takes_back (the run that a rollback
took back, or null), shared_links {path in the release: what its link says} of the description that it was switched under. A
reader takes members that came later (sequence, policy, approvals, authorizations, window, verification, hooks, migrations, irreversible_accepted, shared_links) as absent in
old records.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import fsync_directory, open_regular, read_if_there, write_all, write_durable
from ..trust import merkle
from ..trust.verify import Highest, Past

EMPTY_TREE = merkle.EMPTY_ROOT.hex()
LINE_LIMIT = 4 << 20
HISTORY_LIMIT = 256 << 20
TAIL_BYTES = 64 * 1024
STATUSES = ("success", "failed", "rolled_back", "interrupted")
Record = Mapping[str, Any]


def leaf_hash(line: bytes) -> str:
    """RFC 6962 section 2.1: SHA-256 over 0x00 and the leaf."""
    return merkle.leaf_hash(line).hex()


@dataclass(frozen=True)
class History:
    """The history file of one application on one host."""

    path: Path

    def append(self, record: Record) -> Record:
        """Append one record durably and return it with its ``seq`` and ``prev_hash``.

        1. A torn last line (no LF: a crash in the middle of a write) is set aside beside the history; the chain goes on
           from the last whole line, and the record names what was set aside.
        2. One write, one fsync; for a new file the directory too. A failed write is cut off again.
        """
        created = not self.path.exists()
        descriptor = open_regular(self.path, what="history", flags=os.O_RDWR | os.O_APPEND | os.O_CREAT, mode=0o640)
        try:
            last, end, torn = self._tail(descriptor)
            extra: dict[str, Any] = {}
            if torn:
                extra["torn_line"] = self._set_aside(descriptor, end, torn)
            seq, prev_hash = (last["seq"] + 1, leaf_hash(canonical.encode(last))) if last else (0, EMPTY_TREE)
            complete = {**record, **extra, "seq": seq, "prev_hash": prev_hash}
            try:
                write_all(descriptor, canonical.encode(complete) + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
        if created:
            fsync_directory(self.path.parent)
        return complete

    def _set_aside(self, descriptor: int, end: int, torn: bytes) -> str:
        aside = self.path.with_name(f"{self.path.name}.torn-{end}")
        write_durable(aside, torn, mode=0o600)
        os.ftruncate(descriptor, end)
        return aside.name

    def records(self) -> list[Record]:
        """Every whole line, oldest first, with its chain checked; a torn last line is left out.

        Refusal ``history_altered`` when a line is not canonical JSON or does not continue the one before.
        """
        lines = self.lines()[0]
        was_enabled = gc.isenabled()
        gc.disable()  # records are plain data without cycles: looking for some doubles the time of a long history
        try:
            return list(self.parsed(lines))
        finally:
            if was_enabled:
                gc.enable()

    def of_transaction(self, transaction_id: str) -> Record | None:
        """The record of a transaction. Only its line is looked at: a way back has its end whatever the lines before it are worth."""
        for line in reversed(self.lines()[0]):
            if transaction_id.encode() in line:
                record = self._parsed(line, "a line")
                if record.get("transaction") == transaction_id:
                    return record
        return None

    def lines(self) -> tuple[list[bytes], bytes]:
        """Every whole line without its LF, oldest first and unchecked, and the bytes of a torn last one."""
        data = read_if_there(self.path, limit=HISTORY_LIMIT, what="history") or b""
        *whole, torn = data.split(b"\n")
        return whole, torn

    def parsed(self, lines: Iterable[bytes]) -> Iterator[Record]:
        """The records in ``lines``, each checked when its turn comes; Refusal ``history_altered`` as for `records`."""
        expected = EMPTY_TREE
        for number, line in enumerate(lines):
            where = f"line {number + 1}"
            record = self._parsed(line, where)
            if record.get("seq") != number or record.get("prev_hash") != expected:
                raise self._altered(where, "a line that does not continue the one before")
            expected = leaf_hash(line)
            yield record

    def _parsed(self, line: bytes, where: str) -> Record:
        try:
            record = canonical.parse_canonical(line, what="history record", limit=LINE_LIMIT)
        except Refusal as refusal:
            raise self._altered(where, str(refusal)) from refusal
        if not isinstance(record, dict) or type(record.get("seq")) is not int:
            raise self._altered(where, "a line that is no record")
        return record

    def _altered(self, where: str, found: str) -> Refusal:
        return Refusal(
            "history_altered",
            expected=f"{where} of {self.path} to be the record that Slipway wrote there",
            found=found,
            remedy="Treat the host as tampered with: keep the file as evidence, then rebuild the host from bootstrap.",
        )

    def last(self) -> Record | None:
        """The newest whole record, read from the end: its cost does not grow with the history."""
        try:
            descriptor = open_regular(self.path, what="history")
        except FileNotFoundError:
            return None
        try:
            return self._tail(descriptor)[0]
        finally:
            os.close(descriptor)

    def _tail(self, descriptor: int) -> tuple[Record | None, int, bytes]:
        """The last whole record, where the whole lines end, and the torn bytes behind them."""
        size = os.fstat(descriptor).st_size
        window, start, data, line_feeds = TAIL_BYTES, size, b"", 0
        while start > 0 and line_feeds < 2 and window <= 4 * LINE_LIMIT:
            start = max(0, size - window)
            data = os.pread(descriptor, size - start, start)
            line_feeds, window = data.count(b"\n"), window * 2
        if line_feeds == 0 and start == 0:
            return None, 0, data
        whole, _, torn = data.rpartition(b"\n")
        return self._parsed(whole.rpartition(b"\n")[2], "the last line"), size - len(torn), torn


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
