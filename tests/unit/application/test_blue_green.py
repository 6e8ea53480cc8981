# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be said of two instances."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application import blue_green
from ansible.module_utils.slipway.application.blue_green import BlueGreen, Sharing
from ansible.module_utils.slipway.application.description import Application, Probe
from ansible.module_utils.slipway.base.errors import Refusal

PAIR = {"port": 8080, "instance_ports": {"blue": 18080, "green": 18081}}
HEALTH = [{"type": "http", "url": "http://127.0.0.1:{port}/health"}]


def parse(pair=PAIR, **more):
    given = {"unit": "shop@.service", "strategy": "blue_green", "blue_green": pair, **more}
    return Application.parse("shop", {key: value for key, value in given.items() if value is not None})


def refused(pair=PAIR, **more):
    with pytest.raises(Refusal) as refusal:
        parse(pair, **more)
    return refusal.value.found


def test_two_instances_have_a_port_each_and_one_together():
    pair = parse().blue_green
    assert pair == BlueGreen(8080, {"blue": 18080, "green": 18081}, 30)
    assert pair.ports == (8080, 18080, 18081)
    assert pair.sharing_seconds == 0


def test_both_may_be_live_for_a_while_before_a_declared_check_decides():
    verdict = {"argv": ["bin/judge", "{port}"], "timeout_seconds": 20}
    pair = parse({**PAIR, "share": 10, "share_seconds": 60, "verdict": verdict}).blue_green
    assert pair.sharing == Sharing(10, 60, ("bin/judge", "{port}"), 20)
    assert pair.sharing_seconds == 80
    assert parse({**PAIR, "share": 10, "share_seconds": 60}).blue_green.sharing == Sharing(10, 60, (), 0)


@pytest.mark.parametrize(
    ("pair", "found"),
    [
        (None, "blue_green: expected a mapping"),
        ({}, "blue_green.port: expected a port from 1 to 65535, found None"),
        ({**PAIR, "port": "8080"}, "blue_green.port: expected a port"),
        ({**PAIR, "port": True}, "blue_green.port: expected a port"),
        ({**PAIR, "instance_ports": {"blue": 1}}, "blue_green.instance_ports.green: expected a port"),
        ({**PAIR, "instance_ports": {"red": 1}}, "blue_green.instance_ports.red: expected one of the keys blue, green"),
        ({**PAIR, "port": 18080}, "blue_green: expected three different ports, found '18080, 18080, 18081'"),
        ({**PAIR, "drain_seconds": -1}, "blue_green.drain_seconds: expected a whole number from 0 to 3600"),
        ({**PAIR, "share": 100, "share_seconds": 1}, "blue_green.share: expected a whole number from 1 to 99"),
        ({**PAIR, "share": 10}, "blue_green.share_seconds: expected a whole number from 1 to 86400, found None"),
        ({**PAIR, "share_seconds": 1}, "blue_green.share_seconds: expected `share` beside it"),
        ({**PAIR, "verdict": {"argv": ["x"]}}, "blue_green.verdict: expected `share` beside it"),
        ({**PAIR, "share": 1, "share_seconds": 1, "verdict": {}}, "blue_green.verdict.argv: expected a command"),
        ({**PAIR, "canary": 1}, "blue_green.canary: expected one of the keys"),
    ],
)
def test_what_makes_no_sense_is_refused(pair, found):
    assert found in refused(pair)


@pytest.mark.parametrize("unit", ["shop.service", "shop@blue.service", "shop@", "@.service", None])
def test_the_unit_is_a_template(unit):
    assert "unit: expected a template" in refused(unit=unit) or (unit is None and "strategy" in refused(unit=unit))


def test_only_this_strategy_has_two_instances():
    assert "blue_green: expected strategy: blue_green beside it" in refused(unit="shop.service", strategy="restart")


def test_an_instance_is_asked_on_its_own_port():
    asked = parse(
        health=[*HEALTH, {"type": "tcp", "port": "{port}"}, {"type": "command", "argv": ["ask", "{port}"]}]
    ).health
    assert [probe.described() for probe in asked] == [
        "http http://127.0.0.1:{port}/health",
        "tcp 127.0.0.1:{port}",
        "command ask {port}",
    ]
    assert [probe.at(18081).described() for probe in asked] == [
        "http http://127.0.0.1:18081/health",
        "tcp 127.0.0.1:18081",
        "command ask 18081",
    ]
    assert Probe("tcp", port=25).at(18081).port == 25


def test_without_probes_an_instance_is_to_run_and_to_listen():
    assert [probe.described() for probe in parse().health] == ["unit", "tcp 127.0.0.1:{port}"]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (
            {"health": [{"type": "unit"}]},
            "a probe that asks an instance before it gets traffic, by {port}, found 'none'",
        ),
        (
            {"health": [*HEALTH, {"type": "http", "url": "http://127.0.0.1:8080/"}]},
            "{port}, since 8080 is answered by the release",
        ),
        ({"health": [*HEALTH, {"type": "tcp", "port": 8080}]}, "{port}, since 8080 is answered by the release before"),
        ({"health": HEALTH, "smoke": HEALTH}, "{port} in probes of health with strategy blue_green alone"),
        (
            {"blue_green": None, "strategy": "restart", "unit": "shop.service", "health": HEALTH},
            "{port} in probes of health",
        ),
    ],
)
def test_a_probe_that_would_ask_another_instance_is_refused(more, found):
    assert found in refused(**more)


def test_a_command_of_one_instance_may_say_what_it_likes():
    health = [{"type": "command", "argv": ["echo", "{port}"]}]
    assert parse(None, strategy="restart", unit="shop.service", health=health).health[0].argv == ("echo", "{port}")


def test_an_instance_is_given_its_port_and_its_colour():
    found = refused(service={"command": "bin/shop", "environment": {"PORT": "1"}})
    assert "service.environment.PORT: expected to be left out" in found


def test_names_and_ports():
    assert blue_green.other("blue") == "green"
    assert blue_green.other("green") == "blue"
    assert blue_green.instance_unit("shop@.service", "green") == "shop@green.service"
    assert [
        blue_green.port_of(url) for url in ("http://127.0.0.1:8/", "http://127.0.0.1/", "http://127.0.0.1:{port}/")
    ] == [8, None, None]
