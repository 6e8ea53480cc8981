# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does beside the switch: the operator's task files, and who runs or takes back migrations."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import moments
from ansible.module_utils.slipway.controller.rollout import Settings
from releases import V1, V2, V3


def migrations(*names):
    return "migrations: " + json.dumps(
        [
            {"name": name.lstrip("!"), "argv": ["true", name.lstrip("!")], "reversible": name[0] != "!"}
            | ({"back": ["true"]} if name[0] != "!" else {})
            for name in names
        ]
    )


@pytest.fixture
def catalogue(site):
    """v1 names one migration, v2 one more, v3 an irreversible one more; v0 is not in the catalogue."""
    site.build("v1", V1, more=migrations("m1"))
    site.build("v2", V2, more=migrations("m1", "m2") + "\nhooks: {before_switch: [{argv: [a], timeout_seconds: 5}]}")
    site.build(
        "v3", V3, more=migrations("m1", "m2", "!m3") + "\nhooks: {before_confirm: [{argv: [b, c], timeout_seconds: 9}]}"
    )
    return site.catalogue


def serving(**releases):
    return {host.replace("_", "-"): {"settled": release} for host, release in releases.items()}


def of_deployment(catalogue, release_id, answers):
    return moments.of_deployment(catalogue, catalogue.manifest("shop", release_id), answers)


# the operator's task files


def test_task_files_are_found_below_the_repository_or_where_they_are(tmp_path):
    for name in ("hooks/tell.yml", "b.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    given = {"after_confirm": ["hooks/tell.yml", str(tmp_path / "b.yml")], "before_stage": ["b.yml"], "after_stage": []}
    found = moments.task_files(given, tmp_path)
    assert found == {
        "before_stage": [f"{tmp_path}/b.yml"],
        "after_confirm": [f"{tmp_path}/hooks/tell.yml", f"{tmp_path}/b.yml"],
    }
    assert moments.told_files(found) == [
        f"tasks of before_stage: {tmp_path}/b.yml",
        f"tasks of after_confirm: {tmp_path}/hooks/tell.yml, {tmp_path}/b.yml",
    ]
    assert moments.task_files({}, tmp_path) == {}


def test_every_task_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Refusal) as refusal:
        moments.task_files({"after_switch": ["a.yml"], "before_stage": ["b.yml", "."]}, tmp_path)
    assert refusal.value.reason == "hook_missing"
    assert refusal.value.found == "; ".join(
        (f"before_stage: {tmp_path}/b.yml", f"before_stage: {tmp_path}", f"after_switch: {tmp_path}/a.yml")
    )


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], "[]"),
        ("a.yml", "'a.yml'"),
        (
            {"after_boot": ["a.yml"], "before_switch": "a.yml", "after_switch": [1]},
            "after_boot, before_switch, after_switch",
        ),
        ({"before_switch": [""]}, "before_switch"),
    ],
)
def test_hooks_that_are_none_are_refused(given, found, tmp_path):
    with pytest.raises(Refusal) as refusal:
        moments.task_files(given, tmp_path)
    assert (refusal.value.reason, refusal.value.found) == ("hooks_invalid", found)


# deployments


def test_pending_migrations_are_run_by_the_first_host(catalogue):
    planned = of_deployment(catalogue, "v2", serving(prod_2="v1", prod_1="v1"))
    manifest, answers = catalogue.manifest("shop", "v2"), serving(prod_2="v1", prod_1="v1")
    assert moments.of_deployment(catalogue, manifest, answers, first="prod-2").migrating == "prod-2"
    assert planned.migrating == "prod-1"
    assert planned.lines == ("migration m2 on prod-1: true m2", "hook before_switch: a")
    assert (planned.seconds, planned.checks_before_confirm) == (5, False)


