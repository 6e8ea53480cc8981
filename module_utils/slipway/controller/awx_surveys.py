# SPDX-License-Identifier: GPL-3.0-or-later
"""What the surveys of job templates may ask: variables that the template's playbook takes, as the argument specs have them.

A variable is taken by a playbook when it is an option of a role that the playbook runs, or stands in what the playbook gives to an option of a
module or to a variable of a role; type and choices are those of the option. So a survey cannot offer what a run would refuse.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeGuard

from ..base.errors import shown
from ..trust.authorization import MAX_AUTHORIZATION_BYTES
from ..trust.members import parse_yaml
from .job_launch import KEY_VARIABLE

TEXT, TEXTAREA, INTEGER, ONE_OF, SOME_OF = "text", "textarea", "integer", "multiplechoice", "multiselect"
KEYS: Final = frozenset(
    {"variable", "question_name", "question_description", "required", "type", "min", "max", "choices", "default"}
)
VARIABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
# AWX has no bound of its own. 1024 is what its screens begin with; a textarea may have to hold a signed file.
MAX_TEXT: Final = {TEXT: 1024, TEXTAREA: MAX_AUTHORIZATION_BYTES}
LINE: Final = re.compile(r"[^\x00-\x1f\x7f{}]{1,255}\Z")
SWITCHES: Final = frozenset({"true", "false"})
# What every playbook that deals with an application takes (group_vars/all/slipway.yml), and what none looks at: whoever launched it does.
PRODUCT: Final[Mapping[str, Mapping[str, Any]]] = {"application": {"type": "str"}, KEY_VARIABLE: {"type": "str"}}
# What the first tasks of a role's entry judge of the run itself, before anything else (roles/release/tasks/inspect.yml).
REVISION_VARIABLE: Final = "slipway_project_revision"
JUDGED_FIRST: Final[Mapping[tuple[str, str], Mapping[str, Mapping[str, Any]]]] = {
    ("release", "stage"): {REVISION_VARIABLE: {"type": "str"}},
    ("release", "plan_rollback"): {REVISION_VARIABLE: {"type": "str"}},
}
ROLE_KEYWORDS: Final = ("ansible.builtin.import_role", "ansible.builtin.include_role")
NESTED: Final = ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always")
TEMPLATED: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)
WORD: Final = re.compile(r"(?<![\w.'\"])[a-z][a-z0-9_]*(?![\w(])")


@dataclass(frozen=True)
class Surveys:
    """The questions by variable, and what playbooks of ``root`` take."""

    root: Path
    mistakes: list[str]
    questions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def parse(cls, items: Iterable[Mapping[str, Any]], root: Path, mistakes: list[str]) -> Surveys:
        """``mistakes`` gets what is wrong; the questions are those that nothing is wrong with."""
        questions = {}
        for item in items:
            wrong = _wrong(item)
            mistakes += [f"survey_questions: {item.get('variable')}: {each}" for each in wrong]
            if not wrong:
                questions[item["variable"]] = item
        return cls(root, mistakes, questions)

    def spec(self, where: str, asked: Any, playbooks: Iterable[str]) -> dict[str, Any]:
        """AWX's survey_spec of a list of variables or mappings with one, for what any of the playbooks takes; empty where nothing is asked."""
        if not isinstance(asked, list):
            self.mistakes.append(f"{where}: survey: expected a list, found {shown(asked)}")
            return {}
        taken: dict[str, Mapping[str, Any]] = {}
        for playbook in playbooks:
            taken.update(variables_of(self.root, playbook))
        questions, seen = [], set()
        for each in asked:
            own = each if isinstance(each, dict) else {"variable": each}
            variable = own.get("variable")
            if not isinstance(variable, str) or variable not in self.questions or variable in seen:
                self.mistakes.append(
                    f"{where}: survey: expected questions of survey_questions, each once, found {shown(variable)}"
                )
                continue
            seen.add(variable)
            question = {**self.questions[variable], **own}
            wrong = [*_wrong(question), *_beyond(question, taken)]
            self.mistakes.extend(f"{where}: survey: {variable}: {each}" for each in wrong)
            questions.append(_question(question))
        return {"name": "", "description": "", "spec": questions} if questions else {}


def _question(question: Mapping[str, Any]) -> dict[str, Any]:
    """As AWX keeps it, with every key that its screens write."""
    kind = question["type"]
    default = question.get("default")
    return {
        "question_name": question["question_name"], "question_description": question.get("question_description", ""),
        "required": question.get("required", False), "type": kind, "variable": question["variable"],
        "min": question.get("min", 0), "max": question.get("max", MAX_TEXT[TEXT]), "default": "" if default is None else default,
        "choices": "\n".join(question.get("choices", [])),
    }  # fmt: skip


