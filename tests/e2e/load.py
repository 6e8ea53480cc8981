# SPDX-License-Identifier: GPL-3.0-or-later
"""A constant load of HTTP requests, every one of which is counted: how it was answered, by which release, and how long it took.

The rate does not bend: a request is due at its time whether others are answered or not, and its latency counts from then, so that a
pause shows in all requests that it held up. Half of the clients keep their connection, the others open one for each request.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

CLIENTS: Final = 8
ANSWER_SECONDS: Final = 30.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Figures:
    """What became of the requests. ``errors`` are what was not answered whole, by what was found; ``answered`` who answered, in order;
    ``kept`` those that came over a connection that had answered before, ``reconnected`` those that found it closed meanwhile and
    were sent once more, as every client does (RFC 9112, 9.3.1).
    """

    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    answered: list[str] = field(default_factory=list)
    kept: int = 0
    reconnected: int = 0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def releases(self) -> Counter[str]:
        return Counter(self.answered)

    def while_answering(self, release_id: str) -> list[str]:
        """Who answered from the first to the last answer of a release."""
        places = [place for place, who in enumerate(self.answered) if who == release_id]
        return self.answered[places[0] : places[-1] + 1] if places else []

    @property
    def sent(self) -> int:
        return sum(self.statuses.values()) + sum(self.errors.values())

    @property
    def failed(self) -> int:
        """Requests without an answer of the application's: errors, and all statuses but 200."""
        return self.sent - self.statuses[200]

    def percentile(self, share: float) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")

    def described(self) -> str:
        shares = " ".join(
            f"p{name} {self.percentile(share):.0f} ms" for name, share in (("50", 0.5), ("99", 0.99), ("99.9", 0.999))
        )
        return (
            f"{self.sent} requests, {self.failed} failed, {shares}, longest {max(self.milliseconds, default=0):.0f} ms"
        )


class Load:
    """Requests to one address at a rate, in a thread of its own, until `stop`."""

    def __init__(self, host: str, port: int, *, per_second: float, path: str = "/version") -> None:
        self.host, self.port, self.per_second = host, port, per_second
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {{}}\r\n\r\n"
        self.figures = Figures()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def taken(self) -> Figures:
        """The figures since the last time, or since the begin."""
        with self._lock:
            taken, self.figures = self.figures, Figures()
        return taken

    def stop(self) -> Figures:
        """End when what was sent is answered; returns the figures that were not taken yet."""
        self._stopping.set()
        self._thread.join(ANSWER_SECONDS + 10)
        assert not self._thread.is_alive()
        return self.taken()

    async def _run(self) -> None:
        began = time.monotonic()
        await asyncio.gather(*(self._client(number, began) for number in range(CLIENTS)))

    async def _client(self, number: int, began: float) -> None:
        """Every CLIENTS-th request, each at its time; one that keeps its connection is one after the other."""
        keeps = number % 2 == 0
        connection: Connection | None = None
        due = began + number / self.per_second
        while not self._stopping.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            connection = await self._ask(connection, due, keeps=keeps)
            due += CLIENTS / self.per_second
        if connection is not None:
            connection[1].close()

    async def _ask(self, connection: Connection | None, due: float, *, keeps: bool) -> Connection | None:
        was_kept = connection is not None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if connection is None:
                    connection = await asyncio.open_connection(self.host, self.port)
                status, body, is_open = await self._answer(connection, keeps=keeps)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            if connection is not None:
                connection[1].close()
            if was_kept and (isinstance(error, ConnectionError) or getattr(error, "partial", None) == b""):
                with self._lock:
                    self.figures.reconnected += 1
                return await self._ask(None, due, keeps=keeps)
            with self._lock:
                self.figures.errors[f"{type(error).__name__}: {error}"] += 1
                self.figures.milliseconds.append((time.monotonic() - due) * 1000)
            return None
        with self._lock:
            self.figures.statuses[status] += 1
            self.figures.kept += was_kept
            self.figures.milliseconds.append((time.monotonic() - due) * 1000)
            if status == 200:
                self.figures.answered.append(json.loads(body)["release_id"])
        if is_open:
            return connection
        connection[1].close()
        return None

    async def _answer(self, connection: Connection, *, keeps: bool) -> tuple[int, bytes, bool]:
        """(status, body, whether the connection may be used again); ValueError for what is no HTTP."""
        reader, writer = connection
        writer.write(self._request.format("keep-alive" if keeps else "close").encode())
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = (
            await reader.readexactly(int(lines["content-length"])) if "content-length" in lines else await reader.read()
        )
        return status, body, keeps and "content-length" in lines and lines.get("connection") != "close"


@contextmanager
def load(host: str, port: int, *, per_second: float, path: str = "/version") -> Iterator[Load]:
    """A load for the time of a block."""
    running = Load(host, port, per_second=per_second, path=path)
    try:
        yield running
    finally:
        running.stop()
