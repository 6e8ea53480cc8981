# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from a check's result: a pure function of the results so far, the rule and the time.

The first failure is logged. The second in a row is a WARNING; the third is CRITICAL and runs the hook. Whatever is not HEALTHY is a
failure. A recovery resolves what was announced. The same severity is not announced again before its cooldown is over, unless it was
resolved in between: who was told that all is well must hear that it is not. So that this does not become a stream of messages, a
check that falls again and again is flapping: that is said once, and neither a further fall nor a recovery is announced until it has
been well for a while.

Times are whole seconds of the wall clock, since they must outlive a reboot. One that lies in the future (the clock was set back) counts as
long ago: a message too many is better than one too few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

HEALTHY: Final = "HEALTHY"
DEGRADED: Final = "DEGRADED"
UNHEALTHY: Final = "UNHEALTHY"
STATUSES: Final = (HEALTHY, DEGRADED, UNHEALTHY)
INFO: Final = "INFO"
WARNING: Final = "WARNING"
CRITICAL: Final = "CRITICAL"
SEVERITIES: Final = (INFO, WARNING, CRITICAL)
WARNING_AT: Final = 2
CRITICAL_AT: Final = 3
# What a state remembers of falls; a rule's limit is at most this.
MOST_FALLS: Final = 60


@dataclass(frozen=True)
class Rule:
    """How a check escalates; durations in seconds.

    ``severity`` is the highest that it reaches. ``flap_falls`` falls within ``flap_seconds`` make it flapping, and ``calm_seconds`` of
    health end that.
    """

    severity: str = CRITICAL
    has_hook: bool = False
    cooldown_seconds: int = 3600
    flap_falls: int = 4
    flap_seconds: int = 3600
    calm_seconds: int = 600


