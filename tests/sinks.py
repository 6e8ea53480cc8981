# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers of alerts on loopback that keep to the protocols: Slack's incoming webhook, any webhook, a mail server with STARTTLS and login.

Each keeps what it received, in order, and can be told to refuse, to be slow or to go away and come back at the same address.
"""

from __future__ import annotations

import datetime
import email
import email.policy
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

DAY = datetime.timedelta(days=1)
COLOURS = {"good", "warning", "danger"}
MAIL_USER, MAIL_PASSWORD = "slipway", "correct horse"


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that is its own authority: ``path`` has it, ``key`` its private key."""

    path: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> Certificate:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - DAY).not_valid_after(now + DAY)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        found = cls(directory / "sink.pem", directory / "sink.key")
        found.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        found.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return found

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context


@dataclass(frozen=True)
class Request:
    """What a receiver got: ``body`` is its JSON."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class HttpSink:
    """A receiver of POSTs of JSON. ``answers`` are given first, then 200 to everything; ``held`` lets no answer out while it is cleared."""

    certificate: Certificate | None = None
    port: int = 0
    answers: list[int] = field(default_factory=list)
    got: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.held = threading.Event()
        self.held.set()
        self._server: ThreadingHTTPServer | None = None
        self.open()

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}/hook"

    @property
    def bodies(self) -> list[Any]:
        return [each.body for each in self.got]

    def fault(self, body: Any) -> str:
        """Why this receiver does not understand a body, "" where it does."""
        return "" if isinstance(body, (dict, list)) else "no object"

    def open(self) -> None:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                sink.held.wait(30)
                try:
                    body = json.loads(data) if self.headers["Content-Type"] == "application/json" else None
                except ValueError:
                    body = None
                status = sink.answers.pop(0) if sink.answers else 400 if sink.fault(body) else 200
                if status == 200:
                    sink.got.append(Request(self.path, dict(self.headers.items()), body))
                said = b"ok" if status == 200 else (sink.fault(body) or "no").encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        if self.certificate:
            self._server.socket = self.certificate.context().wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Go away; `open` comes back at the same address."""
        self.held.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class SlackSink(HttpSink):
    """Slack's incoming webhook: a text and attachments with a colour and fields; anything else is an invalid_payload."""

    def fault(self, body: Any) -> str:
        if not isinstance(body, dict) or not isinstance(body.get("text"), str):
            return "invalid_payload"
        attachments = body.get("attachments")
        if not isinstance(attachments, list) or not attachments:
            return "invalid_attachments"
        for each in attachments:
            fields = each.get("fields", [])
            if each.get("color") not in COLOURS or not all(
                set(field) == {"title", "value", "short"} for field in fields
            ):
                return "invalid_attachments"
        return ""

    @property
    def told(self) -> list[tuple[str, str]]:
        """Text and colour of what came, in order."""
        return [(body["text"], body["attachments"][0]["color"]) for body in self.bodies]


@dataclass
class MailSink:
    """A mail server on loopback that wants STARTTLS, then the right login, and takes nothing before."""

    certificate: Certificate
    got: list[email.message.EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    defers: set[str] = field(default_factory=set)
    port: int = 0
    tried: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        from aiosmtpd.controller import Controller
        from aiosmtpd.smtp import AuthResult

        sink = self

        class Handler:
            async def handle_RCPT(
                self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
            ) -> str:
                if address in sink.refuses:
                    return "550 5.1.1 nobody of that name"
                if address in sink.defers:
                    return "450 4.2.0 greylisted, come again"
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
                message = email.message_from_bytes(envelope.content, policy=email.policy.default)
                sink.got.append(message)
                sink.recipients.append(list(envelope.rcpt_tos))
                return "250 OK"

        def login(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
            sink.tried.append(data.login.decode())
            is_right = (data.login.decode(), data.password.decode()) == (MAIL_USER, MAIL_PASSWORD)
            return AuthResult(success=is_right, handled=is_right)

        if not self.port:  # the library asks itself whether it listens, at the port that it was given
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        self._controller = Controller(
            Handler(), hostname="127.0.0.1", port=self.port, tls_context=self.certificate.context(), require_starttls=True,
            auth_required=True, authenticator=login, ready_timeout=30,
        )  # fmt: skip
        self._controller.start()

    def close(self) -> None:
        if self._controller.server is not None:
            self._controller.stop()
            self._controller.server = None


@dataclass
class Sinks:
    """A receiver of each kind."""

    slack: SlackSink
    webhook: HttpSink
    mail: MailSink
    alertmanager: HttpSink
    certificate: Certificate


@pytest.fixture
def sinks(tmp_path: Path) -> Iterator[Sinks]:
    """One receiver of each kind, all listening."""
    with ExitStack() as stack:
        directory = tmp_path / "sinks"
        directory.mkdir()
        certificate = Certificate.make(directory)
        found = Sinks(SlackSink(), HttpSink(), MailSink(certificate), HttpSink(), certificate)
        for sink in (found.slack, found.webhook, found.mail, found.alertmanager):
            stack.callback(sink.close)
        yield found
