# SPDX-License-Identifier: GPL-3.0-or-later
"""An artifact store to fetch from: a web server of a directory on loopback that can misbehave as it is told, over TLS too."""

from __future__ import annotations

import ipaddress
import itertools
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    range: str
    authorization: str
    connection: int


class Answering(BaseHTTPRequestHandler):
    """Serves a directory with ranges, as nginx does, where no behaviour of the store comes first."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    server: Any

    def do_GET(self) -> None:
        store: Mirror = self.server.store
        self.began = 0
        with store.lock:
            store.asked.append(
                Asked(
                    self.path,
                    self.headers.get("Range", ""),
                    self.headers.get("Authorization", ""),
                    self.client_address[1],
                )
            )
            behaviour = store.behaviours.pop(0) if store.behaviours else store.always
        (behaviour or Answering.well)(self)

    def content(self) -> bytes | None:
        path = self.server.store.directory / self.path.lstrip("/").partition("?")[0]
        return path.read_bytes() if path.is_file() else None

    def well(self) -> None:
        content = self.content()
        if content is None:
            return self.head(404, {"Content-Length": "0"})
        return self.give(content)

    def give(self, content: bytes, *, size: int | None = None) -> None:
        """Send the content, or the range of it that was asked for; the headers promise `size` bytes in all."""
        total = len(content) if size is None else size
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            self.began = int(asked[1])
            said = f"bytes {self.began}-{total - 1}/{total}"
            self.head(206, {"Content-Length": str(total - self.began), "Content-Range": said})
        else:
            self.head(200, {"Content-Length": str(total)})
        self.wfile.write(content[self.began :])

    def head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


Behaviour = Callable[[Answering], None]


@dataclass
class Mirror:
    """A store below `directory`; the next requests are answered by `behaviours`, then all by `always`, or well."""

    directory: Path
    tls: ssl.SSLContext | None = None
    behaviours: list[Behaviour] = field(default_factory=list)
    always: Behaviour | None = None
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.server.store = self  # type: ignore[attr-defined]
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_about: None  # type: ignore[method-assign]
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server.server_address[1]}"

    @property
    def ranges(self) -> list[str]:
        return [asked.range for asked in self.asked]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


# behaviours


def status(code: int, **headers: str) -> Behaviour:
    """Answer with this code and nothing else."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda answering: answering.head(code, {"Content-Length": "0", **named})


def cut_after(count: int) -> Behaviour:
    """Promise all, send so many bytes of it, and close."""

    def cut(answering: Answering) -> None:
        content = answering.content()
        assert content is not None
        start = re.fullmatch(r"bytes=(\d+)-", answering.headers.get("Range", ""))
        answering.give(content[: (int(start[1]) if start else 0) + count], size=len(content))
        answering.close_connection = True

    return cut


def anew_and_cut_after(count: int) -> Behaviour:
    """Send all of it again, whatever was asked for, and close after so many bytes."""

    def cut(answering: Answering) -> None:
        del answering.headers["Range"]
        cut_after(count)(answering)

    return cut


def in_packets(count: int) -> Behaviour:
    """Send all of it, so many bytes in each chunk, as HTTP/1.1 can."""

    def send(answering: Answering) -> None:
        content = answering.content()
        assert content is not None
        answering.head(200, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(content), count):
            part = content[start : start + count]
            answering.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        answering.wfile.write(b"0\r\n\r\n")

    return send


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other, and again from the first."""
    turns = itertools.cycle(behaviours)

    def next_one(answering: Answering) -> None:
        next(turns)(answering)

    return next_one


def other_bytes(answering: Answering) -> None:
    """As many bytes, but others."""
    content = answering.content()
    assert content is not None
    answering.give(bytes(byte ^ 1 for byte in content))


def no_ranges(answering: Answering) -> None:
    del answering.headers["Range"]
    answering.well()


def without_length(more: bytes) -> Behaviour:
    """All of the content and more behind it, the end only told by closing."""

    def send(answering: Answering) -> None:
        answering.head(200, {"Connection": "close"})
        answering.wfile.write((answering.content() or b"") + more)

    return send


def endless(answering: Answering) -> None:
    answering.head(200, {"Connection": "close"})
    while True:
        answering.wfile.write(bytes(1 << 16))


def raw(data: bytes) -> Behaviour:
    """These bytes, then close."""

    def send(answering: Answering) -> None:
        answering.wfile.write(data)
        answering.close_connection = True

    return send


def held_until(event: threading.Event, count: int) -> Behaviour:
    """Send so many bytes, then nothing until the event."""

    def hold(answering: Answering) -> None:
        content = answering.content()
        assert content is not None
        answering.give(content[:count], size=len(content))
        event.wait(60)
        answering.close_connection = True

    return hold


# an authority that nobody else has heard of


@dataclass(frozen=True)
class Authority:
    """A throwaway certificate authority; `pem` is its certificate."""

    directory: Path
    name: str = "Throwaway"

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_subject", x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
        basic = x509.BasicConstraints(ca=True, path_length=None)
        made = self._certificate(self._subject, key.public_key()).add_extension(basic, critical=True)  # type: ignore[attr-defined]
        object.__setattr__(
            self, "pem", made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        )

    def _certificate(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)  # type: ignore[attr-defined]
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def server(self, address: str = "127.0.0.1") -> ssl.SSLContext:
        """What a server at this address proves itself with."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
        made = self._certificate(subject, key.public_key()).add_extension(names, critical=False)
        path = self.directory / f"{address}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[attr-defined]
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context
