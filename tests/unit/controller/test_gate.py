# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is held: somebody says yes at its terminal or elsewhere, or the time is over. Whoever is first has decided."""

from __future__ import annotations

import os
import pty
import subprocess
from dataclasses import dataclass, field, replace

import pytest
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller.gate import (
    Meant,
    Nobody,
    Terminal,
    await_heard,
    decide,
    instructions,
    wait,
)
from ansible.module_utils.slipway.controller.memory import ControllerState, Gate, Subject


@pytest.fixture
def memory(tmp_path):
    return ControllerState(tmp_path / "state")


def begun(memory, process=None):
    return memory.begin_run(
        operation="deploy", application="shop", environment="prod", deployed_by="alice", now=1000, process=process
    )  # fmt: skip


@pytest.fixture
def held(memory):
    """A gate that is open for a minute; its run is this process."""
    return Gate(begun(memory), 1, "wave 1: release_pause_after", 1000, 1060)


@dataclass
class Typist:
    """Types these lines, one each time it is asked; `before` happens at each question."""

    clock: object
    lines: list = field(default_factory=list)
    before: object = lambda: None

    def line(self, seconds):
        self.before()
        self.clock.sleep(seconds)
        return self.lines.pop(0) if self.lines else None


def waited(memory, held, clock, typist=None, said=None):
    typist = typist or Typist(clock)
    return wait(
        memory, held, clock=clock, typist=typist, typed_by="anna", say=(said if said is not None else []).append
    )


@pytest.mark.parametrize(("line", "decision"), [("yes", "promoted"), ("abort", "aborted")])
def test_what_is_typed_decides(memory, held, clock, line, decision):
    decided = waited(memory, held, clock, Typist(clock, [None, line]))
    assert (decided.decision, decided.decided_by) == (decision, "anna")
    assert memory.held(1001) == []


def test_anything_else_that_is_typed_decides_nothing_and_says_what_would(memory, held, clock):
    said = []
    decided = waited(memory, held, clock, Typist(clock, ["y", "", "\x1b[2J", "yes"]), said)
    assert decided.decision == "promoted"
    assert len(said) == 3
    assert all("type 'yes'" in text and "\x1b" not in text for text in said)


def test_another_process_decides(memory, held, clock):
    def bob():
        if clock.boot > 1001 and memory.held(1001):
            decide(memory, Meant(held.run_id), "promoted", decided_by="bob", now=1010)

    decided = waited(memory, held, clock, Typist(clock, before=bob))
    assert (decided.decision, decided.decided_by, decided.decided) == ("promoted", "bob", 1010)


def test_the_time_that_is_over_decides_too_whatever_the_wall_clock_does(memory, held, clock):
    began = clock.boot

    def jump():
        clock.time -= 86400

    decided = waited(memory, held, clock, Typist(clock, before=jump))
    assert (decided.decision, decided.decided_by) == ("expired", "nobody")
    assert clock.boot - began == pytest.approx(60, abs=1)
    with pytest.raises(Refusal) as refused:
        decide(memory, Meant(held.run_id), "promoted", decided_by="late", now=2000)
    assert refused.value.reason == "run_not_held"


def test_who_comes_second_does_not_decide(memory, held):
    memory.hold(held)
    assert memory.decide(held.run_id, 1, decision="aborted", decided_by="anna", now=1001).decision == "aborted"
    assert memory.decide(held.run_id, 1, decision="promoted", decided_by="bob", now=1002).decided_by == "anna"


def test_one_who_is_overtaken_is_told(memory, held, monkeypatch):
    memory.hold(held)
    open_gates = memory.held(1001)
    memory.decide(held.run_id, 1, decision="aborted", decided_by="anna", now=1001)
    monkeypatch.setattr(ControllerState, "held", lambda _self, _now: open_gates)
    with pytest.raises(Refusal) as refused:
        decide(memory, Meant(), "promoted", decided_by="bob", now=1002)
    assert (refused.value.reason, refused.value.found) == ("gate_decided", "aborted by anna")


