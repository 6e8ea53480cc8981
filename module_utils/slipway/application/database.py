# SPDX-License-Identifier: GPL-3.0-or-later
"""Can the application's database be reached with what the application is given, and which schema revision is applied?

Asked as the application's user: SQLite by the standard library in a process of its own, PostgreSQL by psql. A password goes
through the environment, and nothing that is told has it or the URL in it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from ..base.command import Finished, Runner

PYTHON: Final = "/usr/bin/python3"
SECONDS: Final = 5.0
MASK: Final = "***"
POSTGRESQL: Final = ("postgresql", "postgres")
# Each part excludes what separates the parts, so that a password that needs percent-encoding is no part of a host's name.
SERVER_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9]*)(\+[a-z0-9_]+)?://"
    r"((?P<user>[^:@/?#\[\]\s]*)(:(?P<password>[^:@/?#\[\]\s]*))?@)?"
    r"(?P<host>[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"/(?P<name>[^:@/?#\[\]\s]*)(\?(?P<query>[^@#\s]*))?",
)
SQLITE_URL: Final = re.compile(r"sqlite(\+[a-z0-9_]+)?://(/(?P<path>[^?#]*))?(\?[^#]*)?")
# What libpq takes of the query, as the variables that it reads.
PARAMETERS: Final = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE", "ssl": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}  # fmt: skip
TABLE: Final = "alembic_version"
SQLITE_PROGRAM: Final = """
import json, os, sqlite3
try:
    database = sqlite3.connect(os.environ["SLIPWAY_DATABASE"], uri=True, timeout=2)
    tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()[0]
    revisions = [row[0] for row in database.execute("SELECT version_num FROM alembic_version")] if tables else []
    print(json.dumps({"revisions": revisions}))
except sqlite3.Error as error:
    print(json.dumps({"error": str(error)}))
"""


@dataclass(frozen=True)
class Answer:
    """``problem`` is "" when the database answered; ``revisions`` are those applied, none where the table is not there."""

    found: str
    problem: str = ""
    remedy: str = ""
    revisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Server:
    """Where a PostgreSQL server is and who asks, as libpq takes it; ``password`` only to mask it."""

    variables: Mapping[str, str]
    place: str
    user: str
    name: str
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Database:
    """A database by its URL, asked as ``user``; a relative path of SQLite's is below ``directory``."""

    url: str = field(repr=False)
    run: Runner
    user: str
    directory: Path
    elapsed: Callable[[], float] = time.monotonic

    def ask(self) -> Answer:
        """Connect, and read the applied revisions; takes at most SECONDS."""
        if match := SQLITE_URL.fullmatch(self.url):
            return self._ask_sqlite(unquote(match["path"] or ""))
        match = SERVER_URL.fullmatch(self.url)
        if match is None:
            return Answer(
                "a URL that cannot be read",
                "unreadable",
                "Write it as postgresql://user:password@host:5432/name, with special characters percent-encoded.",
            )
        if match["scheme"] not in POSTGRESQL:
            return Answer(
                f"a database of type {match['scheme']}",
                "unsupported",
                "Slipway can ask sqlite and postgresql; take preflight.database out, and check others with `check`.",
            )
        return self._ask_postgresql(_server(match))

    def _ask_sqlite(self, path: str) -> Answer:
        if path in ("", ":memory:"):
            return Answer("a database in memory", "unsupported", "Give a path: sqlite:////var/lib/app/app.db.")
        place = self.directory / path
        finished = self.run(
            (PYTHON, "-I", "-c", SQLITE_PROGRAM),
            timeout_seconds=SECONDS,
            user=self.user,
            environment={"SLIPWAY_DATABASE": f"file:{quote(str(place))}?mode=ro"},
        )
        try:
            answer = json.loads(finished.output)
        except ValueError:
            answer = {"error": _first_line(finished)}
        if "error" not in answer:
            return Answer(f"sqlite {place} answers", revisions=tuple(map(str, answer["revisions"])))
        if not place.exists():
            return Answer(
                f"no database {place}",
                "unknown_database",
                "Create it (your first migration does), or correct the path.",
            )
        return Answer(
            f"sqlite {place}: {answer['error']}",
            "down",
            f"Let the user {self.user} read it and its directory, and look at its integrity.",
        )

    def _ask_postgresql(self, server: _Server) -> Answer:
        started = self.elapsed()
        finished = self._psql(server, f"SELECT to_regclass('{TABLE}') IS NOT NULL", SECONDS)
        if not finished.succeeded:
            return self._refused(server, finished)
        found = f"{server.name} at {server.place} answers {server.user}"
        if finished.output.strip() != "t":
            return Answer(found)
        left = max(1.0, SECONDS - (self.elapsed() - started))
        finished = self._psql(server, f"SELECT version_num FROM {TABLE} ORDER BY 1", left)  # noqa: S608 - a constant
        if not finished.succeeded:
            return self._refused(server, finished)
        return Answer(found, revisions=tuple(finished.output.split()))

    def _psql(self, server: _Server, statement: str, seconds: float) -> Finished:
        return self.run(
            ("psql", "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet", "--command", statement),
            timeout_seconds=seconds,
            user=self.user,
            environment=server.variables,
        )

    def _refused(self, server: _Server, finished: Finished) -> Answer:
        """Say in words of our own what psql said, as far as it is known; the rest of it without anything secret."""
        said = finished.output
        if finished.exit_code == 127:
            found = f"psql cannot be started as {self.user}: {_first_line(finished)}"
            return Answer(
                found, "no_client", "Install postgresql-client on the host; playbooks/bootstrap.yml makes the user."
            )
        facts = {"place": server.place, "user": server.user, "name": server.name}
        problems = PROBLEMS if finished.exit_code is not None else [DOWN]
        for problem, sign, found, remedy in problems:
            if sign.search(said) or finished.exit_code is None:
                return Answer(found.format(**facts), problem, remedy.format(**facts))
        said = _first_line(finished)
        for secret in sorted(server.secrets, key=len, reverse=True):
            said = said.replace(secret, MASK)
        return Answer(f"the server at {server.place} says: {said}", "refused", "Do what it says, then check again.")


