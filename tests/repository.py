# SPDX-License-Identifier: GPL-3.0-or-later
"""The working tree as contract tests read it: files, plays, tasks, options."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOMAIN = ROOT / "module_utils/slipway"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
MODULES = sorted(path.stem for path in (ROOT / "library").glob("*.py"))
PLAYBOOKS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.yml"), *ROOT.glob("playbooks/*.yml")))
PLAYBOOKS = [name for name in PLAYBOOKS if not name.startswith((".", "requirements", "execution-environment"))]
# Keywords under which a task holds further tasks.
NESTED = ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers")


@cache
def tracked() -> tuple[str, ...]:
    """Every file that git knows."""
    # Tests may run as another user than the owner of the checkout.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(name for name in listed.split("\0") if name and (ROOT / name).exists())


def texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Name and text of tracked files, of those suffixes if any are given; links and what is no text left out."""
    for name in tracked():
        path = ROOT / name
        if path.is_symlink() or (suffixes and not name.endswith(suffixes)):
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def load(path: Path | str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def tasks_below(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each task in plays or task lists, also inside of blocks; a block itself comes first."""
    for item in items:
        yield item
        for keyword in NESTED:
            yield from tasks_below(item.get(keyword) or [])


def tasks_of(name: str) -> list[dict[str, Any]]:
    """Each task of a playbook or task file."""
    return [item for item in tasks_below(load(name)) if "hosts" not in item]


def task_files(*directories: str) -> list[str]:
    """The tracked YAML files of the directories that are lists of tasks or plays."""
    names = [name for name in tracked() if name.startswith(directories) and name.endswith(".yml")]
    return [name for name in names if isinstance(load(name), list)]


def used_module(task: Mapping[str, Any], *names: str) -> dict[str, Any] | None:
    """The arguments of the module that a task runs, if it is one of those names, short or full."""
    for name in names:
        for spelled in (name, f"ansible.builtin.{name}", f"ansible.legacy.{name}"):
            if spelled in task:
                arguments = task[spelled]
                return arguments if isinstance(arguments, dict) else {"_raw": arguments}
    return None


def documentation(module: str, part: str = "DOCUMENTATION") -> dict[str, Any]:
    """DOCUMENTATION or RETURN of a module, read from its text."""
    for node in ast.parse((ROOT / f"library/{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == part:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise LookupError(f"{module} has no {part}")
