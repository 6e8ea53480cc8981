# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says about its own readiness: a row of each kind, well and not, without any secret in it."""

from __future__ import annotations

import json
import os
import pwd
import socket
import sqlite3
import sys
from dataclasses import replace

import pytest
import signed
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.clock import seconds_of
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host.places import Places
from ansible.module_utils.slipway.host.readiness import Readiness
from releases import UNIT, V1, snapshot

USER = "nobody"
CANARY = "canary-5e5d3f0a"
WELL = {
    "User": USER,
    "NoNewPrivileges": "yes",
    "UnitFileState": "enabled",
    "ControlGroup": "/system.slice/shop.service",
}
NO_CREDENTIALS = {
    name: [] for name in ("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted")
}
SECRET = {"required": True, "secret": True}


@pytest.fixture
def shop(site, systemctl):
    """The shop as an application with a user of its own and a unit that is well; other users may look into its host."""
    site.description.update(user=USER, service={"command": "bin/shop"})
    systemctl.properties[UNIT] = dict(WELL)
    systemctl.credentials[UNIT] = dict(NO_CREDENTIALS)
    for directory in (site.directory, site.host.root, *site.host.root.rglob("*")):
        if directory.is_dir():
            directory.chmod(0o755)
    return site


@pytest.fixture
def rows(shop):
    """The results, as {check: {subject: (status, found, remedy)}}."""

    def asked(check, **description):
        shop.description.update(description)
        answer = shop.inspect(preflight=True)
        assert not answer.get("failed"), answer
        assert CANARY not in json.dumps(answer)
        return {
            result["subject"]: (result["status"], result["found"], result["remedy"])
            for result in answer["preflight"]["results"]
            if result["check"] == check
        }

    return asked


@pytest.fixture
def put(shop):
    """Put a file on the host."""

    def written(path, text, mode=0o640):
        place = shop.host.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        return place

    return written


def status(row):
    return row[0]


# what is asked for


def test_nothing_is_checked_unless_asked_for(shop):
    assert shop.inspect()["preflight"] is None
    assert shop.inspect(health=True)["preflight"] is None


def test_a_host_that_is_well_passes_everything_that_is_always_checked(shop):
    answer = shop.inspect(preflight=True)["preflight"]
    assert [(each["check"], each["subject"], each["status"], each["found"]) for each in answer["results"]] == [
        ("policy", "trust policy", "PASS", "version 1 ends at 2028-01-01T00:00:00Z"),
        ("unit", UNIT, "PASS", "loaded, enabled"),
        ("security", f"user {USER}", "PASS", "uid 65534"),
        ("library", "python3-cryptography", "PASS", f"found by {sys.executable}"),
    ]
    assert answer["schema_revision"] is None


END = seconds_of(signed.UNTIL)


@pytest.mark.parametrize(
    ("now", "status", "said"),
    [
        (END - 30 * signed.DAY, "PASS", "ends at"),
        (END - 30 * signed.DAY + 1, "WARN", "ends at"),
        (END - 1, "WARN", "ends at"),
        (END, "FAIL", "ended at"),
    ],
)
def test_a_trust_policy_that_ends_soon_is_told_in_time(shop, rows, clock, now, status, said):
    clock.time = now
    found = rows("policy")["trust policy"]
    assert (found[0], found[1]) == (status, f"version 1 {said} {signed.UNTIL}")
    assert ("rotate-the-trust-policy.md" in found[2]) == (status != "PASS")


def test_a_trust_policy_that_does_not_hold_is_a_failure_that_holds_nothing_else_back(shop, rows):
    (shop.host.configuration / "trust-policy.dsse.json").unlink()
    assert rows("policy")["-"][:2] == ("FAIL", "cannot be checked: no such file")
    assert rows("unit")


