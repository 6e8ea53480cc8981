# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet goes to another version of its trust policy while it serves; what a key signed counts as the new version says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.trust import verify
from ansible.module_utils.slipway.trust.keys import PublicKey, load_private_key
from deployments import CLEAN, Application, Done, Operator

from lab import hosts

PROD = ("prod-1", "prod-2", "prod-3")
RULES = {
    # The builder alone decides here: this is about whose key counts, and approvers' keys are rotated in the same way.
    "require": [],
    "distinct_holders": True,
    "max_manifest_age_days": 90,
    "max_approval_age_days": 7,
    "rollback_depth": 10,
}


@dataclass
class Trust:
    """The trust policy of a controller of its own: what its group_vars/all/trust.yml says, and the commands."""

    operator: Operator
    described: dict[str, Any] = field(default_factory=dict)

    def key(self, name: str, role: str) -> dict[str, str]:
        return {"holder": name, "role": role, "path": str(self.operator.state / f"keys/{name}.pem")}

    def public(self, name: str, role: str) -> dict[str, str]:
        """The entry of a key whose private half is gone."""
        private = load_private_key(self.operator.state / f"keys/{name}.pem")
        return {"holder": name, "role": role, "public_key": PublicKey.of(private).hex}

    def describe(self, **changes: Any) -> None:
        self.described |= changes
        (self.operator.state / "trust.json").write_text(
            json.dumps({f"trust_{k}": v for k, v in self.described.items()})
        )

    def play(self, playbook: str, *words: str, code: int | None = 0) -> Done:
        return self.operator.play(
            f"playbooks/{playbook}.yml", "-e", f"@{self.operator.state}/trust.json", *words, code=code
        )

    def version(self, host: str) -> tuple[int, list[str]]:
        """The version in force on a host by its own word, and the versions that it keeps."""
        kept = self.operator.fleet.inside(host, "ls /etc/slipway/policies 2>/dev/null", check=False).stdout.split()
        status = self.operator.fleet.inside(
            host, "python3 -c 'import json,base64; e=json.load(open(\"/etc/slipway/trust-policy.dsse.json\"));"
            " print(json.loads(base64.b64decode(e[\"payload\"]))[\"version\"])'",
        )  # fmt: skip
        return int(status.stdout), kept


ROOT = ("root-1", "root-2", "root-3")


@pytest.fixture(scope="module")
def trust(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trust]:
    """Return a controller with keys of its own, whose hosts were bootstrapped a moment ago; give them back at the end."""
    trust = Trust(Operator(operator.fleet, tmp_path_factory.mktemp("rotating")))
    keys = [*(trust.key(name, "root") for name in ROOT), trust.key("builder", "builder")]
    trust.describe(
        keys=keys, thresholds={"root": 2}, environments={"staging": RULES, "prod": RULES},
        revoked_keys=[], revoked_releases=[], floors={},
    )  # fmt: skip
    hosts.in_parallel(lambda host: operator.fleet.inside(host.name, CLEAN), operator.fleet.record.hosts)
    trust.play("keys")
    trust.operator.play("playbooks/bootstrap.yml")
    yield trust
    hosts.in_parallel(lambda host: operator.fleet.inside(host.name, CLEAN), operator.fleet.record.hosts)
    operator.play("playbooks/bootstrap.yml")


@pytest.fixture(scope="module")
def shop(trust: Trust) -> Application:
    """Return an application that serves `two` on prod, after `one`."""
    shop = trust.operator.application("rotated", PROD)
    for release_id in ("one", "two"):
        shop.make(release_id, approved=False)
        shop.deploy(release_id, limit="prod")
    return shop


def sequence(shop: Application, release_id: str) -> int:
    manifest = shop.operator.catalogue / shop.name / "manifests" / f"{release_id}.dsse.json"
    return verify.parse_manifest(manifest.read_bytes()).sequence


# The tests below tell one story, in this order.


def test_nothing_changes_while_the_description_says_what_the_policy_says(trust: Trust, shop: Application) -> None:
    done = trust.play("trust_draft")
    assert done.says("Nothing changes: version 1")
    done = trust.play("trust")
    assert [done.row(host).split()[:2] for host in PROD] == [[host, "1"] for host in PROD]
    assert "changed=0" in done.text


