# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch window: for how long, and how much more sharply, the active release is looked at after its deployment.

It follows from the history alone, so it survives reboots, and from the clock, so it ends by itself: nothing has to run for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..base.clock import seconds_of
from ..trust.chain import Record
from ..trust.promotion import Monitoring

HOUR: Final = 3600


@dataclass(frozen=True)
class Window:
    """The newest window that a deployment opened and no rollback closed; ``start`` and ``end`` are Unix seconds."""

    release_id: str
    start: int
    end: int

    def seconds_left(self, now: int) -> int:
        """How much of it is left; 0 once it is over. A clock that was set back does not make it longer than it was signed."""
        return max(0, min(self.end - now, self.end - self.start))

    def is_open(self, now: int) -> bool:
        """Whether the release is watched more sharply at ``now``, in Unix seconds."""
        return self.seconds_left(now) > 0


def window_of(records: Iterable[Record]) -> Window | None:
    """The window after these records, oldest first: open or over. None where the active release has none.

    A deployment that was confirmed opens one anew, or none where its manifest says 0 hours. A rollback closes it. What never became
    active, or was left before anybody confirmed it, changes nothing: the release from before is still the one that is watched.
    """
    found: Window | None = None
    for record in records:
        if record["status"] != "success":
            continue
        window = None if record["operation"] == "rollback" or record["rollback"] else record.get("window")
        found = Window(record["release_id"], seconds_of(window["start"]), seconds_of(window["end"])) if window else None
    return found


def thresholds(monitoring: Monitoring | None) -> dict[str, float]:
    """How much each metric may drop inside the window, as the manifest says: {name: ratio}. The rules take the stricter of this and group_vars."""
    return {name: float(limit) for name, limit in sorted(monitoring.alert_thresholds.items())} if monitoring else {}


def repeat_seconds(monitoring: Monitoring | None) -> int:
    """After how long an alert is repeated inside the window."""
    return (monitoring or Monitoring()).alert_frequency_hours * HOUR
