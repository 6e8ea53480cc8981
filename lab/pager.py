# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver on this machine that prints what Alertmanager tells it, as people would read it; and the demo that gives it something to print."""

from __future__ import annotations

import json
import queue
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import demo, instance, network
from .console import say
from .errors import LabError
from .names import DEFAULT_INSTANCE, Clone

RULE = "heartbeat_lapse"
HOST = "prod-1"
# Three beats of the demo's agent, and what its checks and Alertmanager take, many times over.
PATIENCE_SECONDS = 180
BEAT_SECONDS = 5
SHOWN = (
    ("Time", "time"),
    ("Where", "where"),
    ("Release", "release"),
    ("Last deployment", "last_deployment"),
    ("Watch window", "watch_window"),
    ("Context", "context"),
    ("Runbook", "runbook_url"),
)


def page(message: Mapping[str, Any]) -> str:
    """A message of Alertmanager's webhook (version 4) as a page."""
    labels, annotations = message["commonLabels"], message["commonAnnotations"]
    severity = "RESOLVED" if message["status"] == "resolved" else labels["severity"].upper()
    width = max(len(name) for name, _key in SHOWN)
    facts = [f"  {name:<{width}}  {annotations[key]}" for name, key in SHOWN if annotations.get(key)]
    return "\n".join([f"[{severity}] {labels['alertname']}", f"  {annotations.get('summary', '')}", *facts])


@contextmanager
def listening(address: str) -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """The URL of a receiver, and what it is told."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            return

    server = ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}/", told
    finally:
        server.shutdown()
        server.server_close()


def awaited(told: queue.Queue[dict[str, Any]], status: str, show: Callable[[str], None]) -> None:
    """Show each message until the critical one of the demo's rule has this status; LabError where it does not come."""
    while True:
        try:
            message = told.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise LabError(
                expected=f"a message that {RULE} on {HOST} is {status}",
                found=f"none for {PATIENCE_SECONDS} s",
                remedy=f"Look at `slipway watch status` on {HOST} (python3 -m lab ssh {HOST}), then try again.",
            ) from None
        labels = message["commonLabels"]
        if (labels.get("alertname"), labels.get("instance")) != (RULE, HOST):
            continue
        show(page(message))
        if (message["status"], labels.get("severity")) == (status, "critical"):
            return


def run(clone: Clone) -> None:
    """Let all that watches watch the demo's hosts, let the application stop, and print the page that follows, and its end."""
    gateway = network.gateway_of(instance.require(clone, DEFAULT_INSTANCE).host(HOST).address)
    with listening(gateway) as (url, told):
        variables = {
            "alertmanager_webhook_enabled": True,
            "alertmanager_webhook_url": url,
            "alertmanager_group_interval_seconds": 1,
            "heartbeat_interval_seconds": BEAT_SECONDS,
        }
        _do(clone, "all that watches", ["ansible-playbook", "playbooks/observe.yml", "-e", json.dumps(variables)])
        _do(clone, "the application stops", _unit("stop"))
        awaited(told, "firing", _print)
        _do(clone, "it is started again", _unit("start"))
        awaited(told, "resolved", _print)


def _unit(verb: str) -> list[str]:
    """By systemctl: Ansible's own module for units prints all of a unit's properties."""
    return ["ansible", HOST, "--become", "-m", "ansible.builtin.command", "-a", f"systemctl {verb} hello.service"]


def _do(clone: Clone, title: str, words: list[str]) -> None:
    say(f"{title}: {shlex.join(words)}")
    # What changes is news, and the pages are what this is about.
    environment = {**demo.environment(clone.root), "ANSIBLE_DISPLAY_OK_HOSTS": "false"}
    done = subprocess.run(words, cwd=clone.root, env=environment, check=False)
    if done.returncode != 0:
        raise LabError(
            expected=f"{shlex.join(words)} to succeed",
            found=f"exit code {done.returncode}",
            remedy="Read the message above; `make demo` brings up the hosts that this needs.",
        )


def _print(text: str) -> None:
    print(f"\n{text}\n", flush=True)