def test_a_lost_builder_key_is_retired_and_the_fleet_goes_through_two_versions_at_once(
    trust: Trust, shop: Application
) -> None:
    """Version 2 takes a lost root key's holder out; version 3 retires the builder's key and brings another."""
    trust.describe(
        keys=[
            trust.key("root-1", "root"),
            trust.key("root-2", "root"),
            trust.key("root-4", "root"),
            trust.key("builder", "builder"),
        ]
    )
    drafted = trust.play("trust_draft")
    assert drafted.says(
        "version: 1 -> 2", "of root-3 (root): taken out", "of root-4 (root): new", "next: make trust-rotate"
    )
    ended = timestamp(sequence(shop, "two") + 1)
    retired = {**trust.public("builder", "builder"), "valid_until": ended}
    root = [trust.key(name, "root") for name in ("root-1", "root-2", "root-4")]
    trust.describe(keys=[*root, retired, trust.key("build-2", "builder")])
    told = trust.play("keys")
    assert told.says("something else by now", "of build-2 (builder): new", f"to {ended}", "next: make trust-draft")
    trust.play("trust_draft")

    before = shop.snapshot(*PROD)
    looked = trust.play("trust", "-l", "prod", "--check", "--diff")
    assert looked.says("version: 1 -> 3", "prod-1 3", "would be rotated")
    assert shop.snapshot(*PROD) == before

    with trust.operator.fleet.partition("prod-3"):
        done = trust.play("trust", "-l", "prod", code=None)
    assert done.code not in (0, None)
    assert (done.row("prod-1").split()[1], done.row("prod-3").split()[3]) == ("3", "unreachable")
    assert done.says("fleet_mixed", "prod-3")
    assert trust.version("prod-1") == (3, ["1.dsse.json", "2.dsse.json", "3.dsse.json"])
    assert trust.version("prod-3") == (1, [])
    assert [shop.active(host) for host in PROD] == ["two"] * 3


def test_deploys_go_on_while_the_fleet_is_mixed_as_far_as_each_host_believes(trust: Trust, shop: Application) -> None:
    trust.operator.state.joinpath("keys/old-builder.pem").write_bytes(
        (trust.operator.state / "keys/builder.pem").read_bytes()
    )
    (trust.operator.state / "keys/builder.pem").write_bytes((trust.operator.state / "keys/build-2.pem").read_bytes())
    shop.make("three", approved=False)
    shop.deploy("three", limit="prod-1,prod-2")
    refused = shop.deploy("three", limit="prod-3", code=2)
    assert refused.says("policy_behind", "prod-3: version 1", "playbooks/trust.yml -l prod-3")
    assert shop.active("prod-3") == "two"
    boot = trust.operator.play("playbooks/bootstrap.yml", "-l", "prod-3", code=2)
    assert boot.says("trust_policy_outdated", "playbooks/trust.yml")
    status = trust.operator.play(*shop.words("playbooks/status.yml", "prod", []))
    assert "3 until 20" in status.row("prod-1")
    assert "1 until 20" in status.row("prod-3")
    done = trust.play("trust")
    assert (done.row("prod-3").split()[1], done.row("prod-1").split()[3]) == ("3", "unchanged")
    shop.deploy("three", limit="prod-3")


def test_a_new_release_by_the_retired_key_is_refused(trust: Trust, shop: Application) -> None:
    keys = trust.operator.state / "keys"
    new = (keys / "builder.pem").read_bytes()
    (keys / "builder.pem").write_bytes((keys / "old-builder.pem").read_bytes())
    before = shop.snapshot(*PROD)
    # As a thief would: with the policy of before, under which the key still builds.
    policy = trust.operator.state / "trust/trust-policy.dsse.json"
    current = policy.read_bytes()
    policy.write_bytes((trust.operator.state / "trust/1.trust-policy.dsse.json").read_bytes())
    shop.make("stolen", approved=False)
    refused = shop.deploy("stolen", limit="prod-1", code=2)
    policy.write_bytes(current)
    assert refused.says("key_outside_validity")
    assert shop.deploy("stolen", limit="prod-1", code=2).says("key_outside_validity")
    assert shop.snapshot(*PROD) == before
    shop.forget("stolen")
    (keys / "builder.pem").write_bytes(new)


def test_a_rollback_to_what_the_retired_key_signed_before_works(shop: Application) -> None:
    shop.rollback("-e", "release_id=two", limit="prod-1")
    assert shop.active("prod-1") == "two"
    assert shop.is_settled("prod-1")


