# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation from its begin to its end, and what is left wherever it is cut off."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.keeper import Keeper, candidate_of
from ansible.module_utils.slipway.secrets.provider import Unavailable, Unknown, denied
from ansible.module_utils.slipway.secrets.rotation_policy import DAY, Recipe, RotationPolicy
from ansible.module_utils.slipway.secrets.secret_maker import Made
from ansible.module_utils.slipway.secrets.secret_rotation import Rotations
from ansible.module_utils.slipway.secrets.secret_settings import ProviderSettings, SecretSettings
from safes import CANARY, FakeProvider, secret

NAME, OTHER = "database/main", "session"
POLICIES = (
    RotationPolicy(NAME, 30 * DAY, recipes={"password": Recipe()}),
    RotationPolicy(OTHER, 30 * DAY, recipes={"password": Recipe()}),
    RotationPolicy("pager", DAY, "hand"),
)
GONE = replace(Process.of(os.getpid()), started="never")
CONFIRMED = {"prod-1": "confirmed", "prod-2": "unchanged"}
REVERTED = {"prod-1": "reverted", "prod-2": "untouched"}
MIXED = {"prod-1": "confirmed", "prod-2": "unreachable"}


class House:
    """A chain of two providers with a secret at the first one, and the rotations of as many runs as a test wants."""

    def __init__(self, tmp_path, place, clock):
        self.first, self.second = (FakeProvider(label, origin=(label,)) for label in ("first", "second"))
        self.first.secrets = {
            each.name: each for each in (secret(NAME, version="3"), secret(OTHER, version="7"), secret("pager"))
        }
        self.log = AccessLog(tmp_path / "access.jsonl")
        self.state, self.place, self.clock, self.policies = tmp_path, place, clock, POLICIES
        self.newest_runs = {}

    def keeper(self, rotating=()):
        chain = (ProviderSettings("first", "local"), ProviderSettings("second", "local"))
        return Keeper(
            SecretSettings(chain, rotation=self.policies), [self.first, self.second], self.place, self.log, Caller("ann", "ansible-1", "prod", "prod-1"),
            self.clock, lambda _said: None, dict(rotating),
        )  # fmt: skip

    def rotations(self, process=None, application="shop"):
        process = process or Process.of(os.getpid())
        return Rotations(self.keeper(), self.state, application, process, self.newest_runs.get)

    def state_of(self, name=NAME):
        found = self.rotations().records.read(name)
        return found and found.state

    def states(self, name=NAME):
        return [each["outcome"] for each in self.log.records() if (each["operation"], each["name"]) == ("rotate", name)]

    def begin(self, names=(NAME,), process=None, application="shop", **about):
        return self.rotations(process, application).begin(names, [NAME, OTHER, "pager"], **about)

    def killed(self, **about):
        """A run that has begun and then died."""
        begun = self.begin(**about)
        records = self.rotations().records
        for name in begun.names:
            records.save(replace(records.read(name), process=GONE))
        return begun

    def settle(self, hosts, names=(NAME,), run_id="run_1", application="shop"):
        return self.rotations(application=application).settle(names, run_id, hosts)


@pytest.fixture
def house(tmp_path, place, clock):
    return House(tmp_path, place, clock)


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def test_nobody_else_reads_the_new_version_until_every_host_is_well_with_it(house):
    begun = house.begin()
    assert (dict(begun.rotating), list(begun.names)) == ({NAME: "4"}, [NAME])
    new = house.keeper(begun.rotating).read(NAME, "password")
    assert new != CANARY
    assert len(new) == 32
    assert house.keeper().read(NAME, "password") == CANARY
    assert house.keeper(begun.rotating).read(NAME, "username") == "shop"

    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("retired", True)
    assert "every host has version 4; version 3 is deleted" in settled.said
    assert house.keeper().read(NAME, "password") == new
    assert house.first.secrets[NAME].version == "4"
    assert house.first.retired == [(NAME, "3", False)]
    assert candidate_of(NAME) not in house.first.secrets
    assert house.states() == ["making", "making", "made", "proven", "adopted", "retired"]
    assert new not in str([*house.log.records(), begun, settled])
    assert new not in "".join(path.read_text() for path in house.state.rglob("*.json*"))


def test_what_is_read_of_a_rotation_is_noted_under_the_name_of_the_secret(house):
    house.keeper(house.begin().rotating).read(NAME, "password")
    read = [each for each in house.log.records() if each["operation"] == "read"]
    assert [(each["name"], each["version"], each["provider"]) for each in read] == [(NAME, "4", "first")]


def test_a_run_that_rotates_takes_the_secret_from_nowhere_else(house):
    rotating = house.begin().rotating
    house.second.secrets[NAME] = secret()
    house.first.fails = [Unavailable("sealed", passing=False)]
    assert refused(lambda: house.keeper(rotating).read(NAME, "password")) == "secret_unavailable"
    assert house.second.calls == []


