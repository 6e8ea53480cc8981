# SPDX-License-Identifier: GPL-3.0-or-later
"""A real HAProxy before two instances that tests start and stop: what a host with blue_green has, but for systemd."""

from __future__ import annotations

import json
import mmap
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible.module_utils.slipway.application.blue_green import COLOURS
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.base.files import read_link
from ansible.module_utils.slipway.host import balancer_file
from ansible.module_utils.slipway.host.haproxy import Haproxy, Server
from ansible.module_utils.slipway.host.places import Host
from releases import ONCE, Site

TEMPLATE = "shop@.service"


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def balanced(ports: list[int], **more: Any) -> dict[str, Any]:
    """`blue_green` of a description."""
    return {"port": ports[0], "instance_ports": dict(zip(COLOURS, ports[1:], strict=True)), "drain_seconds": 5, **more}


class RealTime:
    """Waits for real, since HAProxy does; the wall clock stays the one that tests set."""

    def __init__(self, wall: Any) -> None:
        self.now, self.advance = wall.now, wall.advance
        self.elapsed, self.sleep = SystemClock().elapsed, SystemClock().sleep


class RunningHaproxy:
    """A HAProxy with the configuration that the product writes, as whoever runs the tests, with its socket below ``host``."""

    def __init__(self, host: Host, described: Mapping[str, Any], *, checks: bool = True) -> None:
        served = {name: Application.parse(name, value).blue_green for name, value in described.items()}
        text = balancer_file.render(served, host, 60)
        text = re.sub(r"    (user|group) haproxy\n|    log .*\n|    option httplog\n", "", text)
        text = text.replace("socket /run", f"socket {host.root}/run").replace(" user root group root", "")
        text = text if checks else text.replace("default-server check", "default-server")
        place = host.balancer_socket.parent
        (
            host.root.parent / "haproxy"
        ).mkdir()  # a link to it, so that tests may put the host's files back while HAProxy runs
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(host.root.parent / "haproxy")
        path = host.balancer_socket.with_name("haproxy.cfg")
        path.write_text(text)
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program, "haproxy is not installed: python3 -m lab install haproxy"
        log = path.with_name("log").open("w+")
        self._process = subprocess.Popen([program, "-db", "-f", path], stdout=log, stderr=subprocess.STDOUT)
        self.api = Haproxy(host.balancer_socket, SystemClock())
        deadline = time.monotonic() + 20
        while not host.balancer_socket.is_socket():
            assert self._process.poll() is None, path.with_name("log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def servers(self, backend: str = "shop") -> dict[str, Server]:
        return self.api.servers(backend)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Instance(BaseHTTPRequestHandler):
    """Answers with the release that its colour's link said when it started; a path /slow is held until it is let go."""

    def __init__(self, release: str, instances: Instances, *arguments: Any) -> None:
        self.release, self.instances = release, instances
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.instances.open += 1
            self.instances.held.wait(20)
            self.instances.open -= 1
        body = json.dumps({"release_id": self.release}).encode()
        self.send_response(200 if self.release != "ill" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, template: str, *values: Any) -> None:
        pass


class Instances:
    """The units shop@blue.service and shop@green.service: `systemctl` starts and stops them, with or without real servers.

    Which of them run is shared with children that a test forks, as systemd goes on when a process dies.
    """

    def __init__(self, site: Site, ports: Mapping[str, int], *, real: bool) -> None:
        self.site, self.ports, self.real = site, ports, real
        self.held = threading.Event()
        self._running = mmap.mmap(-1, len(COLOURS))
        self._servers: dict[str, ThreadingHTTPServer] = {}
        self.open = self.cut = 0  # slow requests, and those of them that an end came upon
        self.deaf: set[str] = set()  # what runs without listening
        self.starts: list[str] = []
        self.verbs: list[str] = []

    def runs(self, colour: str) -> bool:
        return bool(self._running[COLOURS.index(colour)])

    def may_start(self, colour: str) -> bool:
        """What ExecCondition= asks."""
        place, current = self.site.places.instances / colour, self.site.places.current
        return place.exists() and current.exists() and place.samefile(current)

    def set(self, colour: str, *, runs: bool) -> None:
        if self.real and runs and not self.runs(colour) and colour not in self.deaf:
            release = (self.site.places.instances / colour).resolve().name
            handler = partial(Instance, release, self)
            server = ThreadingHTTPServer(("127.0.0.1", self.ports[colour]), handler)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            self._servers[colour] = server
        if self.real and not runs and (server := self._servers.pop(colour, None)):
            self.cut += self.open
            server.shutdown()
            server.server_close()
        self._running[COLOURS.index(colour)] = int(runs)

    def systemctl(self, play: Callable[..., Finished]) -> Callable[..., Finished]:
        """A Runner over the played systemctl, for the two units."""

        def run(argv: Any, **options: Any) -> Finished:
            unit = re.fullmatch(r"shop@(\w+)\.service", argv[-1])
            if argv[0] != "systemctl" or unit is None:
                return play(argv, **options)
            colour, verb = unit[1], argv[2]
            self.verbs.append(verb)
            if verb == "show":
                state = "active" if self.runs(colour) else "inactive"
                return Finished(0, f"LoadState=loaded\nActiveState={state}\nSubState=x\nNeedDaemonReload=no\n")
            if verb in ("stop", "restart"):
                self.set(colour, runs=False)
            if verb in ("start", "restart") and not self.runs(colour) and self.may_start(colour):
                self.starts.append(colour)
                self.set(colour, runs=True)
            return Finished(0, "")

        return run

    def boot(self) -> None:
        """What systemd does at a boot: neither runs, then each whose condition holds."""
        for colour in COLOURS:
            self.set(colour, runs=False)
        for colour in COLOURS:
            self.set(colour, runs=self.may_start(colour))


class Pair:
    """An application of two instances on one host, with its HAProxy."""

    def __init__(self, site: Site, *, real: bool) -> None:
        ports = free_ports(3)
        probe = {"type": "http", "url": "http://127.0.0.1:{port}/health"} if real else {"type": "unit"}
        tells = {
            "type": "command",
            "argv": ["sh", "-c", "test {port} -gt 0; " + site.description["health"][1]["argv"][2]],
        }
        clock = RealTime(site.host.clock) if real else site.host.clock
        self.site = site
        self.port = ports[0]
        self.pair = balanced(ports)
        self.instances = Instances(site, self.pair["instance_ports"], real=real)
        site.host = replace(site.host, run=self.instances.systemctl(site.host.run), clock=clock)
        site.places = replace(site.places, host=site.host)
        site.store = replace(site.store, places=site.places)
        site.description |= {
            "unit": TEMPLATE, "strategy": "blue_green", "blue_green": self.pair, "health": [probe, tells], "health_patience": ONCE,
        }  # fmt: skip
        self.haproxy = RunningHaproxy(site.host, {"shop": site.description}, checks=real)

    def ask(self, path: str = "/") -> tuple[int, str]:
        """(status, release) as a client gets them."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)["release_id"] if body.startswith(b"{") else ""

    def links(self) -> dict[str, str]:
        place = self.site.places.instances
        return {path.name: path.readlink().name for path in place.iterdir()} if place.is_dir() else {}

    def running(self) -> list[str]:
        return [colour for colour in COLOURS if self.instances.runs(colour)]

    def rests_on(self) -> str:
        """The colour that runs, alone, what is active, with all of the traffic."""
        (colour,) = self.running()
        assert self.links() == {colour: self.site.current}
        assert len({read_link(self.site.places.credentials / name) for name in ("current", *COLOURS)}) == 1
        servers = self.haproxy.servers()
        assert servers[colour].is_up, servers
        assert servers[colour].weight == 100
        return colour


@pytest.fixture
def pair(site: Site) -> Iterator[Pair]:
    """`shop` as two real instances behind a real HAProxy."""
    pair = Pair(site, real=True)
    yield pair
    pair.instances.held.set()
    for colour in COLOURS:
        pair.instances.set(colour, runs=False)
    pair.haproxy.stop()


@pytest.fixture
def played_pair(site: Site) -> Iterator[Pair]:
    """The same with instances that are only played: for sweeps."""
    pair = Pair(site, real=False)
    yield pair
    pair.haproxy.stop()
