# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_artifact_store and its plugin: what the store lacks of the catalogue is sent, and hosts can fetch it."""

from __future__ import annotations

import doors
import plugins
import pytest
import stores
from releases import V1, V2, snapshot

NAME = "slipway_artifact_store"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "www"


@pytest.fixture
def publish(site, root):
    """Run the task."""

    def run(check=False, **options):
        return plugins.run_on_host(
            NAME,
            check=check,
            door=plugins.MODULE,
            task_vars=site.variables(),
            **{"path": str(root), "application": "shop", "catalogue": str(site.catalogue.root), **options},
        )

    return run


def test_the_catalogue_is_published_once(site, publish, root):
    site.build("v1", V1)
    site.build("v2", V2)
    answer = publish()
    assert (answer["changed"], answer["added"], sorted(answer["published"])) == (True, ["v1", "v2"], ["v1", "v2"])
    assert answer["objects"] == len(site.objects("v1") | site.objects("v2"))
    assert doors.undocumented(NAME, answer) == set()
    before = snapshot(root)
    again = publish()
    assert (again["changed"], again["added"], again["objects"]) == (False, [], 0)
    assert snapshot(root) == before
    assert not list((site.directory / "witness/packs").glob("*"))


def test_check_mode_says_what_would_be_added(site, publish, root):
    site.build("v1", V1)
    planned = publish(check=True)
    assert not root.exists()
    done = publish()
    assert [planned[key] for key in ("changed", "added", "objects", "bytes")] == [
        done[key] for key in ("changed", "added", "objects", "bytes")
    ]


def test_one_release_is_published_where_one_is_named(site, publish):
    site.build("v1", V1)
    site.build("v2", V2)
    assert sorted(publish(release_id="v1")["published"]) == ["v1"]
    assert publish(release_id="v3")["reason"] == "release_unknown"


def test_what_is_damaged_is_mended_when_that_is_asked_for(site, publish, root):
    site.build("v1", V1)
    publish()
    damaged = next(path for path in (root / "shop/objects").rglob("*/*") if path.stat().st_size)
    good = damaged.read_bytes()
    damaged.write_bytes(bytes(len(good)))
    assert publish()["changed"] is False
    answer = publish(verified=True)
    assert (answer["changed"], answer["added"], answer["objects"]) == (True, ["v1"], 1)
    assert damaged.read_bytes() == good


def test_a_store_that_cannot_be_looked_at_is_refused(site, publish, root):
    site.build("v1", V1)
    assert publish(application="Shop")["reason"] == "application_invalid"


def test_another_release_of_that_name_is_refused(site, publish, root):
    site.build("v1", V1)
    publish()
    (root / "shop/manifests/v1.dsse.json").write_bytes(b"{}")
    answer = publish()
    assert (answer["failed"], answer["reason"]) == (True, "release_id_taken")


def test_a_damaged_catalogue_publishes_nothing(site, publish, root):
    site.build("v1", V1)
    name = next(iter(site.objects("v1")))
    path = site.catalogue.object_path("shop", name)
    path.chmod(0o644)
    path.write_bytes(b"x" * (path.stat().st_size + 1))
    answer = publish()
    assert (answer["failed"], answer["reason"]) == (True, "catalogue_damaged")
    assert not (root / "shop/manifests").exists()


def test_a_host_deploys_from_what_was_published(site, publish, root):
    site.build("v1", V1)
    publish()
    mirror = stores.Mirror(root)
    answer = site.stage("v1", objects=(), source=mirror.url)
    mirror.close()
    assert answer["fetched"]["objects"] == len(site.objects("v1"))
    assert not site.activate("v1").get("failed")
