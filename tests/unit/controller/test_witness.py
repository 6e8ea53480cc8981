# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller says of a history, from real history files that were tampered with in every way."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.controller.memory import ControllerState
from ansible.module_utils.slipway.controller.witness import TRUSTED, Said, Verdict, Witness, compare_runs
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.trust import merkle
from ansible.module_utils.slipway.trust.chain import EMPTY_TREE, leaf_hash
from ansible.module_utils.slipway.trust.checkpoint import Checkpoint, origin_of
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.note import Note
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOW = signed.NOW
ID = "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10"
OTHER_ID = "00000000-6a0e-4a3e-9a64-2f3f5c1d9e10"


@dataclass
class Machine:
    """A host with one history file; what it answers is made from the bytes of that file, as an honest host would."""

    path: object
    id: str = ID
    name: str = "prod-1"
    application: str = "shop"
    key: object = field(default_factory=lambda: signed.private_key(20))

    @property
    def lines(self):
        return self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []

    @lines.setter
    def lines(self, lines):
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))

    def record(self, *release_ids):
        for release_id in release_ids:
            History(self.path).append({"release_id": release_id})

    def tree(self):
        return merkle.Tree([merkle.leaf_hash(line) for line in self.lines])

    def log(self, witnessed=None, **changes):
        tree = self.tree()
        checkpoint = Checkpoint(origin_of(self.id, self.application), tree.size, tree.root())
        proof = tree.consistency_proof(witnessed["size"]) if witnessed and witnessed["size"] <= tree.size else []
        return {
            "checkpoint": checkpoint.sign(self.key).decode(),
            "key": PublicKey.of(self.key).hex,
            "consistency": merkle.as_hex(proof),
            "torn": sorted(path.name for path in self.path.parent.glob("*.torn-*")),
            **changes,
        }

    def roots(self, sizes):
        tree = self.tree()
        return {str(size): tree.root(size).hex() for size in sizes if size <= tree.size}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "history.jsonl")


@pytest.fixture
def witness(tmp_path):
    return Witness(tmp_path / "state")


@pytest.fixture
def ask(witness, machine):
    """One exchange with the machine, or with another one: recall, ask, judge. With `roots`, as verify.yml asks."""

    def asked(host=machine, *, roots=False, altered=None, now=NOW, **changes):
        memory = witness.recall(host.name, host.application)
        if memory.pinned is None or memory.pinned.id != host.id:
            memory = witness.recall(host.name, host.application, host.id)
        at_sizes = host.roots(memory.sizes()) if roots else None
        said = Said(host.id, host.name, host.log(memory.witnessed(), **changes), at_sizes, altered)
        return witness.judge(memory, said, now=now).outcome

    return asked


@pytest.fixture
def witnessed(machine, ask):
    """Four records, of which checkpoints of 1, 2 and 4 were kept."""
    machine.record("v1")
    assert ask() == "first_seen"
    machine.record("v2")
    assert ask(now=NOW + 10) == "intact"
    machine.record("v3", "v4")
    assert ask(now=NOW + 20) == "intact"
    return machine


def sizes(witness, machine):
    return [kept.size for kept in witness.recall(machine.name, machine.application).checkpoints]


def recomputed(lines):
    """The lines as a chain that holds in itself: what somebody with root writes who knows the format."""
    previous, chain = EMPTY_TREE, []
    for seq, line in enumerate(lines):
        chain.append(canonical.encode({**json.loads(line), "seq": seq, "prev_hash": previous}))
        previous = leaf_hash(chain[-1])
    return chain


def edited(line):
    return canonical.encode({**json.loads(line), "release_id": "v9"})


def test_a_history_that_grows_is_intact_and_each_checkpoint_is_kept_once(witness, witnessed, ask):
    assert sizes(witness, witnessed) == [1, 2, 4]
    assert ask() == "intact"
    assert sizes(witness, witnessed) == [1, 2, 4]


def test_what_is_kept_is_the_hosts_checkpoint_with_the_cosignature_of_this_controller(witness, witnessed):
    kept = witness.recall("prod-1", "shop").newest
    note = Note.parse(kept.note.encode())
    assert [each.name for each in note.signatures] == [f"slipway/{ID}/shop", witness.verifier().name]
    assert witness.verifier().signed(note) == kept.kept == NOW + 20
    assert (kept.size, kept.root) == (4, witnessed.tree().root().hex())


