# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of check against the real thing: well, slow, ill, gone, and a probe that itself does not work."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.watch.check import Settings
from ansible.module_utils.slipway.watch.probes import Probes, Surroundings
from releases import V1
from test_check import document


def ask(host, kind, around=None, name="c", application="shop", timeout_seconds=5, **options):
    made = {
        "name": name,
        "kind": kind,
        "application": application,
        "timeout_seconds": timeout_seconds,
        "options": options,
    }
    return Probes(host, around or Surroundings()).ask(Settings.parse(document(made)).checks[0])


def said(finding):
    return finding.status, finding.is_error


@contextmanager
def answering(status=200, body="ok", delay=0.0):
    """A server of HTTP that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(delay)  # what is measured is how long an answer takes
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/health"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def speaking(first=b"", reply=b"", hang_up=False):
    """A server of TCP that says something first, then answers whatever it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def play():
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(first)
                    if not hang_up and reply and connection.recv(64):
                        connection.sendall(reply)
        except OSError:
            return

    threading.Thread(target=play, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # also what waits in accept
        listener.close()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# heartbeat


@pytest.fixture
def beat(host):
    path = host.root / "srv/shop/shared/beat"
    path.parent.mkdir(parents=True)

    def at(age):
        path.touch()
        os.utime(path, (host.clock.now() - age,) * 2)

    return at


@pytest.mark.parametrize(("age", "status"), [(0, "HEALTHY"), (300, "HEALTHY"), (301, "UNHEALTHY"), (-30, "HEALTHY")])
def test_a_heartbeat_lapses_after_its_seconds(host, beat, age, status):
    beat(age)
    found = ask(host, "heartbeat", path="/srv/shop/shared/beat")
    assert said(found) == (status, False)
    assert found.context == {"elapsed_seconds": max(0, age), "threshold_seconds": 300}


def test_no_heartbeat_at_all_is_none(host):
    assert said(ask(host, "heartbeat", path="/srv/shop/shared/beat")) == ("UNHEALTHY", False)


def test_a_heartbeat_of_the_future_tells_nothing(host, beat):
    beat(-3600)
    found = ask(host, "heartbeat", path="/srv/shop/shared/beat")
    assert said(found) == ("DEGRADED", True)
    assert "in the future" in found.message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"heartbeat": %(now)d}', ("HEALTHY", False)),
        ('{"heartbeat": "%(text)s"}', ("HEALTHY", False)),
        ('{"heartbeat": %(old)d}', ("UNHEALTHY", False)),
        ('{"heartbeat": "yesterday"}', ("DEGRADED", True)),
        ('{"heartbeat": true}', ("DEGRADED", True)),
        ('{"other": 1}', ("DEGRADED", True)),
        ("[]", ("DEGRADED", True)),
        ("alive", ("DEGRADED", True)),
    ],
)
def test_a_heartbeat_may_be_a_member_of_an_answer(host, body, expected):
    now = host.clock.now()
    with answering(body=body % {"now": now, "text": timestamp(now), "old": now - 301}) as url:
        assert said(ask(host, "heartbeat", url=url)) == expected


def test_who_does_not_answer_does_not_beat(host):
    assert said(ask(host, "heartbeat", url=f"http://127.0.0.1:{closed_port()}/")) == ("UNHEALTHY", False)
    with answering(status=503) as url:
        assert said(ask(host, "heartbeat", url=url)) == ("UNHEALTHY", False)


def watchdog(ago, **changes):
    noted = int((time.clock_gettime(time.CLOCK_MONOTONIC) - ago) * 1e6)
    return {"WatchdogUSec": "30s", "WatchdogTimestampMonotonic": str(noted), **changes}


def test_a_systemd_that_says_nothing_tells_nothing(host, systemctl):
    systemctl.ends["show"] = Finished(1, "Failed to connect to bus")
    assert said(ask(host, "heartbeat", unit="shop.service")) == ("DEGRADED", True)


WATCHDOGS = pytest.mark.parametrize(
    ("state", "seconds_ago", "more", "expected"),
    [
        (("loaded", "active", "running"), 1, {}, ("HEALTHY", False)),
        (("loaded", "active", "running"), 302, {}, ("UNHEALTHY", False)),
        (("loaded", "failed", "failed"), 1, {}, ("UNHEALTHY", False)),
        (("loaded", "active", "running"), 1, {"WatchdogUSec": "0"}, ("DEGRADED", True)),
        (("loaded", "active", "running"), 1, {"WatchdogTimestampMonotonic": "0"}, ("UNHEALTHY", False)),
    ],
)


@WATCHDOGS
def test_a_heartbeat_may_be_systemds_watchdog(host, systemctl, state, seconds_ago, more, expected):
    systemctl.units["shop.service"], systemctl.properties["shop.service"] = state, watchdog(seconds_ago, **more)
    assert said(ask(host, "heartbeat", unit="shop.service")) == expected


