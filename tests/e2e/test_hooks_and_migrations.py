# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks and migrations through the real playbooks: who runs what, in which order, and what a failure takes back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest
from deployments import ORDERS, USER, Application, Operator

PROD = ("prod-1", "prod-2", "prod-3")
SAY = f"""#!/bin/sh
echo "$SLIPWAY_MOMENT $1 of $SLIPWAY_RELEASE_ID as $(id -un)" >> {ORDERS}/diary
test ! -e {ORDERS}/fail-$1
"""
TASKS = f"""
- name: Write it down
  ansible.builtin.lineinfile:
    path: {ORDERS}/tasks
    line: "{{{{ slipway_moment }}}} {{{{ slipway_release_id }}}}"
    create: true
    mode: "0644"
- name: Fail where it was ordered
  ansible.builtin.command: test ! -e {ORDERS}/fail-task-{{{{ slipway_moment }}}}
  changed_when: false
"""
OF_TASKS = ("before_stage", "after_stage", "before_switch", "after_switch", "before_confirm", "after_confirm")
ON_THE_WAY = ("before_switch", "after_switch", "before_confirm", "after_confirm", "before_rollback", "after_rollback")


def descriptor(shop: Application, migrations: Mapping[str, bool]) -> str:
    """Hooks at every moment, and these migrations {name: whether it is reversible}."""
    hooks = {moment: [{"argv": ["bin/say", moment]}] for moment in ON_THE_WAY}
    listed = [
        {"name": name, "argv": ["bin/say", name], "reversible": reversible}
        | ({"back": ["bin/say", f"{name}-back"]} if reversible else {})
        for name, reversible in migrations.items()
    ]
    return json.dumps({"application": shop.name, "hooks": hooks, "migrations": listed})


class Story:
    """An application whose commands keep a diary on each host."""

    def __init__(self, shop: Application) -> None:
        self.shop = shop
        self.tasks = shop.operator.state / "tasks.yml"
        self.tasks.write_text(TASKS)

    def make(self, release_id: str, **migrations: bool) -> None:
        self.shop.make(release_id, {"bin/say": SAY, "slipway.yml": descriptor(self.shop, migrations)})

    def diary(self, host: str, name: str = "diary") -> list[str]:
        """What was written down since the last look."""
        path = f"{ORDERS}/{name}"
        return self.shop.fleet.inside(host, f"cat {path} 2>/dev/null; rm -f {path}", check=False).stdout.splitlines()

    def said(self, host: str) -> list[str]:
        """What commands were run for, in their order."""
        lines = self.diary(host)
        assert all(line.endswith(f"as {USER}") for line in lines)
        return [line.split()[1] for line in lines]

    def fail(self, host: str, word: str) -> None:
        self.shop.fleet.inside(host, f"touch {ORDERS}/fail-{word}")

    def with_tasks(self, *moments: str) -> tuple[str, str]:
        hooks = {moment: [str(self.tasks)] for moment in moments}
        return "-e", json.dumps({"release_hooks": hooks})


@pytest.fixture(scope="module")
def served(operator: Operator) -> Story:
    """An application that serves `one` on prod, which brought the migration m1; the first deployment is judged here."""
    story = Story(operator.application("hooks"))
    shop = story.shop
    story.make("one", m1=True)
    foreseen = shop.deploy("--check", "--diff", *story.with_tasks(*OF_TASKS), limit="prod")
    assert foreseen.says(
        "migration m1 on prod-1: bin/say m1", "hook before_switch: bin/say before_switch", "tasks of before_stage"
    )
    assert foreseen.says("runs migration m1: bin/say m1", "runs after_rollback: bin/say after_rollback")
    assert [story.said(host) for host in PROD] == [[], [], []]
    shop.deploy(*story.with_tasks(*OF_TASKS), limit="prod")
    assert story.said("prod-1") == ["before_switch", "m1", "after_switch", "before_confirm", "after_confirm"]
    for host in ("prod-2", "prod-3"):
        assert story.said(host) == ["before_switch", "after_switch", "before_confirm", "after_confirm"]
    for host in PROD:
        assert story.diary(host, "tasks") == [f"{moment} one" for moment in OF_TASKS]
        assert shop.is_settled(host)
    record = shop.history("prod-1")[0]
    assert [(each["name"], each["passed"]) for each in record["migrations"]] == [("m1", True)]
    assert all(each["passed"] for each in record["hooks"])
    return story


@pytest.fixture
def story(served: Story) -> Iterator[Story]:
    yield served
    served.shop.fleet.inside("prod-1", f"rm -f {ORDERS}/fail-*")
    for host in PROD:
        served.shop.fleet.inside(host, f"rm -f {ORDERS}/fail-* {ORDERS}/diary {ORDERS}/tasks")
    served.shop.relieve()


def test_a_task_file_that_is_not_there_is_named_before_anything_is_touched(story: Story) -> None:
    before = story.shop.snapshot(*PROD)
    done = story.shop.deploy(
        "-e", json.dumps({"release_hooks": {"after_confirm": ["hooks/gone.yml"]}}), limit="prod", code=2
    )
    assert done.says("hook_missing", "hooks/gone.yml")
    assert story.shop.snapshot(*PROD) == before


