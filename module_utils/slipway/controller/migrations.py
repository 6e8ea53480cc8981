# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema revisions of a source: read from its Alembic migration files as text, none of which is ever run."""

from __future__ import annotations

import ast
import graphlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..base.files import read_regular
from ..trust.promotion import MAX_REVISIONS, REVISION, SchemaRevisions
from .descriptor import Database

MAX_MIGRATION_BYTES: Final = 1 << 20
_NAMES: Final = ("revision", "down_revision", "depends_on")
_ABSENT: Final = object()


@dataclass
class _Findings:
    """The parents of each revision, the file that has it, and what is wrong."""

    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_migrations(source: Path, database: Database) -> SchemaRevisions:
    """Return the one head and all revisions that lead to it; Refusal("migrations_invalid") names every problem.

    1. Each file states `revision` and `down_revision` as plain text, as Alembic writes them.
    2. Each parent is there, and there is one head: with several of them nobody can say what the release needs.
    """
    directory = source / database.directory
    findings = _Findings()
    if directory.is_dir():
        for path in sorted(directory.glob("*.py")):
            if not path.name.startswith((".", "__init__")):
                _read(path, findings)
    else:
        findings.problems.append("no such directory")
    revisions = _in_order(findings)
    if findings.problems:
        raise Refusal(
            "migrations_invalid",
            expected=f"{database.directory}: migrations that lead from the first one to one head",
            found="; ".join(findings.problems),
            remedy="Mend the migrations (alembic heads, alembic merge), and build the release again.",
        )
    return SchemaRevisions(database.tool, revisions[-1], revisions)


def _read(path: Path, findings: _Findings) -> None:
    try:
        tree = ast.parse(read_regular(path, limit=MAX_MIGRATION_BYTES, what="migration"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        findings.problems.append(f"{path.name}: no Python ({' '.join(str(error).split())})")
        return
    stated = {name: _stated(tree, name) for name in _NAMES}
    revision, parents = stated["revision"], _parents(stated["down_revision"])
    if not isinstance(revision, str) or not REVISION.match(revision):
        findings.problems.append(f"{path.name}: no revision as plain text")
    elif parents is None:
        findings.problems.append(f"{path.name}: no down_revision as plain text, texts or None")
    elif stated["depends_on"] not in (_ABSENT, None):
        findings.problems.append(f"{path.name}: depends_on, which is not followed here")
    elif revision in findings.parents:
        findings.problems.append(f"{path.name}: revision {revision} again, which {findings.files[revision]} has")
    else:
        findings.parents[revision] = parents
        findings.files[revision] = path.name


def _stated(tree: ast.Module, name: str) -> Any:
    """The value that a file gives `name` at its top level, as plain data; `_ABSENT` for none and for anything else."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            try:
                return ast.literal_eval(node.value)  # type: ignore[attr-defined]  # both kinds have it
            except (ValueError, TypeError, RecursionError, MemoryError):
                return ...
    return _ABSENT


def _parents(value: Any) -> tuple[str, ...] | None:
    """The parents that `down_revision` names, None when it names nothing of the kind."""
    parents = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(parents, (tuple, list)) or not all(isinstance(each, str) for each in parents):
        return None
    return tuple(parents)


def _in_order(findings: _Findings) -> tuple[str, ...]:
    """The revisions, each after its parents, the head last; what is wrong with the chain is added to the problems."""
    parents = findings.parents
    if findings.problems:
        return ()
    if not 0 < len(parents) <= MAX_REVISIONS:
        findings.problems.append(f"{len(parents)} migrations, from 1 to {MAX_REVISIONS} are possible")
    for revision, named in parents.items():
        for parent in named:
            if parent not in parents:
                findings.problems.append(f"{findings.files[revision]}: {shown(parent)} before it, which is not there")
    heads = sorted(set(parents) - {parent for named in parents.values() for parent in named})
    if len(heads) > 1:
        findings.problems.append(f"{len(heads)} heads: {', '.join(heads)}")
    if findings.problems:
        return ()
    try:
        return tuple(graphlib.TopologicalSorter({name: parents[name] for name in sorted(parents)}).static_order())
    except graphlib.CycleError as error:
        findings.problems.append(f"a circle: {' → '.join(error.args[1])}")
        return ()
