# SPDX-License-Identifier: GPL-3.0-or-later
"""Where objects are fetched from: addresses, authorities, credentials and limits are sound or refused, and no secret is repeated."""

from __future__ import annotations

import base64

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.artifact_source import MAX_MIRRORS, MIN_RATE_LIMIT, Address, Source
from stores import Authority

STORE = "https://store.example/slipway"
SECRET = "hunter2"
USER = "me"
METADATA = "169.254.169.254"  # where clouds tell their machines secrets


def parsed(**request):
    return Source.parse({f"source_{name}" if name != "source" else name: value for name, value in request.items()})


@pytest.mark.parametrize("given", [None, "", [], [""]])
def test_without_an_address_there_is_no_source(given):
    assert Source.parse({"source": given}) is None
    assert Source.parse({}) is None


@pytest.mark.parametrize(
    ("given", "mirrors"),
    [
        (STORE, (STORE,)),
        (f"{STORE}/", (STORE,)),
        ("http://192.0.2.1:8080", ("http://192.0.2.1:8080",)),
        ("https://[2001:db8::1]:8443/x", ("https://[2001:db8::1]:8443/x",)),
        ([STORE, "https://other.example"], (STORE, "https://other.example")),
        ([STORE, f"{STORE}/"], (STORE,)),
        (["", STORE], (STORE,)),
        ("HTTPS://Store.example:443/Slipway", ("https://store.example/Slipway",)),
    ],
)
def test_mirrors_are_tried_in_the_order_given(given, mirrors):
    assert Source.parse({"source": given}).mirrors == mirrors


@pytest.mark.parametrize(
    "url",
    [
        "examples/hello",
        "ftp://store.example/",
        "file:///etc",
        "https://",
        "https:///path",
        "https://store.example/a b",
        "https://store.example/\n",
        "https://" + "störe.example/",
        "https://store.example:99999/",
        "https://store.example:x/",
        "https://store.example/?key=x",
        "https://store.example/#x",
        "https://[::1/",
        "https://store.example/" + "a" * 2048,
        7,
    ],
)
def test_what_is_no_address_of_a_store_is_refused(url):
    with pytest.raises(Refusal) as caught:
        Source.parse({"source": [url]})
    assert caught.value.reason == "source_invalid"


@pytest.mark.parametrize("url", [f"https://{USER}:{SECRET}@store.example/", f"https://store.example/?key={SECRET}"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(url):
    with pytest.raises(Refusal) as caught:
        Source.parse({"source": url})
    assert caught.value.reason == "source_invalid"
    assert SECRET not in str(caught.value)


def test_too_many_mirrors_are_refused():
    with pytest.raises(Refusal) as caught:
        Source.parse({"source": [f"{STORE}/{number}" for number in range(MAX_MIRRORS + 1)]})
    assert caught.value.reason == "source_invalid"


def test_an_object_is_below_the_application_by_its_digest():
    source = Source.parse({"source": STORE})
    assert source.object_url(STORE, "shop", "ab" * 32) == f"{STORE}/shop/objects/ab/{'ab' * 32}"


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        ({"token": SECRET}, ("Authorization", f"Bearer {SECRET}")),
        (
            {"username": "me", "password": SECRET},
            ("Authorization", f"Basic {base64.b64encode(b'me:hunter2').decode()}"),
        ),
        ({"header": "X-Key", "value": SECRET}, ("X-Key", SECRET)),
        ({}, None),
        (None, None),
    ],
)
def test_credentials_become_one_header_that_nothing_shows(credentials, header):
    source = parsed(source=STORE, credentials=credentials)
    assert source.header == header
    assert SECRET not in repr(source)


@pytest.mark.parametrize(
    "credentials",
    [
        SECRET,
        [SECRET],
        {"token": ""},
        {"token": 7},
        {"token": f"{SECRET}\r\nX: y"},
        {"token": f"{SECRET}ü"},
        {"password": SECRET},
        {"username": "a:b", "password": SECRET},
        {"header": "Host", "value": SECRET},
        {"header": "X Key", "value": SECRET},
        {"header": "X-Key", "value": f"{SECRET}\n"},
        {"header": "X-Key", "value": SECRET, "token": SECRET},
    ],
)
def test_credentials_that_make_no_header_are_refused_and_not_repeated(credentials):
    with pytest.raises(Refusal) as caught:
        parsed(source=STORE, credentials=credentials)
    assert caught.value.reason == "source_credentials_invalid"
    assert SECRET not in str(caught.value)


def test_credentials_are_not_sent_in_the_clear():
    with pytest.raises(Refusal) as caught:
        parsed(source=[STORE, "http://store.example"], credentials={"token": SECRET})
    assert (caught.value.reason, caught.value.found) == ("source_credentials_unprotected", "http://store.example")


def test_an_authority_is_taken_as_text(tmp_path):
    pem = Authority(tmp_path).pem
    assert parsed(source=STORE, ca=pem).ca == pem


@pytest.mark.parametrize("ca", ["nothing", "/etc/ssl/ca.pem", 7])
def test_what_is_no_certificate_is_refused(ca):
    with pytest.raises(Refusal) as caught:
        parsed(source=STORE, ca=ca)
    assert caught.value.reason == "source_ca_invalid"


def test_certificates_are_always_verified(tmp_path):
    for ca in ("", Authority(tmp_path).pem):
        context = parsed(source=STORE, ca=ca).tls()
        assert context.check_hostname
        assert context.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize("rate", [0, None, MIN_RATE_LIMIT, 10**9])
def test_a_limit_is_bytes_a_second(rate):
    assert parsed(source=STORE, rate_limit=rate).rate_limit == (rate or 0)


@pytest.mark.parametrize("rate", [-1, 1, MIN_RATE_LIMIT - 1, "1M", 1.5e6, True])
def test_what_is_no_limit_is_refused(rate):
    with pytest.raises(Refusal) as caught:
        parsed(source=STORE, rate_limit=rate)
    assert caught.value.reason == "source_rate_limit_invalid"


@pytest.mark.parametrize(
    ("at", "location", "to"),
    [
        (STORE, "https://cdn.example/x?signature=1", "https://cdn.example/x?signature=1"),
        (STORE, "/other", "https://store.example/other"),
        ("http://store.example/a", "/b", "http://store.example/b"),
        ("http://store.example/a", "https://store.example/b", "https://store.example/b"),
    ],
)
def test_redirects_that_are_followed(at, location, to):
    assert Address.parse(at).redirected(location).url == to


@pytest.mark.parametrize(
    ("at", "location"),
    [
        (STORE, "http://store.example/slipway"),
        ("http://store.example/a", f"http://{METADATA}/latest"),
        ("http://store.example/a", "https://other.example/"),
        (STORE, "ftp://store.example/"),
        (STORE, f"https://{USER}:x@cdn.example/"),
        (STORE, "https://cdn.example/\r\nX: y"),
        (STORE, "https://cdn.example:0x/"),
    ],
)
def test_redirects_that_are_not_followed(at, location):
    with pytest.raises(ValueError):  # noqa: PT011 - what it says is for people
        Address.parse(at).redirected(location)
