# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source says about itself: `slipway.yml` at its root, which is not shipped.

    application: hello           whose release this is; all other keys are optional
    version: 1.4.0               else the value of a member's version_key, else the release id
    members:                     files that must or may be there (members.py)
      - path: config.json        required: true and a format by the suffix, unless said otherwise
        kind: configs            as what it is promoted; without a kind it is no artifact
        schema: {type: object}
    exclude: ["*.pyc", docs/**]  a pattern with a slash is for whole paths, one without for names anywhere
    audit:                       what an audit bundle is made of (audit.py)
      tests: [{name: unit, argv: [python3, -m, unittest], timeout_seconds: 600, junit: build/junit.xml}]
      requirements: [requirements.txt]   locked Python packages; or sbom: a CycloneDX file that something else made
      checklist: promotion.yml   what people must have ticked (checklist.py)
    validation: {argv: [bin/backtest, --dry-run], timeout_seconds: 600}
    rollback_plan: {verification_steps: [{argv: [bin/hello, --check], timeout_seconds: 60}]}
    monitoring: {heightened_period_hours: 48, alert_frequency_hours: 2, alert_thresholds: {loss: "0.05"}, review: [logs]}
    database: {tool: alembic, directory: migrations/versions}
    hooks: {after_switch: [{argv: [bin/hello, --warm], timeout_seconds: 60}]}     run on hosts at that moment (trust/lifecycle.py)
    migrations: [{name: add_users, argv: [bin/migrate, up], reversible: true, back: [bin/migrate, down]}]

Commands are lists of words, run without a shell, in the source's directory on the controller or in the release on a
host. Paths are relative to the source.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

from ..base.errors import Refusal
from ..base.fields import NAME, VERSION, Fields
from ..base.files import read_if_there
from ..trust.lifecycle import Hooks, Migration, take_migrations
from ..trust.members import Member, parse_yaml, read_members, require_valid_schemas
from ..trust.promotion import MAX_TIMEOUT_SECONDS, SCHEMA_TOOLS, Monitoring, Step, read_argv, take_rollback_plan
from ..trust.tree import require_path

DESCRIPTOR: Final = "slipway.yml"
MAX_DESCRIPTOR_BYTES: Final = 1 << 20
DEFAULT_TEST_SECONDS: Final = 600

_NEVER_SHIPPED: Final = (DESCRIPTOR, ".git")
_FORMAT_OF_SUFFIX: Final = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}
_REASON: Final = "descriptor_invalid"
_T = TypeVar("_T")


@dataclass(frozen=True)
class DeclaredTest:
    """A test command of the source; `junit` is the JUnit XML that it writes there, if it writes one."""

    name: str
    argv: tuple[str, ...]
    timeout_seconds: int = DEFAULT_TEST_SECONDS
    junit: str | None = None


@dataclass(frozen=True)
class AuditPlan:
    """What an audit bundle is to hold beside the facts of the source."""

    tests: tuple[DeclaredTest, ...] = ()
    requirements: tuple[str, ...] = ()
    sbom: str | None = None
    checklist: str | None = None

    @property
    def made_from(self) -> tuple[str, ...]:
        """The files of the source that say what it depends on."""
        return (self.sbom,) if self.sbom else self.requirements


@dataclass(frozen=True)
class Database:
    """Where the source has its database migrations, and which tool reads them."""

    tool: str
    directory: str


@dataclass(frozen=True)
class Descriptor:
    """What slipway.yml says; `digest` is its sha256, by which a change of what it declares is noticed."""

    application: str
    version: str | None = None
    members: tuple[Member, ...] = ()
    exclude: tuple[str, ...] = ()
    audit: AuditPlan = field(default_factory=AuditPlan)
    validation: Step | None = None
    verification_steps: tuple[Step, ...] = ()
    monitoring: Monitoring = field(default_factory=Monitoring)
    database: Database | None = None
    hooks: Hooks = field(default_factory=Hooks)
    migrations: tuple[Migration, ...] = ()
    digest: str = field(default="", compare=False)

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Read a descriptor strictly, or raise Refusal("descriptor_invalid") that names a mistake of each key."""
        try:
            document = parse_yaml(data)
        except (ValueError, RecursionError) as error:
            raise _bad_descriptor("YAML", " ".join(str(error).split())) from None
        fields = Fields(document, DESCRIPTOR, _REASON, f"Correct {DESCRIPTOR}; examples/ has some that work.")
        keys = _Keys(fields)
        descriptor = cls(
            application=keys.read("application", lambda: fields.text("application", NAME)) or "",
            version=keys.read("version", lambda: fields.text("version", VERSION)),
            members=keys.read("members", lambda: read_members(_with_defaults(fields))) or (),
            exclude=keys.read("exclude", lambda: _patterns(fields)) or (),
            audit=keys.read("audit", lambda: _audit(fields.object("audit"))) or AuditPlan(),
            validation=keys.read("validation", lambda: Step.take(fields.object("validation"), DEFAULT_TEST_SECONDS)),
            verification_steps=keys.read("rollback_plan", lambda: take_rollback_plan(fields.object("rollback_plan")))
            or (),
            monitoring=keys.read("monitoring", lambda: _monitoring(fields)) or Monitoring(),
            database=keys.read("database", lambda: _database(fields.object("database"))),
            hooks=keys.read("hooks", lambda: Hooks.take(fields.object("hooks"))) or Hooks(),
            migrations=keys.read("migrations", lambda: take_migrations(fields)) or (),
            digest=hashlib.sha256(data).hexdigest(),
        )
        keys.end()
        require_valid_schemas(descriptor.members)
        return descriptor

    def skips(self, path: str) -> bool:
        """Whether this path of the source is not shipped."""
        return path in _NEVER_SHIPPED or any(_matches(pattern, path) for pattern in self.exclude)

    def ships(self, path: str) -> bool:
        """Whether this path, of a file that need not be there, would be shipped: no directory above it is skipped."""
        names = path.split("/")
        return not any(self.skips("/".join(names[: count + 1])) for count in range(len(names)))


class _Keys:
    """Reads one key after the other and keeps what is wrong, so that one refusal can name all of it."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._refusals: list[Refusal] = []

    def read(self, name: str, read: Callable[[], _T]) -> _T | None:
        if name not in self._fields and name != "application":
            return None
        try:
            return read()
        except Refusal as refusal:
            self._refusals.append(refusal)
            return None

    def end(self) -> None:
        """Refuse keys that nobody read, and all that was wrong before."""
        try:
            self._fields.end()
        except Refusal as refusal:
            self._refusals.append(refusal)
        if len(self._refusals) == 1:
            raise self._refusals[0]
        if self._refusals:
            raise Refusal(
                _REASON,
                expected="; ".join(refusal.expected for refusal in self._refusals),
                found="; ".join(refusal.found for refusal in self._refusals),
                remedy=self._fields.remedy,
            )


def read_descriptor(directory: Path) -> Descriptor:
    """Read slipway.yml at the root of a source."""
    path = directory / DESCRIPTOR
    if path.is_symlink() or not path.is_file():
        raise _bad_descriptor("a file at the root of the source", "none")
    with open(path, "rb") as stream:
        data = stream.read(MAX_DESCRIPTOR_BYTES + 1)
    if len(data) > MAX_DESCRIPTOR_BYTES:
        raise _bad_descriptor(f"at most {MAX_DESCRIPTOR_BYTES} bytes", "more")
    return Descriptor.parse(data)


def read_declared(directory: Path, path: str, *, limit: int) -> bytes:
    """Return the bytes of a file of the source that its descriptor names; Refusal when it is not there."""
    data = read_if_there(directory / path, limit=limit, what="declared file")
    if data is None:
        raise Refusal(
            "declared_file_missing",
            expected=f"the file {path} that {DESCRIPTOR} names, in the source",
            found="no such file",
            remedy=f"Add the file, or take it out of {DESCRIPTOR}.",
        )
    return data


def _bad_descriptor(expected: str, found: str) -> Refusal:
    return Refusal(
        _REASON,
        expected=f"{DESCRIPTOR}: {expected}",
        found=found,
        remedy=f"Put a {DESCRIPTOR} at the root of the source; examples/ has some that work.",
    )


def _with_defaults(fields: Fields) -> list[Fields]:
    items = [_completed(item) for item in fields.array("members", maximum=1000)]
    where = f"{DESCRIPTOR}.members"
    return [Fields(item, f"{where}[{i}]", fields.reason, fields.remedy) for i, item in enumerate(items)]


def _completed(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    suffix = posixpath.splitext(str(item.get("path", "")))[1]
    return {"required": True, "format": _FORMAT_OF_SUFFIX.get(suffix, "none"), **item}


def _patterns(fields: Fields) -> tuple[str, ...]:
    patterns = fields.array("exclude", maximum=1000)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise fields.refusal("exclude", "patterns such as *.pyc or docs/**", pattern)
    return tuple(patterns)


def _matches(pattern: str, path: str) -> bool:
    subject = path if "/" in pattern else posixpath.basename(path)
    return re.fullmatch(_regular_expression(pattern.strip("/")), subject) is not None


def _regular_expression(pattern: str) -> str:
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*|\?)", pattern))


def _audit(fields: Fields) -> AuditPlan:
    plan = AuditPlan(
        tests=_tests(fields.objects("tests", maximum=100)) if "tests" in fields else (),
        requirements=_paths(fields, "requirements") if "requirements" in fields else (),
        sbom=_path(fields, "sbom") if "sbom" in fields else None,
        checklist=_path(fields, "checklist") if "checklist" in fields else None,
    )
    if plan.requirements and plan.sbom:
        raise fields.refusal("sbom", "requirements or an sbom, not both", plan.sbom)
    fields.end()
    return plan


def _tests(items: Iterable[Fields]) -> tuple[DeclaredTest, ...]:
    tests: list[DeclaredTest] = []
    for item in items:
        seconds = DEFAULT_TEST_SECONDS
        if "timeout_seconds" in item:
            seconds = item.integer("timeout_seconds", minimum=1, maximum=MAX_TIMEOUT_SECONDS)
        junit = _path(item, "junit") if "junit" in item else None
        test = DeclaredTest(item.text("name", NAME), read_argv(item), seconds, junit)
        if any(test.name == other.name for other in tests):
            raise item.refusal("name", "each name once", test.name)
        item.end()
        tests.append(test)
    return tuple(tests)


def _paths(fields: Fields, name: str) -> tuple[str, ...]:
    paths = tuple(_checked(fields, name, path) for path in fields.array(name, maximum=100))
    if len(set(paths)) != len(paths):
        raise fields.refusal(name, "each path once", list(paths))
    return paths


def _path(fields: Fields, name: str) -> str:
    return _checked(fields, name, fields.take(name))


def _checked(fields: Fields, name: str, path: Any) -> str:
    try:
        if not isinstance(path, str):
            raise fields.refusal(name, "a path", path)
        require_path(path)
    except Refusal:
        raise fields.refusal(name, "a path inside the source", path) from None
    return path


def _monitoring(fields: Fields) -> Monitoring:
    """`monitoring`. A threshold is how much a metric may drop: nothing drops by more than all of it, so 5 % as 5 would never be reached."""
    texts = _with_texts(fields)
    monitoring = Monitoring.take(texts)
    for name, limit in monitoring.alert_thresholds.items():
        if Decimal(limit) > 1:
            raise texts.refusal(f"alert_thresholds.{name}", "a ratio of at most 1, such as 0.05 for 5 %", limit)
    return monitoring


def _with_texts(fields: Fields) -> Fields:
    """`monitoring` with thresholds as text, for YAML has them as numbers when they stand without quotes."""
    value = fields.take("monitoring")
    if isinstance(value, dict) and isinstance(thresholds := value.get("alert_thresholds"), dict):
        texts = {name: str(each) if type(each) in (int, float) else each for name, each in thresholds.items()}
        value = {**value, "alert_thresholds": texts}
    return Fields(value, f"{DESCRIPTOR}.monitoring", fields.reason, fields.remedy)


def _database(fields: Fields) -> Database:
    database = Database(fields.choice("tool", *SCHEMA_TOOLS), _path(fields, "directory"))
    fields.end()
    return database
