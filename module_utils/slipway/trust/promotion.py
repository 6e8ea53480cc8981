# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release manifest says about the promotion of its release: evidence, artifacts, the way back, the watch.

All of it is optional in the predicate, so that manifests of before stay valid. What is known only when a release is
deployed (who, when, approvals, the release before) is in the deployment's record instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..base.errors import Refusal
from ..base.fields import NAME, ONE_LINE, RELEASE_ID, SHA256, VERSION, Fields

if TYPE_CHECKING:
    from .tree import FileList

RELEASE_TYPES: Final = ("major", "minor", "hotfix")
VALIDATION_RESULTS: Final = ("passed", "not_declared")
SCHEMA_TOOLS: Final = ("alembic",)

MAX_ARTIFACTS: Final = 1000
MAX_STEPS: Final = 20
MAX_WORDS: Final = 100
MAX_TIMEOUT_SECONDS: Final = 86400
MAX_HOURS: Final = 8760
MAX_THRESHOLDS: Final = 100
MAX_REVIEWS: Final = 50
MAX_TICKETS: Final = 100
MAX_REVISIONS: Final = 5000
DEFAULT_STEP_SECONDS: Final = 60
_NAMED_ARTIFACTS: Final = 5

REVISION: Final = re.compile(r"[A-Za-z0-9_.]{1,64}\Z")
DECIMAL: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?\Z")
WORD: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]{0,1024}\Z")


@dataclass(frozen=True)
class AuditReference:
    """The audit bundle that a release was made with: its name, and the sha256 of its audit.json and validation.json."""

    name: str
    sha256: str
    validation_sha256: str
    validation_result: str

    def as_dict(self) -> dict[str, Any]:
        """Return the member `audit`."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "validation_result": self.validation_result,
            "validation_sha256": self.validation_sha256,
        }


@dataclass(frozen=True)
class Artifact:
    """A file of the release that is promoted as something: `kind` such as configs or models."""

    kind: str
    path: str
    sha256: str
    version: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the artifact as it stands in the manifest."""
        value = {"kind": self.kind, "path": self.path, "sha256": self.sha256}
        return value if self.version is None else {**value, "version": self.version}


