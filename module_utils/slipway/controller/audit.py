# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit bundles: a directory of evidence about a source before it becomes a release.

    audit.json         canonical JSON: the source, its commit, build and tickets, tools, tests, SBOM, checklist, and the
                       path, size and sha256 of every other file; its own sha256 goes into the release's manifest
    sbom.cdx.json      CycloneDX
    checklist.yml      the promotion checklist, where the source has one
    tests/<name>.log   the end of a test's output; tests/<name>.xml its JUnit XML, where it writes one
    validation.json    added by a validation (validation.py), with validation.log

A bundle is written under another name and renamed when it is whole. What was not declared is named in `not_declared`.
Reading one derives again what audit.json says of the other files, and refuses any difference.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from .. import __version__
from ..base import canonical
from ..base.clock import timestamp
from ..base.errors import Refusal, shown
from ..base.fields import GIT_COMMIT, NAME, ONE_LINE, SHA256, VERSION, Fields, require_release_id
from ..base.files import (
    fsync_directory,
    full_disk_is_a_refusal,
    read_regular,
    remove_tree,
    sha256_of,
    temporary_name,
    write_durable,
)
from ..trust.promotion import MAX_TICKETS, Metadata, read_texts
from . import archive, junit, sbom, trial
from .checklist import MAX_CHECKLIST_BYTES, Checklist
from .descriptor import DESCRIPTOR, DeclaredTest, Descriptor, read_declared
from .source import Facts, facts_now, opened

FORMAT: Final = 1
AUDIT: Final = "audit.json"
SBOM: Final = "sbom.cdx.json"
CHECKLIST: Final = "checklist.yml"
# What a validation adds to a bundle; it is not among the files that audit.json names.
ADDED_LATER: Final = frozenset({"validation.json", "validation.log"})
MAX_AUDIT_BYTES: Final = 16 << 20
MAX_JUNIT_BYTES: Final = 16 << 20
MAX_FILES: Final = 1000

_WHAT: Final = "audit"
_REMEDY: Final = "Make the audit again (playbooks/audit.yml), under a new name."
_NAMED: Final = 5


@dataclass(frozen=True)
class Request:
    """What to audit and where the bundle goes; `now` is Unix seconds, `max_bytes` what an archive may unpack to."""

    source: Path
    path: Path
    now: int
    version: str | None = None
    build_id: str | None = None
    tickets: tuple[str, ...] = ()
    max_bytes: int = archive.MAX_BYTES


