# SPDX-License-Identifier: GPL-3.0-or-later
"""The key that a person signs with: a PEM file, or a key that an ssh-agent keeps. Controller only.

An agent signs the bytes it is given with a key of the type `ssh-ed25519` as plain Ed25519, so such a signature cannot be told from
one that a file's key made. That is so for ssh-agent, and for what speaks as one: gpg-agent, a password manager, a smartcard's agent.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..base.errors import Refusal, shown
from ..trust.keys import PublicKey, SigningKey, load_private_key

if TYPE_CHECKING:
    import paramiko
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

AGENT: Final = "agent"
PLAIN: Final = "ssh-ed25519"
SECURITY_KEY: Final = "sk-ssh-ed25519@openssh.com"


class AgentKey:
    """An Ed25519 key of the running ssh-agent; it signs as a private key in memory does, and never leaves the agent."""

    def __init__(self, key: paramiko.AgentKey) -> None:
        self._key = key
        self.comment = key.comment
        self.fingerprint = key.fingerprint

    def public_key(self) -> Ed25519PublicKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(_parts(self._key.asbytes())[1])

    def sign(self, data: bytes, /) -> bytes:
        """Return the agent's signature over `data`; Refusal("agent_refused") when it gives none."""
        import paramiko

        try:
            return _parts(bytes(self._key.sign_ssh_data(data)))[1]
        except (paramiko.SSHException, OSError) as error:
            raise Refusal(
                "agent_refused",
                expected=f"the ssh-agent to sign with the key {shown(self.comment)[1:-1]} ({self.fingerprint})",
                found=str(error) or "no answer",
                remedy="Unlock the agent or the device, say yes when it asks, then run the same command again.",
            ) from None


def open_key(where: str, passphrase: bytes | None = None, among: Collection[PublicKey] | None = None) -> SigningKey:
    """Return the key at `where`: a path, `agent`, or `agent:` and a comment, a fingerprint (SHA256:…) or 64 hex digits.

    `agent` alone is the only one of its keys, or the only one of `among`, if that is given.
    """
    if where == AGENT or where.startswith(f"{AGENT}:"):
        return _agent_key(where.removeprefix(AGENT).removeprefix(":"), among)
    return load_private_key(Path(where), passphrase)


def is_in_agent(where: str) -> bool:
    """Whether `where` names a key of an agent and not a file."""
    return where == AGENT or where.startswith(f"{AGENT}:")


def _agent_key(wanted: str, among: Collection[PublicKey] | None) -> AgentKey:
    there = _agent_keys()
    if wanted:
        named = [key for key in there if wanted in (key.comment, key.fingerprint, _hex(key))]
    else:
        named = [key for key in there if key.get_name() == PLAIN]
        if among is not None:
            named = [key for key in named if _hex(key) in {public.hex for public in among}]
    if len(named) != 1:
        listed = ", ".join(f"{shown(key.comment)[1:-1]} {key.fingerprint} {key.get_name()}" for key in named or there)
        raise Refusal(
            "agent_key_unknown",
            expected=f"one key {wanted}".rstrip()
            + " in the ssh-agent"
            + (" that the trust policy knows" if among else ""),
            found=f"{len(named) or 'none'}; there: {listed or 'no key'}",
            remedy="Add it with ssh-add, or say which one: agent:<comment or fingerprint>, as `ssh-add -l` prints them.",
        )
    if named[0].get_name() != PLAIN:
        raise Refusal(
            "agent_key_unfit",
            expected=f"a key of the type {PLAIN}, which signs exactly the bytes that it is given",
            found=f"{shown(named[0].comment)[1:-1]}: a key of the type {named[0].get_name()}",
            remedy=f"{SECURITY_KEY} and other types sign something else. Use an Ed25519 key; smartcards have them through gpg-agent.",
        )
    return AgentKey(named[0])


def _agent_keys() -> list[paramiko.AgentKey]:
    import paramiko

    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, ValueError, OSError) as error:
        raise _no_agent(f"an agent that speaks otherwise ({error})") from None
    if getattr(agent, "_conn", None) is None:
        raise _no_agent("none")
    return list(agent.get_keys())


def _no_agent(found: str) -> Refusal:
    return Refusal(
        "agent_missing",
        expected="an ssh-agent at SSH_AUTH_SOCK",
        found=found,
        remedy="Start one (eval $(ssh-agent)) and add your key to it (ssh-add), or give the path of a key file.",
    )


def _hex(key: paramiko.AgentKey) -> str | None:
    return _parts(key.asbytes())[1].hex() if key.get_name() == PLAIN else None


def _parts(blob: bytes) -> tuple[bytes, bytes]:
    """The two strings of an SSH key or signature blob: its type and its value."""
    import paramiko

    message = paramiko.Message(blob)
    return message.get_string(), message.get_string()
