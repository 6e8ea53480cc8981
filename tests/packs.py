# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs as somebody else might write them, down to their bytes."""

from __future__ import annotations

import struct
import zlib

from ansible.module_utils.slipway.host.pack import BLOCK_BYTES, FILE_LIST, MAGIC, MANIFEST

END = bytes(8)


def member(name: str, data: bytes = b"", *, size: object = None) -> bytes:
    """A member of the stream that blocks are cut from; its line may say another size."""
    return f"{name} {len(data) if size is None else size}\n".encode() + data


def block(data: bytes, *, size: int | None = None, stored: int | None = None) -> bytes:
    """A block as it is; its two lengths may lie."""
    return struct.pack(">II", len(data) if size is None else size, len(data) if stored is None else stored) + data


def deflated(data: bytes, *, size: int | None = None) -> bytes:
    """A deflated block; the length of its content may lie."""
    return block(zlib.compress(data, 9), size=len(data) if size is None else size)


def packed(*members: bytes) -> bytes:
    """A whole pack of these members, nothing of it deflated."""
    stream = b"".join(members)
    cut = (stream[start : start + BLOCK_BYTES] for start in range(0, len(stream), BLOCK_BYTES))
    return MAGIC + b"".join(map(block, cut)) + END


START = member(MANIFEST, b"{m}") + member(FILE_LIST, b"[f]")
