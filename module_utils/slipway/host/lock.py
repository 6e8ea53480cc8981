# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock that a person takes, with a message: until it is released or ends, nothing is deployed; the way back stays open.

It has nothing to do with the lease of a run (`lease`): a run neither takes it nor frees it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..base import canonical
from ..base.clock import timestamp
from ..base.errors import Refusal, quoted, shown
from ..base.fields import ONE_LINE
from ..base.files import full_disk_is_a_refusal, read_if_there, remove_durable, write_durable
from .lease import exclusive
from .places import Host, Places, require_environment

LIMIT: Final = 64 * 1024
MOST_HOURS: Final = 24 * 366
STATES: Final = ("shown", "taken", "released")
Answer = dict[str, Any]


@dataclass(frozen=True)
class Lock:
    """Times are Unix seconds of the host's own clock; ``until`` is None for no end. ``id`` is what its taker frees it by."""

    holder: str
    message: str
    since: int
    until: int | None
    id: str

    def described(self) -> str:
        end = timestamp(self.until) if self.until is not None else "it is released"
        return f"{self.message!r}, by {self.holder} since {timestamp(self.since)} until {end}"

    def as_answer(self) -> dict[str, Any]:
        """{id, holder, message, since, until}: times as people read them, ``until`` null for no end."""
        until = None if self.until is None else timestamp(self.until)
        return {**asdict(self), "since": timestamp(self.since), "until": until}


def read(places: Places) -> Lock | None:
    """The lock that holds now; one that has ended is none. Refusal ``manual_lock_unreadable``."""
    data = read_if_there(places.manual_lock, limit=LIMIT, what="manual lock")
    if data is None:
        return None
    try:
        lock = Lock(**canonical.parse(data, what="manual lock"))
    except (Refusal, TypeError) as error:
        raise Refusal(
            "manual_lock_unreadable",
            expected=f"the lock that Slipway wrote to {places.manual_lock}",
            found=str(error),
            remedy="Find out who changed it; playbooks/lock.yml with -e lock_state=released removes it.",
        ) from error
    return None if lock.until is not None and places.host.clock.now() >= lock.until else lock


def require_unlocked(places: Places, host: str) -> None:
    """Refusal ``locked_by_hand`` with the lock's message, for whatever deploys."""
    if lock := read(places):
        raise Refusal(
            "locked_by_hand",
            expected=f"no lock on {places.application}",
            found=lock.described(),
            remedy=f"Ask {lock.holder}, or release it: ansible-playbook playbooks/lock.yml -l {host} -e lock_state=released",
        )


def lock(request: Mapping[str, Any], host: Host, *, check: bool) -> Answer:
    """Show, take or release the lock of an application.

    request: application {name}, environment, state (shown, taken, released), holder, message, hours (a number, or null for no
    end), id (with released: only the lock of that id; null for whichever is there).
    answer: changed, outcome (``free``, ``locked``, ``taken``, ``released``), lock {id, holder, message, since, until} or null: the one
    that holds afterwards, or that was released.
    Refusals: ``locked_by_hand`` where another lock holds, whoever has taken it, ``lock_invalid``. The same lock again is no change.
    """
    identity = host.identity()
    require_environment(identity, request["environment"])
    places = Places(host, request["application"]["name"])
    places.require_bootstrapped()
    with exclusive(places.lock, host.clock):
        if request["state"] == "taken":
            return _take(places, _asked(request, host.clock.now()), identity.name, check=check)
        if request["state"] == "released":
            return _release(places, request.get("id"), check=check)
        found = read(places)
        return {
            "changed": False,
            "outcome": "locked" if found else "free",
            "lock": found.as_answer() if found else None,
        }


def _asked(request: Mapping[str, Any], now: int) -> Lock:
    hours, message, holder = request.get("hours"), str(request.get("message") or ""), str(request.get("holder") or "")
    if not ONE_LINE.match(message) or not ONE_LINE.match(holder):
        raise _invalid("a message of one line, why nothing is to be deployed", shown(message))
    if hours is not None and (
        isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= MOST_HOURS
    ):
        raise _invalid(f"hours between 0 and {MOST_HOURS}, or none for no end", quoted(hours))
    until = None if hours is None else now + max(1, round(hours * 3600))
    return Lock(holder, message, now, until, secrets.token_hex(8))


def _take(places: Places, asked: Lock, host: str, *, check: bool) -> Answer:
    found = read(places)
    if found:
        if (found.holder, found.message, found.until is None) == (asked.holder, asked.message, asked.until is None):
            return {"changed": False, "outcome": "taken", "lock": found.as_answer()}
        require_unlocked(places, host)  # two people may well share an account
    if not check:
        with full_disk_is_a_refusal(places.state, what="take a lock"):
            write_durable(places.manual_lock, canonical.encode(asdict(asked)) + b"\n", mode=0o644)
    return {"changed": True, "outcome": "taken", "lock": asked.as_answer()}


def _release(places: Places, wanted: str | None, *, check: bool) -> Answer:
    try:
        found = read(places)
    except Refusal:
        if wanted is not None:
            raise
        found = None
    if wanted is not None and (found is None or found.id != wanted):
        return {
            "changed": False,
            "outcome": "locked" if found else "free",
            "lock": found.as_answer() if found else None,
        }
    changed = places.manual_lock.exists()
    if not check:
        remove_durable(places.manual_lock)
    return {
        "changed": changed, "outcome": "released" if found else "free", "lock": found.as_answer() if found else None,
    }  # fmt: skip


def _invalid(expected: str, found: str) -> Refusal:
    return Refusal(
        "lock_invalid", expected=expected, found=found, remedy="Correct -e lock_message= and -e lock_hours=."
    )
