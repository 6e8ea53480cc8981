# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking alerts up: by severity, rule and time, with who took them, whatever a crash left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.watch import alert_history
from ansible.module_utils.slipway.watch.alert import RESOLVED
from ansible.module_utils.slipway.watch.alert_history import AlertHistory
from test_alert import LAPSE, NOW


@pytest.fixture
def history(tmp_path):
    found = AlertHistory(tmp_path / "alerts.jsonl")
    found.raised(replace(LAPSE, severity="WARNING", at=NOW), "1")
    found.raised(replace(LAPSE, at=NOW + 60), "2")
    found.delivered("2", "slack", NOW + 61)
    found.raised(replace(LAPSE, rule="disk_space", at=NOW + 120), "3")
    found.delivered("2", "email", NOW + 62)
    found.given_up("1", NOW + 999)
    return found


def numbers(found):
    return [each["number"] for each in found]


def test_the_newest_comes_first_with_who_took_it(history):
    found = history.find()
    assert numbers(found) == ["3", "2", "1"]
    assert [each["delivered"] for each in found] == [{}, {"slack": NOW + 61, "email": NOW + 62}, {"nobody": NOW + 999}]
    assert found[1]["message"] == LAPSE.message


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"severities": ["WARNING"]}, ["1"]),
        ({"severities": ["WARNING", "CRITICAL"]}, ["3", "2", "1"]),
        ({"severities": ["INFO"]}, []),
        ({"rule": "disk_space"}, ["3"]),
        ({"since": NOW + 60}, ["3", "2"]),
        ({"until": NOW + 60}, ["2", "1"]),
        ({"since": NOW + 1, "until": NOW + 60, "rule": "heartbeat_lapse", "severities": ["CRITICAL"]}, ["2"]),
        ({"limit": 1}, ["3"]),
    ],
)
def test_it_is_asked_by_severity_rule_and_time(history, asked, expected):
    assert numbers(history.find(**asked)) == expected


def test_a_line_that_was_cut_off_costs_that_line_alone(history):
    with history.path.open("ab") as file:
        file.write(b'{"number": "4", "sever')
    history.raised(replace(LAPSE, at=NOW + 300), "5")
    assert numbers(history.find()) == ["5", "3", "2", "1"]
    history.path.write_bytes(b"\xff\n[1]\n" + history.path.read_bytes())
    assert numbers(history.find()) == ["5", "3", "2", "1"]


def test_it_does_not_grow_without_end(history, monkeypatch):
    monkeypatch.setattr(alert_history, "LIMIT", 4000)
    for number in range(40):
        history.raised(replace(LAPSE, at=NOW + number), f"n{number}")
    assert history.path.stat().st_size + history.before.stat().st_size < 4 * 4000
    assert numbers(history.find(limit=1)) == ["n39"]
    history.raised(replace(LAPSE, message="x" * 100_000), "long")
    assert numbers(history.find(limit=1)) == ["n39"]


def test_where_there_is_none_there_are_no_alerts(tmp_path):
    assert AlertHistory(tmp_path / "none").find() == []


def test_one_that_is_there_and_cannot_be_read_is_not_taken_for_none(tmp_path):
    (tmp_path / "directory").mkdir()
    with pytest.raises((OSError, Refusal)):
        AlertHistory(tmp_path / "directory").find()


def test_what_nobody_took_and_what_still_fires_is_found_again(tmp_path):
    history = AlertHistory(tmp_path / "alerts.jsonl")
    warning = replace(LAPSE, severity="WARNING")
    other, ended = replace(LAPSE, check="other"), replace(LAPSE, check="other", state=RESOLVED)
    for number, alert in enumerate((replace(LAPSE, check="old", at=NOW - 1), warning, LAPSE, other, ended)):
        history.raised(alert, str(number))
    history.delivered("1", "slack", NOW)
    history.given_up("3", NOW)
    with history.path.open("ab") as file:
        file.write(b'{"number": "9", "severity": "LOUD", "at": 1763694777, "rule": "x"}\n')
    waiting, firing = history.unfinished(NOW)
    assert waiting == [("2", LAPSE), ("4", ended)]
    assert firing == [warning, LAPSE]
