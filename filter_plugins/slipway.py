# SPDX-License-Identifier: GPL-3.0-or-later
"""The few values that playbooks pick from what hosts returned."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway.controller import failover, regions, report, runs, story, wave_verdict
from ansible.module_utils.slipway.controller.holders import Holders


def by_host(hosts, hostvars, name):
    """{host: its variable ``name``, or nothing where it has none}: what a task registered, for the whole play."""
    return {host: hostvars[host].get(name) or {} for host in hosts}


def by_stage(hosts, hostvars):
    """{stage: {host: what its task registered}} of a run: what its waves and its end are judged by.

    The variables of a host are put together once for all stages: that is what costs.
    """
    variables = {host: hostvars[host] for host in hosts}
    return {
        stage: {host: each.get(f"__release_{stage}") or {} for host, each in variables.items()}
        for stage in sorted({*report.STAGES, *report.BESIDE, *wave_verdict.STAGES})
    }


def is_stopped(verdicts):
    """Whether a wave was judged so that no other follows; ``verdicts`` by host, nothing where its wave has not come."""
    return any(verdict.get("decision") == "stop" for verdict in verdicts.values())


def records_by_host(answers):
    """{host: its records} of the hosts that answered a slipway_history_info."""
    return {host: answer["records"] for host, answer in answers.items() if "records" in answer}


def newest_runs(answers, limit):
    """The newest runs of the hosts that answered."""
    return runs.newest_runs(records_by_host(answers), limit)


def runs_table(answers, limit):
    """The same as a table, with the hosts that did not answer."""
    return runs.runs_table(newest_runs(answers, limit), [host for host in answers if "records" not in answers[host]])


def status_table(answers, standings=()):
    """What the fleet serves, by host and by region, and how it is watched now; ``standings`` are what balancers answered."""
    return story.what_is_served(answers, int(time.time()), failover.kept_out(standings))


def whole_story(answers, histories, application, holders, standings=()):
    """What the fleet serves and how it came to that, with the names of ``trust_holders``."""
    return story.story(
        answers,
        records_by_host(histories),
        application=application,
        now=int(time.time()),
        holders=Holders.parse(holders),
        kept_out=failover.kept_out(standings),
    )


def with_regions(answers, by_host, standings):
    """The answers of hosts with their regions, and with the balancers that keep them out."""
    return regions.with_regions(answers, by_host, failover.kept_out(standings))


def local_path(value):
    """The path that ``release_source`` names, nothing where group_vars name stores there: what is released comes from no store."""
    return value if isinstance(value, str) and "://" not in value else ""


class FilterModule:
    """What playbooks say `| slipway_…` to."""

    def filters(self):
        return {
            "slipway_balancers": failover.balancers_of,
            "slipway_by_host": by_host,
            "slipway_by_stage": by_stage,
            "slipway_is_served": report.is_served,
            "slipway_is_stopped": is_stopped,
            "slipway_local_path": local_path,
            "slipway_lock_report": report.lock_report,
            "slipway_not_settled": report.not_settled,
            "slipway_regions": regions.regions_of,
            "slipway_recovery_report": report.recovery_report,
            "slipway_not_rotated": report.not_rotated,
            "slipway_rotation_report": report.rotation_report,
            "slipway_newest_runs": newest_runs,
            "slipway_runs_table": runs_table,
            "slipway_status_table": status_table,
            "slipway_story": whole_story,
            "slipway_with_agents": report.with_agents,
            "slipway_with_regions": with_regions,
            "slipway_without_answer": report.without_answer,
        }
