# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident package on standby: one process that has imported everything, and forks for each exchange.

Imports are most of what a short exchange costs. systemd starts this process when the first exchange comes
(``slipway-standby.socket``), and it ends by itself when none has come for a while. An exchange hands it what makes a process that
process: standard input, output and error, environment and directory. So what is done, and for whom, is the same with and without it, and
without it nothing is lost but time.

The process that was started hands over (handover.py) only what was not begun: until this side says so, it may still do it itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .handover import BEGUN, LENGTH, PATIENCE_SECONDS, READY, STANDARD

IDLE_SECONDS = 600.0  # as long as somebody looks at what a run did before the next


def serve(
    package: Path, exchange: Callable[[], int], listener: socket.socket, idle_seconds: float = IDLE_SECONDS
) -> int:
    """Fork for each exchange that is handed over, until none comes for ``idle_seconds`` or the package is another one.

    What is not accepted stays with systemd, which starts the next process for it.
    """
    started_from = _identity(package)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        ready, _, _ = select.select([listener], [], [], idle_seconds)
        if not ready or _identity(package) != started_from:
            return 0
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            os._exit(_take_over(connection, exchange))
        connection.close()


def _take_over(connection: socket.socket, exchange: Callable[[], int]) -> int:
    """Become the process that handed its exchange over; returns this process's own exit code, which nobody sees."""
    try:
        connection.sendall(READY)
        _become_it(connection)
        connection.sendall(BEGUN)
    except (OSError, ValueError):
        return 1  # it does the exchange itself
    try:
        code = exchange()
    except BaseException:  # what an interpreter does at its end: tell it, and be 1
        traceback.print_exc()
        code = 1
    with suppress(OSError):
        connection.sendall(bytes([code]))
    return 0


def _become_it(connection: socket.socket) -> None:
    connection.settimeout(PATIENCE_SECONDS)
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, len(STANDARD))
    if len(descriptors) != len(STANDARD):
        raise ValueError("a peer without standard input, output and error")
    size = int.from_bytes(data[:LENGTH], "big")
    while len(data) < LENGTH + size:
        more = connection.recv(1 << 16)
        if not more:
            raise ValueError("a peer that went away")
        data += more
    connection.settimeout(None)
    for descriptor, number in zip(descriptors, STANDARD, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    directory, *variables = data[LENGTH:].split(b"\0")
    os.environb.clear()
    os.environb.update(variable.partition(b"=")[::2] for variable in variables)
    os.chdir(directory)


def _identity(package: Path) -> tuple[int, int, int] | None:
    """What changes when another package is put in its place, which is always another file."""
    try:
        found = package.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
