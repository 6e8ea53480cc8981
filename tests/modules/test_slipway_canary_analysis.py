# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that compares a canary with the other hosts while it soaks."""

from __future__ import annotations

import doors
import plugins

PLUGIN = "slipway_canary_analysis"
ANALYSIS = {"interval_seconds": 1, "measures": {"errors": {"query": 'errors{instance=~"$hosts"}'}}}
NOBODY = {"url": "http://127.0.0.1:1"}


def ask(**options):
    return plugins.run(
        PLUGIN,
        **{"analysis": ANALYSIS, "prometheus": NOBODY, "new": ["prod-1"], "old": ["prod-2"], "seconds": 1, **options},
    )


def test_a_prometheus_that_is_not_there_is_no_verdict():
    answer = ask()
    assert answer["outcome"] == "inconclusive"
    assert "Prometheus did not answer" in answer["detail"]
    assert doors.undocumented(PLUGIN, answer) == set()


def test_what_is_no_analysis_is_refused():
    answer = ask(analysis={"measures": {"errors": {"query": "up"}}})
    assert (answer["failed"], answer["reason"]) == (True, "analysis_invalid")
    assert doors.undocumented(PLUGIN, answer) == set()