def test_a_host_that_cannot_verify_signatures_is_not_ready(shop, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    rows = {each["check"]: each for each in shop.inspect(preflight=True)["preflight"]["results"]}
    assert (rows["library"]["status"], rows["library"]["found"]) == ("FAIL", f"not found by {sys.executable}")
    assert "playbooks/bootstrap.yml" in rows["library"]["remedy"]


def test_room_is_told_for_releases_for_history_and_for_packs(shop, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "nobody")
    room = shop.inspect(preflight=True)["preflight"]["room"]
    assert [(place["purpose"], place["path"]) for place in room] == [
        ("releases", "/srv/shop"), ("history", "/var/lib/slipway/shop"), ("arrival", "/"),
    ]  # fmt: skip
    there = os.statvfs(shop.places.base)
    assert (room[0]["bytes_total"], room[0]["inodes_total"]) == (there.f_blocks * there.f_frsize, there.f_files)
    assert room[0]["device"] == room[1]["device"] != 0
    assert 0 < room[0]["bytes_free"] <= room[0]["bytes_total"]


def test_packs_arrive_in_the_home_of_whoever_logged_in(shop, monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)
    home = pwd.getpwuid(os.geteuid()).pw_dir
    (shop.host.root / home.lstrip("/")).mkdir(parents=True)
    assert shop.inspect(preflight=True)["preflight"]["room"][2]["path"] == home


def test_a_file_system_that_makes_inodes_as_it_needs_them_has_no_limit_of_them(shop, monkeypatch):
    real = os.statvfs(shop.places.base)
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result([*real[:5], 0, 0, 0, *real[8:10]]))
    assert {place["inodes_free"] for place in shop.inspect(preflight=True)["preflight"]["room"]} == {None}


def test_checking_changes_nothing(shop, put):
    put("/etc/shop.env", f"TOKEN={CANARY}\n")
    shop.description.update(
        configuration={"files": ["/etc/shop.env"], "keys": {"TOKEN": SECRET}},
        preflight={
            "ports": [1],
            "imports": ["json"],
            "commands": ["sh"],
            "packages": ["dpkg"],
            "files": ["/etc/shop.env"],
        },
    )
    before = snapshot(shop.host.root)
    shop.inspect(preflight=True, health=True)
    assert snapshot(shop.host.root) == before


def test_a_check_that_cannot_be_made_is_a_fail_and_does_not_hold_the_others_back(rows, shop, monkeypatch):
    def broken(*_arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ansible.module_utils.slipway.application.ports.listeners", broken)
    description = {"preflight": {"ports": [8000], "commands": ["sh"]}}
    assert rows("port", **description)["-"][:2] == ("FAIL", "cannot be checked: [Errno 5] Input/output error")
    assert status(rows("command", **description)["sh"]) == "PASS"


# the unit


def test_a_unit_that_systemd_does_not_know_fails(rows, systemctl):
    del systemctl.units[UNIT]
    assert rows("unit") == {
        UNIT: ("FAIL", "LoadState=not-found", "Run playbooks/bootstrap.yml, or correct `unit` in slipway_applications.")
    }


def test_a_unit_that_does_not_start_at_boot_is_a_warning(rows, systemctl):
    systemctl.properties[UNIT]["UnitFileState"] = "disabled"
    assert rows("unit")[UNIT][:2] == ("WARN", "disabled, so it does not start at boot")


def test_a_unit_that_has_changed_since_it_was_read_is_a_warning(rows, systemctl):
    systemctl.properties[UNIT]["NeedDaemonReload"] = "yes"
    assert rows("unit")[UNIT][:2] == ("WARN", "its file has changed since systemd read it")


def test_an_application_without_a_unit_has_no_row_for_it(rows):
    assert rows("unit", unit=None, service=None, health=[]) == {}


# security


@pytest.mark.parametrize(("user", "found"), [("root", "it is root"), ("no-such-user", "no such user")])
def test_an_application_has_a_user_of_its_own(rows, user, found):
    assert rows("security", user=user)[f"user {user}"][:2] == ("FAIL", found)


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        ({"User": ""}, "it runs as root"),
        ({"User": "root"}, "it runs as root"),
        ({"NoNewPrivileges": "no"}, "its processes may gain privileges"),
    ],
)
def test_our_own_unit_must_be_confined_and_another_should_be(rows, shop, systemctl, properties, found):
    systemctl.properties[UNIT] |= properties
    assert rows("security")[UNIT][:2] == ("FAIL", found)
    del shop.description["service"]
    assert rows("security")[UNIT][:2] == ("WARN", found)


def test_a_dynamic_user_is_not_root(rows, systemctl):
    systemctl.properties[UNIT] |= {"User": "", "DynamicUser": "yes"}
    assert UNIT not in rows("security")


def test_a_secret_in_the_unit_itself_is_open_to_every_user(rows, systemctl):
    systemctl.properties[UNIT]["Environment"] = f"TOKEN={CANARY} PORT=1"
    found = rows("security", configuration={"keys": {"TOKEN": SECRET, "PORT": {"type": "int"}}})
    assert found["TOKEN"][:2] == ("FAIL", f"every user can read Environment= of {UNIT}")
    assert "PORT" not in found


