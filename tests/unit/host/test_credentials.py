# SPDX-License-Identifier: GPL-3.0-or-later
"""The credentials of a service: generations that never change, switched and taken back with the release."""

from __future__ import annotations

import json
import os
import shutil
import stat

import pytest
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import credentials as module
from ansible.module_utils.slipway.host.credentials import Credentials, Given, encoded
from ansible.module_utils.slipway.host.history import View
from ansible.module_utils.slipway.host.transaction import Transactions
from played_creds import bringing
from releases import UNIT, V1, V2, V3, refused, run_2, snapshot

OLD = {"database_password": "old-canary-value"}
NEW = {"database_password": "new-canary-value", "pager": "pager-canary-value"}
DROP_IN = f"etc/systemd/system/{UNIT}.d/slipway-credentials.conf"


def switch(site, run_id, credentials, release_id="v1", *, check=False, **keys):
    """Stage a release with credentials and switch to both; returns the two answers."""
    run = site.run(run_id)
    staged = site.stage(release_id, run=run, check=check, **bringing(credentials))
    assert not staged.get("failed"), staged
    return staged, site.activate(release_id, run=run, generation=staged["generation"], check=check, **keys)


@pytest.fixture
def served(site):
    """v1 is active with the old credentials."""
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", credentials=OLD)
    return site


# what is on the host


