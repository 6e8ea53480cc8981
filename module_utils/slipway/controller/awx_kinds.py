# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX has, as far as `awx/` says it: kinds of objects, the options of the collection's modules, and what refers to what.

Names of kinds are those of AWX's API, names of options those of the collection's modules; a test compares them with the modules
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TEXT, NUMBER, SWITCH, MAPPING, TEXTS = "text", "a whole number", "true or false", "a mapping", "a list of texts"


@dataclass(frozen=True)
class Reference:
    """An option that names an object of one of these kinds, or several."""

    kinds: tuple[str, ...]
    several: bool = False


@dataclass(frozen=True)
class Choice:
    """An option that is one of a few texts."""

    choices: tuple[str, ...]


Type = str | Reference | Choice


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    ``options`` are what the data may say of it, beside ``name`` and ``description``; ``defaults`` is what it is given of what the data do not
    say, so that what somebody changed by hand shows; ``required`` has to be said. ``scope`` are the options that tell objects of the same name
    apart; ``ours`` are keys of the data that no module takes.
    """

    name: str
    module: str
    options: Mapping[str, Type] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    scope: tuple[str, ...] = ("organization",)
    ours: tuple[str, ...] = ()
    has_description: bool = True


def one(*kinds: str) -> Reference:
    return Reference(kinds)


def some(*kinds: str) -> Reference:
    return Reference(kinds, several=True)


@dataclass(frozen=True)
class BuiltInType:
    """A credential type that every AWX has: its kind, and the fields that hold a value nobody may read."""

    kind: str
    secrets: frozenset[str]


BUILT_IN_TYPES: Final[Mapping[str, BuiltInType]] = {
    "Machine": BuiltInType("ssh", frozenset({"password", "ssh_key_data", "ssh_key_unlock", "become_password"})),
    "Source Control": BuiltInType("scm", frozenset({"password", "ssh_key_data", "ssh_key_unlock"})),
    "Container Registry": BuiltInType("registry", frozenset({"password"})),
}
# What AWX takes as the credential of an object: {(kind, option): type}.
CREDENTIAL_OF: Final[Mapping[tuple[str, str], str]] = {
    ("projects", "credential"): "Source Control",
    ("execution_environments", "credential"): "Container Registry",
}
# Modules look these up in all organizations, unless they are named with theirs (AWX's named URLs).
NAMED_WITH_ORGANIZATION: Final = frozenset({"inventories", "credentials", "notification_templates"})
# AWX keeps a PagerDuty service key in clear; whoever has it can wake people all the same.
NOTIFICATION_SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "slack": frozenset({"token"}),
    "pagerduty": frozenset({"token", "service_key"}),
    "email": frozenset({"password"}),
    "webhook": frozenset({"password"}),
}
ASKED: Final = tuple(
    f"ask_{what}_on_launch"
    for what in (
        "credential", "diff_mode", "execution_environment", "forks", "instance_groups", "inventory", "job_slice_count", "job_type", "labels",
        "limit", "scm_branch", "skip_tags", "tags", "timeout", "variables", "verbosity",
    )
)  # fmt: skip
_TOLD: Final = {
    f"notification_templates_{when}": some("notification_templates") for when in ("started", "success", "error")
}
_TOLD_NOBODY: Final[dict[str, Any]] = {option: [] for option in _TOLD}
TEMPLATES: Final = ("job_templates", "workflow_job_templates")
_WORKFLOW_ASKED: Final = tuple(
    f"ask_{what}_on_launch" for what in ("inventory", "labels", "limit", "scm_branch", "skip_tags", "tags", "variables")
)

# In the order in which they are made: what is named comes before what names it.
KINDS: Final[tuple[Kind, ...]] = (
    Kind("organizations", "organization", scope=()),
    Kind(
        "credential_types", "credential_type",
        {"kind": Choice(("cloud", "net")), "inputs": MAPPING, "injectors": MAPPING},
        required=("kind", "inputs", "injectors"), scope=(),
    ),
    Kind(
        "credentials", "credential", {"credential_type": one("credential_types"), "inputs": MAPPING},
        {"inputs": {}}, required=("credential_type",), scope=("organization", "credential_type"), ours=("secrets",),
    ),
    Kind(
        "execution_environments", "execution_environment",
        {"image": TEXT, "pull": Choice(("always", "missing", "never")), "credential": one("credentials")}, required=("image",),
    ),
    Kind("teams", "team"),
    Kind(
        "notification_templates", "notification_template",
        {"notification_type": Choice(tuple(NOTIFICATION_SECRETS)), "notification_configuration": MAPPING, "messages": MAPPING},
        required=("notification_type", "notification_configuration"), ours=("secrets",),
    ),
    Kind(
        "projects", "project",
        {
            "scm_type": Choice(("git", "svn", "archive")), "scm_url": TEXT, "scm_branch": TEXT, "scm_refspec": TEXT, "scm_clean": SWITCH,
            "scm_delete_on_update": SWITCH, "scm_track_submodules": SWITCH, "scm_update_on_launch": SWITCH, "scm_update_cache_timeout": NUMBER,
            "allow_override": SWITCH, "timeout": NUMBER, "credential": one("credentials"),
            "signature_validation_credential": one("credentials"), "default_environment": one("execution_environments"),
        },
        {"scm_branch": "", "scm_clean": False, "scm_update_on_launch": False, "scm_update_cache_timeout": 0, "allow_override": False},
        required=("scm_type", "scm_url"),
    ),
    Kind("inventories", "inventory", {"variables": MAPPING}, {"kind": "", "variables": {}}),
    Kind(
        "inventory_sources", "inventory_source",
        {
            "inventory": one("inventories"), "source": Choice(("scm",)), "source_project": one("projects"), "source_path": TEXT,
            "overwrite": SWITCH, "overwrite_vars": SWITCH, "update_on_launch": SWITCH, "update_cache_timeout": NUMBER, "timeout": NUMBER,
            "verbosity": NUMBER, "limit": TEXT, "execution_environment": one("execution_environments"),
        },
        {"overwrite": False, "overwrite_vars": False, "update_on_launch": False, "update_cache_timeout": 0, "verbosity": 1, "limit": ""},
        required=("inventory", "source", "source_project", "source_path"), scope=("organization", "inventory"),
    ),
    Kind(
        "job_templates", "job_template",
        {
            "playbook": TEXT, "project": one("projects"), "inventory": one("inventories"), "credentials": some("credentials"),
            "execution_environment": one("execution_environments"), "job_type": Choice(("run", "check")), "extra_vars": MAPPING, "forks": NUMBER,
            "limit": TEXT, "verbosity": NUMBER, "timeout": NUMBER, "diff_mode": SWITCH, "allow_simultaneous": SWITCH, "job_slice_count": NUMBER,
            **_TOLD, **dict.fromkeys(ASKED, SWITCH),
        },
        {
            "job_type": "run", "credentials": [], "extra_vars": {}, "forks": 0, "limit": "", "verbosity": 0, "timeout": 0, "diff_mode": False,
            "allow_simultaneous": False, "job_slice_count": 1, **_TOLD_NOBODY, **dict.fromkeys(ASKED, False),
        },
        required=("playbook", "project", "inventory", "execution_environment"), ours=("survey",),
    ),
    Kind(
        "workflow_job_templates", "workflow_job_template",
        {
            "inventory": one("inventories"), "extra_vars": MAPPING, "limit": TEXT, "allow_simultaneous": SWITCH,
            "notification_templates_approvals": some("notification_templates"), **_TOLD, **dict.fromkeys(_WORKFLOW_ASKED, SWITCH),
        },
        {
            "extra_vars": {}, "allow_simultaneous": False, "notification_templates_approvals": [], **_TOLD_NOBODY,
            **dict.fromkeys(_WORKFLOW_ASKED, False),
        },
        required=("nodes",), ours=("survey", "nodes"),
    ),
    Kind(
        "workflow_job_template_nodes", "workflow_job_template_node",
        {
            "unified_job_template": one(*TEMPLATES), "approval_node": MAPPING, "inventory": one("inventories"), "limit": TEXT, "extra_data": MAPPING,
            "job_type": Choice(("run", "check")), "all_parents_must_converge": SWITCH, "success_nodes": TEXTS, "failure_nodes": TEXTS,
            "always_nodes": TEXTS,
        },
        {"success_nodes": [], "failure_nodes": [], "always_nodes": []}, scope=("organization", "workflow_job_template"), has_description=False,
    ),
    Kind(
        "schedules", "schedule",
        {
            "unified_job_template": one(*TEMPLATES), "rrule": TEXT, "inventory": one("inventories"), "limit": TEXT, "extra_data": MAPPING,
            "job_type": Choice(("run", "check")), "enabled": SWITCH,
        },
        {"enabled": True}, required=("unified_job_template", "rrule"), scope=("organization", "unified_job_template"),
    ),
    Kind(
        "grants", "role",
        {
            "team": one("teams"),
            "role": Choice(("execute", "use", "update", "approval", "auditor", "read", "adhoc", "admin")),
            "job_templates": some("job_templates"), "workflow_job_templates": some("workflow_job_templates"), "inventories": some("inventories"),
            "projects": some("projects"), "credentials": some("credentials"), "organizations": some("organizations"),
        },
        required=("team", "role"), has_description=False,
    ),
)  # fmt: skip
BY_NAME: Final = {kind.name: kind for kind in KINDS}
# Nodes stand below their workflow.
SAID: Final = tuple(kind for kind in KINDS if kind.name != "workflow_job_template_nodes")
LINKS: Final = ("success_nodes", "failure_nodes", "always_nodes")
# As AWX judges them itself (JSON Schema).
_FIELD_NAME: Final = "^[a-zA-Z_][a-zA-Z0-9_]*$"
_TEMPLATES: Final = {"type": "object", "additionalProperties": {"type": "string"}}
CREDENTIAL_TYPE_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "inputs": {
        "type": "object", "additionalProperties": False, "required": ["fields"],
        "properties": {
            "required": {"type": "array", "items": {"type": "string"}},
            "fields": {
                "type": "array",
                "items": {
                    "type": "object", "additionalProperties": False, "required": ["id", "label", "type"],
                    "properties": {
                        "id": {"type": "string", "pattern": _FIELD_NAME}, "label": {"type": "string"}, "help_text": {"type": "string"},
                        "type": {"enum": ["string", "boolean"]}, "multiline": {"type": "boolean"}, "secret": {"type": "boolean"},
                        "format": {"enum": ["ssh_private_key", "url"]}, "choices": {"type": "array", "items": {"type": "string"}}, "default": {},
                    },
                },
            },
        },
    },
    "injectors": {
        "type": "object", "additionalProperties": False,
        "properties": {
            "file": {**_TEMPLATES, "propertyNames": {"pattern": r"^template(\.[a-zA-Z_][a-zA-Z0-9_]*)?$"}},
            "env": {**_TEMPLATES, "propertyNames": {"pattern": "^(?!ANSIBLE_)[a-zA-Z_][a-zA-Z0-9_]*$"}},
            "extra_vars": {**_TEMPLATES, "propertyNames": {"pattern": _FIELD_NAME}},
        },
    },
}  # fmt: skip
APPROVAL: Final[Mapping[str, str]] = {"name": TEXT, "description": TEXT, "timeout": NUMBER}
