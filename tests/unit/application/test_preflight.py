# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be declared for the preflight, and how the answers of all hosts are judged with what a release needs."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.application import configuration
from ansible.module_utils.slipway.application.preflight import (
    FAIL,
    GIB,
    PASS,
    WARN,
    Judgement,
    Needs,
    Package,
    Preflight,
    Result,
    judge,
    read,
    room_results,
    schema_result,
)
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust.promotion import SchemaRevisions

MIB = 1 << 20
URL = configuration.Configuration(
    (configuration.Key("DATABASE_URL", secret=True), configuration.Key("PORT", type="int"))
)
SCHEMA = SchemaRevisions("alembic", "c3", ("a1", "b2", "c3"))


def declared(value):
    mistakes = []
    preflight = read(value, URL, lambda where, expected, found: mistakes.append(f"{where}: {expected}, {found}"))
    return preflight, mistakes


# what is declared


def test_nothing_declared_is_nothing_more_to_check():
    assert declared({}) == (Preflight(), [])


def test_everything_that_can_be_declared_is_read():
    preflight, mistakes = declared(
        {
            "ports": [8000, 8443], "files": ["/etc/bot/app.toml"], "imports": ["psycopg2", "os.path"], "commands": ["pg_dump", "/bin/sh"],
            "packages": ["libpq5", {"name": "postgresql-client", "minimum": "15"}], "python": "/srv/bot/shared/venv/bin/python",
            "database": {"url_key": "DATABASE_URL"},
        }
    )  # fmt: skip
    assert mistakes == []
    assert preflight == Preflight(
        (8000, 8443), ("/etc/bot/app.toml",), (Package("libpq5"), Package("postgresql-client", "15")), ("psycopg2", "os.path"),
        "/srv/bot/shared/venv/bin/python", ("pg_dump", "/bin/sh"), "DATABASE_URL",
    )  # fmt: skip


def test_a_port_of_ansible_s_own_type_is_a_port():
    class Number(int):
        """As Ansible tags what it has read."""

    preflight, mistakes = declared({"ports": [Number(8000)]})
    assert (preflight.ports, mistakes) == ((8000,), [])


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "preflight"),
        (None, "preflight"),
        ({"port": [1]}, "preflight.port"),
        ({"ports": 8000}, "preflight.ports"),
        ({"ports": [0]}, "preflight.ports[0]"),
        ({"ports": [1, 65536]}, "preflight.ports[1]"),
        ({"ports": [True]}, "preflight.ports[0]"),
        ({"ports": ["8000"]}, "preflight.ports[0]"),
        ({"files": ["etc/x"]}, "preflight.files[0]"),
        ({"packages": ["*"]}, "preflight.packages[0].name"),
        ({"packages": ["-x"]}, "preflight.packages[0].name"),
        ({"packages": [5]}, "preflight.packages[0]"),
        ({"packages": [{"name": "a1", "minimum": 15}]}, "preflight.packages[0].minimum"),
        ({"packages": [{"name": "a1", "maximum": "15"}]}, "preflight.packages[0].maximum"),
        ({"imports": ["os; x"]}, "preflight.imports[0]"),
        ({"imports": ["-c"]}, "preflight.imports[0]"),
        ({"commands": ["bin/x"]}, "preflight.commands[0]"),
        ({"commands": ["-x"]}, "preflight.commands[0]"),
        ({"commands": [5]}, "preflight.commands[0]"),
        ({"python": "python3"}, "preflight.python"),
        ({"database": {}}, "preflight.database.url_key"),
        ({"database": {"url_key": "NONE"}}, "preflight.database.url_key"),
        ({"database": {"url_key": ["x"]}}, "preflight.database.url_key"),
        ({"database": {"url_key": "PORT"}}, "preflight.database.url_key"),
        ({"database": {"url": "x"}}, "preflight.database.url"),
    ],
)
def test_a_wrong_declaration_is_named(value, where):
    _preflight, mistakes = declared(value)
    assert [each for each in mistakes if each.startswith(f"{where}: ")], mistakes


def test_every_mistake_is_named_at_once():
    _preflight, mistakes = declared({"ports": [0, "x"], "files": ["x"], "python": "x"})
    assert len(mistakes) == 4


# room


def place(purpose="releases", *, free=5 * GIB, total=100 * GIB, inodes=10**6, device=1):
    path = "/srv/shop" if purpose == "releases" else "/var/lib/slipway/shop"
    return {
        "purpose": purpose, "path": path, "device": device, "bytes_free": free, "bytes_total": total,
        "inodes_free": inodes, "inodes_total": 10**7,
    }  # fmt: skip


def rows(places, needed=None):
    return [(each.check, each.subject, each.status, each.found) for each in room_results(places, needed)]


