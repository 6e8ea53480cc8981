# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host gets objects from by itself: one or more mirrors of an artifact store, static files over HTTPS or HTTP.

    <mirror>/<application>/objects/<two hex>/<sha256>

Nothing that comes from there is trusted, so `http` is allowed; credentials are not sent over it. Certificates are always
verified: there is no switch against that.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from ..base.errors import Refusal, kind_of, shown

MAX_MIRRORS: Final = 8
MAX_URL: Final = 2048
MIN_RATE_LIMIT: Final = 16 << 10
_PORTS: Final = {"http": 80, "https": 443}
_PRINTABLE: Final = re.compile(r"[!-~]+")
_HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]{0,8190}[!-~])?")
_OWN_HEADERS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "range", "transfer-encoding", "user-agent"}
)
_CREDENTIALS: Final = ({"token"}, {"username", "password"}, {"header", "value"})
_REMEDY: Final = "Correct release_source: one address such as https://store.example/slipway, or a list of them."


@dataclass(frozen=True)
class Address:
    """An absolute address that can be asked for: `target` is its path with the query, if it has one."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read an address; ValueError says what is wrong with it, without repeating it."""
        if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
            raise ValueError("something that is no address, or one with white space or characters that are not ASCII")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("no http:// or https:// address")
        if "@" in parts.netloc:
            raise ValueError("an address with a user or a password in it")
        port = parts.port if parts.port is not None else _PORTS[parts.scheme]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, parts.hostname, port, target)

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"

    def redirected(self, location: str) -> Address:
        """Where a redirect leads; ValueError when it is not followed.

        From https to any https address, as stores send to their distribution networks. From http only within the same host:
        there anybody in between may have written it, and a host must not be sent to ask around in its own network.
        """
        to = Address.parse(urljoin(self.url, location))
        if self.scheme == "https" and to.scheme != "https":
            raise ValueError("a redirect from https to http")
        if self.scheme == "http" and to.host != self.host:
            raise ValueError("a redirect from http to another host")
        return to


@dataclass(frozen=True)
class Source:
    """The mirrors in the order in which they are tried, and how they are asked."""

    mirrors: tuple[str, ...]
    ca: str = ""
    header: tuple[str, str] | None = field(default=None, repr=False)
    rate_limit: int = 0

    @classmethod
    def parse(cls, request: Mapping[str, Any]) -> Source | None:
        """The source that a request names, None where it names none.

        request: source (an address or a list of them), source_ca (certificates as PEM text, else those that the host trusts),
        source_credentials ({token}, {username, password} or {header, value}), source_rate_limit (bytes a second, 0 for no limit).
        Refusals: ``source_invalid``, ``source_ca_invalid``, ``source_credentials_invalid``, ``source_credentials_unprotected``,
        ``source_rate_limit_invalid``; none of them repeats a secret.
        """
        given = request.get("source") or []
        urls = [url for url in ([given] if isinstance(given, str) else given) if url != ""]
        if not urls:
            return None
        if len(urls) > MAX_MIRRORS:
            raise _invalid(f"{len(urls)} of them (at most {MAX_MIRRORS})")
        mirrors = tuple(dict.fromkeys(_mirror(url) for url in urls))
        source = cls(
            mirrors,
            _ca(request.get("source_ca") or ""),
            _header(request.get("source_credentials") or {}),
            _rate_limit(request.get("source_rate_limit") or 0),
        )
        plain = [url for url in mirrors if not url.startswith("https:")]
        if source.header and plain:
            raise Refusal(
                "source_credentials_unprotected",
                expected="https addresses, since credentials are sent to them",
                found=", ".join(plain),
                remedy="Use https, or leave release_source_credentials out: what comes is verified either way.",
            )
        return source

    def object_url(self, mirror: str, application: str, sha256: str) -> str:
        """Where a mirror has an object."""
        return f"{mirror}/{application}/objects/{sha256[:2]}/{sha256}"

    def tls(self) -> ssl.SSLContext:
        """How certificates are judged: by name and chain, by `ca` alone where it is given."""
        return ssl.create_default_context(cadata=self.ca or None)


def _mirror(url: object) -> str:
    if not isinstance(url, str):
        raise _invalid(kind_of(url))
    try:
        address = Address.parse(url)
    except ValueError as error:
        is_plain = not re.search(r"[@?#]", url)
        raise _invalid(f"{error}: {shown(url)}" if is_plain else str(error)) from None
    if "?" in url or "#" in url:
        raise _invalid("an address with a query or a fragment")
    return address.url.rstrip("/")


def _invalid(found: str) -> Refusal:
    return Refusal("source_invalid", expected="addresses of an artifact store", found=found, remedy=_REMEDY)


def _ca(pem: object) -> str:
    try:
        if not isinstance(pem, str):
            raise ValueError(kind_of(pem))
        if pem:
            ssl.create_default_context(cadata=pem)
    except (ValueError, ssl.SSLError) as error:
        raise Refusal(
            "source_ca_invalid",
            expected="certificates as PEM text",
            found=shown(str(error)),
            remedy="Give with release_source_ca a file of PEM certificates, those of the authorities alone.",
        ) from None
    return pem


def _header(credentials: object) -> tuple[str, str] | None:
    """The header that the credentials make; a Refusal says which part is wrong and never what it is."""
    if not credentials:
        return None
    if not isinstance(credentials, Mapping) or set(credentials) not in _CREDENTIALS:
        raise _credentials_invalid("other members")
    if not all(isinstance(value, str) and value for value in credentials.values()):
        raise _credentials_invalid("a member that is empty or no text")
    if "token" in credentials:
        name, value = "Authorization", f"Bearer {credentials['token']}"
    elif "username" in credentials:
        if ":" in credentials["username"]:
            raise _credentials_invalid("a username with a colon")
        pair = f"{credentials['username']}:{credentials['password']}".encode()
        name, value = "Authorization", f"Basic {base64.b64encode(pair).decode()}"
    else:
        name, value = credentials["header"], credentials["value"]
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise _credentials_invalid("a header that cannot be set")
    if not _HEADER_VALUE.fullmatch(value):
        raise _credentials_invalid("characters that no header can have")
    return (name, value)


def _credentials_invalid(found: str) -> Refusal:
    return Refusal(
        "source_credentials_invalid",
        expected="source credentials as {token}, {username, password} or {header, value}, texts in printable ASCII",
        found=found,
        remedy="Correct release_source_credentials.",
    )


def _rate_limit(value: object) -> int:
    if type(value) is not int or (value and value < MIN_RATE_LIMIT):
        raise Refusal(
            "source_rate_limit_invalid",
            expected=f"bytes a second as a whole number, at least {MIN_RATE_LIMIT}, or 0 for no limit",
            found=shown(value),
            remedy="Correct release_source_rate_limit.",
        )
    return value
