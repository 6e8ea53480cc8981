# SPDX-License-Identifier: GPL-3.0-or-later
"""What awx/ says fits the modules that bring it to AWX, the argument specs that its surveys ask for, and what operators are promised."""

from __future__ import annotations

import importlib
import re
from functools import cache

import pytest
import repository
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import awx_data, awx_plan
from ansible.module_utils.slipway.controller.awx_kinds import BUILT_IN_TYPES, KINDS, LINKS
from ansible.module_utils.slipway.controller.awx_surveys import variables_of
from ansible.module_utils.slipway.controller.rollout import Settings
from ansible.module_utils.slipway.secrets.secret_settings import SecretSettings
from ansible.module_utils.slipway.trust.authorization import MAX_AUTHORIZATION_BYTES
from awx_stand_in import find_collections

RAW = awx_data.read(repository.ROOT / "awx")
CHANNELS = [each["name"] for each in RAW["notification_templates"]]
DATA = awx_data.judged(RAW, root=repository.ROOT, settings={}, notifications=CHANNELS, secrets={})
STEPS = awx_plan.plan(DATA, awx_plan.Existing({})).steps
TEMPLATES = {each.name: each for each in DATA.of("job_templates")}
QUESTIONS = [
    (name, question) for name, each in TEMPLATES.items() for question in each.options["survey_spec"].get("spec", [])
]
# What a survey begins with otherwise than the playbook would: {variable: why}.
OWN_DEFAULTS = {
    "release_type": "a release is minor unless somebody says so",
}

SOME_WAVES = 3  # as in docs/howto/roll-out-in-waves.md


class Specified(Exception):
    """Raised in place of a module's connection: what it takes."""


@cache
def taken(module):
    """What a module of the collection hands to Ansible: its argument spec, and what goes together."""
    find_collections()
    code = importlib.import_module(f"ansible_collections.awx.awx.plugins.modules.{module}")

    def instead(argument_spec, **rules):
        raise Specified(argument_spec, rules)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "ControllerAPIModule", instead)
        with pytest.raises(Specified) as caught:
            code.main()
    return caught.value.args


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.module} {step.name}")
def test_every_option_is_one_that_the_module_takes(step):
    require_taken(step)


def require_taken(step):
    argument_spec, rules = taken(step.module)
    options = {**step.options, **({"update_secrets": False} if step.module == "credential" else {})}
    result = ArgumentSpecValidator(argument_spec, **rules).validate(options)
    assert result.error_messages == []
    assert {name: result.validated_parameters[name] for name in options} == options, "Ansible made another type of it"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_option_that_data_may_have_is_one_of_the_module(kind):
    argument_spec, _rules = taken(kind.module)
    renamed = {"workflow_job_templates": "workflows"} if kind.name == "grants" else {}
    assert {renamed.get(name, name) for name in {*kind.options, *kind.defaults}} <= set(argument_spec)
    for name, type_ in kind.options.items():
        choices = getattr(type_, "choices", None)
        known = argument_spec[renamed.get(name, name)].get("choices")
        assert not choices or not known or set(choices) <= set(known)


def test_a_wrong_option_is_found():
    argument_spec, rules = taken("team")
    validated = ArgumentSpecValidator(argument_spec, **rules).validate(
        {"name": "a", "organization": "b", "colour": "red"}
    )
    assert validated.error_messages


def test_the_data_hold_with_no_channel_at_all():
    made = awx_data.judged(RAW, root=repository.ROOT, settings={}, notifications=[], secrets={})
    assert made.of("notification_templates") == []
    assert {each.name for each in made.of("job_templates")} == set(TEMPLATES)


@pytest.mark.parametrize(
    "playbook",
    ["deploy.yml", "rollback.yml", *(f"playbooks/{name}.yml" for name in (
        "approval_add", "approvals", "check", "observe", "promote", "publish", "recover", "release", "rotate_secrets", "stage", "status", "verify",
    ))],
)  # fmt: skip
def test_what_operators_run_has_a_template(playbook):
    assert playbook in {each.options["playbook"] for each in TEMPLATES.values()}


