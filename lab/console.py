# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress for people: one line for each step, with the seconds it took; long steps show that they are alive."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEARTBEAT_SECONDS = 10.0


def say(text: str) -> None:
    """Write one line to standard error; standard output is kept for answers."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show `title` while the block runs and how long it took afterwards."""
    terminal = sys.stderr.isatty()
    start = time.monotonic()
    done = threading.Event()

    def tick() -> None:
        while not done.wait(1.0 if terminal else HEARTBEAT_SECONDS):
            seconds = time.monotonic() - start
            if terminal:
                print(f"\r  ...  {title} ({seconds:.0f} s)", end="", file=sys.stderr, flush=True)
            else:
                say(f"  ...  {title} ({seconds:.0f} s so far)")

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    mark = "FAIL"
    try:
        yield
        mark = "ok  "
    finally:
        done.set()
        ticker.join()
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr)
        say(f"  {mark} {title} ({time.monotonic() - start:.1f} s)")
