# SPDX-License-Identifier: GPL-3.0-or-later
"""How a deployment rolls out: which hosts in which wave, and how long a host waits for the end before it goes back by itself.

Pure functions: what the operator asks for (`Settings`), what one host may need (`Pace`) and what the hosts answered make a
`Rollout`, once, in the plan. What the hosts' outcomes mean for it is judged in `wave_verdict`. Times are whole seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..application.description import Application, Patience, Probe
from ..base.errors import Refusal, quoted
from .regions import Region

WAVE = re.compile(r"[1-9][0-9]*|([1-9][0-9]?|100)%")
MINIMUM = re.compile(r"0|[1-9][0-9]*|(0|[1-9][0-9]?|100)%")
SHARE = re.compile(r"([1-9][0-9]?|100)%?")
PAUSE = re.compile(r"canary|[1-9][0-9]*")
CANARY = 1  # the first wave
LEAST_SECONDS, MOST_SECONDS = 5, 604800  # what a host takes for the time to its confirmation

# What an exchange costs beside what the application declares: a lost connection is noticed after 12 s.
EXCHANGE_SECONDS = 30
BYTES_A_SECOND, FILES_A_SECOND = 20 << 20, 1000  # verifying a release, on a slow disk
START_SECONDS = STOP_SECONDS = 90  # systemd's own time-outs, where a unit says nothing else
WAVE_SECONDS = 60
MOST_MIGRATIONS_SECONDS = 86400


@dataclass(frozen=True)
class Settings:
    """What the operator asks for.

    ``waves`` are counts or percentages of hosts, the last for all that remain; ``failures_max`` hosts may fail in a wave;
    ``healthy_min`` (count or percentage) hosts stay in service; ``canary_share`` is the percentage of its work that the first
    wave takes on until its gate; ``pause_after`` names waves by number, or ``canary``, and ``pause_after_regions`` whole regions;
    ``confirm_within_seconds`` replaces what is computed, 0 for that.
    """

    waves: tuple[str, ...] = ("1", "100%")
    failures_max: int = 0
    healthy_min: str = "0"
    soak_seconds: int = 0
    canary_share: int | None = None
    pause_after: frozenset[int] = frozenset()
    pause_after_regions: frozenset[str] = frozenset()
    pause_seconds: int = 3600
    confirm_within_seconds: int = 0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Settings:
        """``values["region_order"]`` has the names of regions. Refusals: ``waves_invalid``; ``rollout_invalid`` names every other mistake."""
        waves = tuple(str(wave) for wave in values["waves"])
        require_waves(waves)
        mistakes: list[str] = []
        share, minimum = str(values.get("canary_share") or ""), str(values.get("healthy_min", 0))
        pauses = [str(each) for each in values.get("pause_after") or ()]
        regions = [str(each) for each in values.get("region_order") or ()]
        if share and not SHARE.fullmatch(share):
            mistakes.append(f"release_canary_share: expected nothing or a percentage from 1% to 100%, found {share}")
        if not MINIMUM.fullmatch(minimum):
            mistakes.append(
                f"release_healthy_min: expected a count of hosts (2) or a percentage (75%), found {minimum}"
            )
        mistakes += [
            f"release_pause_after: expected canary{',' if regions else ' or'} the number of a wave"
            f"{f' or a region ({chr(44).join(regions)})' if regions else ''}, found {quoted(each)}"
            for each in pauses
            if not PAUSE.fullmatch(each) and each not in regions
        ]
        for name, least, most in (
            ("failures_max", 0, 10**6), ("soak_seconds", 0, MOST_SECONDS), ("pause_seconds", 1, MOST_SECONDS),
            ("confirm_within_seconds", LEAST_SECONDS, MOST_SECONDS),
        ):  # fmt: skip
            value = int(values.get(name, getattr(cls, name)))
            if not least <= value <= most and (name, value) != ("confirm_within_seconds", 0):
                shown = "wave_failures_max" if name == "failures_max" else name
                mistakes.append(f"release_{shown}: expected a whole number from {least} to {most}, found {value}")
        if mistakes:
            raise _invalid("; ".join(mistakes))
        percentage = int(share.rstrip("%")) if share else 100
        return cls(
            waves=waves,
            failures_max=int(values.get("failures_max", 0)),
            healthy_min=minimum,
            soak_seconds=int(values.get("soak_seconds", 0)),
            canary_share=None if percentage == 100 else percentage,
            pause_after=frozenset(
                CANARY if each == "canary" else int(each) for each in pauses if PAUSE.fullmatch(each)
            ),
            pause_after_regions=frozenset(each for each in pauses if not PAUSE.fullmatch(each)),
            pause_seconds=int(values.get("pause_seconds", cls.pause_seconds)),
            confirm_within_seconds=int(values.get("confirm_within_seconds", 0)),
        )


def _invalid(mistakes: str) -> Refusal:
    return Refusal(
        "rollout_invalid",
        expected="a rollout that can be carried out",
        found=mistakes,
        remedy="Correct it in group_vars, or in what -e gives (docs/howto/roll-out-in-waves.md).",
    )


def require_waves(waves: Sequence[str]) -> None:
    """Refuse waves that Ansible would only stumble over after everything is staged."""
    if not waves or not all(WAVE.fullmatch(wave) for wave in waves):
        raise Refusal(
            "waves_invalid",
            expected="release_waves to be a list of at least one count of hosts (1) or percentage (25%)",
            found=", ".join(waves) or "an empty list",
            remedy='Correct it in group_vars, or give it as JSON: -e \'{"release_waves": [1, "100%"]}\'.',
        )


@dataclass(frozen=True)
class Pace:
    """What one host may need at most: for its switch with the judgement of its health, for being asked again, and from outside.

    ``forks`` hosts are worked on at once; migrations run once, in the first wave. ``sharing_seconds``, of the switch, are those in
    which two instances share the traffic; after the outcome the one that leaves may need ``drain_seconds``. The balancers of a host
    need ``balancers_seconds`` to take it out and in again.
    """

    switch_seconds: int
    health_seconds: int
    smoke_seconds: int
    forks: int = 20
    migrations_seconds: int = 0
    sharing_seconds: int = 0
    drain_seconds: int = 0
    balancers_seconds: int = 0

    @classmethod
    def of(
        cls,
        application: Application,
        *,
        size: int = 0,
        files: int = 0,
        hooks_seconds: int = 0,
        migrations_seconds: int = 0,
        balancers_seconds: int = 0,
        forks: int = 20,
    ) -> Pace:
        """The pace of an application and a release of so many bytes and files, whose hooks and migrations may take that long."""
        exchange = EXCHANGE_SECONDS + math.ceil(size / BYTES_A_SECOND + files / FILES_A_SECOND)
        stop = application.service.limits.stop_timeout_seconds if application.service else None
        restart = {"none": 0, "reload": START_SECONDS}.get(application.strategy, START_SECONDS + (stop or STOP_SECONDS))
        once = sum(probe.timeout_seconds for probe in application.health)
        health = _patience(application.health, application.health_patience)
        pair = application.blue_green
        sharing = pair.sharing_seconds if pair else 0
        return cls(
            switch_seconds=exchange + restart + health + sharing + hooks_seconds,
            health_seconds=EXCHANGE_SECONDS + once,
            smoke_seconds=_patience(application.smoke, application.smoke_patience),
            forks=max(1, forks),
            migrations_seconds=min(migrations_seconds, MOST_MIGRATIONS_SECONDS),
            sharing_seconds=sharing,
            drain_seconds=pair.drain_seconds + (stop or STOP_SECONDS) if pair else 0,
            balancers_seconds=balancers_seconds,
        )

    def rounds(self, hosts: int) -> int:
        return math.ceil(hosts / self.forks)


def _patience(probes: Sequence[Probe], patience: Patience) -> int:
    """The last round may begin right before the deadline."""
    return patience.deadline_seconds + sum(probe.timeout_seconds for probe in probes) if probes else 0


@dataclass(frozen=True)
class Wave:
    """Hosts that are switched at once, of one region where there are any. ``number`` counts from 1; ``budget_seconds`` has all but the
    pause after it.
    """

    number: int
    hosts: tuple[str, ...]
    budget_seconds: int
    soak_seconds: int = 0
    pauses: bool = False
    region: str = ""

    @property
    def label(self) -> str:
        return f"wave {self.number} ({self.region})" if self.region else f"wave {self.number}"


@dataclass(frozen=True)
class Capacity:
    """Hosts of which ``floor`` stay in service: those of a region, or with an empty name all that get requests."""

    region: str
    hosts: tuple[str, ...]
    floor: int
    is_failed_over: bool = False

    @property
    def where(self) -> str:
        return f" in {self.region}" if self.region else ""


@dataclass(frozen=True)
class Rollout:
    """What was planned; plain data in a play (`as_dict`, `parse`).

    ``healthy`` are the hosts that served something and were not ill at the inspection; ``floor`` of all of them stay in service, and what
    ``regions`` says of those of each region; ``settle_seconds`` are for the end of the run, ``note`` for the operator.
    """

    waves: tuple[Wave, ...]
    settle_seconds: int
    failures_max: int = 0
    floor: int = 0
    healthy: tuple[str, ...] = ()
    regions: tuple[Capacity, ...] = ()
    share: int | None = None
    pause_seconds: int = 3600
    fixed_seconds: int = 0
    note: str = ""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Rollout:
        """The reverse of ``as_dict``."""
        waves = tuple(Wave(**{**wave, "hosts": tuple(wave["hosts"])}) for wave in values["waves"])
        regions = tuple(Capacity(**{**each, "hosts": tuple(each["hosts"])}) for each in values["regions"])
        rest = {key: values[key] for key in cls.__dataclass_fields__ if key not in ("waves", "healthy", "regions")}
        return cls(waves=waves, healthy=tuple(values["healthy"]), regions=regions, **rest)

    def as_dict(self) -> dict[str, Any]:
        """Its members, ``soaks`` (whether any wave does), ``sizes`` [hosts in each wave] and ``order`` [hosts] for Ansible, ``message`` of the whole, and by_host {host: {wave,
        confirm_within_seconds, share (null for all of its work), message}}.
        """
        plain = asdict(self)
        return {
            **plain,
            "waves": [{**wave, "hosts": list(wave["hosts"])} for wave in plain["waves"]],
            "healthy": list(self.healthy),
            "regions": [{**region, "hosts": list(region["hosts"])} for region in plain["regions"]],
            "order": [host for wave in self.waves for host in wave.hosts],
            "soaks": any(wave.soak_seconds for wave in self.waves),
            "sizes": [len(wave.hosts) for wave in self.waves],
            "message": self.described(),
            "by_host": {
                host: {
                    "wave": wave.number,
                    "confirm_within_seconds": self.confirm_within(wave.number),
                    "share": self.share if wave.number == CANARY else None,
                    "message": self.progress(wave),
                }
                for wave in self.waves
                for host in wave.hosts
            },
        }

    @property
    def capacities(self) -> tuple[Capacity, ...]:
        """What has to stay in service, in each region and in all that get requests."""
        idle = {host for region in self.regions if not region.floor for host in region.hosts}
        whole = tuple(host for wave in self.waves for host in wave.hosts if host not in idle)
        return (
            *(region for region in self.regions if region.floor),
            *([Capacity("", whole, self.floor)] if self.floor else []),
        )

    def described(self) -> str:
        waves = "; ".join(
            f"{wave.number}{f' in {wave.region}' if wave.region else ''}: {', '.join(wave.hosts)}{self._manner(wave)}"
            for wave in self.waves
        )
        return f"waves {waves}{f'. {self.note}' if self.note else ''}"

    def _manner(self, wave: Wave) -> str:
        manners = (
            f"{self.share} % of its work" if self.share and wave.number == CANARY else "",
            f"watched for {wave.soak_seconds} s" if wave.soak_seconds else "",
            "then held for a yes" if wave.pauses else "",
        )
        said = ", ".join(filter(None, manners))
        return f" ({said})" if said else ""

    def progress(self, wave: Wave) -> str:
        canary = " (canary)" if wave.number == CANARY and len(self.waves) > 1 else ""
        share = f", with {self.share} % of its work" if self.share and wave.number == CANARY else ""
        return (
            f"wave {wave.number} of {len(self.waves)}{canary}{f' in region {wave.region}' if wave.region else ''}: {', '.join(wave.hosts)}{share}. Unless the run ends well, each "
            f"goes back by itself within {self.confirm_within(wave.number)} s."
        )

    def confirm_within(self, number: int) -> int:
        """For how long a host of this wave waits for its confirmation, from its switch on."""
        return self._within(self.remaining(number - 1))

    def remaining(self, number: int) -> int:
        """What the waves after this one, and the end, may take."""
        return sum(wave.budget_seconds for wave in self.waves[number:]) + self.settle_seconds

    def after_gate(self, number: int) -> int:
        return self._within(self.remaining(number))

    def in_pause(self, number: int) -> int:
        """For how long a host waits that is held after this wave: so long that the controller takes it back first."""
        return min(MOST_SECONDS, self.pause_seconds + self.remaining(number))

    def _within(self, seconds: int) -> int:
        return self.fixed_seconds or max(LEAST_SECONDS, seconds)


def plan(
    settings: Settings, pace: Pace, answers: Mapping[str, Mapping[str, Any]], regions: Sequence[Region] = ()
) -> Rollout:
    """Divide the hosts into waves, in the order of their names; with ``regions`` region by region, each beginning with the first of the waves.

    The capacity floor makes waves smaller than asked where it has to. Refusals: ``capacity_too_low`` when not even one host can
    leave the service, ``rollout_too_long`` when hosts would have to wait longer than they do, ``rollout_invalid`` when they would
    go back while two instances still share the traffic.
    """
    hosts = sorted(answers)
    healthy = {name for name in hosts if is_in_service(answers[name])}
    parts = [_capacity(region, settings.healthy_min, answers) for region in regions or (Region("", tuple(hosts)),)]
    kept = tuple(host for part in parts if part.floor for host in part.hosts)
    whole = Capacity("", kept, count_of(settings.healthy_min, len(kept), round_up=True) if kept else 0)
    serving = set(healthy)
    groups = [(part, group) for part in parts for group in _divide(part, whole, settings.waves, serving)]
    asked = [group for part in parts for group in _divide(replace(part, floor=0), NO_FLOOR, settings.waves, set())]
    last = {part.region: number for number, (part, _group) in enumerate(groups, 1)}
    waves = tuple(
        Wave(
            number,
            tuple(group),
            budget_seconds=_budget(pace, len(group), settings.soak_seconds if number < len(groups) else 0)
            + (pace.migrations_seconds if number == CANARY else 0),
            soak_seconds=settings.soak_seconds if number < len(groups) else 0,
            pauses=number in settings.pause_after
            or (part.region in settings.pause_after_regions and number == last[part.region]),
            region=part.region,
        )
        for number, (part, group) in enumerate(groups, 1)
    )
    notes = _notes(settings, parts, is_smaller=[group for _part, group in groups] != asked, floor=whole.floor)
    _require_patience(settings, pace, waves)
    if beyond := sorted(number for number in settings.pause_after if number > len(waves)):
        notes.append(f"release_pause_after names wave {', '.join(map(str, beyond))}, and there are {len(waves)}.")
    rollout = Rollout(
        waves=waves,
        settle_seconds=(2 * EXCHANGE_SECONDS + pace.drain_seconds) * pace.rounds(len(hosts))
        + pace.health_seconds
        + WAVE_SECONDS,
        failures_max=settings.failures_max,
        floor=whole.floor,
        healthy=tuple(sorted(healthy)),
        regions=tuple(parts) if regions else (),
        share=settings.canary_share,
        pause_seconds=settings.pause_seconds,
        fixed_seconds=settings.confirm_within_seconds,
        note=" ".join(notes),
    )
    if rollout.confirm_within(CANARY) > MOST_SECONDS:
        raise Refusal(
            "rollout_too_long",
            expected=f"waves that are over within {MOST_SECONDS} s (7 days), the longest that a host waits for its confirmation",
            found=f"{len(waves)} waves that may take {rollout.confirm_within(CANARY)} s",
            remedy="Make release_soak_seconds shorter, or the waves larger.",
        )
    return rollout


def _require_patience(settings: Settings, pace: Pace, waves: Sequence[Wave]) -> None:
    """A fixed time to the confirmation is longer than what is waited for on purpose between two gates: else hosts are sure to go back."""
    stretches = [0]
    for wave in waves:
        stretches[-1] += pace.sharing_seconds + wave.soak_seconds
        if wave.pauses or (wave.number == CANARY and settings.canary_share):
            stretches.append(0)
    if 0 < settings.confirm_within_seconds <= max(stretches):
        raise _invalid(
            f"release_confirm_within_seconds: expected more than the {max(stretches)} s that release_soak_seconds and "
            f"blue_green.share_seconds take between two gates, or 0 to have it computed, found {settings.confirm_within_seconds}"
        )


def is_in_service(answer: Mapping[str, Any]) -> bool:
    """Whether a host serves something and was not found ill; one that was not asked counts as well."""
    return bool(answer.get("active")) and (answer.get("health") or {}).get("outcome") != "failure"


def count_of(text: str, of: int, *, round_up: bool) -> int:
    """A count of hosts, or a percentage of ``of`` of them; rounded down it is at least one."""
    if not text.endswith("%"):
        return int(text)
    part = int(text[:-1]) * of / 100
    return math.ceil(part) if round_up else max(1, int(part))


NO_FLOOR = Capacity("", (), 0)


def _capacity(region: Region, minimum: str, answers: Mapping[str, Mapping[str, Any]]) -> Capacity:
    """How many hosts of a region stay in service; none where nothing is served yet, or no requests come."""
    serves = any(answers[name].get("settled", answers[name].get("active")) for name in region.hosts)
    floor = count_of(minimum, len(region.hosts), round_up=True) if serves and not region.is_failed_over else 0
    return Capacity(region.name, region.hosts, floor, region.is_failed_over)


def _notes(settings: Settings, parts: Sequence[Capacity], *, is_smaller: bool, floor: int) -> list[str]:
    notes = [
        f"{part.region} is failed over: its hosts are switched, and get no requests before or after that."
        for part in parts
        if part.is_failed_over
    ]
    idle = [part for part in parts if not part.floor and not part.is_failed_over]
    if count_of(settings.healthy_min, 100, round_up=True) and idle:
        notes.append(
            f"Nothing is served yet{', '.join(part.where for part in idle)}: release_healthy_min has nothing to keep."
        )
    if is_smaller:
        stay = " and ".join(f"{part.floor}{part.where}" for part in parts if part.floor) or str(floor)
        notes.append(f"Smaller than release_waves says, so that {stay} stay in service.")
    missing = sorted(settings.pause_after_regions - {part.region for part in parts})
    if missing:
        notes.append(f"release_pause_after names {', '.join(missing)}, of which no host is in this run.")
    return notes


def _divide(part: Capacity, whole: Capacity, sizes: Sequence[str], serving: set[str]) -> list[list[str]]:
    """Waves of one region. Both floors hold while each of them is out of service: that of the region, and that of the whole.

    ``serving`` are the hosts that serve something; those of each wave do so after it.
    """
    rest, groups = list(part.hosts), list[list[str]]()
    floors = [each for each in (part, whole) if part.floor and each.floor]
    while rest:
        size = count_of(sizes[min(len(groups), len(sizes) - 1)], len(part.hosts), round_up=False)
        group = rest[:size]
        while group and any(len(serving.intersection(each.hosts).difference(group)) < each.floor for each in floors):
            group.pop()
        if not group:
            raise _too_low(next(each for each in floors if _is_short(each, serving, rest[:1])), serving)
        groups.append(group)
        serving |= set(group)
        rest = rest[len(group) :]
    return groups


def _is_short(capacity: Capacity, serving: Collection[str], without: Collection[str]) -> bool:
    return len(set(serving).intersection(capacity.hosts).difference(without)) < capacity.floor


def _too_low(capacity: Capacity, healthy: Collection[str]) -> Refusal:
    ill = [host for host in capacity.hosts if host not in healthy]
    in_service = len(capacity.hosts) - len(ill)
    return Refusal(
        "capacity_too_low",
        expected=f"{capacity.floor} of {len(capacity.hosts)} hosts{capacity.where} to stay in service (release_healthy_min) while at least one is switched",
        found=f"{in_service} in service{f'; not {chr(44).join(ill)}' if ill else ''}",
        remedy=f"Mend {', '.join(ill)}, or deploy to them first with -l {','.join(ill)} -e release_healthy_min=0. Or ask for fewer hosts in service."
        if ill else "Ask for fewer hosts in service.",
    )  # fmt: skip


def _budget(pace: Pace, hosts: int, soak_seconds: int) -> int:
    asked_again = pace.health_seconds + pace.smoke_seconds if soak_seconds else 0
    switched = pace.balancers_seconds + pace.switch_seconds + pace.smoke_seconds
    return pace.rounds(hosts) * (switched + asked_again) + soak_seconds + WAVE_SECONDS
