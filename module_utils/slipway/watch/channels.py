# SPDX-License-Identifier: GPL-3.0-or-later
"""How an alert goes out by one channel: Alertmanager, Slack, a webhook or mail. Whoever calls decides when, and what a failure means.

Nothing here follows a redirect or asks a proxy: an alert goes to the address that was configured, or nowhere.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from ..base.errors import Refusal, shown
from ..base.files import read_regular
from . import alert as alerts
from .alert import Alert, Redactor, encoded
from .check import URL, Channel, is_address, require_protected

if TYPE_CHECKING:
    import ssl

ANSWER_LIMIT: Final = 4096
HEAD_LIMIT: Final = 16 * 1024
CREDENTIAL_LIMIT: Final = 64 * 1024
# What these say is said of the message. All else is said of the channel (a wrong address, a wrong key, one that is archived), and may be mended.
REFUSED: Final = (400, 413, 422)
USER_AGENT: Final = "slipway"
PREFIX: Final = "watch_"
STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r|\Z)")
CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*(?:\r|\Z)", re.IGNORECASE)


class NotDelivered(Exception):
    """A channel did not take an alert; the text says why, without any secret. ``refused``: it never will take this one.

    Of a mail, ``left`` are the recipients that may take it later, None where the server did not come to speak of any; ``is_partial``:
    others took it.
    """

    def __init__(
        self, why: str, *, refused: bool = False, left: Sequence[str] | None = None, is_partial: bool = False
    ) -> None:
        super().__init__(why)
        self.refused = refused
        self.left = None if left is None else tuple(left)
        self.is_partial = is_partial


class Secrets(Protocol):
    """What gives a channel its secrets."""

    def read(self, name: str) -> str:
        """One secret by its name; NotDelivered where there is none."""


@dataclass(frozen=True)
class Credentials:
    """The secrets that systemd gives the agent, as files in ``directory``; None where it was given none.

    The unit names a directory of them, so systemd puts the unit's own word for that, and a _, before each name.
    """

    directory: Path | None

    @classmethod
    def of_process(cls) -> Credentials:
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        return cls(Path(given) if given else None)

    def read(self, name: str) -> str:
        """One secret, without the line's end. NotDelivered where there is none."""
        try:
            if self.directory is None:
                raise FileNotFoundError("systemd gave this process no credentials")
            data = read_regular(self.directory / f"{PREFIX}{name}", limit=CREDENTIAL_LIMIT, what="credential")
            return data.decode().rstrip("\n")
        except (OSError, Refusal, UnicodeDecodeError) as error:
            found = error.found if isinstance(error, Refusal) else str(error)
            raise NotDelivered(f"the credential {name} cannot be read: {found}") from error

    def values(self) -> list[str]:
        """All of them, for finding them in texts."""
        found = []
        for path in sorted(self.directory.glob(f"{PREFIX}*")) if self.directory and self.directory.is_dir() else ():
            try:
                found.append(self.read(path.name.removeprefix(PREFIX)))
            except NotDelivered:
                continue
        return found


