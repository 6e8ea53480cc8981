# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts fetch from two mirrors of an artifact store, nginx over TLS with credentials: one dies while it sends, one is forged."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import Application, Operator, until
from stores import Authority

STORE = "staging-1"
DOCROOT = "/var/www/e2e"
TOKEN = "e2e-token-that-nobody-may-see"
PORTS = (8441, 8442)
SIZE = 6 << 20
RATE = SIZE // 6  # the first mirror sends so many bytes a second: there is time to kill it
CONFIGURATION = """
pid /run/nginx-e2e-{port}.pid;
error_log /var/log/nginx/e2e-{port}.error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    log_format e2e '$status $http_range $uri';
    access_log /var/log/nginx/e2e-{port}.log e2e;
    server {{
        listen {port} ssl;
        ssl_certificate /etc/nginx/e2e.pem;
        ssl_certificate_key /etc/nginx/e2e.pem;
        root {docroot};
        {limit}
        if ($http_authorization != "Bearer {token}") {{ return 401; }}
    }}
}}
"""


def write(operator: Operator, host: str, path: str, data: bytes) -> None:
    text = base64.b64encode(data).decode()
    operator.fleet.inside(host, f"echo {text} | base64 -d > {shlex.quote(path)}")


class Mirrors:
    """The two mirrors, both on one host and of one directory."""

    def __init__(self, operator: Operator, directory: Path) -> None:
        self.operator = operator
        address = operator.fleet.host(STORE).address
        authority = Authority(directory)
        authority.server(address)
        write(operator, STORE, "/etc/nginx/e2e.pem", (directory / f"{address}.pem").read_bytes())
        (directory / "ca.pem").write_text(authority.pem)
        self.urls = [f"https://{address}:{port}" for port in PORTS]
        self.variables = directory / "source.json"
        credentials = {"token": TOKEN}
        about = {"release_source": self.urls, "release_source_ca": str(directory / "ca.pem")}
        self.variables.write_text(json.dumps({**about, "release_source_credentials": credentials}))

    def start(self, *, rate: int = 0) -> None:
        self.stop()
        for port in PORTS:
            limit = f"limit_rate {rate};" if rate and port == PORTS[0] else ""
            text = CONFIGURATION.format(port=port, docroot=DOCROOT, limit=limit, token=TOKEN)
            write(self.operator, STORE, f"/etc/nginx/e2e-{port}.conf", text.encode())
            self.operator.fleet.inside(STORE, f"nginx -c /etc/nginx/e2e-{port}.conf")

    def kill(self, port: int) -> None:
        """SIGKILL for the master and its worker."""
        pid = f"/run/nginx-e2e-{port}.pid"
        self.operator.fleet.inside(STORE, f"test -e {pid} && pkill -KILL -P $(cat {pid}); kill -KILL $(cat {pid})")

    def stop(self) -> None:
        for port in PORTS:
            pid = f"/run/nginx-e2e-{port}.pid"
            self.operator.fleet.inside(
                STORE,
                f"test -e {pid} && kill $(cat {pid}) 2>/dev/null && while kill -0 $(cat {pid} 2>/dev/null) 2>/dev/null; do sleep 0.05; done; rm -f {pid}",
                check=False,
            )
            self.operator.fleet.inside(STORE, f"rm -f /var/log/nginx/e2e-{port}*.log")

    def asked(self, port: int) -> list[str]:
        """The requests that this mirror answered, as `status range path`."""
        return self.operator.fleet.inside(STORE, f"cat /var/log/nginx/e2e-{port}.log").stdout.splitlines()

    def publish(self, shop: Application, *words: str) -> str:
        about = ["-e", f"release_store_path={DOCROOT}", "-e", f"release_store_host={STORE}", *words]
        return self.operator.play(*shop.words("playbooks/publish.yml", None, about)).text


@pytest.fixture(scope="module")
def mirrors(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrors]:
    made = Mirrors(operator, tmp_path_factory.mktemp("mirrors"))
    yield made
    made.stop()
    operator.fleet.inside(STORE, f"rm -rf {DOCROOT} /etc/nginx/e2e*")