def test_a_service_gets_what_was_given_and_nobody_else_can_read_it(served):
    assert served.gets() == {"slipway_database_password": "old-canary-value"}
    for path in [served.places.credentials, *served.places.credentials.rglob("*")]:
        status = path.lstat()
        assert status.st_uid == os.geteuid()
        assert path.is_symlink() or stat.S_IMODE(status.st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_file_of_the_host_has_a_value(served):
    files = [path for path in served.host.root.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if b"canary" in path.read_bytes()] == []


def test_the_unit_loads_them_by_a_file_beside_it_of_which_systemd_is_told_once(served, systemctl):
    text = (served.host.root / DROP_IN).read_text()
    assert text.endswith("[Service]\nLoadCredentialEncrypted=slipway:/var/lib/slipway/shop/credentials/current\n")
    assert [call for call in systemctl.calls if call[0] == "daemon-reload"] == [("daemon-reload",)]
    switch(served, "run-2", NEW)
    assert [call for call in systemctl.calls if call[0] == "daemon-reload"] == [("daemon-reload",)]


def test_systemd_is_told_again_where_it_was_not_told(served, systemctl):
    systemctl.properties[UNIT] = {"NeedDaemonReload": "yes"}
    systemctl.calls.clear()
    served.stage("v1", **bringing(OLD))
    assert ("daemon-reload",) in systemctl.calls


def test_an_application_that_gets_none_has_nothing_of_it(site):
    site.build("v1", V1)
    site.deploy("v1", credentials={})
    assert not site.places.credentials.exists()
    assert not (site.host.root / DROP_IN).exists()
    assert (site.records[-1]["credentials"], site.inspect()["credentials"]) == (None, None)


def test_an_application_may_come_to_need_none_any_more(served):
    switch(served, "run-2", {})
    assert served.gets() == {}


# is it a change


def test_the_active_release_with_other_credentials_is_a_change_and_is_restarted(served, systemctl):
    systemctl.calls.clear()
    staged, active = switch(served, "run-2", NEW)
    assert (staged["changed"], "outcome" in staged, active["outcome"]) == (True, False, "switched")
    assert systemctl.verbs == ["reset-failed", "restart"]
    assert staged["credentials"] == {
        "names": ["database_password", "pager"], "added": ["pager"], "changed": ["database_password"], "removed": [],
    }  # fmt: skip
    assert staged["diff"]["after"].endswith("credential pager: new\ncredential database_password: changed\n")
    assert served.gets() == {f"slipway_{name}": value for name, value in NEW.items()}
    assert served.confirm("v1", run=served.run("run-2"))["outcome"] == "confirmed"
    assert served.records[-1]["credentials"]["after"] == staged["generation"]


def test_the_same_credentials_are_none(served):
    before = snapshot(served.host.root)
    answer = served.stage("v1", run=served.run("run-2"), **bringing(OLD))
    assert (answer["changed"], answer["outcome"]) == (False, "unchanged")
    assert snapshot(served.host.root) == before
    assert switch(served, "run-2", OLD)[1]["outcome"] == "unchanged"


def test_credentials_that_were_there_before_are_the_same_generation(served):
    first = served.records[-1]["credentials"]["after"]
    switch(served, "run-2", NEW)
    assert first == served.stage("v1", run=served.run("run-2"), **bringing(OLD))["generation"]


def test_who_says_nothing_of_credentials_leaves_them(served):
    served.deploy("v2", "run-2")
    assert served.gets() == {"slipway_database_password": "old-canary-value"}


def test_a_service_that_reloads_is_restarted_for_credentials_alone(served, systemctl):
    served.description["strategy"] = "reload"
    systemctl.calls.clear()
    assert switch(served, "run-2", NEW)[1]["outcome"] == "switched"
    assert "restart" in systemctl.verbs
    assert "reload-or-restart" not in systemctl.verbs


def test_check_mode_says_which_would_change_and_does_nothing(served):
    served.recover()
    before = snapshot(served.host.root)
    staged, active = switch(served, "run-2", NEW, check=True)
    assert (staged["changed"], staged["generation"], active["changed"]) == (True, "unmade", True)
    assert staged["credentials"]["changed"] == ["database_password"]
    confirmed = served.confirm("v1", run=served.run("run-2"), generation=active["generation"], check=True)
    assert (confirmed["changed"], confirmed["outcome"]) == (True, "confirmed")
    assert snapshot(served.host.root) == before
    staged, active = switch(served, "run-2", OLD, check=True)
    assert (staged["changed"], active["changed"]) == (False, False)


def test_check_mode_before_the_first_ones(site):
    site.build("v1", V1)
    site.deploy("v1")
    staged, active = switch(site, "run-2", NEW, check=True)
    assert (staged["credentials"]["added"], active["outcome"]) == (["database_password", "pager"], "switched")
    assert not site.places.credentials.exists()


def test_a_generation_that_was_altered_is_made_anew_and_switched_to(served):
    (path,) = (served.places.credentials / "current").resolve().iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    staged, active = switch(served, "run-2", OLD)
    assert (staged["changed"], active["outcome"]) == (True, "switched")
    assert served.gets() == {"slipway_database_password": "old-canary-value"}


def gone(directory, _about):
    shutil.rmtree(directory)


def a_link(directory, _about):
    path = directory / "database_password"
    path.rename(directory.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def readable_by_others(directory, _about):
    (directory / "database_password").chmod(0o644)


def one_more(directory, _about):
    (directory / "more").touch()


def undescribed(_directory, about):
    about.unlink()


def described_wrongly(_directory, about):
    about.write_text("{")


@pytest.mark.parametrize(
    ("harm", "flaw"),
    [
        (gone, "No such file or directory"),
        (a_link, "database_password altered"),
        (readable_by_others, "database_password altered"),
        (one_more, "other files than there were"),
        (undescribed, "nothing says what they were"),
        (described_wrongly, "nothing says what they were"),
    ],
)
def test_a_generation_that_is_not_as_it_was_made_says_why_and_is_used_for_nothing_new(served, harm, flaw):
    credentials = Credentials(served.places)
    generation = credentials.current()
    harm(credentials.path(generation), credentials.directory / f"{generation}.json")
    assert flaw in credentials.flaw(generation)
    answer = served.activate("v1", run=served.run("run-2"), generation=generation)
    assert answer["reason"] == "credentials_not_here"


def test_a_description_that_was_damaged_holds_nothing_up(served):
    generation = served.records[-1]["credentials"]["after"]
    (served.places.credentials / f"{generation}.json").write_text("{")
    assert served.inspect()["credentials"] == {"generation": generation, "created": None, "credentials": {}}
    staged, active = switch(served, "run-2", OLD)
    assert (staged["generation"] != generation, active["outcome"]) == (True, "switched")


def test_without_the_key_all_is_made_anew(served):
    (served.places.credentials / "key").unlink()
    staged, active = switch(served, "run-2", OLD)
    assert (staged["credentials"]["changed"], active["outcome"]) == (["database_password"], "switched")


def test_digests_of_two_hosts_tell_nothing_of_each_other(served):
    about = json.loads(
        (served.places.credentials / f"{served.inspect()['credentials']['generation']}.json").read_text()
    )
    digest = about["credentials"]["database_password"]["digest"]
    (served.places.credentials / "key").write_bytes(bytes(32))
    given = Given.parse(bringing(OLD))
    assert Credentials(served.places)._digests(given) != {"database_password": digest}


def test_status_tells_names_and_ages_and_no_value(served):
    since = served.inspect()["credentials"]["created"]
    served.host.clock.advance(3600)
    switch(served, "run-2", {**OLD, "pager": "pager-canary-value"})
    found = served.inspect()["credentials"]
    assert found["credentials"]["database_password"]["since"] == since < found["created"]
    assert found["credentials"]["pager"]["since"] == found["created"]
    assert found["credentials"]["pager"]["secret"] == "database/main"
    assert "canary" not in json.dumps(found)


# the way back


def test_an_ill_service_goes_back_to_the_credentials_of_before(served, systemctl):
    served.sicken("v1")
    systemctl.calls.clear()
    _staged, active = switch(served, "run-2", NEW)
    assert (active["outcome"], active["active_release_id"]) == ("reverted", "v1")
    assert served.gets() == {"slipway_database_password": "old-canary-value"}
    assert systemctl.verbs.count("restart") == 2
    assert View.of(served.records).bad == {}
    assert served.is_settled()


def test_a_revert_takes_release_and_credentials_back(served):
    assert switch(served, "run-2", NEW, "v2")[1]["outcome"] == "switched"
    assert served.revert("v2", run=served.run("run-2"))["outcome"] == "reverted"
    assert (served.current, served.gets()) == ("v1", {"slipway_database_password": "old-canary-value"})


def test_a_revert_of_credentials_alone_takes_those_back(served):
    switch(served, "run-2", NEW)
    assert served.revert("v1", run=served.run("run-2"))["outcome"] == "reverted"
    assert (served.current, served.gets()) == ("v1", {"slipway_database_password": "old-canary-value"})


def test_who_went_back_by_itself_has_nothing_to_confirm(served):
    switch(served, "run-2", NEW)
    served.host.clock.advance(901)
    served.recover(run=served.run("run-9"))
    answer = served.confirm("v1", run=served.run("run-2"))
    assert (answer["failed"], answer["reason"], answer["outcome"]) == (True, "nothing_to_confirm", "reverted")
    assert served.gets() == {"slipway_database_password": "old-canary-value"}


def test_there_is_no_way_back_to_credentials_that_are_not_whole(served):
    switch(served, "run-2", NEW)
    before = served.records[-1]["credentials"]["after"]
    (path,) = (served.places.credentials / before).iterdir()
    path.unlink()
    answer = served.revert("v1", run=served.run("run-2"))
    assert (answer["outcome"], answer["failed"]) == ("stuck", True)
    assert "its credentials cannot be loaded again: other files than there were" in answer["msg"]
    assert served.gets() == {f"slipway_{name}": value for name, value in NEW.items()}


def test_a_first_deployment_that_fails_leaves_no_credentials(site):
    site.build("v1", V1)
    site.sicken("v1")
    assert switch(site, "run-1", OLD)[1]["outcome"] == "reverted"
    assert (site.current, site.gets()) == (None, {})


def test_a_rollback_takes_the_credentials_that_its_release_had(served):
    switch(served, "run-2", NEW, "v2")
    served.confirm("v2", run=served.run("run-2"))
    answer = served.rollback("v1", run=served.run("run-3"))
    assert answer["outcome"] == "confirmed"
    assert (served.current, served.gets()) == ("v1", {"slipway_database_password": "old-canary-value"})


def test_a_rollback_keeps_credentials_once_older_ones_are_replaced(served):
    switch(served, "run-2", OLD, "v2")
    served.confirm("v2", run=served.run("run-2"))
    switch(served, "run-3", NEW, "v2", credentials_replaced=True)
    served.confirm("v2", run=served.run("run-3"))
    served.rollback("v1", run=served.run("run-4"))
    assert (served.current, served.gets()) == ("v1", {f"slipway_{name}": value for name, value in NEW.items()})


def test_a_rollback_whose_credentials_are_gone_keeps_those_that_are_there(served):
    generation = served.records[-1]["credentials"]["after"]
    switch(served, "run-2", NEW, "v2")
    served.confirm("v2", run=served.run("run-2"))
    (served.places.credentials / f"{generation}.json").unlink()
    served.rollback("v1", run=served.run("run-3"))
    assert served.gets() == {f"slipway_{name}": value for name, value in NEW.items()}


def test_a_service_that_came_to_other_credentials_before_the_journal_says_so_is_restarted_too(
    served, systemctl, monkeypatch
):
    """A crash comes after the link and before the step; systemd may have started the service again in between."""
    reach = Transactions._reach

    def dies(transactions, transaction, step, **details):
        if step == "switched":
            raise KeyboardInterrupt
        return reach(transactions, transaction, step, **details)

    monkeypatch.setattr(Transactions, "_reach", dies)
    with pytest.raises(KeyboardInterrupt):
        switch(served, "run-2", NEW)
    monkeypatch.setattr(Transactions, "_reach", reach)
    assert "slipway_pager" in served.gets()
    systemctl.calls.clear()
    served.recover(run=served.run("run-9", dead_runs=["run-2"]))
    assert served.gets() == {"slipway_database_password": "old-canary-value"}
    assert "restart" in systemctl.verbs


def test_a_transaction_of_a_slipway_that_knew_no_credentials_is_settled(two):
    run_2(two, "activate")
    assert "credentials" not in json.loads(two.places.journal.read_bytes().splitlines()[0])
    two.recover(run=two.run("run-9", dead_runs=["run-2"]))
    assert (two.current, two.is_settled()) == ("v1", True)


# old ones go


def test_a_confirmation_removes_what_neither_pair_needs(served):
    first = served.records[-1]["credentials"]["after"]
    generations = Credentials(served.places).generations
    switch(served, "run-2", {"pager": "never confirmed"})
    served.revert("v1", run=served.run("run-2"))
    switch(served, "run-3", NEW, "v2")
    served.confirm("v2", run=served.run("run-3"))
    second = served.records[-1]["credentials"]["after"]
    assert generations() == sorted([first, second])
    switch(served, "run-4", OLD | {"x": "y"}, "v2", credentials_replaced=True)
    served.confirm("v2", run=served.run("run-4"))
    assert generations() == [served.records[-1]["credentials"]["after"]]
    assert sorted(path.name for path in served.places.credentials.glob("*.json")) == [f"{generations()[0]}.json"]


def test_what_an_interrupted_staging_left_is_removed(served):
    credentials = Credentials(served.places)
    for name in (".new-0123456789abcdef", ".current.0123456789abcdef"):
        (credentials.directory / name).mkdir() if name.startswith(".new") else (
            credentials.directory / name
        ).symlink_to("x")
    (credentials.directory / "0123456789abcdef.json").write_text("{}")
    served.recover()
    assert not [path for path in credentials.directory.iterdir() if "0123456789abcdef" in path.name]


# what is refused

TOO_MUCH = {f"name_{number}": "x" * 65536 for number in range(17)}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (bringing({"Ä": "x"}), "credentials_invalid"),
        (bringing({".hidden": "x"}), "credentials_invalid"),
        (bringing({"../key": "x"}), "credentials_invalid"),
        (bringing({"a:b": "x"}), "credentials_invalid"),
        (bringing({"n" * 128: "x"}), "credentials_invalid"),
        (bringing({f"name_{number}": "x" for number in range(101)}), "credentials_invalid"),
        ({**bringing({"a": "x"}), "credential_values": None}, "credentials_invalid"),
        ({**bringing({"a": "x"}), "credential_values": "no base64!"}, "credentials_invalid"),
        ({**bringing({"a": "x"}), "credential_values": encoded({"b": "x"})}, "credentials_invalid"),
        ({**bringing({"a": "x"}), "credential_values": "WzFd"}, "credentials_invalid"),
        ({**bringing({"a": "x"}), "credential_values": "eyJhIjoxfQ=="}, "credentials_invalid"),
        ({**bringing({"a": "x"}), "credentials": ["a"]}, "credentials_invalid"),
        ({**bringing({"a": "x"}), "credentials": {"a": {"secret": 1}}}, "credentials_invalid"),
        ({**bringing({"a": "x"}), "credentials": {"a": "canary"}}, "credentials_invalid"),
        (bringing({"a": ""}), "credential_unfit"),
        (bringing(TOO_MUCH), "credential_unfit"),
    ],
)
def test_credentials_that_are_none_are_refused_before_anything_is_done(served, request_, reason):
    before = snapshot(served.host.root)
    answer = served.ask("stage", release_id="v1", **request_)
    refused(served, answer, reason, before)
    assert "canary" not in answer["msg"]


