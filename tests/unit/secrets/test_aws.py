# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Secrets Manager as moto serves it: over a real connection, by boto3."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import boto3
import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.aws import AwsSecretsManager, AwsSettings
from ansible.module_utils.slipway.secrets.provider import Unavailable, Unknown
from moto.server import ThreadedMotoServer
from safes import CANARY, secret
from vaults import certificates

REGION = "eu-central-1"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a moto server."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)


def provider(server, **about):
    return AwsSecretsManager("aws", AwsSettings(REGION, **{"prefix": "slipway/", "endpoint_url": server, **about}))


@pytest.fixture
def aws(server):
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    return provider(server)


@pytest.fixture
def raw(aws, server):
    return boto3.client("secretsmanager", region_name=REGION, endpoint_url=server)


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def test_what_is_written_is_read_back(aws, raw):
    version = aws.write(secret(kind="database", description="d"))
    read = aws.read("database/main")
    assert (read.fields, read.version) == ({"password": CANARY, "username": "shop"}, version)
    newer = aws.write(secret(value="new", kind="database", description="e"))
    assert aws.read("database/main").value("password") == "new"
    assert aws.read("database/main", version).value("password") == CANARY
    (entry,) = aws.entries()
    assert (entry.name, entry.kind, entry.description, entry.version) == ("database/main", "database", "e", newer)
    assert raw.describe_secret(SecretId="slipway/database/main")["Description"] == "e"


def test_what_others_keep_there_is_read_but_not_listed_when_its_name_is_another_prefix(aws, raw):
    raw.create_secret(Name="slipway/pager", SecretString=CANARY)
    raw.create_secret(Name="slipway/numbers", SecretString="12")
    raw.create_secret(Name="slipway/Not A Name", SecretString="x")
    raw.create_secret(Name="other/slipway/pager", SecretString="x")
    assert aws.read("pager").value() == CANARY
    assert aws.read("numbers").value() == "12"
    assert [entry.name for entry in aws.entries()] == ["numbers", "pager"]
    everything = provider(aws.settings.endpoint_url, prefix="")
    assert "other/slipway/pager" in [entry.name for entry in everything.entries()]


@pytest.mark.parametrize("text", [json.dumps({"a": {"b": CANARY}}), json.dumps({"a": [CANARY]}), "{}"])
def test_what_has_no_plain_fields_is_refused(aws, raw, text):
    raw.create_secret(Name="slipway/a", SecretString=text)
    assert refused(lambda: aws.read("a")) == "secret_unreadable"


def test_a_binary_secret_is_refused(aws, raw):
    raw.create_secret(Name="slipway/a", SecretBinary=CANARY.encode())
    assert refused(lambda: aws.read("a")) == "secret_unreadable"


def test_a_name_or_a_version_that_is_not_there_and_one_that_is_going(aws, raw):
    aws.write(secret())
    for name, version in (("none", None), ("database/main", "0" * 32)):
        with pytest.raises(Unknown):
            aws.read(name, version)
    raw.delete_secret(SecretId="slipway/database/main")
    with pytest.raises(Unknown):
        aws.read("database/main")


def test_nobody_listens(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable) as error:
            provider(f"http://127.0.0.1:{taken.getsockname()[1]}").read("a")
    assert (error.value.why, error.value.passing) == ("unreachable", True)


def test_nobody_answers_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable) as error:
        provider(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2).read("a")
    assert (error.value.why, error.value.passing) == ("timed out", False)


def test_one_that_answers_byte_by_byte_is_too_late_too(dripping):
    with pytest.raises(Unavailable) as error:
        provider(dripping, timeout_seconds=0.3).read("a")
    assert (error.value.why, error.value.passing) == ("timed out", False)


def test_a_certificate_of_nobodys_is_refused(tmp_path):
    certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
                pass

        threading.Thread(target=serve, daemon=True).start()
        asked = provider(f"https://127.0.0.1:{listener.getsockname()[1]}")
        assert refused(lambda: asked.read("a")) == "secret_provider_untrusted"


