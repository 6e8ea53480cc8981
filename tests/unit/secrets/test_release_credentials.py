# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service is to get of secrets: read once for a run, the same for all of its hosts, each handing out noted."""

from __future__ import annotations

import base64

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.credentials import Given
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.keeper import Keeper
from ansible.module_utils.slipway.secrets.provider import Unavailable
from ansible.module_utils.slipway.secrets.release_credentials import (
    Credential,
    ReleaseCredentials,
    Resolved,
    handed_out,
    parse,
)
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.secret_settings import ProviderSettings, SecretSettings
from ansible.module_utils.slipway.secrets.volatile import Volatile
from safes import CANARY, FakeProvider, secret

DECLARED = {
    "database_password": {"secret": "database/main", "field": "password"},
    "pager": {"secret": "pager"},
}


class Run:
    """A run of several hosts: ``of(host)`` is what the process for that host has."""

    def __init__(self, tmp_path, place, clock):
        self.provider = FakeProvider("vault")
        self.provider.secrets = {
            "database/main": secret(version="7"), "pager": Secret("pager", {"key": "pager-key"}),
        }  # fmt: skip
        self.log = AccessLog(tmp_path / "access.jsonl")
        self.place, self.clock, self.seconds = place, clock, 0

    def of(self, host="prod-1", environment="prod", declared=DECLARED):
        settings = SecretSettings(chain=(ProviderSettings("vault", "local"),), cache_seconds=self.seconds)
        caller = Caller("ann", "ansible-1", environment, host)
        keeper = Keeper(settings, [self.provider], self.place, self.log, caller, self.clock, lambda _said: None)
        return ReleaseCredentials(keeper, parse(declared))

    def accesses(self):
        return [(each["host"], each["name"], each["version"], each["cached"]) for each in self.log.records()]


@pytest.fixture
def run(tmp_path, place, clock):
    return Run(tmp_path, place, clock)


def test_entries_are_read_by_name():
    assert parse(DECLARED) == (
        Credential("database_password", "database/main", "password"),
        Credential("pager", "pager"),
    )
    assert parse({}) == ()


def test_what_hosts_get_is_known_by_secret():
    again = {"user": {"secret": "database/main", "field": "username"}}
    assert handed_out({**DECLARED, **again}) == {"database/main": {"password", "username"}, "pager": {None}}


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (["database_password"], "credentials_invalid"),
        ({f"name_{number}": {"secret": "pager"} for number in range(101)}, "credentials_invalid"),
        ({".hidden": {"secret": "pager"}}, "credentials_invalid"),
        ({1: {"secret": "pager"}}, "credentials_invalid"),
        ({"pager": CANARY}, "credentials_invalid"),
        ({"pager": {"field": "key"}}, "credentials_invalid"),
        ({"pager": {"secret": "pager", "value": CANARY}}, "credentials_invalid"),
        ({"pager": {"secret": "pager", "field": "../key"}}, "credentials_invalid"),
        ({"pager": {"secret": "../pager"}}, "secret_name_invalid"),
    ],
)
def test_what_is_no_entry_is_refused_without_what_stands_there(declared, reason):
    with pytest.raises(Refusal) as refusal:
        parse(declared)
    assert refusal.value.reason == reason
    assert CANARY not in str(refusal.value)


def test_values_come_with_where_they_were(run):
    resolved = run.of().read()
    assert resolved.values == {"database_password": CANARY, "pager": "pager-key"}
    assert resolved.about == {
        "database_password": {"secret": "database/main", "field": "password", "provider": "vault", "version": "7"},
        "pager": {"secret": "pager", "field": "key", "provider": "vault", "version": None},
    }


def test_a_host_reads_what_the_controller_sends(run):
    options = run.of().read().options()
    given = Given.parse(options)
    assert given.values == {"database_password": CANARY.encode(), "pager": b"pager-key"}
    assert given.about["database_password"]["version"] == "7"
    assert CANARY not in str(options["credentials"])
    assert CANARY.encode() in base64.b64decode(options["credential_values"])


def test_all_hosts_of_a_run_get_what_was_read_once(run):
    run.of("prod-1").keep("run-1", run.of("prod-1").read())
    run.provider.secrets["database/main"] = secret(value="meanwhile", version="8")
    taken = [run.of(f"prod-{number}").take("run-1") for number in (1, 2)]
    assert [each.values["database_password"] for each in taken] == [CANARY, CANARY]
    assert taken[0].about == taken[1].about
    assert len(run.provider.calls) == 2
    assert run.accesses() == [
        ("prod-1", "database/main", "7", False),
        ("prod-1", "pager", None, False),
        ("prod-1", "database/main", "7", True),
        ("prod-1", "pager", None, True),
        ("prod-2", "database/main", "7", True),
        ("prod-2", "pager", None, True),
    ]


def test_another_run_reads_for_itself(run):
    run.of().take("run-1")
    run.provider.secrets["database/main"] = secret(value="newer", version="8")
    assert run.of().take("run-2").values["database_password"] == "newer"
    assert run.of().take("run-1").values["database_password"] == CANARY


def test_what_an_earlier_run_has_read_goes_to_no_host(run):
    """Meanwhile somebody else may have set another value, and the old one may have ended."""
    run.seconds = 300
    assert run.of().read().values["database_password"] == CANARY
    run.provider.secrets["database/main"] = secret(value="newer", version="8")
    (run.place.directory / "run-4-5-6").mkdir()
    run.place = Volatile(run.place.directory, "run-4-5-6")
    assert run.of().keeper.read("database/main", "password") == CANARY
    assert run.of().take("run-2").values["database_password"] == "newer"
    assert run.of().keeper.read("database/main", "password") == "newer"


def test_a_secret_of_which_several_fields_are_wanted_is_read_once(run):
    run.seconds = 300
    declared = {name: {"secret": "database/main", "field": name} for name in ("password", "username")}
    assert run.of(declared=declared).read().values == {"password": CANARY, "username": "shop"}
    assert len(run.provider.calls) == 1


def test_a_host_that_wants_something_else_or_is_elsewhere_reads_for_itself(run):
    run.of().take("run-1")
    other = {"database_password": {"secret": "database/main", "field": "username"}}
    assert run.of(declared=other).take("run-1").values == {"database_password": "shop"}
    run.of(environment="staging").take("run-1")
    assert len(run.provider.calls) == 5


def test_without_memory_of_the_run_each_reads_for_itself(run):
    run.place = None
    run.of().keep("run-1", run.of().read())
    assert run.of().take("run-1").values["pager"] == "pager-key"
    assert len(run.provider.calls) == 4


def test_what_is_not_as_it_should_be_stops_the_run(run):
    run.provider.secrets["pager"] = Secret("pager", {"key": ""})
    with pytest.raises(Refusal) as refusal:
        run.of().read()
    assert refusal.value.reason == "credential_unfit"
    run.provider.secrets["pager"] = Secret("pager", {"key": "a", "url": "b"})
    with pytest.raises(Refusal) as refusal:
        run.of().read()
    assert refusal.value.reason == "secret_field_needed"
    run.provider.fails = [Unavailable("sealed", passing=False)]
    with pytest.raises(Refusal) as refusal:
        run.of().read()
    assert refusal.value.reason == "secret_unavailable"


def test_what_holds_values_does_not_show_them(run):
    assert repr(run.of().read()) == "Resolved(database_password, pager)"
    assert repr(Resolved()) == "Resolved()"
    assert CANARY not in repr(run.of().keeper.found("database/main", "password"))
