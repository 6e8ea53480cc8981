# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_release: parameters in, one exchange, an answer that RETURN documents."""

from __future__ import annotations

import base64
import time

import doors
import plugins
import pytest
import stores
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.controller.memory import ControllerState
from ansible.module_utils.slipway.controller.progress import INTERVAL_SECONDS
from ansible.module_utils.slipway.host import handler
from ansible.module_utils.slipway.host.options import MODULES
from releases import V1, V2, snapshot


@pytest.fixture
def module(site, monkeypatch):
    """Run the module on the host."""
    monkeypatch.setattr(handler, "Host", lambda: site.host)

    def run(state, check=False, **parameters):
        given = {
            "state": state, "application": "shop", "description": site.description, "environment": "prod", "run": site.run(),
            "release_id": "v1", **parameters,
        }  # fmt: skip
        return doors.run(
            "slipway_release", check=check, **{key: value for key, value in given.items() if value is not None}
        )

    return run


@pytest.fixture
def pack(site):
    site.build("v1", V1)
    return site.pack("v1", site.objects("v1"))


def test_the_states_are_the_exchanges_of_a_deployment(site, module, pack):
    answers = [
        module("staged", pack=pack),
        module("active", expected_current=""),
        module("confirmed", smoke_test_passed=True),
    ]
    assert [(answer["changed"], answer.get("outcome")) for answer in answers] == [
        (True, None),
        (True, "switched"),
        (True, "confirmed"),
    ]
    assert site.records[0]["smoke_test_passed"] is True
    for answer in answers:
        assert doors.undocumented("slipway_release", answer) == set()


def test_a_second_time_changes_nothing(site, module, pack):
    for state, parameters in (("staged", {"pack": pack}), ("active", {}), ("confirmed", {})):
        module(state, **parameters)
    before = snapshot(site.host.root)
    answers = [
        module("staged"),
        module("active"),
        module("confirmed"),
        module("recovered", release_id=None),
        module("reverted"),
    ]
    assert {answer["changed"] for answer in answers} == {False}
    assert snapshot(site.host.root) == before


def test_check_mode_predicts_and_changes_nothing(site, module, pack):
    site.recover()
    before = snapshot(site.host.root)
    answers = [module("staged", pack=pack, check=True), module("active", check=True), module("confirmed", check=True)]
    assert [answer["changed"] for answer in answers] == [True, True, True]
    assert answers[1]["diff"]["after"] == "v1\n"
    assert snapshot(site.host.root) == before


def test_a_failed_activation_fails_the_task_and_says_what_is_active(site, module, pack):
    site.sicken("v1")
    module("staged", pack=pack)
    answer = module("active")
    assert (answer["failed"], answer["changed"], answer["outcome"], answer["reason"]) == (
        True,
        True,
        "reverted",
        "health_failed",
    )
    assert doors.undocumented("slipway_release", answer) == set()


def test_a_release_is_taken_back_with_a_reason_for_the_record(site, module, pack):
    module("staged", pack=pack)
    module("active")
    answer = module("reverted", reason="smoke_test_failed", message="no answer")
    assert (answer["outcome"], site.records[-1]["reason"], site.records[-1]["message"]) == (
        "reverted",
        "smoke_test_failed",
        "no answer",
    )
    assert doors.undocumented("slipway_release", answer) == set()


def test_without_a_reason_the_record_has_the_default(site, module, pack):
    module("staged", pack=pack)
    module("active")
    module("reverted")
    assert site.records[-1]["reason"] == "taken_back"


def test_a_rollback_is_kept_at_once_and_names_what_it_takes_back(site, module, pack):
    site.deploy("v1", "run-1")
    site.build("v2", V2)
    site.deploy("v2", "run-2")
    answer = module(
        "active", rollback=True, keep=True, takes_back="run-2", expected_current="v2", run=site.run("run-3")
    )
    assert (answer["outcome"], answer["record"]["takes_back"], site.current) == ("confirmed", "run-2", "v1")
    assert doors.undocumented("slipway_release", answer) == set()


def test_a_bad_release_is_allowed_with_retry(site, module, pack):
    site.sicken("v1")
    module("staged", pack=pack)
    module("active")
    site.sicken()
    assert module("active")["reason"] == "release_bad"
    assert module("active", retry=True)["outcome"] == "switched"


def test_an_open_run_is_recovered(site, module, pack):
    module("staged", pack=pack)
    module("active")
    answer = module("recovered", release_id=None)
    assert (answer["changed"], answer["outcome"], answer["active_release_id"]) == (True, "recovered", None)
    assert doors.undocumented("slipway_release", answer) == set()


@pytest.mark.parametrize(("given", "reason"), [("", "changed_meanwhile"), ("v1", None), (None, None)])
def test_an_empty_expected_current_means_nothing(site, module, pack, given, reason):
    site.deploy("v1")
    assert module("active", expected_current=given).get("reason") == reason


