# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver of the demo: what a message of Alertmanager reads like, and which of them it waits for."""

from __future__ import annotations

import json
import queue
import urllib.request

import pytest

from lab import pager
from lab.errors import LabError

FIRING = {
    "status": "firing",
    "commonLabels": {"alertname": "heartbeat_lapse", "severity": "critical", "instance": "prod-1"},
    "commonAnnotations": {
        "summary": "no heartbeat: Connection refused",
        "where": "hello on prod-1 (prod)",
        "release": "v1",
        "runbook_url": "https://runbooks.example/heartbeat-lapse",
    },
}
RESOLVED = {**FIRING, "status": "resolved"}


def post(url: str, body: object) -> None:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_a_message_reads_like_a_page() -> None:
    assert pager.page(FIRING).splitlines() == [
        "[CRITICAL] heartbeat_lapse",
        "  no heartbeat: Connection refused",
        "  Where            hello on prod-1 (prod)",
        "  Release          v1",
        "  Runbook          https://runbooks.example/heartbeat-lapse",
    ]
    assert pager.page(RESOLVED).startswith("[RESOLVED] heartbeat_lapse\n")


def test_it_waits_for_the_critical_one_of_its_host() -> None:
    elsewhere = {**FIRING, "commonLabels": {**FIRING["commonLabels"], "instance": "prod-2"}}
    warning = {**FIRING, "commonLabels": {**FIRING["commonLabels"], "severity": "warning"}}
    shown: list[str] = []
    with pager.listening("127.0.0.1") as (url, told):
        for each in (elsewhere, warning, FIRING, RESOLVED):
            post(url, each)
        pager.awaited(told, "firing", shown.append)
        pager.awaited(told, "resolved", shown.append)
    assert [text.partition("\n")[0] for text in shown] == [
        "[WARNING] heartbeat_lapse",
        "[CRITICAL] heartbeat_lapse",
        "[RESOLVED] heartbeat_lapse",
    ]


def test_a_page_that_does_not_come_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pager, "PATIENCE_SECONDS", 0)
    with pytest.raises(LabError, match="heartbeat_lapse on prod-1 is firing"):
        pager.awaited(queue.Queue(), "firing", print)
