# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation from its begin to its end, and what is left wherever it is cut off."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.candidate import candidate, candidate_of, rotation_in, values_in
from ansible.module_utils.slipway.secrets.env_file import Declared
from ansible.module_utils.slipway.secrets.keeper import Keeper
from ansible.module_utils.slipway.secrets.provider import Unavailable, Unknown, denied
from ansible.module_utils.slipway.secrets.rotation_policy import DAY, Recipe, RotationPolicy
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.secret_maker import Made, Maker
from ansible.module_utils.slipway.secrets.secret_rotation import Rotations
from ansible.module_utils.slipway.secrets.secret_settings import ProviderSettings, SecretSettings
from safes import CANARY, FakeProvider, is_locked, secret

NAME, OTHER = "database/main", "session"
POLICIES = (
    RotationPolicy(NAME, 30 * DAY, recipes={"password": Recipe()}),
    RotationPolicy(OTHER, 30 * DAY, recipes={"password": Recipe()}),
    RotationPolicy("pager", DAY, "hand"),
)
HANDED_OUT = {name: {"password"} for name in (NAME, OTHER, "pager")}
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
        self.newest_runs, self.declared = {}, ()

    def keeper(self, rotating=()):
        chain = (ProviderSettings("first", "local"), ProviderSettings("second", "local"))
        return Keeper(
            SecretSettings(chain, rotation=self.policies, declared=self.declared), [self.first, self.second], self.place, self.log, Caller("ann", "ansible-1", "prod", "prod-1"),
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

    def begin(self, names=(NAME,), process=None, application="shop", handed_out=HANDED_OUT, **about):
        return self.rotations(process, application).begin(names, handed_out, **about)

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


@pytest.fixture
def other(house, tmp_path):
    """Another controller, with the same providers and a memory of its own."""
    (tmp_path / "other").mkdir()
    found = House(tmp_path / "other", house.place, house.clock)
    found.first, found.second = house.first, house.second
    return found


def handed(begun):
    """What the versions that a run hands out are called."""
    return {name: each.version for name, each in begun.rotating.items()}


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def test_nobody_else_reads_the_new_version_until_every_host_is_well_with_it(house):
    begun = house.begin()
    assert (handed(begun), list(begun.names)) == ({NAME: "4"}, [NAME])
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


def test_where_a_retired_version_can_be_read_for_a_while_nothing_else_is_said(house):
    house.first.ends_versions = False
    house.begin()
    (settled,) = house.settle(CONFIRMED)
    assert "version 3 has no label at first any more, which removes it in its own time" in settled.said
    assert "deleted" not in settled.said


def test_where_nothing_can_be_destroyed_a_rotation_that_promises_it_is_refused(house):
    house.first.ends_versions = False
    house.policies = (replace(POLICIES[0], old="destroyed"),)
    assert refused(house.begin) == "rotation_cannot_destroy"
    assert house.states() == []
    assert candidate_of(NAME) not in house.first.secrets


def test_when_every_host_went_back_the_old_version_is_what_everybody_reads(house):
    house.begin()
    (settled,) = house.settle(REVERTED)
    assert (settled.state, settled.is_as_asked) == ("taken_back", True)
    assert house.keeper().read(NAME, "password") == CANARY
    assert (house.first.secrets[NAME].version, house.first.retired) == ("3", [])
    assert candidate_of(NAME) not in house.first.secrets
    assert handed(house.begin()) == {NAME: "4"}


def test_while_one_host_is_not_known_to_have_it_nothing_is_retired_and_nothing_taken_back(house):
    house.begin()
    (settled,) = house.settle(MIXED)
    assert (settled.state, settled.is_as_asked) == ("handed_out", False)
    assert "prod-1 on version 4; not known to be: prod-2 (unreachable)" in settled.said
    assert house.first.retired == []
    assert candidate_of(NAME) in house.first.secrets
    assert house.keeper().read(NAME, "password") == CANARY

    again = house.begin()  # when it answers
    assert handed(again) == {NAME: "4"}
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
    assert handed(house.begin()) == handed(begun)
    assert house.first.secrets[candidate_of(NAME)] is made
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]


