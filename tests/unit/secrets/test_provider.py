# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of providers that end the search: each says whom it is about and what to do."""

from __future__ import annotations

import ssl

import pytest
from ansible.module_utils.slipway.secrets.provider import (
    Unavailable,
    denied,
    failed,
    is_about_certificate,
    read_only,
    untrusted,
)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (denied("vault", "database/main", "403"), "secret_denied"),
        (failed("vault", "InternalServerError"), "secret_provider_failed"),
        (untrusted("vault", "https://vault.example"), "secret_provider_untrusted"),
        (read_only("env", "Edit the file"), "secret_provider_read_only"),
    ],
)
def test_a_refusal_of_a_provider_names_it(refusal, reason):
    assert refusal.reason == reason
    assert "vault" in str(refusal) or "env" in str(refusal)


def test_what_may_pass_is_asked_again():
    assert Unavailable("unreachable").passing
    assert not Unavailable("sealed", passing=False).passing


class OfAmazon(Exception):
    """An error that has its cause where botocore puts it."""

    def __init__(self, error):
        self.kwargs = {"error": error}
        super().__init__("failed")


@pytest.mark.parametrize(
    "wrapped",
    [lambda error: error, lambda error: OSError("x", error), OfAmazon, lambda error: OfAmazon(OSError(error))],
)
def test_a_certificate_that_does_not_hold_is_found_below_other_errors(wrapped):
    assert is_about_certificate(wrapped(ssl.SSLCertVerificationError("x")))
    assert not is_about_certificate(wrapped(ssl.SSLEOFError("x")))
