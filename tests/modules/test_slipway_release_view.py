# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that writes the page of a release."""

from __future__ import annotations

from pathlib import Path

import doors
import plugins
import pytest
import yaml

PLUGIN = "slipway_release_view"


@pytest.fixture
def view(site, tmp_path):
    site.build("v1", {"bin/shop": b"one"})

    def written(**options):
        given = {"catalogue": str(site.catalogue.root), "application": "shop", "directory": str(tmp_path / "pages")}
        return plugins.run(PLUGIN, **{**given, "release_id": "v1", **options})

    return written


def test_the_page_is_written_once(view):
    first, second = view(), view()
    assert (first["changed"], second["changed"]) == (True, False)
    assert yaml.safe_load(Path(first["page"]).read_text())["release_id"] == "v1"
    assert doors.undocumented(PLUGIN, first) == set()


def test_check_mode_writes_nothing(view):
    answer = view(check=True)
    assert answer["changed"]
    assert not Path(answer["page"]).exists()


def test_a_release_that_is_not_there_is_refused(view):
    answer = view(release_id="v9")
    assert (answer["failed"], answer["reason"]) == (True, "release_unknown")
    assert doors.undocumented(PLUGIN, answer) == set()
