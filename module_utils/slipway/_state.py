# SPDX-License-Identifier: GPL-3.0-or-later
"""From Ansible's variables to the place of a controller's state: what every action that remembers something shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .base.errors import Refusal, shown
from .controller.state_place import StatePlace, no_password, require_address

PASSWORD_FIELD = "password"  # noqa: S105 - the name of a field


def state_place(
    variables: Mapping[str, Any], template: Callable[[Any], Any], loader: Any, directory: str | None = None
) -> StatePlace:
    """The place that ``slipway_state_*`` variables describe; ``directory`` is the controller's, where a task names it."""

    def text(name: str) -> str:
        value = template(variables.get(name, ""))
        return "" if value is None else str(value)

    state = Path(directory or text("slipway_state_directory"))
    key = text("slipway_witness_key")
    url = require_address(text("slipway_state_url"))
    return StatePlace(
        state,
        url,
        password=_password(variables, template, loader, state) if url and text("slipway_state_password_secret") else no_password,
        is_required=_boolean("slipway_state_required", template(variables.get("slipway_state_required", True))),
        witness_key=Path(key).expanduser() if key else None,
    )  # fmt: skip


def _boolean(name: str, value: Any) -> bool:
    found = str(value).lower()
    if found not in ("true", "false", "yes", "no"):
        raise Refusal(
            "state_setting_invalid", expected=f"true or false in {name}", found=shown(value), remedy="Correct it."
        )
    return found in ("true", "yes")


def _password(
    variables: Mapping[str, Any], template: Callable[[Any], Any], loader: Any, directory: Path
) -> Callable[[], str]:
    """Reads the secret that ``slipway_state_password_secret`` names, each time somebody connects.

    Its own line of the access log is in the file of this controller: the database that the others are in cannot be opened yet.
    """

    def read() -> str:
        from ._secrets import LOG_NAME, keeper_of
        from .secrets.access_log import AccessLog
        from .secrets.keeper import NO_DEFAULT

        keeper = keeper_of(variables, template, loader, log=AccessLog(directory / LOG_NAME))
        name = str(template(variables["slipway_state_password_secret"]))
        return str(keeper.read(name, PASSWORD_FIELD, None, NO_DEFAULT))

    return read
