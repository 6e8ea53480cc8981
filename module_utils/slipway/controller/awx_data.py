# SPDX-License-Identifier: GPL-3.0-or-later
"""`awx/` as data: what AWX is to have, read and judged before anything is sent.

Each file is a mapping from kinds (awx_kinds.py) to lists of objects with the options of the collection's modules; `surveys.yml` has the questions.
What an installation has otherwise than this repository (addresses, an image) is laid over it: {kind: {name: {option: value}}}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

import jsonschema

from ..base.errors import Refusal, kind_of, shown
from ..base.files import read_if_there
from ..trust.members import parse_yaml
from .awx_kinds import (
    APPROVAL,
    BUILT_IN_TYPES,
    BY_NAME,
    CREDENTIAL_OF,
    CREDENTIAL_TYPE_SCHEMAS,
    LINKS,
    MAPPING,
    NAMED_WITH_ORGANIZATION,
    NOTIFICATION_SECRETS,
    NUMBER,
    SAID,
    SWITCH,
    TEXT,
    TEXTS,
    Choice,
    Kind,
    Reference,
    Type,
)
from .awx_surveys import Surveys
from .given import marks_in

QUESTIONS: Final = "survey_questions"
MAX_FILE_BYTES: Final = 1 << 20
MAX_TEXT: Final = 65536
# Modules take a number for an id, and a plus for a part of a named URL.
NAME: Final = re.compile(r"(?!\d+\Z)[^\s/+\x00-\x1f\x7f](?:[^/+\x00-\x1f\x7f]{0,510}[^\s/+\x00-\x1f\x7f])?\Z")
IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
RRULE: Final = re.compile(
    r"DTSTART;TZID=[A-Za-z_]+(?:/[A-Za-z_]+)*:\d{8}T\d{6} RRULE:(?=[^ ]*FREQ=(?:HOURLY|DAILY|WEEKLY|MONTHLY|YEARLY)(?:;|\Z))(?=[^ ]*INTERVAL=\d+)[A-Z0-9=;,+-]+\Z"
)
ENCRYPTED: Final = "$encrypted$"
# What must be in no data: keys, and tokens by the marks that their makers gave them.
SECRET_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bhv[sbr]\.[\w-]{20}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20}|\bglpat-[\w-]{20}|\bxox[abprs]-[\w-]{10}"
)
SECRET_NAME: Final = re.compile(r"(?:password|passphrase|token|secret|private_key|api_key)\Z", re.IGNORECASE)
# A password in an address, as in ssh://bob:password@git.example; without a scheme an image's tag and digest look like one.
ADDRESS_WITH_PASSWORD: Final = re.compile(r"://[^/?#\s:@]*:[^/?#\s@]+@")
WORD_WITH_PASSWORD: Final = re.compile(r"[^/\s:@]+:[^/\s@]+@(?!sha\d+:)")
ADDRESSES: Final = frozenset({("projects", "scm_url"), ("execution_environments", "image")})
# Where AWX itself fills in templates, with what it knows and nothing of ours.
TEMPLATED_BY_AWX: Final = frozenset({("credential_types", "injectors"), ("notification_templates", "messages")})


@dataclass(frozen=True)
class SecretName:
    """Which secret holds the value of a field; ``field`` empty where the secret has only one."""

    secret: str
    field: str = ""


@dataclass(frozen=True)
class AwxObject:
    """One object as its module takes it.

    ``refers`` are the (kind, name) of what it names. ``entered`` are the fields of ``holder`` (inputs, notification_configuration) whose value is in
    no data, each with the secret that has it, or None where a person enters it at AWX.
    """

    kind: Kind
    name: str
    options: Mapping[str, Any]
    refers: tuple[tuple[str, str], ...] = ()
    entered: Mapping[str, SecretName | None] = field(default_factory=dict)

    @property
    def holder(self) -> str:
        """The option that has the entered fields, empty where there are none."""
        return {"credentials": "inputs", "notification_templates": "notification_configuration"}.get(self.kind.name, "")


@dataclass(frozen=True)
class AwxData:
    """All objects, in the order in which they are made."""

    organization: str
    objects: tuple[AwxObject, ...]

    def of(self, kind: str) -> list[AwxObject]:
        return [each for each in self.objects if each.kind.name == kind]

    @property
    def mark(self) -> str:
        """What ends the description of everything that is made from these data: what has it and is not in them, is left over."""
        return f"[slipway: {self.organization}]"


def read(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """{kind: objects} and the survey's questions of all files in ``directory``, as they stand there.

    Refusals ``awx_data_missing`` (no directory, or no file in it) and ``awx_data_invalid``.
    """
    files = sorted(directory.glob("*.yml")) if directory.is_dir() else []
    if not files:
        raise Refusal(
            "awx_data_missing",
            expected="a directory with *.yml that say what AWX has",
            found=f"none in {directory}",
            remedy="Give its path as awx_directory.",
        )
    known = {kind.name for kind in SAID} | {QUESTIONS}
    data: dict[str, list[dict[str, Any]]] = {}
    for path in files:
        for kind, said in _parsed(path).items():
            if kind not in known:
                raise _invalid([f"{path.name}: expected keys of {', '.join(sorted(known))}, found {shown(kind)}"])
            if kind in data:
                raise _invalid([f"{path.name}: {kind} stands in another file too"])
            items = (
                [{"variable": name, **_mapping(each, f"{path.name}: {kind}.{name}")} for name, each in said.items()]
                if kind == QUESTIONS and isinstance(said, dict)
                else said
            )
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise _invalid([f"{path.name}: {kind}: expected a list of mappings, found {kind_of(said)}"])
            data[kind] = items
    return data


def _parsed(path: Path) -> dict[Any, Any]:
    content = read_if_there(path, limit=MAX_FILE_BYTES, what="file of awx/") or b""
    try:
        value = parse_yaml(content)
    except (ValueError, RecursionError) as error:
        raise _invalid([f"{path.name} is no YAML: {' '.join(str(error).split())}"]) from None
    return _mapping(value, path.name)


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _invalid([f"{where}: expected a mapping, found {kind_of(value)}"])
    return value


def judged(
    raw: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    root: Path,
    settings: Mapping[str, Any],
    notifications: Iterable[str],
    secrets: Mapping[str, Any],
) -> AwxData:
    """The objects of what was read.

    ``root`` is the repository, whose playbooks and inventories are named; ``settings`` are laid over the data; ``notifications`` are the names of the
    notification templates that are used; ``secrets`` is {kind: {name: {field: {secret, field}}}}. Refusal ``awx_data_invalid`` names every mistake.
    """
    return _Judge(root, secrets).judge(_used(_laid_over(raw, settings), list(notifications)))


def _laid_over(raw: Mapping[str, Iterable[Mapping[str, Any]]], settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    data: dict[str, list[Any]] = {kind: [dict(each) for each in items] for kind, items in raw.items()}
    for kind, objects in _mapping(settings, "awx_settings").items():
        by_name = {str(each.get("name")): each for each in data.get(kind, [])} if kind != QUESTIONS else {}
        for name, options in _mapping(objects, f"awx_settings.{kind}").items():
            if name not in by_name:
                raise _invalid([f"awx_settings.{kind}: expected names of awx/, found {shown(name)}"])
            for option, value in _mapping(options, f"awx_settings.{kind}.{name}").items():
                old = by_name[name].get(option)
                both = isinstance(old, dict) and isinstance(value, dict)
                by_name[name][option] = {**old, **value} if both else value
    return data


def _used(data: dict[str, list[Any]], names: list[str]) -> dict[str, list[Any]]:
    """The data without the notification templates that are not used here, and without what names them."""
    templates = data.get("notification_templates", [])
    known = [str(each.get("name")) for each in templates]
    if unknown := [name for name in names if name not in known]:
        raise _invalid(
            [
                f"awx_notifications: expected names of {', '.join(map(str, known))}, found {', '.join(map(shown, unknown))}"
            ]
        )
    unused = [name for name in known if name not in names]
    data["notification_templates"] = [each for each in templates if str(each.get("name")) not in unused]
    for kind in ("job_templates", "workflow_job_templates"):
        for each in data.get(kind, []):
            for option in [option for option in each if option.startswith("notification_templates_")]:
                if isinstance(each[option], list):
                    each[option] = [name for name in each[option] if name not in unused]
    return data


class _Judge:
    """Collects every mistake, so that one run tells them all."""

    def __init__(self, root: Path, secrets: Mapping[str, Any]) -> None:
        self.root = root
        self.secrets = secrets
        self.mistakes: list[str] = []
        self.names: dict[str, list[str]] = {}
        self.types: dict[str, Mapping[str, Any]] = {}
        self.kinds: dict[str, str] = {}
        self.credentials: dict[str, str] = {}
        self.playbooks: dict[str, str] = {}

    def judge(self, data: Mapping[str, list[Any]]) -> AwxData:
        for kind in SAID:
            for item in data.get(kind.name, []):
                self._judge_shape(kind, item)
        if self.mistakes:  # what follows goes by these shapes
            raise _invalid(self.mistakes)
        surveys = Surveys.parse(data.get(QUESTIONS, []), self.root, self.mistakes)
        for kind in SAID:
            self.names[kind.name] = self._names(kind, data.get(kind.name, []))
        organizations = self.names["organizations"]
        if len(organizations) != 1:
            self.mistakes.append(f"organizations: expected one, found {len(organizations)}")
        organization = organizations[0] if organizations else ""
        self.types = {
            str(each.get("name")): each["inputs"] for each in data.get("credential_types", []) if isinstance(each.get("inputs"), dict)
        }  # fmt: skip
        self.kinds = {str(each.get("name")): str(each.get("kind")) for each in data.get("credential_types", [])}
        self.credentials = {
            str(each.get("name")): str(each.get("credential_type")) for each in data.get("credentials", [])
        }
        self.playbooks = {str(each.get("name")): str(each.get("playbook")) for each in data.get("job_templates", [])}
        objects: list[AwxObject] = []
        for kind in SAID:
            for item in data.get(kind.name, []):
                objects += self._objects(kind, item, organization, surveys)
        self._judge_secrets(objects)
        if self.mistakes:
            raise _invalid(self.mistakes)
        order = list(BY_NAME)
        objects.sort(key=lambda each: order.index(each.kind.name))  # stable: nodes come after their workflows
        data_of = AwxData(organization, tuple(objects))
        types = {each.name: each for each in data_of.of("credentials")}
        return AwxData(organization, tuple(self._whole(each, data_of, types) for each in objects))

    def _judge_shape(self, kind: Kind, item: Mapping[Any, Any]) -> None:
        """Everything that an object says is of its type."""
        where = f"{kind.name}: {shown(item.get('name', item.get('team')))}"
        own: dict[str, Type] = {"secrets": TEXTS, "description": TEXT, "name": TEXT}
        for option, value in item.items():
            expected = kind.options.get(option, own.get(option))
            if expected is not None and (wrong := _mistake(value, expected)) is not None:
                self.mistakes.append(f"{where}: {option}: expected {wrong}, found {shown(value)}")
            schema = CREDENTIAL_TYPE_SCHEMAS.get(option) if kind.name == "credential_types" else None
            for error in jsonschema.Draft202012Validator(schema).iter_errors(value) if schema else ():
                self.mistakes.append(f"{where}: {option}: {error.json_path}: {error.message}")
        nodes = item.get("nodes", [])
        if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
            self.mistakes.append(f"{where}: nodes: expected a list of mappings, found {shown(nodes)}")
            return
        node_kind = BY_NAME["workflow_job_template_nodes"]
        for node in nodes:
            for option, value in node.items():
                if option in node_kind.options and (wrong := _mistake(value, node_kind.options[option])) is not None:
                    self.mistakes.append(
                        f"{where}: {shown(node.get('identifier'))}: {option}: expected {wrong}, found {shown(value)}"
                    )

    def _whole(self, each: AwxObject, data: AwxData, credentials: Mapping[str, AwxObject]) -> AwxObject:
        """The object with our mark in its description, and with what it names by names that no other organization has."""
        options = dict(each.options)
        if each.kind.has_description:
            options["description"] = f"{options['description']} {data.mark}".strip()
        for option, expected in each.kind.options.items():
            if isinstance(expected, Reference) and expected.kinds[0] in NAMED_WITH_ORGANIZATION and option in options:
                if each.kind.name in ("inventory_sources", "grants"):  # theirs is looked up in the organization
                    continue
                names = options[option] if expected.several else [options[option]]
                named = [self._named(expected.kinds[0], name, data.organization, credentials) for name in names]
                options[option] = named if expected.several else named[0]
        return AwxObject(each.kind, each.name, options, each.refers, each.entered)

    def _named(self, kind: str, name: str, organization: str, credentials: Mapping[str, AwxObject]) -> str:
        if kind != "credentials":
            return f"{name}++{organization}"
        type_name = credentials[name].options["credential_type"]
        of_type = BUILT_IN_TYPES[type_name].kind if type_name in BUILT_IN_TYPES else self.kinds[type_name]
        return f"{name}++{type_name}+{of_type}++{organization}"

    def _names(self, kind: Kind, items: list[Any]) -> list[str]:
        names = []
        for item in items:
            name = _grant_name(item) if kind.name == "grants" else item.get("name")
            if not isinstance(name, str) or (kind.name != "grants" and not NAME.match(name)):
                self.mistakes.append(
                    f"{kind.name}: expected a name of one line, not a number, without / and +, found {shown(name)}"
                )
            elif name in names:
                self.mistakes.append(f"{kind.name}: {name} is there twice")
            else:
                names.append(name)
        return names

    def _objects(self, kind: Kind, item: Mapping[str, Any], organization: str, surveys: Surveys) -> Iterator[AwxObject]:
        name = str(_grant_name(item) if kind.name == "grants" else item.get("name"))
        where = f"{kind.name}: {name}"
        own = {
            *kind.options,
            *kind.ours,
            *([] if kind.name == "grants" else ["name"]),
            *(["description"] if kind.has_description else []),
        }
        for option in sorted(map(str, item.keys() - own)):
            self.mistakes.append(f"{where}: {option} is no option, there are {', '.join(sorted(own))}")
        for option in kind.required:
            if item.get(option) in (None, ""):
                self.mistakes.append(f"{where}: {option} is missing; say it in awx_settings.{kind.name} or in awx/")
        said = {option: value for option, value in item.items() if option in kind.options}
        refers = [
            each
            for option, value in said.items()
            for each in self._judge_option(kind.name, where, option, value, kind.options[option])
        ]
        options = {**kind.defaults, **said}
        if kind.has_description:
            self._judge_option(kind.name, where, "description", item.get("description", ""), TEXT)
            options["description"] = item.get("description", "")
        if kind.name == "grants":
            yield from self._grants(kind, item, options, organization)
            return
        options["name"] = name
        if kind.name not in ("organizations", "credential_types"):
            options["organization"] = organization
            refers.append(("organizations", organization))
        if "survey" in kind.ours:
            spec = surveys.spec(where, item.get("survey", []), self._playbooks(kind, item, where))
            options.update(survey_spec=spec, survey_enabled=bool(spec))
        if kind.name == "job_templates":
            self._judge_slices(where, options)
        if kind.name == "inventory_sources":
            self._judge_file(where, "source_path", item)
        if kind.name == "schedules" and not RRULE.match(str(item.get("rrule"))):
            self.mistakes.append(
                f"{where}: rrule: expected such as DTSTART;TZID=UTC:20260101T040000 RRULE:FREQ=DAILY;INTERVAL=1, found {shown(item.get('rrule'))}"
            )
        yield AwxObject(kind, name, options, tuple(refers), self._entered(kind, item, where))
        if kind.name == "workflow_job_templates":
            yield from self._nodes(item, organization)

    def _judge_slices(self, where: str, options: Mapping[str, Any]) -> None:
        """AWX deals the hosts of the inventory out to slices before the limit: one that got none of its hosts fails."""
        is_sliced = options["job_slice_count"] > 1 or options["ask_job_slice_count_on_launch"]
        if is_sliced and (options["limit"] or options["ask_limit_on_launch"]):
            self.mistakes.append(
                f"{where}: expected no limit where jobs are sliced, found limit or ask_limit_on_launch; "
                "leave them out, or say job_slice_count: 1"
            )

    def _playbooks(self, kind: Kind, item: Mapping[str, Any], where: str) -> list[str]:
        """The playbooks that a survey is for: that of the template, or those of a workflow's nodes."""
        if kind.name == "job_templates":
            return [str(item["playbook"])] if self._judge_file(where, "playbook", item) else []
        names = {node.get("unified_job_template") for node in item.get("nodes", [])}
        return [playbook for name, playbook in self.playbooks.items() if name in names and self._is_file(playbook)]

    def _judge_file(self, where: str, option: str, item: Mapping[str, Any]) -> bool:
        path = str(item.get(option) or "")
        if self._is_file(path):
            return True
        if path:
            self.mistakes.append(f"{where}: {option}: expected a file of this repository, found {shown(path)}")
        return False

    def _is_file(self, path: str) -> bool:
        is_below = bool(path) and "\0" not in path and not path.startswith("/") and ".." not in path.split("/")
        return is_below and (self.root / path).is_file()

    def _judge_option(
        self, kind: str, where: str, option: str, value: Any, expected: Type
    ) -> Iterator[tuple[str, str]] | list[tuple[str, str]]:
        for path, text in _texts(value, option):
            if _has_password(text, is_address=(kind, option) in ADDRESSES):  # what else is wrong would show it
                self.mistakes.append(
                    f"{where}: {path}: a secret in clear, before the @; a credential has it, or a field that is a secret"
                )
                continue
            if marks_in(text) and (kind, option) not in TEMPLATED_BY_AWX:
                self.mistakes.append(f"{where}: {path}: expected a text that is no template, found {shown(text)}")
            if SECRET_VALUE.search(text) or text.startswith(ENCRYPTED):
                self.mistakes.append(
                    f"{where}: {path}: a secret in clear; name it in awx_secrets, or let a person enter it"
                )
        for path, key, text in _named_texts(value, option):
            if SECRET_NAME.search(key) and option in ("extra_vars", "extra_data", "variables") and text:
                self.mistakes.append(f"{where}: {path}: a secret in clear; jobs get secrets by credentials")
        if not isinstance(expected, Reference):
            return []
        names = value if expected.several else [value]
        wanted = CREDENTIAL_OF.get((kind, option))
        for name in names:
            if wanted and self.credentials.get(name, wanted) != wanted:
                self.mistakes.append(f"{where}: {option}: expected one of the type {wanted}, found {shown(name)}")
        return [reference for name in names for reference in self._reference(where, option, name, expected)]

    def _reference(self, where: str, option: str, name: str, expected: Reference) -> list[tuple[str, str]]:
        found = [(kind, name) for kind in expected.kinds if name in self.names[kind]]
        if not found and not ("credential_types" in expected.kinds and name in BUILT_IN_TYPES):
            there = sorted(each for kind in expected.kinds for each in self.names[kind])
            self.mistakes.append(
                f"{where}: {option}: expected one of {', '.join(there) or 'nothing, since there are none'}, found {shown(name)}"
            )
        return found

    def _entered(self, kind: Kind, item: Mapping[str, Any], where: str) -> dict[str, SecretName | None]:
        """The fields whose value is in no data, with the secret that has it, if one is named."""
        fields: list[str] = []
        given = item.get({"credentials": "inputs"}.get(kind.name, "notification_configuration")) or {}
        if kind.name == "credentials":
            type_name = str(item.get("credential_type"))
            if type_name in self.types:
                declared = self.types[type_name]["fields"]
                hidden = {each["id"] for each in declared if each.get("secret")}
                known = {each["id"] for each in declared}
                fields = [each["id"] for each in declared if each["id"] not in given]
                for name in sorted(map(str, given.keys() - known)):
                    self.mistakes.append(f"{where}: inputs: expected fields of {type_name}, found {shown(name)}")
            else:
                hidden = set(BUILT_IN_TYPES[type_name].secrets) if type_name in BUILT_IN_TYPES else set()
                fields = self._declared_secrets(item, where, hidden)
        elif kind.name == "notification_templates":
            hidden = set(NOTIFICATION_SECRETS.get(str(item.get("notification_type")), frozenset()))
            fields = self._declared_secrets(item, where, hidden)
        else:
            return {}
        for name in sorted(hidden & given.keys()):
            self.mistakes.append(
                f"{where}: {name}: a secret in clear; name it in awx_secrets, or let a person enter it"
            )
        named = self.secrets.get(kind.name, {}) if isinstance(self.secrets, Mapping) else {}
        of_this = named.get(str(item.get("name")), {}) if isinstance(named, Mapping) else {}
        return {each: self._secret(where, each, of_this) for each in fields}

    def _declared_secrets(self, item: Mapping[str, Any], where: str, hidden: set[str]) -> list[str]:
        declared = item.get("secrets", [])
        if not set(declared) <= hidden:
            self.mistakes.append(
                f"{where}: secrets: expected some of {', '.join(sorted(hidden))}, found {shown(declared)}"
            )
            return []
        return list(declared)

    def _secret(self, where: str, name: str, given: Any) -> SecretName | None:
        value = given.get(name) if isinstance(given, Mapping) else None
        if value is None:
            return None
        if (
            not isinstance(value, Mapping)
            or not value.keys() <= {"secret", "field"}
            or not value.get("secret")
            or not all(isinstance(each, str) for each in value.values())
        ):
            self.mistakes.append(
                f"awx_secrets: {where}: {name}: expected {{secret: name, field: name}}, found {kind_of(value)}"
            )
            return None
        return SecretName(value["secret"], value.get("field", ""))

    def _judge_secrets(self, objects: list[AwxObject]) -> None:
        """Every name in awx_secrets is of something."""
        if not isinstance(self.secrets, Mapping):
            self.mistakes.append(f"awx_secrets: expected a mapping, found {kind_of(self.secrets)}")
            return
        known = {(each.kind.name, each.name): set(each.entered) for each in objects}
        for kind, named in self.secrets.items():
            for name, fields in named.items() if isinstance(named, Mapping) else [("?", None)]:
                there = known.get((kind, name), set())
                wrong = fields.keys() - there if isinstance(fields, Mapping) else {"?"}
                if wrong or not there:
                    self.mistakes.append(
                        f"awx_secrets: expected {{kind: {{name: {{field: …}}}}}} with fields that are entered, found {shown(kind)}, {shown(name)}, "
                        f"{', '.join(sorted(map(str, wrong)))}"
                    )

    def _nodes(self, workflow: Mapping[str, Any], organization: str) -> Iterator[AwxObject]:
        """The nodes of a workflow, each after those that it leads to, so that each link has its end."""
        kind, title, nodes = (
            BY_NAME["workflow_job_template_nodes"],
            str(workflow.get("name")),
            workflow.get("nodes") or [],
        )
        where = f"workflow_job_templates: {title}"
        by_identifier: dict[str, Mapping[str, Any]] = {}
        for node in nodes:
            identifier = node.get("identifier")
            if not isinstance(identifier, str) or not IDENTIFIER.match(identifier) or identifier in by_identifier:
                self.mistakes.append(
                    f"{where}: expected identifiers like {IDENTIFIER.pattern}, each once, found {shown(identifier)}"
                )
            else:
                by_identifier[identifier] = node
        after: dict[str, list[str]] = {}
        for identifier, node in by_identifier.items():
            links = [each for link in LINKS for each in (node.get(link) or []) if isinstance(each, str)]
            after[identifier] = links
            for each in sorted({each for each in links if each not in by_identifier}):
                self.mistakes.append(f"{where}: {identifier}: expected links to nodes of it, found {shown(each)}")
        try:
            order = [each for each in TopologicalSorter(after).static_order() if each in by_identifier]
        except CycleError as error:
            self.mistakes.append(
                f"{where}: expected nodes that lead to an end, found {' -> '.join(map(str, error.args[1]))}"
            )
            return
        for identifier in order:
            yield self._node(kind, title, organization, identifier, by_identifier[identifier])

    def _node(
        self, kind: Kind, workflow: str, organization: str, identifier: str, node: Mapping[str, Any]
    ) -> AwxObject:
        where = f"workflow_job_templates: {workflow}: {identifier}"
        for option in sorted(map(str, node.keys() - {"identifier", *kind.options})):
            self.mistakes.append(
                f"{where}: {option} is no option of a node, there are {', '.join(sorted(kind.options))}"
            )
        if ("unified_job_template" in node) == ("approval_node" in node):
            self.mistakes.append(f"{where}: expected either unified_job_template or approval_node")
        said = {option: value for option, value in node.items() if option in kind.options}
        refers = [
            each
            for option, value in said.items()
            for each in self._judge_option(kind.name, where, option, value, kind.options[option])
        ]
        approval = said.get("approval_node", {"name": "-"})
        if "name" not in approval or any(
            key not in APPROVAL or _mistake(value, APPROVAL[key]) for key, value in approval.items()
        ):
            self.mistakes.append(
                f"{where}: approval_node: expected name, and maybe description and timeout (seconds), found {', '.join(map(shown, approval))}"
            )
        refers += [
            ("workflow_job_templates", workflow),
            *(("workflow_job_template_nodes", f"{workflow} / {each}") for link in LINKS for each in said.get(link, [])),
        ]
        options = {
            **kind.defaults, **said, "identifier": identifier, "workflow_job_template": workflow, "organization": organization,
            **({"lookup_organization": organization} if "unified_job_template" in said else {}),
        }  # fmt: skip
        return AwxObject(kind, f"{workflow} / {identifier}", options, tuple(refers))

    def _grants(
        self, kind: Kind, item: Mapping[str, Any], options: Mapping[str, Any], organization: str
    ) -> Iterator[AwxObject]:
        """One for each kind of what is granted on, since the module takes them apart by kinds."""
        on = [
            option
            for option, type_ in kind.options.items()
            if isinstance(type_, Reference) and type_.several and item.get(option)
        ]
        if not on:
            self.mistakes.append(f"grants: {_grant_name(item)}: expected what it is granted on, found nothing")
        for option in on:
            names = item[option]
            refers = [("teams", str(item.get("team"))), *((option, str(name)) for name in names)]
            module_option = "workflows" if option == "workflow_job_templates" else option
            made = {
                "team": options.get("team"),
                "role": options.get("role"),
                module_option: names,
                "lookup_organization": organization,
            }
            yield AwxObject(kind, f"{item.get('team')}: {item.get('role')} {option}", made, tuple(refers))


