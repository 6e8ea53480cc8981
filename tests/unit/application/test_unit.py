# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be said of the unit that Slipway writes; every mistake is named, and no value says more than it is meant to."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.application.unit import CAPABILITIES, HARDENING, Limits, UnitDescription
from ansible.module_utils.slipway.base.errors import Refusal

CANARY = "canary-7d1f"


def read(**service) -> UnitDescription:
    """What is read of a service with a command."""
    described = Application.parse("bot", {"unit": "bot.service", "service": {"command": "bin/bot", **service}})
    assert described.service is not None
    return described.service


def refused(description) -> str:
    """The mistakes that are found."""
    with pytest.raises(Refusal) as refusal:
        Application.parse("bot", {"unit": "bot.service", **description})
    assert refusal.value.reason == "application_invalid"
    return refusal.value.found


def wrong(**service) -> str:
    return refused({"service": {"command": "bin/bot", **service}})


def test_an_application_without_a_service_brings_its_own_unit():
    assert Application.parse("bot", {"unit": "bot.service"}).service is None


def test_numbers_and_texts_of_ansible_are_such():
    """On a controller they are of classes of its own, which remember where they were written."""

    class Number(int):
        pass

    class Text(str):
        __slots__ = ()

    limits = read(tasks_max=Number(7), stop_timeout_seconds=Number(9), memory_max=Text("1G")).limits
    assert limits == Limits("1G", None, "7", 9)


def test_a_command_is_enough():
    assert read() == UnitDescription(command=("bin/bot",))


def test_everything_that_can_be_said_is_read():
    assert read(
        command="bin/bot serve --name 'two words'",
        description=" The bot ",
        after=["postgresql.service", r"var-lib-bot\x2ddata.mount"],
        environment={"API_PORT": "8000", "EMPTY": ""},
        environment_files=["/etc/bot/bot.env", "-/etc/bot/local.env"],
        credentials={"SECRET_KEY": "/etc/credstore/bot.secret-key"},
        ip_allow=["localhost", "10.0.0.0/8", "192.0.2.7", "fd00::/8"],
        capabilities=["CAP_NET_BIND_SERVICE"],
        writable_paths=["/var/lib/bot"],
        relax=["MemoryDenyWriteExecute"],
        memory_max="80%",
        cpu_quota="infinity",
        tasks_max="infinity",
        stop_timeout_seconds=3600,
    ) == UnitDescription(
        command=("bin/bot", "serve", "--name", "two words"),
        description="The bot",
        after=("postgresql.service", r"var-lib-bot\x2ddata.mount"),
        environment={"API_PORT": "8000", "EMPTY": ""},
        environment_files=("/etc/bot/bot.env", "-/etc/bot/local.env"),
        credentials={"SECRET_KEY": "/etc/credstore/bot.secret-key"},
        ip_allow=("localhost", "10.0.0.0/8", "192.0.2.7/32", "fd00::/8"),
        capabilities=("CAP_NET_BIND_SERVICE",),
        writable_paths=("/var/lib/bot",),
        relax=("MemoryDenyWriteExecute",),
        limits=Limits("80%", "infinity", "infinity", 3600),
    )