@pytest.mark.parametrize(
    ("mode", "secret", "problems"),
    [
        (0o640, True, []),
        (0o644, False, []),
        (0o644, True, ["others may read it, and it has secrets (-rw-r--r--)"]),
        (0o642, False, ["others may write it (-rw-r---w-)"]),
    ],
)
def test_files_with_secrets_are_for_nobody_else(shop, put, mode, secret, problems):
    put("/etc/shop.env", f"TOKEN={CANARY}\n", mode)
    shop.description["configuration"] = {"files": ["/etc/shop.env"], "keys": {"TOKEN": {"secret": secret}}}
    results = shop.inspect(preflight=True)["preflight"]["results"]
    mine = [each for each in results if (each["check"], each["subject"]) == ("security", "/etc/shop.env")]
    assert [each["found"] for each in mine if each["status"] == "FAIL"] == problems
    assert len(mine) == max(1, len(problems))


def test_nobody_else_may_replace_a_file_of_the_configuration(rows, shop, put):
    place = put("/etc/shop/shop.env", "A=1\n")
    described = {"configuration": {"files": ["/etc/shop/shop.env"]}}
    place.parent.chmod(0o777)
    status_, found, remedy = rows("security", **described)["/etc/shop/shop.env"]
    assert (status_, remedy) == ("FAIL", "chmod o-w /etc/shop")
    assert found.startswith("others may replace it, since they may write /etc/shop")
    place.parent.chmod(0o1777)
    assert status(rows("security", **described)["/etc/shop/shop.env"]) == "PASS"


def test_a_file_that_belongs_to_somebody_else_fails(shop, put):
    put("/etc/shop.env", "A=1\n")
    shop.description["configuration"] = {"files": ["/etc/shop.env"]}
    elsewhere = Places(replace(shop.host, uid=os.geteuid() + 4711), "shop")
    results = Readiness(Application.parse("shop", shop.description), elsewhere).results()
    (found,) = [each.found for each in results if each.subject == "/etc/shop.env"]
    assert found == f"it belongs to uid {os.geteuid()} (-rw-r-----)"


# configuration


def test_five_errors_of_a_configuration_are_told_at_once_without_any_secret(rows, put):
    put("/etc/shop.env", f"PORT=70000\nPOOL=many\nKEY={CANARY}\nTOKEN_TIME=soon-{CANARY}\nDEBUG=perhaps\n")
    keys = {
        "URL": SECRET, "PORT": {"type": "int", "maximum": 65535}, "POOL": {"type": "int"}, "KEY": {**SECRET, "min_length": 32},
        "TOKEN_TIME": {"type": "int", "secret": True}, "DEBUG": {"type": "bool"}, "WORKERS": {"type": "int", "default": 4},
    }  # fmt: skip
    found = rows("configuration", configuration={"files": ["/etc/shop.env"], "keys": keys})
    assert {name: row[1] for name, row in found.items() if status(row) == "FAIL"} == {
        "URL": "required, not set", "PORT": "'70000' (/etc/shop.env)", "POOL": "'many' (/etc/shop.env)",
        "KEY": f"a secret of {len(CANARY)} characters (/etc/shop.env)",
        "TOKEN_TIME": f"a secret of {len(CANARY) + 5} characters (/etc/shop.env)", "DEBUG": "'perhaps' (/etc/shop.env)",
    }  # fmt: skip
    assert found["URL"][2] == "Set it to a text in /etc/shop.env, or as a credential of the unit."
    assert found["WORKERS"][:2] == ("PASS", "not set (default 4)")


def test_what_the_unit_gives_counts_and_its_files_come_before_further_ones(rows, put, systemctl):
    put("/etc/unit.env", "B=2\nC=2\n")
    put("/etc/more.env", "C=3\n")
    systemctl.properties[UNIT] |= {"Environment": "A=1 B=1", "EnvironmentFiles": "/etc/unit.env (ignore_errors=no)"}
    keys = {name: {"type": "int", "required": True} for name in "ABC"}
    found = rows("configuration", configuration={"files": ["/etc/more.env"], "keys": keys})
    assert [row[1] for row in found.values()] == [
        f"'1' (Environment= of {UNIT})",
        "'2' (/etc/unit.env)",
        "'3' (/etc/more.env)",
    ]


def test_a_file_that_is_not_there_is_an_error_even_without_any_key(rows, systemctl):
    systemctl.properties[UNIT]["EnvironmentFiles"] = [
        "/etc/none.env (ignore_errors=no)",
        "/etc/perhaps (ignore_errors=yes)",
    ]
    assert {name: row[:2] for name, row in rows("configuration").items()} == {"/etc/none.env": ("FAIL", "not there")}


