# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent of a host costs, and how soon somebody knows: `python -m tests.bench.agent`.

The resident package, compiled as on a host, runs ten checks of all kinds against a deployed release below a directory of its own, again and
again, each run a process of the distribution's Python: processor time and memory at their highest, once with the signatures and all bytes
read and once as in most minutes. Then the same in this process, with receivers on loopback: from a check's answer to the receipt by Slack and
by mail, to the end of the delivery, and 10,000 identical alerts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path.insert(0, str(REPOSITORY / "tests"))

import releases
import sinks
from ansible.module_utils.slipway.base import command
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.host import package
from ansible.module_utils.slipway.host.places import Host
from ansible.module_utils.slipway.watch import agent as agents
from ansible.module_utils.slipway.watch.agent import Agent
from ansible.module_utils.slipway.watch.channels import Credentials
from ansible.module_utils.slipway.watch.check import Settings

PYTHON = "/usr/bin/python3"
PROGRAM = """
import os, re, sys, time
sys.path.insert(0, {compiled!r})
sys.argv = ["slipway", "watch", "run"]
from pathlib import Path
from slipway.host.places import Host
from slipway.watch.commands import main
code = main({arguments!r}, Host(root=Path({root!r}), uid=os.geteuid()))
used = os.times()
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(code, used.user + used.system + used.children_user + used.children_system, peak)
"""
MINUTE = 60
# So many that the slowest of them, when somebody else has the processors, are not its percentiles.
DELIVERIES = 200
MOST_MEMORY_KB, MOST_SHARE, MOST_HANDLING_MS, MOST_SLACK_MS, MOST_DUPLICATES = 30 * 1024, 0.003, 100, 1000, 0.001


def checks(port: int) -> list[dict[str, Any]]:
    """Ten, of kinds that a web application would have."""
    url = f"http://127.0.0.1:{port}/"
    of = {
        "alive": ("heartbeat", {"path": "/srv/shop/shared/beat"}),
        "fresh": ("artifact_staleness", {"path": "config.json"}),
        "site": ("http", {"url": url}),
        "socket": ("tcp", {"port": port}),
        "again": ("http", {"url": url, "slow_milliseconds": 500}),
        "queue": ("alert_queue", {}),
        "audit": ("audit_records", {"path": "/srv/shop/shared/audit.jsonl"}),
        "fallback": ("fallback", {"path": "/srv/shop/shared/fallback"}),
        "signed": ("integrity", {}),
        "room": ("disk", {"spare_bytes": 1}),
    }
    usual = [
        {"name": name, "kind": kind, "application": "shop", "options": options} for name, (kind, options) in of.items()
    ]
    # As in the examples of the documentation: what verifies signatures need not do so each minute.
    return [
        {**each, "interval_seconds": 600} if each["name"] in ("signed", "fresh", "room") else each for each in usual
    ]


class Listening(sinks.HttpSink):
    """A site that is well, for checks; and the time at which each request came, for deliveries."""

    def __post_init__(self) -> None:
        self.times: list[float] = []
        super().__post_init__()

    def fault(self, body: Any) -> str:
        self.times.append(time.perf_counter())
        return super().fault(body)


def site() -> subprocess.Popen[bytes]:
    """A web server in a process of its own, so that what it costs is not the agent's."""
    program = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')\n"
        "    def log_message(self, *a): pass\n"
        "s = h.ThreadingHTTPServer(('127.0.0.1', 0), H); print(s.server_address[1], flush=True); s.serve_forever()"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        **{name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) for name, share in at.items()},
        "most": round(ordered[-1], 2),
    }


def prepared(directory: Path, listed: list[dict[str, Any]], channels: dict[str, Any]) -> Host:
    """A host with a release and settings."""
    root = directory / "host"
    releases.bootstrap(root)
    # There is no systemd here whose timers a deployment could arm.
    host = Host(
        root=root,
        uid=os.geteuid(),
        run=lambda argv, **more: Finished(0, "") if argv[0] == "systemctl" else command.run(argv, **more),
    )
    place = releases.Site(directory / "controller", host, description={"unit": None, "health": []})
    place.build(
        "v1", {f"file{number}": b"x" * 2000 for number in range(200)} | {"config.json": b"{}"}, created=int(time.time())
    )
    place.deploy("v1")
    shared = place.places.shared
    shared.mkdir(exist_ok=True)
    (shared / "beat").touch()
    (shared / "audit.jsonl").write_text(json.dumps({"timestamp": time.time()}) + "\n")
    (root / "metrics").mkdir()
    settings = {
        "format": 1, "interval_seconds": MINUTE, "checks": listed, "escalation": {}, "channels": channels, "metrics_path": "/metrics/slipway.prom",
    }  # fmt: skip
    (host.configuration / "heartbeat.json").write_text(json.dumps(settings))
    return Host(root=root, uid=os.geteuid())


def cost(host: Host, rounds: int) -> dict[str, Any]:
    """Processor seconds and memory of whole runs, each a process."""
    host.resident.parent.mkdir(parents=True)
    package.install(host, resident.build())
    compiled = next(path for path in host.resident.parent.iterdir() if path != host.resident)
    found: dict[str, list[tuple[float, int]]] = {"with_all_bytes": [], "in_most_minutes": []}
    state = host.root / "var/lib/slipway-watch/state.json"
    for _ in range(rounds):
        for case, arguments in (("with_all_bytes", ["run"]), ("in_most_minutes", ["run"])):
            if case == "with_all_bytes":
                state.unlink(missing_ok=True)
            else:
                later(state)
            program = PROGRAM.format(compiled=str(compiled), arguments=arguments, root=str(host.root))
            run = subprocess.run(
                [PYTHON, "-I", "-c", program],
                capture_output=True,
                text=True,
                check=False,
                env={"MALLOC_ARENA_MAX": "1"},
            )
            code, seconds, peak = run.stdout.split()
            assert code == "0", run.stderr
            found[case].append((float(seconds), int(peak)))
    return {
        case: {
            "processor_ms": percentiles([seconds * 1000 for seconds, _peak in values]),
            "memory_mb": round(max(peak for _seconds, peak in values) / 1024, 1),
            "share_of_a_core": round(sum(seconds for seconds, _peak in values) / len(values) / MINUTE, 5),
        }
        for case, values in found.items()
    }


