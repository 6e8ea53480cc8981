# SPDX-License-Identifier: GPL-3.0-or-later
"""Handing an exchange over to the process on standby (standby.py).

Every exchange starts with an interpreter that imports this, and as a rule nothing else: so it does with what the interpreter has built
in. ``socket`` alone, with what it imports, would take as long as the interpreter's own start.
"""

from __future__ import annotations

import _socket
import os
import sys

SOCKET = "/run/slipway-standby.socket"
PATIENCE_SECONDS = 5.0  # for a peer that says nothing: the process on standby may have to be started
STANDARD = (0, 1, 2)
READY = b"r"
BEGUN = b"b"
LENGTH = 4
INT_SIZE = 4  # of C's int, on everything that Linux runs on


def handed_over(path: str = SOCKET) -> int | None:
    """Let the process on standby do the exchange that this process was started for: its exit code, None where nothing was begun."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        return _handed_over(connection, path)
    finally:
        connection.close()


def _handed_over(connection: _socket.socket, path: str) -> int | None:
    connection.settimeout(PATIENCE_SECONDS)
    try:
        connection.connect(path)
        # Descriptors that wait in a queue would keep the answer's pipe open, whoever writes to it in the end.
        if connection.recv(1) != READY:
            return None
        state = b"\0".join([os.getcwdb(), *[name + b"=" + value for name, value in os.environb.items()]])
        _send(connection, len(state).to_bytes(LENGTH, "big") + state)
        if connection.recv(1) != BEGUN:
            return None
    except TimeoutError:
        return 1 if _begins_yet(connection) else None
    except OSError:
        return None
    connection.settimeout(None)
    try:
        code = connection.recv(1)
    except OSError:
        code = b""
    return code[0] if code else 1  # killed in the middle: whoever asked learns that there is no answer


def _send(connection: _socket.socket, message: bytes) -> None:
    """Send it with this process's standard input, output and error."""
    descriptors = b"".join(number.to_bytes(INT_SIZE, sys.byteorder) for number in STANDARD)
    sent = connection.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
    # After the last byte it may begin, and end: nothing more is sent that could fail for that.
    if sent < len(message):
        connection.sendall(message[sent:])


def _begins_yet(connection: _socket.socket) -> bool:
    """End a conversation with who did not answer in time. It says that it begins before it does, and from now on it cannot say so."""
    try:
        connection.shutdown(_socket.SHUT_RDWR)
        return connection.recv(1) == BEGUN
    except OSError:  # there was no conversation
        return False
