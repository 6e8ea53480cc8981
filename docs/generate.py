# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/reference/ from the source: what a variable, a module or a reason means stands in one place only.

    python docs/generate.py            write
    python docs/generate.py --check    say which pages are out of date, exit code 1

Variables come from the roles' argument_specs, from group_vars, from the playbooks and from the Makefile; the keys of an
application from the classes that read them; modules from their DOCUMENTATION and RETURN; reasons from every `Refusal(…)` in
the source, read as text and not run.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
# How a playbook hands a variable to a module; a path is made whole before, since modules run in another directory.
HANDED_ON = re.compile(
    r"{{ (\w+) \| (?:default\(''\) \| slipway_local_path \| )?default\((.*?)(?:, true)?\)(?: \| expanduser \| realpath)? }}"
)
PATH_IF_ANY = re.compile(r"{{ (\w+) \| expanduser \| realpath if \1 \| default\(''\) else (omit) }}")
GENERATED = "<!-- Written by docs/generate.py (make docs) from the source: change it there. -->"

# What a host or a run answers after something was tried: no refusals, so that the source has no text for them.
FAILURES = {
    "activation_failed": "An activation did not end, and did not say why.",
    "check_failed": "The application's check command failed on the staged release. Nothing was switched.",
    "evidence_incomplete": "`playbooks/evidence.yml` wrote an archive in which something lacks that a proof needs; it names what.",
    "health_failed": "The release did not get healthy after the switch. The host went back, and the release is bad there.",
    "hook_failed": "A hook of the release, or a task of `release_hooks`, failed; the message says which. Before the switch nothing was changed, before the confirmation the host went back, after it the release is kept.",
    "interrupted": "A run died or lost its host before it confirmed; the next one, or `slipway recover`, went back.",
    "interrupted_by_reboot": "The host was restarted before the run had confirmed, and went back before its services started. The release is not bad.",
    "migration_failed": "A migration failed before the switch. Nothing was switched; the reversible ones before it were taken back, and what stays is named.",
    "migration_left": "The rollback was done and is kept, but a migration could not be taken back; docs/runbooks/irreversible-migration.md says what to do.",
    "not_recorded": "Every host ended as asked, but this controller's memory could not note that; the report says why.",
    "not_as_asked": "At least one host did not end as asked; the report names it.",
    "not_confirmed": "Nobody confirmed the release in time, so the host went back by itself. The release is bad there: it may be what cut the host off.",
    "not_intact": "`playbooks/verify.yml` found something that is not as it was signed or witnessed, or a host did not answer; each finding says what to do.",
    "not_ready": "At least one check of `playbooks/check.yml` is a FAIL; the table says which and what to do.",
    "rollback_unverified": "The rollback was done and is kept, but a verification step of the release that was left failed. The record and `release_status_format=full` say which.",
    "rollout_failed": "Another host of the run did not end well, so that this one went back with it.",
    "server_not_up": "The host is well, but its balancer's own check does not find it up: it gets no requests.",
    "smoke_test_failed": "The application did not answer as declared from outside.",
    "switch_failed": "The host could not finish the switch and went back. The release is not to blame, so it is not bad.",
    "taken_back": "The run itself took the release back on this host, without saying more.",
}


def pages(repository: Path = REPOSITORY) -> dict[str, str]:
    """The text of each page of docs/reference/, by file name."""
    return {
        "modules.md": modules_page(repository),
        "reasons.md": reasons_page(repository),
        "variables.md": variables_page(repository),
    }


# What pages share


def described(text: str | Iterable[str]) -> str:
    """Ansible's markup as Markdown, on one line."""
    joined = text if isinstance(text, str) else " ".join(text)
    joined = re.sub(r"\b[COVM]\(((?:[^()]|\([^()]*\))*)\)", r"`\1`", joined)
    return " ".join(joined.split()).replace("|", "\\|")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown_value(value: Any) -> str:
    if isinstance(value, bool):
        text = str(value).lower()
    elif value == "":
        text = '""'
    else:
        text = str(value)
    return f"`{text}`".replace("|", "\\|")


