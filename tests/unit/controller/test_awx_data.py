# SPDX-License-Identifier: GPL-3.0-or-later
"""What awx/ may say: everything that is wrong with it is named at once, and nothing of it is sent."""

from __future__ import annotations

import copy
from contextlib import suppress

import pytest
import yaml
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import awx_data

DATA = """
organizations: [{name: Shop}]
credential_types:
  - name: Vault
    kind: cloud
    inputs: {fields: [{id: role_id, label: Role, type: string}, {id: secret_id, label: Secret, type: string, secret: true}]}
    injectors: {env: {VAULT_ROLE: "{{ role_id }}"}}
credentials:
  - {name: machine, credential_type: Machine, inputs: {username: deploy}, secrets: [ssh_key_data]}
  - {name: vault, credential_type: Vault}
execution_environments: [{name: runs, image: registry.example/runs}]
teams: [{name: Operators, description: Run}]
notification_templates:
  - {name: Slack, notification_type: slack, notification_configuration: {channels: ["#r"]}, secrets: [token], messages: {error: {message: "{{ url }}"}}}
  - {name: Pager, notification_type: pagerduty, notification_configuration: {subdomain: s, client_name: c}, secrets: [token, service_key]}
projects: [{name: repo, scm_type: git, scm_url: "https://git.example/repo.git"}]
inventories: [{name: prod}]
inventory_sources: [{name: prod, inventory: prod, source: scm, source_project: repo, source_path: inventories/prod/hosts}]
survey_questions:
  release_id: {question_name: Release, type: text, max: 128}
  release_retry: {question_name: Again, type: multiplechoice, choices: ["false", "true"], default: "false"}
  release_pause_seconds: {question_name: Hold, type: integer, min: 1, max: 60, default: 5}
job_templates:
  - name: Deploy
    playbook: deploy.yml
    project: repo
    inventory: prod
    execution_environment: runs
    credentials: [machine, vault]
    survey: [release_id, release_retry, {variable: release_pause_seconds, required: true}]
    notification_templates_error: [Slack, Pager]
workflow_job_templates:
  - name: Release
    survey: [release_id]
    nodes:
      - {identifier: ask, approval_node: {name: Yes or no, timeout: 60}, success_nodes: [deploy]}
      - {identifier: deploy, unified_job_template: Deploy}
schedules: [{name: daily, unified_job_template: Deploy, rrule: "DTSTART;TZID=UTC:20260101T040000 RRULE:FREQ=DAILY;INTERVAL=1"}]
grants: [{team: Operators, role: execute, job_templates: [Deploy], workflow_job_templates: [Release]}]
"""


@pytest.fixture
def judge(tmp_path):
    """A function that reads data, a text or a change of DATA, and judges them."""
    import repository

    def judged(change=None, *, settings=None, notifications=("Slack", "Pager"), secrets=None):
        data = yaml.safe_load(DATA)
        if change:
            change(data)
        (tmp_path / "all.yml").write_text(yaml.safe_dump(data))
        return awx_data.judged(
            awx_data.read(tmp_path), root=repository.ROOT, settings=settings or {}, notifications=notifications, secrets=secrets or {}
        )  # fmt: skip

    return judged


def test_objects_come_in_the_order_in_which_they_can_be_made(judge):
    data = judge()
    made = set()
    for each in data.objects:
        nodes = [reference for reference in each.refers if reference[0] == "workflow_job_template_nodes"]
        assert set(each.refers) <= made, each.name
        assert set(nodes) <= made
        made.add((each.kind.name, each.name))
    assert [each.name for each in data.of("workflow_job_template_nodes")] == ["Release / deploy", "Release / ask"]
    assert [each.name for each in data.of("grants")] == [
        "Operators: execute job_templates",
        "Operators: execute workflow_job_templates",
    ]


def test_what_the_data_do_not_say_is_said_all_the_same(judge):
    (template,) = judge().of("job_templates")
    assert template.options["ask_variables_on_launch"] is False
    assert (
        template.options["limit"],
        template.options["job_slice_count"],
        template.options["notification_templates_started"],
    ) == ("", 1, [])
    assert template.options["description"] == "[slipway: Shop]"
    assert template.options["organization"] == "Shop"


