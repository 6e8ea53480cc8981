# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host served, by the runs of a ledger. What follows for the report is in test_delivery_measures.py, against hosts that know for themselves."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.controller.delivery_hosts import followed
from ansible.module_utils.slipway.controller.memory import HostOfRun, RunRecord


def run(number, operation, release, *, outcome="as asked", takes_back=(), **hosts):
    """A run that ended with these outcomes of its hosts; without an outcome it was cut off, and nobody noted them."""
    return RunRecord(
        f"run-{number}", operation, "shop", "prod", "alice", number, number if outcome else None, outcome,
        release_id=release, takes_back=tuple(takes_back), hosts=tuple(HostOfRun(name, each) for name, each in hosts.items()),
    )  # fmt: skip


FIRST = run(1, "deploy", "v1", a="confirmed", b="confirmed")
SECOND = run(2, "deploy", "v2", a="confirmed")
THIRD = run(3, "deploy", "v2", b="confirmed")


@pytest.mark.parametrize("named", [(), ("run-2",)])
def test_a_rollback_is_for_what_its_hosts_served_and_nobody_elses(named):
    fates = followed([FIRST, SECOND, THIRD, run(4, "rollback", "v1", takes_back=named, a="confirmed")])
    assert fates.taken_back == {"run-2": {"a"}}
    assert ("run-2", "a") in fates.spoiled
    assert [fates.is_taken_back(f"run-{number}") for number in (1, 2, 3)] == [False, True, False]


def test_one_of_several_deployments_hosts_is_for_each_of_them():
    fates = followed([FIRST, SECOND, THIRD, run(4, "rollback", "v1", a="confirmed", b="unwell")])
    assert fates.taken_back == {"run-2": {"a"}, "run-3": {"b"}}


def test_one_that_was_cut_off_is_for_what_it_names():
    fates = followed([FIRST, SECOND, run(4, "rollback", "v1", outcome=None, takes_back=["run-2"])])
    assert (fates.taken_back, fates.unseen) == ({}, {"run-2": 4})
    assert fates.is_taken_back("run-2")


@pytest.mark.parametrize(
    ("hosts", "is_again"),
    [
        ({"a": "confirmed"}, True),
        ({"a": "reverted", "b": "untouched"}, True),
        ({"a": "confirmed", "b": "confirmed"}, False),  # one of them served another release
        ({"c": "confirmed"}, False),  # nobody knows what it served
        ({"a": "unchanged"}, False),
    ],
)
def test_the_same_release_again_is_a_redeployment_where_every_host_served_it(hosts, is_again):
    assert ("run-3" in followed([FIRST, SECOND, run(3, "deploy", "v2", **hosts)]).redeployments) is is_again
