# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a release joins what was signed with what the hosts recorded."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import signed
import yaml
from ansible.module_utils.slipway.controller import deployment
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.controller.manifest_view import ManifestView, concerned
from ansible.module_utils.slipway.trust.manifest import ReleaseManifest
from ansible.module_utils.slipway.trust.promotion import Promotion
from releases import V1, V2, snapshot

WINDOW = {"start": "2026-11-21T04:06:55Z", "end": "2026-11-22T04:06:55Z"}


def record(release_id="v2", *, operation="deploy", previous="v1", **changes):
    return {
        "operation": operation, "release_id": release_id, "previous_release_id": previous, "active_release_id": release_id,
        "environment": "prod", "timestamp": "2026-11-21T04:06:55Z", "deployed_by": "alice", "run_id": "run-1", "status": "success",
        "reason": None, "smoke_test_passed": True, "window": WINDOW, "backups": [], "verification": [], **changes,
    }  # fmt: skip


@pytest.fixture
def view(tmp_path):
    """The page of v2, whose manifest has everything."""
    manifest = ReleaseManifest.parse(
        signed.manifest_payload(promotion=signed.PROMOTION, hooks=signed.HOOKS, migrations=signed.MIGRATIONS)
    )
    return ManifestView(tmp_path / "manifests", replace(manifest, release_id="v2"))


def page(view):
    return yaml.safe_load(view.path.read_text())


def test_before_a_deployment_the_page_says_what_was_signed(view):
    assert view.write({}, check=False)
    found = page(view)
    assert (found["release_id"], found["release_type"]) == ("v2", "hotfix")
    assert found["audit_bundle"]["name"] == "audit_20261118_110000"
    assert found["audit_bundle"]["hash"] == f"sha256:{'c' * 64}"
    assert found["artifacts"] == {
        "configs": [{"path": "config.json", "hash": f"sha256:{'e' * 64}", "version": "1.2.3"}],
        "models": [{"path": "policy.pt", "hash": f"sha256:{'f' * 64}"}],
    }
    assert found["monitoring"]["alert_thresholds"] == {"hit_ratio_drop": 0.05}
    assert found["metadata"]["tickets"] == ["SHOP-123", "SHOP-124"]
    assert found["rollback_plan"]["verification_steps"] == ["bin/hello --check", "true "]
    assert found["hooks"] == {"before_rollback": ["bin/hello --drain"], "before_switch": ["bin/hello --warm"]}
    assert found["migrations"] == [
        {"name": "0001_add_users", "reversible": True}, {"name": "drop_names", "reversible": False},
    ]  # fmt: skip
    assert (found["deployment"], found["hosts"], found["rollback_plan"]["restore_commands"]) == (None, {}, [])


def test_after_a_deployment_it_says_who_when_until_when_and_how_to_go_back(view):
    view.write({"prod-1": record(), "prod-2": record(previous="v0"), "prod-3": record()}, check=False)
    view.write({"staging-1": record(environment="staging", timestamp="2026-11-20T04:06:55Z")}, check=False)
    found = page(view)
    deployment = {"timestamp": "2026-11-21T04:06:55Z", "deployer": "alice", "environment": "prod", "status": "success"}
    assert (found["deployment"], found["deployments"]) == (
        deployment,
        {"prod": deployment, "staging": {**deployment, "environment": "staging", "timestamp": "2026-11-20T04:06:55Z"}},
    )
    assert (found["monitoring"]["heightened_start"], found["monitoring"]["heightened_end"]) == tuple(WINDOW.values())
    assert found["rollback_plan"]["restore_commands"] == [
        "ansible-playbook rollback.yml -l prod-2 -e application=hello -e release_id=v0",
        "ansible-playbook rollback.yml -l prod-1,prod-3 -e application=hello -e release_id=v1",
        "ansible-playbook rollback.yml -l staging-1 -e application=hello -e release_id=v1",
    ]
    assert found["artifacts"]["configs"][0]["backup"].startswith("/srv/hello/releases/v")
    assert found["hosts"]["prod-1"]["deploy"]["deployer"] == "alice"


class Marked(str):
    """A string as Ansible hands it on."""


def test_values_that_ansible_has_marked_are_written_plain(view):
    marked = {Marked(key): Marked(value) if isinstance(value, str) else value for key, value in record().items()}
    view.write({Marked("prod-1"): marked}, check=False)
    assert page(view)["hosts"]["prod-1"]["deploy"]["deployer"] == "alice"


def test_another_run_adds_its_hosts_and_leaves_the_others(view):
    view.write({"staging-1": record(environment="staging", timestamp="2026-11-20T04:06:55Z")}, check=False)
    view.write({"prod-1": record()}, check=False)
    assert set(page(view)["hosts"]) == {"staging-1", "prod-1"}
    assert page(view)["deployment"]["environment"] == "prod"
    assert page(view)["deployments"]["staging"]["timestamp"] == "2026-11-20T04:06:55Z"


def test_the_page_of_a_release_that_was_left_says_so(view):
    view.write({"prod-1": record()}, check=False)
    back = record("v1", operation="rollback", previous="v2", window=None, timestamp="2026-11-21T05:00:00Z")
    view.write(concerned({"prod-1": back})["v2"], check=False)
    found = page(view)
    assert (found["deployment"]["deployer"], found["monitoring"]["heightened_end"]) == ("alice", WINDOW["end"])
    assert found["rollback_plan"]["previous_release_id"] == "v1"
    assert found["hosts"]["prod-1"]["rollback"]["release_id"] == "v1"
    assert found["rollback_plan"]["restore_commands"] == []