def _first_line(finished: Finished) -> str:
    """What a command said first, since that has the error, or how it ended."""
    lines = [line.strip() for line in finished.output.splitlines() if line.strip()]
    return lines[0].removeprefix("psql: ").removeprefix("error: ") if lines else finished.described()


DOWN: Final = (
    "down",
    re.compile(
        "Connection refused|timeout expired|could not translate host name|No route to host|unreachable|"
        "No such file or directory|could not connect|server closed the connection|Connection reset"
    ),
    f"no database server answers at {{place}} within {SECONDS:.0f} s",
    "Start it, or correct host and port; a firewall may be between.",
)
# (problem, what libpq or the server says, what was found, remedy). A name may have several addresses of which one only
# refuses the connection, so that this one comes last.
PROBLEMS: Final[Sequence[tuple[str, re.Pattern[str], str, str]]] = (
    (
        "wrong_password",
        re.compile("authentication failed for user|no password supplied"),
        "the server at {place} does not let the user {user} in: wrong password",
        "Correct the password of {user}, here or on the server.",
    ),
    (
        "unknown_database",
        re.compile('database ".*" does not exist'),
        "the server at {place} has no database {name}",
        "Create it there (createdb {name}), or correct the name.",
    ),
    (
        "unknown_user",
        re.compile('role ".*" does not exist'),
        "the server at {place} has no user {user}",
        "Create it there (createuser {user}), or correct the name.",
    ),
    (
        "not_ready",
        re.compile("is starting up|is shutting down|in recovery mode|too many c"),
        "the server at {place} takes no connection now",
        "Wait until it does, then check again.",
    ),
    DOWN,
)


def _server(match: re.Match[str]) -> _Server:
    password = unquote(match["password"] or "")
    variables = {
        "PGHOST": unquote(match["host"] or "").strip("[]"),
        "PGPORT": match["port"] or "",
        "PGUSER": unquote(match["user"] or ""),
        "PGPASSWORD": password,
        "PGDATABASE": unquote(match["name"]),
    }
    for parameter, text in parse_qsl(match["query"] or "", keep_blank_values=True):
        if parameter in PARAMETERS and "\0" not in text:
            variables[PARAMETERS[parameter]] = text
    given = {name: text for name, text in variables.items() if text and "\0" not in text}
    place = f"{given.get('PGHOST', 'the local socket')}{':' + given['PGPORT'] if 'PGPORT' in given else ''}"
    secrets = {given.get("PGPASSWORD", ""), password, match["password"] or "", match[0]} - {""}
    user, name = given.get("PGUSER", "of its own name"), given.get("PGDATABASE", given.get("PGUSER", "of its own name"))
    variables = {**given, "PGCONNECT_TIMEOUT": f"{SECONDS:.0f}", "PGAPPNAME": "slipway"}
    return _Server(variables, place, user, name, tuple(secrets))
