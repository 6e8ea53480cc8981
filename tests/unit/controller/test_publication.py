# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store lacks of the catalogue is sent, oldest first, once."""

from __future__ import annotations

import hashlib

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.publication import Sent, still_missing, unpublished
from releases import V1, V2


@pytest.fixture
def catalogue(site):
    site.build("v2", V1)
    site.build("v1", V2)
    return site.catalogue


def names(releases):
    return [release.release_id for release in releases]


def digest(catalogue, release_id):
    return hashlib.sha256(catalogue.manifest_bytes("shop", release_id)).hexdigest()


def test_all_that_is_not_published_is_sent_oldest_first(catalogue):
    assert names(unpublished(catalogue, "shop", "", {}, again=False)) == ["v2", "v1"]
    published = {"v2": digest(catalogue, "v2")}
    assert names(unpublished(catalogue, "shop", "", published, again=False)) == ["v1"]
    assert names(unpublished(catalogue, "shop", "", published, again=True)) == ["v2", "v1"]


def test_another_manifest_of_that_name_is_not_published(catalogue):
    assert names(unpublished(catalogue, "shop", "", {"v2": "0" * 64, "v1": "0" * 64}, again=False)) == ["v2", "v1"]


def test_only_the_release_that_is_asked_for(catalogue):
    assert names(unpublished(catalogue, "shop", "v1", {}, again=False)) == ["v1"]
    assert unpublished(catalogue, "shop", "v1", {"v1": digest(catalogue, "v1")}, again=False) == []


@pytest.mark.parametrize(("application", "requested"), [("shop", "v9"), ("nothing", ""), ("nothing", "v1")])
def test_what_is_not_in_the_catalogue_is_refused(catalogue, application, requested):
    with pytest.raises(Refusal) as caught:
        unpublished(catalogue, application, requested, {}, again=False)
    assert caught.value.reason == "release_unknown"


def test_what_is_missing_is_sent_once(catalogue):
    release = catalogue.manifest("shop", "v1")
    missing = still_missing(release, {"missing": ["a"]}, frozenset())
    assert missing == {"a"}
    assert still_missing(release, {"missing": []}, missing) == frozenset()
    with pytest.raises(Refusal) as caught:
        still_missing(release, {"missing": ["a"]}, missing)
    assert caught.value.reason == "objects_missing"


def test_what_was_added_is_counted(catalogue):
    sent, release = Sent(), catalogue.manifest("shop", "v1")
    assert sent.as_dict() == {"changed": False, "added": [], "objects": 0, "bytes": 0}
    sent.add(release, {"changed": False, "objects": 0, "bytes": 0})
    sent.add(release, {"changed": True, "objects": 2, "bytes": 3})
    assert sent.as_dict() == {"changed": True, "added": ["v1"], "objects": 2, "bytes": 3}
