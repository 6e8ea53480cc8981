# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be said of an application; every mistake is named, all at once."""

from __future__ import annotations

import contextlib

import pytest
from ansible.module_utils.datatag import deprecate_value
from ansible.module_utils.slipway.application import configuration, preflight, unit
from ansible.module_utils.slipway.application.configuration import Configuration, Key
from ansible.module_utils.slipway.application.description import (
    KEYS,
    Application,
    Check,
    Patience,
    Probe,
    ReplacedFile,
)
from ansible.module_utils.slipway.application.preflight import Preflight
from ansible.module_utils.slipway.application.unit import UnitDescription
from ansible.module_utils.slipway.base.errors import Refusal
from hypothesis import example, given
from hypothesis import strategies as st

UNIT = {"unit": "shop.service"}
FILE = {"source": "etc/shop.conf", "path": "/etc/shop.conf"}


def refused(description, name="shop") -> str:
    """The mistakes that are found."""
    with pytest.raises(Refusal) as refusal:
        Application.parse(name, description)
    assert refusal.value.reason == "application_invalid"
    return refusal.value.found


def file(**changes):
    return {"files": [{**FILE, **changes}]}


def test_an_application_without_a_word_is_a_tree_of_its_own_user():
    assert Application.parse("shop", {}) == Application("shop", "shop", "shop")


def test_an_application_with_a_unit_restarts_it_and_asks_it_for_its_health():
    application = Application.parse("shop", UNIT)
    assert (application.unit, application.strategy, application.health) == ("shop.service", "restart", (Probe("unit"),))


def test_everything_that_can_be_said_is_read():
    application = Application.parse(
        "shop",
        {
            "user": "www-data", "group": "web", "unit": "shop@1.service", "strategy": "reload",
            "service": {"command": "bin/shop"},
            "check": {"argv": ["bin/shop", "--check"], "timeout_seconds": 5},
            "health": [
                {"type": "http", "url": "https://127.0.0.1/healthz", "status": 204, "contains": "ok", "timeout_seconds": 9, "name": "readiness"},
                {"type": "tcp", "port": 65535, "host": "::1"},
                {"type": "command", "argv": ["bin/ask", "it"]},
                {"type": "unit"},
            ],
            "health_patience": {"interval_seconds": 0, "retries": 0, "deadline_seconds": 1},
            "smoke": [{"type": "tcp", "port": 1}],
            "smoke_patience": {"retries": 3},
            "shared_paths": ["uploads", "var/log"],
            "files": [{**FILE, "owner": "shop", "group": "web", "mode": "0640"}],
            "configuration": {"keys": {"PORT": {"type": "int"}}},
            "preflight": {"ports": [8000]},
        },
    )  # fmt: skip
    assert application == Application(
        name="shop",
        user="www-data",
        group="web",
        unit="shop@1.service",
        strategy="reload",
        check=Check(("bin/shop", "--check"), 5),
        health=(
            Probe("http", 9, url="https://127.0.0.1/healthz", status=204, contains="ok", name="readiness"),
            Probe("tcp", host="::1", port=65535),
            Probe("command", argv=("bin/ask", "it")),
            Probe("unit"),
        ),
        health_patience=Patience(0, 0, 1),
        smoke=(Probe("tcp", port=1),),
        smoke_patience=Patience(1, 3, 30),
        shared_paths=("uploads", "var/log"),
        files=(ReplacedFile("etc/shop.conf", "/etc/shop.conf", "shop", "web", 0o640),),
        service=UnitDescription(("bin/shop",)),
        configuration=Configuration((Key("PORT", "int", credential="PORT"),)),
        preflight=Preflight(ports=(8000,)),
    )


def test_what_was_said_is_kept_and_says_the_same_again():
    description = {**UNIT, "health": [{"type": "tcp", "port": 80}], "check": {"argv": ["true"]}, **file()}
    application = Application.parse("shop", description)
    assert application.raw == description
    assert Application.parse("shop", application.raw) == application