def test_a_release_that_was_deployed_again_after_it_was_left_can_be_left_again(view):
    back = record("v1", operation="rollback", previous="v2", timestamp="2026-11-21T05:00:00Z")
    for news in (record(), back, record(timestamp="2026-11-21T06:00:00Z")):
        view.write({"prod-1": news}, check=False)
    assert len(page(view)["rollback_plan"]["restore_commands"]) == 1


def test_going_back_to_a_release_is_no_deployment_of_it(view):
    view.write({"prod-1": record()}, check=False)
    view.write(
        {"staging-1": record(operation="rollback", environment="staging", timestamp="2026-11-22T04:06:55Z")},
        check=False,
    )
    assert (page(view)["deployment"]["environment"], set(page(view)["deployments"])) == ("prod", {"prod"})


def test_a_rollback_is_news_of_two_releases_and_a_deployment_of_one():
    records = {"a": record("v1", operation="rollback", previous="v2"), "b": record("v3")}
    assert {release: set(hosts) for release, hosts in concerned(records).items()} == {
        "v1": {"a"},
        "v2": {"a"},
        "v3": {"b"},
    }


def test_a_page_that_says_the_same_is_not_written_again(view):
    assert view.write({"prod-1": record()}, check=False)
    before = snapshot(view.directory)
    assert not view.write({"prod-1": record()}, check=False)
    assert snapshot(view.directory) == before


def test_check_mode_says_that_it_would_be_written(view):
    assert view.write({}, check=True)
    assert not view.path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "hosts: 3",
        "\x00",
        "hosts: {prod-1: foo}",
        "hosts: {prod-1: {deploy: []}}",
        "hosts: {prod-1: {deploy: {release_id: v2}}}",
        "hosts: {prod-2: {deploy: {release_id: v2, timestamp: 3, deployer: a, environment: prod, status: success}}}",
        "hosts: {prod-2: {deploy: {release_id: v2, timestamp: x, deployer: a, environment: prod, status: success, window: 3}}}",
        "hosts: {prod-2: {deploy: {release_id: v2, timestamp: x, deployer: a, environment: prod, status: success, window: {end: 3}}}}",
    ],
)
def test_a_page_that_somebody_spoiled_is_written_anew(view, text):
    view.directory.mkdir()
    view.path.write_text(text)
    view.write({"prod-1": record()}, check=False)
    assert set(page(view)["hosts"]) == {"prod-1"}


def test_a_manifest_without_promotion_has_a_page_too(view):
    plain = ManifestView(view.directory, replace(view.manifest, promotion=Promotion()))
    plain.write({"prod-1": record(previous=None)}, check=False)
    found = page(plain)
    assert (found["audit_bundle"], found["artifacts"], found["rollback_plan"]["previous_manifest"]) == (None, {}, None)


def test_pages_are_written_for_what_the_catalogue_has(site, tmp_path):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", "run-1")
    records = {"prod-1": site.deploy("v2", "run-2")["record"], "prod-2": record("elsewhere", previous=None)}
    assert deployment.write_views(site.catalogue, "shop", tmp_path / "pages", records, check=False) is None
    assert [path.name for path in sorted((tmp_path / "pages").iterdir())] == ["v2.dsse.json", "v2.yaml"]
    assert (tmp_path / "pages/v2.dsse.json").read_bytes() == site.catalogue.manifest_bytes("shop", "v2")


def test_a_page_that_cannot_be_written_is_told_and_decides_nothing(site, tmp_path):
    site.build("v1", V1)
    (tmp_path / "pages").write_bytes(b"a file")
    trouble = deployment.write_views(site.catalogue, "shop", tmp_path / "pages", {"a": record("v1")}, check=False)
    assert os.fspath(tmp_path / "pages") in str(trouble)


GIVEN = [
    {"role": "engineering_lead", "holder": "lead", "digest": "a" * 64},
    {"role": "risk_manager", "holder": "risk", "digest": "b" * 64},
]


def test_the_people_behind_approvals_are_named_while_they_are_known(view):
    people = Holders.parse(
        {"lead": {"name": "Ann Lee", "email": "ann@example.org"}, "ci": {"name": "CI", "email": "ci@example.org"}}
    )
    named = replace(view, holders=people)
    named.write({"prod-1": record(approvals=GIVEN)}, check=False)
    page = yaml.safe_load(named.path.read_text())
    assert page["approvals"] == [{**GIVEN[0], "name": "Ann Lee", "email": "ann@example.org"}, GIVEN[1]]
    assert page["built"]["email"] == "ci@example.org"
    assert view.write({}, check=False)  # the entry was erased
    assert "example.org" not in view.path.read_text()
    assert yaml.safe_load(view.path.read_text())["approvals"] == GIVEN


@pytest.mark.parametrize("approvals", [5, "lead", {"holder": "lead"}, [5], [{"holder": 5}], None])
def test_approvals_that_somebody_spoiled_are_left_out(view, approvals):
    view.write({"prod-1": record(approvals=approvals)}, check=False)
    assert yaml.safe_load(view.path.read_text())["approvals"] == []
