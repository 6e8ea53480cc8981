# SPDX-License-Identifier: GPL-3.0-or-later
"""The runbooks as data, and the how-tos that are followed like them: what stands in them is what the tests do.

A runbook is Markdown in which every fence is either `console` or plain content (yaml, ini, text). In a `console` block
`$ command` is typed on the controller, `prod-1# command` as root on that host, and any other line is output: it must be
said, in this order, where `…` stands for anything. Three comments, on lines of their own, are for the tests:

    <!-- given: hello v1.0.0 serves -->         what is made to be so before the next block
    <!-- not in the lab: the reason -->         the next block is not executed
    <!-- written: group_vars/prod/x.yml -->     the next block of content becomes that file of the controller's checkout

A command that is expected to fail is followed by `echo $?` and its code, as a reader would see it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

CONTROLLER = "$"
DIRECTORY = Path(__file__).resolve().parent.parent / "docs/runbooks"
HOWTOS = ("password-from-vault.md",)  # docs/howto: from nothing to something that can be seen
PROMPT = re.compile(r"(?:(\$)|([a-z]+-\d+)#) (.*)")
COMMENT = re.compile(r"<!-- (given|not in the lab|written): ?(.*?) ?-->", re.DOTALL)
CONTENT = ("yaml", "ini", "text")
LEAST_REASON = 20


class Malformed(ValueError):
    """A runbook that tests cannot execute, with its name and line."""


@dataclass(frozen=True)
class Command:
    """One command: `place` is CONTROLLER or a host; `output` are the lines that are shown below it."""

    place: str
    text: str
    output: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Given:
    """What is so from here on, without the reader's doing."""

    what: str
    where: str


@dataclass(frozen=True)
class Block:
    """Commands in order; with an `excuse` they are only read."""

    commands: tuple[Command, ...]
    excuse: str
    where: str


@dataclass(frozen=True)
class Written:
    """A file of the controller's checkout, as the reader writes it."""

    path: str
    content: str
    where: str


Step = Given | Block | Written


def names() -> list[str]:
    """The runbooks, without the index of them."""
    return sorted(path.name for path in DIRECTORY.glob("*.md") if path.name != "README.md")


def read(name: str) -> list[Step]:
    """The steps of a runbook of the repository, or of one of HOWTOS."""
    directory = DIRECTORY.with_name("howto") if name in HOWTOS else DIRECTORY
    return parse((directory / name).read_text(encoding="utf-8"), name)


def parse(text: str, name: str) -> list[Step]:
    """Return the steps in order; Malformed for whatever a reader could take for a command and a test would not."""
    steps: list[Step] = []
    excuse = written = ""
    for token in MarkdownIt().parse(text):
        where = f"{name}:{token.map[0] + 1}" if token.map else name
        if token.type == "code_block":
            raise Malformed(f"{where}: indented code; use a fence")
        if token.type == "html_block":
            kind, said = _comment(token.content, where)
            if excuse or written:
                raise Malformed(f"{where}: the comment above is not followed by a block")
            if kind == "given":
                steps.append(Given(said, where))
            elif kind == "written":
                written = said
            else:
                excuse = said
        elif token.type == "fence":
            if written and token.info in CONTENT:
                steps.append(Written(written, token.content, where))
            elif token.info == "console" and not written:
                steps.append(Block(_commands(token.content, name, token.map[0] + 2), excuse, where))
            elif token.info not in CONTENT or excuse:
                raise Malformed(f"{where}: a fence of {token.info or 'nothing'}; commands stand in console blocks")
            excuse = written = ""
    if excuse or written:
        raise Malformed(f"{name}: the last comment is not followed by a block")
    return steps


def _comment(text: str, where: str) -> tuple[str, str]:
    found = COMMENT.fullmatch(text.strip())
    if not found:
        raise Malformed(f"{where}: neither a given nor an excuse: {text.strip()}")
    said = " ".join(found[2].split())
    if not said or (found[1] == "not in the lab" and len(said) < LEAST_REASON):
        raise Malformed(f"{where}: a comment without a reason: {text.strip()}")
    return found[1], said


def _commands(content: str, name: str, first: int) -> tuple[Command, ...]:
    commands: list[Command] = []
    is_continued = False
    for number, line in enumerate(content.splitlines(), first):
        where = f"{name}:{number}"
        if is_continued:
            last = commands.pop()
            commands.append(Command(last.place, f"{last.text}\n{line}", (), last.where))
        elif prompt := PROMPT.fullmatch(line):
            commands.append(Command(prompt[1] or prompt[2], prompt[3], (), where))
        elif not commands:
            raise Malformed(f"{where}: output before any command: {line}")
        elif line.strip():
            last = commands.pop()
            commands.append(Command(last.place, last.text, (*last.output, line), last.where))
        is_continued = bool(commands) and not commands[-1].output and commands[-1].text.endswith("\\")
    if not commands:
        raise Malformed(f"{name}:{first}: a block without a command")
    return tuple(commands)


def unsaid(expected: tuple[str, ...], output: str) -> str | None:
    """Return the first expected part that the output does not say, in its order; None when all is said."""
    rest = " ".join(output.split())
    for line in expected:
        for part in line.split("…"):
            if wanted := " ".join(part.split()):
                _before, found, rest = rest.partition(wanted)
                if not found:
                    return wanted
    return None
