# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds after any fault and the recovery from it, and what an answer may say before that."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.slipway.host.journal import Journal, Transaction
from ansible.module_utils.slipway.host.log import Log
from ansible.module_utils.slipway.trust import checkpoint
from ansible.module_utils.slipway.trust.chain import Record
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.verify import verify_tree
from releases import UNIT, leftovers

from faults.machine import Machine, credentials_of

UNREADABLE = re.compile(r"no way back to v\d: .* cannot be .* \(Input/output error\)")
NOT_RESTORED = "files outside the release were not restored"


@dataclass(frozen=True)
class Known:
    """What was so before a fault: enough to tell whether anything has changed since."""

    served: str | None
    records: list[Record]
    transaction: Transaction | None
    releases: list[str]
    runs: dict[str, str]
    timers: list[str]

    @classmethod
    def of(cls, machine: Machine) -> Known:
        site = machine.site
        journal = Journal(site.places.journal).read()
        systemd = machine.systemd
        return cls(machine.served, site.records, journal, site.store.release_ids(), systemd.runs(), systemd.timers())


def require_served(machine: Machine, possible: Set[str | None]) -> None:
    """What is active is one of the possible releases, whole."""
    served, site = machine.served, machine.site
    assert served in possible, f"{served} is served, expected one of {possible}"
    if served is not None:
        verify_tree(site.made(served), site.release(served), owner=site.host.uid)


def require_honest(machine: Machine, before: Known, answer: dict[str, Any]) -> None:
    """A refusal has changed nothing, and what says that it failed has a reason and tells what to do."""
    if not answer.get("failed"):
        return
    assert answer["reason"], answer
    assert answer["msg"], answer
    if not answer["changed"]:
        assert Known.of(machine) == before, f"refused, but not unchanged: {answer}"


def require_settled(machine: Machine, before: Known, possible: Set[str | None]) -> None:
    """After recovery: one whole release is served and runs, the history says how it came to that, and nothing is left over."""
    site, served = machine.site, machine.served
    if served not in possible:  # a release before that cannot be read, cannot be verified: there is no way back to it
        last = site.records[-1]
        assert last["status"] == "failed", f"{served} is served, expected one of {possible}"
        assert UNREADABLE.search(last["message"]), f"{served} is served, expected one of {possible}: {last['message']}"
    require_served(machine, {*possible, served})
    generation = machine.credentials
    assert machine.systemd.runs() == ({UNIT: f"releases/{served} {generation}"} if served else {})
    require_paired(machine, possible)
    outside = machine.outside.read_bytes()
    if outside != (served.encode() if served else b"from before\n"):  # a backup that cannot be read holds no release up
        assert NOT_RESTORED in site.records[-1]["message"], (
            f"{served} is served with {outside!r}, and no record says so"
        )
    assert leftovers(site.host.root) == []
    assert machine.systemd.timers() == []
    assert not list((site.host.root / "run").rglob("*.timer"))
    assert [path.name for path in site.places.markers.glob("*") if path != site.places.checked] == []
    assert not site.places.share.exists()
    assert not list(machine.outside.parent.glob(".*"))
    require_bounded(machine)
    assert Journal(site.places.journal).read() is None
    _require_history(machine, before)


def require_paired(machine: Machine, possible: Set[str | None]) -> None:
    """The service gets what belongs to its release, and what nothing needs is not half there."""
    served, gets = machine.served, machine.site.gets()
    expected = [credentials_of(which) for which in (served, *(possible & {"turned"})) if which]
    names = [{f"slipway_{name}": value for name, value in each.items()} for each in expected] or [{}]
    if gets not in names and not _kept_credentials(machine.site.records):
        last = machine.site.records[-1]
        assert UNREADABLE.search(last["message"]), f"{served} with {sorted(gets)}"
    directory = machine.site.places.credentials
    described = {path.stem for path in directory.glob("*.json")}
    assert described == {path.name for path in directory.iterdir() if path.is_dir() and not path.is_symlink()}


def _kept_credentials(records: Sequence[Record]) -> bool:
    """Whether what is served is there by a way back to a release whose credentials were pruned meanwhile: it keeps those in use, and the record says so."""
    newest: Record = next((each for each in reversed(records) if each["status"] == "success"), {})
    turnover = newest.get("credentials")
    return bool(turnover) and newest["operation"] == "rollback" and turnover["before"] == turnover["after"]


def require_bounded(machine: Machine) -> None:
    """What a fetch left is the beginning of objects of the release that it was for, and nothing else."""
    sizes = {entry.sha256: entry.size for entry in machine.site.made("v3").files}
    left = {path.name: path.stat().st_size for path in machine.site.places.incoming.glob("*")}
    assert {name: size for name, size in left.items() if size > sizes.get(name, -1)} == {}, "not what was wanted"


def _require_history(machine: Machine, before: Known) -> None:
    site = machine.site
    records = site.records  # reading follows the chain
    assert records[: len(before.records)] == before.records, "a record was lost or changed"
    transactions = [record["transaction"] for record in records]
    assert len(set(transactions)) == len(transactions), "a transaction with two outcomes"
    new = records[len(before.records) :]
    told = {record["transaction"] for record in before.records}
    is_open = before.transaction is not None and before.transaction.id not in told
    needs_one = is_open or machine.served != before.served
    assert len(new) in ((1,) if needs_one else (0, 1)), new
    if is_open:
        assert new[0]["transaction"] == before.transaction.id
    if records:
        assert records[-1]["active_release_id"] == machine.served, "the link is not where the newest record says"
    assert {path.name for path in site.places.backups.glob("*")} <= set(transactions)
    judged = Log(site.places).judge(each=lambda _record: None)
    assert judged["outcome"] in ("intact", "torn"), judged
    if records:
        assert signed_size(machine) == len(records), "records without a checkpoint"


def signed_size(machine: Machine) -> int:
    """How many records the kept checkpoint has."""
    log = Log(machine.site.places)
    judged = log.judge()
    assert judged["checkpoint"], "no checkpoint"
    return checkpoint.verify(
        judged["checkpoint"].encode(), key=PublicKey(bytes.fromhex(judged["key"])), origin=log.origin
    ).size