def test_signatures_that_nobody_asked_about_are_not_kept(witness, machine, ask):
    machine.record("v1")
    note = Note.parse(machine.log()["checkpoint"].encode()).signed_by("stranger", signed.OTHER_KEY)
    assert ask(checkpoint=note.encode().decode()) == "first_seen"
    assert "stranger" not in witness.recall("prod-1", "shop").newest.note


def test_the_witness_key_is_made_once_and_is_its_owners_alone(witness):
    key = witness.verifier()
    assert witness.verifier() == key
    assert witness.key_path.stat().st_mode & 0o777 == 0o600


def test_the_witness_key_of_a_faster_process_is_used(witness, monkeypatch):
    key = witness.verifier()
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)
    assert PublicKey.of(witness.key()) == key.public


def test_a_key_directory_that_cannot_be_written_is_told(witness):
    witness.state.write_text("no directory")
    with pytest.raises(OSError, match="state"):
        witness.key()


def test_a_torn_line_that_was_set_aside_is_told_and_trusted(witness, witnessed, ask):
    with open(witnessed.path, "ab") as stream:
        stream.write(b'{"release_id":"v5"')
    witnessed.record("v6")
    assert ask() == "torn"
    assert sizes(witness, witnessed) == [1, 2, 4, 5]


def test_a_torn_line_is_told_where_a_history_is_seen_first(machine, ask):
    machine.record("v1")
    with open(machine.path, "ab") as stream:
        stream.write(b"{")
    machine.record("v2")
    assert ask() == "torn"


