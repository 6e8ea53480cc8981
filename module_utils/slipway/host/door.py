# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident door: one framed request on standard input, one framed answer on standard output, then the end.

A controller that finds no answer must know whether work may have begun. So a package of another version says so before any,
all input is read before the first byte of output (else both sides wait for each other), and no exit code means two things:
0 the request was answered; 1 it was not, and work may have begun. Never 2 or 127, by which a shell or an interpreter says that this was
never started, and never 255, by which ssh says that the host is gone.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..base import frame
from ..base.files import write_all
from ..trust.keys import load_cryptography
from .places import Host
from .standby import serve


def main(package: str) -> int:
    """Answer the request on standard input; ``package`` is the SHA-256 of the package that this is."""
    return exchange(sys.stdin.buffer, sys.stdout, package)


def stand_by(path: str, package: str) -> int:
    """Be the process on standby of the package at ``path``, on the socket that systemd opened (descriptor 3)."""
    from . import handler, options  # noqa: F401 - imported before the first exchange, for all of them

    load_cryptography()
    with socket.socket(fileno=3) as listener:
        return serve(Path(path), lambda: main(package), listener)


def exchange(source: IO[bytes], destination: IO[str], package: str, host: Host | None = None) -> int:
    """Answer the request in ``source``; returns the exit code.

    request: package (the digest that the controller has), module (its name), options (as its argument spec fills them in), check,
    attached (the name of the option that is to be the path of the attachment, or null).
    answer: {result: what the module would answer}, or {package: our digest} where it is not the controller's, and nothing was done.
    """
    try:
        request = frame.decoded_request(source.read(frame.REQUEST_LIMIT + 1))
    except ValueError as error:
        print(f"slipway: standard input has {error}", file=sys.stderr)
        return 1
    answer = {"package": package} if request.content["package"] != package else {"result": _result(request, host)}
    destination.write(frame.encoded_answer(request.id, answer))
    destination.flush()
    return 0


def _result(request: frame.Request, host: Host | None) -> dict[str, Any]:
    from .options import MODULES

    asked = request.content
    with _attachment(request) as attached:
        return MODULES[asked["module"]].answer({**asked["options"], **attached}, asked["check"], host)


@contextmanager
def _attachment(request: frame.Request) -> Iterator[dict[str, str]]:
    """The option that the attachment is for, as the path of a file in memory."""
    if request.content["attached"] is None:
        yield {}
        return
    descriptor = os.memfd_create("slipway-attachment")
    try:
        write_all(descriptor, request.attachment)
        yield {request.content["attached"]: f"/proc/self/fd/{descriptor}"}
    finally:
        os.close(descriptor)
