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
    assert yaml.safe_load(Path(first["pages"][0]).read_text())["release_id"] == "v1"
    assert doors.undocumented(PLUGIN, first) == set()


def test_check_mode_writes_nothing(view):
    answer = view(check=True)
    assert answer["changed"]
    assert not Path(answer["pages"][0]).exists()


def test_a_release_that_is_not_there_is_refused(view):
    answer = view(release_id="v9")
    assert (answer["failed"], answer["reason"]) == (True, "release_unknown")
    assert doors.undocumented(PLUGIN, answer) == set()


def test_all_pages_are_written_anew_when_a_name_is_erased(view, site):
    site.build("v2", {"bin/shop": b"two"})
    ci = {"ci": {"name": "Build Server", "email": "ci@example.org"}}
    named = view(release_id=None, holders=ci)
    assert [Path(page).name for page in named["pages"]] == ["v1.yaml", "v2.yaml"]
    assert all("ci@example.org" in Path(page).read_text() for page in named["pages"])
    erased = view(release_id=None)
    assert erased["changed"]
    assert not any("ci@example.org" in Path(page).read_text() for page in erased["pages"])
    assert all("builder: ci" in Path(page).read_text() for page in erased["pages"])


def test_names_that_cannot_be_read_are_refused(view):
    assert view(holders={"ci": "somebody"})["reason"] == "holders_invalid"
