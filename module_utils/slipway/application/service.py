# SPDX-License-Identifier: GPL-3.0-or-later
"""An application's unit, through systemctl."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.command import Finished, Runner
from ..base.errors import Refusal

# A start or a stop ends by the unit's own time-outs (TimeoutStartSec=, TimeoutStopSec=), which systemd keeps. This only ends
# the wait for a unit that has none.
JOB_BACKSTOP_SECONDS = 5 * 3600.0
QUESTION_TIMEOUT_SECONDS = 90.0


@dataclass(frozen=True)
class UnitState:
    """What ``systemctl show`` says: e.g. loaded, active, running."""

    load: str
    active: str
    sub: str

    @property
    def is_running(self) -> bool:
        return self.active == "active"

    @property
    def has_failed(self) -> bool:
        return self.active == "failed"


@dataclass(frozen=True)
class Service:
    """The systemd unit of an application."""

    unit: str
    run: Runner

    def state(self) -> UnitState:
        return UnitState(*(value or "unknown" for value in self._shown("LoadState", "ActiveState", "SubState")))

    def startup_milliseconds(self) -> int | None:
        """How long the last start took, from leaving inactive to being active; None where it did not get that far."""
        values = self._shown("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        began, ended = (int(text) if text.isascii() and text.isdigit() else 0 for text in values)
        return round((ended - began) / 1000) if 0 < began <= ended else None

    def needs_reload(self) -> bool:
        """Whether the unit's file is newer than what systemd has read of it."""
        return self._shown("NeedDaemonReload") == ["yes"]

    def require_loaded(self) -> None:
        """Refuse a unit that systemd does not know, before anything depends on it."""
        state = self.state()
        if state.load != "loaded":
            raise Refusal(
                "unit_missing",
                expected=f"a unit {self.unit} that systemd can load",
                found=f"LoadState={state.load}",
                remedy="Run playbooks/bootstrap.yml, or correct `unit` in slipway_applications.",
            )

    def restart(self) -> Finished:
        """Stop and start; a unit that hit its start limit gets a clean slate first."""
        self._systemctl("reset-failed", self.unit)
        return self._systemctl("restart", self.unit, timeout_seconds=JOB_BACKSTOP_SECONDS)

    def reload(self) -> Finished:
        """Reload where it runs, start where it does not."""
        return self._systemctl("reload-or-restart", self.unit, timeout_seconds=JOB_BACKSTOP_SECONDS)

    def start(self) -> Finished:
        """Start where it does not run; nothing where it does."""
        self._systemctl("reset-failed", self.unit)
        return self._systemctl("start", self.unit, timeout_seconds=JOB_BACKSTOP_SECONDS)

    def stop(self) -> Finished:
        return self._systemctl("stop", self.unit, timeout_seconds=JOB_BACKSTOP_SECONDS)

    def _shown(self, *properties: str) -> list[str]:
        """What `systemctl show` says of the properties, in their order; "" for what it does not say."""
        shown = self._systemctl("show", f"--property={','.join(properties)}", self.unit)
        values = dict(line.split("=", 1) for line in shown.output.splitlines() if "=" in line)
        return [values.get(name, "") for name in properties]

    def _systemctl(self, *arguments: str, timeout_seconds: float = QUESTION_TIMEOUT_SECONDS) -> Finished:
        return self.run(("systemctl", "--no-ask-password", *arguments), timeout_seconds=timeout_seconds)
