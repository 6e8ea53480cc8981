# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller and a host's resident package say to each other: one framed request, one framed answer.

A login shell may print anything around an answer, and a connection may break anywhere. So a request and its answer name their
length, an answer names its request too, and only what is whole counts.

request: ``slipway-request <id> <bytes of JSON> <bytes of attachment>`` LF, the JSON, the attachment (any bytes)
answer:  LF ``slipway-answer <id> <characters of JSON>`` LF, the JSON (ASCII, one line), LF
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

REQUEST_LIMIT: Final = 8 << 20  # an Ansible controller holds what it sends four times
_HEAD: Final = re.compile(rb"slipway-request ([0-9a-f]{32}) ([0-9]{1,9}) ([0-9]{1,9})\n")


@dataclass(frozen=True)
class Request:
    """``id`` is 32 hex digits, ``content`` plain data, ``attachment`` what is no text."""

    id: str
    content: Mapping[str, Any]
    attachment: bytes = b""


def encoded_request(request: Request) -> bytes:
    """The request as a host reads it; ValueError where it is longer than `REQUEST_LIMIT`."""
    text = json.dumps(request.content).encode("ascii")
    data = b"slipway-request %s %d %d\n" % (request.id.encode("ascii"), len(text), len(request.attachment))
    data += text + request.attachment
    if len(data) > REQUEST_LIMIT:
        raise ValueError(f"a request of {len(data)} bytes (at most {REQUEST_LIMIT})")
    return data


def decoded_request(data: bytes) -> Request:
    """The request that these bytes are, all of them; ValueError for anything else."""
    head = _HEAD.match(data)
    if head is None:
        raise ValueError("no request")
    end = head.end() + int(head[2])
    if len(data) != end + int(head[3]):
        raise ValueError(f"a request of {len(data)} bytes where {end + int(head[3])} were announced")
    content = json.loads(data[head.end() : end])
    if not isinstance(content, dict):
        raise ValueError("a request that is no object")
    return Request(head[1].decode("ascii"), content, data[end:])


def encoded_answer(request_id: str, answer: Mapping[str, Any]) -> str:
    """The answer to a request, as it is printed."""
    text = json.dumps(answer)
    return f"\nslipway-answer {request_id} {len(text)}\n{text}\n"


def decoded_answer(request_id: str, printed: str) -> dict[str, Any] | None:
    """The answer to the request in what was printed; None where there is none, or less than the whole of it."""
    head = re.search(rf"^slipway-answer {request_id} ([0-9]{{1,9}})\r?\n", printed, re.MULTILINE)
    if head is None:
        return None
    end = head.end() + int(head[1])
    if printed[end : end + 1] not in ("\r", "\n"):
        return None
    try:
        answer = json.loads(printed[head.end() : end])
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