def later(state: Path) -> None:
    """Let what is due each minute be due, and nothing else."""
    kept = json.loads(state.read_text())
    for key, each in kept["checks"].items():
        if key.removeprefix("shop/") not in ("signed", "fresh", "room"):
            each["asked"] -= MINUTE
    state.write_text(json.dumps(kept))


def deliveries(host: Host, slack: Listening, mail: sinks.MailSink, rounds: int) -> dict[str, Any]:
    """Milliseconds from the answer of a check to what people have."""
    handled, to_slack, to_mail = [], [], []
    for _ in range(rounds):
        for path in (host.root / "var/lib/slipway-watch").glob("*"):
            path.unlink()
        answered: list[float] = []
        step = agents.step
        for _beat in range(2):
            agent = Agent(host, Settings.load(host), Credentials(host.root / "credentials"))
            slack.times.clear()
            mail.times.clear()

            def noted(*arguments: Any, at: list[float] = answered, real: Callable[..., Any] = step) -> Any:
                at.append(time.perf_counter())
                return real(*arguments)

            agents.step = noted  # type: ignore[assignment]
            real = agent.delivery.deliver
            ends: list[float] = []

            def deliver(real: Callable[[], None] = real, at: list[float] = ends) -> None:
                real()
                at.append(time.perf_counter())

            agent.delivery.deliver = deliver  # type: ignore[method-assign]
            answered.clear()
            agent.run(everything=True)
            agents.step = step
        handled.append((ends[0] - answered[0]) * 1000)
        to_slack.append((slack.times[0] - answered[0]) * 1000)
        to_mail.append((mail.times[0] - answered[0]) * 1000)
    return {"handling_ms": percentiles(handled), "slack_ms": percentiles(to_slack), "mail_ms": percentiles(to_mail)}


class TimedMail(sinks.MailSink):
    """A mail server that notes when each message was whole."""

    def __post_init__(self) -> None:
        self.times: list[float] = []
        super().__post_init__()
        sink = self

        class Got(list):  # type: ignore[type-arg]
            def append(self, message: Any) -> None:
                sink.times.append(time.perf_counter())
                super().append(message)

        self.got = Got()


def identical(host: Host, slack: Listening, count: int) -> dict[str, Any]:
    """How many messages so many identical alerts are, delivered directly by one host, and how long that takes."""
    agent = Agent(host, Settings.load(host), Credentials(host.root / "credentials"))
    before = len(slack.got)
    alert = agent._alert("CRITICAL", "same", "the same", state="firing")
    began = time.perf_counter()
    for _ in range(count):
        agent.delivery.add(alert)
    agent.delivery.deliver()
    seconds = time.perf_counter() - began
    messages = len(slack.got) - before
    return {"alerts": count, "messages": messages, "deduplicated": 1 - messages / count, "seconds": round(seconds, 3)}


def measure(rounds: int) -> dict[str, Any]:
    web = site()
    try:
        assert web.stdout is not None
        port = int(web.stdout.readline())
        with TemporaryDirectory(prefix="bench-", dir="/dev/shm") as name:
            directory = Path(name)
            found: dict[str, Any] = {"cost": cost(prepared(directory / "a", checks(port), {}), rounds)}
            certificate = sinks.Certificate.make(directory)
            slack, mail = Listening(), TimedMail(certificate)
            channels = {
                "slack": {"url": slack.url},
                "email": {
                    "host": "127.0.0.1", "port": mail.port, "user": sinks.MAIL_USER, "password_credential": "mail", "from": "s@mail.example",
                    "to": ["ops@mail.example"], "ca_file": str(certificate.path),
                },
            }  # fmt: skip
            ill = [{"name": "alive", "kind": "heartbeat", "application": "shop", "options": {"path": "/no/beat"}}]
            host = prepared(directory / "b", ill, channels)
            (host.root / "credentials").mkdir()
            (host.root / "credentials/watch_mail").write_text(sinks.MAIL_PASSWORD)
            # Events go to standard error where there is no journal: as many as there are, they are not what is measured.
            with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
                found["delivery"] = deliveries(host, slack, mail, DELIVERIES)
                found["identical"] = identical(host, slack, 10_000)
            slack.close()
            mail.close()
        return found
    finally:
        web.kill()
        web.wait()


def misses(found: dict[str, Any]) -> list[str]:
    """Which figures are not reached."""
    cost_, delivery = found["cost"], found["delivery"]
    reached = {
        "memory": max(each["memory_mb"] for each in cost_.values()) * 1024 <= MOST_MEMORY_KB,
        "processor": cost_["in_most_minutes"]["share_of_a_core"] <= MOST_SHARE,
        "handling": delivery["handling_ms"]["p95"] <= MOST_HANDLING_MS,
        "slack": delivery["slack_ms"]["p95"] <= MOST_SLACK_MS,
        "deduplication": found["identical"]["deduplicated"] >= 1 - MOST_DUPLICATES,
    }
    return [name for name, is_reached in reached.items() if not is_reached]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agent", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    found = measure(options.rounds)
    missed = misses(found)
    print(json.dumps({**found, "missed": missed}, indent=2))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
