# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that answer, that do not, and that do not let us in. SQLite is real; of psql the texts are those of version 15."""

from __future__ import annotations

import os
import pwd
import sqlite3
from pathlib import Path

import pytest
from ansible.module_utils.slipway.application.database import SECONDS, Database
from ansible.module_utils.slipway.base import command
from ansible.module_utils.slipway.base.command import Finished

ME = pwd.getpwuid(os.geteuid()).pw_name
CANARY = "c4n4ry/p@ss"
ENCODED = "c4n4ry%2Fp%40ss"
URL = f"postgresql+asyncpg://bot:{ENCODED}@db.example:5433/shop"
AT = 'psql: error: connection to server at "192.0.2.7", port 5433 failed: '


def sqlite(url, directory):
    return Database(url, command.run, ME, directory).ask()


def made(path, *revisions, table=True):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE other (x)")
        if table:
            database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        for revision in revisions:
            database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    database.close()
    return path


# SQLite


@pytest.mark.parametrize("revisions", [(), ("ae1027a6acf",), ("a1", "b2")])
def test_sqlite_answers_with_the_applied_revisions(tmp_path, revisions):
    made(tmp_path / "app.db", *revisions)
    answer = sqlite(f"sqlite:///{tmp_path}/app.db", Path("/"))
    assert (answer.problem, answer.revisions) == ("", revisions)
    assert answer.found == f"sqlite {tmp_path}/app.db answers"


def test_sqlite_without_the_table_has_no_revision(tmp_path):
    made(tmp_path / "app.db", table=False)
    assert sqlite(f"sqlite+aiosqlite:///{tmp_path}/app.db", Path("/")).revisions == ()


def test_a_relative_path_is_below_what_is_active(tmp_path):
    made(tmp_path / "my app.db", "a1")
    assert sqlite("sqlite:///my%20app.db", tmp_path).revisions == ("a1",)


