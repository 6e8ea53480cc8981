# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule for ansible-lint: where a value of slipway_secret passes, nothing may show it.

A value passes where the lookup stands, and where a variable stands whose value has the lookup in it: in group_vars, host_vars, defaults and vars of roles
and plays of the project, or registered or set by another task of the same file. It cannot see a variable that comes from an inventory or from -e.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansiblelint.rules import AnsibleLintRule

LOOKUP = re.compile(r"""\b(lookup|query|q)\(\s*['"](\w+\.)*slipway_secret['"]""")
TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
WORD = re.compile(r"(?<![\w.'\"])[A-Za-z_]\w*")
# Keywords whose value is an expression without braces.
EXPRESSIONS = ("when", "until", "changed_when", "failed_when", "that")
# What becomes a command line, which every user of a host can read.
COMMANDS = ("command", "shell", "raw", "script", "expect", "win_command", "win_shell")
# What has no difference to show.
WITHOUT_DIFFERENCE = ("assert", "fail", "meta", "pause", "set_fact", "uri", "wait_for", "slipway_secret")
NESTED = ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers")
NOT_ARGUMENTS = (
    "name", "vars", "register", "when", "loop_control", "notify", "tags", "no_log", "diff", "become", "become_user", "delegate_to", "run_once", "until",
    "retries", "delay", "changed_when", "failed_when", "check_mode", "environment", "args", "async", "poll", "ignore_errors", "listen", "throttle",
    "timeout", "any_errors_fatal", "ignore_unreachable", "become_method", "connection", "delegate_facts", "loop", "module_defaults", "collections",
)  # fmt: skip
PROJECT_FILES = (
    "group_vars/**/*",
    "host_vars/**/*",
    "inventories/*/group_vars/**/*",
    "roles/*/defaults/*",
    "roles/*/vars/*",
)


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys of mappings included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts(each)


def is_tainted(value: Any, names: frozenset[str], *, expression: bool = False) -> bool:
    """Whether a value has a secret in it once its templates are filled in."""
    for text in texts(value):
        for template in [text] if expression else TEMPLATE.findall(text):
            if LOOKUP.search(template) or names.intersection(WORD.findall(template)):
                return True
    return False


def tainted(variables: Mapping[str, Any], names: frozenset[str]) -> frozenset[str]:
    """The names of those variables that have a secret in them, with those that were known."""
    while True:
        more = names | {str(name) for name, value in variables.items() if is_tainted(value, names)}
        if more == names:
            return names
        names = more


def module_of(task: Mapping[str, Any]) -> tuple[str, Any]:
    """The module that a task runs, by its last word, and its arguments."""
    for key, value in task.items():
        if key not in NOT_ARGUMENTS and not str(key).startswith(("with_", "__", "skipped")) and key not in NESTED:
            return str(key).rpartition(".")[2], value
    return "", None


def template_of(task: Mapping[str, Any], directory: Path) -> str:
    """What is in the template that a task fills in, nothing where it has none or its name is one of a variable."""
    module, arguments = module_of(task)
    name = arguments.get("src") if module == "template" and isinstance(arguments, Mapping) else None
    if not isinstance(name, str):
        return ""
    for path in (directory / name, directory / "templates" / name, directory.parent / "templates" / name):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    return ""


def uses(task: Mapping[str, Any], names: frozenset[str], directory: Path) -> bool:
    """Whether a secret passes through a task."""
    own = task.get("vars") or {}
    names = tainted(own, names)
    if names.intersection(own) or is_tainted(template_of(task, directory), names):
        return True
    module, arguments = module_of(task)
    if module == "slipway_secret" and isinstance(arguments, Mapping) and "fields" in arguments:
        return True
    plain = {key: value for key, value in task.items() if key not in ("vars", *NESTED)}
    conditions = [plain.get(key) for key in EXPRESSIONS] + [
        arguments.get("that") if isinstance(arguments, Mapping) else None
    ]
    return (
        "with_slipway_secret" in task
        or is_tainted(plain, names)
        or any(is_tainted(each, names, expression=True) for each in conditions if each is not None)
    )