def test_what_other_organizations_may_have_too_is_named_with_ours(judge):
    (template,) = judge().of("job_templates")
    assert template.options["inventory"] == "prod++Shop"
    assert template.options["credentials"] == ["machine++Machine+ssh++Shop", "vault++Vault+cloud++Shop"]
    assert template.options["notification_templates_error"] == ["Slack++Shop", "Pager++Shop"]


def test_a_survey_is_as_awx_keeps_it(judge):
    (template,) = judge().of("job_templates")
    spec = template.options["survey_spec"]["spec"]
    assert [(each["variable"], each["type"], each["required"], each["min"], each["max"], each["default"], each["choices"]) for each in spec] == [
        ("release_id", "text", False, 0, 128, "", ""),
        ("release_retry", "multiplechoice", False, 0, 1024, "false", "false\ntrue"),
        ("release_pause_seconds", "integer", True, 1, 60, 5, ""),
    ]  # fmt: skip
    assert template.options["survey_enabled"] is True


def test_notification_templates_that_are_not_used_are_nowhere(judge):
    data = judge(notifications=["Pager"])
    assert [each.name for each in data.of("notification_templates")] == ["Pager"]
    assert data.of("job_templates")[0].options["notification_templates_error"] == ["Pager++Shop"]


def test_what_is_yours_is_laid_over_the_data(judge):
    data = judge(
        settings={
            "projects": {"repo": {"scm_url": "https://other.example/r.git"}},
            "credentials": {"machine": {"inputs": {"become_method": "sudo"}}},
        }
    )
    assert data.of("projects")[0].options["scm_url"] == "https://other.example/r.git"
    assert data.of("credentials")[0].options["inputs"] == {"username": "deploy", "become_method": "sudo"}


def test_a_field_that_is_in_no_data_has_a_secret_or_a_person(judge):
    secrets = {"credentials": {"machine": {"ssh_key_data": {"secret": "ssh/deploy", "field": "key"}}}}
    machine, vault = judge(secrets=secrets).of("credentials")
    assert machine.entered == {"ssh_key_data": awx_data.SecretName("ssh/deploy", "key")}
    assert vault.entered == {"role_id": None, "secret_id": None}


def change(path, value):
    """A function that sets, or with None removes, what is at a path of keys and indexes."""

    def changed(data):
        target = data
        for key in path[:-1]:
            target = target[key]
        if value is None:
            del target[path[-1]]
        else:
            target[path[-1]] = copy.deepcopy(value)

    return changed


