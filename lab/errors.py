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


class AddressTaken(LabError):
    """Podman still holds a host's address for a container that a killed run left half-made."""

    def __init__(self, address: str, container: str) -> None:
        super().__init__(
            expected=f"the address {address} to be free for {container}",
            found="podman holds it for a container that is gone",
            remedy="Run `make clean-lab`, then `make lab`.",
        )
        self.address = address