def test_enough_room_passes_with_what_is_free_and_needed():
    assert rows([place()], Needs(bytes=3 * MIB, inodes=10)) == [
        ("disk", "/srv/shop", PASS, "5.0 GiB free, 3 MiB needed"),
        ("inodes", "/srv/shop", PASS, "1000000 free, 10 needed"),
    ]


@pytest.mark.parametrize(
    ("free", "total", "needed", "status"),
    [
        (10 * MIB, 1000 * MIB, 10 * MIB + 1, FAIL),
        (10 * MIB, 1000 * MIB, 10 * MIB, WARN),
        (110 * MIB, 1000 * MIB, 10 * MIB + 1, WARN),
        (110 * MIB, 1000 * MIB, 10 * MIB, PASS),
        (GIB + MIB, 100 * GIB, MIB, PASS),
        (GIB + MIB, 100 * GIB, MIB + 1, WARN),
        (0, 1000 * MIB, 0, WARN),
    ],
)
def test_what_does_not_fit_fails_and_what_leaves_too_little_warns(free, total, needed, status):
    disk = rows([place(free=free, total=total)], Needs(bytes=needed))[0]
    assert disk[2] == status


@pytest.mark.parametrize(
    ("inodes", "needed", "status"), [(5, 6, FAIL), (5, 5, WARN), (10_005, 5, PASS), (10_004, 5, WARN)]
)
def test_inodes_are_judged_like_bytes(inodes, needed, status):
    assert rows([place(inodes=inodes)], Needs(inodes=needed))[1][2] == status


def test_a_file_system_without_a_limit_of_inodes_has_no_row_for_them():
    assert [row[0] for row in rows([place(inodes=None)])] == ["disk"]


def test_each_place_is_judged_by_what_it_needs():
    needed = Needs(bytes=6 * GIB, inodes=1, state_bytes=MIB, state_inodes=2)
    found = rows([place(device=1), place("history", device=2)], needed)
    assert [row[2:] for row in found if row[0] == "disk"] == [
        (FAIL, "5.0 GiB free, 6.0 GiB needed"), (PASS, "5.0 GiB free, 1 MiB needed"),
    ]  # fmt: skip


def test_places_on_one_file_system_share_what_is_free():
    needed = Needs(bytes=3 * MIB, inodes=1, state_bytes=3 * MIB, state_inodes=1)
    places = [place(free=5 * MIB), place("history", free=5 * MIB)]
    assert [row[2:] for row in rows(places, needed) if row[0] == "disk"] == [(FAIL, "5 MiB free, 6 MiB needed")] * 2
    apart = [place(free=5 * MIB), place("history", free=5 * MIB, device=2)]
    assert {row[2] for row in rows(apart, needed) if row[0] == "disk"} == {WARN}


def test_a_pack_takes_room_beside_what_it_brings_while_it_is_there():
    needed = Needs(bytes=3 * MIB, pack_bytes=3 * MIB)
    at_home = place("arrival", free=5 * MIB)
    assert [row[2:] for row in rows([place(free=5 * MIB), at_home], needed) if row[0] == "disk"] == [
        (FAIL, "5 MiB free, 6 MiB needed")
    ]
    apart = [place(free=5 * MIB), {**at_home, "device": 2, "path": "/mnt/home"}]
    assert [row for row in rows(apart, needed) if row[0] == "disk"] == [
        ("disk", "/srv/shop", WARN, "5 MiB free, 3 MiB needed, so less than 1.0 GiB would stay free"),
        ("disk", "/mnt/home", WARN, "5 MiB free, 3 MiB needed, so less than 1.0 GiB would stay free"),
    ]


def test_without_a_release_only_what_is_free_is_told():
    assert rows([place(free=812 * 1024 + 1, total=2 * MIB, inodes=5)])[0] == ("disk", "/srv/shop", PASS, "813 KiB free")
    assert rows([place(free=100, total=2000)])[0][2:] == (WARN, "100 B free, so less than 200 B would stay free")


def test_the_remedy_says_how_much_to_free():
    assert (
        room_results([place(free=MIB)], Needs(bytes=3 * MIB))[0].remedy
        == "Free 2 MiB there, or make the file system larger."
    )


# the schema