# staleness


@pytest.fixture
def served(site):
    site.build("v1", V1)
    site.deploy("v1")
    return site


def test_a_released_artifact_is_as_old_as_its_manifest_says_whatever_its_mtime(served):
    path = served.places.releases / "v1/config.json"
    os.utime(path, (0, 0))
    assert said(ask(served.host, "artifact_staleness", path="config.json")) == ("HEALTHY", False)
    created = ask(served.host, "artifact_staleness", path="config.json").context["elapsed_seconds"]
    served.host.clock.advance(24 * 3600 + 1)
    os.utime(path)
    found = ask(served.host, "artifact_staleness", path="config.json")
    assert said(found) == ("UNHEALTHY", False)
    assert found.context == {"artifact": "config.json", "elapsed_seconds": created + 86401, "threshold_seconds": 86400}
    assert "stale" in found.message


def test_an_artifact_that_is_missing_is_an_error_and_not_stale(served):
    found = ask(served.host, "artifact_staleness", path="data/none")
    assert said(found) == ("UNHEALTHY", False)
    assert "missing in v1" in found.message
    assert "stale" not in found.message
    assert "missing" in ask(served.host, "artifact_staleness", path="shared/none").message


def test_what_is_shared_is_as_old_as_its_mtime(served):
    path = served.places.shared / "model.pkl"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    now = served.host.clock.now()
    for age, status in ((86400, "HEALTHY"), (86401, "UNHEALTHY")):
        os.utime(path, (now - age, now - age))
        assert ask(served.host, "artifact_staleness", path="shared/model.pkl").status == status


def test_where_nothing_is_active_everything_is_missing(host, prepare):
    prepare("shop")
    assert "nothing is active" in ask(host, "artifact_staleness", path="a").message


# availability


def test_http_is_well_ill_slow_or_gone(host):
    with answering(body="all ok") as url:
        assert said(ask(host, "http", url=url, contains="ok")) == ("HEALTHY", False)
        assert "does not contain" in ask(host, "http", url=url, contains="fine").message
        assert said(ask(host, "http", url=url, status=204)) == ("UNHEALTHY", False)
    with answering(body="x" * 50_000 + "ok") as url:
        assert said(ask(host, "http", url=url, contains="ok")) == ("HEALTHY", False)
    with answering(delay=0.05) as url:
        slow = ask(host, "http", url=url, slow_milliseconds=10)
        assert said(slow) == ("DEGRADED", False)
        assert slow.context["milliseconds"] >= 50
    assert said(ask(host, "http", url=f"http://127.0.0.1:{closed_port()}/")) == ("UNHEALTHY", False)


def test_one_that_takes_connections_and_never_answers_is_ill(host):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = ask(host, "http", url=f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout_seconds=1)
    assert said(found) == ("UNHEALTHY", False)
    assert "timed out" in found.message


def test_tcp_is_well_or_gone(host):
    with speaking() as port:
        assert said(ask(host, "tcp", port=port)) == ("HEALTHY", False)
    assert said(ask(host, "tcp", port=closed_port())) == ("UNHEALTHY", False)


def test_a_unit_is_what_systemd_says(host, systemctl):
    systemctl.units["shop.service"] = ("loaded", "active", "running")
    assert said(ask(host, "unit", unit="shop.service")) == ("HEALTHY", False)
    systemctl.units["shop.service"] = ("loaded", "failed", "failed")
    found = ask(host, "unit", unit="shop.service")
    assert (found.status, found.message) == ("UNHEALTHY", "shop.service is failed (failed)")
    assert said(ask(host, "unit", unit="none.service")) == ("UNHEALTHY", False)
    systemctl.ends["show"] = Finished(1, "Failed to connect to bus")
    assert said(ask(host, "unit", unit="shop.service")) == ("DEGRADED", True)


# database


@pytest.mark.parametrize(
    ("engine", "first", "reply", "expected"),
    [
        ("postgresql", b"", b"N", "HEALTHY"),
        ("postgresql", b"", b"S", "HEALTHY"),
        ("postgresql", b"", b"E", "UNHEALTHY"),
        ("mysql", b"\x4a\x00\x00\x00\x0a8.0.36\x00", b"", "HEALTHY"),
        ("mysql", b"\x10\x00\x00\x00\xff\x10\x04Too many connections", b"", "UNHEALTHY"),
        ("mysql", b"\x01", b"", "UNHEALTHY"),
        ("redis", b"", b"+PONG\r\n", "HEALTHY"),
        ("redis", b"", b"-NOAUTH Authentication required.\r\n", "HEALTHY"),
        ("redis", b"", b"-LOADING\r\n", "UNHEALTHY"),
    ],
)
def test_a_database_answers_in_its_own_protocol(host, engine, first, reply, expected):
    with speaking(first, reply, hang_up=not reply) as port:
        assert said(ask(host, "database", engine=engine, port=port, slow_milliseconds=60_000)) == (expected, False)
    assert said(ask(host, "database", engine=engine, port=port)) == ("UNHEALTHY", False)


