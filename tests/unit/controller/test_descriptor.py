# SPDX-License-Identifier: GPL-3.0-or-later
"""slipway.yml: what it may say, and that every mistake in it is refused."""

from __future__ import annotations

import os

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import descriptor
from ansible.module_utils.slipway.controller.descriptor import AuditPlan, Database, DeclaredTest, Descriptor
from ansible.module_utils.slipway.trust.lifecycle import Hooks, Migration
from ansible.module_utils.slipway.trust.promotion import Monitoring, Step


def test_a_descriptor_has_defaults():
    read = Descriptor.parse(
        b"application: a\nmembers: [{path: c.yml}, {path: d.toml, required: false}, {path: e.bin}]\n"
    )
    assert [(member.path, member.format, member.required) for member in read.members] == [
        ("c.yml", "yaml", True),
        ("d.toml", "toml", False),
        ("e.bin", "none", True),
    ]


WHOLE = b"""
application: a
version: '1.2'
members: [{path: c.yml, kind: configs}]
audit:
  tests:
    - {name: unit, argv: [python3, -m, unittest], timeout_seconds: 9, junit: build/junit.xml}
    - {name: lint, argv: [bin/lint, ""]}
  requirements: [requirements.txt, dev/requirements.txt]
  checklist: promotion.yml
validation: {argv: [bin/backtest, --dry-run], timeout_seconds: 20}
rollback_plan: {verification_steps: [{argv: [bin/a, --check]}, {argv: ["true"], timeout_seconds: 1}]}
monitoring:
  heightened_period_hours: 24
  alert_frequency_hours: 1
  alert_thresholds: {loss: 0.05, drop: "0.10", count: 1}
  review: ["http://127.0.0.1/", the logs]
database: {tool: alembic, directory: migrations/versions}
hooks: {before_switch: [{argv: [bin/a, --warm]}], after_confirm: [{argv: ["true"], timeout_seconds: 3600}]}
migrations:
  - {name: 0001_users, argv: [bin/migrate, up], reversible: true, back: [bin/migrate, down]}
  - {name: drop, argv: [bin/drop], timeout_seconds: 9, reversible: false}
"""


def test_a_descriptor_says_all_that_belongs_to_a_promotion():
    read = Descriptor.parse(WHOLE)
    assert read.members[0].kind == "configs"
    assert read.audit == AuditPlan(
        tests=(
            DeclaredTest("unit", ("python3", "-m", "unittest"), 9, "build/junit.xml"),
            DeclaredTest("lint", ("bin/lint", ""), 600),
        ),
        requirements=("requirements.txt", "dev/requirements.txt"),
        checklist="promotion.yml",
    )
    assert read.validation == Step(("bin/backtest", "--dry-run"), 20)
    assert read.verification_steps == (Step(("bin/a", "--check"), 60), Step(("true",), 1))
    thresholds = {"loss": "0.05", "drop": "0.10", "count": "1"}
    assert read.monitoring == Monitoring(24, 1, thresholds, ("http://127.0.0.1/", "the logs"))
    assert read.database == Database("alembic", "migrations/versions")
    assert read.hooks == Hooks(
        {"before_switch": (Step(("bin/a", "--warm")),), "after_confirm": (Step(("true",), 3600),)}
    )
    assert read.migrations == (
        Migration("0001_users", ("bin/migrate", "up"), 600, ("bin/migrate", "down")),
        Migration("drop", ("bin/drop",), 9),
    )


def test_a_descriptor_may_say_nothing_of_a_promotion():
    read = Descriptor.parse(b"application: a\n")
    assert read == Descriptor("a")
    assert read.monitoring.heightened_period_hours == 48


def test_validation_has_ten_minutes_unless_said_otherwise():
    assert Descriptor.parse(b"application: a\nvalidation: {argv: [x]}\n").validation.timeout_seconds == 600


