# SPDX-License-Identifier: GPL-3.0-or-later
"""Is everything ready for a deployment? What is declared for it, and how the answers of all hosts are judged together.

A host reports facts and results (readiness.py); the controller adds what only the release says: whether it fits on the
disks, and whether the database has the schema that it needs. One FAIL stops a deployment before anything is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..base.errors import Refusal
from ..base.table import table
from ..trust.promotion import SchemaRevisions
from . import configuration
from .configuration import Wrong, known_members

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
STATUSES: Final = (FAIL, WARN, PASS)
COLUMNS: Final = ("host", "check", "subject", "status", "found", "what to do")
KEYS: Final = ("ports", "files", "packages", "imports", "python", "commands", "database")
PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")
PACKAGE_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.+~:-]{0,99}")
MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
COMMAND: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
ABSOLUTE: Final = re.compile(r"/[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*")
PYTHON: Final = "/usr/bin/python3"
GIB: Final = 1 << 30
SHARE: Final = 10  # of a file system, one part in so many is to stay free
INODES_LEFT: Final = 10_000
NAMED_WARNINGS: Final = 5
ARRIVAL: Final = "arrival"  # the purpose of the place where packs arrive


@dataclass(frozen=True)
class Package:
    """A package of the distribution; ``minimum`` is the least version that will do, "" for any."""

    name: str
    minimum: str = ""


@dataclass(frozen=True)
class Preflight:
    """What an operator declares under ``preflight``; what needs no declaration is checked always."""

    ports: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    imports: tuple[str, ...] = ()
    python: str = PYTHON
    commands: tuple[str, ...] = ()
    database_url_key: str = ""


def read(value: object, declared: configuration.Configuration, wrong: Wrong) -> Preflight:
    """Read the member ``preflight`` of an application; every mistake goes to ``wrong``."""
    values = known_members("preflight", value, KEYS, wrong)
    python = values.get("python", PYTHON)
    if not isinstance(python, str) or not ABSOLUTE.fullmatch(python):
        wrong("preflight.python", "an absolute path", python)
        python = PYTHON
    return Preflight(
        ports=tuple(
            _each("ports", values, lambda port: configuration.is_whole(port) and 0 < port < 65536, "a port", wrong)
        ),
        files=tuple(_each("files", values, _matches(ABSOLUTE), "an absolute path", wrong)),
        packages=tuple(
            package
            for number, item in enumerate(_list("packages", values, wrong))
            if (package := _package(f"preflight.packages[{number}]", item, wrong))
        ),
        imports=tuple(_each("imports", values, _matches(MODULE), "the name of a Python module", wrong)),
        python=python,
        commands=tuple(_each("commands", values, _is_command, "the name of a command, or its absolute path", wrong)),
        database_url_key=_database(values["database"], declared, wrong) if "database" in values else "",
    )


def _list(name: str, values: Mapping[str, Any], wrong: Wrong) -> Sequence[Any]:
    value = values.get(name, [])
    if not isinstance(value, (list, tuple)):
        wrong(f"preflight.{name}", "a list", value)
        return ()
    return value


def _each(name: str, values: Mapping[str, Any], fits: Any, expected: str, wrong: Wrong) -> Iterable[Any]:
    for number, item in enumerate(_list(name, values, wrong)):
        if fits(item):
            yield item
        else:
            wrong(f"preflight.{name}[{number}]", expected, item)


def _matches(pattern: re.Pattern[str]) -> Any:
    return lambda item: isinstance(item, str) and pattern.fullmatch(item) is not None


def _is_command(item: object) -> bool:
    return isinstance(item, str) and bool(COMMAND.fullmatch(item) or ABSOLUTE.fullmatch(item))


def _package(where: str, item: object, wrong: Wrong) -> Package | None:
    values = known_members(where, {"name": item} if isinstance(item, str) else item, ("name", "minimum"), wrong)
    name, minimum = values.get("name"), values.get("minimum", "")
    if not isinstance(name, str) or not PACKAGE.fullmatch(name):
        wrong(f"{where}.name", "the name of a package", name)
        return None
    if minimum != "" and (not isinstance(minimum, str) or not PACKAGE_VERSION.fullmatch(minimum)):
        wrong(f"{where}.minimum", 'a quoted version such as "15"', minimum)
        return None
    return Package(name, minimum)


def _database(value: object, declared: configuration.Configuration, wrong: Wrong) -> str:
    name = known_members("preflight.database", value, ("url_key",), wrong).get("url_key")
    key = declared.key(name) if isinstance(name, str) else None
    if key is None:
        wrong("preflight.database.url_key", "a key of configuration.keys", name)
        return ""
    if key.type != "str" or not key.secret:
        wrong(
            "preflight.database.url_key",
            "a key of type str that is secret, since a URL may have a password in it",
            name,
        )
    return key.name


@dataclass(frozen=True)
class Result:
    """One thing that was checked; ``subject`` is what it was checked of, ``remedy`` what to do unless it passed."""

    check: str
    subject: str
    status: str
    found: str
    remedy: str = ""

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Result:
        """From plain data, as a host answers it; a status that we do not know is a FAIL."""
        texts = {name: str(value.get(name, "")) for name in ("check", "subject", "status", "found", "remedy")}
        return cls(**{**texts, "status": texts["status"] if texts["status"] in STATUSES else FAIL})

    def as_dict(self) -> dict[str, str]:
        return {
            "check": self.check, "subject": self.subject, "status": self.status, "found": self.found, "remedy": self.remedy,
        }  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What a release needs on one host: room for the files that the host lacks, for the pack that brings them while it is there, for
    what is kept about it, and the schema that its database must have, which its own migrations bring where it ``migrates``.
    """

    bytes: int = 0
    inodes: int = 0
    pack_bytes: int = 0
    state_bytes: int = 0
    state_inodes: int = 0
    schema: SchemaRevisions | None = None
    migrates: bool = False