def test_a_hook_that_fails_in_the_second_wave_takes_all_back_and_the_migration_on_the_host_that_ran_it(
    story: Story,
) -> None:
    shop = story.shop
    story.make("two", m1=True, m2=True)
    story.fail("prod-2", "after_switch")
    done = shop.deploy(*story.with_tasks("before_rollback", "after_rollback"), limit="prod", code=2)
    assert done.row("prod-2").startswith("prod-2 reverted one hook_failed")
    assert done.row("prod-1").startswith("prod-1 reverted one")
    assert shop.actives(*PROD) == ["one"] * 3
    assert story.said("prod-1") == [
        "before_switch",
        "m2",
        "after_switch",
        "before_rollback",
        "m2-back",
        "after_rollback",
    ]
    assert story.said("prod-2") == ["before_switch", "after_switch", "before_rollback", "after_rollback"]
    assert story.diary("prod-1", "tasks") == ["before_rollback two", "after_rollback two"]
    for host in PROD:
        assert shop.is_settled(host)
    shop.forget("two")


def test_what_fails_before_the_confirmation_on_one_host_takes_all_back(story: Story) -> None:
    shop = story.shop
    story.make("three", m1=True)
    story.fail("prod-3", "before_confirm")
    done = shop.deploy(limit="prod", code=2)
    assert done.says("hook_failed: three on prod-3: before_confirm bin/say before_confirm: exit code 1")
    assert shop.actives(*PROD) == ["one"] * 3
    for host in PROD:
        assert done.row(host).startswith(f"{host} reverted one")
        assert "after_confirm" not in story.said(host)
        assert shop.is_settled(host)
    shop.forget("three")


def test_a_task_that_fails_before_the_switch_leaves_that_host_as_it_is(story: Story) -> None:
    shop = story.shop
    story.make("four", m1=True)
    story.fail("prod-1", "task-before_switch")
    done = shop.deploy(*story.with_tasks("before_switch"), limit="prod", code=2)
    assert done.row("prod-1").startswith("prod-1 untouched one hook_failed: before_switch: Fail where it was ordered")
    assert [story.said(host) for host in PROD] == [[], [], []]
    shop.forget("four")


def test_what_fails_after_the_confirmation_is_told_and_not_undone_and_a_rollback_takes_the_migration_back(
    story: Story,
) -> None:
    shop = story.shop
    story.make("five", m1=True, m5=True)
    story.fail("prod-2", "after_confirm")
    story.fail("prod-3", "task-after_confirm")
    done = shop.deploy(*story.with_tasks("after_confirm"), limit="prod", code=2)
    assert done.row("prod-1").startswith("prod-1 confirmed five")
    assert done.row("prod-2").startswith(
        "prod-2 unfinished five hook_failed: after_confirm bin/say after_confirm: exit code 1"
    )
    assert done.row("prod-3").startswith("prod-3 unfinished five hook_failed: after_confirm: Fail where it was ordered")
    assert shop.actives(*PROD) == ["five"] * 3
    assert shop.history("prod-2")[0]["reason"] == "hook_failed"
    for host in PROD:
        story.said(host)
    partly = shop.rollback("--check", limit="prod-1")
    assert partly.says("migrations m5 stay: prod-2, prod-3 may still need them")
    done = shop.rollback(*story.with_tasks("before_rollback", "after_rollback"), limit="prod")
    assert done.says("migrations m5 are taken back by the host that ran them")
    assert story.said("prod-1") == ["before_rollback", "m5-back", "after_rollback"]
    assert story.said("prod-2") == ["before_rollback", "after_rollback"]
    assert shop.actives(*PROD) == ["one"] * 3


def test_there_is_no_way_back_over_an_irreversible_migration_but_on_purpose(story: Story) -> None:
    shop = story.shop
    story.make("six", m1=True, m6=False)
    story.fail("prod-2", "after_switch")
    done = shop.deploy(limit="prod", code=2)
    assert done.says("There is no way back over m6")
    for host in PROD:
        assert done.row(host).startswith(f"{host} stuck six migration_irreversible")
    assert done.says("next: see docs/runbooks/irreversible-migration.md")
    assert shop.actives(*PROD) == ["six"] * 3
    for host in PROD:
        record = shop.history(host)[0]
        assert (record["status"], record["reason"], record["active_release_id"]) == (
            "failed",
            "migration_irreversible",
            "six",
        )
        assert shop.is_settled(host)
    refused = shop.rollback(limit="prod", code=2)
    assert refused.says(
        "migration_irreversible", "prod-1: m6 between one and six", "docs/runbooks/irreversible-migration.md"
    )
    assert shop.actives(*PROD) == ["six"] * 3
    shop.rollback("-e", "release_irreversible_accepted=true", limit="prod")
    assert shop.actives(*PROD) == ["one"] * 3
    assert shop.history("prod-1")[0]["irreversible_accepted"] == ["m6"]
    shop.forget("six")
