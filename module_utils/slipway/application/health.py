# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the application well? Asked on the host after the switch, and from outside as the smoke test."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Any, TypeVar

from ..base.clock import Clock
from ..base.command import Runner
from .description import Patience, Probe
from .service import Service

BODY_LIMIT = 64 * 1024
UNDECIDED = 75  # EX_TEMPFAIL of sysexits.h: what a command ends with that cannot tell yet
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Verdict:
    """``outcome`` is ``success``, ``failure`` or ``inconclusive`` (no attempts: nothing was asked); ``detail`` is for people."""

    outcome: str
    attempts: int
    detail: str

    @property
    def is_failure(self) -> bool:
        return self.outcome == "failure"

    def as_dict(self) -> dict[str, Any]:
        return {"outcome": self.outcome, "attempts": self.attempts, "detail": self.detail}


class Undecided(str):
    """A finding by which a probe says that it cannot tell: neither well nor ill."""

    __slots__ = ()


@dataclass(frozen=True)
class Prober:
    """Asks one probe once; answers None when all is well, else what was found: ``Undecided`` where the probe cannot tell."""

    run: Runner
    user: str | None = None
    service: Service | None = None

    def ask(self, probe: Probe) -> str | None:
        asked: dict[str, Callable[[Probe], str | None]] = {
            "http": self._http, "tcp": self._tcp, "command": self._command, "unit": self._unit,
        }  # fmt: skip
        return asked[probe.type](probe)

    def is_hopeless(self) -> bool:
        """A unit that systemd gave up on will not become healthy by waiting."""
        return self.service is not None and self.service.state().has_failed

    def _http(self, probe: Probe) -> str | None:
        try:
            status, body = _within(probe.timeout_seconds, lambda: _get(probe))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"no answer from {probe.url}: {error}"
        if status != probe.status:
            return f"{probe.url} answered {status}, expected {probe.status}"
        if probe.contains and probe.contains not in body.decode("utf-8", "replace"):
            return f"the answer of {probe.url} does not contain {probe.contains!r}"
        return None

    def _tcp(self, probe: Probe) -> str | None:
        try:
            _within(probe.timeout_seconds, lambda: _connect(probe))
        except (OSError, ValueError) as error:
            return f"no connection to {probe.host}:{probe.port}: {error}"
        return None

    def _command(self, probe: Probe) -> str | None:
        finished = self.run(probe.argv, timeout_seconds=probe.timeout_seconds, user=self.user)
        if finished.succeeded:
            return None
        finding = f"{' '.join(probe.argv)}: {finished.described()}"
        return Undecided(finding) if finished.exit_code == UNDECIDED else finding

    def _unit(self, _probe: Probe) -> str | None:
        if self.service is None:
            return "no unit to ask"
        state = self.service.state()
        return None if state.is_running else f"{self.service.unit} is {state.active} ({state.sub})"


def judge(probes: Sequence[Probe], patience: Patience, prober: Prober, clock: Clock) -> Verdict:
    """Ask all probes again and again until all are well or patience ends.

    1. Each round asks the probes in order and stops at the first that is ill; one that cannot tell does not end it.
    2. All well in one round: success.
    3. After ``retries`` further rounds, at the deadline, or when the unit has failed for good: failure, with the last finding;
       inconclusive where in the last round none was ill and one could not tell.
    """
    if not probes:
        return Verdict("inconclusive", 0, "no probe is declared")
    started, attempt = clock.elapsed(), 0
    while True:
        attempt += 1
        finding = _round(probes, prober)
        if finding is None:
            return Verdict("success", attempt, ", ".join(probe.described() for probe in probes))
        spent = clock.elapsed() - started
        out_of_time = spent + patience.interval_seconds >= patience.deadline_seconds
        if attempt > patience.retries or out_of_time or prober.is_hopeless():
            outcome = "inconclusive" if isinstance(finding, Undecided) else "failure"
            return Verdict(outcome, attempt, f"{finding} (after {attempt} attempts)")
        clock.sleep(patience.interval_seconds)


def _round(probes: Sequence[Probe], prober: Prober) -> str | None:
    """The first finding that says ill, else the first that says nothing, else None."""
    undecided: Undecided | None = None
    for probe in probes:
        finding = prober.ask(probe)
        if isinstance(finding, Undecided):
            undecided = undecided or finding
        elif finding is not None:
            return finding
    return undecided


def _within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """What ``ask`` returns or raises; TimeoutError when that takes longer.

    In a thread, since a socket's own time-out bounds each read, but neither an answer that trickles in byte by byte nor
    the look-up of a name.
    """
    answer: Future[Answer] = Future()

    def asked() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=asked, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(f"timed out after {seconds} s") from error


def _get(probe: Probe) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _AnyAnswer())
    with opener.open(probe.url, timeout=probe.timeout_seconds) as answer:
        return answer.status, answer.read(BODY_LIMIT)


def _connect(probe: Probe) -> None:
    socket.create_connection((probe.host, probe.port), timeout=probe.timeout_seconds).close()


class _AnyAnswer(urllib.request.HTTPErrorProcessor):
    """Every answer is one to judge, an error too; and a redirect is not followed: that would ask another service."""

    def http_response(self, request: urllib.request.Request, response: http.client.HTTPResponse) -> Any:
        return response

    https_response = http_response