TEMPLATE = ("job_templates", 0)
NODES = ("workflow_job_templates", 0, "nodes")
QUESTIONS = ("survey_questions",)
PASSWORD = "//bob:hunter2@"
MISTAKES = [
    (("organizations",), [{"name": "A"}, {"name": "B"}], "organizations: expected one, found 2"),
    (("teams", 0, "name"), "12", "teams: expected a name of one line, not a number"),
    (("teams", 0, "name"), "a++b", "without / and +"),
    (("teams", 0, "name"), 7, "teams: 7: name: expected text, found 7"),
    (("teams",), [{"name": "Operators"}, {"name": "Operators"}], "teams: Operators is there twice"),
    (("teams", 0, "colour"), "red", "teams: Operators: colour is no option, there are description, name"),
    ((*TEMPLATE, "playbook"), None, "job_templates: Deploy: playbook is missing"),
    ((*TEMPLATE, "playbook"), "playbooks/none.yml", "playbook: expected a file of this repository, found 'playbooks/none.yml'"),
    ((*TEMPLATE, "playbook"), "playbooks/../deploy.yml", "playbook: expected a file of this repository"),
    ((*TEMPLATE, "playbook"), "/etc/passwd", "playbook: expected a file of this repository"),
    (("inventory_sources", 0, "source_path"), "inventories/none/hosts", "source_path: expected a file of this repository"),
    ((*TEMPLATE, "project"), "other", "project: expected one of repo, found 'other'"),
    ((*TEMPLATE, "credentials"), ["none"], "credentials: expected one of machine, vault, found 'none'"),
    ((*TEMPLATE, "credentials"), "machine", "credentials: expected a list of texts, found 'machine'"),
    ((*TEMPLATE, "forks"), True, "forks: expected a whole number, found True"),
    ((*TEMPLATE, "forks"), -1, "forks: expected a whole number, found -1"),
    ((*TEMPLATE, "ask_limit_on_launch"), "yes", "ask_limit_on_launch: expected true or false"),
    ((*TEMPLATE, "job_type"), "deploy", "job_type: expected one of run, check"),
    ((*TEMPLATE, "limit"), "{{ hosts }}", "limit: expected a text that is no template"),
    ((*TEMPLATE, "extra_vars"), {"a": ["{% if 1 %}"]}, "extra_vars.a.0: expected a text that is no template"),
    ((*TEMPLATE, "extra_vars"), {"a": "#jinja2: trim_blocks: True\nx"}, "extra_vars.a: expected a text that is no template"),
    ((*TEMPLATE, "extra_vars"), {"db_password": "x"}, "extra_vars.db_password: a secret in clear"),
    ((*TEMPLATE, "extra_vars"), {"a": "-----BEGIN " + "PRIVATE KEY-----"}, "extra_vars.a: a secret in clear"),
    (("credentials", 0, "inputs"), {"ssh_key_data": "x"}, "credentials: machine: ssh_key_data: a secret in clear"),
    (("credentials", 1, "inputs"), {"secret_id": "x"}, "credentials: vault: secret_id: a secret in clear"),
    (("credentials", 1, "inputs"), {"unknown": "x"}, "inputs: expected fields of Vault, found 'unknown'"),
    (("credentials", 0, "inputs"), {"username": "$encrypted$"}, "inputs.username: a secret in clear"),
    (("projects", 0, "scm_url"), f"https:{PASSWORD}git.example/r.git", "projects: repo: scm_url: a secret in clear, before the @"),
    (("projects", 0, "scm_url"), f"https:{PASSWORD.replace('bob', '')}git.example/r.git", "scm_url: a secret in clear, before the @"),
    (("projects", 0, "scm_url"), f"git+ssh:{PASSWORD}git.example/{{{{ r }}}}.git", "scm_url: a secret in clear, before the @"),
    (("projects", 0, "scm_url"), "bob:hunter2@git.example:r.git", "scm_url: a secret in clear, before the @"),
    (("projects", 0, "description"), f"cloned from https:{PASSWORD}git.example", "description: a secret in clear, before the @"),
    (("execution_environments", 0, "image"), "bob:hunter2@registry.example/runs", "image: a secret in clear, before the @"),
    (("execution_environments", 0, "image"), f"docker:{PASSWORD}registry.example/runs", "image: a secret in clear, before the @"),
    (("notification_templates", 0, "notification_configuration", "url"), f"https:{PASSWORD}hooks.example", "notification_configuration.url: a secret in clear, before the @"),
    ((*TEMPLATE, "extra_vars"), {"release_source": f"https:{PASSWORD}store.example/a"}, "extra_vars.release_source: a secret in clear, before the @"),
    (("projects", 0, "credential"), "machine", "projects: repo: credential: expected one of the type Source Control, found 'machine'"),
    (("execution_environments", 0, "credential"), "vault", "credential: expected one of the type Container Registry, found 'vault'"),
    (("projects", 0, "credential"), "none", "projects: repo: credential: expected one of machine, vault, found 'none'"),
    (("credentials", 0, "credential_type"), "None", "credential_type: expected one of Vault, found 'None'"),
    (("credentials", 0, "secrets"), ["username"], "secrets: expected some of become_password, password, ssh_key_data, ssh_key_unlock"),
    (("notification_templates", 0, "notification_configuration", "token"), "x", "notification_templates: Slack: token: a secret in clear"),
    (("notification_templates", 0, "notification_type"), "irc", "notification_type: expected one of slack, pagerduty, email, webhook"),
    (("schedules", 0, "rrule"), "FREQ=DAILY", "rrule: expected such as DTSTART"),
    (("schedules", 0, "unified_job_template"), "None", "unified_job_template: expected one of Deploy, Release, found 'None'"),
    (("grants", 0, "role"), "root", "role: expected one of execute, use"),
    (("grants", 0), {"team": "Operators", "role": "execute"}, "expected what it is granted on, found nothing"),
    (NODES, [{"identifier": "a", "unified_job_template": "Deploy", "success_nodes": ["a"]}], "expected nodes that lead to an end, found a -> a"),
    (NODES, [{"identifier": "a", "unified_job_template": "Deploy", "success_nodes": ["b"]}], "a: expected links to nodes of it, found 'b'"),
    (NODES, [{"identifier": "a", "unified_job_template": "Deploy", "approval_node": {"name": "x"}}], "expected either unified_job_template or approval_node"),
    (NODES, [{"identifier": "a"}], "a: expected either unified_job_template or approval_node"),
    (NODES, [{"identifier": "a", "approval_node": {"name": "x", "colour": "y"}}], "approval_node: expected name, and maybe description and timeout"),
    (NODES, [{"identifier": "A b", "unified_job_template": "Deploy"}], "expected identifiers like"),
    (NODES, [{"identifier": "a", "unified_job_template": "Deploy"}] * 2, "expected identifiers like"),
    (NODES, [{"identifier": "a", "unified_job_template": "Deploy", "colour": "x"}], "a: colour is no option of a node"),
    (NODES, [7], "nodes: expected a list of mappings"),
    ((*TEMPLATE, "survey"), ["colour"], "survey: expected questions of survey_questions, each once, found 'colour'"),
    ((*TEMPLATE, "survey"), ["release_id", "release_id"], "each once, found 'release_id'"),
    ((*TEMPLATE, "survey"), "release_id", "survey: expected a list, found 'release_id'"),
    ((*QUESTIONS, "release_retry", "choices"), ["yes", "no"], "default: expected one of yes, no, found 'false'"),
    ((*QUESTIONS, "release_retry"), {"question_name": "R", "type": "multiplechoice", "choices": ["yes"]}, "expected the choices true and false, found yes"),
    ((*QUESTIONS, "release_retry"), {"question_name": "R", "type": "text", "max": 5}, "expected the type multiplechoice for a bool, found text"),
    ((*QUESTIONS, "release_pause_seconds"), {"question_name": "R", "type": "text", "max": 5}, "expected the type integer for a int, found text"),
    ((*QUESTIONS, "release_pause_seconds", "default"), 61, "default: expected a whole number from 1 to 60, found 61"),
    ((*QUESTIONS, "release_pause_seconds", "max"), None, "expected bounds, min and max"),
    ((*QUESTIONS, "release_id", "max"), 5000, "expected bounds, min and max, of a text at most 1024 characters"),
    ((*QUESTIONS, "release_id"), {"question_name": "R", "type": "textarea", "max": 262145}, "min and max, of a text at most 262144 characters"),
    ((*QUESTIONS, "release_id", "default"), "{{ lookup('pipe', 'id') }}", "default: expected a text that is no template"),
    ((*QUESTIONS, "release_id", "question_name"), "{{ x }}", "question_name: expected one line without braces"),
    ((*QUESTIONS, "release_id", "type"), "password", "type: expected text, textarea, integer, multiplechoice or multiselect, found 'password'"),
    ((*QUESTIONS, "release_id", "required"), "yes", "required: expected true or false"),
    ((*QUESTIONS, "release_id", "colour"), "x", "colour is no key of a question"),
    ((*QUESTIONS, "A-b"), {"question_name": "R", "type": "text", "max": 5}, "expected a variable like"),
    ((*QUESTIONS, "release_id", "choices"), ["x"], "expected choices with multiplechoice and multiselect, and only there"),
    ((*QUESTIONS, "secret_name"), {"question_name": "S", "type": "text", "max": 9}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "said"), [each for each in MISTAKES if each[2]], ids=lambda value: str(value)[:40]
)
def test_a_mistake_is_named(judge, path, value, said):
    with pytest.raises(Refusal) as caught:
        judge(change(path, value))
    assert caught.value.reason == "awx_data_invalid"
    assert said in caught.value.found
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("projects", 0, "scm_url"), "ssh://bob@dev.example:8443/r.git"),
        (("projects", 0, "scm_url"), "git@git.example:shop/r.git"),
        (("projects", 0, "scm_url"), "ssh://git@git.example:2222/r.git"),
        (("execution_environments", 0, "image"), f"registry.example:5000/shop/runs:1.4@sha256:{'a' * 64}"),
        (("execution_environments", 0, "image"), f"runs:1.4@sha256:{'a' * 64}"),
        (("notification_templates", 0, "notification_configuration", "sender"), "AWX: awx@mail.example"),
        (("projects", 0, "description"), "from 10:30 on: ask anna@mail.example, see https://wiki.example:8080/a@b"),
    ],
)
def test_an_address_without_a_password_is_taken(judge, path, value):
    assert judge(change(path, value)).objects