def test_a_key_that_comes_as_a_credential_counts_and_fits_or_not(rows, put, systemctl):
    put("/etc/credstore/key", CANARY, 0o600)
    put("/etc/credstore/short", CANARY, 0o600)
    systemctl.credentials[UNIT]["LoadCredential"] = [
        ["KEY", "key"],
        ["bot.short", "/etc/credstore/short"],
        ["GONE", "gone"],
    ]
    systemctl.credentials[UNIT]["SetCredentialEncrypted"] = [["ENCRYPTED", [1, 2]]]
    keys = {
        "KEY": SECRET, "SHORT": {**SECRET, "min_length": 32, "credential": "bot.short"}, "ENCRYPTED": SECRET, "GONE": SECRET,
        "NONE": SECRET, "OPTIONAL": {},
    }  # fmt: skip
    found = rows("configuration", configuration={"keys": keys})
    assert found["KEY"][:2] == ("PASS", f"a secret of {len(CANARY)} characters (the credential /etc/credstore/key)")
    assert status(found["SHORT"]) == "FAIL"
    assert found["ENCRYPTED"][:2] == ("PASS", "there, not readable from here (a credential in the unit itself)")
    assert found["GONE"][1].startswith("not set, and as a credential: none of /etc/credstore/gone")
    assert found["NONE"] == (
        "FAIL", "required, not set", f"Set it to a text in an EnvironmentFile= of {UNIT}, or as a credential.",
    )  # fmt: skip
    assert status(found["OPTIONAL"]) == "PASS"
    assert status(rows("security")["/etc/credstore/key"]) == "PASS"


def test_a_key_that_a_deployment_will_bring_as_a_credential_is_there(shop):
    shop.description.update(
        configuration={
            "keys": {"KEY": {**SECRET, "credential": "slipway_key"}, "OTHER": {**SECRET, "credential": "slipway_other"}}
        }
    )
    answer = shop.inspect(preflight=True, credentials=["key"])
    found = {row["subject"]: row for row in answer["preflight"]["results"] if row["check"] == "configuration"}
    assert (found["KEY"]["status"], found["KEY"]["found"]) == (
        "PASS",
        "there, not readable from here (the credential slipway_key, which a deployment brings)",
    )
    assert found["OTHER"]["status"] == "FAIL"


@pytest.fixture
def twice(shop, put, systemctl):
    """Give the key KEY in /etc/shop.env and as a credential; the rows about it, as (status, found, remedy)."""

    def given(variable, credential, **description):
        put("/etc/shop.env", f"KEY={variable}\n")
        if credential is not None:
            put("/etc/credstore/key", f"{credential}\n", 0o600)
        systemctl.properties[UNIT]["EnvironmentFiles"] = "/etc/shop.env (ignore_errors=no)"
        systemctl.credentials[UNIT]["LoadCredential"] = [["KEY", "/etc/credstore/key"]]
        shop.description["configuration"] = {"keys": {"KEY": {**SECRET, **description}}}
        answer = shop.inspect(preflight=True)["preflight"]
        assert CANARY not in json.dumps(answer)
        rows = [each for each in answer["results"] if (each["check"], each["subject"]) == ("configuration", "KEY")]
        return [(each["status"], each["found"], each["remedy"]) for each in rows]

    return given


GIVEN_TWICE = (
    "WARN", "given twice: /etc/shop.env and the credential /etc/credstore/key", "Keep one: which one counts is up to the application.",
)  # fmt: skip


@pytest.mark.parametrize(("variable", "credential"), [(CANARY * 4, CANARY), (CANARY, CANARY * 4)])
def test_of_a_key_that_is_given_twice_each_value_is_judged(twice, variable, credential):
    found = twice(variable, credential, min_length=32)
    sources = {"/etc/shop.env": variable, "the credential /etc/credstore/key": credential}
    expected = [
        ("FAIL" if text == CANARY else "PASS", f"a secret of {len(text)} characters ({source})")
        for source, text in sources.items()
    ]
    assert [row[:2] for row in found[:2]] == expected
    assert found[2:] == [GIVEN_TWICE]


def test_both_values_of_a_key_that_is_given_twice_can_be_wrong(twice):
    found = twice(CANARY, CANARY, min_length=32)
    assert [row[2] for row in found[:2]] == [
        "Set it to a text of at least 32 characters in /etc/shop.env.",
        "Set it to a text of at least 32 characters in the credential /etc/credstore/key.",
    ]
    assert [status(row) for row in found] == ["FAIL", "FAIL", "WARN"]