@pytest.mark.parametrize(
    ("template", "question"), QUESTIONS, ids=lambda value: value if isinstance(value, str) else value["variable"]
)
def test_a_question_offers_what_the_argument_specs_offer(template, question):
    spec = variables_of(repository.ROOT, TEMPLATES[template].options["playbook"])[question["variable"]]
    type_, choices = spec.get("type", "str"), question["choices"].splitlines()
    if spec.get("choices"):
        assert set(choices) == set(spec["choices"])
    elif type_ == "bool":
        assert set(choices) == {"true", "false"}
    assert (type_ == "int") == (question["type"] == "integer")
    if question["variable"] not in OWN_DEFAULTS:
        ansible_default = spec.get("default", "")
        said = question["default"]
        assert said in ("", ansible_default, str(ansible_default).lower())


def test_what_begins_otherwise_says_why():
    asked = {question["variable"] for _template, question in QUESTIONS}
    assert set(OWN_DEFAULTS) <= asked
    assert all(OWN_DEFAULTS.values())


NUMBERS = sorted(
    {(each["variable"], each["min"], each["max"]) for _name, each in QUESTIONS if each["type"] == "integer"}
)


@pytest.mark.parametrize(("variable", "low", "high"), NUMBERS)
def test_the_bounds_of_a_number_are_those_of_a_rollout(variable, low, high):
    name = variable.removeprefix("release_")
    for value in (low, high):
        assert getattr(Settings.parse({"waves": ["1"], name: value}), name) == value
    with pytest.raises(Refusal) as caught:
        Settings.parse({"waves": ["1"], name: low - 1})
    assert variable in caught.value.found


def test_bounds_are_compared():
    assert {variable for variable, _low, _high in NUMBERS} == {"release_pause_seconds", "release_soak_seconds"}


WORK_SECONDS = 3600  # what a rollout takes beside its holds and soaks


def test_what_a_survey_lets_wait_ends_before_awx_ends_the_job():
    """A job that AWX kills while it holds takes nothing back: its hosts do, later, by themselves."""
    waves = repository.load("group_vars/all/release.yml")["release_waves"]
    found = []
    for name, each in TEMPLATES.items():
        asked = {question["variable"]: question for question in each.options["survey_spec"].get("spec", [])}
        if waits := {variable for variable in asked if variable in ("release_pause_seconds", "release_soak_seconds")}:
            found.append(name)
            assert waits == {"release_pause_seconds", "release_soak_seconds"}
            held = asked["release_pause_seconds"]["max"] * len(each.options["extra_vars"]["release_pause_after"])
            soaked = asked["release_soak_seconds"]["max"] * (max(len(waves), SOME_WAVES) - 1)
            assert held + soaked + WORK_SECONDS <= each.options["timeout"], name
    assert found == ["Deploy to prod"]


def test_nothing_is_asked_that_a_template_has_settled():
    settled = {(name, key) for name, each in TEMPLATES.items() for key in each.options["extra_vars"]}
    assert [each for each in settled if each in {(name, question["variable"]) for name, question in QUESTIONS}] == []


def test_extra_variables_are_those_that_playbooks_take():
    text = "\n".join(content for _name, content in repository.texts(".yml"))
    known = {name for each in TEMPLATES.values() for name in variables_of(repository.ROOT, each.options["playbook"])}
    for each in TEMPLATES.values():
        for name in each.options["extra_vars"]:
            assert name in known or f"\n{name}:" in text, name