@pytest.mark.parametrize("name", ["s", "shop-2_b", "a" * 63])
def test_a_name_is_lower_case(name):
    assert Application.parse(name, {}).name == name


@pytest.mark.parametrize(
    "name", ["", "Shop", "2shop", "-shop", "shop.x", "../etc", "shop/x", "shop\n", "a" * 64, None, 7]
)
def test_any_other_name_is_none(name):
    assert "the name: expected lower-case letters" in refused({}, name)


def test_a_group_is_the_users_unless_it_is_named():
    assert Application.parse("shop", {"user": "web"}).group == "web"


MISTAKES = {
    "no mapping": ([], "the description: expected a mapping, found []"),
    "none at all": (None, "the description: expected a mapping"),
    "an unknown key": ({"units": "x"}, "units: expected one of the keys user, group"),
    "a key that is no text": ({7: "x"}, "7: expected one of the keys"),
    "no user": ({"user": None}, "user: expected a name, found None"),
    "an empty user": ({"user": ""}, "user: expected a name, found ''"),
    "a user with a newline": ({"user": "root\n"}, "user: expected a name"),
    "a user that is an option": ({"user": "-u"}, "user: expected a name"),
    "a numeric user": ({"user": 0}, "user: expected a name, found 0"),
    "no group": ({"group": None}, "group: expected a name, found None"),
    "a unit that is no service": ({"unit": "shop.timer"}, "unit: expected a name such as shop.service"),
    "a unit that is an option": ({"unit": "--root=/ x.service"}, "unit: expected a name such as"),
    "a unit that is a template": ({"unit": "shop@.service"}, "unit: expected a name such as shop.service or shop@1.service"),
    "a unit without a name": ({"unit": "@1.service"}, "unit: expected a name such as shop.service"),
    "a unit that is the option of a host": ({"unit": "-Hother.service"}, "unit: expected a name such as shop.service"),
    "a unit that is a path": ({"unit": "/etc/x.service"}, "unit: expected a name such as"),
    "a strategy of its own": ({**UNIT, "strategy": "bluegreen"}, "strategy: expected one of restart, reload, none"),
    "a strategy that is a list": ({**UNIT, "strategy": ["restart"]}, "strategy: expected one of"),
    "a strategy without a unit": ({"strategy": "restart"}, "strategy: expected none for an application without a unit"),
    "a check that is a string": ({"check": "true"}, "check: expected a mapping"),
    "a check without words": ({"check": {"argv": []}}, "check.argv: expected a command as a list of words"),
    "a check in one string": ({"check": {"argv": "rm -rf /"}}, "check.argv: expected a list"),
    "a check with a number": ({"check": {"argv": ["sleep", 5]}}, "check.argv: expected a command as a list"),
    "a check with an empty word": ({"check": {"argv": [""]}}, "check.argv: expected a command as a list"),
    "a check with a NUL": ({"check": {"argv": ["a\0b"]}}, "check.argv: expected a command as a list"),
    "a check without time": ({"check": {"argv": ["a"], "timeout_seconds": 0}}, "check.timeout_seconds: expected a whole"),
    "a check for ever": ({"check": {"argv": ["a"], "timeout_seconds": 86401}}, "check.timeout_seconds: expected a whole"),
    "a check as a shell": ({"check": {"argv": ["a"], "shell": True}}, "check.shell: expected one of the keys"),
    "patience that is true": ({"health_patience": {"retries": True}}, "health_patience.retries: expected a whole number"),
    "patience in text": ({"health_patience": {"retries": "3"}}, "health_patience.retries: expected a whole number"),
    "patience in halves": ({"smoke_patience": {"interval_seconds": 0.5}}, "smoke_patience.interval_seconds: expected a"),
    "patience without an end": ({"smoke_patience": {"deadline_seconds": 0}}, "smoke_patience.deadline_seconds: expected a"),
    "negative patience": ({"smoke_patience": {"retries": -1}}, "smoke_patience.retries: expected a whole number from 0"),
    "probes in a mapping": ({"health": {"type": "unit"}}, "health: expected a list"),
    "a probe that is a string": ({"health": ["unit"]}, "health[0].type: expected one of http, tcp, command, unit"),
    "a probe of no type": ({"health": [{"url": "http://x"}]}, "health[0].type: expected one of"),
    "a probe of another type": ({"health": [{"type": "icmp"}]}, "health[0].type: expected one of"),
    "a probe whose type is a list": ({"health": [{"type": []}]}, "health[0].type: expected one of"),
    "a unit probe without a unit": ({"health": [{"type": "unit"}]}, "health: expected no probe of type unit"),
    "a probe with a foreign key": ({"health": [{"type": "tcp", "port": 1, "url": "x"}]}, "health[0].url: expected one of"),
    "http without an address": ({"health": [{"type": "http"}]}, "health[0].url: expected a value"),
    "http to a file": ({"health": [{"type": "http", "url": "file:///etc/passwd"}]}, "health[0].url: expected an http://"),
    "http to a number": ({"health": [{"type": "http", "url": 1}]}, "health[0].url: expected a value of type str"),
    "a status in text": ({"smoke": [{"type": "http", "url": "http://x", "status": "200"}]}, "smoke[0].status: expected a"),
    "a status that is true": ({"smoke": [{"type": "http", "url": "http://x", "status": True}]}, "smoke[0].status: "),
    "tcp without a port": ({"health": [{"type": "tcp"}]}, "health[0].port: expected a value"),
    "port 0": ({"health": [{"type": "tcp", "port": 0}]}, "health[0].port: expected a port from 1 to 65535"),
    "port 65536": ({"health": [{"type": "tcp", "port": 65536}]}, "health[0].port: expected a port from 1 to 65535"),
    "a command without words": ({"health": [{"type": "command"}]}, "health[0].argv: expected a value"),
    "a command in one string": ({"health": [{"type": "command", "argv": "true"}]}, "health[0].argv: expected a value of"),
    "a smoke test that is a unit": ({"smoke": [{"type": "unit"}]}, "smoke[0].type: expected one of"),
    "a shared path alone": ({"shared_paths": "uploads"}, "shared_paths: expected a list"),
    "nested shared paths": ({"shared_paths": ["a", "a/b"]}, "shared_paths: expected paths that do not contain each other"),
    "a shared path twice": ({"shared_paths": ["a", "a"]}, "shared_paths: expected paths that do not contain each other"),
    "files in a mapping": ({"files": FILE}, "files: expected a list"),
    "a file that is a string": ({"files": ["/etc/x"]}, "files[0]: expected a mapping"),
    "a file without a source": ({"files": [{"path": "/etc/x"}]}, "files[0].source: expected a relative path"),
    "a file without a path": ({"files": [{"source": "x"}]}, "files[0].path: expected an absolute path"),
    "a file twice": ({"files": [FILE, {**FILE, "source": "b"}]}, "files: expected each path once, found '/etc/shop.conf'"),
    "a file with another key": (file(state="absent"), "files[0].state: expected one of the keys source, path"),
    "a mode that is a number": (file(mode=0o644), "files[0].mode: expected a quoted octal mode"),
    "a mode with set-uid": (file(mode="4755"), "files[0].mode: expected a quoted octal mode"),
    "a mode in words": (file(mode="u=rw"), "files[0].mode: expected a quoted octal mode"),
    "a mode with a newline": (file(mode="0644\n"), "files[0].mode: expected a quoted octal mode"),
    "a file of nobody": (file(owner=None), "files[0].owner: expected a name, found None"),
    "a file of a number": (file(group=0), "files[0].group: expected a name, found 0"),
}  # fmt: skip


