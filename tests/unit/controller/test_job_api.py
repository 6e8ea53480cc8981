# SPDX-License-Identifier: GPL-3.0-or-later
"""An AWX is asked over verified TLS, and its token goes to nobody else."""

from __future__ import annotations

import datetime
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.job_api import Api, Unavailable
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def refusal(call, *arguments):
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize("url", ["https://awx.example", "https://awx.example:8443/", "http://127.0.0.1:8052"])
def test_an_address_is_https_or_on_this_machine(url):
    assert Api(url, "t").link("job", 7) == f"{url.rstrip('/')}/#/jobs/playbook/7/output"


@pytest.mark.parametrize(
    "url",
    ["", "awx.example", "http://awx.example", "ftp://awx.example", "https://", "https:" + "//me:secret@awx.example", "https://awx.example/api", "https://awx.example?x"],
)  # fmt: skip
def test_another_address_is_refused_without_its_password(url):
    refused = refusal(Api, url, "t")
    assert refused.reason == "awx_address_invalid"
    assert "secret" not in str(refused)


@pytest.mark.parametrize("token", ["", "two\nlines", "schlüssel", "a\rb"])
def test_what_is_no_token_is_refused_without_being_shown(token):
    refused = refusal(Api, "https://awx.example", token)
    assert refused.reason == "awx_token_missing"
    assert token == "" or token not in str(refused)


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        status, headers, data = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.server.seen.append(self.headers["Authorization"])

    def log_message(self, template, *values):
        pass


@pytest.fixture
def https(tmp_path):
    """A server with a certificate of an authority of its own; its address and the authority's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    both = (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + pem
    )
    (tmp_path / "both.pem").write_bytes(both)
    (tmp_path / "ca.pem").write_bytes(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    server.answer, server.seen = (200, {}, b'{"a": 1}'), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server, f"https://localhost:{server.server_address[1]}", str(tmp_path / "ca.pem")
    server.shutdown()
    server.server_close()


def test_an_authority_of_ones_own_can_be_named(https):
    server, url, authority = https
    assert Api(url, "t", authority).get("/api/v2/") == {"a": 1}
    assert server.seen == ["Bearer t"]


def test_a_certificate_that_nobody_vouches_for_gets_no_token(https):
    server, url, _authority = https
    assert refusal(Api(url, "t").get, "/").reason == "awx_certificate_invalid"
    assert server.seen == []


def test_a_certificate_of_another_host_gets_no_token(https):
    server, url, authority = https
    assert (
        refusal(Api(url.replace("localhost", "127.0.0.1"), "t", authority).get, "/").reason == "awx_certificate_invalid"
    )
    assert server.seen == []


def test_an_authority_that_is_no_file_is_refused(https, tmp_path):
    assert refusal(Api(https[1], "t", str(tmp_path / "none")).get, "/").reason == "awx_certificate_invalid"


def test_a_redirect_is_not_followed(https):
    server, url, authority = https
    server.answer = (302, {"Location": f"{url}/elsewhere"}, b"")
    assert refusal(Api(url, "t", authority).get, "/").reason == "awx_refused"
    assert len(server.seen) == 1


@pytest.mark.parametrize(("wished", "seconds"), [("7", 7), ("", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("99999", 0)])
def test_a_server_may_say_when_to_come_again(https, wished, seconds):
    server, url, authority = https
    server.answer = (429, {"Retry-After": wished}, b"")
    with pytest.raises(Unavailable) as lost:
        Api(url, "t", authority).get("/")
    assert lost.value.retry_seconds == seconds


def test_a_token_that_is_answered_is_not_told(https):
    server, url, authority = https
    server.answer = (400, {}, b"you said Bearer a-secret-token")
    refused = refusal(Api(url, "a-secret-token", authority).get, "/")
    assert (refused.reason, "a-secret-token" in str(refused)) == ("awx_refused", False)
