# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done at an AWX, by what it has: compared with an AWX in this process."""

from __future__ import annotations

import dataclasses
import json
from urllib.parse import urlencode

import pytest
import yaml
from ansible.module_utils.slipway.controller import awx_data, awx_plan
from ansible.module_utils.slipway.controller.awx_plan import Existing, plan, refused, with_entered
from awx_stand_in import ENCRYPTED, StandIn
from test_awx_data import DATA

MARK = "[slipway: Shop]"


@pytest.fixture
def data():
    import repository

    raw = yaml.safe_load(DATA)
    raw["survey_questions"] = [{"variable": name, **each} for name, each in raw["survey_questions"].items()]
    return awx_data.judged(raw, root=repository.ROOT, settings={}, notifications=["Slack", "Pager"], secrets={})


@pytest.fixture
def there():
    """An AWX with some of it; ``read`` reads as a collection does, page by page."""
    server = StandIn(["deploy.yml"])
    organization = server.insert("organizations", name="Shop")["id"]
    other = server.insert("organizations", name="Other")["id"]
    server.insert("teams", name="Operators", organization=organization, description=f"Run {MARK}")
    server.insert("teams", name="Strangers", organization=organization, description="of somebody else")
    server.insert("teams", name="Former", organization=organization, description=f"Ran {MARK}")
    server.insert("teams", name="Former elsewhere", organization=other, description=f"Ran {MARK}")
    server.insert("inventories", name="prod", organization=organization)
    server.insert("inventories", name="old", organization=organization, description=MARK)
    yield server
    server.close()


def read(server):
    def rows(endpoint, only):
        found, path = [], f"/api/v2/{endpoint}/?{urlencode({**only, 'page_size': 2})}"
        while path:
            code, content = server.answer("GET", path, f"Bearer {server.token}", b"")
            assert code == 200, content
            found, path = [*found, *content["results"]], content["next"]
        return found

    return rows


def planned(data, server):
    return plan(data, awx_plan.existing(data, read(server)))


def test_an_empty_awx_is_read_and_everything_is_new(data):
    server = StandIn([])
    made = planned(data, server)
    server.close()
    assert [each.endpoint for each in made.steps if each.endpoint] == []
    assert [each.name for each in made.steps if each.ready] == []
    assert made.left_over == ()
    assert server.sent() == []
    assert json.loads(json.dumps([each.as_dict() for each in made.steps]))[0]["label"] == "organization Shop"


def test_what_is_there_is_found_and_is_ready_when_all_that_it_names_is_there(data, there):
    steps = {(each.kind, each.name): each for each in planned(data, there).steps}
    team = there.row("teams", "Operators")
    assert steps["teams", "Operators"].endpoint == f"teams/{team['id']}"
    assert steps["teams", "Operators"].ready
    assert not steps["inventory_sources", "prod"].ready
    assert not steps["grants", "Operators: execute job_templates"].ready


def test_of_a_credential_that_nothing_names_nobody_has_to_enter_anything(data, there):
    """It is made all the same, and what somebody entered there stays."""
    template = data.of("job_templates")[0]
    without = dataclasses.replace(template, refers=tuple(each for each in template.refers if each[1] != "vault"))
    objects = tuple(without if each is template else each for each in data.objects)
    grant = data.of("grants")[0]
    of_it = dataclasses.replace(grant, refers=(*grant.refers, ("credentials", "vault")))
    objects = tuple(of_it if each is grant else each for each in objects)
    for made, entered in (
        (data, {"role_id": {}, "secret_id": {}}),
        (dataclasses.replace(data, objects=objects), {}),
    ):
        steps = {(each.kind, each.name): each for each in planned(made, there).steps}
        vault = steps["credentials", "vault"]
        assert (vault.holder, vault.entered) == ("inputs", entered)
        assert steps["credentials", "machine"].entered == {"ssh_key_data": {}}


