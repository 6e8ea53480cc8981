# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which Slipway says no."""

from __future__ import annotations


def shown(value: object, limit: int = 120) -> str:
    """Return a foreign value as short ASCII text that can neither forge a log line nor drive a terminal."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def quoted(value: object) -> str:
    """Return a foreign value as Python writes it; one with a number that Python does not write is only described."""
    try:
        return repr(value)
    except ValueError:
        return f"{kind_of(value)} with too many digits"


def kind_of(value: object) -> str:
    """Return what a value is, without the value: "a value of type str", also where Ansible has made a class of its own of it."""
    name = next(each.__name__ for each in type(value).__mro__ if each.__module__ == "builtins")
    return "nothing" if value is None else f"a value of type {type(value).__name__ if name == 'object' else name}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class Refusal(Exception):
    """Something was asked for that must not be done, and nothing was changed.

    `reason` is a stable snake_case code for machines. The other three are sentences for people: what was `expected`,
    what was `found`, and the `remedy`.
    """

    def __init__(self, reason: str, *, expected: str, found: str, remedy: str) -> None:
        self.reason = reason
        self.expected = _printable(expected)
        self.found = _printable(found)
        self.remedy = _printable(remedy)
        super().__init__(reason)

    def __str__(self) -> str:
        if "\n" in self.found:  # a table, whose last cell no full stop may join
            return f"{self.reason}: expected {self.expected}; found:\n{self.found.strip()}\n{self.remedy}"
        return f"{self.reason}: expected {self.expected}; found {self.found}. {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.reason, self.expected, self.found, self.remedy))

    def as_dict(self) -> dict[str, str]:
        """Return {"reason", "expected", "found", "remedy"}."""
        return {"reason": self.reason, "expected": self.expected, "found": self.found, "remedy": self.remedy}


def _rebuild(reason: str, expected: str, found: str, remedy: str) -> Refusal:
    return Refusal(reason, expected=expected, found=found, remedy=remedy)