@pytest.mark.parametrize(
    ("applied", "status", "found"),
    [
        (["c3"], PASS, "c3 is applied"),
        (["b2"], FAIL, "pending: b2 is applied, the release needs c3"),
        (["a1"], FAIL, "pending: a1 is applied"),
        (["a1", "c3"], FAIL, "pending: a1, c3 is applied"),
        ([], FAIL, "no revision is applied, the release needs c3"),
        (["d4"], FAIL, "the database is ahead of the release: it has d4, the release knows c3 as the newest"),
        (["c3", "d4"], FAIL, "the database is ahead of the release: it has d4"),
        (None, WARN, "the release needs revision c3; which one is applied is not known"),
    ],
)
def test_the_applied_revision_is_the_one_that_the_release_needs(applied, status, found):
    result = schema_result(SCHEMA, applied)
    assert (result.check, result.subject, result.status) == ("migrations", "alembic", status)
    assert result.found.startswith(found)
    assert bool(result.remedy) == (status != PASS)


@pytest.mark.parametrize(
    ("applied", "status", "found"),
    [
        (["b2"], PASS, "b2 is applied, the release's own migrations lead to c3"),
        ([], PASS, "no revision is applied, the release's own migrations lead to c3"),
        (["d4"], FAIL, "the database is ahead of the release"),
        (None, WARN, "the release needs revision c3"),
    ],
)
def test_a_database_that_is_behind_is_ready_for_a_release_that_migrates_it(applied, status, found):
    result = schema_result(SCHEMA, applied, migrates=True)
    assert result.status == status
    assert result.found.startswith(found)


# all hosts


def answer(*results, room=(), schema_revision=None):
    return {
        "preflight": {
            "results": [each.as_dict() for each in results],
            "room": list(room),
            "schema_revision": schema_revision,
        }
    }


OK = Result("unit", "shop.service", PASS, "loaded, enabled")
LOOSE = Result("unit", "shop.service", WARN, "disabled", "Enable it.")
BAD = Result("port", "8000", FAIL, "held by other (pid 42)", "Stop it.")


def test_every_host_is_judged_and_one_that_was_not_asked_is_not():
    judgement = judge({"b": answer(OK), "a": answer(BAD, room=[place()]), "c": {"preflight": None}, "d": {}}, {})
    assert [(host, each.check, each.status) for host, each in judgement.rows] == [
        ("a", "disk", PASS), ("a", "inodes", PASS), ("a", "port", FAIL), ("b", "unit", PASS),
    ]  # fmt: skip
    assert not judgement.is_ready
    assert judgement.summary() == "3 PASS, 0 WARN, 1 FAIL"


def test_a_schema_is_compared_only_where_the_release_has_one():
    answers = {"a": answer(schema_revision=["b2"])}
    assert judge(answers, {}).rows == judge(answers, {"a": Needs()}).rows == ()
    assert [each.status for _host, each in judge(answers, {"a": Needs(schema=SCHEMA)}).rows] == [FAIL]


def test_a_status_that_is_not_known_is_a_fail():
    assert Result.parse({"check": "x", "subject": "y", "status": "pass", "found": "z"}) == Result("x", "y", FAIL, "z")


def test_what_is_ready_may_go_on():
    Judgement((("a", OK), ("a", LOOSE))).require_ready()


def test_what_is_not_ready_is_refused_with_every_row_of_every_host_that_did_not_pass():
    judgement = Judgement((("a", OK), ("a", BAD), ("b", LOOSE), ("b", BAD)))
    with pytest.raises(Refusal) as refused:
        judgement.require_ready()
    assert refused.value.reason == "preflight_failed"
    assert [line.split()[:4] for line in refused.value.found.strip().splitlines()] == [
        ["host", "check", "subject", "status"], ["a", "port", "8000", "FAIL"], ["b", "unit", "shop.service", "WARN"],
        ["b", "port", "8000", "FAIL"], ["1", "PASS,", "1", "WARN,"],
    ]  # fmt: skip


def test_a_warning_is_said_once_with_its_hosts():
    judgement = Judgement((("a", LOOSE), ("b", LOOSE), ("b", OK)))
    assert judgement.warnings() == ["WARN unit shop.service on a, b: disabled. Enable it."]


def test_of_many_warnings_the_first_are_said():
    judgement = Judgement(tuple(("a", Result("x", str(number), WARN, "y", "z.")) for number in range(7)))
    assert judgement.warnings()[-1] == "and 2 more: playbooks/check.yml shows them"
    assert len(judgement.warnings()) == 6


def test_a_report_has_every_row_and_the_verdict():
    lines = Judgement((("a", OK), ("a", BAD))).report("shop").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("shop: not ready", "1 PASS, 0 WARN, 1 FAIL", 5)
    assert Judgement((("a", OK),)).report("shop").startswith("shop: ready\n")


def test_programs_get_the_same():
    answer_ = Judgement((("a", BAD),)).as_dict()
    assert json.loads(json.dumps(answer_)) == {
        "ready": False, "counts": {"PASS": 0, "WARN": 0, "FAIL": 1}, "rows": [{"host": "a", **BAD.as_dict()}],
    }  # fmt: skip