def test_what_cannot_be_taken_back_is_said_with_what_that_means(catalogue):
    planned = of_deployment(catalogue, "v3", serving(prod_1="v2"))
    assert planned.lines == (
        "migration m3 (irreversible) on prod-1: true m3",
        "There is no way back over m3: a release that is not well stays (docs/runbooks/irreversible-migration.md).",
        "hook before_confirm: b c",
    )
    assert (planned.seconds, planned.checks_before_confirm) == (9, True)


@pytest.mark.parametrize(
    ("settled", "names"), [("v1", ["m2"]), (None, ["m1", "m2"]), ("v0", ["m1", "m2"]), ("v2", []), ("v3", [])]
)
def test_pending_is_what_the_release_before_does_not_name_or_all_where_it_is_not_known(catalogue, settled, names):
    answer = {"settled": settled}
    planned = of_deployment(catalogue, "v2", {"prod-1": answer})
    assert [line.split()[1] for line in planned.lines if line.startswith("migration")] == names
    assert planned.migrating == ("prod-1" if names else "")
    assert moments.may_be_pending(catalogue, catalogue.manifest("shop", "v2"), answer) is bool(names)


def test_one_host_that_is_behind_is_enough(catalogue):
    assert of_deployment(catalogue, "v2", serving(prod_1="v2", prod_2="v1")).migrating == "prod-1"


def test_the_host_that_migrates_is_a_wave_of_its_own(catalogue):
    planned = of_deployment(catalogue, "v2", serving(prod_1="v1"))
    assert planned.settings(Settings(waves=("2", "100%"))).waves == ("1", "2", "100%")
    assert planned.settings(Settings(waves=("1", "100%"))).waves == ("1", "100%")
    nothing = of_deployment(catalogue, "v2", serving(prod_1="v2"))
    assert nothing.settings(Settings(waves=("2", "100%"))).waves == ("2", "100%")


# rollbacks


def of_rollback(catalogue, answers, targets, **options):
    return moments.of_rollback(catalogue, "shop", answers, targets, **options)


def test_a_whole_environment_takes_its_migrations_back(catalogue):
    way_back = of_rollback(catalogue, serving(a="v2", b="v2"), {"a": "v1", "b": "v1"})
    assert way_back.migrate
    assert way_back.lines == ("migrations m2 are taken back by the host that ran them, as far as they can be",)


@pytest.mark.parametrize(
    ("answers", "others", "staying"),
    [
        (serving(a="v2", b="v2"), [], "b"),
        (serving(a="v2"), ["c"], "c"),
        (serving(a="v2", b="v2"), ["c"], "b, c"),
    ],
)
def test_migrations_stay_while_another_host_may_need_them(catalogue, answers, others, staying):
    way_back = of_rollback(catalogue, answers, {"a": "v1"}, others=others)
    assert not way_back.migrate
    assert way_back.lines == (f"migrations m2 stay: {staying} may still need them",)


def test_a_host_that_serves_another_release_needs_nothing_of_this_one(catalogue):
    assert of_rollback(catalogue, serving(a="v2", b="v1"), {"a": "v1"}).migrate


def test_a_rollback_over_an_irreversible_migration_is_refused_with_every_host_or_accepted(catalogue):
    answers, targets = serving(a="v3", b="v3", c="v2"), {"a": "v2", "b": "v1", "c": "v1"}
    with pytest.raises(Refusal) as refusal:
        of_rollback(catalogue, answers, targets)
    assert refusal.value.reason == "migration_irreversible"
    assert refusal.value.found == "a: m3 between v2 and v3; b: m3 between v1 and v3"
    assert "docs/runbooks/irreversible-migration.md" in refusal.value.remedy
    accepted = of_rollback(catalogue, answers, targets, accepted=True)
    assert accepted.lines[0] == f"over irreversible migrations, accepted: {refusal.value.found}"


@pytest.mark.parametrize("answers", [serving(a="v0"), serving(a=None)])
def test_what_the_catalogue_does_not_know_is_left_to_the_hosts(catalogue, answers):
    assert of_rollback(catalogue, answers, {"a": "v1"}).lines == ()
    assert of_rollback(catalogue, serving(a="v3"), {"a": "v0"}).lines == ()
