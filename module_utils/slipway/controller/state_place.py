# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a controller keeps its state: a SQLite file in its state directory, or a PostgreSQL database that several share.

An address never has a password: libpq's own means (PGPASSFILE, PGSERVICEFILE, client certificates) or a secret's name give one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..base.errors import Refusal

FILE_NAME: Final = "state.sqlite"
SCHEMES: Final = ("postgresql://", "postgres://")  # in small letters, as libpq knows them
CONNECT_SECONDS: Final = 5
# What an address may say of itself beside host, port, user and database: libpq's own names. What would carry or log a password is not here.
PARAMETERS: Final = frozenset(
    {
        "host", "hostaddr", "port", "user", "dbname", "service", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir",
        "sslsni", "ssl_min_protocol_version", "channel_binding", "require_auth", "krbsrvname", "gssencmode", "target_session_attrs",
        "application_name",
    }
)  # fmt: skip
# Servers repeat these in what they say, and so do we: no : or @ or / in them, by which a password that slipped there would be set off.
NAMES: Final = ("user", "database", "dbname")
NAME: Final = re.compile(r"[\w.$ -]*")


def no_password() -> str | None:
    """No password beside what libpq finds by itself."""
    return None


def require_address(url: str) -> str:
    """The address of a PostgreSQL database, "" for none.

    Refusal ``state_url_invalid``. It repeats nothing of the address: where one is mistyped, a password may stand in any part of it.
    """
    if not url:
        return ""
    expected = "postgresql://[user@]host[:port]/database[?sslmode=…], without a password, or nothing for a file of this controller"
    if not url.startswith(SCHEMES):
        raise _invalid(expected, f"an address that does not begin with {' or '.join(SCHEMES)}")
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _port = parts.port
    except ValueError:
        raise _invalid(expected, "an address that cannot be read") from None
    if parts.password is not None or any(name in ("password", "sslpassword") for name, _value in given):
        raise _invalid(expected, "an address with a password in it")
    if unknown := [str(place) for place, (name, _value) in enumerate(given, 1) if name not in PARAMETERS]:
        raise _invalid(
            f"{expected}; after the ? {', '.join(sorted(PARAMETERS))}",
            f"something else as parameter {', '.join(unknown)} after the ?",
        )
    if parts.fragment or not url.isprintable():
        raise _invalid(expected, "an address with a # or characters that cannot be printed")
    names = [("user", parts.username or ""), ("database", parts.path[1:]), *given]
    if wrong := [name for name, value in names if name in NAMES and not NAME.fullmatch(unquote(value))]:
        raise _invalid(expected, f"more than a name where that of the {' and the '.join(wrong)} belongs")
    return url


def _invalid(expected: str, found: str) -> Refusal:
    return Refusal(
        "state_url_invalid",
        expected=expected,
        found=found,
        remedy="Correct slipway_state_url; a password belongs into a secret that slipway_state_password_secret names, or into libpq's PGPASSFILE.",
    )


@dataclass(frozen=True)
class StatePlace:
    """The state of a controller with this ``directory``; with a ``url`` it is in that database.

    ``password`` is asked when a connection is opened. ``is_required`` is false where an operator said to go on without a database.
    """

    directory: Path
    url: str = ""
    password: Callable[[], str | None] = field(default=no_password, repr=False, compare=False)
    is_required: bool = True
    connect_seconds: int = CONNECT_SECONDS
    witness_key: Path | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other controllers, which this one cannot see, may have the same state."""
        return bool(self.url)

    @property
    def path(self) -> Path:
        """The SQLite file, where the state is one."""
        return self.directory / FILE_NAME

    @property
    def key_path(self) -> Path:
        """The private key of the witness. It is never in the database: what was cosigned with it could be made anew there."""
        return self.witness_key or self.directory / "witness.pem"

    def dispensable(self) -> StatePlace:
        """The same for a way back, which is open whatever is not there to remember it."""
        return replace(self, is_required=False)

    def __str__(self) -> str:
        """Where it is, for people."""
        if not self.url:
            return str(self.path)
        parts = urlsplit(self.url)
        return f"{parts.hostname or 'localhost'}{f':{parts.port}' if parts.port else ''}, database {unquote(parts.path[1:]) or '(default)'}"


def place_of(state: Path | StatePlace) -> StatePlace:
    """A directory alone stands for the file in it."""
    return state if isinstance(state, StatePlace) else StatePlace(state)