def test_two_sound_values_of_a_key_that_differ_are_a_warning(twice):
    found = twice(CANARY, CANARY.upper())
    assert [status(row) for row in found] == ["PASS", "PASS", "WARN"]


def test_a_key_that_is_given_twice_with_one_sound_value_is_well(twice):
    assert [status(row) for row in twice(CANARY, CANARY, min_length=8)] == ["PASS", "PASS"]


def test_what_cannot_be_read_is_not_known_to_be_equal(twice, systemctl):
    systemctl.credentials[UNIT]["SetCredentialEncrypted"] = [["KEY", [1]]]
    found = twice(CANARY, None)
    assert [status(row) for row in found] == ["PASS", "PASS", "WARN"]
    assert found[2][1] == "given twice: /etc/shop.env and a credential in the unit itself"


def test_a_credential_whose_source_is_missing_fails_also_where_there_is_a_variable(twice):
    found = twice(CANARY, None)
    assert [status(row) for row in found] == ["PASS", "FAIL"]
    assert found[1][1] == "as a credential: no /etc/credstore/key"


def test_the_source_of_each_value_is_looked_after(twice, rows):
    twice(CANARY, CANARY)
    found = rows("security")
    assert {"/etc/shop.env", "/etc/credstore/key"} <= set(found)


def test_where_the_bus_does_not_answer_a_variable_is_enough(rows, systemctl):
    systemctl.properties[UNIT]["Environment"] = "KEY=1"
    del systemctl.credentials[UNIT]
    assert status(rows("configuration", configuration={"keys": {"KEY": {"required": True}}})["KEY"]) == "PASS"


def test_where_the_bus_does_not_answer_only_what_is_required_fails(rows, systemctl):
    del systemctl.credentials[UNIT]
    found = rows("configuration", configuration={"keys": {"KEY": SECRET, "OPTIONAL": {"default": "x"}}})
    assert found["KEY"][1:] == (
        "not set, and as a credential: no answer of busctl",
        "Install dbus and start it, or give the values in the environment.",
    )
    assert found["OPTIONAL"][:2] == ("PASS", "not set (default 'x')")


def test_without_a_unit_the_remedy_names_where_a_value_can_be(rows):
    described = {"unit": None, "service": None, "health": [], "configuration": {"keys": {"KEY": SECRET}}}
    assert rows("configuration", **described)["KEY"][2] == "Set it to a text in a file that configuration.files names."


def test_with_a_file_and_no_unit_the_remedy_names_the_file(rows, put):
    put("/etc/shop.env", "")
    configuration = {"files": ["/etc/shop.env"], "keys": {"KEY": SECRET}}
    described = {"unit": None, "service": None, "health": [], "configuration": configuration}
    assert rows("configuration", **described)["KEY"][2] == "Set it to a text in /etc/shop.env."


# files, packages, imports, commands


def test_declared_files_are_there_readable_and_sound(rows, put):
    put("/etc/shop/a.json", '{"a": 1}', 0o644)
    put("/etc/shop/b.json", f'{{"a": "{CANARY}",}}', 0o644)
    put("/etc/shop/c.toml", f'a = "{CANARY}', 0o644)
    put("/etc/shop/d.toml", "a = 1\n", 0o644)
    put("/etc/shop/e.conf", "whatever", 0o644)
    put("/etc/shop/f.json", "[" * 100_000, 0o644)
    put("/etc/shop/g.json", " " * (2 << 20), 0o644)
    put("/etc/shop/directory/x", "")
    names = ["a.json", "b.json", "c.toml", "d.toml", "e.conf", "f.json", "g.json", "directory", "none"]
    found = rows("file", preflight={"files": [f"/etc/shop/{name}" for name in names]})
    assert [row[1] for row in found.values()] == [
        "readable", found["/etc/shop/b.json"][1], found["/etc/shop/c.toml"][1], "readable", "readable", "not valid JSON",
        found["/etc/shop/g.json"][1], "no regular file", "not there",
    ]  # fmt: skip
    assert found["/etc/shop/b.json"][1].startswith("not valid JSON at line 1 column ")
    assert found["/etc/shop/c.toml"][1].startswith("not valid TOML")
    assert "more than" in found["/etc/shop/g.json"][1]
    assert [status(row) for row in found.values()] == [
        "PASS",
        "FAIL",
        "FAIL",
        "PASS",
        "PASS",
        "FAIL",
        "FAIL",
        "FAIL",
        "FAIL",
    ]


