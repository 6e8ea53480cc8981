# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of AWX's API v2 that launches and tells of jobs, as a server of this process: templates, launches, jobs, events, workflow nodes.

What AWX does is done: extra variables that a template does not take are ignored and named, lists have pages and filters, errors have its statuses. A test
scripts what becomes of jobs, by the statuses that each look at one finds, and which requests are answered otherwise.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "a-token-of-a-test"  # of no server
Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass
class Template:
    """A template: what it prompts for, and how its jobs go. ``statuses`` are found one after the other, the last for ever."""

    name: str
    kind: str = "job"
    organization: str = "Slipway"
    asks_variables: bool = True
    asks_limit: bool = True
    survey: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    passwords: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ("pending", "running", "successful")
    output: tuple[str, ...] = ()
    nodes: tuple[dict[str, Any], ...] = ()
    explanation: str = ""
    ignores: dict[str, Any] = field(default_factory=dict)


@dataclass
class StandIn:
    """``templates`` by number; ``disturb`` may answer a request in another way, once it was told (method, path), or drop it (None).

    ``carried_out`` says of a disturbed request whether it was done all the same.
    """

    templates: dict[int, Template]
    jobs: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    canceled: list[int] = field(default_factory=list)
    disturb: Callable[[str, str], Answer | str | None] = lambda _method, _path: None
    url: str = ""

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        parts = path.removeprefix("/api/v2/").strip("/").split("/")
        collection, rest = parts[0], parts[1:]
        kind = {"job_templates": "job", "workflow_job_templates": "workflow"}.get(collection)
        if kind and not rest:
            return self._page(
                [self._shown(number) for number, each in self.templates.items() if self._fits(each, kind, query)]
            )
        if kind and int(rest[0]) in self.templates and self.templates[int(rest[0])].kind == kind:
            return self._of_template(int(rest[0]), rest[1], method, query, body)
        job = next(
            (each for each in self.jobs if collection in ("jobs", "workflow_jobs") and str(each["id"]) == rest[0]), None
        )
        return self._of_job(job, rest[1:], method, query) if job else (404, {"detail": "Not found."}, {})

    def _fits(self, template: Template, kind: str, query: dict[str, str]) -> bool:
        return (
            template.kind == kind
            and template.name == query.get("name", template.name)
            and template.organization == query.get("organization__name", template.organization)
        )

    def _shown(self, number: int) -> dict[str, Any]:
        template = self.templates[number]
        return {
            "id": number,
            "name": template.name,
            "summary_fields": {"organization": {"name": template.organization}},
        }

    def _page(self, results: list[dict[str, Any]]) -> Answer:
        return 200, {"count": len(results), "next": None, "previous": None, "results": results}, {}

    def _of_template(self, number: int, what: str, method: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        template = self.templates[number]
        if what == "launch" and method == "POST":
            return self._launch(number, template, body)
        if what == "launch":
            return 200, {
                "ask_variables_on_launch": template.asks_variables, "ask_limit_on_launch": template.asks_limit,
                "survey_enabled": bool(template.survey), "variables_needed_to_start": list(template.needed),
                "passwords_needed_to_start": list(template.passwords), "can_start_without_user_input": not template.needed,
            }, {}  # fmt: skip
        if what == "survey_spec":
            return 200, {"name": "", "spec": [{"variable": each} for each in template.survey]}, {}
        if what in ("jobs", "workflow_jobs"):
            newest = sorted((each for each in self.jobs if each["template"] == number), key=lambda each: -each["id"])
            return self._page(newest[: int(query["page_size"])])
        return self._page([])

    def _launch(self, number: int, template: Template, body: dict[str, Any]) -> Answer:
        given = body.get("extra_vars", {})
        taken = given if template.asks_variables else {key: given[key] for key in given if key in template.survey}
        kind = "workflow_job" if template.kind == "workflow" else "job"
        new = 100 + len(self.jobs)
        job = {
            "id": new, "type": kind, "url": f"/api/v2/{kind}s/{new}/", "template": number, "looks": 0, "limit": body.get("limit", ""),
            "extra_vars": json.dumps(taken), "job_explanation": template.explanation, "status": template.statuses[0],
        }  # fmt: skip
        self.jobs.append(job)
        ignored = dict(template.ignores)
        if taken != given:
            ignored["extra_vars"] = {key: value for key, value in given.items() if key not in taken}
        return 201, {**job, "ignored_fields": ignored}, {}

    def _of_job(self, job: dict[str, Any], rest: list[str], method: str, query: dict[str, str]) -> Answer:
        template = self.templates[job["template"]]
        if rest == ["cancel"] and method == "POST":
            self.canceled.append(job["id"])
            return 202, {}, {}
        if rest == ["job_events"]:
            after = int(query["counter__gt"])
            done = (
                len(template.output)
                if job["looks"] >= len(template.statuses)
                else min(job["looks"], len(template.output))
            )
            events = [
                {"counter": place, "stdout": line}
                for place, line in enumerate(template.output[:done], 1)
                if place > after
            ]
            return self._page(events[: int(query["page_size"])])
        if rest == ["workflow_nodes"]:
            look = min(job["looks"], len(template.statuses)) - 1
            nodes = [
                {
                    "id": place,
                    "summary_fields": {"job": {**each, "status": each["status"][min(look, len(each["status"]) - 1)]}},
                }
                for place, each in enumerate(template.nodes)
            ]
            page, size = int(query["page"]), int(query["page_size"])
            status, content, headers = self._page(
                [*nodes, {"id": 99, "summary_fields": {}}][(page - 1) * size : page * size]
            )
            return status, {**content, "next": "…" if len(nodes) + 1 > page * size else None}, headers
        job["status"] = template.statuses[min(job["looks"], len(template.statuses) - 1)]
        job["looks"] += 1
        return 200, job, {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.stand_in.requests.append(f"{method} {parts.path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send((401, {"detail": "Authentication credentials were not provided."}, {}))
            return
        disturbed = self.stand_in.disturb(method, parts.path)
        if disturbed is None or disturbed == "done":
            answer = self.stand_in.answer(method, parts.path, dict(parse_qsl(parts.query)), body)
        if disturbed is None:
            self._send(answer)
        elif isinstance(disturbed, str):  # dropped, after it was done or before
            self.close_connection = True
        else:
            self._send(disturbed)

    def _send(self, answer: Answer) -> None:
        status, content, headers = answer
        data = content["raw"].encode() if "raw" in content else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, template: str, *values: Any) -> None:
        pass


@contextmanager
def running(*templates: Template) -> Iterator[StandIn]:
    """A stand-in that listens, with these templates."""
    stand_in = StandIn(dict(enumerate(templates, 7)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stand_in": stand_in}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()


def once(method: str, path: str, answer: Answer | str, times: int = 1) -> Callable[[str, str], Answer | str | None]:
    """Disturb the first requests of a method whose path matches."""
    left = [times]

    def disturb(asked: str, at: str) -> Answer | str | None:
        if left[0] and asked == method and re.search(path, at):
            left[0] -= 1
            return answer
        return None

    return disturb