def test_credentials_inject_what_slipway_reads():
    injected = {
        name
        for each in DATA.of("credential_types")
        for kind in ("env", "extra_vars")
        for name in each.options["injectors"].get(kind, {})
    }
    assert injected == {
        "SECRETS_KEY_PATH", "ansible_ssh_common_args", "release_builder_key", "release_trust_policy", "trust_policy_path", "vault_role_id_path",
        "vault_secret_id_path",
    }  # fmt: skip
    code = "\n".join(
        text for name, text in repository.texts(".py", ".yml", ".md") if not name.startswith(("awx/", "tests/"))
    )
    assert [name for name in injected if not name.startswith("ansible_") and name not in code] == []


def test_only_the_making_of_releases_has_the_builders_key():
    assert [
        name
        for name, each in TEMPLATES.items()
        if any("builder" in credential for credential in each.options["credentials"])
    ] == ["Make a release"]


HOW_TO = (repository.ROOT / "docs/howto/awx.md").read_text(encoding="utf-8")


def said_in_the_how_to(file, *, behind=":"):
    """What its YAML block for ``file`` has; ``behind`` is what the block says after that name."""
    (block,) = re.findall(rf"```yaml\n# {re.escape(file + behind)} .*\n((?:.*\n)*?)```", HOW_TO)
    return yaml.safe_load(block)


def test_what_the_how_to_writes_into_a_file_goes_on_what_stands_there():
    """Followed to the letter it is: these keys changed in the files of the repository, and the rest left."""
    there = repository.load("group_vars/all/awx.yml")
    said = said_in_the_how_to("group_vars/all/awx.yml")
    assert set(said) <= set(there)
    assert "leave the others" in HOW_TO
    made = awx_data.judged(
        RAW, root=repository.ROOT, settings=said["awx_settings"], notifications=said["awx_notifications"], secrets=said["awx_secrets"]
    )  # fmt: skip
    assert made.of("projects")[0].options["scm_url"] == said["awx_settings"]["projects"]["Slipway"]["scm_url"]


def test_the_secrets_that_the_how_to_names_are_where_make_awx_reads_them():
    """It runs on localhost, which has the variables of all hosts and of no environment."""
    there = repository.load("group_vars/all/secrets.yml")
    said = said_in_the_how_to("group_vars/all/secrets.yml")
    assert set(said) <= set(there)
    assert set(said["secrets_chain"]) <= set(said["secrets_providers"])
    named = said_in_the_how_to("group_vars/all/awx.yml")["awx_secrets"]
    secrets = {
        about["secret"] for objects in named.values() for fields in objects.values() for about in fields.values()
    }
    assert secrets <= set(said["secrets_declared"])
    settings = {name: value for name, value in said.items() if name != "secrets_providers"}
    providers = {"vault": {**said["secrets_providers"]["vault"], "role_id_path": "/r", "secret_id_path": "/s"}}
    assert [each.type for each in SecretSettings.parse({**settings, "secrets_providers": providers}).chain] == ["vault"]


def test_every_credential_type_has_a_credential_that_a_site_can_name():
    types = {each.name for each in DATA.of("credential_types")}
    assert {each.options["credential_type"] for each in DATA.of("credentials")} == types | set(BUILT_IN_TYPES)
    to_enter = "".join(line for line in HOW_TO.splitlines() if line.startswith("| Slipway "))
    assert [each.name for each in DATA.of("credentials") if each.name not in to_enter] == []
    store = ["Slipway machine", "Slipway trust", "Slipway secrets key"]
    settings = {"job_templates": {"Deploy to prod": {"credentials": store}}}
    made = awx_data.judged(RAW, root=repository.ROOT, settings=settings, notifications=[], secrets={})
    (deployment,) = [each for each in made.of("job_templates") if each.name == "Deploy to prod"]
    assert [each.partition("++")[0] for each in deployment.options["credentials"]] == store


PRIVATE = {
    ("projects", "Slipway"): "Slipway repository++Source Control+scm++Slipway",
    ("execution_environments", "Slipway"): "Slipway registry++Container Registry+registry++Slipway",
}


