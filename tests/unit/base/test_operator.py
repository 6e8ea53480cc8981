# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs this: the name that stands in records."""

from __future__ import annotations

import getpass

import pytest
from ansible.module_utils.slipway.base.operator import deployer


@pytest.mark.parametrize(("variables", "sudo", "expected"), [
    ({"awx_user_name": "ann"}, "bob", "ann"), ({"tower_user_name": "ann"}, None, "ann"), ({"awx_user_name": ""}, "bob", "bob"), ({}, "bob", "bob"),
    ({}, None, None),
])  # fmt: skip
def test_the_user_of_a_service_then_the_one_before_sudo_then_the_one_of_the_process(
    monkeypatch, variables, sudo, expected
):
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo:
        monkeypatch.setenv("SUDO_USER", sudo)
    assert deployer(variables) == (expected or getpass.getuser())
