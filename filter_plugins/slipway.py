# SPDX-License-Identifier: GPL-3.0-or-later
"""The few values that playbooks pick from what hosts returned."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway.controller import report, runs, story
from ansible.module_utils.slipway.controller.holders import Holders


def by_host(hosts, hostvars, name):
 noqa: E402 - the path above comes first  """{host: its variable ``name``, or nothing where it has none}: what a task registered, for the whole play."""
 noqa: E402 - the path above comes first  return {host: hostvars[host].get(name) or {} for host in hosts}


def records_by_host(answers):
 noqa: E402 - the path above comes first  """{host: its records} of the hosts that answered a slipway_history_info."""
 noqa: E402 - the path above comes first  return {host: answer["records"] for host, answer in answers.items() if "records" in answer}


def newest_runs(answers, limit):
 noqa: E402 - the path above comes first  """The newest runs of the hosts that answered."""
 noqa: E402 - the path above comes first  return runs.newest_runs(records_by_host(answers), limit)


def runs_table(answers, limit):
 noqa: E402 - the path above comes first  """The same as a table, with the hosts that did not answer."""
 noqa: E402 - the path above comes first  return runs.runs_table(newest_runs(answers, limit), [host for host in answers if "records" not in answers[host]])


def whole_story(answers, histories, application, holders):
 noqa: E402 - the path above comes first  """What the fleet serves and how it came to that, with the names of ``trust_holders``."""
 noqa: E402 - the path above comes first  people = Holders.parse(holders)
 noqa: E402 - the path above comes first  return story.story(
 noqa: E402 - the path above comes first      answers, records_by_host(histories), application=application, now=int(time.time()), holders=people
 noqa: E402 - the path above comes first  )


class FilterModule:
 noqa: E402 - the path above comes first  """What playbooks say `| slipway_…` to."""

 noqa: E402 - the path above comes first  def filters(self):
 noqa: E402 - the path above comes first      return {
 noqa: E402 - the path above comes first          "slipway_by_host": by_host,
 noqa: E402 - the path above comes first          "slipway_newest_runs": newest_runs,
 noqa: E402 - the path above comes first          "slipway_runs_table": runs_table,
 noqa: E402 - the path above comes first          "slipway_status_table": report.status_table,
 noqa: E402 - the path above comes first          "slipway_story": whole_story,
 noqa: E402 - the path above comes first      }