@dataclass(frozen=True)
class Judgement:
    """Every row of every host, in the hosts' order."""

    rows: tuple[tuple[str, Result], ...] = ()

    def count(self, status: str) -> int:
        return sum(result.status == status for _host, result in self.rows)

    @property
    def is_ready(self) -> bool:
        return self.count(FAIL) == 0

    def summary(self) -> str:
        """E.g. "12 PASS, 1 WARN, 0 FAIL"."""
        return ", ".join(f"{self.count(status)} {status}" for status in (PASS, WARN, FAIL))

    def table(self, *, all_rows: bool) -> str:
        """The rows as a table: all, or those that did not pass."""
        rows = [
            (host, each.check, each.subject, each.status, each.found, each.remedy or "-")
            for host, each in self.rows
            if all_rows or each.status != PASS
        ]
        return table(COLUMNS, rows)

    def report(self, application: str) -> str:
        """Every row, then the verdict: what playbooks/check.yml says."""
        verdict = "ready" if self.is_ready else "not ready"
        return f"{application}: {verdict}\n{self.table(all_rows=True)}\n{self.summary()}"

    def warnings(self) -> list[str]:
        """What a run should say although it goes on, each once with its hosts, the first few of them."""
        hosts: dict[Result, list[str]] = {}
        for host, result in self.rows:
            if result.status == WARN:
                hosts.setdefault(result, []).append(host)
        texts = [
            f"WARN {each.check} {each.subject} on {', '.join(names)}: {each.found}. {each.remedy}"
            for each, names in hosts.items()
        ]
        more = len(texts) - NAMED_WARNINGS
        return [*texts[:NAMED_WARNINGS], *([f"and {more} more: playbooks/check.yml shows them"] if more > 0 else [])]

    def require_ready(self) -> None:
        """Refuse a deployment for which anything on any host is not ready, with all of it in one table."""
        if not self.is_ready:
            raise Refusal(
                "preflight_failed",
                expected="every host to be ready for the release before anything is touched",
                found=f"\n{self.table(all_rows=False)}\n{self.summary()}",
                remedy="Do what the table says, then run the same command again; playbooks/check.yml shows every check.",
            )

    def as_dict(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "ready": self.is_ready,
            "counts": {status: self.count(status) for status in (PASS, WARN, FAIL)},
            "rows": [{"host": host, **result.as_dict()} for host, result in self.rows],
        }


