# SPDX-License-Identifier: GPL-3.0-or-later
"""A process on standby with an exchange of its own, and clients that hand theirs over to it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import ansible.module_utils.slipway

PACKAGE = Path(ansible.module_utils.slipway.__file__).parent.parent
# Serves what it is told on the command line: package, file to note exchanges in, seconds, descriptor of the socket.
SERVER = """
import os, socket, sys
from pathlib import Path
from slipway.host import standby
def exchange():
    asked = sys.stdin.buffer.read().decode()
    with open(sys.argv[2], "a") as stream:
        stream.write(f"{asked}\\n")
    if asked == "die":
        os.kill(os.getpid(), 9)
    if asked == "crash":
        raise KeyError("x")
    sys.stdout.write(f"{asked} {os.environ.get('PLACE')} {os.getcwd()} {'LISTEN' in os.environ}")
    sys.stdout.flush()
    return 7
sys.exit(standby.serve(Path(sys.argv[1]), exchange, socket.socket(fileno=int(sys.argv[4])), float(sys.argv[3])))
"""
CLIENT = """
import sys
from slipway.host import handover
code = handover.handed_over(sys.argv[1])
sys.exit(99 if code is None else code)
"""


class Standby:
    """A process on standby, and clients of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.package, self.done, self.path = directory / "slipway.pyz", directory / "done", str(directory / "socket")
        self.package.write_bytes(b"one")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()

    def start(self, idle_seconds: float = 60) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", SERVER, self.package, self.done, str(idle_seconds), str(self.listener.fileno())],
            pass_fds=[self.listener.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": str(PACKAGE), "LISTEN": "1"},
        )  # fmt: skip

    @contextmanager
    def said_ready(self) -> Iterator[Callable[[], socket.socket]]:
        """Be a process on standby that says it is ready, and nothing more; gives a function that waits for the connection."""
        with ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(lambda: self.listener.accept()[0])
            accepted.add_done_callback(lambda done: done.result().sendall(b"r"))
            yield accepted.result
            accepted.result().close()

    def ask(self, asked: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CLIENT, self.path], input=asked, capture_output=True, text=True, check=False, cwd=self.directory,
            env={"PYTHONPATH": str(PACKAGE), **variables},
        )  # fmt: skip

    @property
    def exchanges(self) -> list[str]:
        return self.done.read_text().split() if self.done.exists() else []