def test_a_secret_that_is_named_for_it_is_sent_all_the_same(data, there):
    template = data.of("job_templates")[0]
    vault = next(each for each in data.of("credentials") if each.name == "vault")
    changes = {
        id(template): dataclasses.replace(template, refers=()),
        id(vault): dataclasses.replace(vault, entered={"role_id": None, "secret_id": awx_data.SecretName("a")}),
    }
    objects = tuple(changes.get(id(each), each) for each in data.objects)
    steps = {each.name: each for each in planned(dataclasses.replace(data, objects=objects), there).steps}
    assert steps["vault"].entered == {"secret_id": {"secret": "a", "field": ""}}


def test_what_was_made_from_the_data_and_is_not_in_them_is_left_over(data, there):
    left_over = planned(data, there).left_over
    assert [(each.kind, each.name) for each in left_over] == [("inventories", "old"), ("teams", "Former")]
    assert left_over[1].options == {"state": "absent", "name": "Former", "organization": "Shop"}
    assert awx_plan.left_over_table(left_over).splitlines() == [
        "KIND         NAME",
        "inventories  old",
        "teams        Former",
    ]
    assert awx_plan.left_over_table([]) == ""


def test_a_role_that_the_data_do_not_give_is_left_over(data, there):
    team, inventory = there.row("teams", "Operators"), there.row("inventories", "prod")
    for name in ("Use", "Ad Hoc"):
        role = next(
            each
            for each in there.tables["roles"].values()
            if each["of"] == ["inventories", inventory["id"]] and each["name"] == name
        )
        there.granted[role["id"]].append(team["id"])
    left_over = [each for each in planned(data, there).left_over if each.kind == "grants"]
    assert [each.options for each in left_over] == [
        {"team": "Operators", "role": role, "inventories": ["prod"], "lookup_organization": "Shop", "state": "absent"}
        for role in ("adhoc", "use")
    ]


def test_nodes_of_ours_that_are_in_no_data_are_left_over(data, there):
    organization = there.row("organizations", "Shop")["id"]
    workflow = there.insert("workflow_job_templates", name="Release", organization=organization)["id"]
    other = there.insert("workflow_job_templates", name="Theirs", organization=organization)["id"]
    there.insert("workflow_job_template_nodes", identifier="old", workflow_job_template=workflow)
    there.insert("workflow_job_template_nodes", identifier="old", workflow_job_template=other)
    (node,) = [each for each in planned(data, there).left_over if each.kind == "workflow_job_template_nodes"]
    assert node.options == {
        "state": "absent",
        "identifier": "old",
        "workflow_job_template": "Release",
        "organization": "Shop",
    }


def test_a_schedule_is_found_by_what_it_starts(data, there):
    organization = there.row("organizations", "Shop")["id"]
    workflow = there.insert("workflow_job_templates", name="Release", organization=organization)["id"]
    there.insert(
        "schedules",
        name="old",
        unified_job_template=workflow,
        rrule="DTSTART:20260101T040000Z RRULE:FREQ=DAILY;INTERVAL=1",
        description=MARK,
    )
    (schedule,) = [each for each in planned(data, there).left_over if each.kind == "schedules"]
    assert schedule.options == {
        "state": "absent",
        "name": "old",
        "unified_job_template": "Release",
        "organization": "Shop",
    }


def test_one_of_the_same_name_in_another_place_is_another_one(data, there):
    inventory = there.row("inventories", "old")["id"]
    there.insert("inventory_sources", name="prod", inventory=inventory, source="scm", description=MARK)
    made = planned(data, there)
    (source,) = [each for each in made.steps if each.kind == "inventory_sources"]
    (left_over,) = [each for each in made.left_over if each.kind == "inventory_sources"]
    assert source.endpoint == ""
    assert left_over.options == {"state": "absent", "name": "prod", "organization": "Shop", "inventory": "old"}


def test_an_approval_and_its_links_are_two_runs_of_the_module(data):
    approval, links = [each for each in plan(data, Existing({})).steps if each.name.startswith("Release / ask")]
    assert approval.options["approval_node"] == {"name": "Yes or no", "timeout": 60}
    assert "success_nodes" not in approval.options
    assert (links.name, links.is_part, links.options["success_nodes"]) == ("Release / ask, its links", True, ["deploy"])
    assert "approval_node" not in links.options


