# SPDX-License-Identifier: GPL-3.0-or-later
"""On which release, and on which hosts, a secret is rotated."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.secret_run import require_all_hosts, require_one_release, require_restarted


def served(*releases):
    return {
        f"prod-{number}": {} if release is None else {"active": release} for number, release in enumerate(releases, 1)
    }


def test_it_is_the_release_that_every_host_serves():
    assert require_one_release(served("v1", "v1"), "") == "v1"
    assert require_one_release(served("v1"), "v1") == "v1"


@pytest.mark.parametrize(("releases", "wanted", "reason", "found"), [
    (("v1", None), "", "rotation_hosts_silent", "none from prod-2"),
    (("v1", "v2"), "", "rotation_releases_differ", "v1 on prod-1; v2 on prod-2"),
    (("v1", ""), "", "rotation_releases_differ", "nothing on prod-2; v1 on prod-1"),
    (("", ""), "", "rotation_releases_differ", "nothing on prod-1, prod-2"),
    (("v1", "v1"), "v2", "rotation_releases_differ", "v1 on prod-1, prod-2"),
])  # fmt: skip
def test_anything_else_is_refused(releases, wanted, reason, found):
    with pytest.raises(Refusal) as refusal:
        require_one_release(served(*releases), wanted)
    assert (refusal.value.reason, refusal.value.found) == (reason, found)


@pytest.mark.parametrize("description", [{}, {"strategy": "none"}, {"unit": "shop.service", "strategy": "none"}])
def test_a_service_that_goes_on_with_what_it_was_started_with_is_refused(description):
    with pytest.raises(Refusal) as refusal:
        require_restarted(Application.parse("shop", description))
    assert refusal.value.reason == "rotation_service_not_restarted"


@pytest.mark.parametrize("description", [{}, {"strategy": "restart"}, {"strategy": "reload"}])
def test_one_that_is_started_anew_or_told_is_not(description):
    require_restarted(Application.parse("shop", {"unit": "shop.service", **description}))


def test_no_host_of_the_inventory_that_has_the_application_is_left_out():
    require_all_hosts({"a", "b", "gone"}, ["a", "b", "c"], {"a": 1, "b": 1})
    with pytest.raises(Refusal) as refusal:
        require_all_hosts({"a", "b", "gone"}, ["a", "b", "c"], {"a": 1})
    assert (refusal.value.reason, refusal.value.found) == ("rotation_hosts_left_out", "a run without b")