def test_a_file_that_the_application_cannot_read_fails(shop, put, monkeypatch):
    put("/etc/shop.conf", "", 0o600)
    shop.description["preflight"] = {"files": ["/etc/shop.conf"]}
    asked = []

    def run(argv, **options):
        asked.append((argv, options.get("user")))
        return Finished(1, "")

    application = Application.parse("shop", shop.description)
    readiness = Readiness(application, shop.places)
    monkeypatch.setattr(readiness, "_as_user", lambda *argv: run(argv, user=USER).succeeded)
    (row,) = readiness._files()
    assert (row.status, row.found) == ("FAIL", f"{USER} cannot read it")
    assert asked == [(("test", "-r", str(shop.host.root / "etc/shop.conf")), USER)]


def test_reading_is_tried_as_the_application_s_user(rows, put):
    put("/etc/shop.conf", "", 0o600)
    expected = "FAIL" if os.geteuid() == 0 else "PASS"  # only root can be somebody else
    assert status(rows("file", preflight={"files": ["/etc/shop.conf"]})["/etc/shop.conf"]) == expected


def test_declared_packages_are_installed_in_their_versions(rows):
    packages = ["dpkg", {"name": "dpkg", "minimum": "1.2"}, "no-such-package"]
    found = rows("package", preflight={"packages": packages})
    assert status(found["dpkg"]) == "PASS"
    assert found["no-such-package"] == ("FAIL", "not installed", "apt-get install no-such-package")
    old = rows("package", preflight={"packages": [{"name": "dpkg", "minimum": "999:1"}]})["dpkg"]
    assert old[0] == "FAIL"
    assert old[1].startswith("version ")
    assert old[2] == "Install version 999:1 or newer."


def test_a_host_without_dpkg_says_so(shop, systemctl, monkeypatch):
    shop.description["preflight"] = {"packages": ["dpkg"]}
    real = type(systemctl).__call__

    def run(self, argv, **options):
        return Finished(127, "not found") if argv[0] == "dpkg-query" else real(self, argv, **options)

    monkeypatch.setattr(type(systemctl), "__call__", run)
    results = shop.inspect(preflight=True)["preflight"]["results"]
    assert [each["found"] for each in results if each["check"] == "package"] == ["dpkg-query cannot be started"]


def test_declared_modules_are_imported_by_the_application_s_python(rows):
    found = rows("import", preflight={"imports": ["json", "no_such_module_at_all", "os.path", "this"]})
    assert found["json"][:2] == ("PASS", "found by /usr/bin/python3")
    assert found["no_such_module_at_all"][:2] == (
        "FAIL", "ModuleNotFoundError: No module named 'no_such_module_at_all'",
    )  # fmt: skip
    assert status(found["os.path"]) == status(found["this"]) == "PASS"  # the latter prints a poem


def test_a_module_that_ends_python_does_not_pass(rows, put, shop):
    place = f"{shop.host.root}/opt"
    put("/opt/python", f'#!/bin/sh\nshift\nPYTHONPATH={place} exec /usr/bin/python3 "$@"\n', 0o755)
    put("/opt/leaves.py", "raise SystemExit(5)\n", 0o644)
    put("/opt/crashes.py", "import os; os._exit(3)\n", 0o644)
    found = rows("import", preflight={"python": f"{place}/python", "imports": ["json", "leaves", "crashes", "os"]})
    assert [status(row) for row in found.values()] == ["PASS", "FAIL", "FAIL", "FAIL"]
    assert found["leaves"][1] == "SystemExit: 5"
    assert found["crashes"][1].startswith(f"{place}/python did not get to it: exit code 3")


def test_an_interpreter_that_is_not_there_fails_for_each_module(rows):
    found = rows("import", preflight={"python": "/no/python", "imports": ["json", "os"]})
    assert [status(row) for row in found.values()] == ["FAIL", "FAIL"]
    assert "/no/python did not get to it: exit code 127" in found["json"][1]


def test_declared_commands_are_found_and_may_be_run(rows):
    found = rows("command", preflight={"commands": ["sh", "no-such-command", "/bin/sh"]})
    assert (status(found["sh"]), status(found["/bin/sh"])) == ("PASS", "PASS")
    assert found["no-such-command"][1].startswith("not found in /usr/local/sbin:")


def test_a_command_that_the_application_cannot_run_fails(shop, monkeypatch):
    shop.description["preflight"] = {"commands": ["sh"]}
    readiness = Readiness(Application.parse("shop", shop.description), shop.places)
    monkeypatch.setattr(readiness, "_as_user", lambda *_argv: False)
    (row,) = readiness._commands()
    assert (row.status, row.found) == ("FAIL", f"{USER} cannot run {row.found.rpartition(' ')[2]}")


