# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of an AWX 24 in this process, as far as `awx/` uses it: objects, associations, roles, surveys, launches, workflows and approvals.

It keeps to what AWX does and its documentation says: pages, filters, named URLs, `$encrypted$` instead of secrets, 400 with an error for each field, 403 for
what may not be changed, associations by POST with `disassociate`. It is stricter in one thing: a field that AWX would leave out is refused. Jobs run
nothing: ``outcomes`` says how the jobs of a template end, or ``runs`` does what they would do.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import jinja2
import jinja2.sandbox
import pytest

API = "/api/v2/"
ENCRYPTED = "$encrypted$"
PAGE = 25
STR, BOOL, INT, DICT, JSON = "str", "bool", "int", "dict", "json"
READ_ONLY = {
    "id",
    "type",
    "url",
    "related",
    "summary_fields",
    "created",
    "modified",
    "managed",
    "status",
    "last_job_run",
}
TOLD = {f"notification_templates_{when}": "notification_templates" for when in ("started", "success", "error")}
LINKS = ("success_nodes", "failure_nodes", "always_nodes")
ROLE_NAMES = {"adhoc": "Ad Hoc", "approval": "Approve"}
DEFAULT_MESSAGES = {"started": None, "success": None, "error": None, "workflow_approval": None}
# {type: {field: (type, default)}}, a default of ... for none.
NOTIFICATIONS = {
    "slack": {"token": ("password", ...), "channels": (list, ...)},
    "pagerduty": {"subdomain": (str, ...), "token": ("password", ...), "service_key": (str, ...), "client_name": (str, ...)},
    "email": {
        "host": (str, ...), "port": (int, ...), "username": (str, ...), "password": ("password", ...), "use_tls": (bool, ...), "use_ssl": (bool, ...),
        "sender": (str, ...), "recipients": (list, ...), "timeout": (int, 30),
    },
    "webhook": {
        "url": (str, ...), "http_method": (str, "POST"), "disable_ssl_verification": (bool, False), "username": (str, ""), "password": ("password", ""),
        "headers": (dict, ...),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Resource:
    """One endpoint: ``fields`` are {name: (type or the endpoint that it refers to, default)}; ``unique`` together; ``named`` what a named URL has after
    the name; ``roles`` can be granted; ``associations`` are {relation: endpoint}."""

    type: str
    fields: Mapping[str, tuple[str, Any]]
    unique: tuple[str, ...] = ("name", "organization")
    named: tuple[str, ...] = ("organization",)
    roles: tuple[str, ...] = ()
    associations: Mapping[str, str] = field(default_factory=dict)
    is_unified: bool = False


NAMED = {"name": (STR, ...), "description": (STR, "")}
OWNED = {**NAMED, "organization": ("organizations", None)}
ASKED = {
    f"ask_{what}_on_launch": (BOOL, False)
    for what in ("inventory", "labels", "limit", "scm_branch", "skip_tags", "tags", "variables")
}
PROMPTS = {
    "extra_data": (DICT, {}), "inventory": ("inventories", None), "limit": (STR, None), "job_type": (STR, None), "scm_branch": (STR, None),
    "job_tags": (STR, None), "skip_tags": (STR, None), "diff_mode": (BOOL, None), "verbosity": (INT, None), "forks": (INT, None),
    "job_slice_count": (INT, None), "timeout": (INT, None), "execution_environment": ("execution_environments", None),
}  # fmt: skip
RESOURCES = {
    "organizations": Resource(
        "organization", {**NAMED, "max_hosts": (INT, 0), "default_environment": ("execution_environments", None)}, ("name",), (),
        ("admin", "execute", "auditor", "member", "read", "approval", "project_admin", "inventory_admin"), TOLD,
    ),
    "credential_types": Resource("credential_type", {**NAMED, "kind": (STR, ...), "inputs": (DICT, {}), "injectors": (DICT, {})}, ("name", "kind"), ("kind",)),
    "credentials": Resource(
        "credential", {**OWNED, "credential_type": ("credential_types", ...), "inputs": (DICT, {})}, ("name", "organization", "credential_type"),
        ("credential_type", "organization"), ("admin", "use", "read"),
    ),
    "execution_environments": Resource("execution_environment", {**OWNED, "image": (STR, ...), "pull": (STR, ""), "credential": ("credentials", None)}, ("name",), ()),
    "teams": Resource("team", {**NAMED, "organization": ("organizations", ...)}, roles=("admin", "member", "read")),
    "notification_templates": Resource(
        "notification_template",
        {**NAMED, "organization": ("organizations", ...), "notification_type": (STR, ...), "notification_configuration": (DICT, ...), "messages": (DICT, DEFAULT_MESSAGES)},
    ),
    "projects": Resource(
        "project",
        {
            **OWNED, "scm_type": (STR, ""), "scm_url": (STR, ""), "scm_branch": (STR, ""), "scm_refspec": (STR, ""), "scm_clean": (BOOL, False),
            "scm_track_submodules": (BOOL, False), "scm_delete_on_update": (BOOL, False), "credential": ("credentials", None), "timeout": (INT, 0),
            "scm_update_on_launch": (BOOL, False), "scm_update_cache_timeout": (INT, 0), "allow_override": (BOOL, False),
            "default_environment": ("execution_environments", None), "signature_validation_credential": ("credentials", None),
        }, roles=("admin", "use", "update", "read"), associations=TOLD, is_unified=True,
    ),
    "inventories": Resource(
        "inventory", {**NAMED, "organization": ("organizations", ...), "kind": (STR, ""), "host_filter": (STR, None), "variables": (JSON, "")},
        roles=("admin", "update", "adhoc", "use", "read"),
    ),
    "inventory_sources": Resource(
        "inventory_source",
        {
            **NAMED, "inventory": ("inventories", ...), "source": (STR, ...), "source_project": ("projects", None), "source_path": (STR, ""),
            "overwrite": (BOOL, False), "overwrite_vars": (BOOL, False), "update_on_launch": (BOOL, False), "update_cache_timeout": (INT, 0),
            "timeout": (INT, 0), "verbosity": (INT, 1), "limit": (STR, ""), "execution_environment": ("execution_environments", None),
        }, ("name", "inventory"), ("inventory", "organization"), associations=TOLD, is_unified=True,
    ),
    "job_templates": Resource(
        "job_template",
        {
            **NAMED, "job_type": (STR, "run"), "inventory": ("inventories", None), "project": ("projects", None), "playbook": (STR, ""),
            "execution_environment": ("execution_environments", None), "forks": (INT, 0), "limit": (STR, ""), "verbosity": (INT, 0), "extra_vars": (JSON, ""),
            "timeout": (INT, 0), "survey_enabled": (BOOL, False), "become_enabled": (BOOL, False), "diff_mode": (BOOL, False),
            "allow_simultaneous": (BOOL, False), "job_slice_count": (INT, 1), "job_tags": (STR, ""), "skip_tags": (STR, ""), **ASKED,
            **{f"ask_{what}_on_launch": (BOOL, False) for what in (
                "credential", "diff_mode", "execution_environment", "forks", "instance_groups", "job_slice_count", "job_type", "timeout", "verbosity",
            )},
        }, ("name", "project"), roles=("admin", "execute", "read"), associations={**TOLD, "credentials": "credentials"}, is_unified=True,
    ),
    "workflow_job_templates": Resource(
        "workflow_job_template",
        {
            **OWNED, "inventory": ("inventories", None), "limit": (STR, None), "scm_branch": (STR, None), "extra_vars": (JSON, ""),
            "survey_enabled": (BOOL, False), "allow_simultaneous": (BOOL, False), **ASKED,
        }, roles=("admin", "execute", "read", "approval"), associations={**TOLD, "notification_templates_approvals": "notification_templates"}, is_unified=True,
    ),
    "workflow_job_template_nodes": Resource(
        "workflow_job_template_node",
        {
            **PROMPTS, "identifier": (STR, ...), "workflow_job_template": ("workflow_job_templates", ...), "unified_job_template": ("unified_job_templates", None),
            "all_parents_must_converge": (BOOL, False),
        }, ("identifier", "workflow_job_template"), associations={**dict.fromkeys(LINKS, "workflow_job_template_nodes"), "credentials": "credentials"},
    ),
    "workflow_approval_templates": Resource("workflow_approval_template", {**NAMED, "timeout": (INT, 0)}, (), is_unified=True),
    "schedules": Resource(
        "schedule", {**NAMED, **PROMPTS, "unified_job_template": ("unified_job_templates", ...), "rrule": (STR, ...), "enabled": (BOOL, True)},
        ("name", "unified_job_template"), associations={"credentials": "credentials"},
    ),
}  # fmt: skip
PATHS = {resource.type: name for name, resource in RESOURCES.items()}
RAN = {"job_templates": ("jobs", "job"), "workflow_job_templates": ("workflow_jobs", "workflow_job")}
ENDED = ("successful", "failed", "canceled")
PROMPTED = ("inventory", "limit", "job_type")
# What an answer and a default have to be; the default of what has choices is kept as a text.
ANSWERED = {
    "text": str,
    "textarea": str,
    "password": str,
    "integer": int,
    "float": (float, int),
    "multiplechoice": str,
    "multiselect": list,
}
KEPT = {**ANSWERED, "multiselect": str}
CHOSEN = ("multiplechoice", "multiselect")


class Answer(Exception):
    """What is answered instead."""

    def __init__(self, code: int, content: Any = None) -> None:
        super().__init__(code)
        self.code, self.content = code, content


def wrong(**errors: str) -> Answer:
    return Answer(400, {name: [text] for name, text in errors.items()})


def answer_errors(question: Mapping[str, Any], given: Mapping[str, Any], *, is_needed: bool = True) -> list[str]:
    """What AWX has against the answer to a question of a survey, and against a default, which it drops then; empty where nothing."""
    name, kind = question["variable"], question["type"]
    if name not in given:
        return [f"'{name}' value missing"] if question["required"] and is_needed else []
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, ANSWERED[kind]):
        return [f"Value {value} for '{name}' expected to be of the type of a {kind}."]
    if kind in CHOSEN:
        choices = question["choices"].splitlines()
        chosen = value if isinstance(value, list) else [value]
        return [f"Value {each} for '{name}' expected to be one of {choices}." for each in chosen if each not in choices]
    size = len(value) if isinstance(value, str) else value
    low, high = question.get("min"), question.get("max")
    if (low not in ("", None) and size < low) or (high not in ("", None) and size > high):
        return [f"'{name}' value {value} must be from {low} to {high}, in characters where it is a text."]
    return []


class StandIn:
    """``tables`` are what it has: {endpoint: {id: row}}; ``asked`` every request as (method, path).

    ``hosts`` are those of each inventory by its name, ``revision`` is the commit that the project's branch is at. ``runs`` are {template's name: what its
    job does}: a function of all extra variables that the playbook would get, which returns the job's status and what it sets by ``set_stats``.
    """

    def __init__(self, playbooks: Iterable[str], token: str = "t" * 30, prefix: str = "/api/") -> None:
        self.token, self.prefix = token, prefix
        self.playbooks = set(playbooks)
        self.tables: dict[str, dict[int, dict[str, Any]]] = {
            name: {} for name in (*RESOURCES, "roles", "jobs", "workflow_jobs", "workflow_approvals")
        }
        self.associated: dict[tuple[str, int, str], list[int]] = {}
        self.granted: dict[int, list[int]] = {}
        self.surveys: dict[int, dict[str, Any]] = {}
        self.outcomes: dict[str, str] = {}
        self.runs: dict[str, Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]] = {}
        self.hosts: dict[str, list[str]] = {}
        self.revision = "0" * 40
        self.asked: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self._next = 1
        for name, kind, fields in (
            ("Machine", "ssh", ("username", "password*", "ssh_key_data*", "ssh_key_unlock*", "become_method", "become_username", "become_password*")),
            ("Source Control", "scm", ("username", "password*", "ssh_key_data*", "ssh_key_unlock*")),
            ("Container Registry", "registry", ("host", "username", "password*", "verify_ssl?")),
        ):  # fmt: skip
            inputs = {
                "fields": [
                    {
                        "id": each.rstrip("*?"),
                        "label": each,
                        "type": "boolean" if each.endswith("?") else "string",
                        "secret": each.endswith("*"),
                    }
                    for each in fields
                ]
            }
            self._insert(
                "credential_types",
                {"name": name, "description": "", "kind": kind, "inputs": inputs, "injectors": {}, "managed": True},
            )
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                code, content = server.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
                data = (
                    b""
                    if content is None
                    else content.encode()
                    if isinstance(content, str)
                    else json.dumps(content).encode()
                )
                self.send_response(code)
                self.send_header("X-API-Product-Name", "AWX")
                self.send_header("X-API-Product-Version", "24.6.1")
                self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = do

            def log_message(self, *arguments: Any) -> None:
                """Nothing: what was asked is in ``asked``."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # What tests ask

    def names(self, endpoint: str) -> set[str]:
        return {str(row.get("name") or row.get("identifier")) for row in self.tables[endpoint].values()}

    def row(self, endpoint: str, name: str) -> dict[str, Any]:
        (found,) = [row for row in self.tables[endpoint].values() if name in (row.get("name"), row.get("identifier"))]
        return found

    def sent(self) -> list[tuple[str, str]]:
        """The requests that may have changed something."""
        return [each for each in self.asked if each[0] != "GET"]

    def insert(self, endpoint: str, **values: Any) -> dict[str, Any]:
        """What somebody makes by hand."""
        with self.lock:
            return self._insert(endpoint, self._validated(endpoint, values, None))

    def schedule(self, name: str) -> dict[str, Any]:
        """What a schedule launches when its time has come: a row of ``jobs`` or ``workflow_jobs``."""
        row = self.row("schedules", name)
        template = self._unified(row["unified_job_template"])
        taken, _left, _errors = self._accepted(template, row["extra_data"])
        return self._started(template, taken, self._prompts(template, row), launch_type="scheduled")[1]

    def variables(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """All extra variables that a job's playbook gets, but those of credentials."""
        template = self.tables["job_templates"][job["template"]]
        said = {
            "job_id": job["id"],
            "job_launch_type": job["launch_type"],
            "job_template_id": template["id"],
            "job_template_name": template["name"],
            "inventory_id": job["inventory"],
            "project_revision": job["scm_revision"],
        }
        if job["of"]:
            whole = self.tables["workflow_jobs"][job["of"]]
            said |= {"workflow_job_id": whole["id"], "workflow_job_name": whole["name"]}
        given = {f"{prefix}_{name}": value for prefix in ("awx", "tower") for name, value in said.items()}
        return {**json.loads(job["extra_vars"]), **given}

    def dealt(self, job: Mapping[str, Any]) -> list[str]:
        """The hosts in the inventory that a job gets: of a slice, its share. A limit is for Ansible, which has these alone."""
        hosts = self._hosts(job["inventory"])
        return hosts[job["job_slice_number"] - 1 :: job["job_slice_count"]] if job["job_slice_number"] else hosts

    def load(self, data: Any) -> None:
        """Have the templates, workflows and schedules of data that were judged (`controller/awx_data.py`), with what they need, as `playbooks/awx.yml`
        brings them."""
        numbers: dict[tuple[str, str], int] = {}
        for endpoint in (
            "organizations",
            "execution_environments",
            "projects",
            "inventories",
            "job_templates",
            "workflow_job_templates",
            "workflow_job_template_nodes",
            "schedules",
        ):
            for each in data.of(endpoint):
                options = {name: value for name, value in each.options.items() if value not in (None, "")}
                if approval := options.pop("approval_node", None):
                    made = self.insert("workflow_approval_templates", **approval)
                    numbers["unified_job_templates", options.setdefault("unified_job_template", approval["name"])] = (
                        made["id"]
                    )
                values = {}
                for name, (kind, _default) in RESOURCES[endpoint].fields.items():
                    if name in options and not (endpoint == "job_templates" and name == "organization"):
                        value = options[name]
                        values[name] = (
                            numbers.get((kind, value.partition("++")[0]), value)
                            if isinstance(value, str)
                            else json.dumps(value)
                            if kind == JSON
                            else value
                        )
                row = self.insert(endpoint, **values)
                for kind in (endpoint, "unified_job_templates"):
                    numbers[kind, each.name] = row["id"]
                if options.get("survey_spec"):
                    self._survey("POST", row, options["survey_spec"])
        nodes = {
            (row["workflow_job_template"], row["identifier"]): number
            for number, row in self.tables["workflow_job_template_nodes"].items()
        }
        for each in data.of("workflow_job_template_nodes"):
            workflow = numbers["workflow_job_templates", each.options["workflow_job_template"]]
            for link in LINKS:
                key = ("workflow_job_template_nodes", nodes[workflow, each.options["identifier"]], link)
                self.associated[key] = [nodes[workflow, name] for name in each.options.get(link, [])]

    # The protocol

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        if parts.path.startswith(self.prefix):  # the Ansible Automation Platform has its controller elsewhere
            parts = parts._replace(path=f"/api/{parts.path.removeprefix(self.prefix)}")
        with self.lock:
            self.asked.append((method, parts.path))
            try:
                if authorization != f"Bearer {self.token}":
                    raise Answer(
                        401,
                        {
                            "detail": "Authentication credentials were not provided. To establish a login session, visit /api/login/."
                        },
                    )
                if not parts.path.startswith(API) or not parts.path.endswith("/"):
                    raise Answer(404, {"detail": "The requested resource could not be found."})
                try:
                    data = json.loads(body) if body else {}
                except ValueError:
                    raise Answer(400, {"detail": "JSON parse error"}) from None
                words = [unquote(word) for word in parts.path[len(API) : -1].split("/")]
                return self._routed(
                    method, words, dict(parse_qsl(parts.query, keep_blank_values=True)), data, parts.path
                )
            except Answer as answer:
                return answer.code, answer.content

    def _routed(self, method: str, words: list[str], query: dict[str, str], data: Any, path: str) -> tuple[int, Any]:
        match words:
            case [endpoint] if endpoint in self.tables or endpoint == "unified_job_templates":
                if method == "GET":
                    return 200, self._page(self._filtered(endpoint, query), query, path)
                if method == "POST" and endpoint in RESOURCES:
                    return 201, self._shown(endpoint, self._created(endpoint, data))
            case ["project_updates", number]:
                return 200, {
                    "id": int(number),
                    "status": "successful",
                    "failed": False,
                    "finished": "2026-01-01T00:00:00Z",
                }
            case [endpoint, name] if endpoint in self.tables:
                row = self._found(endpoint, name)
                if method == "GET":
                    return 200, self._shown(endpoint, self._advanced(endpoint, row))
                if method == "PATCH" and endpoint in RESOURCES:
                    row.update(self._validated(endpoint, data, row))
                    return 200, self._shown(endpoint, row)
                if method == "DELETE" and endpoint in RESOURCES:
                    return self._deleted(endpoint, row)
            case [endpoint, name, relation] if endpoint in self.tables:
                return self._related(method, endpoint, self._found(endpoint, name), relation, query, data, path)
        raise Answer(405 if words[0] in self.tables else 404, {"detail": f'Method "{method}" not allowed.'})

    def _related(
        self,
        method: str,
        endpoint: str,
        row: dict[str, Any],
        relation: str,
        query: dict[str, str],
        data: Any,
        path: str,
    ) -> tuple[int, Any]:
        if endpoint in RESOURCES and relation in RESOURCES[endpoint].associations:
            return self._association(
                method, RESOURCES[endpoint].associations[relation], (endpoint, row["id"], relation), query, data, path
            )
        if (endpoint, relation) == ("roles", "teams"):
            return self._association(method, "teams", None, query, data, path, self.granted.setdefault(row["id"], []))
        if (endpoint, relation) == ("teams", "roles"):
            roles = [role for number, role in self.tables["roles"].items() if row["id"] in self.granted.get(number, [])]
            return 200, self._page([self._shown("roles", role) for role in roles], query, path)
        if relation == "survey_spec" and endpoint in RAN:
            return self._survey(method, row, data)
        if relation == "launch" and endpoint in RAN and method == "GET":
            return 200, self._launchable(row)
        if relation in ("jobs", "workflow_jobs", "slice_workflow_jobs") and endpoint in RAN and method == "GET":
            table = self.tables[relation.removeprefix("slice_")]
            ran = [each for each in table.values() if each["template"] == row["id"]]
            newest = sorted(ran, key=lambda each: -each["id"] if query.get("order_by") == "-id" else each["id"])
            return 200, self._page([self._shown(relation, each) for each in newest], query, path)
        if relation == "job_events" and endpoint == "jobs":
            events = [] if int(query.get("counter__gt", 0)) else [{"counter": 1, "stdout": f"PLAY [{row['name']}]"}]
            return 200, self._page(events, query, path)
        if relation == "workflow_nodes" and endpoint == "workflow_jobs":
            return 200, self._page(self._nodes(row), query, path)
        if relation == "launch" and endpoint in RAN and method == "POST":
            return self._launched(endpoint, row, data)
        if relation == "create_approval_template" and method == "POST":
            made = self._created("workflow_approval_templates", data)
            row["unified_job_template"] = made["id"]
            return 201, self._shown("workflow_approval_templates", made)
        if relation in ("approve", "deny") and endpoint == "workflow_approvals" and method == "POST":
            if row["status"] != "pending":
                raise Answer(400, {"error": "This workflow step has already been approved or denied."})
            row["status"] = "successful" if relation == "approve" else "failed"
            return 204, None
        if relation == "stdout":
            return 200, f"{row['name']}: {row['status']}\n"
        if relation == "cancel" and method == "POST":
            row["status"], row["failed"], row["finished"] = "canceled", True, "2026-01-01T00:00:00Z"
            return 202, None
        raise Answer(404, {"detail": "The requested resource could not be found."})

    def _association(
        self,
        method: str,
        endpoint: str,
        key: tuple[str, int, str] | None,
        query: dict[str, str],
        data: Any,
        path: str,
        known: list[int] | None = None,
    ) -> tuple[int, Any]:
        numbers = known if known is not None else self.associated.setdefault(key, [])  # type: ignore[arg-type]
        if method == "GET":
            return 200, self._page(
                [self._shown(endpoint, self.tables[endpoint][number]) for number in numbers], query, path
            )
        number = data.get("id")
        if number not in self.tables[endpoint]:
            raise Answer(400, {"msg": f"{endpoint} with id {number} does not exist"})
        if data.get("disassociate"):
            numbers[:] = [each for each in numbers if each != number]
        elif number not in numbers:
            numbers.append(number)
        return 204, None

    # Objects

    def _insert(self, endpoint: str, row: dict[str, Any]) -> dict[str, Any]:
        number, self._next = self._next, self._next + 1
        kept = {"id": number, **row}
        self.tables[endpoint][number] = kept
        for role in RESOURCES[endpoint].roles if endpoint in RESOURCES else ():
            title = ROLE_NAMES.get(role, role.replace("_", " ").title())
            made = self._insert("roles", {"name": title, "field": f"{role}_role", "of": [endpoint, number]})
            self.granted[made["id"]] = []
        return kept

    def _created(self, endpoint: str, data: Any) -> dict[str, Any]:
        row = self._insert(endpoint, self._validated(endpoint, data, None))
        if endpoint == "projects":
            row["updating"] = True  # AWX brings a new project up to date at once
        return row

    def _validated(self, endpoint: str, data: Any, row: dict[str, Any] | None) -> dict[str, Any]:
        """The fields of a request as they are kept; raises what AWX answers instead."""
        fields = RESOURCES[endpoint].fields
        if not isinstance(data, dict):
            raise Answer(400, {"detail": "Invalid data. Expected a dictionary."})
        if (row or {}).get("managed"):
            raise Answer(403, {"detail": "Modifications not allowed for managed credential types"})
        read_only = READ_ONLY | ({"organization"} if endpoint == "job_templates" else set())
        for name in data.keys() - fields.keys() - read_only:
            raise wrong(**{name: "Unknown field: an AWX would leave it out."})
        values = {} if row is None else copy.deepcopy({name: row[name] for name in fields})
        for name, (kind, default) in fields.items():
            if name in data:
                values[name] = self._value(name, kind, data[name], default)
            elif row is None and default is ...:
                raise wrong(**{name: "This field is required."})
            elif row is None:
                values[name] = copy.deepcopy(default)
        check = getattr(self, f"_judge_{endpoint}", None)
        if check:
            check(values, row)
        together = RESOURCES[endpoint].unique
        for other in self.tables[endpoint].values() if together else ():
            if (row is None or other["id"] != row["id"]) and all(
                other.get(name) == values.get(name) for name in together
            ):
                what = RESOURCES[endpoint].type.replace("_", " ").capitalize()
                titles = " and ".join(name.replace("_", " ").capitalize() for name in together)
                raise wrong(
                    **{"__all__" if len(together) > 1 else together[0]: f"{what} with this {titles} already exists."}
                )
        return values

    def _value(self, name: str, kind: str, value: Any, default: Any) -> Any:
        if kind == STR and value is None:
            return default if default in ("", None) else ""
        types = {STR: str, BOOL: bool, INT: int, DICT: dict, JSON: str}
        if kind in types:
            if value is None and default is None:
                return None
            if not isinstance(value, types[kind]) or (kind == INT and isinstance(value, bool)):
                raise wrong(**{name: f"Not a valid {kind}."})
            if kind == JSON and value and not isinstance(json.loads(value), dict):
                raise wrong(**{name: "Variables must be a dictionary."})
            return copy.deepcopy(value)
        if value in (None, "") and default is None:
            return None
        if value not in {each["id"] for each in self._rows(kind)}:
            raise wrong(**{name: f'Invalid pk "{value}" - object does not exist.'})
        return value

    def _judge_credential_types(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        for each in values["inputs"].get("fields", []):
            each.setdefault("type", "string")
        in_use = row and any(each["credential_type"] == row["id"] for each in self.tables["credentials"].values())
        if in_use and values["inputs"] != row["inputs"]:
            raise Answer(
                403, {"detail": "Modifications to inputs are not allowed for credential types that are in use"}
            )
        if values["kind"] not in ("cloud", "net"):
            raise wrong(kind=f"Must be 'cloud' or 'net', not {values['kind']}")
        files = values["injectors"].get("file", {})
        names = {each.partition(".")[2] for each in files}
        if "" in names and len(names) > 1:
            raise wrong(injectors="Must use multi-file syntax when injecting multiple files")
        tower = {"filename": "FILE" if names == {""} else dict.fromkeys(names, "FILE")}
        known = {each["id"]: "EXAMPLE" for each in values["inputs"].get("fields", [])}
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        for kind, templates in values["injectors"].items():
            if kind not in ("file", "env", "extra_vars"):
                raise wrong(injectors=f"Additional properties are not allowed ('{kind}' was unexpected)")
            for name, text in templates.items():
                if kind == "env" and name.startswith("ANSIBLE_"):
                    raise wrong(
                        injectors=f"Environment variable {name} may affect Ansible configuration so its use is not allowed in credentials."
                    )
                try:
                    environment.from_string(text).render(tower=tower, **known)
                except jinja2.TemplateError as error:
                    raise wrong(injectors=f"{name} uses an undefined field ({error})") from None

    def _judge_credentials(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        declared = {
            each["id"]: each for each in self.tables["credential_types"][values["credential_type"]]["inputs"]["fields"]
        }
        before = (row or {}).get("inputs", {})
        for name, value in list(values["inputs"].items()):
            if name not in declared:
                raise wrong(inputs=f"Additional properties are not allowed ('{name}' was unexpected)")
            expected = bool if declared[name].get("type") == "boolean" else str
            if type(value) is not expected:
                raise wrong(inputs=f"{value!r} is not of type '{declared[name]['type']}'")
            if value == ENCRYPTED and declared[name].get("secret"):
                if name not in before:
                    raise Answer(500, {"detail": "A server error has occurred."})
                values["inputs"][name] = before[name]
            elif name == "ssh_key_data" and "PRIVATE KEY-----" not in value:
                raise Answer(400, {"inputs": {name: [f"Invalid certificate or key: {value[:100]}..."]}})

    def _judge_projects(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        if values["credential"] is not None and self._kind_of_credential(values["credential"]) != "scm":
            raise wrong(credential="Credential kind must be 'scm'.")

    def _judge_execution_environments(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        if values["credential"] is not None and self._kind_of_credential(values["credential"]) != "registry":
            raise wrong(
                credential="Only Container Registry credentials can be associated with an Execution Environment"
            )

    def _kind_of_credential(self, number: int) -> str:
        kind: str = self.tables["credential_types"][self.tables["credentials"][number]["credential_type"]]["kind"]
        return kind

    def _judge_notification_templates(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        configuration, types = values["notification_configuration"], NOTIFICATIONS.get(values["notification_type"])
        if types is None:
            raise wrong(notification_type=f'"{values["notification_type"]}" is not a valid choice.')
        missing = [name for name, (_type, default) in types.items() if name not in configuration and default is ...]
        if missing:
            raise wrong(non_field_errors=f"Missing required fields for Notification Configuration: {missing}.")
        for name, (expected, default) in types.items():
            value = configuration.setdefault(name, copy.deepcopy(default))
            if type(value) is not (str if expected == "password" else expected):
                raise wrong(non_field_errors=f"Configuration field '{name}' incorrect type, expected {expected}.")
            if expected == "password" and value == ENCRYPTED and row is not None:
                configuration[name] = row["notification_configuration"][name]
        for event in values["messages"] or {}:
            if event not in DEFAULT_MESSAGES:
                raise wrong(
                    messages=f"Event '{event}' invalid, must be one of 'started', 'success', 'error', or 'workflow_approval'"
                )

    def _judge_job_templates(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        if values["project"] is None:
            raise wrong(project="This field is required.")
        if values["playbook"] not in self.playbooks:
            raise wrong(playbook="Playbook not found for project.")
        if values["inventory"] is None and not values["ask_inventory_on_launch"]:
            raise wrong(inventory="You must either set a default value or ask to prompt on launch.")

    def _judge_schedules(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        if not re.match(r"DTSTART(;TZID=\S+)?:\d{8}T\d{6}Z? RRULE:(?=.*FREQ=)(?=.*INTERVAL=)", values["rrule"]):
            raise wrong(rrule="Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ")
        template = next(
            each for each in self._rows("unified_job_templates") if each["id"] == values["unified_job_template"]
        )
        self._judge_prompts(template, values)

    def _judge_workflow_job_template_nodes(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        if values["unified_job_template"] is not None:
            template = next(
                each for each in self._rows("unified_job_templates") if each["id"] == values["unified_job_template"]
            )
            if template["id"] not in self.tables["workflow_approval_templates"]:
                self._judge_prompts(template, values, is_needed=False)  # the workflow may answer

    def _judge_prompts(self, template: Mapping[str, Any], values: Mapping[str, Any], *, is_needed: bool = True) -> None:
        """What is kept to launch a template with, it has to take."""
        for prompt in PROMPTED:
            if values[prompt] is not None and not template.get(f"ask_{prompt}_on_launch"):
                raise wrong(**{prompt: "Field is not configured to prompt on launch."})
        _taken, left, errors = self._accepted(template, values["extra_data"], is_needed=is_needed)
        if errors:
            raise Answer(400, {"variables_needed_to_start": errors})
        if left:
            raise wrong(extra_vars=f"Variables {', '.join(left)} are not allowed on launch.")

    def _deleted(self, endpoint: str, row: dict[str, Any]) -> tuple[int, Any]:
        if endpoint == "credential_types" and (
            row.get("managed")
            or any(each["credential_type"] == row["id"] for each in self.tables["credentials"].values())
        ):
            raise Answer(403, {"detail": "Credential types that are in use cannot be deleted"})
        self._remove(endpoint, row["id"])
        return (202, {}) if endpoint == "inventories" else (204, None)

    def _remove(self, endpoint: str, number: int) -> None:
        gone = self.tables[endpoint].pop(number)
        if (
            endpoint == "workflow_job_template_nodes"
            and gone["unified_job_template"] in self.tables["workflow_approval_templates"]
        ):
            del self.tables["workflow_approval_templates"][gone["unified_job_template"]]
        for name in [name for name, role in self.tables["roles"].items() if role["of"] == [endpoint, number]]:
            del self.tables["roles"][name]
        for (_of, _id, relation), numbers in self.associated.items():
            target = RESOURCES[_of].associations[relation]
            numbers[:] = [each for each in numbers if (target, each) != (endpoint, number)]
        for other, resource in RESOURCES.items():
            for name, (kind, default) in resource.fields.items():
                if kind == endpoint or (kind == "unified_job_templates" and RESOURCES[endpoint].is_unified):
                    for each in [each for each in self.tables[other].values() if each[name] == number]:
                        if default is ...:
                            self._remove(other, each["id"])
                        else:
                            each[name] = None

    # What is shown

    def _rows(self, endpoint: str) -> list[dict[str, Any]]:
        if endpoint != "unified_job_templates":
            return list(self.tables[endpoint].values())
        return [
            row for name, resource in RESOURCES.items() if resource.is_unified for row in self.tables[name].values()
        ]

    def _endpoint(self, row: Mapping[str, Any]) -> str:
        return next(name for name, table in self.tables.items() if table.get(row["id"]) is row)

    def _organization(self, endpoint: str, row: Mapping[str, Any]) -> int | None:
        if "organization" in row:
            return row["organization"]
        via = {"job_templates": ("projects", "project"), "inventory_sources": ("inventories", "inventory")}.get(
            endpoint
        )
        return (
            self.tables[via[0]][row[via[1]]]["organization"] if via and row.get(via[1]) in self.tables[via[0]] else None
        )

    def _shown(self, endpoint: str, row: Mapping[str, Any]) -> dict[str, Any]:
        url = f"{API}{endpoint}/{row['id']}/"
        if endpoint == "roles":
            of, number = row["of"]
            about = {"resource_name": self.tables[of][number].get("name"), "resource_type": RESOURCES[of].type}
            return {"id": row["id"], "type": "role", "url": url, "name": row["name"], "summary_fields": about}
        if endpoint not in RESOURCES:
            return {"type": endpoint.removesuffix("s"), "url": url, **copy.deepcopy(dict(row))}
        resource = RESOURCES[endpoint]
        shown = {
            "id": row["id"],
            "type": resource.type,
            "url": url,
            **copy.deepcopy({name: row[name] for name in resource.fields}),
        }
        shown["organization"] = self._organization(endpoint, row) if endpoint != "organizations" else None
        if endpoint in ("credential_types", "credentials", "execution_environments"):
            shown["managed"] = bool(row.get("managed"))
        summary: dict[str, Any] = {}
        related = {name: f"{url}{name}/" for name in resource.associations}
        for name, (kind, _default) in resource.fields.items():
            if kind in RESOURCES or kind == "unified_job_templates":
                target = next((each for each in self._rows(kind) if each["id"] == row[name]), None)
                if target is not None:
                    summary[name] = {"id": target["id"], "name": target.get("name", "")}
                    related[name] = f"{API}{self._endpoint(target)}/{target['id']}/"
        roles = [role for role in self.tables["roles"].values() if role["of"] == [endpoint, row["id"]]]
        if roles:
            summary["object_roles"] = {role["field"]: {"id": role["id"], "name": role["name"]} for role in roles}
        if endpoint in RAN:
            related |= {"survey_spec": f"{url}survey_spec/", "launch": f"{url}launch/"}
        if endpoint == "workflow_job_template_nodes":
            related["create_approval_template"] = f"{url}create_approval_template/"
            shown |= {link: list(self.associated.get((endpoint, row["id"], link), [])) for link in LINKS}
        if endpoint == "projects":
            shown["scm_revision"] = self.revision
            if row.get("updating"):
                summary["current_update"] = {"id": row["id"], "status": "running"}
                row["updating"] = False  # type: ignore[index]
        if endpoint == "credentials":
            declared = {
                each["id"]: each for each in self.tables["credential_types"][row["credential_type"]]["inputs"]["fields"]
            }
            shown["inputs"] = {
                name: ENCRYPTED if declared[name].get("secret") and value else value
                for name, value in row["inputs"].items()
            }
        if endpoint == "notification_templates":
            types = NOTIFICATIONS[row["notification_type"]]
            shown["notification_configuration"] = {
                name: ENCRYPTED if types.get(name, ("",))[0] == "password" and value else value for name, value in row["notification_configuration"].items()
            }  # fmt: skip
        return {**shown, "related": related, "summary_fields": summary}

    def _filtered(self, endpoint: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        found = []
        for row in self._rows(endpoint):
            shown = self._shown(self._endpoint(row), row)
            either = [
                self._matches(endpoint, shown, name[4:], value)
                for name, value in query.items()
                if name.startswith("or__")
            ]
            every = [
                self._matches(endpoint, shown, name, value) for name, value in query.items()
                if not name.startswith("or__") and name not in ("page", "page_size", "order_by")
            ]  # fmt: skip
            if all(every) and (not either or any(either)):
                found.append(shown)
        return found

    def _matches(self, endpoint: str, shown: Mapping[str, Any], name: str, value: str) -> bool:
        field_name, _, below = name.partition("__")
        if below:
            # A job template has its organization from its project.
            kind = RESOURCES[endpoint].fields.get(field_name, (f"{field_name}s", None))[0]
            target = next((each for each in self._rows(kind) if each["id"] == shown[field_name]), None)
            return target is not None and str(self._shown(self._endpoint(target), target).get(below)) == value
        if name not in shown and name not in ("name", "organization", "type"):
            raise Answer(400, {"detail": f"{endpoint} has no field named '{name}'"})
        return str(shown.get(name)) == value

    @staticmethod
    def _page(rows: list[dict[str, Any]], query: Mapping[str, str], path: str) -> dict[str, Any]:
        size, page = min(int(query.get("page_size", PAGE)), 200), int(query.get("page", 1))
        rest = "".join(f"&{name}={value}" for name, value in query.items() if name != "page")
        following = f"{path}?page={page + 1}{rest}" if len(rows) > page * size else None
        return {
            "count": len(rows),
            "next": following,
            "previous": None,
            "results": rows[(page - 1) * size : page * size],
        }

    def _found(self, endpoint: str, name: str) -> dict[str, Any]:
        """By id, or by a named URL: name++organization."""
        if name.isdigit():
            found = [row for number, row in self.tables[endpoint].items() if number == int(name)]
        else:
            found = [row for row in self._rows(endpoint) if self._named_url(endpoint, row) == name]
        if len(found) != 1:
            raise Answer(404, {"detail": "The requested resource could not be found."})
        return found[0]

    def _named_url(self, endpoint: str, row: Mapping[str, Any]) -> str:
        summary = self._shown(endpoint, row)["summary_fields"]
        parts = [str(row.get("name"))]
        for name in RESOURCES[endpoint].named:
            kind = self.tables["credential_types"][row["credential_type"]]["kind"] if name == "credential_type" else ""
            parts.append(summary.get(name, {}).get("name", "") + (f"+{kind}" if kind else ""))
        return "++".join(parts)

    # Surveys, jobs and workflows

    def _survey(self, method: str, row: dict[str, Any], data: Any) -> tuple[int, Any]:
        if method == "GET":
            return 200, self.surveys.get(row["id"], {})
        if method == "DELETE":
            self.surveys.pop(row["id"], None)
            return 200, None
        seen: set[str] = set()
        for name, kind in (("name", str), ("description", str), ("spec", list)):
            if not isinstance(data.get(name), kind):
                raise Answer(400, {"error": f"Field '{name}' is missing from survey spec."})
        for index, item in enumerate(data["spec"]):
            for name, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
                if not isinstance(item.get(name), kind):
                    raise Answer(400, {"error": f"'{name}' missing from survey question {index}"})
            if item["type"] not in KEPT:
                raise Answer(
                    400, {"error": f"'{item['type']}' in survey question {index} is no allowed question type."}
                )
            if item["variable"] in seen:
                raise Answer(400, {"error": f"'variable' '{item['variable']}' duplicated in survey question {index}."})
            seen.add(item["variable"])
            if item.get("default", "") != "" and not isinstance(item["default"], KEPT[item["type"]]):
                raise Answer(
                    400, {"error": f"Default value {item['default']} in survey question {index} expected of its type."}
                )
            if item["type"] in CHOSEN:
                defaults = item.get("default", "").splitlines()
                if item["type"] == "multiplechoice" and len(defaults) > 1:
                    raise Answer(400, {"error": "Multiple Choice (Single Select) can only have one default value."})
                if any(each not in item["choices"].splitlines() for each in defaults):
                    raise Answer(400, {"error": "Default choice must be answered from the choices listed."})
        self.surveys[row["id"]] = data
        return 200, {}

    def _questions(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        spec: list[dict[str, Any]] = (
            self.surveys.get(row["id"], {}).get("spec", []) if row.get("survey_enabled") else []
        )
        return spec

    def _accepted(
        self, row: Mapping[str, Any], given: Mapping[str, Any], *, is_needed: bool = True
    ) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        """Of the given variables those that are taken and those that are left out, and what is wrong with answers."""
        taken, left, errors = {}, dict(given), []
        for each in self._questions(row):
            found = answer_errors(each, given, is_needed=is_needed)
            errors += found
            if each["variable"] in left and not found:
                taken[each["variable"]] = left.pop(each["variable"])
        if row.get("ask_variables_on_launch"):
            taken, left = {**left, **taken}, {}
        own = json.loads(row.get("extra_vars") or "{}")
        return taken, {name: value for name, value in left.items() if own.get(name) != value}, errors

    def _prompts(self, row: Mapping[str, Any], *given: Mapping[str, Any]) -> dict[str, Any]:
        """Of what is prompted for, what is given and taken; the last word counts."""
        return {
            name: each[name]
            for each in given
            for name in PROMPTED
            if each.get(name) is not None and row.get(f"ask_{name}_on_launch")
        }

    def _combined(self, row: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The extra variables of a job: the template's own, then each default that is a valid answer, then what was given."""
        defaults = {
            each["variable"]: each["default"] for each in self._questions(row) if each.get("default") is not None
        }
        valid = {
            each["variable"]: defaults[each["variable"]]
            for each in self._questions(row)
            if each["variable"] in defaults and not answer_errors(each, defaults)
        }
        return {**json.loads(row["extra_vars"] or "{}"), **valid, **given}

    def _launchable(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a launch is told beforehand: what is prompted for, and what has to be answered."""
        needed = [each["variable"] for each in self._questions(row) if each["required"]]
        asked = {name: value for name, value in row.items() if name.startswith("ask_")}
        return {
            **asked, "survey_enabled": row["survey_enabled"], "variables_needed_to_start": needed, "passwords_needed_to_start": [],
            "can_start_without_user_input": not needed and not any(asked.values()),
        }  # fmt: skip

    def _nodes(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The nodes of a workflow that runs; one that has not begun has no job."""
        shown = []
        templates = self.tables["workflow_job_template_nodes"]
        nodes = {number: {"identifier": ""} for number in job["nodes"]} if job["is_sliced_job"] else templates
        for number, node in nodes.items():
            if node.get("workflow_job_template", job["template"]) == job["template"]:
                kind, run = job["nodes"].get(number, ("", 0))
                row = self.tables[kind][run] if kind else {}
                about = {
                    "id": run,
                    "name": row.get("name"),
                    "status": row.get("status"),
                    "type": kind.removesuffix("s"),
                }
                shown.append(
                    {"id": number, "identifier": node["identifier"], "summary_fields": {"job": about} if kind else {}}
                )
        return shown

    def _launched(self, endpoint: str, row: dict[str, Any], data: Mapping[str, Any]) -> tuple[int, Any]:
        given = data.get("extra_vars") or {}
        given = json.loads(given) if isinstance(given, str) else given
        taken, left, errors = self._accepted(row, given)
        if errors:
            raise Answer(400, {"variables_needed_to_start": errors})
        ignored: dict[str, Any] = {"extra_vars": left} if left else {}
        ignored |= {
            name: data[name]
            for name in PROMPTED
            if data.get(name) not in (None, row.get(name)) and not row.get(f"ask_{name}_on_launch")
        }
        kind, job = self._started(row, taken, self._prompts(row, data))
        return 201, {
            dict(RAN.values())[kind]: job["id"],
            "ignored_fields": ignored,
            **self._shown(kind, job),
        }

    def _unified(self, number: int) -> dict[str, Any]:
        return next(each for each in self._rows("unified_job_templates") if each["id"] == number)

    def _hosts(self, inventory: int | None) -> list[str]:
        return sorted(self.hosts.get(self.tables["inventories"][inventory]["name"], [])) if inventory else []

    def _started(
        self,
        row: Mapping[str, Any],
        given: Mapping[str, Any],
        prompts: Mapping[str, Any],
        *,
        of: int | None = None,
        launch_type: str = "manual",
        part: tuple[int, int] = (0, 1),
    ) -> tuple[str, dict[str, Any]]:
        """A new job and its table. ``given`` and ``prompts`` were accepted; ``of`` is the workflow job whose node it is; ``part`` its slice, as the
        number and the count, none for 0. A template that is sliced becomes a workflow job with a job for each slice."""
        endpoint = self._endpoint(row)
        job: dict[str, Any] = {
            "name": row["name"],
            "template": row["id"],
            "status": "pending",
            "failed": False,
            "finished": None,
            "extra_vars": json.dumps(self._combined(row, given)),
            "launch_type": launch_type,
            "of": of,
            "nodes": {},
            "artifacts": {},
            **{name: prompts.get(name, row.get(name)) for name in PROMPTED},
        }
        job["limit"] = job["limit"] or ""
        if endpoint == "workflow_job_templates":
            return "workflow_jobs", self._insert("workflow_jobs", {**job, "is_sliced_job": False, "ancestors": {}})
        # It slices the inventory by the hosts that are in it; no limit is looked at.
        slices = min(row["job_slice_count"], len(self._hosts(job["inventory"])))
        if slices > 1 and part == (0, 1):
            whole = self._insert("workflow_jobs", {**job, "is_sliced_job": True, "ancestors": {}})
            for number in range(1, slices + 1):
                _kind, each = self._started(
                    row, given, prompts, of=whole["id"], launch_type="workflow", part=(number, slices)
                )
                whole["nodes"][each["id"]] = ("jobs", each["id"])
            return "workflow_jobs", whole
        about = {"job_slice_number": part[0], "job_slice_count": part[1], "scm_revision": self.revision}
        return "jobs", self._insert("jobs", {**job, **about})

    def _advanced(self, endpoint: str, row: dict[str, Any]) -> dict[str, Any]:
        """A job goes one step on each time that somebody looks at it; an approval that ``outcomes`` names is given or denied then."""
        if endpoint == "workflow_approvals" and row["status"] == "pending":
            row["status"] = self.outcomes.get(row["name"], "pending")
        if endpoint == "jobs" and not row["finished"]:
            if row["status"] == "pending":
                row["status"], row["scm_revision"] = (
                    "running",
                    self.revision,
                )  # the project is brought up to date before
            elif row["name"] in self.runs:
                row["status"], row["artifacts"] = self.runs[row["name"]](self.variables(row))
            else:
                row["status"] = self.outcomes.get(row["name"], "successful")
            if row["status"] != "running":
                row["finished"], row["failed"] = "2026-01-01T00:00:00Z", row["status"] != "successful"
        if endpoint == "workflow_jobs" and not row["finished"]:
            self._advance_workflow(row)
        return row

    def _artifacts(self, kind: str, run: int) -> dict[str, Any]:
        """What a job has set for those that follow it in a workflow; of a workflow job, what its jobs have."""
        row = self.tables[kind][run]
        if kind == "workflow_jobs":
            below = [self._artifacts(*each) for each in row["nodes"].values()]
            return {name: value for each in below for name, value in each.items()}
        return dict(row.get("artifacts", {}))

    def _handed_on(self, job: Mapping[str, Any], parents: Iterable[int]) -> dict[str, Any]:
        """What a node gets of those before it."""
        found: dict[str, Any] = {}
        for parent in sorted(parents):
            found |= job["ancestors"].get(parent, {})
            found |= self._artifacts(*job["nodes"][parent]) if parent in job["nodes"] else {}
        return found

    def _begun(self, job: Mapping[str, Any], number: int, parents: Iterable[int]) -> tuple[str, int]:
        """The job of a node of a workflow: its table and id."""
        node = self.tables["workflow_job_template_nodes"][number]
        template = self._unified(node["unified_job_template"])
        job["ancestors"][number] = handed = self._handed_on(job, parents)
        if self._endpoint(template) == "workflow_approval_templates":
            about = {"name": template["name"], "status": "pending", "workflow_job": job["id"]}
            return "workflow_approvals", self._insert("workflow_approvals", about)["id"]
        # A workflow hands all of its variables to every node, asked for or not. They count more than what jobs have set, and that more than the node's.
        taken, _left, _errors = self._accepted(template, node["extra_data"])
        given = {**taken, **handed, **json.loads(job["extra_vars"])}
        prompts = self._prompts(template, node, {name: job[name] or None for name in PROMPTED})
        kind, made = self._started(template, given, prompts, of=job["id"], launch_type="workflow")
        return kind, made["id"]

    def _advance_workflow(self, job: dict[str, Any]) -> None:
        nodes = [] if job["is_sliced_job"] else [
            number
            for number, node in self.tables["workflow_job_template_nodes"].items()
            if node["workflow_job_template"] == job["template"]
        ]  # fmt: skip
        links = {
            (number, link): self.associated.get(("workflow_job_template_nodes", number, link), [])
            for number in nodes
            for link in LINKS
        }
        job["status"] = "running"
        ends = {number: self.tables[kind][run]["status"] for number, (kind, run) in job["nodes"].items()}
        for number in nodes:
            parents = {parent for (parent, _link), numbers in links.items() if number in numbers}
            begins = not parents or any(
                number in links[parent, link] and end in ends_with
                for parent, end in ends.items()
                for link, ends_with in (
                    ("success_nodes", ("successful",)),
                    ("failure_nodes", ("failed", "canceled")),
                    ("always_nodes", ("successful", "failed")),
                )
            )
            if begins and number not in job["nodes"]:
                job["nodes"][number] = self._begun(job, number, parents)
        for kind, run in job["nodes"].values():
            self._advanced(kind, self.tables[kind][run])
        runs = {number: self.tables[kind][run] for number, (kind, run) in job["nodes"].items()}
        is_quiet = ends == {
            number: run["status"] for number, run in runs.items()
        }  # nothing has moved, so nothing begins
        if is_quiet and all(run["status"] in ENDED for run in runs.values()):
            unhandled = [
                number
                for number, run in runs.items()
                if run["status"] != "successful"
                and not links.get((number, "failure_nodes"))
                and not links.get((number, "always_nodes"))
            ]
            job["status"] = "failed" if unhandled else "successful"
            job["finished"], job["failed"] = "2026-01-01T00:00:00Z", bool(unhandled)


def find_collections() -> None:
    """Let plugins and modules that are imported in this process be found as in Ansible's own."""
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader()


@pytest.fixture
def awx() -> Iterable[StandIn]:
    """An AWX whose project has the playbooks of this repository."""
    import repository

    find_collections()
    server = StandIn(repository.PLAYBOOKS)
    yield server
    server.close()
