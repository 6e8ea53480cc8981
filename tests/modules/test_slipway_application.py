# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that says which application a run is for."""

from __future__ import annotations

import doors
import plugins
import pytest

PLUGIN = "slipway_application"


def test_the_only_application_is_meant():
    answer = plugins.run(PLUGIN, applications={"shop": {}})
    assert (answer["name"], answer["changed"]) == ("shop", False)
    assert doors.undocumented(PLUGIN, answer) == set()


def test_one_of_several_is_named():
    assert plugins.run(PLUGIN, applications={"shop": {}, "till": {}}, name="till")["name"] == "till"


@pytest.mark.parametrize("meant", ["", "prod"])
def test_the_environment_of_all_hosts_is_meant_unless_another_is_named(meant):
    answer = plugins.run(PLUGIN, applications={"shop": {}}, environments=["prod"], environment=meant)
    assert answer["name"] == "shop"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"applications": {}}, "no_application"),
        ({"applications": {"shop": {}, "till": {}}}, "application_needed"),
        ({"applications": {"shop": {}}, "name": "till"}, "application_unknown"),
        ({"applications": {"shop": {"unti": "shop.service"}}}, "application_invalid"),
        ({"applications": {"shop": {}}, "is_alone": False}, "run_not_alone"),
        ({"applications": {"shop": {}}, "environments": ["prod", "staging"]}, "environments_mixed"),
        ({"applications": {"shop": {}}, "environments": ["prod"], "environment": "staging"}, "environment_not_meant"),
    ],
)
def test_doubt_is_refused(options, reason):
    answer = plugins.run(PLUGIN, **options)
    assert (answer["failed"], answer["reason"]) == (True, reason)
    assert doors.undocumented(PLUGIN, answer) == set()
