# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that says how something listens."""

from __future__ import annotations

import doors
import plugins

PLUGIN = "slipway_listener"
FILES = {"certificate": "/a", "key": "/b", "authority": "/c"}


def test_beyond_loopback_it_asks_for_a_certificate_or_is_refused():
    answer = plugins.run(PLUGIN, address="192.0.2.1", ports=[9090], tls=FILES)
    assert "RequireAndVerifyClientCert" in answer["configuration"]
    assert (answer["changed"], answer["listens"]) == (False, ["192.0.2.1:9090"])
    refused = plugins.run(PLUGIN, address="192.0.2.1", ports=[9090], tls=dict.fromkeys(FILES, ""))
    assert (refused["failed"], refused["reason"]) == (True, "listening_unguarded")
    for each in (answer, refused):
        assert doors.undocumented(PLUGIN, each) == set()