@pytest.mark.parametrize(
    ("old", "retired"), [("deleted", [(NAME, "3", False)]), ("destroyed", [(NAME, "3", True)]), ("kept", [])]
)
def test_what_becomes_of_the_old_version_is_said_by_its_policy(house, old, retired):
    house.policies = (replace(POLICIES[0], old=old),)
    house.begin()
    (settled,) = house.settle(CONFIRMED)
    assert f"version 3 is {old}" in settled.said
    assert house.first.retired == retired


def test_what_cannot_be_proven_is_said(house):
    house.begin()
    assert "who checks it must have been told by means of its own" in house.settle(CONFIRMED)[0].said


def test_when_every_host_went_back_the_old_version_is_what_everybody_reads(house):
    house.begin()
    (settled,) = house.settle(REVERTED)
    assert (settled.state, settled.is_as_asked) == ("taken_back", True)
    assert house.keeper().read(NAME, "password") == CANARY
    assert (house.first.secrets[NAME].version, house.first.retired) == ("3", [])
    assert candidate_of(NAME) not in house.first.secrets
    assert house.begin().rotating == {NAME: "4"}


def test_while_one_host_is_not_known_to_have_it_nothing_is_retired_and_nothing_taken_back(house):
    house.begin()
    (settled,) = house.settle(MIXED)
    assert (settled.state, settled.is_as_asked) == ("handed_out", False)
    assert "prod-1 on version 4; not known to be: prod-2 (unreachable)" in settled.said
    assert house.first.retired == []
    assert candidate_of(NAME) in house.first.secrets
    assert house.keeper().read(NAME, "password") == CANARY

    again = house.begin()  # when it answers
    assert again.rotating == {NAME: "4"}
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]


def test_a_run_that_goes_on_with_another_does_not_believe_that_a_host_that_went_back_has_the_old_one(house):
    """What it went back to may be the new version, which the run before has left there."""
    house.killed()
    house.begin()
    assert [each.state for each in house.settle(REVERTED)] == ["handed_out"]
    assert candidate_of(NAME) in house.first.secrets


@pytest.mark.parametrize("outcome", ["unwell", "unfinished", "stuck", "unconfirmed", "unreachable", "unverified"])
def test_how_a_host_ended_that_says_neither_leaves_both_versions_valid(house, outcome):
    house.begin()
    assert [each.state for each in house.settle({"prod-1": "confirmed", "prod-2": outcome})] == ["handed_out"]


def test_a_killed_run_is_gone_on_with_and_makes_nothing_twice(house):
    begun = house.killed()
    made = house.first.secrets[candidate_of(NAME)]
    assert house.begin().rotating == begun.rotating
    assert house.first.secrets[candidate_of(NAME)] is made
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]


def test_a_run_that_was_killed_just_after_it_had_made_the_new_version_finds_it_again(house):
    house.killed()
    made, records = house.first.secrets[candidate_of(NAME)], house.rotations().records
    records.save(replace(records.read(NAME), state="making"))
    assert house.begin().rotating == {NAME: "4"}
    assert house.first.secrets[candidate_of(NAME)] is made
    assert house.state_of() == "made"


@pytest.mark.parametrize("state", ["proven", "adopted"])
def test_a_run_that_was_killed_after_all_hosts_had_it_sees_them_have_it_again_before_it_retires_anything(house, state):
    """Meanwhile another deployment may have brought them the old one."""
    house.begin()
    house.first.trouble = {"replace" if state == "proven" else "retire": Unavailable("unreachable")}
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == (state, False)
    assert "secret_unavailable" in settled.said
    assert house.first.retired == []
    records = house.rotations().records
    records.save(replace(records.read(NAME), process=GONE))
    begun = house.begin()
    assert begun.names == [NAME]
    assert begun.rotating == ({NAME: "4"} if state == "proven" else {})
    assert house.first.retired == []
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]
    assert house.first.secrets[NAME].version == "4"


def test_an_adoption_whose_answer_was_lost_is_not_done_twice(house):
    house.begin()
    adopt = house.first.replace

    def lost(*words):
        adopt(*words)
        raise Unavailable("timed out")

    house.first.replace = lost
    assert [each.state for each in house.settle(CONFIRMED)] == ["proven"]
    del house.first.replace
    house.begin()
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]
    assert house.first.secrets[NAME].version == "4"