# Each takes the lines of a history and gives those that somebody wrote over them.
TAMPERED = {
    "an edited record, the chain made anew": lambda lines: recomputed([lines[0], edited(lines[1]), *lines[2:]]),
    "a dropped record, the chain made anew": lambda lines: recomputed([*lines[:1], *lines[2:], lines[3]]),
    "two swapped records, the chain made anew": lambda lines: recomputed([lines[1], lines[0], *lines[2:]]),
    "an inserted record, the chain made anew": lambda lines: recomputed([lines[0], edited(lines[0]), *lines[1:]]),
    "the whole chain of other records": lambda lines: recomputed([edited(line) for line in lines]),
    "an edited record": lambda lines: [lines[0], edited(lines[1]), *lines[2:]],
    "two swapped records": lambda lines: [lines[1], lines[0], *lines[2:]],
    "an inserted record": lambda lines: [lines[0], edited(lines[0]), *lines[1:]],
    "a sequence twice": lambda lines: [*lines[:3], lines[2], lines[3]],
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_rewritten_history_is_found_although_the_host_signs_it(witness, witnessed, ask, case):
    witnessed.lines = TAMPERED[case](witnessed.lines)
    assert ask() == "rewritten"
    assert ask(roots=True) in ("forked", "rewritten")
    assert sizes(witness, witnessed) == [1, 2, 4]


def test_another_end_is_a_fork_and_the_message_says_from_where_on(witness, witnessed):
    witnessed.lines = recomputed([*witnessed.lines[:2], edited(witnessed.lines[2]), witnessed.lines[3]])
    memory = witness.recall("prod-1", "shop")
    said = Said(ID, "prod-1", witnessed.log(memory.witnessed()), witnessed.roots(memory.sizes()))
    verdict = witness.judge(memory, said, now=NOW)
    assert verdict == Verdict(
        "forked",
        "the first 2 records are those that were kept, the others are not; 4 were kept at 2026-11-18T11:07:00Z",
    )


def test_nothing_that_fits_any_checkpoint_is_rewritten(witnessed, ask):
    witnessed.lines = recomputed([edited(line) for line in witnessed.lines])
    assert ask(roots=True) == "rewritten"


def test_a_fork_that_went_on_is_a_fork(witnessed, ask):
    witnessed.lines = witnessed.lines[:2]
    witnessed.record("w3", "w4", "w5", "w6")
    assert ask(roots=True) == "forked"


def test_a_shorter_fork_is_a_fork(witness, machine, ask):
    for release_id in ("v1", "v2", "v3"):
        machine.record(release_id)
        ask()
    machine.lines = machine.lines[:1]
    machine.record("w2")
    assert ask() == "rewritten"
    assert ask(roots=True) == "forked"


def test_a_history_of_an_older_checkpoint_is_restored(witness, witnessed, ask):
    witnessed.lines = witnessed.lines[:2]
    assert ask() == "restored"
    assert ask(roots=True) == "restored"
    assert sizes(witness, witnessed) == [1, 2, 4]


def test_a_history_that_lost_lines_is_truncated(witnessed, ask):
    witnessed.lines = witnessed.lines[:3]
    assert ask() == "truncated"


def test_a_history_that_is_gone_is_truncated(witness, witnessed):
    memory = witness.recall("prod-1", "shop")
    for log in (None, witnessed.log() | {"checkpoint": None}):
        assert witness.judge(memory, Said(ID, "prod-1", log), now=NOW).outcome == "truncated"


def test_a_host_without_any_history_is_seen_first(witness):
    assert witness.judge(witness.recall("prod-1", "shop"), Said(ID, "prod-1", None), now=NOW) == Verdict(
        "first_seen", "nothing that the host signed is there yet"
    )


def test_an_empty_history_is_kept_too_and_anything_goes_on_from_it(witness, machine, ask):
    assert ask() == "first_seen"
    machine.record("v1", "v2", "v3")
    assert ask() == "intact"
    assert sizes(witness, machine) == [0, 3]


@pytest.mark.parametrize("consistency", [[], ["00" * 32], None, "none", ["zz" * 32]])
def test_a_proof_is_verified_and_never_assumed(witnessed, ask, consistency):
    witnessed.record("v5")
    assert ask(consistency=consistency) == "rewritten"


def test_what_the_host_itself_found_broken_is_its_verdict(witnessed, ask):
    assert ask(altered=Verdict("rewritten", "line 2")) == "rewritten"


def test_the_checkpoint_of_another_host_is_foreign(tmp_path, witnessed, ask):
    other = Machine(tmp_path / "other.jsonl", id=OTHER_ID, name="prod-2", key=signed.private_key(21))
    other.record("v1", "v2", "v3", "v4", "v5")
    assert ask(other) == "first_seen"
    assert ask(**{key: other.log()[key] for key in ("checkpoint", "key")}) == "foreign_checkpoint"
    assert ask(checkpoint=other.log()["checkpoint"]) == "foreign_checkpoint"


def test_the_checkpoint_of_another_application_is_foreign(witnessed, ask):
    other = Machine(witnessed.path, application="other")
    assert ask(checkpoint=other.log()["checkpoint"]) == "foreign_checkpoint"


@pytest.mark.parametrize(
    "changes",
    [{"checkpoint": "no note"}, {"checkpoint": 7}, {"key": "00" * 32}, {"key": None}, {"key": "f" * 63}],
)
def test_what_is_no_signed_checkpoint_is_foreign(witnessed, ask, changes):
    assert ask(**changes) == "foreign_checkpoint"


def test_another_key_is_told_before_anything_that_it_signed_is_believed(witness, witnessed, ask):
    witnessed.key = signed.private_key(22)
    witnessed.record("v5")
    assert ask() == "key_changed"
    assert sizes(witness, witnessed) == [1, 2, 4]


def test_the_key_is_pinned_when_the_host_is_bootstrapped(witness, machine, ask):
    witness.pin({"host": {"id": ID}, "history_key": PublicKey.of(signed.private_key(22)).hex}, "prod-1", now=NOW)
    machine.record("v1")
    assert ask() == "key_changed"


@pytest.mark.parametrize(
    "answer", [{}, {"history_key": None}, {"failed": True, "history_key": "00" * 32, "host": {"id": ID}}]
)
def test_an_answer_without_a_key_pins_nothing(witness, answer):
    witness.pin(answer, "prod-1", now=NOW)
    assert witness.recall("prod-1", "shop").pinned is None


def test_another_machine_under_the_same_name_is_told_unless_it_was_bootstrapped_here(tmp_path, witness, witnessed, ask):
    new = Machine(tmp_path / "new.jsonl", id=OTHER_ID, key=signed.private_key(21))
    new.record("v1")
    assert ask(new) == "key_changed"
    witness.pin({"host": {"id": OTHER_ID}, "history_key": PublicKey.of(new.key).hex}, "prod-1", now=NOW)
    assert ask(new) == "first_seen"
    assert ask() == "restored"  # the old machine is back in its place


def test_a_machine_that_was_bootstrapped_anew_may_have_kept_its_key(witness, witnessed, ask):
    witnessed.id = OTHER_ID
    assert ask() == "key_changed"
    witnessed.name = "web-1"
    assert ask() == "foreign_checkpoint"  # a clone of prod-1
    witnessed.name = "prod-1"
    witness.pin({"host": {"id": OTHER_ID}, "history_key": PublicKey.of(witnessed.key).hex}, "prod-1", now=NOW)
    assert (ask(), ask()) == ("first_seen", "intact")


def test_a_host_that_got_another_name_is_still_known(witness, witnessed, ask):
    witnessed.name = "web-1"
    witnessed.record("v5")
    assert ask() == "intact"
    assert witness.recall("web-1", "shop").pinned.id == ID
    assert sizes(witness, witnessed) == [1, 2, 4, 5]


def altered_memory(witness, statement, *values):
    with sqlite3.connect(witness.state / "state.sqlite") as connection:
        connection.execute(statement, values)


def test_a_checkpoint_of_an_unknown_witness_proves_nothing(witness, witnessed, ask):
    witness.key_path.unlink()
    assert ask() == "unknown_witness"


@pytest.mark.parametrize("column", ["size", "root", "note"])
def test_a_memory_that_differs_from_what_was_cosigned_proves_nothing(witness, witnessed, ask, column):
    value = {"size": 3, "root": "00" * 32, "note": "no note"}[column]
    altered_memory(witness, f"UPDATE checkpoints SET {column} = ? WHERE size = 4", value)
    assert ask() == "unknown_witness"


def test_a_cosignature_that_does_not_hold_proves_nothing(witness, witnessed, ask):
    kept = witness.recall("prod-1", "shop").newest
    note = Note.parse(kept.note.encode())
    altered_memory(witness, "UPDATE checkpoints SET note = ? WHERE size = 4", kept.note.replace("\n4\n", "\n5\n"))
    assert note.encode().decode() == kept.note
    assert ask() == "unknown_witness"


def test_what_another_run_kept_meanwhile_is_not_overtaken_by_what_was_not_proven_against_it(witness, witnessed, ask):
    memory = witness.recall("prod-1", "shop")
    witnessed.record("v5")
    slow = Said(ID, "prod-1", witnessed.log(memory.witnessed()))
    witnessed.record("v6")
    assert ask() == "intact"
    assert witness.judge(memory, slow, now=NOW) == Verdict("intact", "5 records")
    assert sizes(witness, witnessed) == [1, 2, 4, 6]


# accepting


def accepted(witness, machine, **options):
    memory = witness.recall(machine.name, machine.application, machine.id)
    said = Said(machine.id, machine.name, machine.log(memory.witnessed()), machine.roots(memory.sizes()), **options)
    return witness.accept(memory, said, accepted_by="anna", now=NOW + 60)


def test_a_restored_host_is_judged_anew_from_what_it_has_once_that_is_accepted(witness, witnessed, ask):
    witnessed.lines = witnessed.lines[:2]
    assert accepted(witness, witnessed) == Verdict(
        "accepted",
        "by anna, was restored: as it was at 2026-11-18T11:06:50Z: 2 records; 4 were kept at 2026-11-18T11:07:00Z",
    )
    assert (ask(), sizes(witness, witnessed)) == ("accepted", [2])
    witnessed.record("w3")
    assert (ask(), sizes(witness, witnessed)) == ("accepted", [2, 3])
    acceptance = ControllerState(witness.state).acceptance(ID, "shop")
    assert (acceptance.size, acceptance.accepted) == (2, NOW + 60)


def test_what_was_kept_before_an_acceptance_stays_with_the_reason(witness, witnessed):
    witnessed.lines = witnessed.lines[:3]
    accepted(witness, witnessed)
    with sqlite3.connect(witness.state / "state.sqlite") as connection:
        rows = connection.execute("SELECT era, size FROM checkpoints ORDER BY number").fetchall()
        notes = connection.execute("SELECT outcome, size, accepted_by, previous_key FROM acceptances").fetchall()
    assert rows == [(0, 1), (0, 2), (0, 4), (1, 3)]
    assert notes == [("truncated", 3, "anna", None)]


def test_a_new_key_can_be_accepted(witness, witnessed, ask):
    before = PublicKey.of(witnessed.key).hex
    witnessed.key = signed.private_key(22)
    assert accepted(witness, witnessed).outcome == "accepted"
    assert ask() == "accepted"
    with sqlite3.connect(witness.state / "state.sqlite") as connection:
        assert connection.execute("SELECT previous_key FROM acceptances").fetchone() == (before,)


def test_a_new_machine_in_the_place_of_another_can_be_accepted(tmp_path, witness, witnessed, ask):
    new = Machine(tmp_path / "new.jsonl", id=OTHER_ID, key=signed.private_key(21))
    new.record("v1")
    assert ask(new) == "key_changed"
    accepted(witness, new)
    assert ask(new) == "accepted"


def test_a_lost_witness_key_is_replaced_by_accepting(witness, witnessed, ask):
    witness.key_path.unlink()
    assert ask() == "unknown_witness"
    accepted(witness, witnessed)
    assert ask() == "accepted"


def test_accepting_what_is_intact_changes_nothing(witness, witnessed):
    assert accepted(witness, witnessed) == Verdict("intact", "4 records")
    assert sizes(witness, witnessed) == [1, 2, 4]


def test_a_rewritten_history_is_never_accepted(witness, witnessed):
    witnessed.lines = recomputed([edited(line) for line in witnessed.lines])
    assert accepted(witness, witnessed).outcome == "rewritten"
    assert witness.memory().acceptance(ID, "shop").accepted == 0
    assert sizes(witness, witnessed) == [1, 2, 4]


def test_what_was_accepted_is_told_for_ever_by_whom_and_what_it_was(witness, witnessed, ask):
    witnessed.lines = witnessed.lines[:2]
    accepted(witness, witnessed)
    witnessed.record("w3")
    memory = witness.recall("prod-1", "shop")
    verdict = witness.judge(memory, Said(ID, "prod-1", witnessed.log(memory.witnessed())), now=NOW + 90)
    assert verdict == Verdict(
        "accepted", f"3 records; judged since {timestamp(NOW + 60)} only, when anna accepted what was restored"
    )


def test_a_broken_chain_or_a_foreign_checkpoint_is_not_accepted(witness, witnessed):
    refused = accepted(witness, witnessed, altered=Verdict("rewritten", "line 2"))
    assert (refused.outcome, refused.detail.startswith("line 2; not accepted: ")) == ("rewritten", True)
    memory = witness.recall("prod-1", "shop")
    for log, outcome in ((None, "truncated"), ({**witnessed.log(), "checkpoint": "no note"}, "foreign_checkpoint")):
        assert witness.accept(memory, Said(ID, "prod-1", log), accepted_by="anna", now=NOW).outcome == outcome
    assert sizes(witness, witnessed) == [1, 2, 4]


# answers of exchanges


def test_an_answer_of_an_exchange_is_judged_by_the_host_that_it_names(witness, witnessed):
    memory = witness.recall("prod-1", "shop")
    answer = {"host": {"id": ID}, "log": witnessed.log(memory.witnessed())}
    assert witness.judge_answer(memory, answer, "prod-1", now=NOW) == Verdict("intact", "4 records")
    assert witness.judge_answer(memory, {"log": answer["log"]}, "prod-1", now=NOW) == Verdict("intact", "4 records")


def test_the_first_answer_that_names_no_host_is_judged_by_its_origin(witness, machine):
    machine.record("v1")
    memory = witness.recall("prod-1", "shop")
    assert witness.judge_answer(memory, {"log": machine.log()}, "prod-1", now=NOW).outcome == "first_seen"
    assert witness.recall("prod-1", "shop").pinned.id == ID
    unknown = witness.recall("prod-2", "shop")
    assert witness.judge_answer(unknown, {"log": {"checkpoint": "no note"}}, "prod-2", now=NOW) is None
    assert witness.judge_answer(unknown, {"log": None}, "prod-2", now=NOW) is None


@pytest.mark.parametrize(
    ("outcome", "verdict"), [("altered", "rewritten"), ("truncated", "truncated"), ("torn", "intact")]
)
def test_what_the_host_says_against_its_own_history_is_believed(witness, witnessed, outcome, verdict):
    memory = witness.recall("prod-1", "shop")
    log = {**witnessed.log(memory.witnessed()), "outcome": outcome, "detail": "so it is"}
    assert witness.judge_answer(memory, {"log": log}, "prod-1", now=NOW).outcome == verdict


def test_the_roots_of_an_answer_tell_a_fork(witness, witnessed):
    witnessed.lines = recomputed([*witnessed.lines[:2], edited(witnessed.lines[2]), witnessed.lines[3]])
    memory = witness.recall("prod-1", "shop")
    answer = {"log": {**witnessed.log(memory.witnessed()), "roots": witnessed.roots(memory.sizes())}}
    assert witness.judge_answer(memory, answer, "prod-1", now=NOW).outcome == "forked"


def test_a_host_that_refuses_since_its_history_is_broken_gets_a_verdict_and_other_refusals_get_none(witness, witnessed):
    memory = witness.recall("prod-1", "shop")
    broken = {"failed": True, "reason": "history_altered", "found": "line 2"}
    assert witness.judge_answer(memory, broken, "prod-1", now=NOW) == Verdict("rewritten", "line 2")
    for answer in ({"failed": True, "reason": "environment_mismatch"}, {"msg": "timed out"}):
        assert witness.judge_answer(memory, answer, "prod-1", now=NOW) is None


def test_a_memory_that_cannot_be_written_is_told_and_does_not_undo_what_the_host_did(witness, witnessed):
    memory = witness.recall("prod-1", "shop")
    witnessed.record("v5")
    answer = {"log": witnessed.log(memory.witnessed())}
    altered_memory(witness, "DROP TABLE checkpoints")
    verdict = witness.judge_answer(memory, answer, "prod-1", now=NOW)
    assert (verdict.outcome, "no such table: checkpoints" in verdict.detail) == ("unjudged", True)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["altered", "seq", "run_id", "checkpoint"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["size", "roots"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(
    ("checkpoint", "key", "consistency", "torn", "roots", "outcome", "detail", "host", "failed", "reason", "found", "runs"), ANYTHING,
)))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_host_answers_it_is_judged_and_never_believed(witness, witnessed, garbage):
    memory = witness.recall("prod-1", "shop")
    answer = {**garbage, "log": garbage, "history": garbage}
    verdict = witness.judge_answer(memory, answer, "prod-1", now=NOW)
    assert verdict is None or not verdict.is_trusted
    found = witness.verified(memory, answer, "prod-1", accepted_by="anna", now=NOW)["witness"]
    assert found is None or found["outcome"] not in TRUSTED
    assert sizes(witness, witnessed) == [1, 2, 4]


@given(ANYTHING)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_host_tells_of_its_runs_it_is_compared(witness, witnessed, garbage):
    memory = witness.recall("prod-1", "shop")
    answer = {"host": {"id": ID}, "history": witnessed.log(memory.witnessed()), "runs": garbage}
    found = witness.verified(memory, answer, "prod-1", accepted_by=None, now=NOW)
    assert found["witness"]["outcome"] == "intact"
    assert found["own_runs"]["outcome"] == ("complete" if garbage == [] else "unknown")


# the controller's own runs


@pytest.fixture
def memory(witness):
    return witness.memory()


def begun(memory, *, recorded, now=NOW):
    run_id = memory.begin_run(operation="deploy", application="shop", environment="prod", deployed_by="anna", now=now)
    if recorded is not None:
        memory.note_host_of_run(run_id, host_id=ID, outcome="confirmed", recorded=recorded, now=now)
    return run_id


def compared(memory, *runs, first=0):
    told = [
        {"run_id": run_id, "controller_id": controller, "status": "success", "seq": first + number}
        for number, (run_id, controller) in enumerate(runs)
    ]
    return compare_runs(memory, ID, "shop", told)


def test_runs_and_records_that_agree_are_complete(memory):
    ours = memory.controller_id()
    recorded, unsettled, without = (begun(memory, recorded=each) for each in (True, None, False))
    assert compared(memory, (recorded, ours), (unsettled, ours), ("run-x", "another")) == Verdict("complete")
    assert compared(memory, (recorded, ours)).outcome == "complete"
    assert without not in compared(memory, (recorded, ours)).detail


def test_a_run_that_the_host_recorded_and_has_no_record_of_is_missing(memory):
    run_id = begun(memory, recorded=True)
    assert compared(memory) == Verdict("missing", f"no record of {run_id}")


def test_both_sides_are_told(memory):
    run_id = begun(memory, recorded=True)
    found = compared(memory, ("run-9", memory.controller_id()))
    assert found == Verdict("missing", f"no record of {run_id}; records of run-9, which this controller never began")
    assert compared(memory, (run_id, "another"), ("run-9", memory.controller_id())).outcome == "unknown"


def test_what_was_so_when_a_history_was_accepted_is_accepted_with_it(memory, witness, witnessed):
    lost = begun(memory, recorded=True, now=NOW + 59)
    strange = ("run-9", memory.controller_id())
    witnessed.lines = witnessed.lines[:2]
    accepted(witness, witnessed)
    assert compared(memory, ("run-8", "another"), strange).outcome == "complete"
    assert compared(memory, ("run-8", "another"), ("run-7", "another"), strange).outcome == "unknown"
    later = begun(memory, recorded=True, now=NOW + 61)
    found = compared(memory)
    assert (later in found.detail, lost in found.detail) == (True, False)


def test_runs_that_differ_can_be_accepted_while_the_history_is_intact(memory, witness, witnessed, ask):
    """As after the controller's own state was put back from a backup."""
    begun(memory, recorded=True)
    remembered = witness.recall("prod-1", "shop")
    runs = [{"run_id": "run-9", "controller_id": memory.controller_id(), "status": "success", "seq": 0}]
    answer = {"host": {"id": ID}, "history": witnessed.log(remembered.witnessed()), "runs": runs}
    options = {"accepted_by": None, "now": NOW + 60}
    assert witness.verified(remembered, answer, "prod-1", **options)["own_runs"]["outcome"] == "missing"
    found = witness.verified(remembered, answer, "prod-1", **{**options, "accepted_by": "anna"})
    assert (found["witness"]["outcome"], found["own_runs"]["outcome"]) == ("intact", "complete")
    remembered = witness.recall("prod-1", "shop")
    assert [kept.size for kept in remembered.checkpoints] == [4]
    found = witness.verified(remembered, answer, "prod-1", **options)
    assert (found["witness"]["outcome"], found["own_runs"]["outcome"]) == ("accepted", "complete")


def test_runs_that_differ_are_not_accepted_while_the_history_is_not_trusted(memory, witness, witnessed):
    begun(memory, recorded=True)
    remembered = witness.recall("prod-1", "shop")
    history = {**witnessed.log(remembered.witnessed()), "outcome": "altered", "detail": "line 2"}
    answer = {"host": {"id": ID}, "history": history, "runs": []}
    found = witness.verified(remembered, answer, "prod-1", accepted_by="anna", now=NOW + 60)
    assert (found["witness"]["outcome"], found["own_runs"]["outcome"]) == ("rewritten", "missing")
    assert sizes(witness, witnessed) == [1, 2, 4]


@pytest.mark.parametrize(
    "runs",
    [None, {}, [7], [{}], [{"run_id": "a", "controller_id": "b"}], [{"run_id": "a", "controller_id": "b", "seq": "0"}]],
)
def test_a_list_of_runs_that_is_none_is_told(witness, witnessed, runs):
    remembered = witness.recall("prod-1", "shop")
    answer = {"host": {"id": ID}, "history": witnessed.log(remembered.witnessed()), "runs": runs}
    found = witness.verified(remembered, answer, "prod-1", accepted_by=None, now=NOW)
    assert found["own_runs"] == {
        "outcome": "unknown",
        "detail": "what the host tells of its records is no list of runs",
    }


def test_an_answer_without_runs_is_not_compared(witness, witnessed):
    remembered = witness.recall("prod-1", "shop")
    answer = {"failed": True, "reason": "environment_mismatch"}
    assert witness.verified(remembered, answer, "prod-1", accepted_by=None, now=NOW) == {
        "witness": None,
        "own_runs": None,
    }


def test_runs_older_than_the_records_that_a_host_tells_are_not_missed(memory):
    begun(memory, recorded=True, now=NOW)
    newer = begun(memory, recorded=True, now=NOW + 3600)
    assert compared(memory, (newer, memory.controller_id()), first=1000).outcome == "complete"
    assert compared(memory, (newer, memory.controller_id())).outcome == "missing"