def test_what_boto3_cannot_even_ask_is_refused(server):
    about = AwsSettings("no region", endpoint_url=server)
    assert refused(lambda: AwsSecretsManager("aws", about).read("a")) == "secret_provider_failed"


def test_another_identity_region_or_place_is_another_origin(server, monkeypatch):
    origins = {
        tuple(provider(server, **about).origin)
        for about in ({}, {"prefix": "other/"}, {"endpoint_url": "http://127.0.0.1:1"})
    }
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "two")
    origins.add(tuple(provider(server).origin))
    assert len(origins) == 4
    assert CANARY not in repr(origins)


def test_without_credentials_it_says_how_they_are_given(server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    assert refused(lambda: provider(server).read("a")) == "secret_credential_missing"
    assert provider(server).origin[-1] == ""
    assert refused(lambda: provider(server, profile="none").origin) == "secret_credential_missing"


@pytest.mark.parametrize(("code", "status", "reason"), [
    ("AccessDeniedException", 400, "secret_denied"), ("UnrecognizedClientException", 400, "secret_denied"), ("Strange", 403, "secret_denied"),
    ("ExpiredTokenException", 400, "secret_token_expired"), ("InternalServiceError", 500, "secret_provider_failed"), ("DecryptionFailure", 400, "secret_provider_failed"),
    ("ThrottlingException", 400, "secret_provider_failed"), ("", 418, "secret_provider_failed"), ("InvalidRequestException", 400, "secret_provider_failed"),
    ("ServiceUnavailable", 503, "unreachable"), ("", 504, "timed out"),
])  # fmt: skip
def test_every_other_answer_is_sorted(answering, code, status, reason):
    body = json.dumps({"__type": code, "message": CANARY})
    try:
        found = refused(lambda: provider(answering(status, body)).read("a"))
    except Unavailable as error:
        found = error.why
    assert found == reason


@pytest.mark.parametrize(
    "body",
    ["", "<html></html>", "[]", "7", "null", "{}", '{"SecretString": 7}', '{"SecretString": "a", "VersionId": null}'],
)
def test_an_answer_without_sense_is_refused(answering, body):
    asked = provider(answering(200, body))
    assert refused(lambda: asked.read("a")) in ("secret_provider_failed", "secret_unreadable")
    for call in (lambda: asked.standing("a"), asked.entries, lambda: asked.write(secret("a"))):
        with contextlib.suppress(Refusal, Unknown):
            call()


def test_a_version_is_replaced_only_while_it_is_the_newest_and_retired_then(aws, raw):
    before = aws.write(secret())
    standing = aws.standing("database/main")
    assert standing.version == before
    assert abs(standing.written - time.time()) < 3600
    after = aws.version_after(before)
    aws.replace(secret(value="new", version=after), before)
    assert (aws.read("database/main").version, aws.standing("database/main").version) == (after, after)
    with pytest.raises(Refusal) as refusal:
        aws.replace(secret(value="newer", version=aws.version_after(before)), before)
    assert refusal.value.reason == "secret_overtaken"

    def labels():
        return raw.describe_secret(SecretId="slipway/database/main")["VersionIdsToStages"]

    assert labels()[before] == ["AWSPREVIOUS"]
    for version in (after, before, before):
        aws.retire("database/main", version, destroyed=False)
    assert not labels().get(before)
    assert labels()[after] == ["AWSCURRENT"]


def test_the_first_version_is_made_only_where_there_is_none(aws):
    aws.replace(secret(), "")
    assert refused(lambda: aws.replace(secret(value="new"), "")) == "secret_overtaken"
    assert aws.read("database/main").value("password") == CANARY


def test_a_secret_is_removed_at_once_and_its_name_is_free(aws):
    aws.write(secret())
    for _ in range(2):
        aws.remove("database/main")
    with pytest.raises(Unknown):
        aws.standing("database/main")
    assert aws.write(secret())


def test_a_secret_without_a_value_is_none(aws, raw):
    raw.create_secret(Name="slipway/empty")
    with pytest.raises(Unknown):
        aws.standing("empty")
