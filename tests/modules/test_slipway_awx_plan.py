# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for an AWX: what is there is read by the collection's own plugin, and every mistake is a refusal before that."""

from __future__ import annotations

import plugins
import pytest
import repository

OPTIONS = {"collection": "awx.awx", "directory": str(repository.ROOT / "awx"), "root": str(repository.ROOT)}


@pytest.fixture
def connected(awx, monkeypatch, tmp_path):
    monkeypatch.setenv("CONTROLLER_HOST", awx.url)
    monkeypatch.setenv("CONTROLLER_OAUTH_TOKEN", awx.token)
    monkeypatch.setenv("HOME", str(tmp_path))
    return awx


def planned(**options):
    return plugins.run("slipway_awx_plan", **{**OPTIONS, **options})


def test_the_plan_has_every_object_in_order_and_reads_only(connected):
    answer = planned(notifications=["Slack"])
    assert (answer["changed"], answer["organization"], answer["address"]) == (False, "Slipway", connected.url)
    assert [step["label"] for step in answer["steps"]][:2] == ["organization Slipway", "credential_type Slipway trust"]
    assert "notification_template Slack" in {step["label"] for step in answer["steps"]}
    assert (answer["left_over"], answer["left_over_table"]) == ([], "")
    assert connected.sent() == []


def test_what_is_left_over_is_a_table(connected):
    organization = connected.insert("organizations", name="Slipway")["id"]
    connected.insert("teams", name="Former", organization=organization, description="Ran [slipway: Slipway]")
    answer = planned()
    assert [step["options"]["name"] for step in answer["left_over"]] == ["Former"]
    assert answer["left_over_table"].splitlines()[1].split() == ["teams", "Former"]


def test_a_mistake_is_refused_before_awx_is_asked(connected):
    answer = planned(notifications=["Fax"])
    assert (answer["failed"], answer["reason"]) == (True, "awx_data_invalid")
    assert connected.asked == []
    assert planned(directory="/nonexistent")["reason"] == "awx_data_missing"


SECRET = {"credentials": {"Slipway machine": {"ssh_key_data": {"secret": "ssh/deploy"}}}}


@pytest.mark.parametrize("check", [True, False])
def test_a_named_secret_that_cannot_be_read_is_refused_before_anything_is_sent(connected, safehouse, check):
    answer = planned(secrets=SECRET, task_vars=safehouse.variables, check=check)
    assert (answer["failed"], answer["reason"]) == (True, "secret_store_missing")
    assert connected.sent() == []


def test_a_named_secret_that_awx_has_already_is_not_read(connected, safehouse):
    organization = connected.insert("organizations", name="Slipway")["id"]
    machine = connected.row("credential_types", "Machine")["id"]
    connected.insert(
        "credentials", name="Slipway machine", organization=organization, credential_type=machine, inputs={"ssh_key_data": "-----BEGIN PRIVATE KEY-----"}
    )  # fmt: skip
    assert planned(secrets=SECRET, task_vars=safehouse.variables)["organization"] == "Slipway"
    answer = planned(secrets=SECRET, task_vars=safehouse.variables, secrets_updated=True)
    assert answer["reason"] == "secret_store_missing"


def test_what_becomes_of_what_is_left_over_is_known_before_awx_is_asked(connected):
    answer = planned(left_over="remove")
    assert (answer["reason"], answer["found"]) == ("awx_left_over_invalid", "'remove'")
    assert answer["remedy"]
    assert connected.asked == []
    assert planned(left_over="removed")["removes"] is True
    assert planned()["removes"] is False


def test_an_awx_that_does_not_take_the_token_is_named(connected, monkeypatch):
    monkeypatch.setenv("CONTROLLER_OAUTH_TOKEN", "canary-token")
    answer = planned()
    assert answer["reason"] == "awx_token_invalid"
    assert connected.url in answer["expected"]
    assert "canary-token" not in str(answer)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "awx_address_missing"),
        ("http://awx.example", "awx_address_insecure"),
        ("ftp://localhost.example", "awx_address_insecure"),
    ],
)
def test_an_address_that_the_token_must_not_go_to_is_refused(connected, monkeypatch, address, reason):
    monkeypatch.setenv("CONTROLLER_HOST", address)
    assert planned()["reason"] == reason
    assert connected.asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("CONTROLLER_VERIFY_SSL", "false"), ("TOWER_VERIFY_SSL", "0"), ("CONTROLLER_VERIFY_SSL", "nope")],
)
def test_a_certificate_that_is_not_to_be_verified_is_refused(connected, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert planned()["reason"] == "awx_unverified"
    assert connected.asked == []
    monkeypatch.setenv(name, "true")
    assert "reason" not in planned()


def test_the_collections_own_file_may_have_the_address(connected, monkeypatch, tmp_path):
    monkeypatch.delenv("CONTROLLER_HOST")
    monkeypatch.delenv("CONTROLLER_OAUTH_TOKEN")
    (tmp_path / ".tower_cli.cfg").write_text(f"[general]\nhost = {connected.url}\noauth_token = {connected.token}\n")
    answer = planned()
    assert answer["address"] == "the AWX of tower_cli.cfg"


def test_a_collection_that_is_not_there_is_named(connected):
    answer = planned(collection="ansible.none")
    assert answer["reason"] == "awx_collection_missing"
    assert connected.asked == []