def test_two_at_once_are_refused_and_the_holder_is_named(house):
    other = subprocess.Popen(["sleep", "600"])
    try:
        house.begin(process=Process.of(other.pid))
        with pytest.raises(Refusal) as refusal:
            house.begin()
        assert refusal.value.reason == "rotation_running"
        assert refusal.value.found.startswith("ann since ")
        assert str(other.pid) in refusal.value.found
        assert house.settle(CONFIRMED) == []
    finally:
        other.kill()
        other.wait()
    assert house.begin().rotating == {NAME: "4"}


def test_what_was_set_meanwhile_stays_and_is_said(house):
    house.begin()
    house.first.secrets[NAME] = secret(NAME, "by hand", version="4")
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("proven", False)
    assert "secret_overtaken" in settled.said
    assert house.first.retired == []
    assert house.keeper().read(NAME, "password") == "by hand"

    assert house.killed(back=True).rotating == {}
    assert house.begin().rotating == {}  # whoever goes on, goes on back
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, house.keeper().read(NAME, "password")) == ("taken_back", "by hand")


def test_a_rotation_that_was_overtaken_is_not_handed_out_again(house):
    house.killed()
    house.first.secrets[NAME] = secret(NAME, "by hand", version="5")
    assert refused(house.begin) == "secret_overtaken"


def test_one_that_has_made_nothing_when_it_was_overtaken_begins_anew(house):
    house.first.trouble = {"write": Unavailable("unreachable")}
    assert refused(house.begin) == "secret_unavailable"
    assert house.state_of() == "making"
    records = house.rotations().records
    records.save(replace(records.read(NAME), process=GONE))
    house.first.secrets[NAME] = secret(NAME, "by hand", version="5")
    assert house.begin().rotating == {NAME: "6"}


def test_a_secret_that_is_set_while_its_candidate_is_made_is_not_rotated(house):
    begin = house.first.read

    def read(name, version=None):
        found = begin(name, version)
        return replace(found, version="9") if name == NAME else found

    house.first.read = read
    assert refused(house.begin) == "secret_overtaken"


def test_what_is_open_can_be_taken_back_which_hosts_have_to_confirm(house):
    house.killed()
    begun = house.begin(back=True)
    assert (dict(begun.rotating), begun.names, house.state_of()) == ({}, [NAME], "taking_back")
    assert "hosts go back to version 3" in begun.said[0]
    assert [each.state for each in house.settle(MIXED)] == ["taking_back"]
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("taken_back", True)
    assert candidate_of(NAME) not in house.first.secrets


def test_what_is_not_open_is_not_taken_back(house):
    begun = house.begin(back=True)
    assert (list(begun.names), begun.said) == ([], [f"{NAME}: no rotation is open, nothing to take back"])


def test_what_everybody_reads_is_not_taken_back(house):
    house.begin()
    house.first.trouble = {"retire": denied("first", NAME, "403")}
    house.settle(CONFIRMED)
    assert refused(lambda: house.begin(back=True)) == "rotation_adopted"


def test_all_are_judged_before_one_is_made(house):
    house.killed(names=[OTHER])
    records = house.rotations().records
    records.save(replace(records.read(OTHER), process=Process.of(1)))
    assert refused(lambda: house.begin([NAME, OTHER])) == "rotation_running"
    assert refused(lambda: house.begin([NAME, "unknown"])) == "rotation_undeclared"
    assert house.state_of() is None
    assert candidate_of(NAME) not in house.first.secrets


def test_what_was_removed_meanwhile_is_said(house):
    house.begin()
    house.first.trouble = {"retire": Unknown(NAME)}
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("adopted", False)
    assert "secret_unknown" in settled.said


def test_several_are_rotated_by_one_run(house):
    assert house.begin([NAME, OTHER]).rotating == {NAME: "4", OTHER: "8"}
    assert [each.state for each in house.settle(CONFIRMED, [NAME, OTHER])] == ["retired", "retired"]


def test_what_no_host_gets_is_not_rotated(house):
    def begin(handed_out, application="shop"):
        return house.rotations(application=application).begin([NAME], handed_out)

    assert refused(lambda: begin([OTHER])) == "rotation_not_handed_out"
    house.policies = (replace(POLICIES[0], applications=("worker",)),)
    assert refused(lambda: begin([NAME])) == "rotation_not_handed_out"
    assert begin([NAME], "worker").names == [NAME]


def test_a_secret_that_is_not_there_or_that_nobody_can_write_is_refused(house):
    del house.first.secrets[NAME]
    assert refused(house.begin) == "secret_unknown"
    house.first.trouble = {"standing": Unavailable("sealed", passing=False)}
    assert refused(lambda: house.begin([OTHER])) == "secret_unavailable"
    assert house.state_of() is None


def test_a_candidate_that_is_no_secret_of_its_kind_is_refused(house):
    house.first.secrets["pager"] = secret("pager", kind="api_key")
    assert refused(lambda: house.begin(["pager"], brought={"key": "a b"})) == "secret_malformed"
    assert candidate_of("pager") not in house.first.secrets