def test_an_application_without_a_unit_is_refused(site):
    site.build("v1", V1)
    site.description.update(unit=None, strategy="none", health=[])
    assert site.stage("v1", **bringing(OLD))["reason"] == "credentials_without_unit"


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (Finished(0, "systemd 249 (249.11)\n"), "systemd 249"),
        (Finished(0, "something\n"), "exit code 0: something"),
        (Finished(127, "No such file or directory: 'systemd-creds'"), "exit code 127"),
    ],
)
def test_a_systemd_that_cannot_do_it_is_refused(site, systemctl, end, found):
    site.build("v1", V1)
    systemctl.creds = end
    answer = site.stage("v1", **bringing(OLD))
    assert (answer["reason"], site.current) == ("credentials_unsupported", None)
    assert found in answer["found"]


def test_a_host_that_cannot_encrypt_is_refused_and_nothing_is_left(site, systemctl, monkeypatch):
    site.build("v1", V1)
    systemctl.creds = Finished(1, "no encryption key available")
    monkeypatch.setattr(module, "require_supported", lambda _places: None)
    answer = site.stage("v1", **bringing(OLD))
    assert (answer["reason"], "no encryption key" in answer["msg"]) == ("credentials_not_encrypted", True)
    assert answer["changed"], "the release came"
    again = site.stage("v1", **bringing(OLD))
    assert (again["reason"], again["changed"]) == ("credentials_not_encrypted", False)
    assert len(Credentials(site.places).generations()) == 1  # the one with nothing
    assert site.is_settled()


