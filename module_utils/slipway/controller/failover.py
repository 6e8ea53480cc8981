# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves requests away from a region at every balancer, or back: judged before anything is told, and by what each balancer says after that.

Pure functions. The balancers' HAProxy says who is out; nothing beside it remembers that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..base.errors import Refusal, quoted
from ..base.table import table
from . import deployment, selection
from .regions import Region
from .rollout import MINIMUM, count_of

STATUS: Final = "ansible-playbook playbooks/status.yml"
SOCKET: Final = "/run/haproxy/admin.sock"
DRAIN_SECONDS: Final = 30
DONE: Final = ("away", "back")
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Balancer:
    """A backend of a balancer, with the hosts that it has as servers."""

    host: str
    backend: str
    socket: str = SOCKET
    drain_seconds: int = DRAIN_SECONDS
    hosts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.host} ({self.backend})"


def balancers_of(by_host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every balancer of some hosts, once, as the members of `Balancer`; ``by_host`` has each host's ``release_balancers``.

    What is no balancer is left out: `deployment.balancers_seconds` refuses it.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for host in sorted(by_host):
        for each in by_host[host] or ():
            if not isinstance(each, Mapping) or not {"host", "backend"} <= each.keys():
                continue
            key = (str(each["host"]), str(each["backend"]), str(each.get("socket", SOCKET)))
            balancer = found.setdefault(
                key, {**dict(zip(("host", "backend", "socket"), key, strict=True)), "drain_seconds": 0, "hosts": []}
            )
            balancer["hosts"].append(host)
            balancer["drain_seconds"] = max(balancer["drain_seconds"], int(each.get("drain_seconds", DRAIN_SECONDS)))
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True)
class Standing:
    """What a balancer answered of its servers, or why it did not."""

    balancer: Balancer
    held: frozenset[str] = frozenset()
    serving: frozenset[str] = frozenset()
    not_up: tuple[str, ...] = ()
    trouble: str = ""
    reason: str = ""

    @classmethod
    def of(cls, result: Result) -> Standing:
        """``result`` is what the task registered for one item of its loop, which is in its ``__release_balancer``."""
        given = result["__release_balancer"]
        balancer = Balancer(
            **{key: given[key] for key in Balancer.__dataclass_fields__ if key != "hosts"}, hosts=tuple(given["hosts"])
        )
        if "held" not in result:
            told = "no answer" if result.get("unreachable") else str(result.get("msg") or "no answer")
            reason = "balancer_unreachable" if result.get("unreachable") else str(result.get("reason") or "")
            return cls(balancer, trouble=told, reason=reason)
        return cls(balancer, frozenset(result["held"]), frozenset(result["serving"]), tuple(result["not_up"]))

    @property
    def is_silent(self) -> bool:
        return bool(self.trouble)


def standings_of(results: Iterable[Result]) -> list[Standing]:
    """What each balancer answered; a task that was skipped asked none."""
    return [Standing.of(result) for result in results if "__release_balancer" in result and not result.get("skipped")]


def held_everywhere(results: Iterable[Result]) -> set[str]:
    """The hosts that get no requests since every balancer of theirs keeps them out. Refusal ``balancer_unreachable``."""
    standings = standings_of(results)
    if silent := [each for each in standings if each.is_silent]:
        raise Refusal(
            "balancer_unreachable",
            expected="every balancer of the hosts of this run to say whom it keeps out",
            found="; ".join(f"{each.balancer.name}: {each.trouble}" for each in silent)
            + "; nothing was changed anywhere",
            remedy="Mend it, or take it out of release_balancers.",
        )
    behind = {host for each in standings for host in each.balancer.hosts}
    return {host for host in behind if all(host in each.held for each in standings if host in each.balancer.hosts)}


