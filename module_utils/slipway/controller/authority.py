# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for what watches: an authority on the controller, and one certificate for each host, to serve with and to ask with. Controller only.

Nothing but metrics and alerts hangs on it: releases are believed by the trust policy and by nothing here.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..base.errors import Refusal, shown
from ..base.files import read_if_there, write_durable

DAYS: Final = 397
AUTHORITY_DAYS: Final = 3650
RENEW_DAYS: Final = 60
LIMIT: Final = 64 * 1024
HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
DIRECTORY: Final = "monitoring"


@dataclass(frozen=True)
class Issued:
    """Files on the controller: a certificate, its key, and the authority's certificate; ``changed`` when they were made now."""

    certificate: Path
    key: Path
    authority: Path
    changed: bool
    expires: datetime.datetime


@dataclass(frozen=True)
class Authority:
    """The authority that a controller keeps in ``directory``, which nobody else reads."""

    directory: Path

    @property
    def certificate_path(self) -> Path:
        return self.directory / "authority.pem"

    @property
    def key_path(self) -> Path:
        return self.directory / "authority.key"

    def issue(self, name: str, addresses: Sequence[str], now: int, *, check: bool = False) -> Issued:
        """A certificate for the host ``name`` at ``addresses``: the one that is there, or a new one when it ends soon or is for others.

        ``now`` is Unix seconds. Refusals: ``certificate_invalid``.
        """
        if not HOST.match(name) or name == "authority":
            raise _invalid("a host's name of letters, digits, dots and dashes", name)
        names = _names(name, addresses)
        if check:
            return self._issue(name, names, now, check=True)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The hosts of a play ask at the same time, and there is one authority for all.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return self._issue(name, names, now, check=False)
        finally:
            os.close(descriptor)

    def _issue(self, name: str, names: Sequence[x509.GeneralName], now: int, *, check: bool) -> Issued:
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        there = self._kept(certificate, key)
        issuer = self._issuer()
        if there is not None and issuer is not None and _still_serves(there, issuer, names, moment):
            return Issued(certificate, key, self.certificate_path, False, there.not_valid_after_utc)
        expires = moment + datetime.timedelta(days=DAYS)
        if not check:
            issuer_key = self._ensure_authority(moment)
            issuer = self._issuer()
            assert issuer is not None  # noqa: S101  # made a line above
            own = ec.generate_private_key(ec.SECP256R1())
            made = (
                _builder(name, moment, expires)
                .issuer_name(issuer.subject)
                .public_key(own.public_key())
                .add_extension(x509.SubjectAlternativeName(names), critical=False)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(
                    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                    critical=False,
                )
                .sign(issuer_key, hashes.SHA256())
            )
            write_durable(key, _pem(own), mode=0o600)
            write_durable(certificate, made.public_bytes(serialization.Encoding.PEM), mode=0o644)
        return Issued(certificate, key, self.certificate_path, True, expires)

    def _ensure_authority(self, moment: datetime.datetime) -> ec.EllipticCurvePrivateKey:
        """The authority's key, made with its certificate where there is none yet, or where that is about to end."""
        data, issuer = read_if_there(self.key_path, limit=LIMIT, what="authority's key"), self._issuer()
        longest = datetime.timedelta(days=DAYS)
        if data and issuer is not None and issuer.not_valid_after_utc - moment > longest:
            kept = _private(data)
            if kept.public_key() == issuer.public_key():
                return kept
        key = ec.generate_private_key(ec.SECP256R1())
        name = "Slipway monitoring authority"
        made = (
            _builder(name, moment, moment + datetime.timedelta(days=AUTHORITY_DAYS))
            .issuer_name(_subject(name))
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        write_durable(self.key_path, _pem(key), mode=0o600)
        write_durable(self.certificate_path, made.public_bytes(serialization.Encoding.PEM), mode=0o644)
        return key

    def _issuer(self) -> x509.Certificate | None:
        return _certificate(self.certificate_path)

    def _kept(self, certificate: Path, key: Path) -> x509.Certificate | None:
        """The certificate that is there, if it is that of the key beside it."""
        found, data = _certificate(certificate), read_if_there(key, limit=LIMIT, what="certificate's key")
        if found is None or not data or _private(data).public_key() != found.public_key():
            return None
        return found


def _still_serves(
    there: x509.Certificate, issuer: x509.Certificate, names: Sequence[x509.GeneralName], moment: datetime.datetime
) -> bool:
    try:
        there.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    said = list(there.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    return said == list(names) and there.not_valid_after_utc - moment > datetime.timedelta(days=RENEW_DAYS)


def _names(name: str, addresses: Sequence[str]) -> list[x509.GeneralName]:
    """The host's own name, where it is one of DNS, each address, and loopback: who asks from the host itself asks there."""
    found: list[x509.GeneralName] = [] if "_" in name else [x509.DNSName(name)]
    for address in dict.fromkeys([*addresses, "127.0.0.1"]):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            if not HOST.match(address) or "_" in address:
                raise _invalid("addresses, or names of DNS", address) from None
            found.append(x509.DNSName(address))
    return [each for number, each in enumerate(found) if each not in found[:number]]


def _builder(name: str, begins: datetime.datetime, ends: datetime.datetime) -> x509.CertificateBuilder:
    # A host's clock may be behind by some minutes.
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - datetime.timedelta(minutes=5))
        .not_valid_after(ends)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(path: Path) -> x509.Certificate | None:
    data = read_if_there(path, limit=LIMIT, what="certificate")
    try:
        return x509.load_pem_x509_certificate(data) if data else None
    except ValueError:
        raise _invalid(f"a certificate in {path}", "another file") from None


def _private(data: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError):
        raise _invalid("the key that Slipway wrote", "another file") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _invalid("a key of P-256", "another one")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _invalid(expected: str, found: str) -> Refusal:
    return Refusal(
        "certificate_invalid",
        expected=expected,
        found=shown(found),
        remedy=f"Correct the inventory, or remove {DIRECTORY}/ in the controller's state directory: all certificates are made anew then.",
    )
