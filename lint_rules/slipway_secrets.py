# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule for ansible-lint: where a value of slipway_secret passes, nothing may show it.

A value passes where the lookup stands, and where a variable stands whose value has the lookup in it: in group_vars, host_vars, defaults and vars of the
project, in plays and their vars_files, or registered or set by another task of the same file. Templates are read as Jinja reads them. It cannot see a
variable that comes from -e or whose name is put together, nor what a role does with a variable that somebody else gives it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansiblelint.rules import AnsibleLintRule
from jinja2 import Environment, TemplateSyntaxError, nodes

JINJA = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)
LOOKUPS = ("lookup", "query", "q")
# Variables that hold all others: vars['a'], and hostvars[host]['a'].
OF_ALL = {"vars": 1, "hostvars": 2}
# Keywords whose value is an expression without braces; `that` and `var` are options of modules.
EXPRESSIONS = ("when", "until", "changed_when", "failed_when")
EXPRESSION_OPTIONS = {"assert": "that", "debug": "var"}
# What becomes a command line, which every user of a host can read.
COMMANDS = ("command", "shell", "raw", "script", "expect", "win_command", "win_shell")
COMMAND_OPTIONS = {"git": "repo", "hg": "repo", "subversion": "repo"}
# What has no difference to show.
WITHOUT_DIFFERENCE = (
    "add_host", "assert", "debug", "fail", "group_by", "meta", "pause", "set_fact", "set_stats", "uri", "wait_for", "slipway_secret",
)  # fmt: skip
INCLUDES = ("import_playbook", "import_role", "import_tasks", "include_role", "include_tasks", "include_vars")
NESTED = ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers")
NOT_ARGUMENTS = (
    "name", "vars", "register", "when", "loop_control", "notify", "tags", "no_log", "diff", "become", "become_user", "delegate_to", "run_once", "until",
    "retries", "delay", "changed_when", "failed_when", "check_mode", "environment", "args", "async", "poll", "ignore_errors", "listen", "throttle",
    "timeout", "any_errors_fatal", "ignore_unreachable", "become_method", "connection", "delegate_facts", "loop", "module_defaults", "collections",
)  # fmt: skip
PROJECT_DIRECTORIES = ("group_vars", "host_vars", "defaults", "vars")
NOT_OF_THE_PROJECT = (".git", ".venv", "node_modules", "collections", ".slipway")
IN_ENVIRONMENT = "a secret becomes a variable of its environment; give it by a file or by standard input"
IN_COMMAND = "a secret becomes a part of a command line, which others can read; give it by a file or by standard input"

Keys = tuple[str, ...]  # of keys: settings.db['password'] is ("settings", "db", "password")
Paths = frozenset[Keys]


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


def is_tainted(value: Any, tainted: Paths, *, expression: bool = False, directory: Path | None = None) -> bool:
    """Whether a value has a secret in it once its templates are filled in; templates that lookups name are looked for in the directory."""
    return any(_is_tainted_text(text, tainted, expression, directory) for text in texts(value))


def _is_tainted_text(text: str, tainted: Paths, expression: bool, directory: Path | None) -> bool:
    if not expression and "{{" not in text and "{%" not in text:
        return False
    try:
        parsed = _parsed("{{ (" + text + ") }}" if expression else text)
    except TemplateSyntaxError:  # what cannot be read may be anything
        return bool({path[0] for path in tainted}.intersection(re.findall(r"\w+", text)))
    return _is_tainted_node(parsed, tainted, directory)


@cache
def _parsed(text: str) -> nodes.Template:
    return JINJA.parse(text)


def _is_tainted_node(node: nodes.Node, tainted: Paths, directory: Path | None) -> bool:
    if isinstance(node, nodes.Test) and node.name in ("defined", "undefined"):
        return False
    if isinstance(node, nodes.Call) and _is_tainted_lookup(node, tainted, directory):
        return True
    if isinstance(node, (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)) and directory is not None:
        name = _constant(node.template)
        if isinstance(name, str) and _is_tainted_file(name, tainted, directory):
            return True
    if isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)) and (path := _path(node)):
        levels = OF_ALL.get(path[0])
        path = path[levels:] if levels else path
        return bool(path) and any(path[: len(each)] == each or each[: len(path)] == path for each in tainted)
    return any(_is_tainted_node(child, tainted, directory) for child in node.iter_child_nodes())