def test_a_database_is_healthy_under_its_milliseconds(host, monkeypatch):
    with speaking(reply=b"N") as port:
        monkeypatch.setattr("ansible.module_utils.slipway.watch.probes._milliseconds", lambda _started: 99)
        assert ask(host, "database", engine="postgresql", port=port).status == "HEALTHY"
        monkeypatch.setattr("ansible.module_utils.slipway.watch.probes._milliseconds", lambda _started: 100)
        found = ask(host, "database", engine="postgresql", port=port)
    assert (found.status, found.context["threshold_milliseconds"]) == ("DEGRADED", 100)


def test_a_database_of_sqlite_is_read(host):
    path = host.root / "srv/shop/shared/app.db"
    path.parent.mkdir(parents=True)
    sqlite3.connect(path).execute("create table a (b)").connection.close()
    before = path.read_bytes()
    options = {"engine": "sqlite", "path": "/srv/shop/shared/app.db", "slow_milliseconds": 60_000}
    assert said(ask(host, "database", **options)) == ("HEALTHY", False)
    assert path.read_bytes() == before
    path.write_bytes(b"no database, that is plain to see" * 40)
    assert said(ask(host, "database", **options)) == ("UNHEALTHY", False)
    path.unlink()
    assert said(ask(host, "database", **options)) == ("UNHEALTHY", False)


# the rest


@pytest.mark.parametrize(
    ("depth", "status"), [(0, "HEALTHY"), (9, "HEALTHY"), (10, "DEGRADED"), (99, "DEGRADED"), (100, "UNHEALTHY")]
)
def test_a_queue_of_alerts_is_judged_by_its_depth(host, depth, status):
    assert said(ask(host, "alert_queue", Surroundings(queued=depth))) == (status, False)


def test_audit_records_are_counted_by_their_own_times(host):
    path, now = host.root / "var/log/audit.jsonl", host.clock.now()
    path.parent.mkdir(parents=True)
    lines = [json.dumps({"timestamp": timestamp(now - age)}) for age in (9999, 3601, 3600, 10)]
    path.write_text("\n".join([*lines, "no json", "[1]", '{"timestamp": "soon"}', '{"other": 1}', ""]))
    found = ask(host, "audit_records", path="/var/log/audit.jsonl", least=2)
    assert (said(found), found.context) == (("HEALTHY", False), {"records": 2, "threshold": 2})
    assert said(ask(host, "audit_records", path="/var/log/audit.jsonl", least=3)) == ("UNHEALTHY", False)
    assert said(ask(host, "audit_records", path="/var/log/none.jsonl")) == ("UNHEALTHY", False)
    path.unlink()
    os.mkfifo(path)
    assert said(ask(host, "audit_records", path="/var/log/audit.jsonl")) == ("DEGRADED", True)


def test_an_audit_record_of_the_future_is_no_recent_one(host):
    path, now = host.root / "var/log/audit.jsonl", host.clock.now()
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(json.dumps({"timestamp": timestamp(now + ahead)}) for ahead in (60, 61, 10**9)))
    assert ask(host, "audit_records", path="/var/log/audit.jsonl").context["records"] == 1


def test_only_the_end_of_a_large_audit_log_is_read(host):
    path, now = host.root / "var/log/audit.jsonl", host.clock.now()
    path.parent.mkdir(parents=True)
    path.write_text("x" * 1_000_000 + "\n" + json.dumps({"timestamp": timestamp(now)}) + "\n")
    assert ask(host, "audit_records", path="/var/log/audit.jsonl").context["records"] == 1


def test_a_fallback_in_use_is_degraded(host):
    assert said(ask(host, "fallback", path="/srv/shop/shared/fallback")) == ("HEALTHY", False)
    place = host.root / "srv/shop/shared/fallback"
    place.parent.mkdir(parents=True)
    place.touch()
    assert said(ask(host, "fallback", path="/srv/shop/shared/fallback")) == ("DEGRADED", False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"fallback": false}', ("HEALTHY", False)),
        ('{"fallback": true}', ("DEGRADED", False)),
        ('{"fallback": "no"}', ("DEGRADED", True)),
        ("{}", ("DEGRADED", True)),
    ],
)
def test_a_fallback_may_be_a_member_of_an_answer(host, body, expected):
    with answering(body=body) as url:
        assert said(ask(host, "fallback", url=url)) == expected


def test_one_that_cannot_be_asked_whether_it_uses_a_fallback_tells_nothing(host):
    assert said(ask(host, "fallback", url=f"http://127.0.0.1:{closed_port()}/")) == ("DEGRADED", True)
    with answering(status=500) as url:
        assert said(ask(host, "fallback", url=url)) == ("DEGRADED", True)


