# SPDX-License-Identifier: GPL-3.0-or-later
"""From variables to the place of a controller's state."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.slipway._secrets import access_log
from ansible.module_utils.slipway._state import state_place
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.access_table import AccessTable
from ansible.module_utils.slipway.controller.memory import ControllerState
from ansible.module_utils.slipway.controller.state_place import StatePlace
from ansible.module_utils.slipway.secrets.access_log import AccessLog

NAME = "state/database"


def unchanged(value):
    return value


def place(variables, directory=None):
    return state_place(variables, unchanged, None, directory)


def test_without_more_it_is_the_file_of_the_directory(tmp_path):
    assert place({"slipway_state_directory": str(tmp_path)}) == StatePlace(tmp_path)
    assert place({"slipway_state_directory": "elsewhere"}, str(tmp_path)) == StatePlace(tmp_path)


def test_variables_say_where_it_is_and_whether_it_is_needed(tmp_path):
    found = place(
        {
            "slipway_state_directory": str(tmp_path), "slipway_state_url": "postgresql://u@h/d", "slipway_state_required": "false",
            "slipway_witness_key": "~/witness.pem",
        }
    )  # fmt: skip
    assert (found.url, found.is_required) == ("postgresql://u@h/d", False)
    assert found.key_path == Path.home() / "witness.pem"
    assert found.password() is None


@pytest.mark.parametrize(
    ("said", "is_required"), [(True, True), (False, False), ("yes", True), ("No", False), ("True", True)]
)
def test_yes_and_no_are_as_ansible_has_them(tmp_path, said, is_required):
    assert place({"slipway_state_directory": str(tmp_path), "slipway_state_required": said}).is_required is is_required


@pytest.mark.parametrize("said", ["", "maybe", 2, None, []])
def test_what_is_neither_is_refused(tmp_path, said):
    with pytest.raises(Refusal) as caught:
        place({"slipway_state_directory": str(tmp_path), "slipway_state_required": said})
    assert caught.value.reason == "state_setting_invalid"


def test_a_password_in_the_address_is_refused_before_anything_is_connected_to(tmp_path):
    with pytest.raises(Refusal) as caught:
        place({"slipway_state_directory": str(tmp_path), "slipway_state_url": "postgresql://u:of-nobody@h/d"})
    assert caught.value.reason == "state_url_invalid"
    assert "of-nobody" not in str(caught.value)


@pytest.fixture
def shared(safehouse, postgres):
    """Variables of a host whose state is in a database, with the password in the encrypted store."""
    safehouse.ask("slipway_secret_store")
    safehouse.ask("slipway_secret", name=NAME, fields={"password": postgres.password})
    safehouse.variables |= {"slipway_state_url": postgres.url(postgres.new()), "slipway_state_password_secret": NAME}
    return safehouse


def test_the_password_is_that_of_the_secret_and_its_line_is_in_the_file(shared):
    assert ControllerState(place(shared.variables)).runs() == []
    records = AccessLog(shared.directory / "state/access.jsonl").records()
    assert [(each["operation"], each["name"]) for each in records][-1] == ("read", NAME)


def test_where_there_is_a_database_accesses_are_noted_there(shared, postgres):
    log = access_log(shared.variables, unchanged, None)
    assert isinstance(log, AccessTable)
    shared.ask("slipway_secret", name="pager", fields={"key": "x"})
    found = shared.ask("slipway_access_info", name="pager")
    assert [each["operation"] for each in found["records"]] == ["write", "write"]
    assert postgres.password not in str(found)
    file = AccessLog(shared.directory / "state/access.jsonl")
    assert file.found(name="pager") == []


def test_a_password_that_is_wrong_is_not_in_what_is_said(shared):
    shared.ask("slipway_secret", name=NAME, fields={"password": "of-nobody-else"})
    with pytest.raises(Refusal) as caught:
        ControllerState(place(shared.variables))
    assert caught.value.reason == "controller_memory_unusable"
    assert "of-nobody-else" not in str(caught.value)
