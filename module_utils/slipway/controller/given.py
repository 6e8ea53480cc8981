# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is given from outside, by ``-e``, a survey or a launch through AWX's API: values, and never anything that Ansible would evaluate.

Ansible takes an extra variable for a template and evaluates it when a task first uses it, on the controller: ``-e release_id='{{ lookup("pipe", "…") }}'``
runs a command there. So what is given is judged before a task uses it, as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..base.errors import Refusal, shown

MARKS: Final = ("{{", "{%", "{#")
HEADER: Final = "#jinja2:"  # at its begin, it makes a template of any text, with marks of its own choice
# What may begin a value: directories and files that Slipway itself names, as the Makefile does, and what a host is called.
PLACES: Final = frozenset(
    {"slipway_state_directory", "slipway_release_directory", "trust_policy_path", "ansible_host", "inventory_hostname"}
)
_HOST_KEYS = re.compile(r"StrictHostKeyChecking[\s=\"']*([\w-]*)", re.IGNORECASE)
_PLACED = re.compile(r"\{\{ (\w+) \}\}")


def marks_in(text: str) -> tuple[str, ...]:
    """What Ansible would take this text for a template by; nothing where it is a value."""
    header = (HEADER,) if text.lstrip().startswith(HEADER) else ()
    return header + tuple(mark for mark in MARKS if mark in text)


def require_plain(given: Mapping[str, Any]) -> None:
    """Refuse extra variables that Ansible would evaluate: Refusal ``variable_templated``, which names them and shows no value.

    ``given`` are the variables as they were written, untemplated, of any depth. A text may begin with a name of PLACES between braces.
    """
    found = sorted({f"{name} with {mark}" for name, value in given.items() for mark in _marks((name, value))})
    if found:
        raise Refusal(
            "variable_templated",
            expected="extra variables and answers of a survey that are values: nothing that is given to a run is evaluated",
            found=shown(", ".join(found), 400)[1:-1],
            remedy="Write the value itself. What is to be computed belongs into group_vars.",
        )


def require_no_private_variables(given: Mapping[str, Any]) -> None:
    """Extra variables win over what tasks register: one of a private name would put words into a host's mouth."""
    private = sorted(str(name) for name in given if str(name).startswith("__"))
    if private:
        raise Refusal(
            "variable_private",
            expected="extra variables that roles and playbooks offer; names that begin with __ are their own",
            found=", ".join(private),
            remedy="Leave it out; docs/reference/variables.md has all that can be given.",
        )


def require_not_left_out(host: str, limit: str | None) -> None:
    """Refuse a limit (``-l``) that has not this host alone: Refusal ``limit_unwanted``. Ansible would do nothing, and call that a success."""
    if limit and limit != host:
        raise Refusal(
            "limit_unwanted",
            expected=f"no limit (-l), since this runs on {host} alone",
            found=shown(limit),
            remedy="Leave it out; in AWX, empty the field Limit of the job template or of the launch.",
        )


def require_host_keys_checked(environment: Mapping[str, str]) -> None:
    """Refuse arguments for ssh in the environment (ANSIBLE_SSH_ARGS and its kin) that have it believe hosts whose key it does not know.

    Refusal ``host_keys_unchecked``, which names the variables. ANSIBLE_HOST_KEY_CHECKING is none of them: group_vars outrank it.
    """
    found = [
        f"{name} with StrictHostKeyChecking={match[1]}"
        for name, words in sorted(environment.items())
        if name.startswith("ANSIBLE_") and name.endswith("_ARGS")
        for match in _HOST_KEYS.finditer(words)
        if match[1].lower() not in ("yes", "true", "ask")
    ]
    if found:
        raise Refusal(
            "host_keys_unchecked",
            expected="arguments for ssh that leave the keys of hosts verified: whoever answers at a host's address could be anybody",
            found=shown(", ".join(found), 400)[1:-1],
            remedy="Take it out of the environment, in AWX out of Extra Environment Variables, and put the keys of the hosts into known_hosts.",
        )


def _marks(value: Any) -> Iterator[str]:
    """The marks of templates in a value of any depth, and in its keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _marks(key)
            yield from _marks(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _marks(inner)
    elif isinstance(value, str | bytes):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        placed = _PLACED.match(text)
        rest = text[placed.end() :] if placed and placed[1] in PLACES else text
        yield from marks_in(rest)