def require_possible(
    answers: Mapping[str, Mapping[str, Any]],
    environments: Iterable[str],
    balancers: Mapping[str, Any],
    dead_runs: Iterable[str],
    *,
    forced: bool,
) -> None:
    """Refuse a failover of hosts of several environments, of hosts whose balancers cannot be read, or, unless ``forced``, beside a run that has
    switched a host and not ended. ``answers`` are those of the hosts that were reached; a region that is cut off does not answer, and is no obstacle.
    """
    deployment.require_one_run(sorted(set(environments)), "", is_alone=True)
    for each in balancers.values():
        deployment.balancers_seconds(each or [])
    if not forced:
        dead = set(dead_runs)
        selection.require_settled(
            answers,
            dead.__contains__,
            remedy=f"{selection.WAIT} If requests cannot wait for that: -e failover_forced=true.",
        )


def runs_over(read: Callable[[], list[str]]) -> tuple[list[str], str]:
    """The runs that the controller's memory knows to be over, and why it could not be read ("" where it was).

    Requests do not wait until a memory is mended: without it, a run that is over counts as one that may go on.
    """
    try:
        return read(), ""
    except (Refusal, OSError) as error:
        why = error.reason if isinstance(error, Refusal) else error.strerror or type(error).__name__
        return (
            [],
            f"the controller's memory was not read ({why}), so that every run on a host counts as one that goes on",
        )


def require_whole(
    order: Iterable[str], groups: Mapping[str, Sequence[str]], run: Mapping[str, str], everyone: Mapping[str, object]
) -> None:
    """Refuse a run that has only some of the hosts of a region: the others would go on getting requests, or not be counted.

    ``run`` {host of the run: its environment}, ``everyone`` the same of every host of the inventory. Refusal ``region_incomplete``.
    """
    environments = set(run.values())
    left = {
        name: [host for host in groups.get(name, ()) if host not in run and everyone.get(host) in environments]
        for name in order
    }
    if found := [f"{', '.join(hosts)} of {name}" for name, hosts in left.items() if hosts]:
        raise Refusal(
            "region_incomplete",
            expected="a failover of all hosts of all regions of the environment",
            found=f"a limit (-l) that leaves out {'; '.join(found)}; nothing was changed anywhere",
            remedy="Give a limit with the whole environment. Hosts that cannot be reached hold up nothing.",
        )


def kept_out(results: Iterable[Result]) -> dict[str, dict[str, list[str]]]:
    """{balancer: {"hosts": hosts behind it, "held": those that it keeps out}} for a status; without ``held`` where it did not answer."""
    return {
        each.balancer.name: {
            "hosts": list(each.balancer.hosts),
            **({} if each.is_silent else {"held": sorted(each.held & set(each.balancer.hosts))}),
        }
        for each in standings_of(results)
    }


@dataclass(frozen=True)
class Order:
    """What one balancer is told: who is ``out``, who is ``admitted`` again if it was, and how many others have to be up.

    ``returning`` are those of other regions that it keeps out until then.
    """

    balancer: Balancer
    out: tuple[str, ...]
    admitted: tuple[str, ...]
    healthy_min: int
    returning: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        balancer = asdict(self.balancer)
        return {**balancer, "hosts": list(self.balancer.hosts), "out": list(self.out), "admitted": list(self.admitted), "healthy_min": self.healthy_min, "returning": list(self.returning)}  # fmt: skip


