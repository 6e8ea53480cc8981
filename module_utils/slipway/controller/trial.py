# SPDX-License-Identifier: GPL-3.0-or-later
"""A command whose end and output are evidence: how it ended, how long it took, and the sha256 of all that it wrote."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base import command
from ..base.fields import SHA256, Fields
from ..trust.promotion import MAX_TIMEOUT_SECONDS, read_argv

EXITED: Final = "exited"
TIMED_OUT: Final = "timed_out"
FLOODED: Final = "flooded"
MAX_OUTPUT_BYTES: Final = 64 << 20
TAIL_BYTES: Final = 64 << 10
NOT_STARTED: Final = 127


@dataclass(frozen=True)
class Trial:
    """What came of a command. `exit_code` is None when it was killed; `tail` is the end of its output, both streams."""

    argv: tuple[str, ...]
    timeout_seconds: int
    ended: str
    exit_code: int | None
    milliseconds: int
    output_bytes: int
    output_sha256: str
    tail: bytes

    @classmethod
    def take(cls, fields: Fields, tail: bytes) -> Trial:
        """Take what `as_dict` wrote out of `fields`; refused is what contradicts itself or `tail`, the end of the output."""
        output = fields.object("output")
        ended = fields.choice("ended", EXITED, TIMED_OUT, FLOODED)
        exit_code = None
        if ended == EXITED:
            exit_code = fields.integer("exit_code", minimum=-255, maximum=255)
        elif (value := fields.take("exit_code")) is not None:
            raise fields.refusal("exit_code", "null for a command that was killed", value)
        done = cls(
            argv=read_argv(fields),
            timeout_seconds=fields.integer("timeout_seconds", minimum=1, maximum=MAX_TIMEOUT_SECONDS),
            ended=ended,
            exit_code=exit_code,
            milliseconds=fields.integer("milliseconds"),
            output_bytes=output.integer("bytes"),
            output_sha256=output.text("sha256", SHA256),
            tail=tail,
        )
        output.end()
        if not done._has_its_tail():
            raise fields.refusal("output", "what the log is the end of", done.as_dict()["output"])
        return done

    def _has_its_tail(self) -> bool:
        if self.output_bytes > TAIL_BYTES:
            return len(self.tail) == TAIL_BYTES
        was_started = self.output_bytes > 0 or self.exit_code != NOT_STARTED
        output = self.tail if was_started else b""
        return (self.output_bytes, self.output_sha256) == (len(output), hashlib.sha256(output).hexdigest())

    @property
    def passed(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.ended == EXITED and self.exit_code == 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as evidence has it, without the tail, which is a file."""
        return {
            "argv": list(self.argv),
            "ended": self.ended,
            "exit_code": self.exit_code,
            "milliseconds": self.milliseconds,
            "output": {"bytes": self.output_bytes, "sha256": self.output_sha256},
            "timeout_seconds": self.timeout_seconds,
        }

    def described(self) -> str:
        """Say how it ended, with the last of its output."""
        endings = {
            EXITED: f"exit code {self.exit_code}",
            TIMED_OUT: f"killed after {self.timeout_seconds} s",
            FLOODED: f"killed after {self.output_bytes} bytes of output",
        }
        text = self.tail[-_SHOWN_BYTES:].decode("utf-8", "replace").strip()
        last = "\n".join(text.splitlines()[-_SHOWN_LINES:])
        return f"{endings[self.ended]}, with this at the end of its output:\n{last}" if last else endings[self.ended]


_SHOWN_BYTES: Final = 2000
_SHOWN_LINES: Final = 20


class _Recorder:
    """Hashes and counts output as it comes, keeps its end, and says when there is too much."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._is_open = True
        self.tail = b""
        self.size = 0

    def take(self, data: bytes) -> bool:
        with self._lock:
            if not self._is_open:  # a daemon that the command left goes on writing
                return False
            self._digest.update(data)
            self.size += len(data)
            self.tail = (self.tail + data)[-TAIL_BYTES:]
            return not self.has_too_much

    def close(self) -> None:
        """Take no more: from here on digest, size and tail are of the same output."""
        with self._lock:
            self._is_open = False

    @property
    def has_too_much(self) -> bool:
        return self.size > self._limit

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def run(
    argv: Sequence[str], *, timeout_seconds: int, directory: Path, max_output_bytes: int = MAX_OUTPUT_BYTES
) -> Trial:
    """Run a command in `directory`; one that hangs, or that writes more than `max_output_bytes`, is killed with its group.

    Its environment is bare, and its home a directory of its own that is gone afterwards.
    """
    recorder = _Recorder(max_output_bytes)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="slipway-", ignore_cleanup_errors=True) as home:
        finished = command.run(
            argv, timeout_seconds=timeout_seconds, directory=directory, environment={"HOME": home}, take=recorder.take
        )
    recorder.close()
    milliseconds = round((time.monotonic() - start) * 1000)
    if recorder.has_too_much:
        ended, exit_code = FLOODED, None
    else:
        ended, exit_code = (EXITED if finished.exit_code is not None else TIMED_OUT), finished.exit_code
    # A command that could not be started wrote nothing; why is in what it ended with.
    why = finished.output.encode() if exit_code == NOT_STARTED else b""
    return Trial(
        argv=tuple(argv),
        timeout_seconds=timeout_seconds,
        ended=ended,
        exit_code=exit_code,
        milliseconds=milliseconds,
        output_bytes=recorder.size,
        output_sha256=recorder.sha256,
        tail=recorder.tail or why,
    )