def test_asking_sqlite_makes_no_file(tmp_path):
    answer = sqlite(f"sqlite:///{tmp_path}/none.db", Path("/"))
    assert (answer.problem, answer.found) == ("unknown_database", f"no database {tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "app.db").write_text("hello " * 1000)
    answer = sqlite(f"sqlite:///{tmp_path}/app.db", Path("/"))
    assert (answer.problem, answer.found) == ("down", f"sqlite {tmp_path}/app.db: file is not a database")


def test_sqlite_cannot_be_asked_as_a_user_that_is_not_there(tmp_path):
    made(tmp_path / "app.db")
    ended = Finished(127, "there is no user 'shop' on this host")
    answer = Database(f"sqlite:///{tmp_path}/app.db", lambda *_a, **_o: ended, "shop", tmp_path).ask()
    assert (answer.problem, "there is no user" in answer.found) == ("down", True)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_cannot_be_asked(tmp_path, url):
    assert sqlite(url, tmp_path).problem == "unsupported"


# PostgreSQL


class Psql:
    """Plays psql: each call ends with the next of `ends`; `calls` are its arguments and options."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.calls = []

    def __call__(self, argv, **options):
        self.calls.append((argv, options))
        return self.ends.pop(0)


def asked(*ends, url=URL):
    psql = Psql(*ends)
    return Database(url, psql, "shop", Path("/srv/shop/current")).ask(), psql


def test_postgresql_is_asked_as_the_user_with_the_password_in_the_environment_only():
    answer, psql = asked(Finished(0, "t\n"), Finished(0, "a1\nb2\n"))
    assert (answer.found, answer.revisions) == ("shop at db.example:5433 answers bot", ("a1", "b2"))
    for argv, options in psql.calls:
        assert argv[0] == "psql"
        assert "c4n4ry" not in str(argv)
        assert options["user"] == "shop"
        assert 0 < options["timeout_seconds"] <= SECONDS
        assert options["environment"] == {
            "PGHOST": "db.example", "PGPORT": "5433", "PGUSER": "bot", "PGPASSWORD": CANARY, "PGDATABASE": "shop",
            "PGCONNECT_TIMEOUT": "5", "PGAPPNAME": "slipway",
        }  # fmt: skip


def test_postgresql_without_the_table_has_no_revision():
    answer, psql = asked(Finished(0, "f\n"))
    assert (answer.problem, answer.revisions, len(psql.calls)) == ("", (), 1)


@pytest.mark.parametrize(
    ("ended", "problem", "found"),
    [
        (Finished(2, f"{AT}Connection refused\n\tIs the server running"), "down", "no database server answers at db.example:5433"),
        (Finished(None, ""), "down", "no database server answers at db.example:5433"),
        (
            Finished(2, 'psql: error: could not translate host name "db.example" to address: Name or service not known\n'),
            "down",
            "no database server answers",
        ),
        (Finished(2, f"{AT}timeout expired\n"), "down", "no database server answers"),
        (
            Finished(2, 'psql: error: connection to server at "localhost" (::1), port 5433 failed: Connection refused\n'
                        f'{AT}FATAL:  password authentication failed for user "bot"\n'),
            "wrong_password", "does not let the user bot in: wrong password",
        ),
        (Finished(2, f"{AT}fe_sendauth: no password supplied\n"), "wrong_password", "wrong password"),
        (Finished(2, f'{AT}FATAL:  Peer authentication failed for user "bot"\n'), "wrong_password", "does not let"),
        (Finished(2, f'{AT}FATAL:  database "shop" does not exist\n'), "unknown_database", "has no database shop"),
        (Finished(2, f'{AT}FATAL:  role "bot" does not exist\n'), "unknown_user", "has no user bot"),
        (Finished(2, f"{AT}FATAL:  the database system is starting up\n"), "not_ready", "takes no connection now"),
        (Finished(2, f"{AT}FATAL:  sorry, too many clients already\n"), "not_ready", "takes no connection now"),
        (Finished(127, "[Errno 2] No such file or directory: 'psql'"), "no_client", "psql cannot be started as shop"),
        (
            Finished(2, f'{AT}FATAL:  no pg_hba.conf entry for host "192.0.2.1", user "bot", database "shop"\n'),
            "refused", "says: connection to server",
        ),
        (Finished(2, f'{AT}FATAL:  permission denied for database "shop"\nDETAIL:  x\n'), "refused", "permission denied"),
        (Finished(3, ""), "refused", "exit code 3"),
        (Finished(2, f"psql: error: invalid thing {CANARY} in {URL}\n"), "refused", "says: invalid thing *** in ***"),
    ],
)  # fmt: skip
def test_each_way_of_not_getting_in_is_told_apart_and_never_with_the_password(ended, problem, found):
    answer, _psql = asked(ended)
    assert answer.problem == problem
    assert found in answer.found
    assert answer.remedy
    assert "c4n4ry" not in str(answer)


def test_a_table_that_may_not_be_read_is_told():
    answer, _psql = asked(Finished(0, "t\n"), Finished(1, "ERROR:  permission denied for table alembic_version\n"))
    assert (answer.problem, "permission denied for table" in answer.found) == ("refused", True)


@pytest.mark.parametrize(
    ("url", "variables", "place"),
    [
        ("postgresql:///", {}, "the local socket"),
        ("postgresql:///shop", {"PGDATABASE": "shop"}, "the local socket"),
        ("postgres://[::1]/shop", {"PGHOST": "::1", "PGDATABASE": "shop"}, "::1"),
        (
            "postgresql://bot@/shop?host=/run/postgresql&port=6432&unknown=1&sslmode=require",
            {
                "PGUSER": "bot",
                "PGDATABASE": "shop",
                "PGHOST": "/run/postgresql",
                "PGPORT": "6432",
                "PGSSLMODE": "require",
            },
            "/run/postgresql:6432",
        ),
        (
            "postgresql://h/shop?password=secret&port=%00",
            {"PGHOST": "h", "PGDATABASE": "shop", "PGPASSWORD": "secret"},
            "h",
        ),
    ],
)
def test_the_parts_of_a_url_are_what_libpq_takes(url, variables, place):
    answer, psql = asked(Finished(0, "f\n"), url=url)
    environment = psql.calls[0][1]["environment"]
    assert environment == {**variables, "PGCONNECT_TIMEOUT": "5", "PGAPPNAME": "slipway"}
    assert f"at {place} answers" in answer.found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.db",
        "postgresql://bot:c4n4ry@p@ss@db/shop",
        "postgresql://bot:c4n4ry/p@db/shop",
        "postgresql://bot:12/c4n4ry@db/shop",
        "postgresql://bot:12?c4n4ry@db/shop",
        "postgresql://bot:c4n4ry#x@db/shop",
        "postgresql://bot:c4n4ry x@db/shop",
        "postgresql://db.example",
    ],
)
def test_a_url_whose_parts_cannot_be_told_apart_is_not_asked_and_not_told(url):
    answer, psql = asked(url=url)
    assert (answer.problem, psql.calls) == ("unreadable", [])
    assert "c4n4ry" not in str(answer)


def test_another_database_is_not_asked():
    answer, psql = asked(url=f"mysql+pymysql://bot:{ENCODED}@db/shop")
    assert (answer.problem, answer.found, psql.calls) == ("unsupported", "a database of type mysql", [])


def test_a_database_does_not_show_its_url():
    assert "c4n4ry" not in repr(Database(URL, Psql(), "shop", Path("/")))