def _grant_name(item: Mapping[str, Any]) -> str:
    on = [each for each in item if each not in ("team", "role")]
    return f"{item.get('team')}: {item.get('role')} {' '.join(map(str, on))}"


def _mistake(value: Any, expected: Type) -> str | None:
    """What was expected, when ``value`` is not that."""
    if isinstance(expected, Choice):
        return None if isinstance(value, str) and value in expected.choices else f"one of {', '.join(expected.choices)}"
    if isinstance(expected, Reference):
        return _mistake(value, TEXTS if expected.several else TEXT)
    is_texts = isinstance(value, list) and all(isinstance(each, str) and each for each in value)
    fits = {
        TEXT: isinstance(value, str) and len(value) <= MAX_TEXT,
        NUMBER: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31,
        SWITCH: isinstance(value, bool),
        MAPPING: isinstance(value, dict) and all(isinstance(key, str) for key in value),
        TEXTS: is_texts and len(set(value)) == len(value),
    }
    return None if fits[expected] else expected


def _has_password(text: str, *, is_address: bool) -> bool:
    """Whether an address in ``text`` has a password; what is an address as a whole may have no scheme."""
    return bool(ADDRESS_WITH_PASSWORD.search(text) or (is_address and WORD_WITH_PASSWORD.match(text)))


def _named_texts(value: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """(path, key, text) of every text below ``value``; the key is the nearest name above it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        below = f"{path}.{key}"
        if isinstance(each, str):
            yield below, str(key) if isinstance(key, str) else path.rpartition(".")[2], each
        yield from _named_texts(each, below)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, text) of every text in ``value``, names of members too."""
    if isinstance(value, str):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        if isinstance(key, str):
            yield path, key
        yield from _texts(each, f"{path}.{key}")


def _invalid(mistakes: list[str]) -> Refusal:
    return Refusal(
        "awx_data_invalid",
        expected="awx/ and what is laid over it without a mistake; nothing was sent",
        found="; ".join(mistakes),
        remedy="Correct it (docs/howto/awx.md); what is yours alone belongs into awx_settings, awx_notifications and awx_secrets.",
    )