def test_a_private_repository_and_registry_have_a_credential_each_that_nothing_names_by_itself():
    named = {name for each in DATA.objects for kind, name in each.refers if kind == "credentials"}
    unused = {each.name for each in DATA.of("credentials")} - named
    assert unused == {"Slipway repository", "Slipway registry", "Slipway secrets key"}
    assert [each.name for each in STEPS if each.name in unused and each.entered] == []


def test_the_how_to_names_them_and_the_modules_take_it():
    said = said_in_the_how_to("group_vars/all/awx.yml", behind=", where both are private:")
    made = awx_data.judged(
        RAW, root=repository.ROOT, settings=said["awx_settings"], notifications=[], secrets=said["awx_secrets"]
    )
    steps = {(each.kind, each.name): each for each in awx_plan.plan(made, awx_plan.Existing({})).steps}
    for place, credential in PRIVATE.items():
        assert steps[place].options["credential"] == credential
        require_taken(steps[place])
    entered = {name: steps["credentials", name].entered for name in ("Slipway repository", "Slipway registry")}
    assert entered == {
        "Slipway repository": {"password": {"secret": "git/read", "field": "token"}},
        "Slipway registry": {"password": {}},
    }
    by_ssh = {"credentials": {"Slipway repository": {"secrets": ["ssh_key_data"]}}}
    made = awx_data.judged(RAW, root=repository.ROOT, settings=by_ssh, notifications=[], secrets={})
    assert next(each for each in made.of("credentials") if each.name == "Slipway repository").entered == {
        "ssh_key_data": None
    }


VOLUME = "/var/lib/slipway-controller"
# What the controller writes below the checkout or its home unless it is told otherwise; a job's own are thrown away with it.
KEPT = ("slipway_state_directory", "slipway_release_directory")


def test_what_a_job_writes_outlives_it():
    for name, each in TEMPLATES.items():
        variables = each.options["extra_vars"]
        places = {variables.get(kept) for kept in KEPT} | {
            value for key, value in variables.items() if key.endswith(("_path", "_directory"))
        }
        assert all(place and f"{place}/".startswith(f"{VOLUME}/") for place in places), name
    assert f'["{VOLUME}:{VOLUME}:z"]' in HOW_TO
    assert TEMPLATES["Publish releases"].options["extra_vars"]["release_store_path"] == f"{VOLUME}/store"
    assert "release_store_path" not in {question["variable"] for _name, question in QUESTIONS}


def test_whatever_runs_the_projects_code_runs_it_in_its_own_environment():
    """AWX asks a job's template and project, but of the update of an inventory neither: without one it takes an image of its own."""
    kinds = ("job_templates", "inventory_sources")
    assert {each.options["execution_environment"] for kind in kinds for each in DATA.of(kind)} == {"Slipway"}
    assert {each.options["default_environment"] for each in DATA.of("projects")} == {"Slipway"}


def test_every_job_that_asks_the_memory_can_log_in_where_its_password_is():
    """What the controller remembers may be in a database, whose password a provider has (slipway_state_password_secret)."""
    without = {
        name
        for name, each in TEMPLATES.items()
        if not any("deployer" in one or "rotator" in one for one in each.options["credentials"])
    }
    assert without == {
        "Make a release", "Publish releases", "Show the approvals", "Judge the approvals", "Take an approval in",
    }  # fmt: skip


def test_those_who_say_yes_are_kept_apart_from_those_who_start():
    starting = {team for team, role, name in GRANTS if role == "execute" and name in WORKFLOWS}
    answering = {team for team, role, _name in GRANTS if role == "approval"}
    assert (starting, answering) == ({"Builders", "Operators"}, {"Approvers"})
    assert "Nobody of Approvers should be in Builders or Operators" in HOW_TO


