# SPDX-License-Identifier: GPL-3.0-or-later
"""Values are taken as they are given, and nothing that Ansible would evaluate is."""

import pytest
from ansible._internal._templating._jinja_bits import is_possibly_template
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import given
from hypothesis import example
from hypothesis import given as drawn
from hypothesis import strategies as st

LOOKUP = "{{ lookup('pipe', 'id') }}"
HEADED = "#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ lookup('pipe', 'id') ]]"


@pytest.mark.parametrize(
    "value",
    [
        LOOKUP,
        "v1{{ 7 * 7 }}",
        "{% for x in [] %}{% endfor %}",
        "{# nothing to see #}",
        "{{",
        "line\n{{ x }}",
        "{{slipway_state_directory}}",
        "{{ slipway_state_directory }}/{{ x }}",
        "/tmp/{{ slipway_state_directory }}",
        "{{ slipway_state_directory | upper }}",
        "{{ vault_admin_token_path }}",
        LOOKUP.encode(),
        HEADED,
        f"\n {HEADED}",
        {"deep": [HEADED]},
        ["v1", LOOKUP],
        ("v1", LOOKUP),
        {"deep": {"deeper": [{"deepest": LOOKUP}]}},
        {LOOKUP: "a key"},
        {"a", LOOKUP},
    ],
)
def test_a_value_that_ansible_would_evaluate_is_refused_at_any_depth(value):
    with pytest.raises(Refusal) as refused:
        given.require_plain({"application": "shop", "release_id": value})
    assert refused.value.reason == "variable_templated"
    assert refused.value.found.startswith(("release_id with {", "release_id with #jinja2:"))
    assert "application" not in refused.value.found
    assert "lookup" not in str(refused.value)  # it may be a secret


@drawn(
    st.lists(
        st.sampled_from([*given.MARKS, given.HEADER, "}}", "%", "{", "#", " ", "\n", "x", "line_statement_prefix:'%'"])
    ).map("".join)
)
@example(HEADED)
def test_whatever_ansible_itself_may_take_for_a_template_has_marks(text):
    """The releases of ansible-core differ in this: the one that is locked is asked."""
    assert given.marks_in(text) or not is_possibly_template(text)


def test_a_name_that_is_a_template_is_refused_too():
    with pytest.raises(Refusal, match="variable_templated"):
        given.require_plain({LOOKUP: "x"})


def test_every_variable_that_is_one_is_named_once():
    with pytest.raises(Refusal) as refused:
        given.require_plain({"b": ["{{ 1 }}", "{{ 2 }}"], "a": "{% x %} {# y #}"})
    assert refused.value.found == "a with {#, a with {%, b with {{"


@pytest.mark.parametrize(
    "value",
    [
        "v1.2.3",
        "frozen until Monday: {staging} only, 100 % sure # not before",
        "{ { not one } }",
        '{"json": {"a": {}}}',
        "$(id) `id` ; rm -rf /",
        "}}",
        3,
        True,
        None,
        1.5,
        [],
        {},
        ["25%", 1, "100%"],
        "{{ slipway_state_directory }}/candidate",
        "{{ slipway_release_directory }}/audit_20261122_101010",
        "{{ trust_policy_path }}",
        {"smoke": [{"type": "tcp", "host": "{{ ansible_host }}"}]},
    ],
)
def test_a_value_is_taken_as_it_is(value):
    given.require_plain({"release_id": value})


def test_private_names_are_refused():
    with pytest.raises(Refusal) as refused:
        given.require_no_private_variables({"__release_plan": {}, "release_id": "v1"})
    assert (refused.value.reason, refused.value.found) == ("variable_private", "__release_plan")


@pytest.mark.parametrize(
    ("host", "limit"), [("localhost", None), ("localhost", ""), ("localhost", "localhost"), ("store-1", "store-1")]
)
def test_a_play_that_the_limit_has_runs(host, limit):
    given.require_not_left_out(host, limit)


@pytest.mark.parametrize("limit", ["prod", "localhost,prod", "!localhost", "@hosts"])
def test_a_play_that_it_leaves_out_is_refused(limit):
    with pytest.raises(Refusal) as refused:
        given.require_not_left_out("localhost", limit)
    assert (refused.value.reason, refused.value.found) == ("limit_unwanted", repr(limit))


@pytest.mark.parametrize(
    "name", ["ANSIBLE_SSH_ARGS", "ANSIBLE_SSH_COMMON_ARGS", "ANSIBLE_SSH_EXTRA_ARGS", "ANSIBLE_SFTP_EXTRA_ARGS"]
)
@pytest.mark.parametrize(
    "words",
    [
        "-o StrictHostKeyChecking=no",
        "-oStrictHostKeyChecking=off",
        "-C -o 'StrictHostKeyChecking no'",
        '-o stricthostkeychecking="accept-new"',
        "-o StrictHostKeyChecking=yes -o StrictHostKeyChecking=no",
        "-o StrictHostKeyChecking=",
    ],
)  # fmt: skip
def test_arguments_for_ssh_that_believe_anybody_are_refused(name, words):
    with pytest.raises(Refusal) as refused:
        given.require_host_keys_checked({"HOME": "/root", name: words})
    assert (refused.value.reason, refused.value.found.split(" ")[0]) == ("host_keys_unchecked", name)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o StrictHostKeyChecking=yes"},
        {"ANSIBLE_SSH_ARGS": "-o StrictHostKeyChecking=ask", "ANSIBLE_SSH_COMMON_ARGS": "-o UserKnownHostsFile=/k"},
        {"ANSIBLE_HOST_KEY_CHECKING": "False"},  # a variable of ours outranks it
        {"GIT_SSH_COMMAND": "ssh -o StrictHostKeyChecking=no"},
    ],
)
def test_others_are_taken(environment):
    given.require_host_keys_checked(environment)
