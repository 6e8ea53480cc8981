# SPDX-License-Identifier: GPL-3.0-or-later
"""The right bytes at the wrong place or time; and digests that say less than they seem to."""

from __future__ import annotations

import pytest
import signed
from ansible.module_utils.slipway.trust import rotation, verify
from attacks import MANIFEST, NOW, judge, subject
from lines import asked, judged
from releases import V1, V2, leftovers, snapshot

ENVELOPE = signed.sign(MANIFEST)


def fresh(**changes):
    """Judge a release, then whether a deployment may activate it in prod a day later."""
    trust = signed.trust_policy(**changes.pop("policy", {}))
    manifest = judge(signed.sign(signed.manifest_payload(**changes)), trust)
    verify.require_fresh(manifest, trust, "prod", NOW + signed.DAY, ())


def other_tree(place):
    one, two = (signed.release(place / name, {"a": name.encode()}) for name in ("one", "two"))
    verify.verify_file_list(judge(one.envelope), two.file_list.encode())


def followed(current, *keys, **changes):
    """What a host says of version 2 of the trust policy that has version 1 with `current` changes."""
    document = signed.policy_document(**{"version": 2, **changes})
    return rotation.rotate(signed.trust_policy(**current), signed.policy_envelope(document, *keys), NOW)


def other_root(document):
    """The policy with another key as its root."""
    document["keys"][signed.keyid(signed.OTHER_KEY)] = signed.key_entry(signed.OTHER_KEY, "thief")
    document["roles"]["root"] = {"keyids": [signed.keyid(signed.OTHER_KEY)], "threshold": 1}
    return document


def by_new_root_only(_):
    changes = other_root(signed.policy_document())
    followed({}, signed.OTHER_KEY, keys=changes["keys"], roles=changes["roles"])


def by_old_root_only(_):
    changes = other_root(signed.policy_document())
    followed({}, signed.ROOT_KEY, keys=changes["keys"], roles=changes["roles"])


BY_BYTES = {
    "a policy that skips a version": lambda _: followed({}, version=3),
    "a policy that only its own root signed": by_new_root_only,
    "a policy that only the root before signed": by_old_root_only,
    "an expired policy as the next one": lambda _: followed({}, expires="2026-11-18T11:06:40Z"),
    "an older policy": lambda _: followed({"version": 3}),
    "the same version with other content": lambda _: followed({}, version=1, minSafeSequence={"hello": 1}),
    "a policy that lowers a floor": lambda _: followed({"minSafeSequence": {"hello": 7}}, minSafeSequence={"hello": 6}),
    "a policy that takes a revocation back": lambda _: followed({"revoked": {"keys": ["0" * 64], "payloads": []}}),
    "a release of another application": lambda _: judge(ENVELOPE, application="shop"),
    "an environment that the policy does not know": lambda _: judge(ENVELOPE, environment="test"),
    "an expired manifest": lambda _: fresh(expires="2026-11-19T11:06:40Z"),
    "a manifest older than the environment allows": lambda _: fresh(
        policy={"environments": {"prod": signed.environment(maxManifestAge=signed.DAY)}}
    ),
    "an expired policy": lambda _: fresh(policy={"expires": "2026-11-19T11:06:40Z"}),
    "a manifest created in the future": lambda _: judge(ENVELOPE, now=NOW - 301),
    "a release below the floor": lambda _: judge(ENVELOPE, signed.trust_policy(minSafeSequence={"hello": NOW + 1})),
    "a truncated digest": lambda _: judge(subject({"sha256": "b" * 63})),
    "an upper-case digest": lambda _: judge(subject({"sha256": "B" * 64})),
    "an empty digest": lambda _: judge(subject({"sha256": ""})),
    "only md5": lambda _: judge(subject({"md5": "b" * 32})),
    "only sha1": lambda _: judge(subject({"sha1": "b" * 40})),
    "the right sha512 with a wrong sha256": lambda _: judge(subject({"sha256": "0" * 64, "sha512": "b" * 128})),
    "the right bundle with a wrong tree": other_tree,
}


@pytest.mark.parametrize("line", BY_BYTES)
def test_what_is_meant_for_another_place_or_time_is_refused(line, tmp_path):
    judged(line, lambda: BY_BYTES[line](tmp_path))


def another_environment(site):
    asked(site.stage("v2", environment="staging"))


def another_release(site):
    asked(site.ask("stage", release_id="v1", pack=site.pack("v2", site.objects("v2"))))


def clock_set_back(site):
    site.host.clock.advance(-400)
    asked(site.activate("v2", run=site.run("run-2")))


ON_A_HOST = {
    "a request for another environment than the host's": another_environment,
    "the manifest of another release": another_release,
    "a clock set back": clock_set_back,
}


@pytest.mark.parametrize("line", ON_A_HOST)
def test_a_host_refuses_it_and_changes_nothing(line, site):
    site.build("v1", V1)
    site.deploy("v1")
    site.build("v2", V2)
    site.stage("v2", run=site.run("run-2"))
    site.recover()
    before = snapshot(site.places.base, site.places.state)
    judged(line, lambda: ON_A_HOST[line](site))
    assert snapshot(site.places.base, site.places.state) == before
    assert not leftovers(site.places.base)


CASES = {**BY_BYTES, **ON_A_HOST}