# ports


@pytest.fixture
def proc(shop):
    """Write /proc of the host: who listens on port 8000."""

    def written(pid, uid=0, cgroup="/system.slice/other.service", name="other"):
        proc = shop.host.root / "proc"
        (proc / "net").mkdir(parents=True)
        line = f"   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  {uid}  0 777 1"
        (proc / "net/tcp").write_text(f"head\n{line}\n")
        (proc / str(pid) / "fd").mkdir(parents=True)
        (proc / str(pid) / "fd/3").symlink_to("socket:[777]")
        (proc / str(pid) / "comm").write_text(f"{name}\n")
        (proc / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")

    return written


PORTS = {"preflight": {"ports": [8000, 8001]}}


def test_a_port_is_free_or_held_by_another_who_is_named(rows, proc):
    proc(4242)
    found = rows("port", **PORTS)
    assert found["8000"] == ("FAIL", "held by other (pid 4242)", "Stop it, or give the application another port.")
    assert found["8001"][:2] == ("PASS", "free")


def test_a_port_that_the_application_s_own_unit_holds_is_its_own(rows, proc):
    proc(4242, cgroup="/system.slice/shop.service")
    assert rows("port", **PORTS)["8000"][:2] == ("PASS", "held by the application itself")


@pytest.mark.parametrize(("triggered_by", "expected"), [("shop.socket", "PASS"), ("shop.timer", "FAIL"), ("", "FAIL")])
def test_a_port_that_systemd_holds_for_the_unit_is_its_own(rows, proc, systemctl, triggered_by, expected):
    proc(1, cgroup="/init.scope", name="systemd")
    systemctl.properties[UNIT]["TriggeredBy"] = triggered_by
    assert status(rows("port", **PORTS)["8000"]) == expected


@pytest.mark.parametrize(
    ("uid", "user", "cgroup", "expected"),
    [
        (65534, USER, "/system.slice/shop.service", "PASS"),
        (1, "daemon", "/system.slice/shop.service", "PASS"),
        (1, USER, "/system.slice/shop.service", "FAIL"),
        (65534, USER, "", "FAIL"),
    ],
)
def test_a_process_that_cannot_be_looked_into_is_known_by_its_user(
    rows, shop, proc, systemctl, uid, user, cgroup, expected
):
    proc(4242, uid=uid)
    (shop.host.root / "proc/4242/fd/3").unlink()
    systemctl.properties[UNIT] |= {"User": user, "ControlGroup": cgroup}
    row = rows("port", **PORTS)["8000"]
    assert (status(row), row[1]) == (
        expected,
        "held by the application itself" if expected == "PASS" else f"held by a process of uid {uid}",
    )


def test_a_unit_that_is_not_loaded_holds_nothing(rows, proc, systemctl):
    proc(4242, cgroup="/system.slice/shop.service")
    del systemctl.units[UNIT]
    assert status(rows("port", **PORTS)["8000"]) == "FAIL"


@pytest.mark.parametrize(("uid", "expected"), [(65534, "PASS"), (0, "FAIL")])
def test_without_a_unit_a_port_belongs_to_the_application_s_user(rows, proc, uid, expected):
    proc(4242, uid=uid)
    assert status(rows("port", unit=None, service=None, health=[], **PORTS)["8000"]) == expected


# the database


@pytest.fixture
def database(shop, put, systemctl):
    """A real SQLite database with these revisions, whose URL the unit has."""
    systemctl.properties[UNIT]["EnvironmentFiles"] = "/etc/shop.env (ignore_errors=no)"
    shop.description["configuration"] = {"keys": {"DATABASE_URL": SECRET}}
    shop.description["preflight"] = {"database": {"url_key": "DATABASE_URL"}}
    place = shop.host.root / "app.db"

    def made(*revisions):
        with sqlite3.connect(place) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num)")
            for revision in revisions:
                connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.close()
        put("/etc/shop.env", f"DATABASE_URL=sqlite:///{place}\n")
        return place

    return made


def test_a_database_that_answers_passes_and_tells_its_revisions(rows, shop, database):
    place = database("a1", "b2")
    assert rows("database") == {"DATABASE_URL": ("PASS", f"sqlite {place} answers", "")}
    assert shop.inspect(preflight=True)["preflight"]["schema_revision"] == ["a1", "b2"]


