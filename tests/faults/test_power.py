# SPDX-License-Identifier: GPL-3.0-or-later
"""Power that fails at any step: what was acknowledged is on the disk, the rest is settled, and nothing is half there.

The kernel's own journals are replayed: real ext4 and xfs in a file, shut down as by a power cut, mounted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible.module_utils.slipway.host.credentials import Credentials
from ansible.module_utils.slipway.host.evidence import Evidence
from ansible.module_utils.slipway.host.journal import Journal
from ansible.module_utils.slipway.host.lease import LeaseFile
from ansible.module_utils.slipway.host.transaction import RESERVE_BYTES
from ansible.module_utils.slipway.trust.verify import verify_tree

from faults import strace
from faults.disk import LOSES_ALL, WRITES_ALL, Disk
from faults.invariants import Known, require_served, require_settled, signed_size
from faults.machine import CREDENTIALS, Machine
from faults.operations import BY_NAME, OPERATIONS, RECOVERIES, Operation, boot, recover
from faults.strace import KILL, Call
from faults.sweep import place_of, points_of

SAMPLE = 1


@dataclass
class Stand:
    """A machine whose disk can lose power; ``disk`` is what it was before the operation."""

    machine: Machine
    disk: Disk
    spare: Path

    @contextmanager
    def before(self) -> Iterator[None]:
        """The machine as it was before the operation, for one trial."""
        trial = self.disk.copy_to(self.spare)
        clock = self.machine.clock
        time, boot = clock.time, clock.boot
        with trial.mounted():
            yield
        clock.time, clock.boot = time, boot

    def lose_power(self, flag: int = LOSES_ALL) -> Disk:
        """Cut it; what is on the disk is seen once it is mounted again."""
        trial = Disk(self.disk.kind, self.spare, self.disk.place)
        trial.cut_power(flag)
        return trial


@pytest.fixture(params=["ext4", "xfs"])
def stand(request, in_memory) -> Stand:
    made = Disk(request.param, in_memory / "disk", in_memory / "mounted")
    made.make()
    with made.mounted():
        machine = Machine.with_releases(made.place / "machine", in_memory / "desk")
    return Stand(machine, made, in_memory / "spare")


def prepared(stand: Stand, operation: Operation) -> tuple[Known, list[Call]]:
    """What is so before the operation, and every call of it that changes the disk."""
    with stand.disk.mounted():
        operation.prepare(stand.machine)
        return Known.of(stand.machine), points_of(operation, stand.machine, KILL)


@pytest.mark.parametrize("operation", [*OPERATIONS, *RECOVERIES], ids=lambda operation: operation.name)
def test_power_that_fails_in_any_call_leaves_a_whole_release(operation, stand, sample, tell):
    before, points = prepared(stand, operation)
    chosen = sample(points, SAMPLE)
    for call in chosen:
        try:
            with stand.before():
                ended = strace.run(lambda: operation.exchange(stand.machine), fault=KILL, at=call)
                assert ended.fired, "the fault did not fire"
                trial = stand.lose_power()
            with trial.mounted():
                require_recovered(stand.machine, before, operation)
        except AssertionError as error:
            raise AssertionError(f"power lost in {place_of(call, stand.machine)}: {error}") from error
    tell(operation.name, f"power, {stand.disk.kind}", len(chosen))


def require_recovered(machine: Machine, before: Known, operation: Operation) -> None:
    """The host boots: it settles what is open by itself, and a run that comes later finds nothing to do."""
    machine.lose_memory()
    require_served(machine, {"v1", "v2", "v3"})
    boot(machine)
    machine.start_units()
    answer = recover(machine)
    assert (answer.get("failed"), answer["changed"]) == (None, False), answer
    require_settled(machine, before, operation.possible)


Fact = Callable[[Machine], bool]


def steps(*names: str) -> Fact:
    """The journal is there, and says that these steps were reached."""

    def are_noted(machine: Machine) -> bool:
        transaction = Journal(machine.site.places.journal).read()
        return transaction is not None and all(transaction.reached(name) for name in names)

    return are_noted


def can_go_back(machine: Machine) -> bool:
    places = machine.site.places
    return (
        places.way_back.readlink() == Path("releases/v1")
        and LeaseFile(places.lease).read() is not None
        and places.reserve.stat().st_blocks * 512 >= RESERVE_BYTES
        and places.format.read_bytes() == b"1\n"
        and [path.read_bytes() for path in places.backups.glob("*/*")].count(b"v1") == 1
    )


def links_to(release_id: str) -> Fact:
    return lambda machine: machine.served == release_id


def has_credentials(which: str) -> Fact:
    """A generation is here whole, and can be told from half a one."""

    def are_there(machine: Machine) -> bool:
        credentials = Credentials(machine.site.places)
        return machine.has_credentials(which) and all(credentials.holds(each) for each in credentials.generations())

    return are_there


def gets(which: str) -> Fact:
    return lambda machine: (
        machine.site.gets() == {f"slipway_{name}": value for name, value in CREDENTIALS[which].items()}
    )


def has_outside(content: bytes) -> Fact:
    return lambda machine: machine.outside.read_bytes() == content


def recorded(release_id: str, status: str) -> Fact:
    return lambda machine: machine.site.statuses[-1:] == [(release_id, status)]


def is_signed(machine: Machine) -> bool:
    return signed_size(machine) == len(machine.site.records)


def is_forgotten(machine: Machine) -> bool:
    return machine.site.is_settled()


def is_staged(machine: Machine) -> bool:
    """The release is here under its name, and what is kept beside it verifies it."""
    evidence = Evidence(machine.site.places)
    evidence.verify_tree(evidence.verify("v3"))
    return True


def is_laid_out(machine: Machine) -> bool:
    """The same, under the name that it has until then."""
    site = machine.site
    (staging,) = site.places.releases.glob(".staging-v3-*")
    verify_tree(site.made("v3"), staging, owner=site.host.uid)
    Evidence(site.places).verify("v3")
    return True


# In this exchange, when this call is about to be made (None: when it has been answered), all of this is on the disk already.
ACKNOWLEDGED = [
    ("stage", "rename .staging-v3-", [is_laid_out]),
    ("stage", None, [is_staged]),
    ("activate", 'rename shop/current"', [steps(), can_go_back]),
    ("activate", 'rename credentials/current"', [links_to("v2"), steps(), can_go_back, has_credentials("v2")]),
    ("activate", 'rename etc/motd"', [links_to("v2"), gets("v2"), steps(), can_go_back]),
    ("activate", 'rename etc/motd" then write shop/journal.jsonl>', [links_to("v2"), has_outside(b"v2")]),
    ("activate", "write systemd/shop.service>", [links_to("v2"), has_outside(b"v2"), steps("switched")]),
    ("activate", None, [links_to("v2"), steps("switched", "healthy"), can_go_back]),
    ("confirm", "write shop/history.jsonl>", [steps("confirmed")]),
    ("confirm", 'rename shop/checkpoint"', [recorded("v2", "success")]),
    ("confirm", "unlink shop/.way-back", [recorded("v2", "success"), is_signed]),
    ("confirm", None, [links_to("v2"), recorded("v2", "success"), is_signed, is_forgotten]),
    ("revert", "write systemd/shop.service>", [links_to("v1"), has_outside(b"v1"), steps("reverting")]),
    ("revert", "write shop/history.jsonl>", [links_to("v1"), steps("reverted")]),
    ("revert", "unlink shop/lease.json", [recorded("v2", "rolled_back"), is_signed]),
    ("revert", None, [links_to("v1"), has_outside(b"v1"), recorded("v2", "rolled_back"), is_signed, is_forgotten]),
    ("roll back", None, [links_to("v1"), has_outside(b"v1"), recorded("v1", "success"), is_signed, is_forgotten]),
    ("stage credentials", "rename credentials/.new-", [gets("v1")]),
    ("stage credentials", None, [gets("v1"), has_credentials("v1"), has_credentials("turned")]),
    ("turn", "write systemd/shop.service>", [gets("turned"), steps("switched")]),
    ("confirm turned", None, [gets("turned"), recorded("v1", "success"), is_signed, is_forgotten]),
    ("revert turned", "write systemd/shop.service>", [gets("v1"), steps("reverting")]),
    ("revert turned", None, [gets("v1"), has_credentials("v1"), recorded("v1", "failed"), is_signed, is_forgotten]),
    ("recover", None, [links_to("v1"), has_outside(b"v1"), recorded("v2", "interrupted"), is_signed, is_forgotten]),
]


def moment_of(points: list[Call], where: str) -> Call:
    """The first call of that name and about that; after ``then``, the first one that follows."""
    calls = iter(points)
    for each in where.split(" then "):
        name, _, about = each.partition(" ")
        at = next(call for call in calls if call.name == name and about in call.about)
    return at


@pytest.mark.parametrize(
    ("name", "where", "facts"), [pytest.param(*row, id=f"{row[0]}, {row[1] or 'answered'}") for row in ACKNOWLEDGED]
)
def test_what_was_acknowledged_before_the_power_failed_is_on_the_disk(name, where, facts, stand, tell):
    operation = BY_NAME[name]
    before, points = prepared(stand, operation)
    with stand.before():
        if where is None:
            answer = operation.exchange(stand.machine)
            assert not answer.get("failed"), answer
        else:
            at = moment_of(points, where)
            assert strace.run(lambda: operation.exchange(stand.machine), fault=KILL, at=at).fired
        trial = stand.lose_power()
    with trial.mounted():
        stand.machine.lose_memory()
        for fact in facts:
            assert fact(stand.machine), f"not on the disk: {fact}"
        require_recovered(stand.machine, before, operation)
    tell("acknowledged steps", f"power, {stand.disk.kind}", 1)


def test_power_that_fails_when_all_was_written_loses_nothing(stand, tell):
    """What the tests above see is the loss of power, not of the disk."""
    operation = BY_NAME["activate"]
    prepared(stand, operation)
    with stand.before():
        operation.exchange(stand.machine)
        (stand.machine.disk / "never synced").write_bytes(b"x")
        trial = stand.lose_power(WRITES_ALL)
    with trial.mounted():
        assert (stand.machine.disk / "never synced").read_bytes() == b"x"
    with stand.before():
        (stand.machine.disk / "never synced").write_bytes(b"x")
        trial = stand.lose_power(LOSES_ALL)
    with trial.mounted():
        assert not (stand.machine.disk / "never synced").exists()
    tell("control: all written, all lost", f"power, {stand.disk.kind}", 2)
