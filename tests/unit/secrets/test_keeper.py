# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain of providers: which one answers, when the next is asked, and what is noted of it."""

from __future__ import annotations

import threading

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.candidate import candidate_of
from ansible.module_utils.slipway.secrets.env_file import Declared
from ansible.module_utils.slipway.secrets.keeper import Keeper
from ansible.module_utils.slipway.secrets.provider import Unavailable, Unknown, denied, failed
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.secret_settings import ProviderSettings, SecretSettings
from safes import CANARY, FakeProvider, secret

NAME = "database/main"


def settings(**about):
    return SecretSettings(chain=(ProviderSettings("first", "local"), ProviderSettings("second", "local")), **about)


class Chain:
    """Two providers, first and second, and a keeper of them for each process of a run."""

    def __init__(self, tmp_path, place, clock):
        self.first, self.second = (FakeProvider(label, origin=(label,)) for label in ("first", "second"))
        self.log = AccessLog(tmp_path / "access.jsonl")
        self.place, self.clock, self.said = place, clock, []
        self.settings = settings()

    def keeper(self):
        caller = Caller("ann", "ansible-1", "prod", "prod-1")
        return Keeper(
            self.settings, [self.first, self.second], self.place, self.log, caller, self.clock, self.said.append
        )

    def read(self, *words, **options):
        return self.keeper().read(NAME, *(words or ("password",)), **options)

    def refused(self, *words, **options):
        with pytest.raises(Refusal) as refusal:
            self.read(*words, **options)
        assert CANARY not in str(refusal.value)
        return refusal.value.reason

    def outcomes(self):
        return [
            (each["provider"], each["outcome"], each["reason"], each["cached"]) for each in self.log.records()
        ]  # fmt: skip


@pytest.fixture
def chain(tmp_path, place, clock):
    return Chain(tmp_path, place, clock)


def unreachable(times=5):
    return [Unavailable("unreachable")] * times


def test_the_first_one_that_answers_is_the_only_one_that_is_asked(chain):
    chain.first.secrets[NAME] = secret()
    assert chain.read() == CANARY
    assert chain.second.calls == []
    assert chain.outcomes() == [("first", "read", None, False)]
    assert chain.said == []


