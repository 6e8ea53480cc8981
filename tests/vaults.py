# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Vault (or OpenBao) for tests: with TLS, key/value version 2, AppRole, JWT and an audit device, sealed and cut off at will.

`python3 -m lab vault` says where the binary comes from. Storage is in memory; everything else is below one directory.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import pytest
from ansible.module_utils.slipway.secrets.vault import VaultSettings
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab import vault as binary

START_SECONDS = 60
DAY = datetime.timedelta(days=1)
POLICY = """
path "secret/data/shop/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/shop/*" { capabilities = ["create", "read", "update", "list"] }
path "secret/data/shop/forbidden/*" { capabilities = ["deny"] }
"""


@dataclass
class RealVault:
    """One server. ``root`` is a client that may do everything; ``approle()`` are settings for one that may do what POLICY says."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    keys: list[str] = field(default_factory=list)
    token: str = ""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def root(self) -> hvac.Client:
        return hvac.Client(url=self.url, token=self.token, verify=str(self.ca), timeout=30)

    def settings(self, **about: Any) -> VaultSettings:
        """As the AppRole ``shop``, below the prefix ``shop``."""
        files = {"role_id_path": self.directory / "role-id", "secret_id_path": self.directory / "secret-id"}
        given = {
            "auth": "approle",
            **(files if about.get("auth", "approle") == "approle" else {}),
            "prefix": "shop",
            **about,
        }
        return VaultSettings(self.url, ca_path=self.ca, **given)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        log = open(self.directory / "server.log", "ab")  # noqa: SIM115 - it belongs to the server
        command = [binary.ensure(), "server", f"-config={self.directory / 'server.json'}"]
        bare = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=bare)
        log.close()
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                self.root.sys.read_health_status(method="GET")
                return
            except Exception:
                assert self.process.poll() is None, (self.directory / "server.log").read_text()
                time.sleep(0.1)
        raise TimeoutError((self.directory / "server.log").read_text())

    def set_up(self) -> None:
        """Initialise and unseal it; a key/value mount, an audit device, the policy, an AppRole and its credentials."""
        made = self.root.sys.initialize(1, 1)
        self.keys, self.token = made["keys"], made["root_token"]
        self.unseal()
        root = self.root
        root.sys.enable_audit_device(
            "file", path="file", options={"file_path": str(self.directory / "audit.jsonl"), "mode": "0600"}
        )
        root.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        root.sys.create_or_update_policy("shop", POLICY)
        root.sys.enable_auth_method("approle")
        root.auth.approle.create_or_update_approle("shop", token_policies=["shop"], token_ttl="1h")
        self.secret("role-id", root.auth.approle.read_role_id("shop")["data"]["role_id"])
        self.new_secret_id()
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:  # an upgrade of the mount goes on for a moment
            try:
                root.secrets.kv.v2.create_or_update_secret("ready", {"value": "yes"})
                return
            except hvac.exceptions.InvalidRequest:
                time.sleep(0.1)

    def new_secret_id(self) -> Path:
        return self.secret("secret-id", self.root.auth.approle.generate_secret_id("shop")["data"]["secret_id"])

    def secret(self, name: str, text: str) -> Path:
        """A file of mode 0600."""
        path = self.directory / name
        path.unlink(missing_ok=True)
        path.touch(0o600)
        path.write_text(text)
        return path

    def put(self, name: str, **fields: Any) -> None:
        self.root.secrets.kv.v2.create_or_update_secret(f"shop/{name}", fields)

    def seal(self) -> None:
        self.root.sys.seal()

    def unseal(self) -> None:
        self.root.sys.submit_unseal_keys(self.keys)
        end = time.monotonic() + START_SECONDS
        # A server that is ready answers with an object; what another one says, hvac returns as it came.
        while not isinstance(self.root.sys.read_health_status(method="GET"), dict) and time.monotonic() < end:
            time.sleep(0.05)

    def cut_off(self) -> None:
        """Let connections stand open without an answer."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def asked(self, path: str, *operations: str) -> list[dict[str, Any]]:
        """The requests for a path that the audit device noted, of those operations if any are given."""
        lines = (self.directory / "audit.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        requests = [each["request"] for each in records if each["type"] == "request"]
        return [
            each for each in requests if each["path"] == path and (not operations or each["operation"] in operations)
        ]


def certificates(directory: Path) -> None:
    """An authority (ca.pem) and a certificate by it for 127.0.0.1 (server.pem, server.key)."""
    now = datetime.datetime.now(datetime.UTC)

    def build(name: str, issuer: str, public: ec.EllipticCurvePublicKey, is_authority: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )

    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    own = build("authority", "authority", authority.public_key(), True).sign(authority, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        build("vault", "authority", server.public_key(), False)
        .add_extension(names, False)
        .sign(authority, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    (directory / "server.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key = server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.key").touch(0o600)
    (directory / "server.key").write_bytes(key)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def run(directory: Path) -> RealVault:
    """A server below a directory, ready to be asked."""
    vault = RealVault(directory, free_port())
    certificates(directory)
    listener = {
        "address": f"127.0.0.1:{vault.port}", "tls_cert_file": str(directory / "server.pem"), "tls_key_file": str(directory / "server.key"),
    }  # fmt: skip
    configuration = {
        "storage": {"inmem": {}}, "listener": {"tcp": listener}, "disable_mlock": True, "api_addr": vault.url, "log_level": "warn",
    }  # fmt: skip
    (directory / "server.json").write_text(json.dumps(configuration))
    try:
        vault.start()
        vault.set_up()
    except BaseException:
        vault.stop()
        raise
    return vault


@pytest.fixture(scope="session")
def vault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealVault]:
    """The server of a test session, for `real_vault`."""
    vault = run(tmp_path_factory.mktemp("vault"))
    yield vault
    vault.stop()


@pytest.fixture
def real_vault(vault_server: RealVault) -> RealVault:
    """A server that runs and is not sealed, whatever the test before did to it."""
    vault_server.go_on()
    if vault_server.root.sys.is_sealed():
        vault_server.unseal()
    return vault_server