def plan(
    regions: Sequence[Region],
    name: str,
    results: Iterable[Result],
    *,
    is_back: bool,
    healthy_min: object,
    readmitted: bool = False,
) -> tuple[list[Order], str]:
    """What every balancer is to be told so that the region ``name`` gets no requests and the others do, or with ``is_back`` that it does again,
    and that in words.

    ``results`` are what the balancers answered when they were asked, ``healthy_min`` is how many hosts of the other regions have to be up (a count, or
    a percentage of them), at least one. A balancer that does not answer is told all the same: what follows for the run is `report`'s business.
    A region that was failed over itself is let in again with ``readmitted`` alone: whoever took it out had a reason.
    Refusals, before anything is told: ``region_unknown``, ``balancers_missing``, ``rollout_invalid``, ``capacity_too_low``, ``region_readmitted``,
    and what a balancer itself refused.
    """
    region = next((each for each in regions if each.name == name), None)
    if region is None:
        raise Refusal(
            "region_unknown",
            expected=f"failover_region to be one of the regions of the hosts of this run: {', '.join(each.name for each in regions) or 'there are none'}",
            found=quoted(name) if name else "nothing",
            remedy="Give -e failover_region=, and a limit (-l) with all regions; they are named in release_region_order (docs/howto/regions.md).",
        )
    if not MINIMUM.fullmatch(str(healthy_min)):
        raise Refusal(
            "rollout_invalid",
            expected="release_failover_healthy_min to be a count of hosts (2) or a percentage (75%)",
            found=quoted(str(healthy_min)),
            remedy="Correct it in group_vars, or in what -e gives (docs/howto/regions.md).",
        )
    others = {host for each in regions for host in each.hosts} - set(region.hosts)
    standings = [each for each in standings_of(results) if set(each.balancer.hosts) & set(region.hosts)]
    _require_balancers(region, standings)
    orders = []
    for each in standings:
        own, rest = (tuple(sorted(set(each.balancer.hosts) & hosts)) for hosts in (set(region.hosts), others))
        floor = max(1, count_of(str(healthy_min), len(rest), round_up=True))
        if not is_back and not set(own) <= each.held:
            _require_capacity(each, rest, floor)
        returning = () if is_back else tuple(host for host in rest if host in each.held)
        orders.append(Order(each.balancer, () if is_back else own, own if is_back else rest, floor, returning))
    if not readmitted:
        _require_in([each for each in regions if each is not region], orders)
    return orders, _described(region, orders, is_back=is_back)


def _require_balancers(region: Region, standings: Sequence[Standing]) -> None:
    behind = {host for each in standings for host in each.balancer.hosts}
    if alone := [host for host in region.hosts if host not in behind]:
        raise Refusal(
            "balancers_missing",
            expected=f"every host of {region.name} to be behind at least one balancer (release_balancers)",
            found=f"none for {', '.join(alone)}",
            remedy="Describe them in group_vars (docs/howto/regions.md).",
        )
    if refused := [each for each in standings if each.is_silent and each.reason != "balancer_unreachable"]:
        raise Refusal(
            refused[0].reason or "balancer_silent",
            expected="every balancer that is reached to know its servers",
            found="; ".join(f"{each.balancer.name}: {each.trouble}" for each in refused)
            + "; nothing was changed anywhere",
            remedy="Mend that balancer, or correct release_balancers.",
        )
    if all(each.is_silent for each in standings):
        raise Refusal(
            "balancer_unreachable",
            expected=f"at least one balancer of {region.name} to answer",
            found=f"no answer from {', '.join(each.balancer.name for each in standings)}; nothing was changed anywhere",
            remedy="Mend the connection to it. Until then requests go where its own health checks let them.",
        )


def _require_capacity(standing: Standing, rest: Sequence[str], floor: int) -> None:
    """What is held is about to be admitted, and judged by its balancer then."""
    if standing.is_silent:
        return
    able = [host for host in rest if host in standing.serving or host in standing.held]
    if len(able) < floor:
        unable = [host for host in rest if host not in able]
        raise Refusal(
            "capacity_too_low",
            expected=f"at least {floor} of {len(rest)} hosts of other regions to be up at {standing.balancer.name} (release_failover_healthy_min)",
            found=f"{len(able)}{f'; not {chr(44).join(unable)}' if unable else ''}; nothing was changed anywhere",
            remedy="Mend those, or ask for fewer with -e release_failover_healthy_min=."
            if rest
            else "Give a limit (-l) that has the other regions too.",
        )


def _require_in(others: Sequence[Region], orders: Sequence[Order]) -> None:
    out = {
        region.name: [
            order.balancer.name
            for order in orders
            if (behind := set(order.balancer.hosts) & set(region.hosts)) and behind <= set(order.returning)
        ]
        for region in others
    }
    if found := [f"{name} at {', '.join(balancers)}" for name, balancers in out.items() if balancers]:
        first = next(name for name, balancers in out.items() if balancers)
        raise Refusal(
            "region_readmitted",
            expected="requests to go to the other regions already, or a yes to letting them in again",
            found=f"failed over: {'; '.join(found)}; nothing was changed anywhere",
            remedy=f"When it is well, let it in first: -e failover_region={first} -e failover_back=true. Or do both at once: -e failover_readmitted=true.",
        )