def test_a_run_that_was_killed_just_after_it_had_made_the_new_version_finds_it_again(house):
    house.killed()
    made, records = house.first.secrets[candidate_of(NAME)], house.rotations().records
    records.save(replace(records.read(NAME), state="making"))
    assert handed(house.begin()) == {NAME: "4"}
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
    assert handed(begun) == ({NAME: "4"} if state == "proven" else {})
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
    assert refused(lambda: house.begin(back=True)) == "rotation_adopted"  # what would be revoked is in use
    house.begin()
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]
    assert house.first.secrets[NAME].version == "4"


def test_of_two_controllers_the_second_is_refused_before_it_makes_anything(house, other):
    new = house.keeper(house.begin().rotating).read(NAME, "password")
    assert refused(other.begin) == "rotation_elsewhere"
    assert refused(lambda: other.begin(check=True)) == "rotation_elsewhere"
    assert (other.state_of(), other.settle(CONFIRMED)) == (None, [])
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]
    assert house.keeper().read(NAME, "password") == new
    assert handed(other.begin()) == {NAME: "5"}


def test_of_two_controllers_that_begin_at_once_the_second_makes_nothing(house, other):
    replaced = house.first.replace

    def too_late(claim, before):
        del house.first.replace
        house.begin()
        replaced(claim, before)

    house.first.replace = too_late
    assert refused(other.begin) == "rotation_elsewhere"
    assert other.state_of() == "making"
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]
    assert handed(other.begin()) == {NAME: "5"}


def theirs(house):
    """What another rotation has put in the place of the candidate."""
    found = house.first.secrets[candidate_of(NAME)] = candidate(
        NAME, "rotation_of_theirs", {"password": "theirs"}, version="9"
    )
    return found


def test_what_another_rotation_has_made_is_neither_handed_out_nor_adopted_nor_removed(house):
    begun = house.begin()
    found = theirs(house)
    assert refused(lambda: house.keeper(begun.rotating).read(NAME, "password")) == "rotation_elsewhere"
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("proven", False)
    assert "rotation_elsewhere" in settled.said
    assert house.keeper().read(NAME, "password") == CANARY
    assert house.first.retired == []
    assert refused(house.begin) == "rotation_elsewhere"
    house.begin(back=True)
    assert [each.state for each in house.settle(CONFIRMED)] == ["taken_back"]
    assert house.first.secrets[candidate_of(NAME)] is found


def test_a_rotation_that_ends_leaves_the_candidate_of_the_next_one(house):
    house.begin()
    house.first.trouble = {"retire": Unavailable("unreachable")}
    house.settle(CONFIRMED)
    found = theirs(house)
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]
    assert house.first.secrets[candidate_of(NAME)] is found


def test_a_candidate_that_somebody_has_removed_is_not_made_again_behind_the_hosts(house):
    house.killed()
    del house.first.secrets[candidate_of(NAME)]
    assert refused(house.begin) == "rotation_elsewhere"
    house.begin(back=True)
    assert [each.state for each in house.settle(CONFIRMED)] == ["taken_back"]
    assert handed(house.begin()) == {NAME: "4"}


def test_what_a_lost_controller_has_left_is_taken_back_by_another(house, other):
    house.begin()
    begun = other.begin(back=True)
    assert (handed(begun), begun.names, other.state_of()) == ({}, [NAME], "taking_back")
    assert [each.state for each in other.settle(CONFIRMED)] == ["taken_back"]
    assert candidate_of(NAME) not in house.first.secrets
    assert handed(other.begin()) == {NAME: "4"}


def test_a_claim_of_a_run_that_was_killed_is_gone_on_with(house):
    replaced, made = house.first.replace, []

    def cut(found, before):
        if values_in(found):
            raise Unavailable("unreachable")
        made.append(rotation_in(found))
        replaced(found, before)

    house.first.replace = cut
    assert refused(house.begin) == "secret_unavailable"
    assert values_in(house.first.secrets[candidate_of(NAME)]) == {}
    assert house.state_of() == "making"
    del house.first.replace
    assert handed(house.begin()) == {NAME: "4"}
    assert made == [rotation_in(house.first.secrets[candidate_of(NAME)])]