def test_a_database_that_is_not_there_fails_and_tells_no_revision(rows, shop, database):
    database().unlink()
    assert status(rows("database")["DATABASE_URL"]) == "FAIL"
    assert shop.inspect(preflight=True)["preflight"]["schema_revision"] is None


def test_a_password_is_told_neither_by_the_database_nor_by_the_configuration(rows, put, database):
    database()
    put("/etc/shop.env", f"DATABASE_URL=postgresql://bot:{CANARY}@127.0.0.1:1/shop\n")
    assert status(rows("database")["DATABASE_URL"]) == "FAIL"
    assert rows("configuration")["DATABASE_URL"][1].startswith("a secret of ")


def test_a_url_that_is_not_set_is_a_fail_of_the_database_too(rows, put, database):
    database()
    put("/etc/shop.env", "")
    assert rows("database")["DATABASE_URL"] == (
        "FAIL", "DATABASE_URL is not set", "Set DATABASE_URL in /etc/shop.env, or as a credential of the unit.",
    )  # fmt: skip


def test_a_url_that_cannot_be_read_from_here_is_a_warning(rows, put, database, systemctl):
    database()
    put("/etc/shop.env", "")
    systemctl.credentials[UNIT]["SetCredentialEncrypted"] = [["DATABASE_URL", [1]]]
    assert rows("database")["DATABASE_URL"][:2] == (
        "WARN", "DATABASE_URL cannot be read from here, so the database was not asked",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("second", "told"),
    [(("b2",), ["b2"]), (("a1",), ["b2", "a1"]), ((), []), (None, None)],
)
def test_of_a_url_that_is_given_twice_each_database_is_asked(shop, put, database, systemctl, second, told):
    """What is applied is the head of a release only where that is so in both."""
    place = database("b2")
    other = shop.host.root / "other.db"
    if second is not None:
        place.rename(shop.host.root / "kept.db")
        database(*second).rename(other)
        (shop.host.root / "kept.db").rename(place)
    put("/etc/credstore/url", f"sqlite:///{other}\n", 0o600)
    systemctl.credentials[UNIT]["LoadCredential"] = [["DATABASE_URL", "/etc/credstore/url"]]
    answer = shop.inspect(preflight=True)["preflight"]
    rows = [each for each in answer["results"] if each["check"] == "database"]
    assert [each["status"] for each in rows] == ["PASS", "FAIL" if second is None else "PASS"]
    assert rows[1]["found"].endswith(" (the credential /etc/credstore/url)")
    assert answer["schema_revision"] == told


def test_one_url_that_is_given_twice_is_asked_once(rows, put, database, systemctl):
    place = database("b2")
    put("/etc/credstore/url", f"sqlite:///{place}\n", 0o600)
    systemctl.credentials[UNIT]["LoadCredential"] = [["DATABASE_URL", "/etc/credstore/url"]]
    assert rows("database") == {"DATABASE_URL": ("PASS", f"sqlite {place} answers", "")}


def test_a_database_that_cannot_be_checked_at_all_tells_no_revision(shop, database, monkeypatch):
    database("a1")

    def broken(_self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ansible.module_utils.slipway.application.database.Database.ask", broken)
    answer = shop.inspect(preflight=True)["preflight"]
    assert answer["schema_revision"] is None
    assert [each["status"] for each in answer["results"] if each["check"] == "database"] == ["FAIL"]


# health


def health(site, **keys):
    results = site.inspect(preflight=True, health=True, **keys)["preflight"]["results"]
    return {each["subject"]: (each["status"], each["found"]) for each in results if each["check"] == "health"}


def test_health_without_anything_active_is_a_warning(shop):
    assert health(shop) == {"-": ("WARN", "nothing is active yet")}


def test_each_probe_of_what_is_active_is_a_row_with_its_name(shop):
    shop.build("v1", V1)
    shop.deploy("v1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        shop.description["health"] = [
            {"type": "unit"},
            {"type": "tcp", "port": port, "name": "liveness"},
            {"type": "http", "url": "http://127.0.0.1:1/ready", "name": "readiness"},
        ]
        found = health(shop)
    assert found["unit"] == ("PASS", "unit")
    assert found["liveness"] == ("PASS", f"tcp 127.0.0.1:{port}")
    assert found["readiness"][0] == "FAIL"
    assert found["readiness"][1].startswith("no answer from http://127.0.0.1:1/ready")


def test_the_health_of_what_is_active_is_not_asked_for_a_deployment(shop):
    shop.build("v1", V1)
    shop.deploy("v1")
    results = shop.inspect(preflight=True)["preflight"]["results"]
    assert [each for each in results if each["check"] == "health"] == []
