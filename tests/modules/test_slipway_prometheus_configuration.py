# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that makes Prometheus' configuration from the inventory."""

from __future__ import annotations

import doors
import plugins
import repository
import yaml

PLUGIN = "slipway_prometheus_configuration"
FILES = {"certificate": "/a", "key": "/b", "authority": "/c"}
HOSTS = {
    "prod-1": {"ansible_host": "192.0.2.1", "slipway_environment": "prod"},
    "prod-2": {"slipway_environment": "prod"},
    "watch-1": {"ansible_host": "192.0.2.9"},
}


def made(**options):
    return plugins.run(
        PLUGIN,
        task_vars={"hostvars": HOSTS},
        **{
            "hosts": list(HOSTS), "applications": {}, "alertmanagers": [], "agents_port": 9100, "tls": FILES, "watch_metrics": {},
            "rules_path": str(repository.ROOT / "roles/prometheus/files/rules"), "runbooks_url": "https://wiki.example", "watch_repeat_hours": 2,
            "retention_days": 15, **options,
        },
    )  # fmt: skip


def test_hosts_that_have_an_environment_are_watched_where_the_inventory_says():
    answer = made()
    (agents,) = yaml.safe_load(answer["configuration"])["scrape_configs"]
    assert [(each["targets"], each["labels"]["instance"]) for each in agents["static_configs"]] == [
        (["192.0.2.1:9100"], "prod-1"),
        (["prod-2:9100"], "prod-2"),
    ]
    refused = made(tls=dict.fromkeys(FILES, ""))
    assert (refused["failed"], refused["reason"]) == (True, "listening_unguarded")
    for each in (answer, refused):
        assert doors.undocumented(PLUGIN, each) == set()