def names_of_file(data: Any, names: frozenset[str], directory: Path) -> frozenset[str]:
    """What plays and tasks of a file set, register or declare that has a secret in it."""
    while True:
        more = names
        for item in items_of(data):
            more = (
                tainted(item.get("vars") or {} if isinstance(item.get("vars"), Mapping) else {}, more)
                if "hosts" in item
                else more
            )
            if "hosts" in item or not uses(item, more, directory):
                continue
            module, arguments = module_of(item)
            if module == "set_fact" and isinstance(arguments, Mapping):
                more |= {str(key) for key, value in arguments.items() if key != "cacheable" and is_tainted(value, more)}
            if item.get("register") and not module.startswith("slipway_"):  # ours answer without values
                more |= {str(item["register"])}
        if more == names:
            return names
        names = more


def items_of(data: Any) -> Iterator[Mapping[str, Any]]:
    """Plays and tasks, those in blocks included."""
    for item in data if isinstance(data, list) else []:
        if isinstance(item, Mapping):
            yield item
            for key in NESTED:
                yield from items_of(item.get(key))


def problems(task: Mapping[str, Any], names: frozenset[str], directory: Path) -> list[str]:
    """What is wrong with a task, given which variables have a secret in them."""
    if any(key in task for key in NESTED) or not uses(task, names, directory):
        return []
    found = []
    names = tainted(task.get("vars") or {}, names)
    module, arguments = module_of(task)
    given = {**(arguments if isinstance(arguments, Mapping) else {"_raw": arguments}), **(task.get("args") or {})}
    if is_tainted(task.get("name"), names):
        found.append("its name has a secret in it, which is shown whatever no_log says")
    if is_tainted((task.get("loop_control") or {}).get("label"), names):
        found.append("its loop label has a secret in it")
    if is_tainted(task.get("environment"), names):
        found.append("a secret becomes a variable of its environment; give it by a file or by standard input")
    if module in COMMANDS and is_tainted(
        {key: value for key, value in given.items() if key not in ("stdin", "responses")}, names
    ):
        found.append(
            "a secret becomes a part of a command line, which others can read; give it by a file or by standard input"
        )
    if module == "set_fact" and given.get("cacheable", False) is not False:
        found.append("a fact that is cached is written to a file, also under no_log")
    if module == "debug":
        found.append("it prints a secret")
    if task.get("no_log") is not True:
        found.append("no_log: true is missing")
    if module not in WITHOUT_DIFFERENCE and task.get("diff") is not False:
        found.append("diff: false is missing")
    return found


@cache
def names_of_project(root: Path) -> frozenset[str]:
    """The variables of a project that have a secret in them."""
    variables: dict[str, Any] = {}
    for pattern in PROJECT_FILES:
        for path in sorted(root.glob(pattern)):
            if path.is_file():
                try:
                    read = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
                except (yaml.YAMLError, UnicodeDecodeError):
                    continue
                variables |= read if isinstance(read, dict) else {}
    return tainted(variables, frozenset())


def root_of(path: Path) -> Path:
    """Where the project of a file begins: at its ansible.cfg or repository, else beside the file."""
    return next(
        (each for each in path.parents if (each / "ansible.cfg").exists() or (each / ".git").exists()), path.parent
    )


class _Loader(yaml.SafeLoader):
    """Takes what is encrypted or has another tag for a text."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, node: getattr(node, "value", ""))


class SlipwaySecretsRule(AnsibleLintRule):
    """Where a value of slipway_secret passes, nothing may show it."""

    id = "slipway-secrets"
    description = "A task through which a secret passes has no_log: true and diff: false, and does not put it into a name, label, command line, environment, cached fact or message."
    severity = "VERY_HIGH"
    tags = ["security"]  # noqa: RUF012 - as ansible-lint declares it
    version_changed = "26.0.0"

    def matchtask(self, task: Any, file: Any = None) -> str | bool:
        raw = {key: value for key, value in task.raw_task.items() if not str(key).startswith("__")}
        path = Path(file.path).resolve() if file else Path.cwd() / "play.yml"
        names = names_of_project(root_of(path))
        names = names_of_file(getattr(file, "data", None), names, path.parent)
        return "; ".join(problems(raw, names, path.parent)) or False