@dataclass(frozen=True)
class Sender:
    """Sends by the channels; ``traceparent`` goes along, so that a receiver can join what it got with the run's events."""

    credentials: Secrets
    redactor: Redactor
    traceparent: str = ""

    def send(self, channel: Channel, batch: Sequence[Alert], *, ends: int) -> None:
        """Deliver alerts by one channel, or raise NotDelivered. Alertmanager gets all in one request; ``ends`` is when they are over without another word."""
        try:
            how: Mapping[str, Callable[[Channel, Alert], None]] = {
                "slack": self._slack, "webhook": self._webhook, "email": self._email,
            }  # fmt: skip
            if channel.kind == "alertmanager":
                self._post(channel, "/api/v2/alerts", [alerts.alertmanager(each, ends=ends) for each in batch])
                return
            for each in batch:
                how[channel.kind](channel, each)
        except NotDelivered as error:
            raise NotDelivered(
                self.redactor.text(str(error)), refused=error.refused, left=error.left, is_partial=error.is_partial
            ) from None
        except (OSError, ValueError) as error:  # such as a header or a password that the protocol cannot say
            raise NotDelivered(self.redactor.text(f"{type(error).__name__}: {error}")) from None

    def _said(self, answer: bytes | str) -> str:
        """The beginning of what a receiver said. Secrets are taken out before it is cut and escaped, while they can still be found."""
        text = answer.decode("utf-8", "backslashreplace") if isinstance(answer, bytes) else answer
        return shown(self.redactor.text(text))

    def _slack(self, channel: Channel, alert: Alert) -> None:
        self._post(channel, "", alerts.slack(alert))

    def _webhook(self, channel: Channel, alert: Alert) -> None:
        self._post(channel, "", alerts.webhook(alert))

    def _post(self, channel: Channel, path: str, body: Any) -> None:
        url = channel.url or self.credentials.read(channel.url_credential)
        if not URL.match(url) or not is_address(url):
            raise NotDelivered(f"the credential {channel.url_credential} is no address")
        try:
            require_protected(url, channel)
        except Refusal as refusal:
            raise NotDelivered(refusal.found) from None
        headers = {name: self.credentials.read(credential) for name, credential in channel.headers.items()}
        if any("\n" in value or "\r" in value for value in headers.values()):
            raise NotDelivered("a credential for a header has more than one line")
        headers |= {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if self.traceparent:
            headers["traceparent"] = self.traceparent
        data = encoded(json.dumps(body, ensure_ascii=False))
        status, answer = exchange(
            url, path, data, headers, timeout_seconds=channel.timeout_seconds, context=_tls(channel)
        )
        if not 200 <= status < 300:
            raise NotDelivered(
                f"answer {status}: {self._said(answer)}",
                refused=status in REFUSED,
            )

    def _email(self, channel: Channel, alert: Alert) -> None:
        import smtplib
        from email.message import EmailMessage
        from email.utils import formatdate, make_msgid

        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = (
            alert.subject,
            channel.sender,
            ", ".join(channel.recipients),
        )
        message["Date"], message["Message-ID"] = (
            formatdate(alert.at),
            make_msgid(domain=channel.sender.partition("@")[2]),
        )
        message["Auto-Submitted"] = "auto-generated"
        message["X-Slipway-Key"] = alert.key
        message.set_content(alerts.mail(alert))
        try:
            context = _tls(channel)
            if channel.security == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(
                    channel.host, channel.port, timeout=channel.timeout_seconds, context=context
                )
            else:
                server = smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_seconds)
            with server:
                if channel.security == "starttls":
                    server.starttls(context=context)  # raises where the server has none: nothing goes in clear text
                if channel.user:
                    server.login(channel.user, self.credentials.read(channel.password_credential))
                refused = server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"answer {error.smtp_code}: {self._said(error.smtp_error)}") from None
        except smtplib.SMTPException as error:
            raise NotDelivered(f"{type(error).__name__}: {self._said(str(error))}") from None
        if refused:
            left = [address for address, (code, _why) in refused.items() if code < 500]
            why = f"{len(refused)} of {len(channel.recipients)} recipients were refused"
            is_partial = len(refused) < len(channel.recipients)
            raise NotDelivered(
                f"{why}, {len(left)} of them for now" if left else why,
                refused=is_partial and not left, left=left, is_partial=is_partial,
            )  # fmt: skip


def _tls(channel: Channel) -> ssl.SSLContext | None:
    """Certificates are verified, by the system's authorities or by those of ``ca_file``, and the agent's own is shown where it has one.

    None where nothing is encrypted.
    """
    if channel.kind == "email" and channel.security == "none":
        return None
    if channel.kind != "email" and channel.url.startswith("http://"):
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=channel.ca_file or None)
        if channel.certificate_file:
            context.load_cert_chain(channel.certificate_file, channel.key_file)
        return context
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (channel.ca_file, channel.certificate_file, channel.key_file)))
        raise NotDelivered(f"{files} cannot be read: {error}") from None


def exchange(
    url: str,
    path: str,
    data: bytes | None,
    headers: Mapping[str, str],
    *,
    timeout_seconds: float,
    context: ssl.SSLContext | None = None,
    limit: int = ANSWER_LIMIT,
) -> tuple[int, bytes]:
    """POST ``data`` (GET without any) to ``url`` with ``path`` after it; the status and the first ``limit`` bytes of the answer. OSError when there is none."""
    parts = urlsplit(url)
    target = (parts.path.rstrip("/") if path else parts.path or "/") + path + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return _in_clear(parts, target, data, headers, timeout_seconds, limit=limit)
    import http.client

    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout_seconds, context=context)
    try:
        connection.request("GET" if data is None else "POST", target, body=data, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(limit)
    except http.client.HTTPException as error:
        raise OSError(f"no answer of HTTP: {type(error).__name__}") from error
    finally:
        connection.close()


def _in_clear(
    parts: SplitResult,
    target: str,
    data: bytes | None,
    headers: Mapping[str, str],
    timeout_seconds: float,
    *,
    limit: int,
) -> tuple[int, bytes]:
    """The same by HTTP/1.0, for what is on this machine: the standard library's client brings TLS and mail with it, a tenth of the agent's memory."""
    lines = [f"{'GET' if data is None else 'POST'} {target} HTTP/1.0", f"Host: {parts.netloc.rpartition('@')[2]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(data)}"] if data is not None else []
    request = "\r\n".join([*lines, "", ""]).encode() + (data or b"")
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=timeout_seconds) as connection:
        connection.sendall(request)
        answer = b""
        most = limit + HEAD_LIMIT
        while len(answer) < most and not _is_whole(answer) and (more := connection.recv(most - len(answer))):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    status = STATUS_LINE.match(head)
    if status is None:
        # Enough to tell another protocol by, and too little of a request that comes back to have a secret in it.
        raise OSError(f"no answer of HTTP: {shown(head[:8])}")
    return int(status[1]), body[:limit]


def _is_whole(answer: bytes) -> bool:
    """Whether a server that does not hang up has said all."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = CONTENT_LENGTH.search(head)
    return bool(end and length and len(body) >= int(length[1]))