@pytest.mark.parametrize(("description", "mistake"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_with_its_place(description, mistake):
    assert mistake in refused(description)


def test_all_mistakes_are_named_at_once():
    found = refused({"unit": "x", "user": "X", "health": [{"type": "tcp"}, {"type": "no"}], "files": [{}]}, "Shop")
    for place in ("the name", "unit", "user", "health[0].port", "health[1].type", "files[0].source", "files[0].path"):
        assert f"{place}: expected" in found


OUT_OF_THE_RELEASE = [
    "",
    ".",
    "..",
    "/etc",
    "../x",
    "a/../../x",
    "a//b",
    "a/",
    "./a",
    "a/.",
    "a\nb",
    "a\0b",
    "a\u202eb",
    7,
    None,
]


@pytest.mark.parametrize("path", OUT_OF_THE_RELEASE)
def test_a_shared_path_stays_in_the_release(path):
    assert "shared_paths[0]: expected a relative path inside the release" in refused({"shared_paths": [path]})


@pytest.mark.parametrize("path", OUT_OF_THE_RELEASE)
def test_the_source_of_a_file_stays_in_the_release(path):
    assert "files[0].source: expected a relative path inside the release" in refused(file(source=path))


@pytest.mark.parametrize(
    "path", ["etc/x", "", "/", "/etc/../etc/x", "/etc//x", "/etc/x/", "/etc/./x", "/etc/x\n", "/a\0b", 7]
)
def test_a_file_has_one_plain_absolute_path(path):
    assert "files[0].path: expected an absolute path" in refused(file(path=path))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/slipway/trust-policy.dsse.json",
        "/srv/shop/current",
        "/usr/lib/slipway/slipway.pyz",
        "/var/lib/slipway/shop/lease.json",
    ],
)
def test_a_file_of_slipways_own_cannot_be_replaced_however_it_is_spelled(path):
    assert "files[0].path: expected a path that is not Slipway's own" in refused(file(path=path))
    assert "files[0].path: expected an absolute path" in refused(file(path=f"/{path}"))


