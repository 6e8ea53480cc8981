# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings objects from an artifact store into a directory, by a few connections at once, each object hashed while it is written.

A mirror is asked again for what may pass (5xx, 429, a cut, a time-out, a connection that crawls), after the other mirrors and
a pause; for what will not pass (403, 404, a certificate that does not hold) only the other mirrors are asked. One that sends
other bytes than those that were signed is not asked again by this fetch. What had arrived stays, and is gone on with by a range.

The main thread works too; memory is bounded by a chunk for each connection.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import re
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from ..base.clock import Clock
from ..base.errors import Refusal, shown
from ..base.files import COPY_BYTES, HOLE_BYTES, write_sparse
from .artifact_source import Address, Source

CHUNK: Final = HOLE_BYTES
_AGENT: Final = "slipway"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LACKING: Final = frozenset({401, 403, 404, 410})
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")

# Why a mirror did not bring an object. PASSES is tried again; after the last two the mirror is asked for nothing more.
PASSES, LACKS, UNUSABLE, UNTRUSTED, ALTERED = "passes", "lacks", "unusable", "untrusted", "altered"
_FOR_GOOD: Final = frozenset({UNTRUSTED, ALTERED})


@dataclass(frozen=True)
class Limits:
    """How much patience there is. Times in seconds; a connection crawls that brings less than `crawl_bytes` in `crawl_seconds`."""

    connections: int = 4
    timeout_seconds: float = 30
    crawl_seconds: float = 60
    crawl_bytes: int = 60 << 10
    rounds: int = 6
    progress_bytes: int = 1 << 20
    pause_seconds: float = 0.5
    longest_pause_seconds: float = 30
    longest_retry_after_seconds: float = 120
    redirects: int = 5


@dataclass(frozen=True)
class Brought:
    """What a fetch did: objects, the bytes that came, those that an earlier one had left, and why mirrors were left, by address."""

    objects: int
    bytes: int
    resumed_bytes: int
    left: Mapping[str, str]


class Failed(Exception):
    """A mirror did not bring an object; `why` is one of the kinds above, `retry_after` what it asked for."""

    def __init__(self, why: str, said: str, retry_after: float = 0) -> None:
        super().__init__(said)
        self.why = why
        self.said = said
        self.retry_after = retry_after


