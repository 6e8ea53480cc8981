# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_host: a bare machine becomes a host, once."""

from __future__ import annotations

import os
import shutil
import uuid

import doors
import plugins
import pytest
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.controller.witness import Witness
from ansible.module_utils.slipway.host import handler
from ansible.module_utils.slipway.host.places import Host
from releases import snapshot

NAME = "slipway_host"


@pytest.fixture
def machine(tmp_path, clock, systemctl):
    """A machine that has never been a host."""
    root = tmp_path / "machine"
    root.mkdir()
    return Host(root=root, clock=clock, run=systemctl, uid=os.geteuid())


@pytest.fixture
def module(machine, signing, monkeypatch, tmp_path):
    monkeypatch.setattr(handler, "Host", lambda: machine)
    package = tmp_path / "slipway.pyz"
    package.write_bytes(resident.build())

    def run(check=False, **parameters):
        given = {
            "name": "prod-1",
            "environment": "prod",
            "trust_policy": signing.envelope.decode(),
            "resident": package,
        }
        given = {key: value for key, value in {**given, **parameters}.items() if value is not None}
        return doors.run(NAME, check=check, **given)

    return run


def test_a_bare_machine_gets_everything(machine, module):
    answer = module()
    assert answer["installed"] == ["identity", "trust policy", "resident package", "history key", "command", "units"]
    assert (answer["changed"], answer["host"]["name"], answer["host"]["environment"]) == (True, "prod-1", "prod")
    assert machine.identity().id == answer["host"]["id"] == str(uuid.UUID(answer["host"]["id"]))
    assert doors.undocumented(NAME, answer) == set()
    assert machine.policy().environment("prod") is not None


@pytest.fixture
def plugin(machine, signing, monkeypatch, tmp_path):
    """As the playbook asks: the package is built and sent first."""
    monkeypatch.setattr(handler, "Host", lambda: machine)

    def run(check=False):
        variables = {"slipway_state_directory": str(tmp_path / "state"), "inventory_hostname": "prod-1"}
        options = {"name": "prod-1", "environment": "prod", "trust_policy": signing.envelope.decode()}
        return plugins.run_on_host(NAME, check=check, task_vars=variables, **options)

    return run


def test_the_key_of_the_host_is_pinned_on_the_controller_for_ever(machine, plugin, tmp_path):
    answer = plugin()
    pinned = Witness(tmp_path / "state").recall("prod-1", "shop").pinned
    assert (pinned.id, pinned.history_key) == (answer["host"]["id"], answer["history_key"])
    machine.history_key.unlink()
    assert plugin()["history_key"] != answer["history_key"]
    assert Witness(tmp_path / "state").recall("prod-1", "shop").pinned == pinned


def test_check_mode_pins_nothing(plugin, tmp_path):
    assert plugin(check=True)["history_key"] is None
    assert not (tmp_path / "state").exists()
    plugin()
    shutil.rmtree(tmp_path / "state")
    assert plugin(check=True)["history_key"]
    assert not (tmp_path / "state").exists()


def test_a_key_that_is_none_is_refused(plugin, monkeypatch):
    monkeypatch.setitem(
        handler.OPERATIONS, "bootstrap", lambda *_, **__: {"host": {"id": "x"}, "history_key": "00" * 32}
    )
    assert plugin()["reason"] == "key_weak"


def test_a_second_time_changes_nothing(machine, module):
    module()
    before = snapshot(machine.root)
    assert (module()["changed"], module()["installed"]) == (False, [])
    assert snapshot(machine.root) == before


def test_check_mode_predicts_and_changes_nothing(machine, module):
    before = snapshot(machine.root)
    predicted = module(check=True)
    assert snapshot(machine.root) == before
    assert predicted["installed"] == module()["installed"]


def test_an_outdated_package_is_replaced(machine, module):
    module()
    machine.resident.write_bytes(b"older")
    assert module()["installed"] == ["resident package"]
    assert machine.resident.read_bytes() == resident.build()


@pytest.mark.parametrize("other", [{"environment": "staging"}, {"name": "prod-2"}])
def test_an_identity_is_never_replaced(machine, module, other):
    module()
    before = snapshot(machine.root)
    answer = module(**other)
    assert (answer["failed"], answer["reason"]) == (True, "host_is_another")
    assert snapshot(machine.root) == before
    assert doors.undocumented(NAME, answer) <= {"expected", "found", "remedy"}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"environment": "moon"}, "environment_unknown"), ({"trust_policy": "{}"}, "envelope"),
        ({"environment": None}, "missing required arguments: environment"), ({"name": None}, "missing required arguments: name"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_host_is_refused(machine, module, parameters, said):
    before = snapshot(machine.root)
    answer = module(**parameters)
    assert (answer["failed"], said in answer["msg"]) == (True, True)
    assert snapshot(machine.root) == before