BAD_DESCRIPTORS = {
    "no YAML": b"a: [",
    "a list": b"[application]",
    "nothing": b"",
    "no application": b"version: '1'",
    "an application with a slash": b"application: a/b",
    "an unknown key": b"application: a\nhook: {}",
    "hooks that are a list": b"application: a\nhooks: []",
    "hooks of an unknown moment": b"application: a\nhooks: {after_boot: []}",
    "a hook that is a shell line": b"application: a\nhooks: {after_switch: [make warm]}",
    "migrations that are a mapping": b"application: a\nmigrations: {}",
    "a migration that says not whether it is reversible": b"application: a\nmigrations: [{name: a, argv: [x]}]",
    "a migration twice": b"application: a\nmigrations: [{name: a, argv: [x], reversible: false}, {name: a, argv: [y], reversible: false}]",
    "a key twice": b"application: a\napplication: b",
    "a version that is a number": b"application: a\nversion: 1.10",
    "members that are a mapping": b"application: a\nmembers: {path: x}",
    "a member that is a string": b"application: a\nmembers: [config.json]",
    "a member without a path": b"application: a\nmembers: [{required: true}]",
    "a member with an unknown key": b"application: a\nmembers: [{path: x, mode: 1}]",
    "a member twice": b"application: a\nmembers: [{path: x}, {path: x}]",
    "a pattern that is a number": b"application: a\nexclude: [1]",
    "an empty pattern": b"application: a\nexclude: ['']",
    "exclude as a string": b"application: a\nexclude: '*.pyc'",
    "a key that is a number": b"application: a\n1: b",
    "keys of two types": b"application: a\n1: b\nx: c",
    "an audit that is a list": b"application: a\naudit: []",
    "an audit with an unknown key": b"application: a\naudit: {files: []}",
    "a test without a name": b"application: a\naudit: {tests: [{argv: [x]}]}",
    "a test with a path for a name": b"application: a\naudit: {tests: [{name: a/b, argv: [x]}]}",
    "a test without a command": b"application: a\naudit: {tests: [{name: unit}]}",
    "a test that is a shell line": b"application: a\naudit: {tests: [{name: unit, argv: make test}]}",
    "a test with no words": b"application: a\naudit: {tests: [{name: unit, argv: []}]}",
    "a test with an unknown key": b"application: a\naudit: {tests: [{name: unit, argv: [x], shell: true}]}",
    "a test without time": b"application: a\naudit: {tests: [{name: unit, argv: [x], timeout_seconds: 0}]}",
    "a test twice": b"application: a\naudit: {tests: [{name: u, argv: [x]}, {name: u, argv: [y]}]}",
    "a report out of the source": b"application: a\naudit: {tests: [{name: u, argv: [x], junit: ../j.xml}]}",
    "an absolute lock file": b"application: a\naudit: {requirements: [/etc/passwd]}",
    "a lock file that is a number": b"application: a\naudit: {requirements: [1]}",
    "a lock file twice": b"application: a\naudit: {requirements: [r.txt, r.txt]}",
    "lock files and an sbom": b"application: a\naudit: {requirements: [r.txt], sbom: s.json}",
    "a checklist out of the source": b"application: a\naudit: {checklist: a/../../c.yml}",
    "a validation without a command": b"application: a\nvalidation: {timeout_seconds: 1}",
    "a rollback plan without steps": b"application: a\nrollback_plan: {}",
    "a rollback plan with commands to restore": b"application: a\nrollback_plan: {verification_steps: [], restore: []}",
    "monitoring that is a list": b"application: a\nmonitoring: []",
    "a threshold that is no number": b"application: a\nmonitoring: {alert_thresholds: {loss: high}}",
    "a threshold that is infinite": b"application: a\nmonitoring: {alert_thresholds: {loss: .inf}}",
    "a threshold below zero": b"application: a\nmonitoring: {alert_thresholds: {loss: -0.1}}",
    "a threshold that nothing reaches": b"application: a\nmonitoring: {alert_thresholds: {loss: 5}}",
    "a threshold just above everything": b'application: a\nmonitoring: {alert_thresholds: {loss: "1.000001"}}',
    "a threshold that is true": b"application: a\nmonitoring: {alert_thresholds: {loss: true}}",
    "thresholds that are a list": b"application: a\nmonitoring: {alert_thresholds: []}",
    "a database of another tool": b"application: a\ndatabase: {tool: flyway, directory: m}",
    "a database without a directory": b"application: a\ndatabase: {tool: alembic}",
}


@pytest.mark.parametrize("data", BAD_DESCRIPTORS.values(), ids=BAD_DESCRIPTORS.keys())
def test_a_bad_descriptor_is_refused(data):
    with pytest.raises(Refusal) as refusal:
        Descriptor.parse(data)
    assert refusal.value.reason == "descriptor_invalid"
    assert "slipway.yml" in refusal.value.remedy
    assert refusal.value.remedy.endswith("examples/ has some that work.")


def test_a_mistake_of_each_key_is_named_at_once():
    data = b"version: 1.10\naudit: {tests: [x]}\nvalidation: []\nhook: 1\nhooks: 2\nmigrations: 3\n"
    with pytest.raises(Refusal) as refusal:
        Descriptor.parse(data)
    for name in ("application", "version", "audit.tests[0]", "validation", "hooks", "migrations"):
        assert f"slipway.yml.{name}" in refusal.value.expected
    assert "hook" in refusal.value.found


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("zero"),
        lambda path: path.write_bytes(b"#" * (1 << 20) + b"\napplication: hello"),
        os.mkfifo,
    ],
    ids=["missing", "a directory", "a link", "too large", "a fifo"],
)
def test_a_source_without_a_plain_descriptor_is_refused(tmp_path, make):
    make(tmp_path / "slipway.yml")
    with pytest.raises(Refusal, match="descriptor_invalid"):
        descriptor.read_descriptor(tmp_path)


def test_a_schema_that_is_none_is_refused():
    data = b"application: hello\nmembers: [{path: config.json, schema: {type: text}}]"
    with pytest.raises(Refusal, match="member_schema_invalid"):
        Descriptor.parse(data)


def test_a_file_that_the_descriptor_names_must_be_there(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "link").symlink_to("a")
    assert descriptor.read_declared(tmp_path, "a", limit=2) == b"12"
    for path, limit, reason in (("b", 2, "missing"), ("a", 1, "too_large"), ("link", 2, "not_regular")):
        with pytest.raises(Refusal, match=f"declared_file_{reason}"):
            descriptor.read_declared(tmp_path, path, limit=limit)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.pyc", "a.pyc", True),
        ("*.pyc", "deep/er/a.pyc", True),
        ("*.pyc", "a.pyc.txt", False),
        ("docs", "docs", True),
        ("docs", "src/docs", True),
        ("/docs", "docs", True),
        ("/docs", "src/docs", False),
        ("docs/*", "docs/a", True),
        ("docs/*", "docs/a/b", False),
        ("docs/**", "docs/a/b", True),
        ("**/tests", "a/b/tests", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a]", "a", False),
        ("a.b", "axb", False),
    ],
)
def test_exclude_patterns_match_names_or_whole_paths(pattern, path, matches):
    assert Descriptor("hello", exclude=(pattern,)).skips(path) is matches


@pytest.mark.parametrize(
    ("path", "ships"),
    [("a", True), ("build", False), ("build/x", False), ("a/build/x/y", False), ("a/builds", True), ("x.pyc", False)],
)
def test_nothing_below_what_is_excluded_is_shipped(path, ships):
    assert Descriptor("hello", exclude=("build", "*.pyc")).ships(path) is ships