def test_a_refusal_fails_with_its_four_parts(site, module):
    answer = module("active", environment="staging")
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, "environment_mismatch")
    assert {"expected", "found", "remedy"} <= set(answer)
    assert doors.undocumented("slipway_release", answer) == set()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (
            {"state": "deployed"},
            "value of state must be one of: staged, active, renewed, ready, confirmed, reverted, recovered",
        ),
        ({"release_id": None}, "state is active but all of the following are missing: release_id"),
        ({"retry": "perhaps"}, "argument 'retry' is of type str and we were unable to convert to bool"),
        ({"keep_count": "many"}, "argument 'keep_count' is of type str and we were unable to convert to int"),
        ({"description": "a shop"}, "argument 'description' is of type str"),
        ({"present": {"v1": 1}}, "argument 'present' is of type dict"),
        ({"realease": "v1"}, "module: realease. Supported parameters include"),
        ({"environment": None}, "missing required arguments: environment"),
    ],
)
def test_parameters_of_the_wrong_type_are_refused(site, module, parameters, said):
    before = snapshot(site.host.root)
    answer = module(**{"state": "active", **parameters})
    assert answer["failed"] is True
    assert said in answer["msg"]
    assert snapshot(site.host.root) == before


# the plugin, which judges the history that comes with an answer


@pytest.fixture
def plugin(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)

    def run(state, check=False, **options):
        given = site.options(state, release_id="v1", **options)
        return plugins.run_on_host("slipway_release", check=check, task_vars=site.variables(), **given)

    return run


def test_each_exchange_that_reads_or_writes_the_history_is_judged(site, plugin, pack):
    site.stage("v1")
    answers = [
        plugin("active", expected_current=""),
        plugin("confirmed", keep_count=5),
        plugin("recovered"),
        plugin("reverted"),
    ]
    assert [answer["witness"]["outcome"] for answer in answers] == ["first_seen", "intact", "intact", "intact"]
    for answer in answers:
        assert doors.undocumented("slipway_release", answer) == set()


def test_a_history_is_judged_under_the_name_of_the_host_that_answers(site, module, pack, monkeypatch):
    """A host of one wave renews the dead-man of another: that does not make it the other."""
    module("staged", pack=pack)
    module("active")
    delegated = {**site.variables("prod-2"), "delegate_to": "prod-1", "ansible_delegated_vars": {"prod-1": {}}}
    renewal = site.options("renewed", release_id="v1", confirm_within_seconds=60)
    answer = plugins.run_on_host("slipway_release", task_vars=delegated, **renewal)
    assert answer["outcome"] == "renewed"
    assert [host.name for host in ControllerState(site.directory / "witness").hosts()] == ["prod-1"]


def test_a_refusal_of_the_host_stays_what_it_is(site, plugin):
    answer = plugin("confirmed")
    assert (answer["failed"], answer["reason"], answer["active_release_id"]) == (True, "nothing_to_confirm", None)


def test_what_was_done_on_a_host_is_done_whatever_its_history_is_worth(site, plugin, pack):
    site.deploy("v1")
    assert plugin("recovered")["witness"]["outcome"] == "first_seen"
    site.build("v2", V2)
    site.deploy("v2", "run-2")
    site.places.history.write_bytes(site.places.history.read_bytes().splitlines(keepends=True)[0])
    answer = plugin("recovered")
    assert (answer.get("failed"), answer["witness"]["outcome"]) == (None, "truncated")


@pytest.mark.parametrize("check", [False, True])
def test_staging_sends_what_the_host_lacks(site, plugin, check):
    site.build("v1", V1)
    answer = plugin("staged", check=check, catalogue=str(site.catalogue.root), present=[], resident_digest=None)
    assert (answer["changed"], answer["release_id"]) == (True, "v1")
    assert answer["objects"] == len(site.objects("v1"))
    assert (site.places.releases / "v1").exists() is not check
    again = plugin("staged", check=check, catalogue=str(site.catalogue.root), present=site.inspect()["releases"])
    assert again["objects"] == (len(site.objects("v1")) if check else 0)


def test_long_work_is_told_where_no_program_reads(site, monkeypatch, capfd):
    """On standard error: a callback that prints JSON on standard output stays whole."""
    monkeypatch.setattr(handler, "Host", lambda: site.host)
    site.build("v1", V1)

    class Slow(plugins.load("slipway_release").ActionModule):
        def _stage(self, arguments, task_vars):
            self.progress.tick(time.time() + INTERVAL_SECONDS + 1)
            return {"changed": False}

    given = site.options("staged", release_id="v1", catalogue=str(site.catalogue.root))
    variables = {**site.variables(), "ansible_play_hosts": ["prod-1", "prod-2", "prod-3"]}
    plugins.run_class(Slow, "slipway_release", task_vars=variables, **given)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "staging: 0 of 3 hosts done; 1 at unpacking, verifying and checking\n")


def test_a_release_that_is_not_in_the_catalogue_is_refused_before_anything_is_sent(site, plugin):
    answer = plugin("staged", catalogue=str(site.catalogue.root))
    assert (answer["failed"], answer["changed"]) == (True, False)