def type_of(option: Mapping[str, Any]) -> str:
    kind = option.get("type", "str")
    elements = f" of {option['elements']}" if "elements" in option else ""
    choices = ": " + ", ".join(f"`{choice}`" for choice in option["choices"]) if "choices" in option else ""
    return f"{kind}{elements}{choices}"


def default_of(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    return shown_value(option["default"]) if "default" in option else "-"


# Modules


@cache
def constants(path: Path) -> dict[str, str]:
    """The string constants of a module's file, such as DOCUMENTATION."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found[getattr(node.targets[0], "id", "")] = node.value.value
    return found


def modules_page(repository: Path) -> str:
    paths = sorted((repository / "library").glob("*.py"))
    parts = [GENERATED, "# Modules", "`ansible-doc -t module <name>` shows the same in a terminal."]
    for path in paths:
        text = constants(path)
        document = yaml.safe_load(text["DOCUMENTATION"])
        returned = yaml.safe_load(text["RETURN"])
        parts += [f"## {path.stem}", f"**{document['short_description']}.**", described(document["description"])]
        parts.append(table(("option", "type", "default", "meaning"), _option_rows(document["options"])))
        attributes = document["attributes"]
        parts.append(f"Check mode: {described(attributes['check_mode'].get('description', 'supported'))}")
        parts.append(
            table(
                ("answer", "type", "when", "meaning"),
                [
                    (f"`{name}`", type_of(value), described(value["returned"]), described(value["description"]))
                    for name, value in returned.items()
                ],
            )
        )
        parts.append(f"```yaml\n{text['EXAMPLES'].strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _option_rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
    for name, option in options.items():
        yield f"`{prefix}{name}`", type_of(option), default_of(option), described(option["description"])
        yield from _option_rows(option.get("suboptions", {}), f"{prefix}{name}[].")


# Variables


def variables_page(repository: Path) -> str:
    parts = [
        GENERATED,
        "# Variables",
        "Set them in `group_vars/<environment>/`, or for one run with `-e`. A variable of the wrong type, or a required one "
        "that is missing, stops a run before anything is done.",
    ]
    for path in sorted((repository / "roles").glob("*/meta/argument_specs.yml")):
        role = path.parts[-3]
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        options: dict[str, Any] = {}
        for entry in entries.values():
            options.update(entry["options"])
        parts.append(f"## Role {role}")
        parts.append("\n".join(f"- `{name}`: {entry['short_description']}." for name, entry in entries.items()))
        parts.append(table(("variable", "type", "default", "meaning"), _option_rows(options)))
    parts += [
        "## Playbooks",
        table(("variable", "playbook", "default", "meaning"), sorted(set(_playbook_rows(repository)))),
        "## Make",
        "Given on the command line, as in `make release-deploy SOURCE=../shop TYPE=hotfix`; `make help` has the targets.",
        table(("variable", "default", "meaning"), _make_rows(repository)),
        "## Set in group_vars/all",
        table(("variable", "value", "meaning"), sorted(_group_rows(repository))),
        "## Set for one environment",
        table(("variable", "environment", "value"), sorted(_environment_rows(repository))),
        "## Keys of an application",
        "What stands under a name in `slipway_applications`. What each means, in an example of all of them: "
        "[your-own-application.md](../howto/your-own-application.md). A dash is: not said.",
        table(("key", "default"), ((f"`{key}`", default) for key, default in application_keys())),
    ]
    return "\n\n".join(parts) + "\n"


def _playbook_rows(repository: Path) -> Iterator[tuple[str, ...]]:
    """Variables that a playbook hands to a module: the option's description is theirs."""
    known = _group_variables(repository)
    for path in sorted((repository / "playbooks").glob("*.yml")):
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            for task in play.get("tasks", []):
                for module in (name for name in task if name.startswith("slipway_")):
                    options = yaml.safe_load(constants(repository / f"library/{module}.py")["DOCUMENTATION"])["options"]
                    for option, value in task[module].items():
                        found = HANDED_ON.fullmatch(str(value)) or PATH_IF_ANY.fullmatch(str(value))
                        if found and found[1] not in known:
                            default = "-" if found[2] == "omit" else shown_value(found[2])
                            meaning = described(options[option]["description"])
                            yield f"`{found[1]}`", f"`playbooks/{path.name}`", default, meaning


def _make_rows(repository: Path) -> Iterator[tuple[str, ...]]:
    """Variables of the Makefile, each explained in a comment of its own: `# NAME  what it is`."""
    text = (repository / "Makefile").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^([A-Z_]+) \?=[ \t]*(.*)$", text, re.MULTILINE))
    for name, meaning in re.findall(r"^# ([A-Z_]+)  +(\S.*)$", text, re.MULTILINE):
        yield f"`{name}`", shown_value(defaults[name]) if defaults[name] else "-", described(meaning)


def _environment_rows(repository: Path) -> Iterator[tuple[str, ...]]:
    for path in sorted((repository / "group_vars").glob("*/*.yml")):
        if path.parent.name != "all":
            for name, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
                yield f"`{name}`", path.parent.name, shown_value(value)


# Whose value is another one when it is not said.
DEFAULTS_IN_WORDS = {
    "user": "the application's name",
    "group": "`user`",
    "strategy": "`restart` with a unit, else `none`",
    "health": "the unit runs",
    "configuration.keys.<KEY>.credential": "the key's name",
    **{
        f"service.{name}": f"`application_{name}`"
        for name in ("memory_max", "cpu_quota", "tasks_max", "stop_timeout_seconds")
    },
}


def application_keys() -> Iterator[tuple[str, str]]:
    """Every key that an application may say and its default, from the code that reads it."""
    if str(REPOSITORY / "module_utils") not in sys.path:
        sys.path.append(str(REPOSITORY / "module_utils"))
    application, configuration, preflight, unit = (
        importlib.import_module(f"slipway.application.{name}")
        for name in ("description", "configuration", "preflight", "unit")
    )
    patience = [field.name for field in dataclasses.fields(application.Patience)]
    probe = [field.name for field in dataclasses.fields(application.Probe)]
    sections: tuple[tuple[str, Iterable[str], type], ...] = (
        ("", application.KEYS, application.Application),
        ("check.", ("argv", "timeout_seconds"), application.Check),
        ("health[].", probe, application.Probe),
        ("health_patience.", patience, application.Patience),
        ("smoke[].", probe, application.Probe),
        ("smoke_patience.", patience, application.Patience),
        ("files[].", ("source", "path", "owner", "group", "mode"), application.ReplacedFile),
        ("service.", unit.KEYS, unit.UnitDescription),
        ("configuration.", ("files", "keys"), configuration.Configuration),
        ("configuration.keys.<KEY>.", configuration.KEYS_OF_KEY, configuration.Key),
        ("preflight.", preflight.KEYS, preflight.Preflight),
        ("preflight.database.", ("url_key",), preflight.Preflight),
    )
    for prefix, keys, reader in sections:
        fields = {each.name: each for each in dataclasses.fields(reader)}
        for key in keys:
            yield prefix + key, DEFAULTS_IN_WORDS.get(prefix + key) or _default_of_field(key, fields.get(key))


def _default_of_field(key: str, declared: dataclasses.Field[Any] | None) -> str:
    if declared is None or declared.default_factory is not dataclasses.MISSING:
        return "-"
    if declared.default is dataclasses.MISSING:
        return "required"
    if key == "mode":
        return f'`"{declared.default:04o}"`'
    is_said = declared.default or declared.default is False
    return shown_value(declared.default) if is_said else "-"


def _group_variables(repository: Path) -> dict[str, tuple[str, str]]:
    """Each variable of group_vars/all with its value as it is written, and the comment above it."""
    found = {}
    for path in sorted((repository / "group_vars/all").glob("*.yml")):
        comment: list[str] = []
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.startswith("#"):
                comment.append(line.lstrip("# "))
                continue
            if setting := re.match(r"(\w+):\s*(.*)", line):
                value = re.sub(r"\s+# .*", "", setting[2])
                found[setting[1]] = (value or f"see group_vars/all/{path.name}", " ".join(comment))
            comment = []
    return found


def _group_rows(repository: Path) -> Iterator[tuple[str, ...]]:
    for name, (value, comment) in _group_variables(repository).items():
        yield f"`{name}`", value if value.startswith("see ") else shown_value(value.strip('"')), described(comment)


# Reasons


@dataclass(frozen=True)
class Scope:
    """A function of the source: its file, its class if it is a method, and the names of its parameters."""

    path: Path
    tree: ast.Module
    function: ast.FunctionDef | None = None
    class_name: str | None = None

    @property
    def parameters(self) -> list[str]:
        if self.function is None:
            return []
        arguments = self.function.args
        return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]

    @property
    def defaults(self) -> dict[str, ast.expr]:
        if self.function is None:
            return {}
        arguments = self.function.args
        positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
        found = {each.arg: value for each, value in zip(positional, arguments.defaults, strict=True)}
        keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        return found | {each.arg: value for each, value in keyword if value is not None}


