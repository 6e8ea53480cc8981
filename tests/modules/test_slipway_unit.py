# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_unit: an application's unit, never another's."""

from __future__ import annotations

import doors
import pytest
from ansible.module_utils.slipway.host import handler, unit_file
from releases import snapshot

NAME = "slipway_unit"
LIMITS = {"memory_max": "1G", "cpu_quota": "100%", "tasks_max": 512, "stop_timeout_seconds": 30}
DESCRIPTION = {"unit": "shop.service", "service": {"command": "bin/shop"}}


@pytest.fixture
def module(host, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: host)
    (host.root / unit_file.DIRECTORY).mkdir(parents=True)

    def run(check=False, **parameters):
        given = {"application": "shop", "description": DESCRIPTION, **LIMITS, **parameters}
        return doors.run(NAME, check=check, **{key: value for key, value in given.items() if value is not None})

    return run


def test_the_unit_is_written_once(module, host):
    before = snapshot(host.root)
    predicted = module(check=True)
    assert snapshot(host.root) == before
    answer = module()
    assert answer == predicted
    assert answer["changed"] is True
    assert doors.undocumented(NAME, answer) == set()
    unit = (host.root / answer["path"].lstrip("/")).read_text()
    assert [
        line for line in ("MemoryMax=1G", "CPUQuota=100%", "TasksMax=512", "TimeoutStopSec=30s") if line not in unit
    ] == []
    after = snapshot(host.root)
    assert module()["changed"] is False
    assert snapshot(host.root) == after


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"description": {"unit": "shop.service"}}, "service_missing"),
        ({"description": {**DESCRIPTION, "service": {}}}, "application_invalid"),
        ({"memory_max": "lots"}, "application_limits_invalid"),
        ({"stop_timeout_seconds": None}, "missing required arguments: stop_timeout_seconds"),
        ({"tasks_max": "many"}, "tasks_max"),
    ],
)
def test_what_is_no_unit_is_refused(module, host, parameters, said):
    before = snapshot(host.root)
    answer = module(**parameters)
    assert (answer["failed"], said in answer["msg"]) == (True, True)
    assert doors.undocumented(NAME, answer) == set()
    assert snapshot(host.root) == before


def test_a_foreign_unit_is_refused_and_left_alone(module, host):
    (host.root / unit_file.DIRECTORY / "shop.service").write_text("[Service]\nExecStart=/usr/bin/shop\n")
    before = snapshot(host.root)
    for check in (True, False):
        assert module(check=check)["reason"] == "unit_foreign"
    assert snapshot(host.root) == before