def _wrong(question: Mapping[str, Any]) -> list[str]:
    """What is wrong with a question by itself."""
    wrong = [f"{key} is no key of a question" for key in sorted(map(str, question.keys() - KEYS))]
    variable, kind, default = question.get("variable"), question.get("type"), question.get("default")
    if not isinstance(variable, str) or not VARIABLE.match(variable):
        wrong.append(f"expected a variable like {VARIABLE.pattern}, found {shown(variable)}")
    if kind not in (TEXT, TEXTAREA, INTEGER, ONE_OF, SOME_OF):  # a password would be an extra variable, which jobs show
        wrong.append(f"type: expected text, textarea, integer, multiplechoice or multiselect, found {shown(kind)}")
    for key in ("question_name", "question_description"):
        if (value := question.get(key, None if key == "question_name" else "-")) and (
            not isinstance(value, str) or not LINE.match(value)
        ):
            wrong.append(f"{key}: expected one line without braces, found {shown(value)}")
    if not question.get("question_name"):
        wrong.append("question_name is missing")
    if not isinstance(question.get("required", False), bool):
        wrong.append(f"required: expected true or false, found {shown(question['required'])}")
    choices = question.get("choices", [])
    if not isinstance(choices, list) or not all(isinstance(each, str) and LINE.match(each) for each in choices):
        wrong.append(f"choices: expected a list of texts without braces, found {shown(choices)}")
    elif (kind in (ONE_OF, SOME_OF)) != bool(choices):
        wrong.append("expected choices with multiplechoice and multiselect, and only there")
    elif kind == SOME_OF and default is not None:  # AWX keeps it as a text, which is no list
        wrong.append(
            f"default: expected none, since AWX drops it where nobody answers; say it in extra_vars of the template, found {shown(default)}"
        )
    elif choices and default is not None and default not in choices:
        wrong.append(f"default: expected one of {', '.join(choices)}, found {shown(default)}")
    return [*wrong, *_wrong_bounds(question)]


def _wrong_bounds(question: Mapping[str, Any]) -> list[str]:
    """What is wrong with the bounds of a number or of a text's length, and with a default inside of them."""
    kind, default, low, high = (
        question.get("type"),
        question.get("default"),
        question.get("min", 0),
        question.get("max"),
    )
    if kind not in (TEXT, TEXTAREA, INTEGER):
        return []
    most = MAX_TEXT.get(str(kind), MAX_TEXT[TEXT])
    if not _is_whole(low) or not _is_whole(high) or low > high or (kind != INTEGER and not 0 < high <= most):
        return [
            f"expected bounds, min and max, of a text at most {most} characters, found {shown(low)} and {shown(high)}"
        ]
    if default is None:
        return []
    if kind == INTEGER:
        fits = _is_whole(default) and low <= default <= high
        return [] if fits else [f"default: expected a whole number from {low} to {high}, found {shown(default)}"]
    fits = isinstance(default, str) and "{" not in default and low <= len(default) <= high
    return (
        []
        if fits
        else [f"default: expected a text that is no template, of {low} to {high} characters, found {shown(default)}"]
    )


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _beyond(question: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Where a question goes beyond what the playbook takes."""
    spec = known.get(str(question["variable"]))
    if spec is None:
        yield "no role or module of the playbook takes it, nor does every playbook (PRODUCT in controller/awx_surveys.py)"
        return
    kind, choices, type_ = question.get("type"), set(question.get("choices", [])), spec.get("type", "str")
    allowed = {"bool": {ONE_OF}, "int": {INTEGER}, "list": {TEXT, SOME_OF}, "path": {TEXT}}.get(
        type_, {TEXT, TEXTAREA, ONE_OF}
    )
    if type_ in ("dict", "raw"):
        yield f"no survey can ask for a {type_}"
    elif spec.get("choices") and (kind != ONE_OF or choices != set(map(str, spec["choices"]))):
        yield f"expected the choices {', '.join(map(str, spec['choices']))}, found {', '.join(sorted(choices)) or 'none'}"
    elif kind not in allowed:
        yield f"expected the type {' or '.join(sorted(allowed))} for a {type_}, found {kind}"
    elif type_ == "bool" and choices != SWITCHES:
        yield f"expected the choices true and false, found {', '.join(sorted(choices))}"


@cache
def variables_of(root: Path, playbook: str) -> dict[str, Mapping[str, Any]]:
    """{variable: argument spec of the option that takes it} of a playbook below ``root``."""
    found: dict[str, Mapping[str, Any]] = dict(PRODUCT)
    for play in _mappings(_loaded(root / playbook)):
        for role in play.get("roles", []):
            found.update(_role(root, role["role"] if isinstance(role, dict) else role, "main"))
        for task in _tasks(play):
            for keyword in ROLE_KEYWORDS:
                if keyword in task:
                    about = task[keyword]
                    entry = about.get("tasks_from", "main")
                    options = _role(root, about["name"], entry)
                    found.update(options)
                    found.update(JUDGED_FIRST.get((about["name"], entry), {}))
                    for option, text in (task.get("vars") or {}).items():
                        if option in options:
                            found.update(dict.fromkeys(_words(text), options[option]))
            module = next((key for key in task if (root / "library" / f"{key}.py").is_file()), None)
            if module and isinstance(task[module], dict):
                options = _module(root, module)
                for option, text in task[module].items():
                    found.update(dict.fromkeys(_words(text), options.get(option, {})))
    return found


def _loaded(path: Path) -> Any:
    return parse_yaml(path.read_bytes())


def _mappings(items: Any) -> list[Mapping[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _tasks(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for keyword in NESTED:
        for task in _mappings(item.get(keyword)):
            yield task
            yield from _tasks(task)


@cache
def _role(root: Path, name: str, entry: str) -> Mapping[str, Mapping[str, Any]]:
    path = root / "roles" / name / "meta/argument_specs.yml"
    specs = _loaded(path)["argument_specs"] if path.is_file() else {}
    options: Mapping[str, Mapping[str, Any]] = specs.get(entry, {}).get("options", {})
    return options


def _module(root: Path, name: str) -> Mapping[str, Mapping[str, Any]]:
    for node in ast.parse((root / "library" / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            options: Mapping[str, Mapping[str, Any]] = parse_yaml(ast.literal_eval(node.value).encode())["options"]
            return options
    return {}


def _words(value: Any) -> set[str]:
    """The names in the templates of a value."""
    return {
        word
        for template in TEMPLATED.findall(value if isinstance(value, str) else "")
        for word in WORD.findall(template)
    }