@dataclass(frozen=True)
class Sentence:
    """One way in which a reason is said."""

    expected: str
    found: str
    remedy: str


@dataclass
class Reason:
    code: str
    files: set[str] = field(default_factory=set)
    sentences: list[Sentence] = field(default_factory=list)


def reasons(repository: Path = REPOSITORY) -> dict[str, Reason]:
    """Every reason of a Refusal in the source, with its sentences; what only a run knows is in *italics*."""
    return Source(repository).reasons()


class Source:
    """All calls of the source, by the name that is called, each with the function around it."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.calls: dict[str, list[tuple[ast.Call, Scope]]] = {}
        directories = ("module_utils/slipway", "action_plugins", "filter_plugins", "library")
        for path in sorted(path for directory in directories for path in (repository / directory).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            self._collect(tree, Scope(path, tree))

    def _collect(self, node: ast.AST, scope: Scope) -> None:
        for child in ast.iter_child_nodes(node):
            inner = scope
            if isinstance(child, ast.ClassDef):
                inner = Scope(scope.path, scope.tree, None, child.name)
            elif isinstance(child, ast.FunctionDef):
                inner = Scope(scope.path, scope.tree, child, scope.class_name)
            elif isinstance(child, ast.Call):
                name = getattr(child.func, "id", None) or getattr(child.func, "attr", "")
                self.calls.setdefault(name, []).append((child, scope))
            self._collect(child, inner)

    def reasons(self) -> dict[str, Reason]:
        found: dict[str, Reason] = {}
        for call, scope in self.calls["Refusal"]:
            if scope.path.name == "errors.py" or not call.args:
                continue
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            for known in self.environments(call.args[0], scope):
                text = Text(scope, known)
                parts = [" / ".join(text.alternatives(keywords[part])) for part in ("expected", "found", "remedy")]
                for code in text.alternatives(call.args[0]):
                    if re.fullmatch("[a-z][a-z0-9_]*", code):
                        reason = found.setdefault(code, Reason(code))
                        reason.files.add(str(scope.path.relative_to(self.repository)))
                        if Sentence(*parts) not in reason.sentences:
                            reason.sentences.append(Sentence(*parts))
        return dict(sorted(found.items()))

    def environments(self, expression: ast.expr, scope: Scope, depth: int = 0) -> list[dict[str, str]]:
        """What the parameters of the function around `expression` are at each of its calls, where it depends on them."""
        names = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
        attributes = {node.attr for node in ast.walk(expression) if ast.unparse(node) == "self.reason"}
        if attributes and scope.class_name:
            return self._constructed(scope.class_name)
        wanted = names & set(scope.parameters)
        if not wanted or depth > 5 or scope.function is None:
            return [{}]
        found = []
        for call, caller in self.calls.get(scope.function.name, []):
            if scope.function.name.startswith("_") and caller.path != scope.path:
                continue
            arguments = self._arguments(call, scope)
            outer: list[dict[str, str]] = [{}]
            for name in wanted & arguments.keys():
                outer = self.environments(arguments[name], caller, depth + 1)
            for known in outer:
                text = Text(caller, known)
                found.append({name: " / ".join(text.alternatives(value)) for name, value in arguments.items()})
        return found

    @staticmethod
    def _arguments(call: ast.Call, scope: Scope) -> dict[str, ast.expr]:
        parameters = [name for name in scope.parameters if name not in ("self", "cls")]
        given = dict(zip(parameters, call.args, strict=False))
        return {**scope.defaults, **given, **{each.arg: each.value for each in call.keywords if each.arg}}

    def _constructed(self, class_name: str) -> list[dict[str, str]]:
        """What `self.…` is for each way in which the class is constructed, outside of it."""
        found = []
        for call, caller in self.calls.get(class_name, []):
            if caller.class_name == class_name:
                continue
            names = ("value", "where", "reason", "remedy")
            text = Text(caller, {})
            given = {name: text.alternatives(value)[0] for name, value in zip(names, call.args, strict=False)}
            known = {f"self.{name}": value for name, value in given.items()}
            if re.fullmatch("[a-z][a-z0-9_]*", given["reason"]):
                found.append(
                    {"self.remedy": "Make the document again with a Slipway release that knows this format.", **known}
                )
        return found


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


class Text:
    """Expressions of one function as text, with what is known of its parameters."""

    def __init__(self, scope: Scope, known: Mapping[str, str]) -> None:
        self.scope = scope
        self.known = known

    def alternatives(self, node: ast.expr) -> list[str]:
        """Each text that the expression can be."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.IfExp():
                return self.alternatives(node.body) + self.alternatives(node.orelse)
            case ast.BoolOp(op=ast.Or()):
                return [text for value in node.values for text in self.alternatives(value)]
            case ast.JoinedStr():
                return ["".join(parts) for parts in product(*(self._piece(value) for value in node.values))][:4]
            case ast.BinOp(op=ast.Add()):
                sides = product(self.alternatives(node.left), self.alternatives(node.right))
                return [left + right for left, right in sides][:4]
            case ast.Call(func=ast.Name(id="_code")):
                return [text.replace(" ", "_") for text in self.alternatives(node.args[0])]
        if (name := ast.unparse(node)) in self.known:
            return [self.known[name]]
        if isinstance(node, ast.Name) and (value := self._assigned(node.id)) is not None:
            return Text(self.scope, {**self.known, node.id: f"*{node.id}*"}).alternatives(value)
        return [f"*{self._placeholder(node)}*"]

    def _piece(self, node: ast.expr) -> list[str]:
        return self.alternatives(node.value) if isinstance(node, ast.FormattedValue) else self.alternatives(node)

    def _assigned(self, name: str) -> ast.expr | None:
        """The text that a variable of the function, or a constant of the module, is set to, if it is one text."""
        local = [] if self.scope.function is None else list(ast.walk(self.scope.function))
        for nodes in (local, self.scope.tree.body):
            set_to = [node for node in nodes if isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node)]
            if set_to:
                value = set_to[0].value
                is_text = isinstance(value, ast.JoinedStr | ast.IfExp) or isinstance(getattr(value, "value", None), str)
                return value if len(set_to) == 1 and is_text else None
        return None

    def _placeholder(self, node: ast.expr) -> str:
        """A short name for what only a run knows."""
        match node:
            case ast.Name(id=name):
                return name.strip("_").lower().replace("_", " ")
            case ast.Attribute(attr=name):
                return name.strip("_").lower().replace("_", " ")
            case ast.Call(func=ast.Attribute(attr="join" | "get"), args=[first, *_]):
                return self._placeholder(first)
            case ast.Call(func=ast.Attribute(value=value)) if not node.args:
                return self._placeholder(value)
            case ast.Call(args=[first, *_]):
                return self._placeholder(first)
            case ast.GeneratorExp(elt=element) | ast.ListComp(elt=element):
                return self._placeholder(element)
            case ast.Subscript(slice=ast.Constant(value=str(key))):
                return key.replace("_", " ")
            case ast.Subscript(value=value) | ast.Starred(value=value) | ast.FormattedValue(value=value):
                return self._placeholder(value)
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=values):
                return "".join(self._placeholder(value) for value in values)
        return "…"