def test_a_gate_that_is_gone_is_told(memory, held, monkeypatch):
    monkeypatch.setattr(ControllerState, "held", lambda _self, _now: [held])
    with pytest.raises(Refusal) as refused:
        decide(memory, Meant(), "promoted", decided_by="bob", now=1002)
    assert (refused.value.reason, refused.value.found) == ("gate_decided", "gone")


def test_without_an_id_the_only_run_that_is_held_is_meant(memory, held):
    memory.hold(held)
    assert decide(memory, Meant(), "aborted", decided_by="bob", now=1010).run_id == held.run_id


def test_of_several_that_are_held_one_must_be_named(memory, held):
    other = Gate(begun(memory), 2, "x", 1001, 1061)
    memory.hold(held)
    memory.hold(other)
    with pytest.raises(Refusal) as refused:
        decide(memory, Meant(), "promoted", decided_by="bob", now=1010)
    assert refused.value.reason == "run_id_needed"
    assert held.run_id in refused.value.found
    assert decide(memory, Meant(other.run_id), "promoted", decided_by="bob", now=1010).wave == 2
    assert [each.run_id for each in memory.held(1001)] == [held.run_id]


@pytest.mark.parametrize("run_id", ["", "run_20261121T040641Z_3f09ab"])
def test_what_is_not_held_cannot_be_promoted(memory, run_id):
    begun(memory)
    with pytest.raises(Refusal) as refused:
        decide(memory, Meant(run_id), "promoted", decided_by="bob", now=1010)
    assert (refused.value.reason, refused.value.found) == ("run_not_held", "no run that is held")


def test_a_run_whose_process_is_gone_cannot_be_promoted(memory):
    process = subprocess.Popen(["sleep", "600"])
    gone = Gate(begun(memory, Process.of(process.pid)), 1, "x", 1000, 1060)
    memory.hold(gone)
    assert memory.held(1001) == [gone]
    process.kill()
    process.wait()
    with pytest.raises(Refusal) as refused:
        decide(memory, Meant(gone.run_id), "promoted", decided_by="bob", now=1010)
    assert refused.value.reason == "run_not_held"


@pytest.fixture
def billing(memory):
    """A run of billing v3 to prod in the workflow 12, which is held; nothing else is."""
    run_id = memory.begin_run(
        operation="deploy", application="billing", environment="prod", deployed_by="alice", now=1000, subject=Subject("v3", run_group="12")
    )  # fmt: skip
    gate = Gate(run_id, 1, "x", 1000, 1060)
    memory.hold(gate)
    return gate


OTHERS = {
    "of shop": Meant(application="shop"),
    "of v9": Meant(release_id="v9"),
    "in staging": Meant(environment="staging"),
    "of group 13": Meant(run_group="13"),
    "of shop v3 in prod, of group 12": Meant("", "shop", "v3", "prod", "12"),
}


@pytest.mark.parametrize("said", OTHERS)
def test_a_yes_is_for_the_run_that_was_asked_about_and_for_no_other(memory, billing, said):
    with pytest.raises(Refusal) as refused:
        decide(memory, OTHERS[said], "promoted", decided_by="carl", now=1010)
    assert refused.value.reason == "run_not_held"
    assert said in refused.value.expected
    assert f"{billing.run_id} (billing v3 in prod, of group 12, until {timestamp(1060)})" == refused.value.found
    assert f"this one is {memory.place}" in refused.value.remedy
    assert memory.held(1010) == [billing]


def test_nor_is_one_that_is_named_and_is_of_something_else(memory, billing):
    with pytest.raises(Refusal) as refused:
        decide(memory, Meant(billing.run_id, release_id="v9"), "promoted", decided_by="carl", now=1010)
    assert refused.value.reason == "run_not_held"


@pytest.mark.parametrize(
    "meant", [Meant(application="billing"), Meant("", "billing", "v3", "prod", "12"), Meant(run_group="12")]
)
def test_of_several_that_are_held_what_is_said_of_one_tells_which(memory, held, billing, meant):
    memory.hold(held)
    assert decide(memory, meant, "promoted", decided_by="carl", now=1010).run_id == billing.run_id


