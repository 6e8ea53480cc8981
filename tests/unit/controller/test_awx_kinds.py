# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of kinds fits itself; tests/contract/test_awx_as_data.py compares it with the modules."""

from __future__ import annotations

import jsonschema
import pytest
from ansible.module_utils.slipway.controller.awx_kinds import BY_NAME, CREDENTIAL_TYPE_SCHEMAS, KINDS, SAID, Reference


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_a_kind_refers_to_is_made_before_it(kind):
    before = [each.name for each in KINDS[: KINDS.index(kind)]]
    referred = {name for type_ in kind.options.values() if isinstance(type_, Reference) for name in type_.kinds}
    assert referred <= set(before)
    assert set(kind.required) <= {*kind.options, *kind.ours}


def test_nodes_are_said_by_their_workflow():
    assert {each.name for each in KINDS} - {each.name for each in SAID} == {"workflow_job_template_nodes"}
    assert "nodes" in BY_NAME["workflow_job_templates"].ours


@pytest.mark.parametrize("part", CREDENTIAL_TYPE_SCHEMAS)
def test_the_schemas_are_some(part):
    jsonschema.Draft202012Validator.check_schema(CREDENTIAL_TYPE_SCHEMAS[part])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("inputs", {"fields": [{"id": "a b", "label": "x", "type": "string"}]}), ("inputs", {"fields": [{"id": "a", "label": "x"}]}), ("inputs", {}),
        ("injectors", {"env": {"ANSIBLE_CONFIG": "x"}}), ("injectors", {"file": {"other": "x"}}), ("injectors", {"env": {"A": 7}}),
        ("injectors", {"extra_vars": {"{{ x }}": "y"}}),
    ],
)  # fmt: skip
def test_what_awx_would_refuse_does_not_fit_them(part, value):
    assert list(jsonschema.Draft202012Validator(CREDENTIAL_TYPE_SCHEMAS[part]).iter_errors(value))
