# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks and migrations as they are signed. What is malformed is refused in test_manifest.py."""

from __future__ import annotations

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.fields import Fields
from ansible.module_utils.slipway.trust.lifecycle import (
    MOMENTS,
    Hooks,
    Migration,
    pending,
    require_programs,
    take_migrations,
)
from ansible.module_utils.slipway.trust.promotion import Step


def read(value):
    return Fields(value, "a release", "malformed")


def test_hooks_are_read_as_they_are_written():
    assert Hooks.take(read(signed.HOOKS.as_dict())) == signed.HOOKS
    assert Hooks.take(read({})) == Hooks() == Hooks.take(read({"after_switch": []}))
    assert Hooks().as_dict() == {}


def test_migrations_are_read_as_they_are_written():
    written = [migration.as_dict() for migration in signed.MIGRATIONS]
    assert take_migrations(read({"migrations": written})) == signed.MIGRATIONS
    assert [migration.reversible for migration in signed.MIGRATIONS] == [True, False]


def test_hooks_say_what_is_run_at_a_moment_and_how_long_that_may_take():
    hooks = Hooks({"after_switch": (Step(("a",), 5), Step(("b",), 7)), "after_confirm": (Step(("c",), 1),)})
    assert hooks.at("after_switch") == (Step(("a",), 5), Step(("b",), 7))
    assert hooks.at("before_switch") == ()
    assert (hooks.seconds("after_switch"), hooks.seconds(*MOMENTS), hooks.seconds()) == (12, 13, 0)


def test_what_stands_before_a_way_back_has_a_minute_in_all():
    steps = [{"argv": ["a"], "timeout_seconds": 59}, {"argv": ["b"], "timeout_seconds": 1}]
    assert Hooks.take(read({"before_rollback": steps})).seconds("before_rollback") == 60
    with pytest.raises(Refusal) as refusal:
        Hooks.take(read({"before_rollback": [*steps, {"argv": ["c"], "timeout_seconds": 1}]}))
    assert (refusal.value.expected, refusal.value.found) == (
        "a release.before_rollback: at most 60 seconds together", "'61 seconds'",
    )  # fmt: skip


def test_pending_are_the_migrations_that_the_release_before_does_not_name():
    first, second, third = (Migration(name, ("x",)) for name in "abc")
    assert pending((first, second, third), (second,)) == (first, third)
    assert pending((first,), (first, second)) == ()
    assert pending((first, second), ()) == (first, second)


def test_programs_of_the_release_are_executable_files_in_it():
    hooks = Hooks(
        {"after_switch": (Step(("bin/warm",)), Step(("bin/gone",)), Step(("python3", "x")), Step(("/bin/x",)))}
    )
    migrations = (Migration("up", ("./bin/warm",), 1, ("./bin/down",)), Migration("drop", ("data/drop",)))
    modes = {"bin/warm": 0o755, "data/drop": 0o644}
    with pytest.raises(Refusal) as refusal:
        require_programs(hooks, migrations, modes)
    assert refusal.value.reason == "program_missing"
    assert refusal.value.found == "after_switch: bin/gone; up: ./bin/down; drop: data/drop"
    require_programs(hooks, (), {**modes, "bin/gone": 0o755})
    with pytest.raises(Refusal, match="found after_switch: python3"):
        require_programs(hooks, (), {**modes, "bin/gone": 0o755, "python3": 0o755})
    at_the_top = Hooks({"after_switch": (Step(("./python3",)),)})
    require_programs(at_the_top, (), {"python3": 0o755})
