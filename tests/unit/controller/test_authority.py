# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for what watches: made once, renewed in time, and good for both sides of a connection."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.authority import AUTHORITY_DAYS, DAYS, RENEW_DAYS, Authority
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

NOW = 1_800_000_000
DAY = 86400


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "monitoring")


def test_keys_are_for_nobody_else(authority):
    issued = authority.issue("prod-1", ["10.0.0.1"], NOW)
    assert issued.changed
    assert stat.S_IMODE(authority.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in authority.directory.glob("*.key")} == {0o600}


def test_hosts_that_ask_at_the_same_time_get_certificates_of_one_authority(authority):
    program = (
        "import sys; from pathlib import Path; from ansible.module_utils.slipway.controller.authority import Authority; print('ready', flush=True); sys.stdin.read(); "
        "Authority(Path(sys.argv[1])).issue(sys.argv[2], [], int(sys.argv[3]))"
    )
    setup = f"import ansible.module_utils; ansible.module_utils.__path__.append({str(Path(__file__).parents[3] / 'module_utils')!r}); "
    names = [f"prod-{number}" for number in range(6)]
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", setup + program, str(authority.directory), name, str(NOW)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in names
    ]
    for each in asking:
        assert each.stdout.readline() == b"ready\n"
    for each in asking:
        each.stdin.close()
    assert [each.wait(60) for each in asking] == [0] * len(names)
    assert [authority.issue(name, [], NOW).changed for name in names] == [False] * len(names)


def test_what_is_there_is_taken_until_it_ends_soon(authority):
    first = authority.issue("prod-1", ["10.0.0.1"], NOW)
    data = first.certificate.read_bytes()
    assert not authority.issue("prod-1", ["10.0.0.1"], NOW + (DAYS - RENEW_DAYS - 1) * DAY).changed
    assert first.certificate.read_bytes() == data
    assert authority.issue("prod-1", ["10.0.0.1"], NOW + (DAYS - RENEW_DAYS + 1) * DAY).changed
    assert first.certificate.read_bytes() != data


@pytest.mark.parametrize(
    "spoil",
    [
        lambda issued: issued.key.unlink(),
        lambda issued: issued.certificate.unlink(),
        lambda issued: issued.authority.unlink(),
        lambda issued: issued.key.write_bytes((issued.key.parent / "authority.key").read_bytes()),
    ],
)
def test_what_does_not_belong_together_is_made_anew(authority, spoil):
    spoil(authority.issue("prod-1", ["10.0.0.1"], NOW))
    assert authority.issue("prod-1", ["10.0.0.1"], NOW).changed
    assert not authority.issue("prod-1", ["10.0.0.1"], NOW).changed


def test_an_authority_of_somebody_else_is_replaced(authority, tmp_path):
    other = Authority(tmp_path / "other").issue("prod-1", [], NOW)
    issued = authority.issue("prod-1", [], NOW)
    issued.authority.write_bytes(other.authority.read_bytes())
    assert authority.issue("prod-1", [], NOW).changed
    assert not authority.issue("prod-1", [], NOW).changed


def test_an_authority_that_would_end_before_its_certificates_is_made_anew(authority):
    first = authority.issue("prod-1", [], NOW).authority.read_bytes()
    assert authority.issue("prod-1", [], NOW + (AUTHORITY_DAYS - DAYS) * DAY).authority.read_bytes() != first


def test_a_host_cannot_make_certificates_for_others(authority):
    issued = authority.issue("prod-1", [], NOW)
    constraints = [
        x509.load_pem_x509_certificate(path.read_bytes())
        .extensions.get_extension_for_class(x509.BasicConstraints)
        .value.ca
        for path in (issued.certificate, issued.authority)
    ]
    assert constraints == [False, True]


def test_a_key_of_another_kind_is_refused(authority):
    issued = authority.issue("prod-1", [], NOW)
    key = ed25519.Ed25519PrivateKey.generate()
    issued.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(Refusal, match="certificate_invalid"):
        authority.issue("prod-1", [], NOW)


def test_an_address_that_is_a_name_is_one_of_the_certificates(authority):
    issued = authority.issue("prod_1", ["app.example", "app.example", "::1"], NOW)
    names = x509.load_pem_x509_certificate(issued.certificate.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(each.value) for each in names.value] == ["app.example", "::1", "127.0.0.1"]


def test_another_address_needs_another_certificate(authority):
    authority.issue("prod-1", ["10.0.0.1"], NOW)
    assert authority.issue("prod-1", ["10.0.0.2"], NOW).changed


def test_check_mode_makes_nothing(authority):
    assert authority.issue("prod-1", ["10.0.0.1"], NOW, check=True).changed
    assert not authority.directory.exists()


@pytest.mark.parametrize(
    ("name", "addresses"), [("authority", []), ("a b", []), ("../x", []), ("a", ["b c"]), ("a", ["b_c"])]
)
def test_what_is_no_host_is_refused(authority, name, addresses):
    with pytest.raises(Refusal, match="certificate_invalid"):
        authority.issue(name, addresses, NOW)


@pytest.mark.parametrize("name", ["prod-1.key", "authority.pem", "authority.key"])
def test_a_file_that_is_something_else_is_refused(authority, name):
    authority.issue("prod-1", [], NOW)
    (authority.directory / name).write_text("x")
    if name == "authority.key":
        (authority.directory / "prod-1.pem").unlink()
    with pytest.raises(Refusal, match="certificate_invalid"):
        authority.issue("prod-1", [], NOW)


def context(issued, side):
    made = ssl.SSLContext(side)
    made.load_cert_chain(issued.certificate, issued.key)
    made.load_verify_locations(issued.authority)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def met(server, client, name):
    """Whether a server and a client with these contexts talk to each other."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve():
            connection, _address = listening.accept()
            try:
                with server.wrap_socket(connection, server_side=True) as secured:
                    secured.sendall(b"well")
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname()) as connection,
                client.wrap_socket(connection, server_hostname=name) as asking,
            ):
                return asking.recv(4)
        except OSError:
            return None
        finally:
            thread.join(10)


def test_hosts_talk_to_each_other_and_to_nobody_else(authority, tmp_path):
    import time

    now = int(time.time())
    issued = [
        authority.issue(name, [address], now) for name, address in (("prod-1", "10.0.0.1"), ("watch-1", "10.0.0.9"))
    ]
    stranger = Authority(tmp_path / "other").issue("watch-1", [], now)
    server = context(issued[0], ssl.PROTOCOL_TLS_SERVER)
    assert met(server, context(issued[1], ssl.PROTOCOL_TLS_CLIENT), "10.0.0.1") == b"well"
    assert met(server, context(issued[1], ssl.PROTOCOL_TLS_CLIENT), "10.0.0.2") is None
    trusting = context(stranger, ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(issued[0].authority)
    assert met(server, trusting, "10.0.0.1") is None
