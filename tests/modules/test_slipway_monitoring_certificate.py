# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that has certificates made."""

from __future__ import annotations

from pathlib import Path

import doors
import plugins

PLUGIN = "slipway_monitoring_certificate"


def test_a_certificate_is_made_once(tmp_path):
    options = {"state_directory": str(tmp_path), "name": "prod-1", "addresses": ["192.0.2.1"]}
    assert plugins.run(PLUGIN, check=True, **options)["changed"] is True
    assert list(tmp_path.iterdir()) == []
    answer = plugins.run(PLUGIN, **options)
    assert answer["changed"] is True
    assert all(Path(answer[name]).is_file() for name in ("certificate", "key", "authority"))
    assert plugins.run(PLUGIN, **options)["changed"] is False
    refused = plugins.run(PLUGIN, **{**options, "name": "a b"})
    assert (refused["failed"], refused["reason"]) == (True, "certificate_invalid")
    for each in (answer, refused):
        assert doors.undocumented(PLUGIN, each) == set()