def failures(repository: Path = REPOSITORY) -> set[str]:
    """The reasons that the source gives otherwise than by a Refusal: in answers, in records, and in tasks."""
    found: set[str] = set()
    for path in (*(repository / "module_utils/slipway").rglob("*.py"), *(repository / "action_plugins").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Dict():
                    pairs = zip(node.keys, node.values, strict=True)
                    values = [value for key, value in pairs if getattr(key, "value", None) == "reason"]
                case ast.Call():
                    values = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=given)):
                    pairs = zip(targets, given, strict=True)
                    values = [value for target, value in pairs if getattr(target, "id", "") == "reason"]
                case _:
                    continue
            found |= {value.value for value in values if isinstance(value, ast.Constant) and value.value}
    for path in (repository / "roles").glob("*/tasks/*.yml"):
        found |= set(
            re.findall(
                r"^ +(?:__release_)?reason: (?:.*default\('|)(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE
            )
        )
    module = yaml.safe_load(constants(repository / "library/slipway_release.py")["DOCUMENTATION"])
    return found | {module["options"]["reason"]["default"]}


def reasons_page(repository: Path) -> str:
    parts = [
        GENERATED,
        "# Reason codes",
        "Every refusal has a code that stays, says what was expected, what was found and what to do, and has changed "
        "nothing. It is `reason` in a module's answer. What depends on the case is in *italics*.",
        "## When something was tried and did not work",
        table(("reason", "meaning"), ((f"`{code}`", text) for code, text in sorted(FAILURES.items()))),
        "## Refusals",
    ]
    for reason in reasons(repository).values():
        files = ", ".join(f"`{name}`" for name in sorted(reason.files))
        lines = [
            f"- expected {_escaped(each.expected)}; found {_escaped(each.found)}. **{_escaped(each.remedy)}**"
            for each in reason.sentences
        ]
        parts += [f"### {reason.code}", "\n".join(lines), f"From {files}."]
    parts += [
        "## What differs in an altered release",
        "`release_altered` names each file with one of these codes.",
        table(("code", "meaning"), ((f"`{code}`", text) for code, text in differences().items())),
    ]
    return "\n\n".join(parts) + "\n"


def differences() -> Mapping[str, str]:
    """The codes of tree.DIFFERENCES and what each means."""
    if str(REPOSITORY / "module_utils") not in sys.path:
        sys.path.append(str(REPOSITORY / "module_utils"))
    found: Mapping[str, str] = importlib.import_module("slipway.trust.tree").DIFFERENCES
    return found


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def main(arguments: list[str]) -> int:
    """Write the pages; with --check only compare them."""
    outdated = []
    directory = REPOSITORY / "docs/reference"
    for name, text in pages().items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            outdated.append(name)
            if "--check" not in arguments:
                directory.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if outdated:
        print(f"{'out of date' if '--check' in arguments else 'written'}: {', '.join(outdated)}")
    return int(bool(outdated) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