def judge(answers: Mapping[str, Mapping[str, Any]], needs: Mapping[str, Needs]) -> Judgement:
    """Judge all hosts. ``answers`` are those of status.inspect; a host without ``preflight`` in it was not asked.

    ``needs`` says for each host what the release needs there; a host that is not in it is judged without a release.
    """
    rows: list[tuple[str, Result]] = []
    for host, answer in sorted(answers.items()):
        facts = answer.get("preflight")
        if facts is None:
            continue
        needed = needs.get(host)
        rows += [(host, result) for result in room_results(facts["room"], needed)]
        rows += [(host, Result.parse(result)) for result in facts["results"]]
        if needed is not None and needed.schema is not None:
            rows.append((host, schema_result(needed.schema, facts["schema_revision"], migrates=needed.migrates)))
    return Judgement(tuple(rows))


def room_results(places: Sequence[Mapping[str, Any]], needed: Needs | None) -> list[Result]:
    """Whether there is room, and whether enough stays: places on one file system share what is free there.

    Where packs arrive has a row only if it is a file system of its own.
    """
    wanted = [_wanted(place, needed) for place in places]
    kept = {place["device"] for place in places if place["purpose"] != ARRIVAL}
    results = []
    for place in places:
        if place["purpose"] == ARRIVAL and place["device"] in kept:
            continue
        same = [want for other, want in zip(places, wanted, strict=True) if other["device"] == place["device"]]
        results += [
            _room(place, "disk", place["bytes_free"], place["bytes_total"], sum(want[0] for want in same)),
            _room(place, "inodes", place["inodes_free"], place["inodes_total"], sum(want[1] for want in same)),
        ]
    return [result for result in results if result is not None]


def _wanted(place: Mapping[str, Any], needed: Needs | None) -> tuple[int, int]:
    needed = needed or Needs()
    if place["purpose"] == "releases":
        return needed.bytes, needed.inodes
    if place["purpose"] == ARRIVAL:
        return needed.pack_bytes, 0
    return needed.state_bytes, needed.state_inodes


def _room(place: Mapping[str, Any], check: str, free: int | None, total: int, wanted: int) -> Result | None:
    """None for a file system that makes inodes as it needs them."""
    if free is None:
        return None
    least = min(total // SHARE, GIB if check == "disk" else INODES_LEFT)
    shown = size if check == "disk" else str
    found = f"{shown(free)} free, {shown(wanted)} needed" if wanted else f"{shown(free)} free"
    subject = place["path"]
    if free < wanted:
        return Result(
            check, subject, FAIL, found, f"Free {shown(wanted - free)} there, or make the file system larger."
        )
    if free - wanted < least:
        return Result(
            check,
            subject,
            WARN,
            f"{found}, so less than {shown(least)} would stay free",
            "Free some before it is full.",
        )
    return Result(check, subject, PASS, found)


def size(count: int) -> str:
    """Bytes as people write them, rounded up: 0 B, 812 KiB, 3.4 GiB."""
    if count < 1024:
        return f"{count} B"
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20)):
        if count < factor << 10:
            return f"{-(-count // factor)} {unit}"
    return f"{count / GIB:.1f} GiB"


def schema_result(schema: SchemaRevisions, applied: Sequence[str] | None, *, migrates: bool = False) -> Result:
    """Compare the applied revisions with those of the release; None where the host could not say.

    What is only behind is no matter where the release ``migrates``: its migrations are run before the switch.
    """
    check, subject = "migrations", schema.tool
    if applied is None:
        return Result(
            check, subject, WARN, f"the release needs revision {schema.head}; which one is applied is not known",
            "Let preflight.database be declared and answer, so that it is compared.",
        )  # fmt: skip
    run_it = f"Run your migration first ({schema.tool} upgrade {schema.head}), then the same command."
    if migrates and all(revision in schema.revisions for revision in applied):
        found = f"{', '.join(applied) or 'no revision'} is applied, the release's own migrations lead to {schema.head}"
        return Result(check, subject, PASS, found)
    if not applied:
        return Result(check, subject, FAIL, f"no revision is applied, the release needs {schema.head}", run_it)
    unknown = [revision for revision in applied if revision not in schema.revisions]
    if unknown:
        return Result(
            check, subject, FAIL,
            f"the database is ahead of the release: it has {', '.join(unknown)}, the release knows {schema.head} as the newest",
            "Deploy the release that brought this revision, or take the migration back first.",
        )  # fmt: skip
    if tuple(applied) != (schema.head,):
        found = f"pending: {', '.join(applied)} is applied, the release needs {schema.head}"
        return Result(check, subject, FAIL, found, run_it)
    return Result(check, subject, PASS, f"{schema.head} is applied")
