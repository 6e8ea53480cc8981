# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of an AWX 24 in this process, as far as `awx/` uses it: objects, associations, roles, surveys, launches, workflows and approvals.

It keeps to what AWX does and its documentation says: pages, filters, named URLs, `$encrypted$` instead of secrets, 400 with an error for each field, 403 for
what may not be changed, associations by POST with `disassociate`. It is stricter in one thing: a field that AWX would leave out is refused. Jobs run
nothing: ``outcomes`` says how the jobs of a template end.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Iterable, Mapping
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


class Answer(Exception):
    """What is answered instead."""

    def __init__(self, code: int, content: Any = None) -> None:
        super().__init__(code)
        self.code, self.content = code, content


def wrong(**errors: str) -> Answer:
    return Answer(400, {name: [text] for name, text in errors.items()})


class StandIn:
    """``tables`` are what it has: {endpoint: {id: row}}; ``asked`` every request as (method, path)."""

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

    def load(self, data: Any) -> None:
        """Have the templates and workflows of data that were judged (`controller/awx_data.py`), with what they need, as `playbooks/awx.yml` brings them."""
        numbers: dict[tuple[str, str], int] = {}
        for endpoint in (
            "organizations",
            "execution_environments",
            "projects",
            "inventories",
            "job_templates",
            "workflow_job_templates",
            "workflow_job_template_nodes",
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
                    self.surveys[row["id"]] = options["survey_spec"]
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
            ran = [each for each in self.tables.get(relation, {}).values() if each["template"] == row["id"]]
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
        for prompt in ("inventory", "limit", "job_type"):
            if values[prompt] is not None and not template.get(f"ask_{prompt}_on_launch"):
                raise wrong(**{prompt: "Field is not configured to prompt on launch."})

    def _judge_workflow_job_template_nodes(self, values: dict[str, Any], row: dict[str, Any] | None) -> None:
        if values["unified_job_template"] is not None:
            template = next(
                each for each in self._rows("unified_job_templates") if each["id"] == values["unified_job_template"]
            )
            if values["inventory"] is not None and not template.get("ask_inventory_on_launch"):
                raise wrong(inventory="Field is not configured to prompt on launch.")

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
            shown["scm_revision"] = "0" * 40
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
            if item["variable"] in seen:
                raise Answer(400, {"error": f"'variable' '{item['variable']}' duplicated in survey question {index}."})
            seen.add(item["variable"])
            if item["type"] in ("multiplechoice", "multiselect") and any(
                each not in item["choices"].splitlines() for each in str(item.get("default", "")).splitlines()
            ):
                raise Answer(400, {"error": "Default choice must be answered from the choices listed."})
            expected = int if item["type"] == "integer" else str
            if item.get("default", "") != "" and not isinstance(item["default"], expected):
                raise Answer(
                    400,
                    {
                        "error": f"Default value {item['default']} in survey question {index} expected to be {expected.__name__}."
                    },
                )
        self.surveys[row["id"]] = data
        return 200, {}

    def _answered(self, row: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """What the survey makes of the given variables; what it does not ask is ignored unless variables are prompted for."""
        questions = self.surveys.get(row["id"], {}).get("spec", []) if row["survey_enabled"] else []
        errors = []
        for each in questions:
            value = given.get(each["variable"])
            if each["required"] and value in (None, ""):
                errors.append(f"'{each['variable']}' value missing")
            elif (
                value not in (None, "")
                and each["type"] in ("text", "textarea")
                and not each["min"] <= len(str(value)) <= each["max"]
            ):
                errors.append(
                    f"'{each['variable']}' value {value} is too long (length must be no more than {each['max']})."
                )
            elif value not in (None, "") and each["type"] == "integer" and not each["min"] <= value <= each["max"]:
                errors.append(
                    f"Value {value} for '{each['variable']}' must be within the bounds of {each['min']} and {each['max']}."
                )
            elif (
                value not in (None, "")
                and each["type"] == "multiplechoice"
                and value not in each["choices"].splitlines()
            ):
                errors.append(
                    f"Value {value} for '{each['variable']}' expected to be one of {each['choices'].splitlines()}."
                )
        if errors:
            raise Answer(400, {"variables_needed_to_start": errors})
        return {each["variable"]: each["default"] for each in questions if each["default"] != ""} | dict(given)

    def _launchable(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a launch is told beforehand: what is prompted for, and what has to be answered."""
        questions = self.surveys.get(row["id"], {}).get("spec", []) if row["survey_enabled"] else []
        needed = [each["variable"] for each in questions if each["required"]]
        asked = {name: value for name, value in row.items() if name.startswith("ask_")}
        return {
            **asked, "survey_enabled": row["survey_enabled"], "variables_needed_to_start": needed, "passwords_needed_to_start": [],
            "can_start_without_user_input": not needed and not any(asked.values()),
        }  # fmt: skip

    def _nodes(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The nodes of a workflow that runs; one that has not begun has no job."""
        shown = []
        for number, node in self.tables["workflow_job_template_nodes"].items():
            if node["workflow_job_template"] == job["template"]:
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
        asked = {each["variable"] for each in self.surveys.get(row["id"], {}).get("spec", [])}
        taken = {name: value for name, value in given.items() if name in asked or row["ask_variables_on_launch"]}
        left = {name: value for name, value in given.items() if name not in taken}
        ignored: dict[str, Any] = {"extra_vars": left} if left else {}
        if data.get("limit") and not row["ask_limit_on_launch"]:
            ignored["limit"] = data["limit"]
        job = self._started(endpoint, row, self._answered(row, taken))
        job["limit"] = data.get("limit", "") if row["ask_limit_on_launch"] else row["limit"] or ""
        name = RAN[endpoint][1]
        return 201, {
            name: job["id"],
            "ignored_fields": ignored,
            **self._shown(RAN[endpoint][0], job),
        }

    def _started(self, endpoint: str, row: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        return self._insert(
            RAN[endpoint][0],
            {"name": row["name"], "template": row["id"], "status": "pending", "failed": False, "finished": None, "extra_vars": json.dumps(dict(variables)), "nodes": {}, "launch_type": "manual"},
        )  # fmt: skip

    def _advanced(self, endpoint: str, row: dict[str, Any]) -> dict[str, Any]:
        """A job goes one step on each time that somebody looks at it; an approval that ``outcomes`` names is given or denied then."""
        if endpoint == "workflow_approvals" and row["status"] == "pending":
            row["status"] = self.outcomes.get(row["name"], "pending")
        if endpoint == "jobs" and not row["finished"]:
            row["status"] = {"pending": "running", "running": self.outcomes.get(row["name"], "successful")}[
                row["status"]
            ]
            if row["status"] != "running":
                row["finished"], row["failed"] = "2026-01-01T00:00:00Z", row["status"] != "successful"
        if endpoint == "workflow_jobs" and not row["finished"]:
            self._advance_workflow(row)
        return row

    def _advance_workflow(self, job: dict[str, Any]) -> None:
        nodes = {
            number: node
            for number, node in self.tables["workflow_job_template_nodes"].items()
            if node["workflow_job_template"] == job["template"]
        }
        links = {
            (number, link): self.associated.get(("workflow_job_template_nodes", number, link), [])
            for number in nodes
            for link in LINKS
        }
        led_to = {number for numbers in links.values() for number in numbers}
        job["status"] = "running"
        ends = {number: self.tables[kind][run]["status"] for number, (kind, run) in job["nodes"].items()}
        for number, node in nodes.items():
            begins = number not in led_to or any(
                number in links[parent, link] and end in ends_with
                for parent, end in ends.items()
                for link, ends_with in (
                    ("success_nodes", ("successful",)),
                    ("failure_nodes", ("failed", "canceled")),
                    ("always_nodes", ("successful", "failed")),
                )
            )
            if begins and number not in job["nodes"]:
                template = next(
                    each for each in self._rows("unified_job_templates") if each["id"] == node["unified_job_template"]
                )
                endpoint = self._endpoint(template)
                if endpoint == "workflow_approval_templates":
                    made = self._insert(
                        "workflow_approvals", {"name": template["name"], "status": "pending", "workflow_job": job["id"]}
                    )
                    job["nodes"][number] = ("workflow_approvals", made["id"])
                else:
                    # A workflow hands all of its variables to every node.
                    made = self._started(
                        endpoint, template, {**self._answered(template, json.loads(job["extra_vars"]))}
                    )
                    made["launch_type"] = "workflow"
                    job["nodes"][number] = (RAN[endpoint][0], made["id"])
        for kind, run in job["nodes"].values():
            self._advanced(kind, self.tables[kind][run])
        runs = {number: self.tables[kind][run] for number, (kind, run) in job["nodes"].items()}
        is_quiet = ends == {
            number: run["status"] for number, run in runs.items()
        }  # nothing has moved, so nothing begins
        if is_quiet and all(run["status"] in ("successful", "failed", "canceled") for run in runs.values()):
            unhandled = [
                number
                for number, run in runs.items()
                if run["status"] != "successful"
                and not links[number, "failure_nodes"]
                and not links[number, "always_nodes"]
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