def test_a_revoked_key_takes_the_way_back_away_and_stops_nothing(trust: Trust, shop: Application) -> None:
    trust.describe(revoked_keys=[trust.described["keys"][3]["public_key"]])
    assert trust.play("trust_draft").says("of builder (builder)", "-> revoked")
    trust.play("trust")
    assert trust.version("prod-1")[0] == 4
    assert shop.actives(*PROD) == ["two", "three", "three"]
    refused = shop.rollback("-e", "release_id=two", limit="prod-2", code=2)
    assert refused.says("key_revoked")
    assert shop.actives(*PROD) == ["two", "three", "three"]
    shop.deploy("three", "-e", "release_retry=true", limit="prod-1")
    assert shop.active("prod-1") == "three"


def test_a_step_back_that_the_policy_does_not_allow_takes_an_authorization_and_takes_it_once(
    trust: Trust, shop: Application
) -> None:
    lead = trust.key("lead", "engineering-lead")
    rules = {**RULES, "rollback_depth": 0, "rollback_require": [{"role": "engineering-lead", "threshold": 1}]}
    trust.describe(keys=[*trust.described["keys"], lead], environments={"staging": RULES, "prod": rules})
    trust.play("keys", code=None)
    trust.play("trust_draft")
    trust.play("trust")
    shop.make("four", approved=False)
    shop.deploy("four", limit="prod-1")
    refused = shop.rollback("-e", "release_id=three", limit="prod-1", code=2)
    assert refused.says("rollback_too_deep", "make authorize-rollback RELEASE_ID=three ENVIRONMENT=prod")
    assert shop.active("prod-1") == "four"

    status = trust.operator.state / "status.json"
    asked = ["-e", "release_status_format=json", "-e", f"release_status_path={status}"]
    trust.operator.play(*shop.words("playbooks/status.yml", "prod", asked))
    given = {
        "release_id": "three", "approval_environment": "prod", "approval_role": "engineering-lead", "approval_key": lead["path"],
        "approval_hosts": ["prod-1"], "approval_status": str(status), "approval_confirmed": "yes",
    }  # fmt: skip
    trust.operator.play(*shop.words("playbooks/approve.yml", None, ["-e", json.dumps(given)]))
    assert shop.rollback("-e", "release_id=three", limit="prod-2", code=None).code == 0, "prod-2 serves three already"
    shop.rollback("-e", "release_id=three", limit="prod-1")
    assert shop.active("prod-1") == "three"
    (by,) = shop.history("prod-1")[0]["authorizations"]
    assert (by["role"], by["holder"]) == ("engineering-lead", "lead")

    shop.deploy("four", "-e", "release_retry=true", limit="prod-1")
    assert shop.rollback("-e", "release_id=three", limit="prod-1", code=2).says("authorization_used")
    assert shop.active("prod-1") == "four"


def test_a_controller_that_is_behind_its_hosts_is_refused(trust: Trust, shop: Application) -> None:
    policy = trust.operator.state / "trust/trust-policy.dsse.json"
    current = policy.read_bytes()
    policy.write_bytes((trust.operator.state / "trust/3.trust-policy.dsse.json").read_bytes())
    done = trust.play("trust", "-l", "prod", code=2)
    assert "policy_version_older" in done.row("prod-1")
    boot = trust.operator.play("playbooks/bootstrap.yml", "-l", "prod-1", code=2)
    assert boot.says("policy_version_older")
    policy.write_bytes(current)
    assert trust.version("prod-1")[0] == 5


def test_a_chain_of_another_root_is_refused(trust: Trust, shop: Application, tmp_path: Path) -> None:
    """Somebody who can run Ansible as root on the controller, and has no root key."""
    stranger = Trust(Operator(trust.operator.fleet, tmp_path))
    stranger.describe(**{**trust.described, "keys": [*(stranger.key(name, "root") for name in ROOT), stranger.key("builder", "builder"), stranger.key("lead", "engineering-lead")], "revoked_keys": []})  # fmt: skip
    stranger.play("keys")
    for _ in range(5):
        stranger.play("trust_draft", "-e", "trust_renew=yes")
    before = shop.snapshot(*PROD)
    done = stranger.play("trust", "-l", "prod", code=2)
    assert "policy_version_taken" in done.row("prod-1")
    assert shop.snapshot(*PROD) == before