def test_all_processes_of_a_run_share_one_read(chain):
    chain.first.secrets[NAME] = secret()
    threads = [threading.Thread(target=chain.read) for _ in range(20)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert chain.first.calls == [("read", NAME)]
    assert sorted(cached for *_, cached in chain.outcomes()) == [False] + [True] * 19


@pytest.mark.parametrize("why", ["unreachable", "sealed", "timed out"])
def test_the_next_one_is_asked_when_one_does_not_answer_and_that_is_said_and_noted(chain, why):
    chain.first.fails = [Unavailable(why, passing=why == "unreachable")] * 5
    chain.second.secrets[NAME] = secret()
    assert chain.read() == CANARY
    assert chain.said == [f"FALLBACK: first is {why}; secrets come from second instead"]
    assert chain.outcomes() == [("first", "unavailable", why, False), ("second", "read", None, False)]


def test_one_that_does_not_answer_costs_its_time_out_once_for_all_processes(chain):
    chain.first.fails = [Unavailable("timed out", passing=False)] * 99
    chain.second.secrets = {f"name-{number}": secret(f"name-{number}") for number in range(10)}
    for number in range(10):
        assert chain.keeper().read(f"name-{number}", "password") == CANARY
    assert len(chain.first.calls) == 1
    chain.clock.boot += 60
    chain.keeper().read("name-1", "password")
    chain.keeper().read("name-2", "password")
    assert len(chain.first.calls) == 2


def test_a_refused_connection_is_tried_five_times_in_all(chain):
    chain.first.fails = unreachable(99)
    chain.second.secrets[NAME] = secret()
    for _ in range(4):
        chain.read()
    assert len(chain.first.calls) == 5
    assert sum(chain.clock.slept) < 0.8


@pytest.mark.parametrize("refusal", [denied("first", NAME, "403"), failed("first", "500")])
def test_an_answer_that_is_a_no_is_never_got_around(chain, refusal):
    chain.first.fails = [refusal]
    chain.second.secrets[NAME] = secret()
    assert chain.refused(default="") == refusal.reason
    assert chain.second.calls == []
    assert chain.outcomes() == [("first", "refused", refusal.reason, False)]


def test_a_name_that_the_first_one_does_not_know_is_not_taken_from_the_next(chain):
    chain.second.secrets[NAME] = secret()
    assert chain.refused() == "secret_unknown"
    assert chain.second.calls == []


def test_a_default_is_for_names_that_no_provider_knows(chain):
    assert chain.read(default="") == ""
    assert chain.read(default=None) is None
    assert [("read", NAME)] == chain.first.calls == chain.second.calls
    assert chain.outcomes()[-1] == (None, "default", None, False)


def test_a_default_does_not_hide_a_secret_in_the_wrong_place(chain):
    chain.second.secrets[NAME] = secret()
    assert chain.refused(default="x") == "secret_misplaced"


def test_a_default_does_not_hide_that_somebody_could_not_be_asked(chain):
    chain.second.fails = unreachable()
    assert chain.refused(default="x") == "secret_unavailable"
    chain.second.fails, chain.first.fails = [], unreachable()
    assert chain.refused(default="x") == "secret_unavailable"


def test_a_default_does_not_hide_a_no(chain):
    chain.second.fails = [denied("second", NAME, "403")]
    assert chain.refused(default="x") == "secret_denied"


def test_who_did_not_answer_is_named_when_the_next_one_does_not_know_the_name(chain):
    chain.first.fails = unreachable()
    with pytest.raises(Refusal, match="first: unreachable") as refusal:
        chain.read(default="x")
    assert refusal.value.reason == "secret_unknown"


def test_nobody_answers(chain):
    chain.first.fails, chain.second.fails = unreachable(), unreachable()
    assert chain.refused() == "secret_unavailable"
    assert len(chain.said) == 1


def test_a_version_is_asked_of_the_first_one_only(chain):
    chain.first.secrets[NAME] = secret()
    assert chain.read("password", "1") == CANARY
    assert chain.refused("password", "2") == "secret_unknown"
    chain.first.fails = unreachable()
    chain.second.secrets[NAME] = secret()
    assert chain.refused("password", "3") == "secret_unavailable"
    assert chain.second.calls == []
    assert chain.said == []


def test_a_field_that_lacks_is_refused_and_noted(chain):
    chain.first.secrets[NAME] = secret()
    assert chain.refused("pin") == "secret_field_missing"
    assert chain.outcomes() == [("first", "refused", "secret_field_missing", False)]


def test_a_name_that_is_none_reaches_nobody(chain):
    with pytest.raises(Refusal, match="secret_name_invalid"):
        chain.keeper().read("../../sys/seal")
    assert chain.first.calls == []


def test_no_value_is_handed_out_without_its_line(chain, syscalls):
    chain.first.secrets[NAME] = secret()
    chain.read()
    syscalls.fail("fsync", 28)
    assert chain.refused() == "disk_full"


def test_one_that_is_quicker_to_ask_again_is_not_cached(chain):
    chain.first.origin = ()
    chain.first.secrets[NAME] = secret()
    chain.read()
    chain.read()
    assert len(chain.first.calls) == 2
    assert chain.place.names("cache") == []


def test_without_memory_to_share_a_process_still_reads_once(chain):
    chain.place = None
    chain.first.secrets[NAME] = secret()
    keeper = chain.keeper()
    assert [keeper.read(NAME, "password") for _ in range(3)] == [CANARY] * 3
    assert len(chain.first.calls) == 1


def test_setting_goes_to_the_first_one_and_the_cache_forgets(chain):
    chain.first.secrets[NAME] = secret()
    chain.read()
    fields = {"password": "new", "username": "shop"}
    assert chain.keeper().write(NAME, fields, None, "d") is True
    assert chain.read() == "new"
    assert chain.keeper().write(NAME, fields, None, "d") is False
    assert chain.second.calls == []
    assert [outcome for _, outcome, *_ in chain.outcomes()] == ["read", "begun", "written", "read", "unchanged"]


def test_what_cannot_be_noted_is_not_set(chain, monkeypatch):
    def full(*_words, **_about):
        raise Refusal("disk_full", expected="room", found="none", remedy="r")

    monkeypatch.setattr(AccessLog, "note", full)
    with pytest.raises(Refusal, match="disk_full"):
        chain.keeper().write(NAME, {"password": "new"}, None)
    assert [call for call in chain.first.calls if "write" in str(call)] == []
    assert NAME not in chain.first.secrets


def test_a_name_that_is_being_removed_cannot_be_set_and_that_is_said(chain):
    chain.first.trouble["write"] = Unknown(NAME)
    with pytest.raises(Refusal, match=f"secret_provider_failed.*{NAME} is being removed there"):
        chain.keeper().write(NAME, {"password": "new"}, None)
    assert [outcome for _, outcome, *_ in chain.outcomes()] == ["begun", "refused"]


def test_a_new_name_is_set_and_found_although_it_was_not_there_before(chain):
    assert chain.refused() == "secret_unknown"
    assert chain.keeper().write(NAME, {"password": CANARY}, None)
    assert chain.read() == CANARY


def test_a_malformed_secret_reaches_nobody(chain):
    chain.settings = settings(declared=(Declared("pager", "api_key", "p"),))
    for kind in (None, "api_key"):
        for check in (True, False):
            with pytest.raises(Refusal, match="secret_malformed"):
                chain.keeper().write("pager", {"key": ""}, kind, check=check)
    assert chain.first.calls == []


def test_of_a_declared_secret_the_kind_is_known(chain):
    chain.settings = settings(declared=(Declared("pager", "api_key", "p"),))
    assert chain.keeper().write("pager", {"key": CANARY}, check=True) is True
    assert chain.first.secrets == {}
    assert chain.keeper().write("pager", {"key": CANARY}) is True
    assert (chain.first.secrets["pager"].kind, chain.first.secrets["pager"].description) == ("api_key", "p")
    assert chain.keeper().write("pager", {"key": CANARY}, check=True) is False


def test_setting_does_not_go_to_another_one_and_is_not_tried_twice(chain):
    chain.first.fails = unreachable()
    with pytest.raises(Refusal, match="secret_unavailable"):
        chain.keeper().write(NAME, {"value": CANARY}, None)
    chain.clock.boot += 60
    chain.first.fails = [denied("first", NAME, "403")]
    with pytest.raises(Refusal, match="secret_denied"):
        chain.keeper().write(NAME, {"value": CANARY}, None)
    assert chain.second.calls == []
    writes = FakeProvider("first", fails=[])
    chain.first = writes
    writes.before = lambda: writes.fails.append(Unavailable("unreachable")) if writes.calls else None
    with pytest.raises(Refusal, match="secret_unavailable"):
        chain.keeper().write(NAME, {"value": CANARY}, None)
    assert writes.calls == [("read", NAME), ("write", NAME)]


def test_a_list_has_every_provider_and_what_is_declared_and_nowhere(chain):
    chain.settings = settings(declared=(Declared("pager", "api_key", "p"), Declared(NAME)))
    chain.first.secrets[NAME] = secret(kind="database")
    chain.second.secrets[NAME] = secret()
    listed = chain.keeper().listed()
    assert [(each.entry.name, each.provider, each.entry.kind) for each in listed] == [
        (NAME, "first", "database"), (NAME, "second", None), ("pager", None, "api_key"),
    ]  # fmt: skip
    assert CANARY not in repr(listed)


def test_a_list_without_one_says_so_and_a_no_ends_it(chain):
    chain.first.fails = unreachable()
    assert chain.keeper().listed() == []
    assert chain.said == ["first is unreachable: its secrets are not in this list"]
    chain.second.fails = [denied("second", "*", "403")]
    with pytest.raises(Refusal, match="secret_denied"):
        chain.keeper().listed()


def test_flushing_forgets_all_and_is_noted(chain):
    chain.first.secrets[NAME] = secret()
    chain.read()
    assert chain.keeper().flush() == 1
    chain.read()
    assert len(chain.first.calls) == 2


def test_a_lease_is_kept_to(chain):
    chain.first.secrets[NAME] = Secret(NAME, {"value": CANARY}, lease_seconds=10)
    for seconds in (0, 9, 1):
        chain.clock.boot += seconds
        assert chain.read(None) == CANARY
    assert len(chain.first.calls) == 2


def test_no_line_has_a_value(chain):
    chain.first.secrets[NAME] = secret()
    chain.read()
    chain.keeper().write(NAME, {"value": f"{CANARY}2"}, None)
    chain.refused("none")
    assert CANARY.encode() not in chain.log.path.read_bytes()
    assert CANARY not in repr(chain.keeper().cache)


def test_what_is_declared_is_listed_without_asking_anybody(chain):
    chain.settings = settings(declared=(Declared("pager", "api_key", "p"),))
    assert [each.entry.name for each in chain.keeper().listed(ask=False)] == ["pager"]
    assert chain.first.calls == []


def test_how_much_is_cached_is_counted(chain):
    chain.first.secrets[NAME] = secret()
    assert chain.keeper().cached() == 0
    chain.read()
    assert chain.keeper().cached() == 1


def test_what_a_rotation_has_made_is_in_no_list(chain):
    chain.first.secrets = {NAME: secret(), candidate_of(NAME): secret(candidate_of(NAME))}
    assert [each.entry.name for each in chain.keeper().listed()] == [NAME]