def integrity(site, verified=None):
    check = Settings.parse(document({"name": "signed", "kind": "integrity", "application": "shop"})).checks[0]
    probes = Probes(site.host, Surroundings(verified={"shop": verified} if verified else {}))
    return probes.ask(check), probes.verified


def test_integrity_is_the_verifiers_word_and_all_bytes_are_read_once_an_hour(served):
    now = served.host.clock.now()
    found, verified = integrity(served)
    assert (said(found), verified) == (("HEALTHY", False), {"shop": now})
    assert "every byte" in found.message
    found, verified = integrity(served, now - 3599)
    assert (said(found), verified) == (("HEALTHY", False), {})
    assert "every byte" not in found.message
    assert integrity(served, now - 3600)[1] == {"shop": now}
    assert integrity(served, now + 10)[1] == {"shop": now}
    # `slipway status` says when, too.
    assert json.loads(served.places.checked.read_text())["release_id"] == "v1"


def test_a_byte_that_was_changed_is_found_when_all_are_read(served):
    path = served.places.releases / "v1/config.json"
    path.chmod(0o644)
    path.write_bytes(b'{"version": "6.6"}')
    path.chmod(0o444)
    assert integrity(served, served.host.clock.now())[0].status == "HEALTHY"
    found, verified = integrity(served)
    assert (said(found), verified) == (("UNHEALTHY", False), {})
    assert found.context["release"] == "v1"


def test_a_history_that_was_changed_is_found_each_time(served):
    served.places.history.write_bytes(served.places.history.read_bytes().replace(b"alice", b"mallo"))
    found, _ = integrity(served, served.host.clock.now())
    assert said(found) == ("UNHEALTHY", False)
    assert found.context["reason"] == "altered" or "history" in found.message


def test_an_integrity_that_cannot_be_judged_is_no_integrity(host):
    assert said(ask(host, "integrity")) == ("DEGRADED", True)


def test_a_secret_is_as_old_as_the_oldest_of_its_files(host):
    directory, now = host.root / "etc/slipway/credentials", host.clock.now()
    directory.mkdir()
    assert ask(host, "secret_age", path="/etc/slipway/credentials").status == "UNHEALTHY"
    for name, age in (("young", 10), ("old", 90 * 86400)):
        (directory / name).touch()
        os.utime(directory / name, (now - age,) * 2)
    assert ask(host, "secret_age", path="/etc/slipway/credentials").status == "HEALTHY"
    host.clock.advance(1)
    found = ask(host, "secret_age", path="/etc/slipway/credentials")
    assert (found.status, found.context["secret"]) == ("UNHEALTHY", "old")
    assert ask(host, "secret_age", path="/etc/slipway/credentials/young").status == "HEALTHY"
    assert ask(host, "secret_age", path="/etc/slipway/credentials/none").status == "UNHEALTHY"


def test_the_disk_has_room_for_one_more_release(served):
    there = os.statvfs(served.places.base)
    free = there.f_bavail * there.f_frsize
    found = ask(served.host, "disk", spare_bytes=1)
    assert said(found) == ("HEALTHY", False)
    assert found.context["needed_bytes"] == 1 + sum(len(data) for data in V1.values())
    assert said(ask(served.host, "disk", spare_bytes=free * 2)) == ("UNHEALTHY", False)
    assert said(ask(served.host, "disk", path="/no/such")) == ("DEGRADED", True)


def test_the_disk_has_inodes_for_it_too(host, prepare, monkeypatch):
    prepare("shop")
    there = os.statvfs(host.root)
    assert ask(host, "disk", spare_bytes=0).context["needed_bytes"] == 0
    full = type(
        "Full", (), {"f_bavail": there.f_bavail, "f_frsize": there.f_frsize, "f_files": 10_000, "f_favail": 999}
    )
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    found = ask(host, "disk", spare_bytes=0)
    assert (found.status, found.message) == ("UNHEALTHY", "999 inodes are free below /srv/shop")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", ("HEALTHY", False)),
        ("exit 75", ("DEGRADED", False)),
        ("exit 1", ("UNHEALTHY", False)),
        ("kill -9 $$", ("UNHEALTHY", False)),
    ],
)
def test_a_command_says_it_by_its_exit_code(host, script, expected):
    assert said(ask(host, "command", argv=["/bin/sh", "-c", script])) == expected


def test_a_command_that_hangs_is_ill_and_one_that_is_not_there_tells_nothing(host):
    assert said(ask(host, "command", argv=["/bin/sleep", "60"], timeout_seconds=1)) == ("UNHEALTHY", False)
    assert said(ask(host, "command", argv=["/no/such"])) == ("DEGRADED", True)