@dataclass(frozen=True)
class Audit:
    """An audit bundle as it was read, every file of it compared with its digest. `digest` is the sha256 of audit.json."""

    path: Path
    digest: str
    application: str
    version: str | None
    created: str
    descriptor_digest: str
    tree_digest: str
    git_commit: str | None
    build_id: str | None
    tickets: tuple[str, ...]
    checklist: Checklist | None
    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name by which a manifest refers to it."""
        return self.path.name

    def require_of(self, source: Facts, descriptor: Descriptor) -> None:
        """Refuse a source that is not, byte by byte and commit by commit, the one that was audited.

        An audit of this very source that does not say what its `descriptor` declares was altered.
        """
        compared = (
            ("application", self.application, source.application),
            ("version", self.version, source.version),
            ("slipway.yml", self.descriptor_digest, source.descriptor_digest),
            ("file list", self.tree_digest, source.tree_digest),
            ("commit", self.git_commit, source.checkout.commit),
        )
        others = [f"{what} {there or 'none'}, now {here or 'none'}" for what, there, here in compared if there != here]
        if others:
            raise Refusal(
                "audit_of_another_source",
                expected=f"an audit of the source as it is now, not as it was at {self.created}",
                found=f"{self.name} with {'; '.join(others)}",
                remedy="Audit the source again (playbooks/audit.yml), or check out what was audited.",
            )
        plan, tests = descriptor.audit, self.document["tests"]
        declared = (
            (
                "tests",
                [(test["name"], test["argv"], test["timeout_seconds"], test["junit"] is not None) for test in tests],
                [(test.name, list(test.argv), test.timeout_seconds, test.junit is not None) for test in plan.tests],
            ),
            ("dependencies", self.document["sbom"]["made_from"], list(plan.made_from)),
            ("checklist", self.checklist is not None, plan.checklist is not None),
        )
        others = [what for what, there, here in declared if there != here]
        if others:
            raise altered(self.path, f"{AUDIT} with other {', '.join(others)} than {DESCRIPTOR} declares")

    def require_for(self, build_id: str | None, tickets: tuple[str, ...]) -> None:
        """Refuse another build or other tickets than the audit names, where any are given."""
        compared = (("build id", self.build_id, build_id), ("tickets", ", ".join(self.tickets), ", ".join(tickets)))
        others = [
            f"{what} {there or 'none'}, not {asked}" for what, there, asked in compared if asked and there != asked
        ]
        if others:
            raise Refusal(
                "audit_of_another_build",
                expected="an audit of the build and the tickets that were given, or none given",
                found=f"{self.name} with {'; '.join(others)}",
                remedy="Give them when the audit is made, and leave them out later.",
            )


@dataclass(frozen=True)
class Made:
    """A bundle, and whether it is new; with check mode it is what would be made, its tests not run."""

    changed: bool
    path: Path
    digest: str | None
    document: Mapping[str, Any]


def create(request: Request, *, check: bool = False) -> Made:
    """Make an audit bundle, or with `check` say what would be in it and run nothing.

    1. A whole bundle of the same source under this name is left alone; any other is refused.
    2. Checklist and lock files are read before any test is run.
    3. All tests run, in the order of slipway.yml; one that fails is refused, with all others that failed.
    4. The source must be the same after its tests.
    """
    name = request.path.name
    require_release_id(name)
    Metadata.asked(request.build_id, request.tickets)
    with opened(request.source, max_bytes=request.max_bytes) as (directory, descriptor):
        found = facts_now(request.source, directory, descriptor, request.version)
        if request.path.exists() or request.path.is_symlink():
            audit = read_audit(request.path)
            audit.require_of(found, descriptor)
            audit.require_for(request.build_id, request.tickets)
            return Made(False, request.path, audit.digest, audit.document)
        parts = _Parts(request, found)
        parts.add_checklist(directory, descriptor)
        parts.add_sbom(directory, descriptor)
        if check:
            foreseen = [{"argv": list(test.argv), "name": test.name} for test in descriptor.audit.tests]
            return Made(True, request.path, None, parts.document(foreseen))
        parts.run_tests(directory, descriptor)
        parts.require_unchanged(directory)
        _require_unchanged(found, facts_now(request.source, directory, descriptor, request.version))
        document = parts.document(parts.tests)
    data = canonical.encode(document)
    with full_disk_is_a_refusal(_existing(request.path.parent), what=f"keep the audit bundle {name}"):
        _keep(request.path, {**parts.files, AUDIT: data})
    return Made(True, request.path, hashlib.sha256(data).hexdigest(), document)


def _require_unchanged(before: Facts, after: Facts) -> None:
    if before == after:
        return
    raise _changed("other files to be released" if before.tree_digest != after.tree_digest else "changes that git sees")


def _changed(found: str) -> Refusal:
    return Refusal(
        "source_changed",
        expected="the source to stay as it is while its tests run",
        found=found,
        remedy="Let the tests write elsewhere, or let slipway.yml exclude and git ignore what they write.",
    )


class _Parts:
    """Gathers the files of a bundle, by path, and what audit.json says of them."""

    def __init__(self, request: Request, source: Facts) -> None:
        self._request = request
        self._source = source
        self._created = timestamp(request.now)
        self.files: dict[str, bytes] = {}
        self.tests: list[dict[str, Any]] = []
        self._declared = {DESCRIPTOR: source.descriptor_digest}
        self._made_from: tuple[str, ...] = ()

    def add_checklist(self, directory: Path, descriptor: Descriptor) -> None:
        if descriptor.audit.checklist:
            self.files[CHECKLIST] = self._read(directory, descriptor.audit.checklist, MAX_CHECKLIST_BYTES)
            Checklist.parse(self.files[CHECKLIST])

    def add_sbom(self, directory: Path, descriptor: Descriptor) -> None:
        plan, source = descriptor.audit, self._source
        self._made_from = plan.made_from
        if plan.sbom:
            self.files[SBOM] = self._read(directory, plan.sbom, sbom.MAX_SBOM_BYTES)
            sbom.count(self.files[SBOM])
            return
        locks = {path: self._read(directory, path, sbom.MAX_LOCK_BYTES) for path in plan.requirements}
        subject = sbom.Subject(source.application, source.version, self._created, source.tree_digest)
        self.files[SBOM] = sbom.write(subject, sbom.read_locks(locks))

    def _read(self, directory: Path, path: str, limit: int) -> bytes:
        data = read_declared(directory, path, limit=limit)
        self._declared[path] = hashlib.sha256(data).hexdigest()
        return data

    def require_unchanged(self, directory: Path) -> None:
        """Refuse when slipway.yml, or a file that it names for the audit, is no longer what was read."""
        others = [path for path, digest in self._declared.items() if _digest(directory / path) != digest]
        if others:
            raise _changed(f"another {' and another '.join(others)}")

    def run_tests(self, directory: Path, descriptor: Descriptor) -> None:
        failures: list[str] = []
        for test in descriptor.audit.tests:
            try:
                self.tests.append(self._run(test, directory))
            except ValueError as error:
                failures.append(f"{test.name} ({' '.join(test.argv)}): {error}")
        if failures:
            raise Refusal(
                "audit_test_failed",
                expected=f"all {len(descriptor.audit.tests)} tests of the source to pass",
                found="\n".join(failures),
                remedy="Mend what fails, then make the audit again. No bundle was made.",
            )

    def _run(self, test: DeclaredTest, directory: Path) -> dict[str, Any]:
        """What audit.json says of one test; ValueError says why it did not pass."""
        report = directory / test.junit if test.junit else None
        before = _stamp(report) if report else None
        done = trial.run(test.argv, timeout_seconds=test.timeout_seconds, directory=directory)
        if not done.passed:
            raise ValueError(done.described())
        self.files[_log(test.name)] = done.tail
        if report:
            self.files[_report(test.name)] = _read_junit(report, before)
        return _of_test(test.name, done, self.files)

    def document(self, tests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What audit.json says."""
        source, checkout = self._source, self._source.checkout
        return {
            **_of_files(self.files, self._made_from, tests),
            "application": source.application,
            "build_id": self._request.build_id,
            "created": self._created,
            "format": FORMAT,
            "source": {
                "descriptor_digest": source.descriptor_digest,
                "git_branch": checkout.branch,
                "git_commit": checkout.commit,
                "git_tag": checkout.tag,
                "is_clean": checkout.is_clean,
                "kind": source.kind,
                "name": source.name,
                "tree_digest": source.tree_digest,
            },
            "tickets": list(self._request.tickets),
            "tools": {
                "ansible_core": importlib.metadata.version("ansible-core"),
                "python": platform.python_version(),
                "slipway": __version__,
            },
            "version": source.version,
        }