def test_the_how_to_counts_what_is_made_in_an_empty_awx():
    used = awx_data.judged(RAW, root=repository.ROOT, settings={}, notifications=["Slack"], secrets={})
    steps = awx_plan.plan(used, awx_plan.Existing({})).steps
    updated = sum(step.kind == "grants" or step.is_part for step in steps)
    assert f"{len(steps) - updated} created, {updated} updated, 0 removed" in HOW_TO


def nodes_of(workflow):
    return {
        each.options["identifier"]: each
        for each in DATA.of("workflow_job_template_nodes")
        if each.options["workflow_job_template"] == workflow
    }


WORKFLOWS = {each.name for each in DATA.of("workflow_job_templates")}
NODES = nodes_of("Release to prod")


def reached(start, *links):
    found, left = set(), [start]
    while left:
        each = left.pop()
        for link in links or ("success_nodes", "failure_nodes", "always_nodes"):
            left += [name for name in NODES[each].options[link] if name not in found]
            found |= set(NODES[each].options[link])
    return found


def test_nothing_comes_to_prod_without_staging_and_a_yes():
    first = set(NODES) - {name for each in NODES for name in reached(each)}
    assert first == {"release"}
    prod = {name for name, node in NODES.items() if "prod" in str(node.options.get("unified_job_template"))}
    assert prod == {"prod-stage", "prod", "prod-back"}
    assert not prod & (reached("release") - reached("approve-prod") - {"approve-prod"})
    assert "approval_node" in NODES["approve-prod"].options
    assert NODES["staging"].options["success_nodes"] == ["approvals"]
    assert NODES["approvals"].options["success_nodes"] == ["approve-prod"]


def test_prod_is_not_touched_before_its_approvals_are_judged():
    """The signatures come in while the question waits. Without them a yes changes nothing, and prod has nothing to take back."""
    judge = TEMPLATES["Judge the approvals"].options
    assert (judge["playbook"], judge["extra_vars"]["approvals_required_in"]) == ("playbooks/approvals.yml", "prod")
    assert judge["job_type"] == "run"
    assert NODES["approved"].options["unified_job_template"] == "Judge the approvals"
    assert [name for name, node in NODES.items() for link in LINKS if "prod-stage" in node.options[link]] == [
        "approved"
    ]
    assert NODES["approve-prod"].options["success_nodes"] == ["approved"]
    assert [NODES["approved"].options[link] for link in LINKS] == [["prod-stage"], [], []]
    assert "approvals_required_in" not in TEMPLATES["Show the approvals"].options["extra_vars"]


def test_those_who_say_yes_see_the_approvals_and_take_them_in():
    shown = ("Show the approvals", "Take an approval in")
    assert {(team, role) for team, role, name in GRANTS if name == "Take an approval in" and role == "execute"} == {
        ("Approvers", "execute")
    }
    assert {("Approvers", "execute", name) for name in shown} <= GRANTS
    assert "approvals_required_in" not in {question["variable"] for _name, question in QUESTIONS}


def test_an_approval_fits_into_the_question_that_takes_it_in():
    (question,) = TEMPLATES["Take an approval in"].options["survey_spec"]["spec"]
    assert (question["type"], question["required"], question["max"]) == ("textarea", True, MAX_AUTHORIZATION_BYTES)


def test_a_release_that_is_made_already_goes_the_same_way():
    """A pipeline makes and publishes its release itself, with a key that is nowhere else, and launches this."""
    assert {"Release to prod", "Bring to prod"} == WORKFLOWS
    made = {name: each.options for name, each in nodes_of("Bring to prod").items()}
    whole = {name: each.options | {"workflow_job_template": "Bring to prod"} for name, each in NODES.items()}
    assert made == {name: options for name, options in whole.items() if name != "release"}
    assert "Make a release" not in {options.get("unified_job_template") for options in made.values()}