# from an artifact store


SECRET = "hunter2"


@pytest.fixture
def mirror(site):
    made = stores.Mirror(site.catalogue.root)
    yield made
    made.close()


def test_the_plugin_sends_no_object_where_the_host_fetches(site, mirror, monkeypatch):
    site.build("v1", V1)
    monkeypatch.setattr(handler, "Host", lambda: site.host)
    answer = plugins.run_on_host(
        "slipway_release",
        task_vars=site.variables(),
        **site.options("staged", release_id="v1", catalogue=str(site.catalogue.root), source=mirror.url),
    )
    assert (answer["changed"], answer["missing"]) == (True, [])
    assert answer["fetched"]["objects"] == len(mirror.asked) == len(site.objects("v1"))


def test_credentials_are_in_no_answer(site, module, mirror, tmp_path):
    """Neither where they are used nor where they are refused; AnsibleModule keeps them out of the log by the same mark."""
    site.build("v1", V1)
    pack = site.pack("v1", ())
    given = {"username": "me", "password": SECRET}
    refused = module("staged", pack=pack, source=[mirror.url], source_credentials=given)
    assert refused["reason"] == "source_credentials_unprotected"
    authority = stores.Authority(tmp_path)
    secured = stores.Mirror(site.catalogue.root, authority.server())
    answer = module("staged", pack=pack, source=[secured.url], source_ca=authority.pem, source_credentials=given)
    secured.close()
    assert answer["fetched"]["objects"] == len(site.objects("v1"))
    assert SECRET not in f"{refused}{answer}"
    assert MODULES["slipway_release"].argument_spec["source_credentials"]["no_log"] is True
    kept = b"".join(path.read_bytes() for path in site.host.root.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept


# credentials


@pytest.fixture
def house(site, safehouse, plugin):
    """The host of the site, whose secrets are in a store; ``stage`` stages v1 with what group_vars declare."""
    safehouse.ask("slipway_secret_store", state="present")
    safehouse.ask("slipway_secret", state="present", name="database/main", fields=FIELDS)
    site.build("v1", V1)

    def stage(door=plugins.RESIDENT, check=False, **options):
        given = {
            "catalogue": str(site.catalogue.root), "present": [], "credentials": DECLARED,
            "resident_digest": resident.own_digest(), **options,
        }  # fmt: skip
        variables = {**safehouse.variables, **site.variables()}
        given = site.options("staged", release_id="v1", **given)
        return plugins.run_on_host("slipway_release", check=check, door=door, task_vars=variables, **given)

    return stage


DECLARED = {"database_password": {"secret": "database/main", "field": "password"}}
FIELDS = {"host": "db", "username": "shop", "password": "canary-of-the-shop", "database": "shop"}


@pytest.mark.parametrize("door", [plugins.RESIDENT, plugins.MODULE])
def test_the_host_gets_what_the_secrets_say_through_either_door(site, house, door):
    answer = house(door)
    assert answer["credentials"]["added"] == ["database_password"]
    assert doors.undocumented("slipway_release", answer) == set()
    assert "canary" not in str(answer)
    run = site.run()
    assert site.activate("v1", run=run, generation=answer["generation"])["outcome"] == "switched"
    assert site.gets() == {"slipway_database_password": "canary-of-the-shop"}
    about = site.inspect()["credentials"]["credentials"]["database_password"]
    assert (about["secret"], about["field"], about["provider"], about["version"]) == (
        "database/main",
        "password",
        "local",
        "1",
    )


def test_in_check_mode_names_are_told_and_nothing_is_kept(site, house):
    answer = house(check=True)
    assert (answer["generation"], answer["credentials"]["added"]) == ("unmade", ["database_password"])
    assert not site.places.credentials.exists()


def test_a_secret_that_is_not_there_stops_the_staging(site, house):
    answer = house(credentials={"pager": {"secret": "pager"}})
    assert (answer["failed"], answer["reason"]) == (True, "secret_unknown")
    assert not site.places.releases.exists()


def test_a_connection_that_writes_modules_into_files_gets_none(site, house, monkeypatch):
    monkeypatch.setattr("ansible.constants.DEFAULT_KEEP_REMOTE_FILES", True)
    monkeypatch.setattr("ansible.plugins.connection.ConnectionBase.is_pipelining_enabled", lambda *_: False)
    answer = house()
    assert (answer["failed"], answer["reason"]) == (True, "credentials_need_pipelining")


def test_what_is_shown_of_a_task_has_no_value(site, house, monkeypatch):
    """With -vvv Ansible shows the options that a host got."""
    monkeypatch.setattr("ansible.module_utils.slipway._action.display.verbosity", 4)
    shown = str(house())
    assert "database/main" in shown
    assert "canary" not in shown
    assert base64.b64encode(b"canary-of-the-shop").decode().strip("=")[:-2] not in shown
    assert "credential_values': 'VALUE_SPECIFIED" in shown or "credential_values': '****" in shown
