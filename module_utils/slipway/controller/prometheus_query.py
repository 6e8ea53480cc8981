# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking Prometheus for one number. Controller only: nothing on a host depends on a Prometheus that answers."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..base.fields import Fields
from ..base.together import within

TIMEOUT_SECONDS: Final = 5
LIMIT: Final = 1 << 20
URL: Final = re.compile(r"https?://[^\s'\"<>@]{1,2000}\Z")
FILES: Final = ("certificate", "key", "authority")
REMEDY: Final = "Correct release_prometheus in group_vars (docs/howto/observe.md)."
FILE: Final = re.compile(r"[^\x00-\x1f\x7f]{0,1023}\Z")


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus at ``url``, asked with TLS and a client certificate where ``certificate``, ``key`` and ``authority`` are files."""

    url: str
    certificate: str = ""
    key: str = ""
    authority: str = ""

    @classmethod
    def parse(cls, value: object) -> Prometheus:
        """Read `release_prometheus`. Refusals: ``analysis_invalid``."""
        fields = Fields(
            value,
            "release_prometheus",
            "analysis_invalid",
            REMEDY,
        )
        url = fields.text("url", URL)
        files = {name: fields.text(name, FILE) if name in fields else "" for name in FILES}
        if lacking := [name for name in FILES if not files[name] and any(files.values())]:
            raise fields.refusal(lacking[0], f"{', '.join(FILES)}, or none of them", "none")
        fields.end()
        return cls(url, *(str(Path(file).expanduser()) if file else "" for file in files.values()))

    def require_files(self) -> None:
        """Refuse files that are not there, or cannot be read: ``analysis_invalid``."""
        for file in filter(None, (self.certificate, self.key, self.authority)):
            if not os.access(file, os.R_OK):
                raise Refusal(
                    "analysis_invalid",
                    expected=f"in release_prometheus the file {file}",
                    found="none that can be read",
                    remedy=REMEDY,
                )

    def number(self, query: str) -> tuple[float | None, str]:
        """The value of an expression that has one, and "". None and why where there is no such number, or no answer."""
        data = urllib.parse.urlencode({"query": query}).encode()
        # The scheme is the operator's, from group_vars.
        request = urllib.request.Request(f"{self.url.rstrip('/')}/api/v1/query", data=data)  # noqa: S310  # http and https, as group_vars say
        try:
            # Each read has its own time, so one that drips would never end.
            answer = json.loads(within(TIMEOUT_SECONDS, lambda: self._read(request)))
        except urllib.error.HTTPError as error:
            return None, f"Prometheus answered {error.code}"
        except TimeoutError:
            return None, f"Prometheus did not answer within {TIMEOUT_SECONDS} s"
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            return (
                None,
                f"Prometheus did not answer: {shown(str(getattr(error, 'reason', error)) or type(error).__name__)}",
            )
        return _value(answer)

    def _read(self, request: urllib.request.Request) -> bytes:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=self._context()) as response:  # noqa: S310  # as above
            return bytes(response.read(LIMIT))

    def _context(self) -> ssl.SSLContext | None:
        if not self.authority:
            return None
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context


def _value(answer: Any) -> tuple[float | None, str]:
    """The number of an answer: a scalar, or the one sample of a vector."""
    try:
        data = answer["data"]
        if data["resultType"] == "scalar":
            return float(data["result"][1]), ""
        if data["resultType"] == "vector" and len(data["result"]) == 1:
            return float(data["result"][0]["value"][1]), ""
        return None, f"{len(data['result'])} values instead of one"
    except (KeyError, IndexError, TypeError, ValueError):
        return None, "no answer as Prometheus gives it"
