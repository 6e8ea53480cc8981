# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the host's own HAProxy, judged by HAProxy itself."""

from __future__ import annotations

import os
import shutil

import pytest
from ansible.module_utils.slipway.base.command import Finished, run
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import balancer_file
from ansible.module_utils.slipway.host.places import Places
from balancers import balanced

SHOP = {"unit": "shop@.service", "strategy": "blue_green", "blue_green": balanced([8080, 18080, 18081])}
BLOG = {"unit": "blog@.service", "strategy": "blue_green", "blue_green": balanced([8081, 18082, 18083])}
OTHER = {"unit": "other.service"}


@pytest.fixture
def haproxy(host, systemctl):
    """The host with a real HAProxy, as whoever runs the tests."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")

    def judged(argv, **options):
        assert argv[0] == balancer_file.PROGRAM
        path = argv[-1]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        mine = f"{path}.mine"
        with open(mine, "w", encoding="utf-8") as file:
            file.write(
                "".join(
                    line
                    for line in text.splitlines(True)
                    if line.split()[:2] not in (["user", "haproxy"], ["group", "haproxy"])
                )
            )
        try:
            return run([program, *argv[1:-1], mine], **options)
        finally:
            os.unlink(mine)

    object.__setattr__(host, "run", judged)
    return host


def write(host, applications, check=False, timeout_seconds=60):
    return balancer_file.write({"applications": applications, "timeout_seconds": timeout_seconds}, host, check=check)


def path(host):
    return host.configuration / "haproxy.cfg"


def test_each_application_of_two_instances_has_a_frontend_and_two_servers(haproxy):
    applications = {"shop": SHOP, "blog": BLOG, "other": OTHER}
    predicted = write(haproxy, applications, check=True)
    assert not path(haproxy).exists()
    answer = write(haproxy, applications)
    assert answer == predicted
    assert (answer["changed"], answer["applications"], answer["path"]) == (
        True,
        ["blog", "shop"],
        "/etc/slipway/haproxy.cfg",
    )
    text = path(haproxy).read_text()
    for line in (
        "bind :8080",
        "server blue 127.0.0.1:18080",
        "server green 127.0.0.1:18083",
        "mode 600 level admin",
        "timeout server 60s",
    ):
        assert line in text
    assert [name.name for name in haproxy.configuration.glob(".haproxy*")] == []
    assert write(haproxy, applications)["changed"] is False
    assert write(haproxy, {"shop": SHOP})["applications"] == ["shop"]


def test_what_haproxy_does_not_take_does_not_replace_what_works(haproxy, monkeypatch):
    write(haproxy, {"shop": SHOP})
    before = path(haproxy).read_bytes()
    monkeypatch.setattr(balancer_file, "PROXIES", balancer_file.PROXIES + "    no such word\n")
    with pytest.raises(Refusal) as refused:
        write(haproxy, {"shop": SHOP})
    assert (refused.value.reason, "no such word" in refused.value.found) == ("balancer_file_invalid", False)
    assert "keyword" in refused.value.found
    assert path(haproxy).read_bytes() == before
    assert [name.name for name in haproxy.configuration.glob(".haproxy*")] == []


def test_a_haproxy_that_is_not_there_is_said(host):
    object.__setattr__(host, "run", lambda argv, **options: Finished(127, "No such file or directory"))
    with pytest.raises(Refusal) as refused:
        write(host, {"shop": SHOP})
    assert refused.value.reason == "balancer_file_invalid"


def test_a_file_of_somebody_else_stays(haproxy):
    path(haproxy).write_text("global\n")
    with pytest.raises(Refusal) as refused:
        write(haproxy, {"shop": SHOP})
    assert refused.value.reason == "balancer_file_foreign"
    assert path(haproxy).read_text() == "global\n"


@pytest.mark.parametrize("check", [False, True])
def test_the_port_of_an_instance_that_runs_stays(haproxy, check):
    write(haproxy, {"blog": BLOG, "shop": SHOP})
    told = path(haproxy).read_bytes()
    instances = Places(haproxy, "shop").instances
    instances.mkdir(parents=True)
    (instances / "green").symlink_to("../releases/v7")
    moved = {"blog": BLOG, "shop": {**SHOP, "blue_green": balanced([8080, 18080, 18091])}}
    with pytest.raises(Refusal, match="of shop to stay 18081 while that instance runs v7") as raised:
        write(haproxy, moved, check=check)
    assert (raised.value.reason, path(haproxy).read_bytes()) == ("instance_port_in_use", told)
    idle = {"blog": BLOG, "shop": {**SHOP, "blue_green": balanced([8080, 18090, 18081])}}
    assert write(haproxy, idle)["changed"]
    (instances / "green").rename(instances / "blue")
    assert write(haproxy, {"blog": BLOG, "shop": {**SHOP, "blue_green": balanced([8088, 18090, 18091])}})["changed"]


def test_two_applications_share_no_port(haproxy):
    with pytest.raises(Refusal) as refused:
        write(haproxy, {"shop": SHOP, "blog": {**BLOG, "blue_green": balanced([8081, 18081, 8080])}})
    assert refused.value.reason == "balancer_ports_taken"
    assert refused.value.found == "18081 of blog and shop; 8080 of blog and shop"
