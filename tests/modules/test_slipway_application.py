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


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"applications": {}}, "no_application"),
        ({"applications": {"shop": {}, "till": {}}}, "application_needed"),
        ({"applications": {"shop": {}}, "name": "till"}, "application_unknown"),
        ({"applications": {"shop": {"unti": "shop.service"}}}, "application_invalid"),
    ],
)
def test_doubt_is_refused(options, reason):
    answer = plugins.run(PLUGIN, **options)
    assert (answer["failed"], answer["reason"]) == (True, reason)
    assert doors.undocumented(PLUGIN, answer) == set()
