# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts as people see them, in each channel, and what a host says of its checks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.slipway.base.clock import seconds_of
from ansible.module_utils.slipway.controller import notice
from ansible.module_utils.slipway.watch import alert as alerts
from ansible.module_utils.slipway.watch.alert import RESOLVED, Alert
from ansible.module_utils.slipway.watch.escalation import CRITICAL, DEGRADED, HEALTHY, UNHEALTHY, Rule, State, step

PAGE = Path(__file__).parents[2] / "docs/howto/read-an-alert.md"
NOW = seconds_of("2026-11-21T05:15:00Z")
LAPSE = Alert(
    severity="CRITICAL",
    rule="heartbeat_lapse",
    message="heartbeat lapsed: 437 s (threshold: 300 s) (3 failures in a row)",
    at=NOW,
    started=NOW - 120,
    host="prod-1",
    environment="prod",
    application="hello",
    check="alive",
    release="v1.2.0",
    last_deploy={"release_id": "v1.2.0", "at": "2026-11-20T14:02:11Z", "by": "alice", "outcome": "deploy success"},
    window={"open": True, "until": "2026-11-22T14:02:11Z"},
    context={
        "consecutive_failures": 3,
        "elapsed_seconds": 437,
        "flapping": "no",
        "status": "UNHEALTHY",
        "threshold_seconds": 300,
    },
    runbook="https://runbooks.example/heartbeat-lapse",
)
RUN = notice.Run("run_20261121T050000Z_3f09ab", "hello", "prod", "alice", ("v1.2.0",))
ENDED = {
    "deploy_started": lambda: notice.started(RUN, NOW),
    "deploy_succeeded": lambda: notice.ended(RUN, {"prod-1": {"outcome": "confirmed"}}, "deploy of hello v1.2.0: done", NOW),
    "deploy_rolled_back": lambda: notice.ended(
        RUN, {"prod-1": {"outcome": "reverted"}, "prod-2": {"outcome": "untouched"}}, "deploy of hello v1.2.0: not done (1 reverted, 1 untouched)", NOW
    ),
    "deploy_failed": lambda: notice.not_staged(RUN, {"prod-1": {"failed": True, "msg": "disk_full: expected room to stage; found 3 bytes free."}}, NOW),
}  # fmt: skip


def written(alert):
    return f"Subject: {alert.subject}\n\n{alerts.mail(alert)}\n{json.dumps(alerts.slack(alert), indent=1)}"


def test_an_alert_is_read_like_this(golden):
    golden("alert_firing", written(LAPSE))


def test_its_end_is_read_like_this(golden):
    golden(
        "alert_resolved", written(replace(LAPSE, state=RESOLVED, message="alive is well again: heartbeat is 2 s old"))
    )


@pytest.mark.parametrize("name", ENDED)
def test_a_run_is_told_like_this(golden, name):
    golden(f"notice_{name}", written(ENDED[name]()))


def test_the_page_for_readers_shows_them_as_they_are():
    page = PAGE.read_text(encoding="utf-8")
    assert f"Subject: {LAPSE.subject}\n\n{alerts.mail(LAPSE)}" in page
    for name, made in ENDED.items():
        assert f"*{made().severity}* - {name}" in page


BEATS = {
    "once_and_well": "x.",
    "twice": "xx.",
    "until_the_third_and_on": "xxxxx.",
    "degraded_counts": "ddd.",
    "an_hour_and_longer": "x" * 64,
    "again_and_again": "x.x.x.x.x............",
}
LETTERS = {".": HEALTHY, "d": DEGRADED, "x": UNHEALTHY}


def test_results_escalate_like_this(golden):
    """One beat a minute, as the rule of `alive` says it: hook, cooldown of an hour, four falls in an hour flap, ten minutes are calm."""
    lines = []
    for name, beats in BEATS.items():
        lines += [name.replace("_", " "), "beat  status     level  said"]
        state = State()
        for number, beat in enumerate(beats):
            state, next_ = step(state, LETTERS[beat], Rule(CRITICAL, has_hook=True), NOW + 60 * number)
            said = [
                next_.log,
                *(f"announce {each}" for each in next_.announce),
                *(f"resolve {each}" for each in next_.resolve),
            ]
            said += ["flapping"] * next_.flapping + ["repeated"] * bool(next_.repeated) + ["run the hook"] * next_.hook
            lines.append(
                f"{number + 1:>4}  {LETTERS[beat]:<9}  {state.level:>5}  {'; '.join(filter(None, said)) or '-'}"
            )
        lines.append("")
    golden("escalation", "\n".join(lines))