def test_a_claim_of_a_rotation_that_was_overtaken_is_given_up(house):
    house.killed()
    records, place = house.rotations().records, candidate_of(NAME)
    rotation = records.read(NAME)
    records.save(replace(rotation, state="making"))
    house.first.secrets[place] = candidate(NAME, rotation.id, {}, version="1")
    house.first.secrets[NAME] = secret(NAME, "by hand", version="5")
    assert handed(house.begin()) == {NAME: "6"}
    assert rotation_in(house.first.secrets[place]) == records.read(NAME).id != rotation.id


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
    assert handed(house.begin()) == {NAME: "4"}


def test_what_was_set_meanwhile_stays_and_is_said(house):
    house.begin()
    house.first.secrets[NAME] = secret(NAME, "by hand", version="4")
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("proven", False)
    assert "secret_overtaken" in settled.said
    assert house.first.retired == []
    assert house.keeper().read(NAME, "password") == "by hand"

    assert handed(house.killed(back=True)) == {}
    assert handed(house.begin()) == {}  # whoever goes on, goes on back
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, house.keeper().read(NAME, "password")) == ("taken_back", "by hand")


def test_a_rotation_that_was_overtaken_is_not_handed_out_again(house):
    house.killed()
    house.first.secrets[NAME] = secret(NAME, "by hand", version="5")
    assert refused(house.begin) == "secret_overtaken"


def test_one_that_has_made_nothing_when_it_was_overtaken_begins_anew(house):
    house.first.trouble = {"replace": Unavailable("unreachable")}
    assert refused(house.begin) == "secret_unavailable"
    assert house.state_of() == "making"
    records = house.rotations().records
    records.save(replace(records.read(NAME), process=GONE))
    house.first.secrets[NAME] = secret(NAME, "by hand", version="5")
    assert handed(house.begin()) == {NAME: "6"}


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
    assert (handed(begun), begun.names, house.state_of()) == ({}, [NAME], "taking_back")
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
    assert handed(house.begin([NAME, OTHER])) == {NAME: "4", OTHER: "8"}
    assert [each.state for each in house.settle(CONFIRMED, [NAME, OTHER])] == ["retired", "retired"]


def test_what_no_host_gets_is_not_rotated(house):
    def begin(handed_out, application="shop"):
        return house.rotations(application=application).begin([NAME], handed_out)

    assert refused(lambda: begin({OTHER: {"password"}})) == "rotation_not_handed_out"
    house.policies = (replace(POLICIES[0], applications=("worker",)),)
    assert refused(lambda: begin(HANDED_OUT)) == "rotation_not_handed_out"
    assert begin(HANDED_OUT, "worker").names == [NAME]


def test_a_secret_that_is_not_there_or_that_nobody_can_write_is_refused(house):
    del house.first.secrets[NAME]
    assert refused(house.begin) == "secret_unknown"
    house.first.trouble = {"standing": Unavailable("sealed", passing=False)}
    assert refused(lambda: house.begin([OTHER])) == "secret_unavailable"
    assert house.state_of() is None


def test_a_candidate_that_is_no_secret_of_its_kind_is_refused(house):
    house.first.secrets["pager"] = secret("pager", kind="api_key")
    begin = partial(house.begin, ["pager"], handed_out={"pager": {"key"}}, brought={"key": "a b"})
    assert refused(begin) == "secret_malformed"
    assert (candidate_of("pager") in house.first.secrets, house.state_of("pager")) == (False, None)


UNTYPED = Secret(NAME, {"token": CANARY}, version="3")


