# SPDX-License-Identifier: GPL-3.0-or-later
"""An application's unit, through systemctl."""

from __future__ import annotations

from dataclasses import dataclass

from .command import Finished, Runner
from .errors import Refusal

START_TIMEOUT_SECONDS = 90.0


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
        shown = self._systemctl("show", "--property=LoadState,ActiveState,SubState", self.unit)
        values = dict(line.split("=", 1) for line in shown.output.splitlines() if "=" in line)
        return UnitState(
            values.get("LoadState", "unknown"), values.get("ActiveState", "unknown"), values.get("SubState", "unknown")
        )

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
        return self._systemctl("restart", self.unit)

    def reload(self) -> Finished:
        """Reload where it runs, start where it does not."""
        return self._systemctl("reload-or-restart", self.unit)

    def stop(self) -> Finished:
        return self._systemctl("stop", self.unit)

    def _systemctl(self, *arguments: str) -> Finished:
        return self.run(("systemctl", "--no-ask-password", *arguments), timeout_seconds=START_TIMEOUT_SECONDS)