def test_what_is_made_by_hand_is_brought(house):
    assert refused(lambda: house.begin(["pager"])) == "rotation_fields_missing"
    house.begin(["pager"], brought={"password": "brought"})
    assert [each.state for each in house.settle(CONFIRMED, ["pager"])] == ["retired"]
    assert house.keeper().read("pager", "password") == "brought"


def test_check_mode_says_what_would_be_rotated_and_makes_nothing(house):
    begun = house.begin([NAME, OTHER], check=True)
    assert begun.rotating == {}
    assert begun.said == [
        f"{NAME}: version 3 at first would be rotated (generated)",
        f"{OTHER}: version 7 at first would be rotated (generated)",
    ]
    house.killed()
    assert "would be gone on with" in house.begin(check=True).said[0]
    assert "would be taken back" in house.begin(check=True, back=True).said[0]
    assert "not open; would be taken back" in house.begin([OTHER], check=True, back=True).said[0]
    assert house.state_of() == "made"


def test_what_is_due_is_what_is_old_and_what_was_left_open(house):
    def due(*handed_out):
        return house.rotations().due(handed_out or [NAME, OTHER, "pager"])

    now = house.clock.now()
    assert due() == []
    house.first.written = {NAME: now - 26 * DAY, OTHER: now - 27 * DAY, "pager": now - 90 * DAY}
    assert due() == [OTHER]  # who issues the pager's key makes it
    assert due(NAME) == []
    house.killed()
    assert due() == [NAME, OTHER]
    del house.first.secrets[OTHER]
    assert due() == [NAME]


def test_what_is_made_by_hand_and_was_not_brought_is_not_what_a_timer_goes_on_with(house):
    assert refused(lambda: house.begin(["pager"])) == "rotation_fields_missing"
    assert house.rotations().due([NAME, OTHER, "pager"]) == []
    assert house.begin(["pager"], brought={"password": "brought"}).rotating == {"pager": "2"}
    assert house.rotations().due([NAME, OTHER, "pager"]) == ["pager"]


def test_a_policy_that_is_gone_when_the_run_ends_leaves_the_rotation_open(house):
    house.begin()
    house.policies = ()
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("made", False)
    assert "rotation_undeclared" in settled.said


def test_where_the_version_in_use_came_from_is_known_from_the_rotation_before(house):
    """What a lease was issued for is revoked by its name, also when a rotation in between was taken back."""
    origins = iter(range(9))
    maker = "ansible.module_utils.slipway.secrets.secret_rotation.Maker"
    revoked = []

    class Issuing:
        def __init__(self, policy, _vault):
            self.policy = policy

        def make(self, before, _brought):
            return Made(before.fields, {"lease": f"lease-{next(origins)}"})

        def revoke(self, origin):
            revoked.append(dict(origin))
            return ""

        def origin_of(self, _before, known):
            return known

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maker, Issuing)
        for hosts in (CONFIRMED, REVERTED, CONFIRMED):
            house.begin()
            house.settle(hosts)
        house.first.secrets[NAME] = secret(NAME, "by hand", version="9")
        house.begin()
        house.settle(CONFIRMED)
    assert revoked == [{}, {"lease": "lease-1"}, {"lease": "lease-0"}, {}]


def shared(house):
    house.policies = (replace(POLICIES[0], applications=("shop", "worker")),)


def test_what_two_applications_read_is_retired_when_the_hosts_of_both_have_it(house):
    shared(house)
    house.begin()
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("adopted", False)
    assert settled.said.endswith(f"make secrets-rotate NAME={NAME} APPLICATION=worker")
    assert house.first.retired == []
    house.newest_runs["shop"] = "run_1"
    begun = house.begin(application="worker")
    assert (begun.rotating, begun.names) == ({}, [NAME])
    assert "the newest one there" in begun.said[0]
    assert [each.state for each in house.settle(REVERTED, application="worker")] == ["adopted"]
    assert [each.state for each in house.settle(CONFIRMED, run_id="run_2", application="worker")] == ["retired"]


def test_an_application_that_ran_again_since_it_had_the_new_version_is_looked_at_again(house):
    """It may have gone back."""
    shared(house)
    house.begin()
    house.settle(CONFIRMED)
    house.newest_runs["shop"] = "run_9"
    house.begin(application="worker")
    (settled,) = house.settle(CONFIRMED, run_id="run_2", application="worker")
    assert settled.state == "adopted"
    assert "APPLICATION=shop" in settled.said


def test_an_environment_without_a_name_has_no_rotations(house, tmp_path):
    house.keeper = lambda: replace(House.keeper(house), caller=Caller("ann", "ansible-1", "", ""))
    assert refused(house.rotations) == "rotation_environment_invalid"