@pytest.mark.parametrize(
    ("service", "place"),
    [
        ({"command": None}, "service.command: expected a command below current/"),
        ({"command": ""}, "service.command"),
        ({"command": ["bin/bot"]}, "service.command"),
        ({"command": "/usr/bin/bot"}, "service.command"),
        ({"command": "../bin/bot"}, "service.command"),
        ({"command": "bin/../bot"}, "service.command"),
        ({"command": "."}, "service.command"),
        ({"command": "'bin/a bot'"}, "service.command"),
        ({"command": "+bin/bot"}, "service.command"),
        ({"command": "bin/b%h"}, "service.command"),
        ({"command": "bin/bot 'unclosed"}, "(no closing quotation)"),
        ({"command": "bin/bot\nExecStartPre=+/bin/sh"}, "service.command"),
        ({"command": "bin/bot \udc80"}, "service.command"),
        ({"description": ""}, "service.description"),
        ({"description": "  "}, "service.description"),
        ({"description": 7}, "service.description"),
        ({"description": "a\nUser=root"}, "service.description"),
        ({"description": "a\rUser=root"}, "service.description"),
        ({"description": "a\x00b"}, "service.description"),
        ({"description": "a\udc80"}, "service.description"),
        ({"description": "next line \\"}, "service.description"),
        ({"description": "x" * 256}, "service.description"),
        ({"after": "postgresql.service"}, "service.after: expected a list"),
        ({"after": ["postgresql"]}, "service.after[0]"),
        ({"after": ["a.service b.service"]}, "service.after[0]"),
        ({"after": [None]}, "service.after[0]"),
        ({"after": ["getty@.service"]}, "service.after[0]"),
        ({"environment": ["A=b"]}, "service.environment: expected a mapping"),
        ({"environment": {"1A": "b"}}, "service.environment: expected names"),
        ({"environment": {"A B": "b"}}, "service.environment: expected names"),
        ({"environment": {7: "b"}}, "service.environment: expected names"),
        ({"environment": {"API_PORT": 8000}}, "service.environment.API_PORT: expected a quoted text"),
        ({"environment": {"A": "b\nUser=root"}}, "service.environment.A: expected one line"),
        ({"environment_files": ["etc/bot.env"]}, "service.environment_files[0]"),
        ({"environment_files": ["/etc/*.env"]}, "service.environment_files[0]"),
        ({"environment_files": ["/etc/bot env"]}, "service.environment_files[0]"),
        ({"environment_files": ["/etc/%h.env"]}, "service.environment_files[0]"),
        ({"environment_files": ["/etc/../bot.env"]}, "service.environment_files[0]"),
        ({"environment_files": [None]}, "service.environment_files[0]"),
        ({"environment_files": ["--/etc/bot.env"]}, "service.environment_files[0]"),
        ({"credentials": ["/etc/key"]}, "service.credentials: expected a mapping"),
        ({"credentials": {"a/b": "/etc/key"}}, "service.credentials: expected names"),
        ({"credentials": {"..": "/etc/key"}}, "service.credentials: expected names"),
        ({"credentials": {"KEY": "key"}}, "service.credentials.KEY"),
        ({"credentials": {"KEY": "/etc/a:b"}}, "service.credentials.KEY"),
        ({"ip_allow": ["any"]}, "service.ip_allow[0]"),
        ({"ip_allow": ["10.0.0.0/33"]}, "service.ip_allow[0]"),
        ({"ip_allow": [167772160]}, "service.ip_allow[0]"),
        ({"ip_allow": ["fe80::1%eth0"]}, "service.ip_allow[0]: expected an address without a zone"),
        ({"ip_allow": ["localhost", "fe80::%2/64"]}, "service.ip_allow[1]"),
        ({"capabilities": ["CAP_EVERYTHING"]}, "service.capabilities[0]"),
        ({"capabilities": ["NET_ADMIN"]}, "service.capabilities[0]"),
        ({"writable_paths": ["/"]}, "service.writable_paths[0]"),
        ({"writable_paths": ["-/var/lib/bot"]}, "service.writable_paths[0]"),
        ({"relax": ["NoNewPrivileges"]}, "service.relax[0]: expected one of DevicePolicy"),
        ({"relax": ["User"]}, "service.relax[0]"),
        ({"relax": [["ProtectHome"]]}, "service.relax[0]"),
        ({"memory_max": 512}, "service.memory_max"),
        ({"memory_max": "512 M"}, "service.memory_max"),
        ({"memory_max": "0"}, "service.memory_max"),
        ({"memory_max": "101%"}, "service.memory_max"),
        ({"cpu_quota": "1.5"}, "service.cpu_quota"),
        ({"cpu_quota": "0%"}, "service.cpu_quota"),
        ({"tasks_max": 0}, "service.tasks_max"),
        ({"tasks_max": True}, "service.tasks_max"),
        ({"tasks_max": "256"}, "service.tasks_max"),
        ({"stop_timeout_seconds": 0}, "service.stop_timeout_seconds"),
        ({"stop_timeout_seconds": 3601}, "service.stop_timeout_seconds"),
        ({"stop_timeout_seconds": "infinity"}, "service.stop_timeout_seconds"),
        ({"comand": "bin/bot"}, "service.comand"),
    ],
)
def test_what_cannot_be_in_a_unit_is_named(service, place):
    assert place in wrong(**service)


@pytest.mark.parametrize(
    "path",
    [
        "/srv", "/srv/bot", "/srv/bot/releases", "/srv/bot/current/data", "/srv/bot/shared.old", "/etc", "/etc/slipway", "/usr",
        "/usr/lib", "/usr/lib/slipway", "/var", "/var/lib", "/var/lib/slipway", "/var/lib/slipway/bot",
    ],
)  # fmt: skip
def test_a_writable_path_neither_is_in_a_place_of_slipways_own_nor_holds_one(path):
    assert "service.writable_paths[0]: expected a path that neither" in wrong(writable_paths=[path])


@pytest.mark.parametrize(
    "path", ["/srv/bot/shared", "/srv/bot/shared/x", "/srv/bot2", "/srv/data", "/etc/slipway2", "/var/lib/bot", "/usr/local"]
)  # fmt: skip
def test_a_writable_path_may_be_beside_them(path):
    assert read(writable_paths=[path]).writable_paths == (path,)