def test_a_unit_that_cannot_be_told_is_refused(site, systemctl):
    site.build("v1", V1)
    systemctl.ends["daemon-reload"] = Finished(1, "it broke")
    assert site.stage("v1", **bringing(OLD))["reason"] == "systemd_not_reloaded"


def test_a_file_of_somebody_else_beside_the_unit_is_refused(site):
    site.build("v1", V1)
    path = site.host.root / DROP_IN
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\n")
    assert site.stage("v1", **bringing(OLD))["reason"] == "unit_foreign"
    assert path.read_text() == "[Service]\n"


@pytest.mark.parametrize("generation", ["0123456789abcdef", "../../etc", "current", "unmade"])
def test_a_generation_that_is_not_here_is_refused(served, generation):
    before = snapshot(served.host.root)
    answer = served.activate("v1", run=served.run("run-2"), generation=generation)
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, "credentials_not_here")
    assert {path: each for path, each in snapshot(served.host.root).items() if "credentials" in path} == {
        path: each for path, each in before.items() if "credentials" in path
    }


def test_nothing_shows_values():
    given = Given.parse(bringing(OLD))
    assert repr(given) == "Given(database_password)"
    with pytest.raises(Refusal) as refusal:
        Given.parse({**bringing(OLD), "credentials": {}})
    assert "canary" not in str(refusal.value)


def test_a_switch_to_v3_after_all_of_it(served):
    """A deployment of another release brings other credentials in the same switch."""
    served.build("v3", V3)
    switch(served, "run-2", NEW, "v3")
    served.confirm("v3", run=served.run("run-2"))
    assert (served.current, len(served.gets())) == ("v3", 2)
