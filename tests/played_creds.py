# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-creds as tests play it: what it encrypts is bound to its name, and can be decrypted here alone."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host.credentials import encoded
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = bytes(32)
VERSION = Finished(0, "systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT\n")
SECRET = {"secret": "database/main", "field": "password", "provider": "local", "version": "1"}


def play(argv: Sequence[str], given: bytes | None) -> Finished:
    """Run ``systemd-creds --version`` or ``systemd-creds encrypt --name=… - <path>``."""
    if argv[1] == "--version":
        return VERSION
    _program, verb, name, source, path = argv
    assert (verb, source) == ("encrypt", "-")
    assert given is not None
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(KEY).encrypt(nonce, given, name.removeprefix("--name=").encode())
    with open(path, "xb") as file:
        file.write(sealed)
    return Finished(0, "")


def decrypt(path: Path, name: str) -> str:
    """What a service would get under this name."""
    data = path.read_bytes()
    return AESGCM(KEY).decrypt(data[:12], data[12:], name.encode()).decode()


def loaded(directory: Path) -> dict[str, str]:
    """What a service gets that loads this directory as ``slipway``, as systemd does it."""
    return {f"slipway_{path.name}": decrypt(path, f"slipway_{path.name}") for path in sorted(directory.iterdir())}


def bringing(values: Mapping[str, str], **about: str) -> dict[str, object]:
    """The keys of a request to stage that bring these."""
    return {"credentials": {name: {**SECRET, **about} for name in values}, "credential_values": encoded(values)}


def values_of(text: str) -> dict[str, str]:
    """What `credential_values` says."""
    found: dict[str, str] = canonical.parse(base64.b64decode(text), what="credentials")
    return found