@pytest.mark.parametrize(("there", "policy", "fields", "brought", "reason"), [
    (UNTYPED, {"recipes": {"value": Recipe()}}, {None}, None, "rotation_fields_unknown"),
    (UNTYPED, {"recipes": {"value": Recipe()}}, {"token"}, None, "rotation_fields_unknown"),
    (UNTYPED, {"recipes": {"tokn": Recipe()}}, {"token"}, None, "rotation_fields_unknown"),
    (UNTYPED, {"made_by": "database_static", "roles": ("a", "b")}, {"token"}, None, "rotation_fields_unknown"),
    (UNTYPED, {"made_by": "hand"}, {"token"}, {"key": "new"}, "rotation_fields_unknown"),
    (UNTYPED, {"made_by": "hand"}, {"token"}, {"token": CANARY}, "rotation_changes_nothing"),
    (secret(NAME, version="3"), {"made_by": "hand"}, {"password"}, {"password": CANARY, "username": "new"}, "rotation_changes_nothing"),
    (secret(NAME, version="3"), {}, {"username"}, None, "rotation_changes_nothing"),
    (secret(NAME, version="3"), {}, {None}, None, "secret_field_needed"),
    (secret(NAME, version="3"), {}, {"key"}, None, "secret_field_missing"),
    (Secret(NAME, {"key": CANARY}, "api_key", version="3"), {"made_by": "hand"}, {None}, {"key": "new", "url": "https://api.example"}, "secret_field_needed"),
    (secret(NAME, version="3"), {}, {"password"}, {"password": "brought"}, "rotation_file_unused"),
])  # fmt: skip
def test_what_would_leave_hosts_with_what_they_have_is_refused_before_anything_is_made(
    house, there, policy, fields, brought, reason
):
    house.first.secrets = {NAME: there}
    house.policies = (replace(POLICIES[0], **policy),)
    begin = partial(house.begin, handed_out={NAME: fields}, brought=brought)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Maker, "__post_init__", lambda _self: None)  # no Vault is asked here
        assert refused(begin) == refused(partial(begin, check=True)) == reason
    assert (house.first.secrets, house.state_of()) == ({NAME: there}, None)


@pytest.mark.parametrize(("there", "fields", "brought"), [
    (UNTYPED, {None}, {"token": "new"}),
    (secret(NAME, version="3"), {"password", "username"}, {"password": "new", "username": "shop"}),
    (Secret(NAME, {"key": CANARY}, "api_key", version="3"), {"key"}, {"key": "new", "url": "https://api.example"}),
])  # fmt: skip
def test_what_changes_one_value_that_hosts_get_is_rotated(house, there, fields, brought):
    house.first.secrets, house.policies = {NAME: there}, (replace(POLICIES[0], made_by="hand"),)
    assert handed(house.begin(handed_out={NAME: fields}, brought=brought)) == {NAME: "4"}
    assert [each.state for each in house.settle(CONFIRMED)] == ["retired"]
    assert house.first.secrets[NAME].fields == {**there.fields, **brought}


def test_a_field_of_a_secret_whose_type_is_only_declared_is_known(house):
    house.first.secrets["pager"] = Secret("pager", {"key": CANARY}, version="1")
    house.declared = (Declared("pager", "api_key"),)
    begin = partial(house.begin, ["pager"], handed_out={"pager": {"key"}})
    assert refused(partial(begin, brought={"key": "new", "other": "x"})) == "rotation_fields_unknown"
    assert handed(begin(brought={"key": "new", "url": "https://api.example"})) == {"pager": "2"}


def test_what_is_set_after_it_was_judged_is_judged_again(house):
    """What hosts would get is looked at in the very version that is rotated."""
    read, times = house.first.read, []

    def changing(name, version=None):
        found = read(name, version)
        times.extend([name] * (name == NAME))
        return replace(found, fields={"token": CANARY}) if len(times) > 1 and name == NAME else found

    house.first.read = changing
    assert refused(house.begin) == "rotation_fields_unknown"
    assert values_in(house.first.secrets[candidate_of(NAME)]) == {}


def test_other_values_than_those_that_are_open_are_not_ignored(house):
    begin = partial(house.begin, ["pager"])
    begin(brought={"password": "one"})
    assert refused(partial(begin, brought={"password": "two"})) == "rotation_file_unused"
    assert refused(partial(begin, brought={"password": "one"}, back=True)) == "rotation_file_unused"
    assert handed(begin(brought={"password": "one"})) == handed(begin()) == {"pager": "2"}


def test_what_is_made_by_hand_is_brought(house):
    assert refused(lambda: house.begin(["pager"])) == "rotation_fields_missing"
    house.begin(["pager"], brought={"password": "brought"})
    assert [each.state for each in house.settle(CONFIRMED, ["pager"])] == ["retired"]
    assert house.keeper().read("pager", "password") == "brought"