def _described(region: Region, orders: Sequence[Order], *, is_back: bool) -> str:
    where = ", ".join(each.balancer.name for each in orders)
    if is_back:
        return f"requests go to {region.name} again ({', '.join(region.hosts)}) at {where}"
    return f"no requests go to {region.name} any more ({', '.join(region.hosts)}) at {where}; at least {min(each.healthy_min for each in orders)} others stay{_let_in('; let in again: ', orders)}"


def _let_in(words: str, orders: Sequence[Order]) -> str:
    let = [f"{', '.join(each.returning)} at {each.balancer.name}" for each in orders if each.returning]
    return f"{words}{'; '.join(let)}" if let else ""


@dataclass(frozen=True)
class Report:
    """How a failover ended: the text for people, and whether every balancer does what was asked."""

    text: str
    is_as_asked: bool
    outcomes: Mapping[str, str]


def report(
    name: str, orders: Sequence[Mapping[str, Any]], results: Iterable[Result], *, is_back: bool, check: bool
) -> Report:
    """Judge a failover by what every balancer answered after it was told; one that did not answer may send requests to the region.

    ``orders`` are those of `plan` as plain data, ``results`` what the task registered that told them.
    """
    told = {(each.balancer.host, each.balancer.backend, each.balancer.socket): each for each in standings_of(results)}
    rows, outcomes, let = [], dict[str, str](), []
    for order in orders:
        standing = told.get((order["host"], order["backend"], order["socket"]))
        balancer = f"{order['host']} ({order['backend']})"
        outcome, why = _outcome(order, standing, is_back=is_back, check=check)
        outcomes[balancer] = outcome
        if standing and not standing.is_silent:
            let += [f"{host} at {balancer}" for host in order["returning"] if check or host not in standing.held]
        serving = (
            ", ".join(sorted(standing.serving & set(order["hosts"]))) if standing and not standing.is_silent else "?"
        )
        rows.append((balancer, outcome, serving or "nobody", why))
    as_asked = all(outcome in DONE or (check and outcome.startswith("would")) for outcome in outcomes.values())
    title = f"{'return' if is_back else 'failover'} of {name}"
    verdict = "check mode: nothing was changed" if check else "done" if as_asked else "not done"
    if as_asked:
        following = (
            "the same command without --check"
            if check
            else STATUS
            if is_back
            else f"back again: -e failover_region={name} -e failover_back=true"
        )
    else:
        open_ones = ", ".join(balancer for balancer, outcome in outcomes.items() if outcome not in DONE)
        following = f"mend {open_ones}, then the same command: what is done already stays"
    again = f"{'would be let in' if check else 'let in'} again: {', '.join(let)}\n" if let else ""
    return Report(
        f"{title}: {verdict}\n{table(('balancer', 'requests', 'go to', 'why'), rows)}\n{again}next: {following}",
        as_asked,
        outcomes,
    )


def _outcome(order: Mapping[str, Any], standing: Standing | None, *, is_back: bool, check: bool) -> tuple[str, str]:
    if standing is None or standing.is_silent:
        lost = "it may send requests there" if not is_back else "it may send none there"
        why = standing.trouble if standing else "it was not told"
        return (
            ("unknown", f"{why}; {lost}")
            if standing is None or standing.reason == "balancer_unreachable"
            else ("refused", why)
        )
    region = set(order["admitted"] if is_back else order["out"])
    if is_back:
        if standing.not_up:
            return (
                "not well",
                f"server_not_up: {', '.join(standing.not_up)}: they get requests as soon as its health checks are content",
            )
        left = sorted(region & standing.held)
        return (
            (("would go back", "-") if check else ("still away", f"it keeps {', '.join(left)} out"))
            if left
            else ("back", "-")
        )
    left = sorted(region - standing.held)
    if left:
        return ("would go away", "-") if check else ("still sent", f"{', '.join(left)} is not out")
    return "away", "-"
