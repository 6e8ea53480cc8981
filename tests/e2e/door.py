# SPDX-License-Identifier: GPL-3.0-or-later
"""A port on this machine that lets a smoke test wait: so a run stands still between its switch and its end."""

from __future__ import annotations

import socket
import threading


class Door:
    """Lets callers wait until `open`."""

    def __init__(self) -> None:
        self.knocked = threading.Event()
        self._opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: socket.socket) -> None:
        with caller:
            self.knocked.set()
            self._opened.wait()
            try:
                caller.recv(4096)
                caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            except OSError:
                return  # the caller was killed meanwhile

    def open(self) -> None:
        """Answer everybody from now on."""
        self._opened.set()

    def close(self) -> None:
        self.open()
        self._listener.close()
