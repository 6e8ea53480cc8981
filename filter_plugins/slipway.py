# SPDX-License-Identifier: GPL-3.0-or-later
"""The few values that playbooks pick from what hosts returned."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway import report  # noqa: E402 - the path above comes first


def by_host(hosts, hostvars, name):
    """{host: its variable ``name``, or nothing where it has none}: what a task registered, for the whole play."""
    return {host: hostvars[host].get(name) or {} for host in hosts}


class FilterModule:
    """slipway_by_host and slipway_status_table."""

    def filters(self):
        return {"slipway_by_host": by_host, "slipway_status_table": report.status_table}
