# SPDX-License-Identifier: GPL-3.0-or-later
"""Runbooks can be executed as they are written; what they are executed on is in tests/e2e/test_runbooks.py."""

from __future__ import annotations

import re

import pytest
import repository
import runbooks
from test_documents import GENERATE

ALL = [
    "alerts.md",
    "break-glass.md",
    "deploy.md",
    "irreversible-migration.md",
    "lost-controller.md",
    "lost-host.md",
    "lost-key.md",
    "maintenance.md",
    "restore-by-hand.md",
    "rollback.md",
    "stuck-host.md",
]
WELL = "<!-- given: hello serves -->\n\n```console\n$ one \\\n  two\nsaid …\nprod-1# three\n$ echo $?\n1\n```\n"


@pytest.mark.parametrize("name", runbooks.names())
def test_a_runbook_is_executable_and_says_when_what_is_needed_and_when_to_stop(name):
    steps = runbooks.read(name)
    blocks = [step for step in steps if isinstance(step, runbooks.Block)]
    assert len([block for block in blocks if not block.excuse]) > len([block for block in blocks if block.excuse])
    assert isinstance(steps[0], runbooks.Given) or name == "lost-controller.md"
    text = (runbooks.DIRECTORY / name).read_text(encoding="utf-8")
    for said in (r"\*\*When\.\*\*", r"\*\*You need\*\*", r"\*\*Stop\*\*", r"\*\*It worked\*\*|it worked|all is well"):
        assert re.search(said, text), said


def test_the_index_names_every_runbook_and_there_are_those_that_operators_need():
    index = (runbooks.DIRECTORY / "README.md").read_text(encoding="utf-8")
    assert runbooks.names() == ALL
    assert [name for name in ALL if f"({name})" not in index] == []


@pytest.mark.parametrize("name", runbooks.HOWTOS)
def test_a_howto_that_is_followed_can_be_and_is_named_by_the_page_that_it_is_about(name):
    blocks = [step for step in runbooks.read(name) if isinstance(step, runbooks.Block)]
    assert len([block for block in blocks if not block.excuse]) > len([block for block in blocks if block.excuse])
    assert f"]({name})" in (repository.ROOT / "docs/howto/secrets.md").read_text(encoding="utf-8")


def test_commands_keep_their_place_their_continuations_and_what_they_say():
    given, block = runbooks.parse(WELL, "x.md")
    assert given == runbooks.Given("hello serves", "x.md:1")
    assert [(each.place, each.text, each.output, each.where) for each in block.commands] == [
        ("$", "one \\\n  two", ("said …",), "x.md:4"),
        ("prod-1", "three", (), "x.md:7"),
        ("$", "echo $?", ("1",), "x.md:8"),
    ]


def test_a_file_that_the_reader_writes_is_content():
    text = "<!-- written: a/b.yml -->\n\n```yaml\na: b\n```\n"
    assert runbooks.parse(text, "x.md") == [runbooks.Written("a/b.yml", "a: b\n", "x.md:3")]


REFUSED = {
    "a file that is written by a command": "<!-- written: a -->\n\n```console\n$ true\n```",
    "a file without content": "<!-- written: a -->\n\ntext\n",
    "an excuse without a reason": "<!-- not in the lab: -->\n\n```console\n$ true\n```",
    "an excuse that is no reason": "<!-- not in the lab: no -->\n\n```console\n$ true\n```",
    "an excuse for nothing": "<!-- not in the lab: there is no such thing there -->\n\ntext\n",
    "an excuse for content": "<!-- not in the lab: there is no such thing there -->\n\n```yaml\na: b\n```",
    "two excuses for one block": "<!-- not in the lab: there is no such thing there -->\n\n" * 2
    + "```console\n$ true\n```",
    "a comment of another kind": "<!-- todo -->\n",
    "a given of nothing": "<!-- given: -->\n",
    "commands that look like no commands": "```bash\ntrue\n```",
    "a fence that says nothing": "```\n$ true\n```",
    "indented commands": "text\n\n    $ true\n",
    "a block without a command": "```console\n```",
    "output before any command": "```console\nsaid\n$ true\n```",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_test_would_pass_over_in_silence_is_refused(case):
    with pytest.raises(runbooks.Malformed, match=r"^x\.md"):
        runbooks.parse(REFUSED[case], "x.md")


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        ((), None),
        (("a  b", "c … e"), None),
        (("c", "a b"), "a b"),
        (("a b … b",), "b"),
        (("x",), "x"),
        (("…",), None),
    ],
)
def test_output_is_compared_in_order_and_without_the_breaks_of_lines(expected, missing):
    assert runbooks.unsaid(expected, "a\n   b c\td e\n") == missing


def test_every_reason_in_troubleshooting_is_one():
    text = (repository.ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    in_playbooks = {"fleet_mixed"}
    known = set(GENERATE.reasons()) | set(GENERATE.FAILURES) | in_playbooks
    outcomes = {"unreachable", "stuck", "unverified", "unwell"}
    first_cells = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    named = {code for cell in first_cells for code in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", cell)} - outcomes
    assert len(named) > 40
    assert named - known == set()


def test_troubleshooting_begins_with_what_everybody_asks():
    text = (repository.ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    first = text.partition("## Four that everybody asks about")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(.*?)\*\*", first, re.MULTILINE) == [
        "Encrypted secrets fail to load.",
        "Alerts are not sent.",
        "A rollback fails: nothing to go back to",
        "The heartbeat lapses and nobody escalates.",
    ]
