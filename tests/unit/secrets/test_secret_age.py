# SPDX-License-Identifier: GPL-3.0-or-later
"""How old secrets are: by their provider, else by the access log, and said as it is where nobody knows."""

from __future__ import annotations

import json
import os

import pytest
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.env_file import Declared
from ansible.module_utils.slipway.secrets.keeper import Keeper
from ansible.module_utils.slipway.secrets.provider import Unavailable
from ansible.module_utils.slipway.secrets.rotation_policy import DAY, RotationPolicy
from ansible.module_utils.slipway.secrets.rotation_record import Rotation, RotationRecords
from ansible.module_utils.slipway.secrets.secret_age import ages, ages_table, metrics
from ansible.module_utils.slipway.secrets.secret_settings import ProviderSettings, SecretSettings
from safes import CANARY, FakeProvider, secret

NAMES = ("fresh", "due", "overdue", "unknown", "missing", "undeclared")


@pytest.fixture
def records(tmp_path):
    return RotationRecords(tmp_path, "prod")


@pytest.fixture
def keeper(tmp_path, place, clock):
    first, second = (FakeProvider(label, origin=(label,)) for label in ("first", "second"))
    first.secrets = {name: secret(name) for name in NAMES if name != "missing"}
    first.written = {
        "fresh": clock.now() - 1,
        "due": clock.now() - 9 * DAY,
        "overdue": clock.now() - 11 * DAY,
        "undeclared": clock.now() + 5,
    }
    policies = tuple(RotationPolicy(name, 10 * DAY) for name in NAMES if name != "undeclared")
    settings = SecretSettings(
        (ProviderSettings("first", "local"), ProviderSettings("second", "local")), (Declared("undeclared"), Declared("fresh")), rotation=policies
    )  # fmt: skip
    caller = Caller("ann", "ansible-1", "prod", "prod-1")
    said = []
    keeper = Keeper(settings, [first, second], place, AccessLog(tmp_path / "access.jsonl"), caller, clock, said.append)
    keeper.said = said
    return keeper


def test_every_state_is_told_apart(keeper, records):
    found = ages(keeper, records)
    assert {each.name: each.state for each in found} == {name: name for name in NAMES}
    assert [each.name for each in found] == sorted(NAMES)
    by_name = {each.name: each for each in found}
    assert (by_name["overdue"].provider, by_name["overdue"].age_seconds, by_name["overdue"].max_age_seconds) == (
        "first",
        11 * DAY,
        10 * DAY,
    )
    assert by_name["undeclared"].age_seconds == 0  # another clock may be ahead
    assert by_name["missing"].provider is None


def test_no_value_is_read(keeper, records):
    ages(keeper, records)
    assert {what for provider in keeper.providers for what, _name in provider.calls} == {"standing"}


def test_what_the_provider_does_not_know_the_access_log_may(keeper, records, clock):
    keeper.write("unknown", {"value": "x"})
    clock.advance(11 * DAY)
    keeper.note_rotation("unknown", "making", "3")
    assert {each.name: each.state for each in ages(keeper, records)}["unknown"] == "overdue"
    keeper.note_rotation("unknown", "adopted", "3")
    assert {each.name: each.age_seconds for each in ages(keeper, records)}["unknown"] == 0


def test_the_next_provider_is_asked_and_one_that_is_silent_is_said_aloud(keeper, records):
    second = keeper.providers[1]
    second.secrets["missing"], second.written["missing"] = secret("missing"), 0
    assert {each.name: (each.provider, each.state) for each in ages(keeper, records)}["missing"] == (
        "second",
        "overdue",
    )
    keeper.providers[0].fails = [Unavailable("sealed", passing=False)]
    assert {each.state for each in ages(keeper, records) if each.provider != "second"} == {"missing"}
    assert keeper.said[0] == "first is sealed: it is not known how old what it has is"


def test_it_is_a_table_and_plain_data(keeper, records):
    found = ages(keeper, records)
    lines = ages_table(found).splitlines()
    assert lines[0].split() == ["SECRET", "PROVIDER", "VERSION", "DAYS", "AT", "MOST", "MADE", "BY", "STATE"]
    assert lines[1:3] == [
        "due         first     1        9     10       generated  due",
        "fresh       first     1        0     10       generated  fresh",
    ]
    assert ages_table([]) == "no secret is declared, in secrets_declared or secrets_rotation"
    assert CANARY not in json.dumps([each.as_dict() for each in found])
    assert found[0].as_dict()["written"].endswith("Z")


def test_a_rotation_that_was_left_open_is_in_it(keeper, records):
    about = ("first", "handed_out", "1", "2", "ann", "ansible-1", Process.of(os.getpid()), "x", "x")
    records.save(Rotation("rotation_1", "fresh", *about))
    found = ages(keeper, records)
    assert "fresh, rotation handed_out" in ages_table(found)
    assert 'slipway_secret_rotation_open{environment="prod",provider="first",secret="fresh"} 1\n' in metrics(
        found, "prod"
    )


def test_metrics_have_names_and_no_values(keeper, records):
    text = metrics(ages(keeper, records), "prod")
    assert f'slipway_secret_age_seconds{{environment="prod",provider="first",secret="overdue"}} {11 * DAY}\n' in text
    assert (
        f'slipway_secret_max_age_seconds{{environment="prod",provider="first",secret="overdue"}} {10 * DAY}\n' in text
    )
    assert 'slipway_secret_written_timestamp_seconds{environment="prod",provider="first",secret="fresh"}' in text
    assert "undeclared" not in text  # nobody said how old it may get
    assert 'slipway_secret_age_seconds{environment="prod",provider="first",secret="unknown"}' not in text
    assert 'slipway_secret_max_age_seconds{environment="prod",provider="",secret="missing"}' in text
    assert CANARY not in text
    assert metrics([], "prod") == ""
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) == 4