@dataclass(frozen=True)
class Step:
    """A command, without a shell, that must end with exit code 0 within its time."""

    argv: tuple[str, ...]
    timeout_seconds: int = DEFAULT_STEP_SECONDS

    @classmethod
    def take(cls, fields: Fields, seconds: int = DEFAULT_STEP_SECONDS) -> Step:
        """Read the whole object `fields`; where it does not say the time it takes at most `seconds`."""
        argv = read_argv(fields)
        if "timeout_seconds" in fields:
            seconds = fields.integer("timeout_seconds", minimum=1, maximum=MAX_TIMEOUT_SECONDS)
        fields.end()
        return cls(argv, seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the step as it stands in the manifest."""
        return {"argv": list(self.argv), "timeout_seconds": self.timeout_seconds}


@dataclass(frozen=True)
class Monitoring:
    """How a release is watched after a deploy; thresholds are decimals as text, since signed numbers are integers."""

    heightened_period_hours: int = 48
    alert_frequency_hours: int = 2
    alert_thresholds: Mapping[str, str] = field(default_factory=dict)
    review: tuple[str, ...] = ()

    @classmethod
    def take(cls, fields: Fields) -> Monitoring:
        """Read the whole object `fields`, of which any member may be left out."""
        usual = cls()
        period, frequency = usual.heightened_period_hours, usual.alert_frequency_hours
        if "heightened_period_hours" in fields:
            period = fields.integer("heightened_period_hours", maximum=MAX_HOURS)
        if "alert_frequency_hours" in fields:
            frequency = fields.integer("alert_frequency_hours", minimum=1, maximum=MAX_HOURS)
        thresholds: dict[str, str] = {}
        if "alert_thresholds" in fields:
            table = fields.object("alert_thresholds")
            names = table.keys_like(NAME, maximum=MAX_THRESHOLDS)
            thresholds = {name: table.text(name, DECIMAL) for name in names}
        review = read_texts(fields, "review", maximum=MAX_REVIEWS) if "review" in fields else ()
        fields.end()
        return cls(period, frequency, thresholds, review)

    def as_dict(self) -> dict[str, Any]:
        """Return the member `monitoring`."""
        return {
            "alert_frequency_hours": self.alert_frequency_hours,
            "alert_thresholds": dict(self.alert_thresholds),
            "heightened_period_hours": self.heightened_period_hours,
            "review": list(self.review),
        }


@dataclass(frozen=True)
class Metadata:
    """Where a release comes from, beside the commit that `source` names: branch and tag of it, build, tickets."""

    git_branch: str | None = None
    git_tag: str | None = None
    build_id: str | None = None
    tickets: tuple[str, ...] = ()

    @classmethod
    def take(cls, fields: Fields) -> Metadata:
        """Read the whole object `fields`."""

        def text(name: str) -> str | None:
            return fields.text(name, ONE_LINE) if name in fields else None

        metadata = cls(
            git_branch=text("git_branch"),
            git_tag=text("git_tag"),
            build_id=text("build_id"),
            tickets=read_texts(fields, "tickets", maximum=MAX_TICKETS) if "tickets" in fields else (),
        )
        fields.end()
        return metadata

    @classmethod
    def asked(cls, build_id: str | None, tickets: Sequence[str]) -> Metadata:
        """Return what an operator gave, or raise Refusal("metadata_invalid")."""
        given = {"tickets": list(tickets)} if build_id is None else {"build_id": build_id, "tickets": list(tickets)}
        return cls.take(Fields(given, "release", "metadata_invalid", "Give a build id and tickets of one line each."))

    def as_dict(self) -> dict[str, Any]:
        """Return the member `metadata`, without what is not known."""
        texts = {"build_id": self.build_id, "git_branch": self.git_branch, "git_tag": self.git_tag}
        return {**{name: text for name, text in texts.items() if text is not None}, "tickets": list(self.tickets)}


@dataclass(frozen=True)
class SchemaRevisions:
    """The database schema that a release needs: the newest revision, and all that lead to it, oldest first, it last."""

    tool: str
    head: str
    revisions: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the member `database`."""
        return {"head": self.head, "revisions": list(self.revisions), "tool": self.tool}


@dataclass(frozen=True)
class Promotion:
    """The optional members of a predicate. `Promotion()` is what a manifest without them says.

    A `candidate` is there to be judged by hosts in check mode before the release is made; they never take it for real.
    """

    release_type: str = "minor"
    audit: AuditReference | None = None
    artifacts: tuple[Artifact, ...] = ()
    verification_steps: tuple[Step, ...] = ()
    monitoring: Monitoring = field(default_factory=Monitoring)
    metadata: Metadata = field(default_factory=Metadata)
    database: SchemaRevisions | None = None
    candidate: bool = False

    @classmethod
    def take(cls, fields: Fields) -> Promotion:
        """Take these members out of a predicate; each that is there is read strictly."""
        usual = cls()
        return cls(
            release_type=fields.choice("release_type", *RELEASE_TYPES)
            if "release_type" in fields
            else usual.release_type,
            audit=_audit(fields.object("audit")) if "audit" in fields else None,
            artifacts=_artifacts(fields) if "artifacts" in fields else (),
            verification_steps=take_rollback_plan(fields.object("rollback_plan")) if "rollback_plan" in fields else (),
            monitoring=Monitoring.take(fields.object("monitoring")) if "monitoring" in fields else usual.monitoring,
            metadata=Metadata.take(fields.object("metadata")) if "metadata" in fields else usual.metadata,
            database=_database(fields.object("database")) if "database" in fields else None,
            candidate=fields.boolean("candidate") if "candidate" in fields else False,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the members as they stand in the predicate; `audit` and `database` only where there is one."""
        value: dict[str, Any] = {
            "artifacts": [artifact.as_dict() for artifact in self.artifacts],
            "metadata": self.metadata.as_dict(),
            "monitoring": self.monitoring.as_dict(),
            "release_type": self.release_type,
            "rollback_plan": {"verification_steps": [step.as_dict() for step in self.verification_steps]},
        }
        if self.audit is not None:
            value["audit"] = self.audit.as_dict()
        if self.database is not None:
            value["database"] = self.database.as_dict()
        if self.candidate:
            value["candidate"] = True
        return value

    def require_artifacts_of(self, file_list: FileList) -> None:
        """Refuse artifacts that the file list does not have with the same bytes."""
        there = {entry.path: entry.sha256 for entry in file_list.files}
        others = [artifact for artifact in self.artifacts if there.get(artifact.path) != artifact.sha256]
        if others:
            raise Refusal(
                "artifacts_altered",
                expected="the promoted artifacts among the files of the release, with the same sha256",
                found="; ".join(
                    f"{a.path}: {there.get(a.path, 'no file')} instead of {a.sha256}" for a in others[:_NAMED_ARTIFACTS]
                ),
                remedy="Build the release again.",
            )


def read_argv(fields: Fields, name: str = "argv") -> tuple[str, ...]:
    """Take a command: at least one word, the first one not empty, each on one line."""
    words = fields.array(name, maximum=MAX_WORDS)
    if not words or words[0] == "" or not all(isinstance(word, str) and WORD.match(word) for word in words):
        raise fields.refusal(name, "a command as a list of words, each on one line", words)
    return tuple(words)


def read_texts(fields: Fields, name: str, *, maximum: int) -> tuple[str, ...]:
    """Take an array of different texts, each on one line."""
    texts = fields.array(name, maximum=maximum)
    if not all(isinstance(text, str) and ONE_LINE.match(text) for text in texts) or len(set(texts)) != len(texts):
        raise fields.refusal(name, "different texts of one line each", texts)
    return tuple(texts)


def take_rollback_plan(fields: Fields) -> tuple[Step, ...]:
    """Read the whole object `rollback_plan`; its steps are commands relative to the release."""
    steps = tuple(Step.take(item) for item in fields.objects("verification_steps", maximum=MAX_STEPS))
    fields.end()
    return steps


def _audit(fields: Fields) -> AuditReference:
    reference = AuditReference(
        name=fields.text("name", RELEASE_ID),
        sha256=fields.text("sha256", SHA256),
        validation_sha256=fields.text("validation_sha256", SHA256),
        validation_result=fields.choice("validation_result", *VALIDATION_RESULTS),
    )
    fields.end()
    return reference


def _artifacts(fields: Fields) -> tuple[Artifact, ...]:
    artifacts: list[Artifact] = []
    for item in fields.objects("artifacts", maximum=MAX_ARTIFACTS):
        artifact = Artifact(
            kind=item.text("kind", NAME),
            path=item.text("path", ONE_LINE),
            sha256=item.text("sha256", SHA256),
            version=item.text("version", VERSION) if "version" in item else None,
        )
        if any(artifact.path == other.path for other in artifacts):
            raise item.refusal("path", "each path once", artifact.path)
        item.end()
        artifacts.append(artifact)
    return tuple(artifacts)


def _database(fields: Fields) -> SchemaRevisions:
    schema = SchemaRevisions(
        tool=fields.choice("tool", *SCHEMA_TOOLS),
        head=fields.text("head", REVISION),
        revisions=_revisions(fields),
    )
    if schema.revisions[-1:] != (schema.head,):
        raise fields.refusal("revisions", f"the head {schema.head} as the last one", list(schema.revisions[-1:]))
    fields.end()
    return schema


def _revisions(fields: Fields) -> tuple[str, ...]:
    found = fields.array("revisions", maximum=MAX_REVISIONS)
    if not all(isinstance(each, str) and REVISION.match(each) for each in found) or len(set(found)) != len(found):
        raise fields.refusal("revisions", f"different texts like {REVISION.pattern}", found)
    return tuple(found)