def test_a_deployment_that_fails_is_taken_back_by_what_cannot_take_back_anything_else():
    for deployed, back in (("staging", "staging-back"), ("prod", "prod-back")):
        assert NODES[deployed].options["failure_nodes"] == [back]
        template = TEMPLATES[NODES[back].options["unified_job_template"]]
        assert (template.options["playbook"], template.options["extra_vars"]["release_undone"]) == (
            "rollback.yml",
            True,
        )


def test_nobody_is_asked_while_a_job_runs_that_the_answer_is_about():
    """AWX takes no question back: one that is open when its job has ended is asked about nothing."""
    parents = {
        name: [(parent, link) for parent, node in NODES.items() for link in LINKS if name in node.options[link]]
        for name in NODES
    }
    asked = [name for name, node in NODES.items() if "approval_node" in node.options]
    assert asked == ["approve-prod"]
    for name in asked:
        assert [link for _parent, link in parents[name]] == ["success_nodes"]
        ((parent, link),) = parents[name]
        assert NODES[parent].options[link] == [name], "something else begins beside it"
        assert NODES[name].options["approval_node"]["timeout"] > 0


def test_the_canary_is_decided_on_by_those_who_approve_and_by_no_node():
    decided = {name for name, each in TEMPLATES.items() if each.options["playbook"] == "playbooks/promote.yml"}
    assert decided == {"Promote the rollout", "Abort the rollout"}
    for name in decided:
        options = TEMPLATES[name].options
        asked = {each["variable"]: each["required"] for each in options["survey_spec"]["spec"]}
        assert asked == dict.fromkeys(("application", "release_id", "run_id", "slipway_launch_key"), False)
        assert options["extra_vars"]["release_environment"] == "prod"
    assert not decided & {node.options.get("unified_job_template") for node in NODES.values()}
    assert {("Approvers", "execute", name) for name in decided} <= GRANTS


def test_only_staging_ahead_is_sliced():
    assert {name for name, each in TEMPLATES.items() if each.options["job_slice_count"] > 1} == {"Stage on prod"}


GRANTS = {
    (each.options["team"], each.options["role"], name)
    for each in DATA.of("grants")
    for value in each.options.values()
    if isinstance(value, list)
    for name in value
}


def test_nobody_but_the_workflow_deploys_to_prod():
    assert {role for _team, role, name in GRANTS if name in ("Deploy to prod", "Undo on prod")} == {"read"}
    assert {(team, role) for team, role, name in GRANTS if name in WORKFLOWS} == {
        ("Builders", "execute"),
        ("Operators", "execute"),
        ("Approvers", "approval"),
    }
    assert {name for team, role, name in GRANTS if (team, role) == ("Approvers", "approval")} == WORKFLOWS
    assert {team for team, role, name in GRANTS if role == "approval"} == {"Approvers"}
    assert {role for team, role, name in GRANTS if team == "Auditors"} == {"auditor"}
    assert ("Operators", "execute", "Roll back prod") in GRANTS


def _may_look_at(team, template):
    """AWX shows a job to who may read its template; whoever may start it may. A role on a workflow gives nothing on its nodes."""
    return bool({(team, "execute", template), (team, "read", template)} & GRANTS)


def test_who_starts_answers_or_decides_may_look_at_the_jobs_that_it_is_about():
    concerned = {
        team for team, _role, name in GRANTS if name in {*WORKFLOWS, "Promote the rollout", "Abort the rollout"}
    }
    assert concerned == {"Builders", "Approvers", "Operators"}
    nodes = {node.options["unified_job_template"] for node in NODES.values() if "unified_job_template" in node.options}
    hidden = [(team, name) for team in sorted(concerned) for name in sorted(nodes) if not _may_look_at(team, name)]
    assert hidden == []


def test_those_who_look_at_the_deployment_may_look_at_what_was_decided_about_it():
    deciding = ("Promote the rollout", "Abort the rollout")
    assert [
        (team, name)
        for team in ("Builders", "Approvers", "Operators")
        for name in deciding
        if not _may_look_at(team, name)
    ] == []