@pytest.fixture(scope="module")
def shop(operator: Operator) -> Application:
    return operator.application("pull", ["prod-1", "prod-2"])


def noise(seed: int) -> bytes:
    """Bytes that no compression makes fewer."""
    return random.Random(seed).randbytes(SIZE)


def test_a_mirror_that_dies_while_it_sends_is_gone_on_without(shop: Application, mirrors: Mirrors) -> None:
    shop.make("one", {"model": noise(1), "small": "1"})
    assert "one added to" in mirrors.publish(shop)
    assert "nothing added to" in mirrors.publish(shop)
    mirrors.start(rate=RATE)

    run = shop.start_deploy("-vvv", "-e", f"@{mirrors.variables}", limit="prod-1")
    incoming = f"/srv/{shop.name}/.incoming"
    half = f"find {incoming} -size +512k 2>/dev/null; true"
    until(lambda: run.process.poll() is not None or shop.fleet.inside("prod-1", half).stdout, "half of it has come")
    assert run.process.poll() is None, run.output
    processes = shop.fleet.inside("prod-1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    mirrors.kill(PORTS[0])
    done = run.end(0)

    assert shop.active("prod-1") == "one"
    assert shop.is_settled("prod-1")
    assert shop.fleet.inside("prod-1", f"test ! -e {incoming}; echo $?").stdout == "0\n"
    ranges = [line for line in mirrors.asked(PORTS[1]) if line.startswith("206 bytes=")]
    assert len(ranges) == 1, "the second mirror was asked for the rest"
    assert int(ranges[0].split("=")[1].split("-")[0]) > 512 << 10
    done.says("[WARNING]", mirrors.urls[0], "was left for another mirror")
    logged = shop.fleet.inside(
        "prod-1", "journalctl --no-pager -q; cat /var/log/syslog 2>/dev/null", check=False
    ).stdout
    kept = shop.fleet.inside("prod-1", f"grep -rlF {TOKEN} /var/lib/slipway /etc/slipway /srv/{shop.name}; true").stdout
    for where in (done.output, processes, logged, kept):
        assert TOKEN not in where


def test_only_what_is_missing_is_fetched_and_a_forged_store_changes_nothing(
    shop: Application, mirrors: Mirrors
) -> None:
    mirrors.start()
    shop.deploy("one", "-e", f"@{mirrors.variables}", limit="prod-1:prod-2")
    mirrors.start()
    shop.make("two", {"model": noise(1), "small": "2"})
    mirrors.publish(shop)
    before = shop.snapshot("prod-1", "prod-2")
    name = hashlib.sha256(b"2").hexdigest()
    path = f"{DOCROOT}/{shop.name}/objects/{name[:2]}/{name}"
    shop.fleet.inside(STORE, f"cp {path} /root/good; printf 3 > {path}")

    refused = shop.deploy("two", "-e", f"@{mirrors.variables}", limit="prod-1:prod-2", code=2)
    refused.says("source_altered", mirrors.urls[0])
    after = shop.snapshot("prod-1", "prod-2")
    assert [_without_parts(after[host]) == _without_parts(before[host]) for host in after] == [True, True]

    shop.fleet.inside(STORE, f"cp /root/good {path}")
    mirrors.start()
    shop.deploy("two", "-e", f"@{mirrors.variables}", limit="prod-1:prod-2")
    assert shop.actives("prod-1", "prod-2") == ["two", "two"]
    asked = [line.split()[-1] for port in PORTS for line in mirrors.asked(port)]
    assert asked
    assert not [each for each in asked if "/manifests/" in each or "/trees/" in each]
    big = [line for line in mirrors.asked(PORTS[0]) if line.startswith("200")]
    assert len(big) <= 4, "two small objects for each host, and no model"


def _without_parts(snapshot: str) -> list[str]:
    """What of a host's files decides anything: not what is still on its way, nor when a directory was written to."""
    kept = [line for line in snapshot.splitlines() if ".incoming" not in line and "fetching" not in line]
    return [line for line in kept if not line.startswith(("srv/e2e-pull ", "var/lib/slipway/e2e-pull "))]
