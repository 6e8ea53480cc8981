# SPDX-License-Identifier: GPL-3.0-or-later
"""The files with which this machine proves to a provider who it is: settings name them, and never hold what is in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ..base.errors import Refusal
from ..base.files import read_if_there

LIMIT: Final = 64 << 10


def read_credential(path: Path, *, label: str, what: str, private: bool = True) -> str:
    """The one word in a file; with ``private`` only its owner may be able to read it.

    Refusals ``secret_credential_missing``, ``secret_credential_exposed``, ``secret_credential_empty``.
    """

    def judge(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if private and (status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o077):
            raise Refusal(
                "secret_credential_exposed",
                expected=f"the {what} of {label} in {path} to be yours and of mode 0600",
                found=f"owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
                remedy="chmod 0600 it if nobody else had reason to read it; else have another one issued.",
            )

    data = read_if_there(path, limit=LIMIT, what="credential", judge=judge)
    if data is None:
        raise Refusal(
            "secret_credential_missing",
            expected=f"the {what} of {label} in {path}",
            found="no such file",
            remedy="Put it there with mode 0600, or correct the path in secrets_providers.",
        )
    text = data.decode("utf-8", "replace").strip()
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise Refusal(
            "secret_credential_empty",
            expected=f"the {what} of {label} in {path}, one word",
            found=f"{len(text)} characters that are not one",
            remedy="Write it anew, with nothing else in the file.",
        )
    return text
