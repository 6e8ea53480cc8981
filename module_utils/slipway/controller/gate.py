# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout that is held until somebody says how to go on: a yes at its terminal, or another process of this controller.

The gate is a row in the controller's memory. Whoever decides first has decided, be it the time that is over.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..base.clock import Clock, timestamp
from ..base.errors import Refusal, shown
from .memory import ControllerState, Gate, RunRecord

POLL_SECONDS = 1.0
HEARD_SECONDS = 30.0  # so long whoever decided waits for the run to read it
LINE_LIMIT = 4096
PROMOTE = "ansible-playbook playbooks/promote.yml"


class Typist(Protocol):
    """Who may type an answer."""

    def line(self, seconds: float) -> str | None:
        """The next line, None when none came in so many seconds."""


@dataclass(frozen=True)
class Nobody:
    """There is no terminal."""

    clock: Clock

    def line(self, seconds: float) -> str | None:
        self.clock.sleep(seconds)
        return None


@dataclass(frozen=True)
class Terminal:
    """The terminal of another process, such as of the ansible-playbook whose worker this is: a worker has none of its own."""

    descriptor: int
    clock: Clock

    @classmethod
    def of(cls, pid: int, clock: Clock) -> Terminal | None:
        """The terminal at which a process waits in the foreground, None where there is none: nobody's input is taken away."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            group, foreground = int(fields[2]), int(fields[5])
            if group != foreground:
                return None
            descriptor = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if not os.isatty(descriptor):
            os.close(descriptor)
            return None
        return cls(descriptor, clock)

    def line(self, seconds: float) -> str | None:
        """A terminal hands over whole lines; one that is gone, or at its end, types nothing."""
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return None
        with suppress(OSError):
            if typed := os.read(self.descriptor, LINE_LIMIT):
                return typed.decode("utf-8", "replace").strip()
        return Nobody(self.clock).line(seconds)

    def close(self) -> None:
        os.close(self.descriptor)


def instructions(gate: Gate, *, is_terminal: bool) -> str:
    """What an operator reads while a run is held."""
    typed = "Type 'yes' to go on or 'abort' to go back, or from another shell:" if is_terminal else "To go on or back:"
    return (
        f"held after {gate.why}\n{typed}\n  {PROMOTE} -e run_id={gate.run_id}\n"
        f"  {PROMOTE} -e run_id={gate.run_id} -e promote_decision=abort\n"
        f"Without an answer every host goes back at {timestamp(gate.closes)}."
    )


def wait(
    memory: ControllerState,
    gate: Gate,
    *,
    clock: Clock,
    typist: Typist,
    typed_by: str,
    say: Callable[[str], object],
) -> Gate:
    """Hold the run of ``gate`` until it is decided on; the time that is over decides as well (``expired``)."""
    memory.hold(gate)
    deadline = clock.elapsed() + (gate.closes - gate.opened)
    while True:
        decided = memory.gate(gate.run_id, gate.wave)
        if decided is not None and decided.decision is not None:
            memory.hear(gate.run_id, gate.wave, now=clock.now())
            return decided
        left = deadline - clock.elapsed()
        decision, by = ("expired", "nobody") if left <= 0 else (None, typed_by)
        if decision is None and (line := typist.line(min(POLL_SECONDS, left))) is not None:
            decision = {"yes": "promoted", "abort": "aborted"}.get(line)
            if decision is None:
                say(f"{shown(line, 40)} is neither: type 'yes' to go on or 'abort' to go back.")
        if decision is not None:
            memory.decide(gate.run_id, gate.wave, decision=decision, decided_by=by, now=clock.now())


@dataclass(frozen=True)
class Meant:
    """Which run a decision is for, "" where it does not matter: by its id, else by what it deploys where, and its group of runs."""

    run_id: str = ""
    application: str = ""
    release_id: str = ""
    environment: str = ""
    run_group: str = ""

    def fits(self, run: RunRecord) -> bool:
        """Whether it is that one. A group is no matter where the id was said: that is one that somebody has seen."""
        pairs = [(self.run_id, run.run_id), (self.application, run.application), (self.release_id, run.release_id),
                 (self.environment, run.environment), ("" if self.run_id else self.run_group, run.run_group)]  # fmt: skip
        return all(wanted in ("", found) for wanted, found in pairs)

    def __str__(self) -> str:
        what = f"run {self.run_id}" if self.run_id else "a run"
        of = " ".join(each for each in (self.application, self.release_id) if each)
        group = "" if self.run_id else self.run_group
        return f"{what}{f' of {of}' if of else ''}{f' in {self.environment}' if self.environment else ''}{f', of group {group}' if group else ''}"


def held_run(memory: ControllerState, meant: Meant, *, now: int) -> Gate:
    """The gate of the run that is meant, of those that are held. Refusals ``run_not_held``, and ``run_id_needed`` where several are."""
    held = [(gate, run) for gate in memory.held(now) if (run := memory.run(gate.run_id))]
    found = "; ".join(_described(gate, run) for gate, run in held) or "no run that is held"
    wanted = [gate for gate, run in held if meant.fits(run)]
    if not wanted:
        other = "Say which of these is meant (-e run_id=…), or correct what was said of it. " if held else ""
        raise Refusal(
            "run_not_held",
            expected=f"{meant} that is held, and its process to be there",
            found=found,
            remedy=f"{other}Look at the output of that run: it may not be there yet, or have gone on. "
            f"It is decided with the memory that it began with; this one is {memory.place}.",
        )
    if len({gate.run_id for gate in wanted}) > 1:
        raise Refusal(
            "run_id_needed", expected="the run that is meant", found=found, remedy="Say which one: -e run_id=…"
        )
    return wanted[-1]


def _described(gate: Gate, run: RunRecord) -> str:
    """A run that is held, so that somebody knows which one it is."""
    group = f", of group {run.run_group}" if run.run_group else ""
    return f"{run.run_id} ({run.application} {run.release_id or '-'} in {run.environment}{group}, until {timestamp(gate.closes)})"


def decide(memory: ControllerState, meant: Meant, decision: str, *, decided_by: str, now: int) -> Gate:
    """Promote or abort the run that is meant, which has to be held.

    Refusals: those of `held_run`, and ``gate_decided`` where somebody was faster.
    """
    gate = held_run(memory, meant, now=now)
    decided = memory.decide(gate.run_id, gate.wave, decision=decision, decided_by=decided_by, now=now)
    if decided is None or (decided.decision, decided.decided_by, decided.decided) != (decision, decided_by, now):
        became = f"{decided.decision} by {decided.decided_by}" if decided else "gone"
        raise Refusal(
            "gate_decided",
            expected=f"run {gate.run_id} to be held still",
            found=became,
            remedy="Look at the output of that run.",
        )
    return decided


def await_heard(memory: ControllerState, decided: Gate, *, clock: Clock, seconds: float = HEARD_SECONDS) -> None:
    """Wait until the run has read what was decided. Refusal ``run_not_there``: it does not, so that it is not there any more.

    A job that is cancelled takes its process with it, and nobody outside of its container can see that.
    """
    deadline = clock.elapsed() + seconds
    while (gate := memory.gate(decided.run_id, decided.wave)) is not None and gate.heard is None:
        if clock.elapsed() >= deadline:
            raise Refusal(
                "run_not_there",
                expected=f"run {decided.run_id} to read that it is {decided.decision}",
                found=f"nothing of it in {seconds:g} s, so its process is gone: its job was cancelled, say, or its machine was lost",
                remedy="Nothing went on. Its hosts go back by themselves when their leases end; look with ansible-playbook playbooks/status.yml, "
                "then deploy again.",
            )
        clock.sleep(POLL_SECONDS)
