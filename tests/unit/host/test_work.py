# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hooks and migrations a switch needs, and whether it may. How they are run is in test_hooks.py."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.evidence import Evidence
from ansible.module_utils.slipway.host.work import Foreman, Work
from releases import V1, V2, V3

HOOKS = "\nhooks: " + json.dumps(
    {moment: [{"argv": ["true", moment]}] for moment in ("after_switch", "before_rollback")}
)


def migrations(*names):
    return "migrations: " + json.dumps(
        [
            {"name": name.lstrip("!"), "argv": ["true"], "reversible": name[0] != "!"}
            | ({"back": ["true"]} if name[0] != "!" else {})
            for name in names
        ]
    )


@pytest.fixture
def deployed(site):
    """v1, v2 and v3 were deployed here one after the other; v3 brought an irreversible migration."""
    for release_id, files, names in (("v1", V1, ("a",)), ("v2", V2, ("a", "b")), ("v3", V3, ("a", "b", "!c"))):
        site.build(release_id, files, more=migrations(*names) + HOOKS)
        site.deploy(release_id, f"run-{release_id}", migrate=True)
    return site


def foreman(site, current):
    return Foreman(Evidence(site.places), "prod-1", current)


def manifest(site, release_id):
    return site.catalogue.manifest("shop", release_id)


def names(work):
    return [migration.name for migration in work.migrations]


def test_a_deployment_has_the_hooks_of_its_release_and_the_migrations_that_are_pending(deployed):
    work = foreman(deployed, "v1").of_deployment(manifest(deployed, "v3"), {"migrate": True})
    assert (names(work), work.migrate, work.accepted) == (["b", "c"], True, ())
    assert sorted(work.hooks.steps) == ["after_switch", "before_rollback"]
    assert work.lines == foreman(deployed, "v1").lines(manifest(deployed, "v3"))
    assert work.lines == [
        "migration b: true", "migration c (irreversible): true", "after_switch: true after_switch", "before_rollback: true before_rollback",
    ]  # fmt: skip


def test_a_first_deployment_has_all_migrations_pending(deployed):
    assert names(foreman(deployed, None).of_deployment(manifest(deployed, "v2"), {"migrated": True})) == ["a", "b"]


def test_what_cannot_be_read_of_what_is_active_says_nothing(deployed):
    (deployed.places.manifests / "v1/manifest.dsse.json").write_bytes(b"{}")
    assert names(foreman(deployed, "v1").of_deployment(manifest(deployed, "v2"), {"migrate": True})) == ["a", "b"]


def test_migrations_that_nobody_ran_are_refused_and_none_are_not(deployed):
    with pytest.raises(Refusal) as refusal:
        foreman(deployed, "v1").of_deployment(manifest(deployed, "v2"), {})
    assert (refusal.value.reason, refusal.value.found) == ("migrations_not_run", "nobody ran b")
    assert foreman(deployed, "v2").of_deployment(manifest(deployed, "v2"), {}).migrations == ()


@pytest.mark.parametrize("direction", ["of_deployment", "of_rollback"])
def test_no_switch_leaves_an_irreversible_migration_behind_unless_that_is_accepted(deployed, direction):
    more = (deployed.records,) if direction == "of_rollback" else ()
    decide = getattr(foreman(deployed, "v3"), direction)
    with pytest.raises(Refusal) as refusal:
        decide(manifest(deployed, "v2"), {}, *more)
    assert (refusal.value.reason, refusal.value.found) == ("migration_irreversible", "c")
    assert decide(manifest(deployed, "v2"), {"irreversible_accepted": True}, *more).accepted == ("c",)


def test_a_rollback_has_the_hooks_of_the_way_back_and_the_migrations_that_this_host_ran(deployed):
    work = foreman(deployed, "v2").of_rollback(manifest(deployed, "v1"), {"migrate": True}, deployed.records)
    assert (names(work), sorted(work.hooks.steps)) == (["b"], ["before_rollback"])
    assert work.lines == ("takes back migration b", "before_rollback: true before_rollback")
    elsewhere = foreman(deployed, "v2").of_rollback(manifest(deployed, "v1"), {"migrate": True}, [])
    assert names(elsewhere) == []


def test_a_rollback_from_nothing_or_from_what_is_not_as_signed_has_no_work(deployed):
    assert foreman(deployed, None).of_rollback(manifest(deployed, "v1"), {}, deployed.records) == Work()
    (deployed.release("v2") / "config.json").write_bytes(b"{}")
    assert foreman(deployed, "v2").of_rollback(manifest(deployed, "v1"), {}, deployed.records) == Work()


def test_the_journal_has_all_of_it_in_plain_data(deployed):
    work = foreman(deployed, "v1").of_deployment(manifest(deployed, "v2"), {"migrate": True})
    assert work.as_dict() == {
        "hooks": work.hooks.as_dict(),
        "migrations": [{"name": "b", "argv": ["true"], "timeout_seconds": 600, "reversible": True, "back": ["true"]}],
        "migrate": True,
        "irreversible_accepted": [],
    }