CREDENTIAL = {"name": "machine", "inputs": {"username": "deploy"}}
FIELDS = {"ssh_key_data": {"secret": "ssh/deploy"}, "become_password": {}}


@pytest.mark.parametrize(
    ("current", "values", "inputs", "sent", "missing"),
    [
        pytest.param(None, {"ssh_key_data": "KEY"}, {"username": "deploy", "ssh_key_data": "KEY"}, False, ["become_password"], id="new, with a secret"),
        pytest.param(None, {}, {"username": "deploy"}, False, ["ssh_key_data", "become_password"], id="new, without"),
        pytest.param(
            {"username": "root", "ssh_key_data": ENCRYPTED, "become_method": "su"}, {},
            {"username": "deploy", "ssh_key_data": ENCRYPTED, "become_method": "su"}, False, ["become_password"], id="there: what was entered stays",
        ),
        pytest.param({"ssh_key_data": ENCRYPTED}, {"ssh_key_data": "KEY"}, {"username": "deploy", "ssh_key_data": "KEY"}, True, ["become_password"], id="sent again"),
    ],
)  # fmt: skip
def test_fields_of_no_data_come_from_a_secret_or_stay(current, values, inputs, sent, missing):
    made, left = with_entered(CREDENTIAL, "inputs", FIELDS, None if current is None else {"inputs": current}, values)
    assert (made, left) == ({**CREDENTIAL, "inputs": inputs, "update_secrets": sent}, missing)


CHANNEL = {"name": "Slack", "notification_configuration": {"channels": ["#r"]}}


@pytest.mark.parametrize(
    ("current", "values", "configuration", "missing"),
    [
        pytest.param(None, {}, {"channels": ["#r"], "token": ""}, ["token"], id="new: AWX wants the field"),
        pytest.param(None, {"token": "T"}, {"channels": ["#r"], "token": "T"}, [], id="new, with a secret"),
        pytest.param({"channels": ["#r"], "token": ENCRYPTED}, {}, None, [], id="the same: nothing is sent"),
        pytest.param(
            {"channels": ["#x"], "token": ENCRYPTED, "more": 1},
            {},
            {"channels": ["#r"], "token": ENCRYPTED, "more": 1},
            [],
            id="another channel",
        ),
        pytest.param({"channels": ["#r"], "token": ""}, {}, None, ["token"], id="still to be entered"),
    ],
)
def test_a_notification_template_is_sent_only_when_it_differs(current, values, configuration, missing):
    row = None if current is None else {"notification_configuration": current}
    made, left = with_entered(CHANNEL, "notification_configuration", {"token": {}}, row, values)
    assert (made.get("notification_configuration"), left, "update_secrets" in made) == (configuration, missing, False)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Invalid authentication credentials for /api/v2/teams/ (HTTP 401).", "awx_token_invalid"),
        ("You don't have permission to POST to /api/v2/teams/ (HTTP 403).", "awx_denied"),
        ("There was a network error of some kind trying to connect to your host (a): b.", "awx_unreachable"),
        ("There was an unknown error when trying to connect to a: URLError b", "awx_unreachable"),
        ("Could not establish a secure connection to your host (a): b.", "awx_unreachable"),
        (
            "The host sent back a server error (/api/v2/): 502. Please check the logs and try again later",
            "awx_unreachable",
        ),
        ("Unable to create team a: {'name': ['no']}", "awx_refused"),
    ],
)
def test_what_a_module_says_is_a_refusal_of_ours(said, reason):
    refusal = refused("team a", said, "https://awx.example")
    assert refusal.reason == reason
    assert "https://awx.example" in refusal.expected + refusal.found


def test_what_awx_says_of_a_secret_is_not_repeated():
    said = "Unable to create credential a: {'inputs': {'ssh_key_data': ['Invalid certificate or key: CANARY...']}}"
    refusal = refused("credential a", said, "https://awx.example", ["ssh_key_data", "password"])
    assert "CANARY" not in str(refusal)
    assert refusal.found.startswith("a refusal that names ssh_key_data;")
    assert "no field" in refused("credential a", "CANARY", "https://awx.example", ["password"]).found
