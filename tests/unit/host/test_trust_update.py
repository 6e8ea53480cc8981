# SPDX-License-Identifier: GPL-3.0-or-later
"""A host goes from version to version of its trust policy by its own judgement, and keeps what was in force."""

from __future__ import annotations

import os

import pytest
import signed
from ansible.module_utils.slipway.host import trust_update
from ansible.module_utils.slipway.host.handler import handle
from releases import snapshot


def version(number, **changes):
    return signed.policy_envelope(signed.policy_document(version=number, **changes))


def texts(*envelopes):
    return [envelope.decode() for envelope in envelopes]


def rotate(host, *envelopes, check=False):
    return handle({"operation": "rotate_policy", "policies": texts(*envelopes), "check": check}, host)


def files(host):
    """What stands in the host's configuration, the lock apart."""
    return {
        path.name: path.read_bytes() for path in host.configuration.rglob("*") if path.is_file() and path.name != "lock"
    }


def refused(host, *envelopes):
    before = files(host)
    answer = rotate(host, *envelopes)
    assert (answer["failed"], answer["changed"], files(host)) == (True, False, before)
    return answer["reason"]


def test_a_host_goes_through_the_chain_in_one_exchange(host):
    first = (host.configuration / "trust-policy.dsse.json").read_bytes()
    chain = [first, version(2), version(3, minSafeSequence={"hello": 7})]
    answer = rotate(host, *chain)
    assert (answer["changed"], answer["rotated"]) == (True, [2, 3])
    assert (answer["before"]["version"], answer["after"]["version"]) == (1, 3)
    assert answer["after"] == trust_update.summary(host.policy())
    assert answer["host"] == {"id": host.identity().id, "name": "prod-1", "environment": "prod"}
    assert answer["differences"] == ["version: 1 -> 3", "floor of hello: 7 (1970-01-01T00:00:07Z)"]
    assert answer["diff"] == {"prepared": "version: 1 -> 3\nfloor of hello: 7 (1970-01-01T00:00:07Z)\n"}
    kept = {path.name: path.read_bytes() for path in (host.configuration / "policies").iterdir()}
    assert kept == {f"{number}.dsse.json": envelope for number, envelope in enumerate(chain, 1)}


def test_what_a_rotation_writes_belongs_to_root_and_may_be_read_by_all(host):
    before = os.umask(0o077)
    try:
        rotate(host, version(2))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in host.configuration.rglob("*") if path.name != "lock"}
    assert modes == {
        "host.json": 0o644, "trust-policy.dsse.json": 0o644, "policies": 0o755, "1.dsse.json": 0o644, "2.dsse.json": 0o644,
    }  # fmt: skip
    assert {path.stat().st_uid for path in host.configuration.rglob("*")} == {host.uid}


def test_a_second_time_changes_nothing(host):
    rotate(host, version(2))
    before = snapshot(host.configuration)
    for chain in ([version(2)], [version(1), version(2)]):
        answer = rotate(host, *chain)
        assert (answer["changed"], answer["rotated"], answer["differences"]) == (False, [], [])
    assert snapshot(host.configuration) == before


def test_check_mode_says_the_same_and_writes_nothing(host):
    before = snapshot(host.configuration)
    told = rotate(host, version(2), version(3), check=True)
    assert snapshot(host.configuration) == before
    assert rotate(host, version(2), version(3)) == told


def test_a_version_that_does_not_follow_changes_nothing(host):
    assert refused(host, version(3)) == "policy_version_skipped"
    assert refused(host, version(2, expires="2026-02-01T00:00:00Z")) == "policy_expired"
    forged = signed.policy_envelope(signed.policy_document(version=2), signed.OTHER_KEY)
    assert refused(host, forged) == "signature_unknown"
    assert refused(host, b"{}") == "envelope_payload_type"
    assert refused(host) == "policy_chain_length"
    # All of it or nothing: the first step alone would hold.
    assert refused(host, version(2), version(4)) == "policy_version_skipped"
    # The host's own environment decides, and it could run nothing any more.
    assert refused(host, version(2, environments={"staging": signed.environment()})) == "environment_unknown"


def test_a_controller_that_is_behind_is_refused(host):
    rotate(host, version(2))
    answer = rotate(host, version(1))
    assert (answer["reason"], host.policy().version) == ("policy_version_older", 2)


def test_a_policy_that_others_may_have_written_is_not_rotated(host):
    (host.configuration / "trust-policy.dsse.json").chmod(0o666)
    assert rotate(host, version(2))["reason"] == "trust_directory_writable"


def test_one_rename_decides_and_what_broke_off_before_is_finished_by_the_next(host, syscalls):
    names = ("fsync", "write", "rename", "fchmod")
    for name in names:
        syscalls.fail(name, 5)
        answer = rotate(host, version(2))
        assert answer["reason"] == "host_error", name
        assert host.policy().version == 1
    syscalls.calls.clear()
    assert rotate(host, version(2))["after"]["version"] == 2
    renamed = [name for call, name in syscalls.calls if call == "rename"]
    assert renamed == ["1.dsse.json", "2.dsse.json", "trust-policy.dsse.json"]
    left = [path.name for path in host.configuration.rglob("*") if path.name.startswith(".")]
    assert left == []


def test_a_rotation_waits_for_the_one_that_is_under_way(host, monkeypatch):
    asked = []
    judge = trust_update._judge

    def under_way(here, envelopes):
        """While this rotation judges, another one comes, and goes away again when it has waited long enough."""
        if not asked:
            asked.append("first")
            asked.append(rotate(here, version(2), version(3))["reason"])
        return judge(here, envelopes)

    monkeypatch.setattr(trust_update, "_judge", under_way)
    assert rotate(host, version(2))["after"]["version"] == 2
    assert asked == ["first", "busy"]


@pytest.mark.parametrize("application", ["hello"])
def test_an_older_policy_that_is_kept_decides_nothing(host, application):
    rotate(host, version(2, minSafeSequence={application: 7}))
    (host.configuration / "policies/1.dsse.json").write_bytes(b"nonsense")
    (host.configuration / "policies/2.dsse.json").unlink()
    assert host.policy().min_safe_sequence == {application: 7}
    assert rotate(host, version(2, minSafeSequence={application: 7}), version(3, minSafeSequence={application: 8}))[
        "changed"
    ]


def test_what_a_crash_left_half_written_is_removed_by_the_next(host):
    rotate(host, version(2))
    left = [
        host.configuration / f".trust-policy.dsse.json.{'a' * 16}",
        host.configuration / f"policies/.3.dsse.json.{'b' * 16}",
    ]
    for path in left:
        path.write_bytes(b"{")
    rotate(host, version(3))
    assert [path for path in left if path.exists()] == []
