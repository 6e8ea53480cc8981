# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that asks an application from outside, here at a port of this machine."""

from __future__ import annotations

import socket

import doors
import plugins
import pytest

PLUGIN = "slipway_smoke_test"
ONCE = {"interval_seconds": 0, "retries": 0, "deadline_seconds": 5}


@pytest.fixture
def port():
    """A port where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def ask(port, **options):
    smoke = [{"type": "tcp", "host": "127.0.0.1", "port": port}]
    return plugins.run(PLUGIN, application="shop", description={"smoke": smoke, "smoke_patience": ONCE}, **options)


def test_an_application_that_answers_has_passed(port):
    answer = ask(port)
    assert (answer["passed"], answer["outcome"], answer["attempts"]) == (True, "success", 1)
    assert doors.undocumented(PLUGIN, answer) == set()


def test_an_application_that_does_not_answer_fails_the_task():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        answer = ask(bound.getsockname()[1])
    assert (answer["failed"], answer["passed"], answer["reason"]) == (True, False, "smoke_test_failed")
    assert answer["msg"].startswith("smoke_test_failed: ")
    assert doors.undocumented(PLUGIN, answer) == set()


def test_where_none_is_declared_nothing_is_known():
    answer = plugins.run(PLUGIN, application="shop", description={})
    assert (answer["passed"], answer["outcome"], answer["detail"]) == (
        None,
        "inconclusive",
        "no smoke test is declared",
    )


def test_check_mode_asks_nobody(port):
    answer = ask(port, check=True)
    assert (answer["passed"], answer["attempts"], answer["detail"]) == (None, 0, "not asked in check mode")


def test_a_description_with_a_mistake_is_refused():
    answer = plugins.run(PLUGIN, application="shop", description={"smoek": []})
    assert (answer["failed"], answer["reason"]) == (True, "application_invalid")
    assert doors.undocumented(PLUGIN, answer) == set()
