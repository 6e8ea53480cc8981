# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of the lab: what was expected, what was found and what to do."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot go on; nothing is left half-made that the next `up` would trip over."""

    def __init__(self, *, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; found {found}. {remedy}")
        self.expected = expected
        self.found = found
        self.remedy = remedy

    def report(self) -> str:
        """Return the three lines that an operator reads."""
        return f"lab: cannot go on\n  expected: {self.expected}\n  found:    {self.found}\n  do this:  {self.remedy}"
