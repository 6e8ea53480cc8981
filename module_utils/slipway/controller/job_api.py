# SPDX-License-Identifier: GPL-3.0-or-later
"""The API v2 of an AWX, or of the automation controller that succeeds it: requests with a token over verified TLS, and what went wrong with one.

Only the standard library. The token goes nowhere but into the header of requests to the one address that was given.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from ..base.errors import Refusal, shown

ANSWER_LIMIT: Final = 16 << 20
ANSWER_SECONDS: Final = 30
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
TOO_MANY, SERVER_ERRORS = 429, 500
REASONS: Final = {401: "awx_unauthenticated", 403: "awx_forbidden", 404: "awx_not_found"}
REMEDIES: Final = {
    401: "Give a token that has not expired: CONTROLLER_OAUTH_TOKEN, or CONTROLLER_OAUTH_TOKEN_FILE.",
    403: "Let whoever has the token execute the template.",
    404: "Look whether it was removed, and whether the address is that of the API's host.",
}


class Unavailable(Exception):
    """No answer, or one that says to come again; ``retry_seconds`` is what the server asks for, 0 for nothing.

    A request that changes something may have been carried out all the same.
    """

    def __init__(self, found: str, retry_seconds: int = 0) -> None:
        self.retry_seconds = retry_seconds
        super().__init__(found)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token elsewhere."""

    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


@dataclass(frozen=True)
class Api:
    """``url`` without a path; ``token`` is never shown; ``ca_file`` has authorities (PEM) instead of the machine's."""

    url: str
    token: str = field(repr=False)
    ca_file: str = ""
    timeout_seconds: float = ANSWER_SECONDS

    def __post_init__(self) -> None:
        """Refusals: ``awx_address_invalid``, ``awx_token_missing``."""
        parts = urlsplit(self.url)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        if not is_safe or not parts.hostname or parts.username or parts.query or parts.path not in ("", "/"):
            raise Refusal(
                "awx_address_invalid",
                expected="CONTROLLER_HOST to be an address of https, with a port if need be, but without a path, a name or a password",
                found=shown(f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if parts.scheme else "nothing"),
                remedy="Correct it. Certificates are always verified; CONTROLLER_CA_FILE names authorities of your own.",
            )
        if not self.token or not self.token.isascii() or not self.token.isprintable():
            raise Refusal(
                "awx_token_missing",
                expected="a token of one line in CONTROLLER_OAUTH_TOKEN, or in the file that CONTROLLER_OAUTH_TOKEN_FILE names",
                found="none" if not self.token else "something else",
                remedy="Make one for this purpose alone (docs/howto/ci-cd.md), and keep it among the secrets of your CI.",
            )

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """What a GET answers; Unavailable, or a Refusal with a reason of ``REASONS``, ``awx_refused`` or ``awx_answer_invalid``."""
        return self._asked("GET", f"{path}{'?' if query else ''}{urlencode(query)}", None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a POST of JSON."""
        return self._asked("POST", path, json.dumps(body).encode())

    def link(self, kind: str, number: int) -> str:
        """Where people see a job in a browser."""
        return f"{self.url.rstrip('/')}/#/jobs/{'workflow' if kind == 'workflow_job' else 'playbook'}/{number}/output"

    def _asked(self, method: str, path: str, data: bytes | None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url.rstrip('/')}{path}", data=data, method=method)  # noqa: S310  # judged above
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self._opener().open(request, timeout=self.timeout_seconds) as response:
                return _parsed(response.read(ANSWER_LIMIT + 1), path)
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(error, method, path) from None
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise Refusal(
                    "awx_certificate_invalid",
                    expected=f"a certificate of {urlsplit(self.url).hostname} by an authority that is known here",
                    found=cause.verify_message or "another one",
                    remedy="Name the authority with CONTROLLER_CA_FILE. Nothing was sent.",
                ) from None
            raise Unavailable(str(cause) or type(error).__name__) from None

    def _opener(self) -> urllib.request.OpenerDirector:
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise Refusal(
                "awx_certificate_invalid",
                expected="CONTROLLER_CA_FILE to be a file of authorities (PEM)",
                found=str(error),
                remedy="Correct it. Nothing was sent.",
            ) from None
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())

    def _failure(self, error: urllib.error.HTTPError, method: str, path: str) -> Exception:
        if error.code == TOO_MANY or error.code >= SERVER_ERRORS:
            wished = error.headers.get("Retry-After", "")
            return Unavailable(
                f"status {error.code}", int(wished) if wished.isdecimal() and len(wished) < 5 else 0
            )  # hours at most
        said = " ".join(error.read(2000).decode("utf-8", "replace").split())
        return Refusal(
            REASONS.get(error.code, "awx_refused"),
            expected=f"{method} {path.partition('?')[0]} to be answered with a success",
            found=f"status {error.code}: {shown(said.replace(self.token, '…'), 500)}",
            remedy=REMEDIES.get(error.code, "Correct what it names."),
        )


def _parsed(data: bytes, path: str) -> dict[str, Any]:
    try:
        answer = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or len(data) > ANSWER_LIMIT:
        raise Refusal(
            "awx_answer_invalid",
            expected=f"a JSON object of at most {ANSWER_LIMIT} bytes from {path.partition('?')[0]}",
            found=shown(data[:200]),
            remedy="Look whether CONTROLLER_HOST is an AWX, and whether a proxy answers in its place.",
        )
    return answer