@pytest.mark.parametrize("path", ["..data/x", "a..b", ".env", "a/..b/c"])
def test_dots_in_names_are_no_way_out(path):
    assert Application.parse("shop", {"shared_paths": [path]}).shared_paths == (path,)


@pytest.mark.parametrize(("mode", "bits"), [("0644", 0o644), ("600", 0o600), ("0777", 0o777), ("000", 0)])
def test_a_mode_is_octal(mode, bits):
    assert Application.parse("shop", file(mode=mode)).files[0].mode == bits


def test_paths_that_only_begin_alike_do_not_contain_each_other():
    assert Application.parse("shop", {"shared_paths": ["a", "ab", "a-b/c"]}).shared_paths == ("a", "ab", "a-b/c")


def test_shared_links_lead_from_the_release_to_what_the_application_owns():
    application = Application.parse("shop", {"shared_paths": ["up", "var/up", "a/b/c"]})
    assert application.shared_links() == {
        "up": "../../shared/up", "var/up": "../../../shared/var/up", "a/b/c": "../../../../shared/a/b/c",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (Probe("http", url="http://127.0.0.1/"), "http http://127.0.0.1/"),
        (Probe("tcp", host="::1", port=80), "tcp ::1:80"),
        (Probe("command", argv=("a", "b")), "command a b"),
        (Probe("unit"), "unit"),
    ],
)
def test_a_probe_describes_itself(probe, text):
    assert probe.described() == text


@pytest.mark.parametrize("name", ["", "-x", 5, "a\nb", None])
def test_a_probe_has_a_short_name_or_none(name):
    assert "health[0].name: " in refused({"health": [{"type": "tcp", "port": 1, "name": name}]})


def test_mistakes_of_configuration_and_preflight_are_among_all_others():
    found = refused(
        {
            "strategy": "x", "configuration": {"keys": {"A": {"type": "x"}}},
            "preflight": {"ports": ["x"], "database": {"url_key": "B"}},
        }
    )  # fmt: skip
    for where in ("strategy", "configuration.keys.A.type", "preflight.ports[0]", "preflight.database.url_key"):
        assert f"{where}: expected " in found


def test_a_secret_in_the_wrong_place_is_not_told():
    found = refused({"configuration": {"keys": {"A": "canary-5e5d3f0a", "B": {"secret": "canary-5e5d3f0a"}}}})
    assert "configuration.keys.A: expected a mapping, found 'a value of type str'" in found
    assert "canary" not in found