def _path(node: nodes.Node) -> Keys:
    """The keys of a.b['c'], as far as they are known; () where it begins with something else than a name."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr) and (path := _path(node.node)):
        return (*path, node.attr)
    if isinstance(node, nodes.Getitem) and (path := _path(node.node)):
        key = _constant(node.arg)
        levels = OF_ALL.get(path[0], 0)
        return (*path, key if isinstance(key, str) else "*") if isinstance(key, str) or len(path) < levels else path
    return ()


def _constant(node: nodes.Node) -> Any:
    try:
        return node.as_const() if isinstance(node, nodes.Expr) else None
    except nodes.Impossible:
        return None


def _is_tainted_lookup(call: nodes.Call, tainted: Paths, directory: Path | None) -> bool:
    if not (isinstance(call.node, nodes.Name) and call.node.name in LOOKUPS and call.args):
        return False
    plugin, *terms = [_constant(each) for each in call.args]
    kind = plugin.rpartition(".")[2] if isinstance(plugin, str) else ""
    words = [each for each in terms if isinstance(each, str)]
    if kind in ("vars", "varnames"):
        return any(path[0] == word for path in tainted for word in words)
    if kind == "template" and directory is not None:
        return any(_is_tainted_file(word, tainted, directory) for word in words)
    return kind == "slipway_secret"


def _is_tainted_file(name: str, tainted: Paths, directory: Path) -> bool:
    """Whether a template, or one that it includes, has a secret in it; False where it is not found."""
    for path in (directory / name, directory / "templates" / name, directory.parent / "templates" / name):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            return _is_tainted_text(text, tainted, expression=False, directory=path.parent)
    return False


def tainted_by(variables: Any, tainted: Paths, prefix: Keys = ()) -> Paths:
    """The paths of those variables that have a secret in them, with those that were known."""
    while True:
        more = tainted
        for name, value in variables.items() if isinstance(variables, Mapping) else ():
            more |= _paths((*prefix, str(name)), value, more)
        if more == tainted:
            return tainted
        tainted = more


def _paths(path: Keys, value: Any, tainted: Paths) -> Paths:
    if isinstance(value, Mapping):
        return frozenset().union(*(_paths((*path, str(key)), each, tainted) for key, each in value.items()))
    return frozenset({path}) if is_tainted(value, tainted) else frozenset()


def module_of(task: Mapping[str, Any]) -> tuple[str, Any]:
    """The module that a task runs, by its last word, and its arguments: a mapping, or a text where they were written as one."""
    for key, value in task.items():
        if key in NOT_ARGUMENTS or str(key).startswith(("with_", "__", "skipped")) or key in NESTED:
            continue
        if key in ("action", "local_action"):
            if isinstance(value, Mapping):
                given = {name: each for name, each in value.items() if name != "module"}
                return str(value.get("module", "")).rpartition(".")[2], given
            word, _space, rest = str(value).partition(" ")
            return word.rpartition(".")[2], rest
        return str(key).rpartition(".")[2], value
    return "", None


def templates_of(task: Mapping[str, Any]) -> list[str]:
    """The files that a task fills in, as far as their names stand in it: in its options, or in the list over which it loops."""
    module, arguments = module_of(task)
    if module != "template":
        return []
    if isinstance(arguments, str):
        return re.findall(r"""\bsrc=['"]?([^\s'"]+)""", arguments)
    name = arguments.get("src") if isinstance(arguments, Mapping) else None
    if isinstance(name, str) and "{{" in name:
        loops = (task.get("loop"), *(value for key, value in task.items() if str(key).startswith("with_")))
        return [each for loop in loops for each in texts(loop)]
    return [name] if isinstance(name, str) else []


def uses(task: Mapping[str, Any], tainted: Paths, directory: Path) -> bool:
    """Whether a secret passes through a task."""
    module, arguments = module_of(task)
    own = {} if module in INCLUDES else task.get("vars") or {}  # what is handed on is shown by nobody
    known = tainted_by(own, tainted)
    if known != tainted or any(_is_tainted_file(name, known, directory) for name in templates_of(task)):
        return True
    if module == "slipway_secret" and isinstance(arguments, Mapping) and "fields" in arguments:
        return True
    plain = {key: value for key, value in task.items() if key not in ("vars", *NESTED)}
    conditions = [plain.get(key) for key in EXPRESSIONS]
    if module in EXPRESSION_OPTIONS and isinstance(arguments, Mapping):
        conditions.append(arguments.get(EXPRESSION_OPTIONS[module]))
    return (
        "with_slipway_secret" in task
        or is_tainted(plain, known, directory=directory)
        or any(is_tainted(each, known, expression=True) for each in conditions if each is not None)
    )


def tainted_in_file(data: Any, tainted: Paths, directory: Path) -> Paths:
    """What plays and tasks of a file set, register or declare that has a secret in it, with what was known."""
    while True:
        more = tainted
        for item in items_of(data):
            if "hosts" in item:
                more = tainted_by(item.get("vars"), more)
                for name in texts(item.get("vars_files") or []):
                    more = tainted_by(_read(directory / name), more)
                continue
            if any(key in item for key in NESTED) or not uses(item, more, directory):
                continue
            module, arguments = module_of(item)
            if module == "set_fact" and isinstance(arguments, Mapping):
                more |= tainted_by({key: value for key, value in arguments.items() if key != "cacheable"}, more)
            if item.get("register") and not module.startswith("slipway_"):  # ours answer without values
                more |= {(str(item["register"]),)}
        if more == tainted:
            return tainted
        tainted = more