def places(value, path=()):
    """Every path in data, the deepest first."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))
    if path:
        yield path


@pytest.mark.parametrize("odd", [None, 7, [7], "x\0", {"a": [{}]}], ids=repr)
def test_whatever_stands_anywhere_is_taken_or_refused(odd):
    import repository

    for path in places(yaml.safe_load(DATA)):
        data = yaml.safe_load(DATA)
        target = data
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = odd
        questions = data["survey_questions"]
        if isinstance(questions, dict) and all(isinstance(each, dict) for each in questions.values()):
            data["survey_questions"] = [{"variable": name, **each} for name, each in questions.items()]
        if not all(
            isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in data.values()
        ):
            continue  # what read() refuses
        with suppress(Refusal):  # any other exception is a mistake of ours
            assert awx_data.judged(data, root=repository.ROOT, settings={}, notifications=[], secrets={}).objects


def test_a_survey_asks_for_nothing_that_its_playbook_does_not_take(judge):
    def asks(data):
        data["survey_questions"]["secret_name"] = {"question_name": "S", "type": "text", "max": 9}
        data["job_templates"][0]["survey"] = ["secret_name"]

    with pytest.raises(Refusal) as caught:
        judge(asks)
    assert (
        caught.value.found
        == "job_templates: Deploy: survey: secret_name: no role or module of the playbook takes it, nor does every playbook (PRODUCT in controller/awx_surveys.py)"
    )


def test_all_mistakes_are_named_at_once(judge):
    def both(data):
        data["teams"][0]["colour"] = "red"
        data["job_templates"][0]["project"] = "none"

    with pytest.raises(Refusal) as caught:
        judge(both)
    assert caught.value.found.count("; ") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"settings": {"projects": {"none": {}}}}, "awx_settings.projects: expected names of awx/, found 'none'"),
        ({"settings": {"projects": "none"}}, "awx_settings.projects: expected a mapping, found a value of type str"),
        ({"notifications": ["Fax"]}, "awx_notifications: expected names of Slack, Pager, found 'Fax'"),
        (
            {"secrets": {"credentials": {"machine": {"username": {"secret": "a"}}}}},
            "found 'credentials', 'machine', username",
        ),
        (
            {"secrets": {"credentials": {"none": {"ssh_key_data": {"secret": "a"}}}}},
            "found 'credentials', 'none', ssh_key_data",
        ),
        (
            {"secrets": {"credentials": {"machine": {"ssh_key_data": "the key"}}}},
            "machine: ssh_key_data: expected {secret: name, field: name}",
        ),
        ({"secrets": {"credentials": "x"}}, "awx_secrets: expected {kind: {name: {field: …}}}"),
        ({"secrets": ["x"]}, "awx_secrets: expected a mapping"),
    ],
)
def test_what_is_laid_over_is_judged_too(judge, options, said):
    with pytest.raises(Refusal) as caught:
        judge(**options)
    assert said in caught.value.found.replace("\\u2026", "…")
    assert "the key" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("teams: [{name: a}]\nteams: []\n", "is no YAML"),
        ("colours: []\n", "found 'colours'"),
        ("teams: 7\n", "teams: expected a list of mappings, found a value of type int"),
        ("teams: [7]\n", "teams: expected a list of mappings"),
        ("- 7\n", "expected a mapping, found a value of type list"),
        ("survey_questions: {a: 7}\n", "survey_questions.a: expected a mapping"),
        ("a: &a [*a]\n", "found 'a'"),
        ("{{ x }}\n", "is no YAML"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, text, said):
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(Refusal) as caught:
        awx_data.read(tmp_path)
    assert (caught.value.reason, said in caught.value.found) == ("awx_data_invalid", True), caught.value.found


def test_a_kind_stands_in_one_file(tmp_path):
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_text("teams: []\n")
    with pytest.raises(Refusal) as caught:
        awx_data.read(tmp_path)
    assert caught.value.found == "b.yml: teams stands in another file too"


@pytest.mark.parametrize("directory", ["none", "."])
def test_a_directory_without_data_is_refused(tmp_path, directory):
    with pytest.raises(Refusal) as caught:
        awx_data.read(tmp_path / directory)
    assert caught.value.reason == "awx_data_missing"
