# SPDX-License-Identifier: GPL-3.0-or-later
"""A real ssh-agent with keys made by openssh, for tests."""

from __future__ import annotations

import base64
import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible.module_utils.slipway.trust.keys import PublicKey


@dataclass(frozen=True)
class Agent:
    """An ssh-agent that listens at `directory`/agent; `environment` is what its clients need. Who is asked says no."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SSH_AUTH_SOCK": str(self.directory / "agent"), "SSH_ASKPASS": "/bin/false"}

    def command(self, *words: str | Path, **variables: str) -> str:
        """Run an openssh command that must succeed; returns its output."""
        done = subprocess.run(
            words, env={**self.environment, **variables}, cwd=self.directory, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def add(self, comment: str, *options: str, kind: str = "ed25519") -> PublicKey | None:
        """Make a key with ssh-keygen and add it with ssh-add; returns its public half when it is Ed25519."""
        path = self.directory / f"key-{comment}"
        self.command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", path)
        self.command("ssh-add", "-q", *options, path)
        return PublicKey.from_text(path.with_suffix(".pub").read_text()) if kind == "ed25519" else None

    def add_security_key(self, comment: str) -> None:
        """Add a key that a FIDO2 device would hold: its handle is invented, so it can be listed and not used."""
        kind, public, application = b"sk-ssh-ed25519@openssh.com", bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"), b"ssh:"  # fmt: skip
        fields = [kind, public, application]
        private = b"".join(map(_text, fields)) + b"\x01" + _text(b"handle" * 8) + _text(b"") + _text(comment.encode())
        private = bytes(8) + private
        private += bytes(range(1, -len(private) % 8 + 1))
        blob = _text(b"".join(map(_text, fields)))
        whole = b"openssh-key-v1\0" + _text(b"none") * 2 + _text(b"") + struct.pack(">I", 1) + blob + _text(private)
        path = self.directory / f"key-{comment}"
        body = base64.encodebytes(whole).decode()
        path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}-----END OPENSSH PRIVATE KEY-----\n")
        path.chmod(0o600)
        self.command("ssh-add", "-q", "-S", "internal", path)


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """An ssh-agent without keys, at SSH_AUTH_SOCK."""
    directory = tmp_path / "ssh"
    directory.mkdir()
    running = Agent(directory)
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", directory / "agent"], env=running.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert "SSH_AUTH_SOCK" in process.stdout.readline()  # said when it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(directory / "agent"))
        yield running
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