def test_what_is_done_with_before_a_release_is_staged_is_not_kept_with_it():
    application = Application.parse(
        "shop", {"configuration": {}, "preflight": {}, "service": {"command": "x"}, **UNIT, "user": "web"}
    )
    assert application.raw == {**UNIT, "user": "web"}


# odd values


def tagged(value):
    """The value as Ansible gives it to a plugin: of a class of its own."""
    return deprecate_value(value, "so", version="99")


HUGE = 10**4400  # YAML reads it, Python does not write it
ODD = [
    None, True, 0, 7, -1, 1.5, float("nan"), float("inf"), HUGE, -HUGE, b"x", {1}, "", "x", "\n", "\udc80", "a,b", "A", "1", "/etc/x",
    "x@.service", "fe80::1%eth0", [], {}, [None], [[]], [{}], [""], [1.5], [HUGE], {"A": {}}, {None: None}, {True: []}, {7: 1},
    {"name": HUGE}, {"name": ["x"], "minimum": {}}, {"url_key": {}}, *map(tagged, ("x", "int", "A", 7, 1.5, [tagged("a")], {"A": tagged(1)})),
]  # fmt: skip
PLACES = [
    (), *((key,) for key in KEYS), *(("configuration", key) for key in ("keys", "files")),
    *(("configuration", "keys", name) for name in ("A", "B-C", None, True, 7, tagged("D"))),
    *(("configuration", "keys", "A", key) for key in configuration.KEYS_OF_KEY),
    *(("preflight", key) for key in preflight.KEYS), *(("service", key) for key in unit.KEYS),
]  # fmt: skip
CHANGES = st.lists(
    st.tuples(
        st.integers(0, len(PLACES) - 1).map(lambda number: PLACES[number]),
        st.integers(0, len(ODD) - 1).map(lambda number: ODD[number]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(CHANGES, st.sampled_from(list(configuration.EXPECTED)))
@example([(("configuration", "keys", "A", "type"), ["int"], False)], "str")
@example([(("configuration", "keys", "A", "default"), HUGE, False)], "int")
@example([(("configuration", "keys", "A", "minimum"), HUGE, False)], "int")
@example([(("service", "tasks_max"), HUGE, False)], "int")
def test_an_odd_value_is_a_mistake_like_all_others(changes, kind):
    description = {
        "unit": "x.service", "configuration": {"keys": {"A": {"type": kind}}}, "preflight": {}, "service": {"command": "bin/x"},
    }  # fmt: skip
    for place, value, listed in changes:
        description = changed(description, place, [value] if listed else value)
    with contextlib.suppress(Refusal):
        assert all(key.expected() for key in Application.parse("x", description).configuration.keys)


def changed(description, place, value):
    """A copy with the value at the place, where that can still be."""
    if not place:
        return value
    if not isinstance(description, dict):
        return description
    return {**description, place[0]: changed(description.get(place[0], {}), place[1:], value)}


@pytest.mark.parametrize("name", [True, None, 7])
def test_the_name_of_a_key_is_a_text_also_where_yaml_reads_something_else(name):
    found = refused({"configuration": {"keys": {name: {}}}})
    assert f"configuration.keys.{name}: expected the name of an environment variable, as a text, found {name}" in found


def test_a_value_of_a_class_of_ansible_s_own_is_told_as_what_it_is():
    found = refused({"configuration": {"keys": {"A": tagged("x"), "B": {"secret": tagged(1)}}}})
    assert "A: expected a mapping, found 'a value of type str'" in found
    assert "B.secret: expected true or false, found 'a value of type int'" in found


def test_a_number_that_python_does_not_write_is_told_without_its_digits():
    found = refused({"configuration": {"keys": {"A": {"type": HUGE}}}, "strategy": [HUGE], **UNIT})
    assert (
        "A.type: expected one of str, int, float, bool, list, found a value of type int with too many digits" in found
    )
    assert (
        "strategy: expected one of restart, reload, none, blue_green, found a value of type list with too many digits"
        in found
    )
