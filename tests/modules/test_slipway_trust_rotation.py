# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the rotation of a host's trust policy, and the plugin that sends it the chain."""

from __future__ import annotations

import doors
import plugins
import pytest
import signed
from ansible.module_utils.slipway.host import handler
from releases import snapshot

NAME = "slipway_trust_rotation"


def version(number):
    return signed.policy_envelope(signed.policy_document(version=number)).decode()


@pytest.fixture
def rotate(host, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: host)

    def run(*policies, check=False):
        return doors.run(NAME, check=check, trust_policy="unused", policies=list(policies))

    return run


def test_a_host_is_brought_to_the_newest_version(rotate, host):
    answer = rotate(version(1), version(2))
    assert (answer["changed"], answer["rotated"], answer["after"]["version"]) == (True, [2], 2)
    assert answer["diff"] == {"prepared": "version: 1 -> 2\n"}
    assert host.policy().version == 2
    assert doors.undocumented(NAME, answer) == set()
    assert rotate(version(1), version(2))["changed"] is False


def test_check_mode_tells_and_changes_nothing(rotate, host):
    before = snapshot(host.configuration)
    told = rotate(version(2), check=True)
    assert (told["changed"], told["after"]["version"]) == (True, 2)
    assert snapshot(host.configuration) == before


def test_a_refusal_is_an_answer(rotate):
    answer = rotate(version(3))
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, "policy_version_skipped")
    assert doors.undocumented(NAME, answer) == set()
    assert rotate()["reason"] == "policy_chain_length"


def sent(tmp_path, monkeypatch, **options):
    """What the plugin asks the host with, or its own answer when it does not come to that."""
    plugin = plugins.load(NAME)
    given = {}

    def ask(self, options, task_vars):
        given.update(options)
        return {"changed": False}

    monkeypatch.setattr(plugin.ActionModule, "ask", ask)
    answer = plugins.run_class(
        plugin.ActionModule, NAME, trust_policy=str(tmp_path / "trust-policy.dsse.json"), **options
    )
    return given, answer


def test_the_plugin_sends_the_chain_that_the_controller_keeps(tmp_path, monkeypatch):
    for number in (1, 2, 3):
        (tmp_path / f"{number}.trust-policy.dsse.json").write_text(version(number))
    (tmp_path / "trust-policy.dsse.json").write_text(version(3))
    given, answer = sent(tmp_path, monkeypatch, policies=["something else"])
    assert given["policies"] == [version(1), version(2), version(3)]
    assert answer["changed"] is False


def test_without_a_trust_policy_nothing_is_sent(tmp_path, monkeypatch):
    given, answer = sent(tmp_path, monkeypatch)
    assert given == {}
    assert (answer["failed"], answer["reason"]) == (True, "trust_policy_missing")