def test_one_that_is_named_may_be_of_another_workflow(memory, billing):
    meant = Meant(billing.run_id, run_group="13")
    assert decide(memory, meant, "promoted", decided_by="carl", now=1010).run_id == billing.run_id


def test_a_decision_that_the_run_reads_is_heard(memory, held, clock):
    memory.hold(held)
    decided = decide(memory, Meant(), "promoted", decided_by="bob", now=1010)
    slept = clock.sleep

    def sleep(seconds):
        slept(seconds)
        if len(clock.slept) == 3:
            memory.hear(held.run_id, held.wave, now=1013)

    clock.sleep = sleep
    await_heard(memory, decided, clock=clock)
    assert len(clock.slept) == 3


def test_the_run_says_that_it_has_read_what_was_decided(memory, held, clock):
    waited(memory, held, clock, Typist(clock, ["yes"]))
    assert memory.gate(held.run_id, 1).heard == clock.now()


def test_a_decision_that_nobody_reads_is_told_and_holds_up_nobody_after_it(memory, clock):
    """The process is in a container that is gone, which nobody outside can see."""
    elsewhere = replace(Process.of(os.getpid()), namespace="job-41 pid:[4026532000]")
    gone = Gate(begun(memory, elsewhere), 1, "x", 1000, 1060)
    memory.hold(gone)
    decided = decide(memory, Meant(), "promoted", decided_by="bob", now=1010)
    with pytest.raises(Refusal) as refused:
        await_heard(memory, decided, clock=clock, seconds=5)
    assert refused.value.reason == "run_not_there"
    assert gone.run_id in refused.value.expected
    assert memory.held(1011) == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_an_operator_reads_how_to_go_on_and_until_when(held, is_terminal):
    text = instructions(held, is_terminal=is_terminal)
    assert f"ansible-playbook playbooks/promote.yml -e run_id={held.run_id} -e promote_decision=abort" in text
    assert timestamp(1060) in text
    assert ("Type 'yes'" in text) is is_terminal


def test_without_a_terminal_nobody_types(clock):
    assert Nobody(clock).line(2.5) is None
    assert clock.slept == [2.5]


# a real terminal


@pytest.fixture
def at_terminal():
    """Start a process in the foreground of a terminal of its own; returns its number and the terminal's other end."""
    master, slave = pty.openpty()
    started = []

    def start(command="exec 0<&3; echo there; exec sleep 600"):
        process = subprocess.Popen(
            ["setsid", "--ctty", "sh", "-c", f"exec 3<&0; {command}"], stdin=slave, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "there\n"
        return process.pid, master

    yield start
    for process in started:
        process.kill()
        process.wait()
    os.close(master)
    os.close(slave)


def test_a_line_is_read_from_the_terminal_of_another_process(at_terminal, clock):
    pid, typed = at_terminal()
    terminal = Terminal.of(pid, clock)
    assert terminal.line(0) is None
    os.write(typed, b"y")
    assert terminal.line(0.05) is None, "half a line is none yet"
    os.write(typed, b"es\n")
    assert terminal.line(5) == "yes"
    os.write(typed, b"\x04")
    assert terminal.line(5) is None, "an end of input is no answer"
    assert clock.slept == [5], "and nothing spins"
    terminal.close()


def test_a_terminal_that_is_gone_types_nothing(clock):
    master, slave = pty.openpty()
    os.close(master)
    terminal = Terminal(slave, clock)
    assert terminal.line(3) is None
    assert clock.slept == [3]
    terminal.close()


def test_who_has_no_terminal_or_is_not_in_its_foreground_is_left_alone(at_terminal, clock):
    assert Terminal.of(2**30, clock) is None
    reads_elsewhere, _typed = at_terminal("exec 0</dev/null; echo there; exec sleep 600")
    assert Terminal.of(reads_elsewhere, clock) is None
    process = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        assert Terminal.of(process.pid, clock) is None
    finally:
        process.kill()
        process.wait()