class Fetch:
    """One fetch of the objects of an application into `directory`, which nobody else writes to."""

    def __init__(
        self,
        source: Source,
        application: str,
        directory: Path,
        clock: Clock,
        *,
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.source = source
        self.application = application
        self.directory = directory
        self.clock = clock
        self.limits = limits or Limits()
        self.jitter = jitter
        self.pace = Pace(source.rate_limit, clock)
        self.mirrors = Mirrors(source.mirrors)
        self.ended = threading.Event()
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._bytes = self._resumed_bytes = 0
        self._failure: BaseException | None = None

    def bring(self, wanted: Mapping[str, int]) -> Brought:
        """Fetch every object (sizes by SHA-256) to `directory`/<sha256>, whole and verified.

        Refusals: ``source_unreachable``, ``source_lacks_object``, ``source_altered``, ``source_untrusted``, ``source_unusable``.
        They and an OSError of the disk leave what has arrived.
        """
        queue = deque(sorted(wanted.items(), key=lambda item: (-item[1], item[0])))
        links = [Link(self) for _ in range(min(self.limits.connections, len(wanted)))]
        others = [threading.Thread(target=self._work, args=(link, queue), daemon=True) for link in links[1:]]
        watch = threading.Thread(target=self._watch, args=(links,), daemon=True)
        for thread in (watch, *others):
            thread.start()
        try:
            for link in links[:1]:
                self._work(link, queue)
            for thread in others:
                thread.join()
        finally:
            self.ended.set()
            watch.join()
        if self._failure is not None:
            raise self._failure
        return Brought(len(wanted), self._bytes, self._resumed_bytes, dict(self.mirrors.left))

    def tls(self) -> ssl.SSLContext:
        """Made once: reading the certificates that a host trusts takes longer than a small file."""
        with self._lock:
            if self._tls is None:
                self._tls = self.source.tls()
            return self._tls

    def _work(self, link: Link, queue: deque[tuple[str, int]]) -> None:
        try:
            while not self.ended.is_set():
                try:
                    sha256, size = queue.popleft()
                except IndexError:
                    return
                self._bring(link, sha256, size)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self.ended.set()
        finally:
            link.close()

    def _watch(self, links: list[Link]) -> None:
        """Cut what crawls, so that no mirror can hold this up for ever, and everything once the fetch has ended."""
        while not self.ended.wait(min(1.0, self.limits.crawl_seconds / 4)):
            for link in links:
                link.cut_if_it_crawls()
        for link in links:
            link.cut("the fetch has ended")

    def _bring(self, link: Link, sha256: str, size: int) -> None:
        """One object: every mirror that may have it in turn, and again while what hinders may pass."""
        failures: dict[str, Failed] = {}
        with Part(self.directory / sha256, sha256, size) as part:
            with self._lock:
                self._resumed_bytes += part.held
            rounds, furthest = 0, part.held
            while not part.is_whole():
                for mirror in self.mirrors.in_order():
                    if mirror in failures and failures[mirror].why != PASSES:
                        continue
                    try:
                        self._receive(link, mirror, part)
                        return
                    except Failed as failed:
                        failures[mirror] = failed
                        self.mirrors.leave(mirror, failed)
                        if self.ended.is_set():
                            return
                passing = [failed for failed in failures.values() if failed.why == PASSES]
                # What is thrown away and comes anew is no progress.
                has_progress = part.held - furthest >= self.limits.progress_bytes
                rounds, furthest = (1, part.held) if has_progress else (rounds + 1, furthest)
                if not passing or rounds >= self.limits.rounds:
                    raise _refused(part, {**failures, **self.mirrors.for_good})
                self.clock.sleep(self._pause(rounds, passing))

    def _pause(self, rounds: int, passing: list[Failed]) -> float:
        limits = self.limits
        longest = min(limits.longest_pause_seconds, limits.pause_seconds * 2.0 ** (rounds - 1))
        asked = min(limits.longest_retry_after_seconds, *(failed.retry_after for failed in passing))
        chance = self.jitter() / 2  # or all hosts of a fleet would come back at once
        return max(longest * (0.5 + chance), asked * (1 + chance))

    def _receive(self, link: Link, mirror: str, part: Part) -> None:
        """Bring the rest of an object from one mirror; what does not hold together with what was there before is fetched anew."""
        while True:
            part.began_at = part.held
            link.receive(mirror, part)
            if part.is_whole():
                return
            is_mixed = part.began_at > 0
            part.start_over()
            if not is_mixed:
                raise Failed(ALTERED, f"other bytes than those of {part.sha256}")

    def count(self, size: int) -> None:
        """Note bytes that came, and wait where they came too fast."""
        with self._lock:
            self._bytes += size
        self.pace.take(size)


class Mirrors:
    """Which mirror is asked first: the one that worked last, for all connections."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self.left: dict[str, str] = {}
        self.for_good: dict[str, Failed] = {}
        self._urls = list(urls)
        self._lock = threading.Lock()

    def in_order(self) -> list[str]:
        with self._lock:
            return list(self._urls)

    def leave(self, mirror: str, failed: Failed) -> None:
        """Ask the others first from now on, or, where it cannot be believed, ask it for nothing more."""
        with self._lock:
            self.left.setdefault(mirror, failed.said)
            if failed.why in _FOR_GOOD:
                self.left[mirror] = failed.said
                self.for_good[mirror] = failed
                self._urls = [url for url in self._urls if url != mirror]
            elif self._urls[:1] == [mirror]:
                self._urls.append(self._urls.pop(0))


class Pace:
    """No more than so many bytes a second over all connections; 0 for no limit."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> None:
        if not self._rate:
            return
        with self._lock:
            now = self._clock.elapsed()
            self._free_at = max(self._free_at, now) + size / self._rate
            wait = self._free_at - now
        self._clock.sleep(wait)


class Part:
    """An object's file while it grows: what is there is hashed when it is opened, what comes when it is written."""

    def __init__(self, path: Path, sha256: str, size: int) -> None:
        self.path = path
        self.sha256 = sha256
        self.size = size
        self.held = 0
        self.began_at = 0  # where the answer began that is being received
        self._descriptor = -1
        self._digest = hashlib.sha256()

    def __enter__(self) -> Part:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
        try:
            self._take_up()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)

    def _take_up(self) -> None:
        """Go on with what an earlier fetch left, unless that is more than there should be, or whole and something else."""
        if not 0 < os.fstat(self._descriptor).st_size <= self.size:
            return self.start_over()
        while data := os.read(self._descriptor, COPY_BYTES):
            self._digest.update(data)
            self.held += len(data)
        if self.held == self.size and not self.is_whole():
            self.start_over()
        return None

    def start_over(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.held, self.began_at, self._digest = 0, 0, hashlib.sha256()

    def add(self, data: bytes) -> None:
        write_sparse(self._descriptor, data)
        self._digest.update(data)
        self.held += len(data)
        if self.held == self.size:
            os.ftruncate(self._descriptor, self.size)  # what ends in zeros ends in a hole

    def is_whole(self) -> bool:
        """Whether all bytes are there, and are those that the name promises."""
        return self.held == self.size and self._digest.hexdigest() == self.sha256


@dataclass
class Link:
    """One connection at a time, kept from object to object for as long as they come from the same place."""

    fetch: Fetch
    _connection: Connection | None = None
    _address: Address | None = None
    _was_used: bool = False
    _cut: str = ""
    _marked_at: float | None = None
    _marked_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, mirror: str, part: Part) -> None:
        """Add to `part` what the mirror sends of it, at most to its end; Failed where that is not all."""
        is_clean = False
        try:
            with self._network():
                response = self._open(mirror, part)
            self._require_right(response, part)
            self._read(response, part)
            is_clean = response.length == 0
            response.close()
        finally:
            self._mark(None)
            if not is_clean:  # what else is on its way would be taken for the next answer
                self.close()

    @contextmanager
    def _network(self) -> Iterator[None]:
        """Tell what fails here from what fails on the disk."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise Failed(UNTRUSTED, f"a certificate that does not hold ({error.verify_message})") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failed(PASSES, self._cut or _told(error)) from None

    def _open(self, mirror: str, part: Part) -> http.client.HTTPResponse:
        """The answer for the rest of the object, wherever the mirror sends us for it."""
        source = self.fetch.source
        home = address = Address.parse(source.object_url(mirror, self.fetch.application, part.sha256))
        for _ in range(self.fetch.limits.redirects + 1):
            headers = {"Accept-Encoding": "identity", "User-Agent": _AGENT}
            if part.held:
                headers["Range"] = f"bytes={part.held}-"
            if source.header and address.origin == home.origin:
                headers[source.header[0]] = source.header[1]
            response = self._ask(address, headers)
            if response.status not in _REDIRECTS:
                return response
            location = response.getheader("Location") or ""
            self.close()
            try:
                address = address.redirected(location)
            except ValueError as error:
                raise Failed(UNUSABLE, f"{error} (HTTP {response.status})") from None
        raise Failed(UNUSABLE, f"more than {self.fetch.limits.redirects} redirects")

    def _ask(self, address: Address, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Ask, on the connection that is there if it leads to the right place; one that the server has closed meanwhile is no failure."""
        if self._address is not None and self._address.origin != address.origin:
            self.close()
        try:
            return self._ask_once(address, headers)
        except ConnectionError:
            if not self._was_used or self._cut:
                raise
            self.close()
            return self._ask_once(address, headers)

    def _ask_once(self, address: Address, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        with self._lock:
            if self.fetch.ended.is_set():
                raise TimeoutError("the fetch has ended")
            if self._connection is None:
                tls = self.fetch.tls() if address.scheme == "https" else None
                self._connection = Connection(address, tls, self.fetch.limits.timeout_seconds)
                self._address, self._was_used, self._cut = address, False, ""
            connection = self._connection
        self._mark(self.fetch.clock.elapsed())
        connection.request("GET", address.target, headers=dict(headers))
        response = connection.getresponse()
        self._was_used = True
        return response

    def _require_right(self, response: http.client.HTTPResponse, part: Part) -> None:
        """Refuse what cannot be the rest of the object; a server without ranges sends all of it."""
        if response.status in _PASSING:
            raise Failed(PASSES, f"HTTP {response.status}", self._retry_after(response))
        if response.status in _LACKING:
            raise Failed(LACKS, f"HTTP {response.status}")
        if response.status not in (200, 206):
            raise Failed(UNUSABLE, f"HTTP {response.status}")
        encoding = response.getheader("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise Failed(UNUSABLE, f"the content encoding {shown(encoding, 40)}, which was not asked for")
        if response.status == 200 and part.held:
            part.start_over()
        if response.status == 206:
            said = _RANGE.fullmatch(response.getheader("Content-Range") or "")
            if not part.held or not said or int(said[1]) != part.held:
                raise Failed(UNUSABLE, "a range that was not asked for (HTTP 206)")
            if said[3] not in ("*", str(part.size)):
                raise Failed(ALTERED, f"{said[3]} bytes instead of {part.size}")
        if response.length is not None and response.length != part.size - part.held:
            raise Failed(ALTERED, f"{response.length} bytes instead of {part.size - part.held}")

    def _retry_after(self, response: http.client.HTTPResponse) -> float:
        """What the server asks to wait, in seconds; 0 where it says nothing that can be understood."""
        said = response.getheader("Retry-After") or ""
        if re.fullmatch(r"\d{1,9}", said):
            return int(said)
        try:
            return max(0.0, parsedate_to_datetime(said).timestamp() - self.fetch.clock.now())
        except (ValueError, TypeError, OverflowError):
            return 0

    def _read(self, response: http.client.HTTPResponse, part: Part) -> None:
        # A read brings no more than a TLS record, or what a packet had: too little to see a hole in it.
        came = bytearray()
        try:
            while (held := part.held + len(came)) < part.size:
                with self._network():
                    data = response.read1(min(CHUNK - len(came), part.size - held))
                if not data or self.fetch.ended.is_set():
                    raise Failed(PASSES, self._cut or f"the end after {held} of {part.size} bytes")
                came += data
                self._marked_bytes += len(data)
                self.fetch.count(len(data))
                if len(came) == CHUNK:
                    part.add(bytes(came))
                    came.clear()
        finally:
            if came:
                part.add(bytes(came))
        with self._network():
            is_longer = response.length is None and response.read1(1)
        if is_longer:
            part.start_over()
            raise Failed(ALTERED, f"more than {part.size} bytes")

    def _mark(self, since: float | None) -> None:
        """From now on it is watched; with None no longer."""
        with self._lock:
            self._marked_at, self._marked_bytes = since, 0

    def cut_if_it_crawls(self) -> None:
        limits, now = self.fetch.limits, self.fetch.clock.elapsed()
        if self._marked_at is None or now - self._marked_at < limits.crawl_seconds:
            return
        if self._marked_bytes < limits.crawl_bytes:
            self.cut(f"less than {limits.crawl_bytes} bytes in {limits.crawl_seconds:.0f} s")
        else:
            self._mark(now)

    def cut(self, why: str) -> None:
        """End whatever the connection waits for; called from another thread."""
        with self._lock:
            if self._connection is not None:
                self._cut = why
                self._connection.cut()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._address = None


class Connection(http.client.HTTPConnection):
    """To one origin, without a proxy; `cut` ends it from another thread at any time, in a handshake too."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None, timeout_seconds: float) -> None:
        super().__init__(address.host, address.port, timeout=timeout_seconds)
        self.default_port = 443 if tls else 80  # what the Host header leaves out
        self._seconds = timeout_seconds
        self._tls = tls
        self._socket: socket.socket | None = None  # http.client forgets it when the answer is the last one
        self._is_cut = False

    def connect(self) -> None:
        """Also called by http.client, when the server has closed the connection after the answer before."""
        plain = socket.create_connection((self.host, self.port), self._seconds)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = self.sock = plain
        if self._tls is not None:
            secured = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
            self._socket = self.sock = secured
            if not self._is_cut:
                secured.do_handshake()
        if self._is_cut:
            raise TimeoutError("cut while it was connecting")

    def cut(self) -> None:
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):  # not TLS's own shutdown, which would wait for the thread that reads
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _told(error: Exception) -> str:
    """An error of the network in words; what a server said in it is left out."""
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return "no proper HTTP"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return shown(getattr(error, "strerror", None) or type(error).__name__)


def _refused(part: Part, failures: Mapping[str, Failed]) -> Refusal:
    """Why no mirror brought the object, by what would help most."""
    whys = {failed.why for failed in failures.values()}
    expected = f"the object {part.sha256} of {part.size} bytes from {' or '.join(failures)}"
    found = "; ".join(f"{mirror}: {failed.said}" for mirror, failed in failures.items())
    if PASSES in whys:
        return Refusal(
            "source_unreachable",
            expected=expected,
            found=found,
            remedy="Look at the store and at what is between; the same command goes on where this one ended.",
        )
    if ALTERED in whys:
        return Refusal(
            "source_altered",
            expected=expected,
            found=found,
            remedy="Find out who changed the store; remove that object there, then publish it again (playbooks/publish.yml).",
        )
    if UNTRUSTED in whys:
        return Refusal(
            "source_untrusted",
            expected=expected,
            found=found,
            remedy="Give with release_source_ca the authority that signed the store's certificate, or mend the certificate.",
        )
    if whys == {LACKS}:
        return Refusal(
            "source_lacks_object",
            expected=expected,
            found=found,
            remedy="Publish the release (playbooks/publish.yml), or let the store give it to these hosts (release_source_credentials).",
        )
    return Refusal(
        "source_unusable",
        expected=expected,
        found=found,
        remedy="Let the store serve plain files under the addresses named.",
    )