def test_check_mode_says_what_would_be_rotated_and_makes_nothing(house):
    begun = house.begin([NAME, OTHER], check=True)
    assert handed(begun) == {}
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
    house.first.trouble = {"replace": Unavailable("unreachable")}
    assert refused(lambda: house.begin(["pager"], brought={"password": "brought"})) == "secret_unavailable"
    assert house.state_of("pager") == "making"
    assert house.rotations().due([NAME, OTHER, "pager"]) == []
    assert refused(lambda: house.begin(["pager"])) == "rotation_fields_missing"
    assert handed(house.begin(["pager"], brought={"password": "brought"})) == {"pager": "2"}
    assert house.rotations().due([NAME, OTHER, "pager"]) == ["pager"]


def test_a_policy_that_is_gone_when_the_run_ends_leaves_the_rotation_open(house):
    house.begin()
    house.policies = ()
    (settled,) = house.settle(CONFIRMED)
    assert (settled.state, settled.is_as_asked) == ("made", False)
    assert "rotation_undeclared" in settled.said


@contextmanager
def issuing():
    """A database engine in place of Vault's; what it has revoked."""
    origins, revoked = iter(range(9)), []

    class Issuing(Maker):
        def __post_init__(self):
            pass

        def make(self, before, _brought):
            return Made(before.fields, {"lease": f"lease-{next(origins)}"})

        def revoke(self, origin):
            revoked.append(dict(origin))
            return ""

        def origin_of(self, _before, known):
            return known

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ansible.module_utils.slipway.secrets.secret_rotation.Maker", Issuing)
        yield revoked


def test_where_the_version_in_use_came_from_is_known_from_the_rotation_before(house):
    """What a lease was issued for is revoked by its name, also when a rotation in between was taken back."""
    house.policies = (replace(POLICIES[0], made_by="database_dynamic"),)
    with issuing() as revoked:
        for hosts in (CONFIRMED, REVERTED, CONFIRMED):
            house.begin()
            house.settle(hosts)
        house.first.secrets[NAME] = secret(NAME, "by hand", version="9")
        house.begin()
        house.settle(CONFIRMED)
    assert revoked == [{}, {"lease": "lease-1"}, {"lease": "lease-0"}, {}]


@pytest.mark.parametrize(
    ("made_by", "revoked"), [("database_dynamic", [{"lease": "lease-0"}]), ("database_static", [])]
)
def test_where_another_rotation_is_a_role_that_it_may_use_is_left_alone_and_a_lease_is_not(house, made_by, revoked):
    house.policies = (replace(POLICIES[0], made_by=made_by),)
    with issuing() as ended:
        house.begin()
        theirs(house)
        house.begin(back=True)
        assert [each.state for each in house.settle(CONFIRMED)] == ["taken_back"]
    assert ended == revoked


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
    assert (handed(begun), begun.names) == ({}, [NAME])
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


@pytest.mark.parametrize(("hosts", "end"), [(CONFIRMED, "retired"), (REVERTED, "taken_back")])
def test_a_worker_that_outlives_its_run_changes_nothing_any_more(tmp_path, place, clock, hosts, end, say):
    """The run is killed while its worker asks a provider, at each question in turn; what was asked is done, and nothing after it."""
    changes, number, struck = ("replace", "retire", "remove"), 0, True
    while struck:
        number += 1
        (tmp_path / str(number)).mkdir()
        house = House(tmp_path / str(number), place, clock)
        run = subprocess.Popen(["sleep", "600"])
        begun = house.begin(process=Process.of(run.pid))
        rotations, first = house.rotations(Process.of(run.pid)), house.first
        first.calls.clear()
        locked = []

        def killed(run=run, first=first, locked=locked, lock=rotations.records.directory / ".lock"):
            if len(first.calls) == number - 1:  # noqa: B023 - it is called within this turn
                run.kill()
                run.wait()
                locked.append(is_locked(lock))

        first.before = killed
        (settled,) = rotations.settle(begun.names, "run_1", hosts)
        first.before, struck = (lambda: None), run.poll() is not None
        if not struck:
            run.kill()
            run.wait()
            continue
        assert locked == [True]
        assert not [name for name, _ in first.calls[number:] if name in changes]
        assert not settled.is_as_asked
        house.begin()
        (settled,) = house.settle(CONFIRMED, run_id="run_2")
        assert settled.state == end
        assert set(first.retired) == ({(NAME, "3", False)} if end == "retired" else set())
    say(f"killed at each of {number - 1} questions")
    assert number > 2