def _of_files(
    files: Mapping[str, bytes], made_from: Sequence[str], tests: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What audit.json says of the other files, all of which follows from them and from how the tests ended."""

    def described(path: str) -> dict[str, Any]:
        return {"path": path, "sha256": hashlib.sha256(files[path]).hexdigest()}

    checklist = Checklist.parse(files[CHECKLIST]) if CHECKLIST in files else None
    not_declared = {"checklist": not checklist, "dependencies": not made_from, "tests": not tests}
    return {
        "checklist": {**checklist.as_dict(), **described(CHECKLIST)} if checklist else None,
        "files": [{**described(path), "size": len(files[path])} for path in sorted(files)],
        "not_declared": sorted(name for name, is_absent in not_declared.items() if is_absent),
        "sbom": {**described(SBOM), "components": sbom.count(files[SBOM]), "made_from": list(made_from)},
        "tests": list(tests),
    }


def _of_test(name: str, done: trial.Trial, files: Mapping[str, bytes]) -> dict[str, Any]:
    """What audit.json says of a test that passed; ValueError when its report says that it did not."""
    report = files.get(_report(name))
    return {
        **done.as_dict(),
        "counts": None if report is None else _counts(report).as_dict(),
        "junit": None if report is None else _report(name),
        "log": _log(name),
        "name": name,
        "result": "passed",
    }


def _log(name: str) -> str:
    return f"tests/{name}.log"


def _report(name: str) -> str:
    return f"tests/{name}.xml"


def _digest(path: Path) -> str | None:
    """The sha256 of a regular file, None where there is none."""
    try:
        return sha256_of(path)
    except (OSError, Refusal):
        return None


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What writing a file changes, None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read_junit(report: Path, before: tuple[int, ...] | None) -> bytes:
    after = _stamp(report)
    if after is None or after == before:
        raise ValueError(f"exit code 0, but it wrote no {report.name}")
    try:
        data = read_regular(report, limit=MAX_JUNIT_BYTES, what="junit report")
        _counts(data)
    except Refusal as refusal:
        raise ValueError(f"exit code 0, but {refusal}") from None
    except ValueError as error:
        raise ValueError(f"exit code 0, but {report.name} {error}") from None
    return data


def _counts(data: bytes) -> junit.Counts:
    try:
        counts = junit.count(data)
    except ValueError as error:
        raise ValueError(f"is {error}") from None
    if counts.failed or not counts.passed:
        raise ValueError(f"says {counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped")
    return counts


def _existing(directory: Path) -> Path:
    """The nearest directory above that is there, to say of which file system it is that is full."""
    return next(each for each in (directory, *directory.absolute().parents) if each.is_dir())


def _keep(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a whole directory, durably, under a temporary name; then it gets its own."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    temporary = temporary_name(path)
    temporary.mkdir(mode=0o700)
    try:
        for name, data in files.items():
            place = temporary / name
            place.parent.mkdir(exist_ok=True)
            write_durable(place, data, mode=0o644)
        for directory in {(temporary / name).parent for name in files}:
            os.chmod(directory, 0o755)  # noqa: S103  what it holds is no secret, and others are to read it
        os.rename(temporary, path)
    except BaseException:
        remove_tree(temporary)
        raise
    fsync_directory(path.parent)


def read_audit(path: Path | None) -> Audit:
    """Read an audit bundle and compare every file of it with audit.json, which must say of them what is so.

    Nothing else is allowed to be there, no directory either.
    """
    if path is None or not path.is_dir() or not (path / AUDIT).exists():
        raise Refusal(
            "audit_missing",
            expected="an audit bundle" if path is None else f"an audit bundle at {path}",
            found="none" if path is None or not path.exists() else f"no {AUDIT} in it",
            remedy="Make one with playbooks/audit.yml, and give its path (release_audit).",
        )
    data = read_regular(path / AUDIT, limit=MAX_AUDIT_BYTES, what="audit")
    with _unreadable_is_altered(path):
        audit, digests = _parsed(path, data)
    _require_none(path, _differences(path, digests))
    with _unreadable_is_altered(path):
        files = {name: read_regular(path / name, limit=sbom.MAX_SBOM_BYTES, what="audit file") for name in digests}
        derived = _derived(audit.document, files)
    _require_none(
        path,
        [
            f"{AUDIT} does not say of {name} what the other files do"
            for name, value in derived.items()
            if canonical.encode(audit.document[name]) != canonical.encode(value)
        ],
    )
    return replace(audit, checklist=Checklist.parse(files[CHECKLIST]) if CHECKLIST in files else None)


@contextmanager
def _unreadable_is_altered(path: Path) -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        raise altered(
            path, f"{AUDIT} that cannot be read ({refusal.reason}: {refusal.expected}; found {refusal.found})"
        ) from None


def _require_none(path: Path, problems: Sequence[str]) -> None:
    if problems:
        others = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise altered(path, "; ".join(problems[:_NAMED]) + others)


def _derived(document: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """What audit.json must say of these files; how the tests ended is taken from itself, where their logs agree."""
    fields = Fields(document, _WHAT, "audit_altered", _REMEDY)
    tests = [_taken_test(item, files) for item in fields.objects("tests", maximum=MAX_FILES)]
    known = {SBOM, CHECKLIST, *(test["log"] for test in tests), *(test["junit"] for test in tests)}
    others = sorted(files.keys() - known)
    if others or SBOM not in files:
        raise fields.refusal("files", f"{SBOM}, {CHECKLIST} and what its tests wrote", others or f"no {SBOM}")
    return _of_files(files, fields.object("sbom").array("made_from", maximum=MAX_FILES), tests)


def _taken_test(item: Fields, files: Mapping[str, bytes]) -> dict[str, Any]:
    name = item.text("name", NAME)
    if _log(name) not in files:
        raise item.refusal("log", f"{_log(name)} in the bundle", "none")
    done = trial.Trial.take(item, files[_log(name)])
    if not done.passed:
        raise item.refusal("result", "a test that passed", done.described())
    try:
        return _of_test(name, done, files)
    except ValueError as error:
        raise item.refusal("junit", "the report of a test that passed", f"one that {error}") from None


def altered(path: Path, found: str) -> Refusal:
    """The refusal of a bundle that is not as it was made."""
    return Refusal(
        "audit_altered",
        expected=f"{path} exactly as it was made",
        found=found,
        remedy=f"Find out who changed it. {_REMEDY}",
    )


def _parsed(path: Path, data: bytes) -> tuple[Audit, dict[str, str]]:
    document = canonical.parse_canonical(data, what=_WHAT, limit=MAX_AUDIT_BYTES)
    fields = Fields(document, _WHAT, "audit_altered", _REMEDY)
    fields.integer("format", minimum=FORMAT, maximum=FORMAT)
    source = fields.object("source")
    audit = Audit(
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
        application=fields.text("application", NAME),
        version=_optional(fields, "version", VERSION),
        created=fields.time("created"),
        descriptor_digest=source.text("descriptor_digest", SHA256),
        tree_digest=source.text("tree_digest", SHA256),
        git_commit=_optional(source, "git_commit", GIT_COMMIT),
        build_id=_optional(fields, "build_id", ONE_LINE),
        tickets=read_texts(fields, "tickets", maximum=MAX_TICKETS),
        checklist=None,
        document=document,
    )
    listed = fields.objects("files", maximum=MAX_FILES)
    digests = {item.text("path", ONE_LINE): item.text("sha256", SHA256) for item in listed}
    for derived in ("checklist", "not_declared", "sbom", "tests", "tools"):
        fields.take(derived)
    fields.end()
    return audit, digests


def _optional(fields: Fields, name: str, pattern: re.Pattern[str]) -> str | None:
    """A text, or null."""
    value = fields.take(name)
    if value is not None and (not isinstance(value, str) or not pattern.match(value)):
        raise fields.refusal(name, f"null or a string like {pattern.pattern}", value)
    return value


def _differences(path: Path, files: Mapping[str, str]) -> list[str]:
    """Where what is below `path` is not what audit.json names, in the order of the names."""
    there: set[str] = set()
    directories: set[str] = set()
    for place, inner, names in os.walk(path):
        there |= {str(Path(place, name).relative_to(path)) for name in names}
        directories |= {str(Path(place, name).relative_to(path)) for name in inner}
    expected = {str(parent) for name in files for parent in Path(name).parents}
    strangers = (there - files.keys() - {AUDIT} - ADDED_LATER) | (directories - expected)
    problems = dict.fromkeys(strangers, "is not in the bundle")
    for name, digest in files.items():
        if name not in there:
            problems[name] = "is missing"
        elif _digest(path / name) != digest:
            problems[name] = "has other content"
    return [f"{shown(name)[1:-1]} {problems[name]}" for name in sorted(problems)]