def items_of(data: Any) -> Iterator[Mapping[str, Any]]:
    """Plays and tasks, those in blocks included."""
    for item in data if isinstance(data, list) else []:
        if isinstance(item, Mapping):
            yield item
            for key in NESTED:
                yield from items_of(item.get(key))


def around(data: Any, position: str) -> list[Mapping[str, Any]]:
    """The blocks and the play around a task, outermost first; its position is ansible-lint's, such as `.[0].tasks[2].block[0]`."""
    found: list[Mapping[str, Any]] = []
    for key, number in re.findall(r"(\w*)\.?\[(\d+)\]", position):
        items = data.get(key) if key and isinstance(data, Mapping) else data
        if not isinstance(items, list) or int(number) >= len(items):
            return found[:-1] if found else []
        data = items[int(number)]
        if isinstance(data, Mapping):
            found.append(data)
    return found[:-1]


def problems(task: Mapping[str, Any], tainted: Paths, directory: Path) -> list[str]:
    """What is wrong with a task, given which variables have a secret in them."""
    if any(key in task for key in NESTED):
        return [IN_ENVIRONMENT] if is_tainted(task.get("environment"), tainted) else []
    if not uses(task, tainted, directory):
        return []
    found = []
    tainted = tainted_by(task.get("vars"), tainted)
    module, arguments = module_of(task)
    given = {**(arguments if isinstance(arguments, Mapping) else {"_raw": arguments}), **(task.get("args") or {})}
    if is_tainted(task.get("name"), tainted):
        found.append("its name has a secret in it, which is shown whatever no_log says")
    if is_tainted((task.get("loop_control") or {}).get("label"), tainted):
        found.append("its loop label has a secret in it")
    if is_tainted(task.get("environment"), tainted):
        found.append(IN_ENVIRONMENT)
    words = {key: value for key, value in given.items() if key not in ("stdin", "responses")}
    if is_tainted(words if module in COMMANDS else given.get(COMMAND_OPTIONS.get(module, "")), tainted):
        found.append(IN_COMMAND)
    if module == "set_fact" and given.get("cacheable", False) is not False:
        found.append("a fact that is cached is written to a file, also under no_log")
    if module == "set_stats":
        found.append("what set_stats keeps is printed, and written to artifacts, also under no_log")
    if module == "group_by":
        found.append("a secret becomes the name of a group")
    if module == "debug":
        found.append("it prints a secret")
    if task.get("no_log") is not True:
        found.append("no_log: true is missing")
    if module not in (*WITHOUT_DIFFERENCE, *INCLUDES) and task.get("diff") is not False:
        found.append("diff: false is missing")
    return found


def _read(path: Path) -> Mapping[str, Any]:
    """The variables of a file; none where it has none."""
    try:
        read = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    return read if isinstance(read, Mapping) else {}


@cache
def tainted_in_project(root: Path) -> Paths:
    """The variables of a project that have a secret in them."""
    variables: dict[str, list[Any]] = {}
    for walked, names, files in os.walk(root):
        directory = Path(walked)
        names[:] = sorted(name for name in names if name not in NOT_OF_THE_PROJECT)
        if set(PROJECT_DIRECTORIES).intersection(directory.relative_to(root).parts):
            for file in sorted(files):
                for name, value in _read(directory / file).items():
                    variables.setdefault(str(name), []).append(value)
    tainted: Paths = frozenset()
    while True:
        more = tainted
        for name, values in variables.items():
            for value in values:
                more |= tainted_by({name: value}, more)
        if more == tainted:
            return tainted
        tainted = more


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

    def matchplay(self, file: Any, data: Any) -> list[Any]:
        if not isinstance(data, Mapping) or "hosts" not in data:
            return []
        tainted, _directory = self._known(file)
        if not is_tainted(data.get("environment"), tainted):
            return []
        return [self.create_matcherror(message=f"play: {IN_ENVIRONMENT}", filename=file, data=data)]

    def matchtask(self, task: Any, file: Any = None) -> str | bool:
        raw = {key: value for key, value in task.raw_task.items() if not str(key).startswith("__")}
        tainted, directory = self._known(file)
        inherited: dict[str, Any] = {}
        for outer in around(getattr(file, "data", None), task.position):
            tainted = tainted_by(outer.get("vars"), tainted)
            inherited |= {key: outer[key] for key in ("no_log", "diff") if key in outer}
        return "; ".join(problems({**inherited, **raw}, tainted, directory)) or False

    def _known(self, file: Any) -> tuple[Paths, Path]:
        path = Path(file.path).resolve() if file else Path.cwd() / "play.yml"
        return tainted_in_file(getattr(file, "data", None), tainted_in_project(root_of(path)), path.parent), path.parent
