# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit that bootstrap writes, at work under systemd: it says what was meant, waits for pending work, and is nobody else's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from deployments import Application, Operator, until

HELLO = Path(__file__).parents[2] / "examples/hello"
HOST = "prod-1"
PORT = 8099
ILL = "/etc/e2e-ill"
DIRECTORY = "/etc/systemd/system"
OWN_UNIT = "[Service]\nExecStart=/bin/sleep infinity\n"
HOSTILE = """%h "quoted' $HOME \\ ; User=root"""
WORDS = """#!/usr/bin/python3
import json, os, pathlib, sys
def attempt(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return error.strerror
    return "written"
said = {
    "argv": sys.argv[1:],
    "hostile": os.environ["HOSTILE"],
    "from_file": os.environ["FROM_FILE"],
    "credential": pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "KEY").read_text(),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")][0],
    "user": os.getuid(),
    "elsewhere": [attempt(path) for path in ("/var/lib/e2e-elsewhere/x", "/srv/e2e-words/x", "/etc/x")],
}
pathlib.Path("/var/lib/e2e-words/said").write_text(json.dumps(said))
"""


def hello_service(**changes: Any) -> dict[str, Any]:
    return {"command": "bin/hello", "environment": {"HOSTILE": HOSTILE}, **changes}


@pytest.fixture(scope="module")
def hello(operator: Operator) -> Iterator[Application]:
    """Return the example under another name on prod-1, beside one that prints and one that brings its own unit."""
    hello = operator.application(
        "unit",
        hosts=[HOST],
        user=None,  # its own
        unit="e2e-unit.service",
        check={"argv": ["test", "!", "-e", ILL]},
        service=hello_service(),
        health=[{"type": "http", "url": f"http://127.0.0.1:{PORT}/health"}],
        health_patience={"deadline_seconds": 20},
    )
    inside = operator.fleet.inside
    inside(HOST, f"printf '{OWN_UNIT}' > {DIRECTORY}/e2e-own.service && systemctl daemon-reload")
    inside(HOST, "mkdir -p /srv/e2e-words/current/bin /var/lib/e2e-words /var/lib/e2e-elsewhere")
    inside(HOST, "chmod 0755 /srv/e2e-words /var/lib/e2e-words; chmod 0777 /var/lib/e2e-words /var/lib/e2e-elsewhere")
    inside(
        HOST, f"cat > /srv/e2e-words/current/bin/words <<'END'\n{WORDS}END\nchmod 0755 /srv/e2e-words/current/bin/words"
    )
    inside(
        HOST,
        "echo FROM_FILE=file > /etc/e2e-words.env; printf secret > /etc/e2e-words.key; chmod 0600 /etc/e2e-words.*",
    )
    yield hello
    inside(HOST, "systemctl stop 'e2e-*.service'; systemctl disable e2e-unit.service e2e-words.service")
    inside(HOST, f"rm -rf {DIRECTORY}/e2e-*.service {ILL} /etc/e2e-words.* /var/lib/e2e-*; systemctl daemon-reload")


def bootstrap(hello: Application, *words: str, others: Mapping[str, Any] | None = None, code: int = 0) -> Any:
    """Bootstrap prod-1 with hello as it is described, and other applications."""
    described = json.loads(hello.variables.read_text())["slipway_applications"]
    variables = json.dumps({"slipway_applications": {**described, **(others or {})}})
    return hello.operator.play("playbooks/bootstrap.yml", "-l", HOST, "-e", variables, *words, code=code)


def shown(hello: Application, unit: str, *properties: str) -> list[str]:
    done = hello.fleet.inside(HOST, f"systemctl show {unit} --property={','.join(properties)}")
    values = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return [values[name] for name in properties]


def make(hello: Application, release_id: str) -> str:
    files: dict[str, str | bytes] = {
        path.relative_to(HELLO).as_posix(): path.read_bytes() for path in HELLO.glob("[bs]*/*") if path.is_file()
    }
    configuration = {"version": "1.0.0", "port": PORT, "greeting": release_id}
    return hello.make(release_id, {**files, "config.json": json.dumps(configuration)})


def test_a_unit_says_what_was_meant_and_one_that_an_application_brings_is_left_alone(hello: Application) -> None:
    words = {
        "unit": "e2e-words.service",
        "service": {
            "command": f"bin/words 'a b' '' '$HOME %n' '{'x' * 9}; id'",
            "description": "100 % words",
            "environment": {"HOSTILE": HOSTILE},
            "environment_files": ["/etc/e2e-words.env", "-/etc/e2e-absent.env"],
            "credentials": {"KEY": "/etc/e2e-words.key"},
            "capabilities": ["CAP_NET_BIND_SERVICE"],
            "writable_paths": ["/var/lib/e2e-words"],
        },
    }
    done = bootstrap(hello, others={"e2e-words": words, "e2e-own": {"unit": "e2e-own.service"}})
    assert done.says("e2e-unit", "e2e-words")
    assert hello.fleet.inside(HOST, f"cat {DIRECTORY}/e2e-own.service").stdout == OWN_UNIT
    assert shown(hello, "e2e-words", "Description", "User") == ["100 % words", "e2e-words"]
    hello.fleet.inside(HOST, "systemctl start --wait e2e-words.service")
    until(lambda: shown(hello, "e2e-words", "ActiveState") == ["inactive"], "the end of e2e-words")
    said = json.loads(hello.fleet.inside(HOST, "cat /var/lib/e2e-words/said").stdout)
    assert said.pop("user") != 0
    assert said == {
        "argv": ["a b", "", "$HOME %n", "xxxxxxxxx; id"],
        "hostile": HOSTILE,
        "from_file": "file",
        "credential": "secret",
        "capabilities": "0000000000000400",
        "elsewhere": ["Read-only file system"] * 3,
    }


