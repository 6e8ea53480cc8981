# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of AWX share: the collection under either of its names, and where the AWX is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.loader import lookup_loader, module_loader

from ._secret_action import SecretAction
from ._secrets import plain
from .base.errors import Refusal, shown
from .controller.awx_plan import Row, refused

HOST_VARIABLES = ("CONTROLLER_HOST", "TOWER_HOST")
VERIFIED_VARIABLES = ("CONTROLLER_VERIFY_SSL", "TOWER_VERIFY_SSL")
# Where the collection looks for a host and a token beside the environment.
FILES = ("/etc/tower/tower_cli.cfg", "~/.tower_cli.cfg", "tower_cli.cfg")
MOST = 10_000


class AwxAction(SecretAction):
    """An action that works with an AWX through the plugins of a collection, awx.awx or ansible.controller.

    Host, token and the rest of the connection are read by the collection itself, from the environment or its own file: no variable has them.
    """

    def address(self) -> str:
        """The AWX's address, for people. Refusals ``awx_address_missing``, ``awx_address_insecure``, ``awx_unverified``."""
        for name in VERIFIED_VARIABLES:
            if name in os.environ and not boolean(os.environ[name], strict=False):
                raise Refusal(
                    "awx_unverified",
                    expected="the certificate of the AWX to be verified, since the token goes there",
                    found=f"{name}={shown(os.environ[name])}",
                    remedy=f"Unset {name}. Authorities of your own are in the file that SSL_CERT_FILE names.",
                )
        given = next((os.environ[name] for name in HOST_VARIABLES if os.environ.get(name)), "")
        if not given:
            if any(Path(each).expanduser().is_file() for each in FILES):
                return "the AWX of tower_cli.cfg"
            raise Refusal(
                "awx_address_missing",
                expected=f"the address of an AWX in {HOST_VARIABLES[0]}, and a token in CONTROLLER_OAUTH_TOKEN",
                found="none in the environment",
                remedy="Set both; a token is made at AWX: your user, Tokens (docs/howto/awx.md).",
            )
        parts = urlsplit(given if "://" in given else f"https://{given}")
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise Refusal(
                "awx_address_insecure",
                expected="an address that begins with https://, since the token goes there",
                found=f"{parts.scheme}://{parts.hostname}",
                remedy=f"Correct {HOST_VARIABLES[0]}.",
            )
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"

    def module(self, collection: str, name: str) -> str:
        """The full name of the collection's module; Refusal ``awx_collection_missing``."""
        full = f"{plain(collection)}.{plain(name)}"
        if module_loader.find_plugin(full) is None:
            raise _missing(full)
        return full

    def rows(self, collection: str, endpoint: str, only: Mapping[str, Any]) -> list[Row]:
        """All objects of an endpoint of the API, or the one that an endpoint with an id is."""
        address, name = self.address(), f"{plain(collection)}.controller_api"
        lookup = lookup_loader.get(name, loader=self._loader, templar=self._templar)
        if lookup is None:
            raise _missing(name)
        filters = {key: plain(value) for key, value in only.items()}
        try:
            found: list[Row] = lookup.run(
                [endpoint], {}, query_params=filters, return_all=True, return_objects=True, max_objects=MOST
            )
        except AnsibleError as error:
            raise refused(endpoint, str(error), address) from None
        return found

    def current(self, collection: str, step: Mapping[str, Any]) -> Row | None:
        """The object of a step (awx_plan.Step) as AWX has it, where that has fields that are in no data; None for a new one."""
        if not step["holder"] or not step["endpoint"]:
            return None
        return self.rows(collection, step["endpoint"], {})[0]

    def values(
        self, is_updated: bool, step: Mapping[str, Any], current: Row | None, task_vars: Mapping[str, Any]
    ) -> dict[str, str]:
        """The values of a step's fields that a secret is named for and that AWX does not have yet; of all of them when they are to be sent again."""
        there = (current or {}).get(step["holder"]) or {}
        named = {name: about for name, about in step["entered"].items() if about}
        wanted = {name: about for name, about in named.items() if is_updated or not there.get(name)}
        if not wanted:
            return {}
        keeper = self.keeper(task_vars)
        return {name: keeper.read(about["secret"], about["field"] or None) for name, about in wanted.items()}


def _missing(name: str) -> Refusal:
    return Refusal(
        "awx_collection_missing",
        expected=f"{name} in a collection that is installed",
        found="none of that name",
        remedy="make awx-collection, or ansible-galaxy collection install awx.awx; awx_collection says which one is used.",
    )