@dataclass(frozen=True)
class State:
    """What is remembered of one check.

    ``failures`` in a row; ``since`` is when the first of them was seen; ``announced`` says for each severity when it was announced last;
    ``firing`` are the severities that were announced and not resolved; ``hooked`` is whether the hook was run since the last
    recovery; ``falls`` are the times at which it ceased to be healthy; ``well_since`` is only kept while it is ``flapping``.
    """

    failures: int = 0
    since: int | None = None
    announced: Mapping[str, int] = field(default_factory=dict)
    firing: tuple[str, ...] = ()
    hooked: bool = False
    falls: tuple[int, ...] = ()
    flapping: bool = False
    well_since: int | None = None

    @property
    def level(self) -> int:
        """How far it has escalated: 0 well, 1 logged, 2 WARNING, 3 CRITICAL. A flapping check stays where it was."""
        reached = max((SEVERITIES.index(severity) + 1 for severity in self.firing), default=0)
        return max(reached, min(self.failures, 1))

    def as_dict(self) -> dict[str, Any]:
        return {
            "failures": self.failures, "since": self.since, "announced": dict(self.announced), "firing": list(self.firing),
            "hooked": self.hooked, "falls": list(self.falls), "flapping": self.flapping, "well_since": self.well_since,
        }  # fmt: skip

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> State:
        """The reverse of ``as_dict``; KeyError, TypeError or ValueError for anything else."""
        return cls(
            failures=int(kept["failures"]),
            since=_time(kept["since"]),
            announced={severity: int(kept["announced"][severity]) for severity in SEVERITIES if severity in kept["announced"]},
            firing=tuple(severity for severity in SEVERITIES if severity in kept["firing"]),
            hooked=bool(kept["hooked"]),
            falls=tuple(int(each) for each in kept["falls"])[-MOST_FALLS:],
            flapping=bool(kept["flapping"]),
            well_since=_time(kept["well_since"]),
        )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What is to be done now: a line for the log, severities to announce, and whether to resolve what was announced or to run the hook.

    ``flapping`` says that the announcement is of that. ``repeated`` are those of ``announce`` that were announced before in this incident.
    """

    log: str = ""
    announce: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    resolve: tuple[str, ...] = ()
    hook: bool = False
    flapping: bool = False


def step(state: State, status: str, rule: Rule, now: int) -> tuple[State, Step]:
    """The next state, and what is to be done, after a result with this status at this time."""
    return _well(state, rule, now) if status == HEALTHY else _ill(state, rule, now)


def announced(state: State, severity: str, at: int, since: int) -> State:
    """The state of a check of which only this is known: that it fails since then, and that this severity was announced, and not resolved."""
    failures = CRITICAL_AT if severity == CRITICAL else WARNING_AT
    return replace(
        state, failures=max(state.failures, failures), since=min(since, since if state.since is None else state.since),
        announced={**state.announced, severity: at}, firing=_with(state.firing, severity),
        hooked=state.hooked or severity == CRITICAL,
    )  # fmt: skip


def _ill(state: State, rule: Rule, now: int) -> tuple[State, Step]:
    falls = state.falls if state.failures else (*_recent(state.falls, rule, now), now)[-MOST_FALLS:]
    after = replace(state, failures=state.failures + 1, since=_start(state.since, now), falls=falls, well_since=None)
    begins_to_flap = not state.flapping and len(_recent(falls, rule, now)) >= rule.flap_falls
    after = replace(after, flapping=state.flapping or begins_to_flap)
    wanted = _wanted(after.failures, rule)
    if begins_to_flap and wanted is None:
        wanted = INFO if rule.severity == INFO else WARNING
    hook = rule.has_hook and after.failures >= CRITICAL_AT and not state.hooked
    if wanted is None:
        return after, Step(log=_counted(after.failures))
    repeated = wanted in state.firing
    after = replace(after, hooked=state.hooked or hook, firing=_with(after.firing, wanted))
    was = state.announced.get(wanted)
    is_due = was is None or not 0 <= now - was < rule.cooldown_seconds or (begins_to_flap and not repeated)
    # What flapped up again to where it was before says nothing new: that it flaps was said.
    if not is_due:
        return after, Step(log=f"{_counted(after.failures)}, {wanted} not announced again yet", hook=hook)
    after = replace(after, announced={**after.announced, wanted: now})
    return after, Step(
        log=f"{_counted(after.failures)}, {wanted}",
        announce=(wanted,),
        repeated=(wanted,) if repeated else (),
        hook=hook,
        flapping=begins_to_flap,
    )


def _well(state: State, rule: Rule, now: int) -> tuple[State, Step]:
    after = replace(state, failures=0, since=None, falls=_recent(state.falls, rule, now))
    if state.flapping:
        since = _start(state.well_since, now)
        if now - since < rule.calm_seconds:
            return replace(after, well_since=since), Step(
                log="well again, and watched, since it flaps" if state.failures else ""
            )
        after = replace(after, flapping=False, well_since=None, falls=())
    after = replace(after, announced={}, firing=(), hooked=False)
    if state.firing:
        return after, Step(log="well again, resolved", resolve=state.firing)
    return after, Step(log="well again" if state.failures else "")


def _wanted(failures: int, rule: Rule) -> str | None:
    if failures < WARNING_AT:
        return None
    reached = CRITICAL if failures >= CRITICAL_AT else WARNING
    return min(reached, rule.severity, key=SEVERITIES.index)


def _recent(falls: tuple[int, ...], rule: Rule, now: int) -> tuple[int, ...]:
    return tuple(each for each in falls if 0 <= now - each < rule.flap_seconds)


def _start(since: int | None, now: int) -> int:
    return now if since is None or since > now else since


def _with(firing: tuple[str, ...], severity: str) -> tuple[str, ...]:
    return tuple(each for each in SEVERITIES if each in (*firing, severity))


def _counted(failures: int) -> str:
    return "failed" if failures == 1 else f"failed {failures} times in a row"


def _time(value: Any) -> int | None:
    return None if value is None else int(value)