def test_a_request_in_flight_is_answered_while_a_deployment_restarts_the_unit(hello: Application) -> None:
    make(hello, "one")
    hello.deploy("one")
    make(hello, "two")
    with socket.create_connection((hello.fleet.host(HOST).address, PORT), timeout=60) as client:
        client.sendall(b"GET /work?seconds=3 HTTP/1.0\r\nX-Waits: ")
        run = hello.start_deploy("-e", "release_id=two")

        def is_stopping() -> bool:
            client.sendall(b"x")  # an idle connection would be closed
            return run.process.poll() is not None or shown(hello, "e2e-unit", "ActiveState") == ["deactivating"]

        until(is_stopping, "the stop of e2e-unit")
        client.sendall(b"\r\n\r\n")
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert json.loads(answer.rpartition(b"\r\n")[2]) == {"worked_seconds": 3, "release_id": "one"}
    run.end(0)
    assert hello.active(HOST) == "two"


def test_systemd_knows_how_long_the_start_took(hello: Application) -> None:
    asked = "from slipway.base import command; from slipway.application import service; print(service.Service('e2e-unit.service', command.run).startup_milliseconds())"
    done = hello.fleet.inside(HOST, f'PYTHONPATH=/usr/lib/slipway/slipway.pyz python3 -c "{asked}"')
    assert 0 < int(done.stdout) < 60_000


def test_a_check_that_fails_keeps_the_unit_from_starting(hello: Application) -> None:
    hello.fleet.inside(HOST, f"touch {ILL}")
    assert hello.fleet.inside(HOST, "systemctl restart e2e-unit.service", check=False).returncode != 0
    assert shown(hello, "e2e-unit", "ActiveState") != ["active"]
    hello.fleet.inside(HOST, f"rm {ILL}; systemctl reset-failed e2e-unit.service; systemctl restart e2e-unit.service")
    assert shown(hello, "e2e-unit", "ActiveState") == ["active"]


def test_a_changed_unit_is_read_but_a_running_one_not_restarted(hello: Application) -> None:
    hello.describe(service=hello_service(stop_timeout_seconds=77))
    before = shown(hello, "e2e-unit", "MainPID")
    done = bootstrap(hello, "--diff")
    assert done.says("-TimeoutStopSec=30s", "+TimeoutStopSec=77s", "e2e-unit.service runs on as it was started")
    assert shown(hello, "e2e-unit", "MainPID") == before
    assert shown(hello, "e2e-unit", "NeedDaemonReload", "TimeoutStopUSec") == ["no", "1min 17s"]


@pytest.mark.parametrize("unit", ["e2e-own.service", "ssh.service"])
def test_a_unit_of_somebody_else_is_refused_and_stays(hello: Application, unit: str) -> None:
    snapshot = (
        f"find {DIRECTORY} -printf '%p %s %T@ %l\\n' | sort; systemctl show {unit} --property=FragmentPath,MainPID"
    )
    before = hello.fleet.inside(HOST, snapshot).stdout
    foreign = {"unit": unit, "service": {"command": "bin/own"}}
    done = bootstrap(hello, others={"e2e-own": foreign}, code=2)
    assert done.says("unit_foreign", unit, "Leave `service` out")
    assert hello.fleet.inside(HOST, snapshot).stdout == before


RELOADS = """#!/usr/bin/python3
import pathlib, signal, time
def read(*_):
    pathlib.Path("/var/lib/e2e-reload/read").write_text(pathlib.Path("/srv/e2e-reload/current/VERSION").read_text())
signal.signal(signal.SIGHUP, read)
read()
while True:
    time.sleep(60)
"""
RELOADING = """[Service]
User=e2e
ExecStart=/srv/e2e-reload/current/bin/reloads
ExecReload=/bin/kill -HUP $MAINPID
StateDirectory=e2e-reload
"""


def test_a_unit_that_reloads_takes_a_release_without_a_stop(operator: Operator) -> None:
    inside = operator.fleet.inside
    inside(HOST, f"cat > {DIRECTORY}/e2e-reload.service <<'END'\n{RELOADING}END\nsystemctl daemon-reload")
    heard = ["sh", "-c", 'test "$(cat /var/lib/e2e-reload/read)" = "$(cat /srv/e2e-reload/current/VERSION)"']
    reload = operator.application(
        "reload",
        hosts=[HOST],
        unit="e2e-reload.service",
        strategy="reload",
        check=None,
        health=[{"type": "unit"}, {"type": "command", "argv": heard}],
        health_patience={"deadline_seconds": 15},
    )
    try:
        for release_id in ("one", "two"):
            reload.make(release_id, {"bin/reloads": RELOADS})
        reload.deploy("one")
        before = shown(reload, "e2e-reload", "MainPID", "NRestarts")
        reload.deploy("two")
        assert inside(HOST, "cat /var/lib/e2e-reload/read").stdout == "two"
        reload.rollback("-e", "release_id=one")
        assert inside(HOST, "cat /var/lib/e2e-reload/read").stdout == "one"
        assert shown(reload, "e2e-reload", "MainPID", "NRestarts") == before
    finally:
        inside(HOST, f"systemctl stop e2e-reload.service; rm {DIRECTORY}/e2e-reload.service; systemctl daemon-reload")
