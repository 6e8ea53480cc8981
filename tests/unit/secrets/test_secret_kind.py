# SPDX-License-Identifier: GPL-3.0-or-later
"""A malformed secret is refused where it is written, and the refusal does not repeat it."""

from __future__ import annotations

import base64

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.secret_kind import KINDS, require_well_formed, required_fields
from safes import CANARY

GOOD = {
    "database": {"host": "db-1.internal", "port": "5432", "username": "shop", "password": CANARY, "database": "shop"},
    "s3": {"access_key_id": "id", "secret_access_key": CANARY, "bucket": "shop-data", "region": "eu-1", "endpoint": "https://s3.example"},
    "broker": {"username": "shop", "api_key": "id", "api_secret": CANARY, "host": "10.0.0.1", "port": "7497"},
    "api_key": {"key": CANARY, "url": "https://pager.example/v2"},
    "encryption_key": {"key": base64.b64encode(bytes(range(200, 232))).decode()},
    "jwt": {"secret": CANARY * 2, "algorithm": "HS256", "issuer": "shop"},
}  # fmt: skip


def refused(kind, fields, name="a"):
    with pytest.raises(Refusal) as refusal:
        require_well_formed(name, kind, fields)
    assert refusal.value.reason == "secret_malformed"
    assert CANARY not in str(refusal.value)
    return str(refusal.value)


def test_there_are_the_six_kinds():
    assert set(KINDS) == set(GOOD)


@pytest.mark.parametrize("kind", GOOD)
def test_a_secret_with_all_its_fields_and_one_with_those_that_it_must_have(kind):
    require_well_formed("a", kind, GOOD[kind])
    require_well_formed("a", kind, {name: GOOD[kind][name] for name in required_fields(kind)})


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in GOOD for field in required_fields(kind)])
def test_a_field_that_lacks_is_named(kind, field):
    lacking = {name: value for name, value in GOOD[kind].items() if name != field}
    assert f"the field {field}" in refused(kind, lacking) if lacking else refused(kind, lacking)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("database", "host", "db 1"), ("database", "host", "-db"), ("database", "port", "0"), ("database", "port", "65536"),
        ("database", "port", "5432 "), ("database", "port", "\u0665"), ("database", "username", ""), ("database", "password", " "),
        ("database", "password", "a\0b"), ("database", "database", "a\nb"), ("s3", "bucket", "A"), ("s3", "bucket", "a"),
        ("s3", "endpoint", "ftp://x"), ("s3", "endpoint", f"https://shop.example:{CANARY}@s3.example"), ("broker", "api_key", "a b"), ("api_key", "key", ""),
        ("api_key", "url", "pager"), ("encryption_key", "key", "c2hvcnQ="), ("encryption_key", "key", CANARY), ("encryption_key", "key", "ä"),
        ("jwt", "secret", CANARY[:16]), ("jwt", "algorithm", "none"), ("jwt", "issuer", ""),
    ],
)  # fmt: skip
def test_a_field_that_is_not_what_it_must_be_is_named(kind, field, value):
    assert f"{field}: " in refused(kind, {**GOOD[kind], field: value})


def test_an_encryption_key_may_be_in_the_alphabet_of_urls():
    require_well_formed("a", "encryption_key", {"key": base64.urlsafe_b64encode(b"\xff" * 32).decode()})


def test_what_no_kind_knows_is_refused():
    assert "only the fields" in refused("jwt", {**GOOD["jwt"], "pin": CANARY})
    assert "a type of" in refused("password", {"value": CANARY})


def test_without_a_kind_any_fields_do_that_are_texts():
    assert required_fields(None) == ["value"]
    require_well_formed("a", None, {"anything": CANARY})
    for fields in (
        {},
        {f"f{number}": "x" for number in range(33)},
        {"A": CANARY},
        {1: CANARY},
        {"a": 1},
        {"a": "x" * 65537},
        {"a": ""},
        {"a": CANARY, "b": " \n"},
    ):
        refused(None, fields)


@pytest.mark.parametrize("kind", [None, "jwt"])
def test_the_first_line_of_a_key_is_not_the_key(kind):
    """A terminal gives one line of what is pasted."""
    fields = {**GOOD["jwt"], "secret": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"}
    require_well_formed("a", kind, fields)
    assert "FILE=" in refused(kind, {**fields, "secret": "-----BEGIN RSA PRIVATE KEY-----"})