@pytest.mark.parametrize("service", ["bin/bot", ["bin/bot"], 7])
def test_a_service_that_is_no_mapping_is_refused(service):
    assert "service: expected a mapping" in refused({"service": service})


def test_every_mistake_of_a_service_is_named_at_once_with_those_of_the_rest():
    found = refused(
        {
            "strategy": "sometimes",
            "service": {
                "command": "/bot",
                "environment": {"A": 1, "2": "b"},
                "relax": ["x", "y"],
                "memory_max": "a lot",
            },
        }
    )
    places = ("strategy", "command", "environment.A", "environment:", "relax[0]", "relax[1]", "memory_max")
    assert [place for place in places if place not in found] == []


@pytest.mark.parametrize(
    "service",
    [
        {"environment": {"TOKEN": f"{CANARY}\n", "OTHER": [CANARY]}},
        {"environment": f"TOKEN={CANARY}"},
        {"environment": [f"TOKEN={CANARY}"]},
        {"credentials": {"TOKEN": CANARY}},
        {"credentials": {"TOKEN": [CANARY]}},
        {"credentials": f"TOKEN:{CANARY}"},
    ],
)
def test_what_may_be_a_secret_in_the_wrong_place_is_not_said_again(service):
    assert CANARY not in wrong(**service)


def test_a_key_that_is_called_secret_does_not_stand_in_the_unit():
    description = {
        "configuration": {"keys": {"TOKEN": {"secret": True}, "HOST": {}}},
        "service": {"command": "bin/bot", "environment": {"TOKEN": CANARY, "HOST": "::"}},
    }
    found = refused(description)
    assert found.startswith("service.environment.TOKEN: expected no key that `configuration` calls secret")
    assert CANARY not in found
    assert "HOST" not in found


def test_a_service_needs_the_name_of_its_unit():
    with pytest.raises(Refusal) as refusal:
        Application.parse("bot", {"service": {"command": "bin/bot"}})
    assert "unit: expected the name of the unit that `service` describes" in refusal.value.found


@pytest.mark.parametrize(
    "argv", [["+sh", "-c", "id"], ["-bin/bot"], ["@sh"], ["!sh"], ["bin/a bot"], ["sh", "-c", "a\nb"], ["sh", "\udc80"]]
)
def test_a_check_that_a_unit_cannot_run_as_it_stands_is_refused(argv):
    check = {"check": {"argv": argv}}
    assert Application.parse("bot", {"unit": "bot.service", **check}).check is not None
    assert "check.argv: expected a program and printable words" in refused({**check, "service": {"command": "bin/bot"}})


def test_a_check_before_each_start_may_not_take_hours():
    check = {"check": {"argv": ["true"], "timeout_seconds": 3601}}
    assert Application.parse("bot", {"unit": "bot.service", **check}).check is not None
    assert "check.timeout_seconds: expected at most 3600" in refused({**check, "service": {"command": "bin/bot"}})


def test_the_service_is_not_part_of_what_a_release_was_staged_under():
    """Another unit is no other release: only bootstrap writes units."""
    application = Application.parse("bot", {"unit": "bot.service", "service": {"command": "bin/bot"}})
    assert "service" not in application.raw


def test_limits_that_are_not_said_come_from_the_defaults():
    limits = read(memory_max="64M").limits.over(Limits("1G", "100%", "512", 30))
    assert limits == Limits("64M", "100%", "512", 30)


def test_defaults_that_systemd_does_not_know_are_named_as_the_variables_that_they_are():
    with pytest.raises(Refusal) as refusal:
        Limits.parse({"memory_max": "lots", "cpu_quota": "1", "tasks_max": 0, "stop_timeout_seconds": -1})
    assert refusal.value.reason == "application_limits_invalid"
    names = ("memory_max", "cpu_quota", "tasks_max", "stop_timeout_seconds")
    assert [name for name in names if f"application_{name}: expected" not in refusal.value.found] == []


def test_each_directive_of_the_sandbox_can_be_left_out_and_nothing_else_goes_with_it():
    everything = read().hardening()
    assert {name for name, _ in everything} == set(HARDENING)
    for name in HARDENING:
        assert read(relax=[name]).hardening() == [entry for entry in everything if entry[0] != name]


@pytest.mark.parametrize("capability", sorted(CAPABILITIES))
def test_what_a_capability_permits_is_not_taken_away_by_the_sandbox(capability):
    hardening = read(capabilities=[capability]).hardening()
    assert "PrivateUsers" not in dict(hardening)  # there it would hold for the user namespace alone
    assert [value for name, value in hardening if name == "SystemCallFilter"] == ["@system-service"]
    assert len(hardening) == len(read().hardening()) - 2
