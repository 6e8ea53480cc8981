# SPDX-License-Identifier: GPL-3.0-or-later
"""One object of an AWX, brought by the collection's real module; the whole of awx/ is in test_awx_playbook.py."""

from __future__ import annotations

import plugins
import pytest

STEP = {
    "kind": "organizations", "name": "Slipway", "module": "organization", "options": {"name": "Slipway", "description": "d"}, "endpoint": "", "ready": False,
    "holder": "", "entered": {}, "is_part": False, "label": "organization Slipway",
}  # fmt: skip
CREDENTIAL = {
    **STEP, "kind": "credentials", "name": "machine", "module": "credential", "holder": "inputs", "entered": {"ssh_key_data": {"secret": "ssh/deploy", "field": ""}},
    "options": {"name": "machine", "organization": "Slipway", "credential_type": "Machine", "inputs": {}}, "label": "credential machine",
}  # fmt: skip


@pytest.fixture
def ask(awx, monkeypatch, tmp_path):
    """A function that hands a step to the action."""
    monkeypatch.setenv("CONTROLLER_HOST", awx.url)
    monkeypatch.setenv("CONTROLLER_OAUTH_TOKEN", awx.token)
    monkeypatch.setenv("HOME", str(tmp_path))

    def asked(step, **options):
        return plugins.run("slipway_awx_object", collection="awx.awx", step=step, **options)

    return asked


def test_a_new_object_that_is_only_checked_is_a_change_without_a_question(ask, awx):
    answer = ask(STEP, check=True)
    assert {key: answer[key] for key in ("changed", "action", "kind", "name", "to_enter")} == {
        "changed": True, "action": "create", "kind": "organizations", "name": "Slipway", "to_enter": [],
    }  # fmt: skip
    assert awx.asked == []


def test_what_a_person_has_to_enter_is_named(ask, awx):
    answer = ask({**CREDENTIAL, "entered": {"ssh_key_data": {}}}, check=True)
    assert answer["to_enter"] == ["machine: ssh_key_data"]


def test_a_secret_that_no_provider_knows_is_refused_before_the_module_runs(ask, awx, safehouse):
    answer = plugins.run("slipway_awx_object", collection="awx.awx", step=CREDENTIAL, task_vars=safehouse.variables)
    assert (answer["failed"], answer["reason"]) == (True, "secret_store_missing")
    assert awx.sent() == []


def test_a_module_that_the_collection_does_not_have_is_named(ask, awx):
    assert ask({**STEP, "module": "none"})["reason"] == "awx_collection_missing"
    assert awx.asked == []
