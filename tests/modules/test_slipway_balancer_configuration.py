# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_balancer_configuration: the options reach the file, and check mode writes nothing."""

from __future__ import annotations

import doors
import pytest
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host import handler
from balancers import balanced
from releases import snapshot

NAME = "slipway_balancer_configuration"
SHOP = {"unit": "shop@.service", "strategy": "blue_green", "blue_green": balanced([8080, 18080, 18081])}


@pytest.fixture
def module(host, monkeypatch):
    object.__setattr__(host, "run", lambda argv, **options: Finished(0, ""))
    monkeypatch.setattr(handler, "Host", lambda: host)
    return lambda check=False, **parameters: doors.run(NAME, check=check, **{"timeout_seconds": 60, **parameters})


def test_the_configuration_is_written_once(module, host):
    before = snapshot(host.root)
    predicted = module(applications={"shop": SHOP}, check=True)
    assert snapshot(host.root) == before
    answer = module(applications={"shop": SHOP}, timeout_seconds=61)
    assert {**predicted, "diff": None} == {**answer, "diff": None}
    assert doors.undocumented(NAME, answer) == set()
    assert "timeout client 61s" in (host.root / "etc/slipway/haproxy.cfg").read_text()
    assert module(applications={"shop": SHOP}, timeout_seconds=61)["changed"] is False


def test_a_description_that_does_not_hold_is_refused(module):
    answer = module(applications={"shop": {**SHOP, "unit": "shop.service"}})
    assert (answer["failed"], answer["reason"]) == (True, "application_invalid")
    assert doors.undocumented(NAME, answer) == set()
