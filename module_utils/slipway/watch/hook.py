# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook of a check that escalates: a command from the host's own settings, run beside the agent and not by it.

The agent can do nothing but look. What is to be done on the third failure (restart a service, call a pager) needs more, so systemd starts a
service of its own for it when the agent says, at ``slipway-escalation.socket``, for which check. What that runs is in settings that
only root writes; the agent names the check and nothing else. It has 30 seconds.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..host.places import Host
from .check import Settings

SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 40.0
# Half as many as systemd lets in at the socket (slipway-escalation.socket): the services of those before may still be ending.
AT_A_TIME: Final = 4
MESSAGE_LIMIT: Final = 4096
SUCCESS, FAILURE, TIMED_OUT, NOT_RUN = "success", "failure", "timed_out", "not_run"
OUTCOMES: Final = (SUCCESS, FAILURE, TIMED_OUT, NOT_RUN)
# Of one whose end nobody heard, since the agent or the host was stopped meanwhile.
CUT_OFF: Final = "cut_off"


@dataclass(frozen=True)
class Ran:
    """How a hook ended; ``detail`` is for people and has nothing of what the command printed."""

    outcome: str
    detail: str


def ask(path: Path, key: str, traceparent: str = "") -> Ran:
    """Have the hook of the check ``key`` run; whatever goes wrong on the way is an outcome too."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps({"check": key, "traceparent": traceparent}).encode() + b"\n")
            answer = b""
            while (
                not answer.endswith(b"\n") and len(answer) < MESSAGE_LIMIT and (more := connection.recv(MESSAGE_LIMIT))
            ):
                answer += more
        said = json.loads(answer)
        return (
            Ran(said["outcome"], said["detail"])
            if said["outcome"] in OUTCOMES
            else Ran(NOT_RUN, "an answer of another kind")
        )
    except TimeoutError:
        return Ran(TIMED_OUT, f"no answer within {PATIENCE_SECONDS:g} s")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Ran(NOT_RUN, f"{path}: {error}")


def answer(request: bytes, host: Host) -> bytes:
    """Run the hook that a request names; the answer to send back."""
    try:
        asked = json.loads(request)
        ran = run(Settings.load(host), str(asked["check"]), host, {"TRACEPARENT": str(asked.get("traceparent", ""))})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        ran = Ran(NOT_RUN, "a request of another kind")
    except (Refusal, OSError) as error:
        ran = Ran(NOT_RUN, str(error))
    return json.dumps({"outcome": ran.outcome, "detail": ran.detail}).encode() + b"\n"


def run(settings: Settings, key: str, host: Host, environment: Mapping[str, Any]) -> Ran:
    """Run the hook of a check, as the words that the settings have, without a shell."""
    check = next((each for each in settings.checks if each.key == key), None)
    if check is None or not check.escalation:
        return Ran(NOT_RUN, f"{shown(key)} has no hook")
    variables = {
        "SLIPWAY_CHECK": check.name, "SLIPWAY_APPLICATION": check.application, "SLIPWAY_RULE": check.rule,
        **{name: value for name, value in environment.items() if value},
    }  # fmt: skip
    finished = host.run(check.escalation, timeout_seconds=SECONDS, environment=variables)
    what = check.escalation[0]
    if finished.exit_code is None:
        return Ran(TIMED_OUT, f"{what} was stopped after {SECONDS:g} s")
    if finished.succeeded:
        return Ran(SUCCESS, f"{what} succeeded")
    return Ran(FAILURE, f"{what} ended with exit code {finished.exit_code}")
