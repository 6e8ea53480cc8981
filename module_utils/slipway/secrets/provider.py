# SPDX-License-Identifier: GPL-3.0-or-later
"""What a keeper of secrets must be able to do, and the two ways in which it does not answer."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..base.errors import Refusal
from .secret import Secret


class Unavailable(Exception):
    """A provider did not answer: the one reason to ask the next one of a chain.

    ``why`` is ``unreachable``, ``sealed`` or ``timed out``. Where it may pass within a second, asking again is worth it
    (``passing``). ``unsent`` is what certainly did not arrive: what must not be done twice may be tried again all the same.
    """

    def __init__(self, why: str, *, passing: bool = True, unsent: bool = False) -> None:
        self.why = why
        self.passing = passing
        self.unsent = unsent
        super().__init__(why)


class Unknown(Exception):
    """A provider answered that it has no such name, or no such version of it (404)."""


@dataclass(frozen=True)
class Standing:
    """The newest version of a secret and since when it is that, in Unix seconds; without what a provider does not know."""

    version: str = ""
    written: int | None = None


@dataclass(frozen=True)
class Entry:
    """What a list says of a secret: no values."""

    name: str
    kind: str | None = None
    description: str = ""
    version: str = ""


class Provider(Protocol):
    """A keeper of secrets. Every method may raise Unavailable, or a Refusal, which ends the search."""

    @property
    def label(self) -> str:
        """What ``secrets_providers`` calls it."""

    @property
    def origin(self) -> Sequence[str]:
        """Who is asked where as whom: what an answer may be cached under. Empty: it is quicker to ask again."""

    def read(self, name: str, version: str | None = None) -> Secret:
        """The newest version of a secret, or a certain one; Unknown where there is none."""

    def entries(self) -> list[Entry]:
        """What there is, sorted by name."""

    def write(self, secret: Secret) -> str:
        """Make this the newest version, and return what it is called. It is called once, never again after a failure."""

    def standing(self, name: str) -> Standing:
        """What its newest version is called and how old it is, without its values; Unknown where there is none."""

    def version_after(self, version: str) -> str:
        """What the version after this one will be called, if `replace` makes it."""

    def replace(self, secret: Secret, before: str) -> None:
        """Make this the newest version, under the name that ``secret.version`` says, if ``before`` is it until then; else a Refusal
        ``secret_overtaken``. With an empty ``before``: the first one, if there is none; then its name is the provider's to choose.
        """

    @property
    def ends_versions(self) -> bool:
        """Whether nobody can read a version that was retired. Where not, it is the provider who removes it, in its own time."""

    def retire(self, name: str, version: str, *, destroyed: bool) -> None:
        """Let nobody read a version that is not the newest one any more; ``destroyed`` for ever, where the provider knows a difference."""

    def remove(self, name: str) -> None:
        """Remove a secret with all of its versions. One that is not there is fine."""


def denied(label: str, name: str, found: str) -> Refusal:
    """For an answer of 403: somebody decided so, and no other provider is asked behind their back."""
    return Refusal(
        "secret_denied",
        expected=f"{label} to let this identity at {name}",
        found=found,
        remedy="Give the identity a policy that allows it, or ask as another one. Other providers of the chain were not asked.",
    )


def failed(label: str, found: str) -> Refusal:
    """For an answer that is neither yes nor no: what is broken there is not papered over by another provider."""
    return Refusal(
        "secret_provider_failed",
        expected=f"an answer of {label}",
        found=found,
        remedy="Look into that provider's own log, then run the same command again.",
    )


def untrusted(label: str, address: str) -> Refusal:
    """For a certificate that does not hold: who answers there may be anybody."""
    return Refusal(
        "secret_provider_untrusted",
        expected=f"a certificate for {address} by an authority that is trusted",
        found="one that does not hold",
        remedy=f"Name the authority in ca_path of {label}, or mend the certificate. Other providers were not asked.",
    )


def is_about_certificate(error: BaseException) -> bool:
    """Whether a connection failed by the certificate that was shown, and not because it was cut while it was made."""
    seen: list[object] = [error]
    for each in seen:
        if isinstance(each, ssl.SSLCertVerificationError):
            return True
        if isinstance(each, BaseException) and len(seen) < 64:
            details = getattr(each, "kwargs", {})  # where botocore puts its cause
            seen += [*each.args, *details.values(), getattr(each, "reason", None), each.__cause__, each.__context__]
    return False


def overtaken(label: str, name: str, before: str) -> Refusal:
    """For a version that somebody else has made meanwhile: theirs stays."""
    return Refusal(
        "secret_overtaken",
        expected=f"{before or 'none'} to be the newest version of {name} at {label} until it is replaced",
        found="another one: somebody has set it meanwhile",
        remedy=f"Find out who (make secrets-access NAME={name}). What was set stays: make secrets-rotate NAME={name} BACK=yes brings it to the hosts.",
    )


def read_only(label: str, how: str) -> Refusal:
    """For a provider that is filled by other means."""
    return Refusal(
        "secret_provider_read_only",
        expected="a first provider of the chain that secrets can be set in",
        found=label,
        remedy=f"{how}, or put another provider first (secrets_chain).",
    )
