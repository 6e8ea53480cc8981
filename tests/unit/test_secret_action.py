# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of secrets have at hand: the chain, the log and the store of the host that the task is for."""

from __future__ import annotations

from pathlib import Path

import plugins
from ansible.module_utils.slipway._secret_action import SecretAction


class Asking(SecretAction):
    name = "slipway_secret_info"

    def answer(self, arguments, task_vars):
        store, settings = self.store(task_vars, arguments["name"] and f"/{arguments['name']}")
        return {
            "chain": [each.label for each in self.keeper(task_vars).providers], "log": self.log(task_vars).path, "store": store.path,
            "keys": (store.key_path, store.given_key), "check": store.check, "declared": len(settings.declared), "by": store.caller.host,
        }  # fmt: skip


def test_they_are_those_of_the_host(safehouse):
    answer = plugins.run_class(Asking, Asking.name, task_vars=safehouse.variables)
    assert (answer["chain"], answer["store"], answer["declared"], answer["by"]) == (
        ["local"],
        safehouse.store,
        2,
        "prod-1",
    )
    assert answer["log"] == safehouse.directory / "state/access.jsonl"
    assert (answer["keys"], answer["check"]) == ((safehouse.key, None), False)


def test_a_key_that_is_given_is_one_more(safehouse):
    answer = plugins.run_class(Asking, Asking.name, check=True, task_vars=safehouse.variables, name="key")
    assert (answer["keys"], answer["check"]) == ((safehouse.key, Path("/key")), True)
