# SPDX-License-Identifier: GPL-3.0-or-later
"""What attackers hand in: envelopes and policies that are right but for one thing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.trust import dsse, policy, verify
from ansible.module_utils.slipway.trust.manifest import ReleaseManifest

KIND = dsse.IN_TOTO_TYPE
NOW = signed.NOW
MANIFEST = signed.manifest_payload()
DOCUMENT = json.loads(MANIFEST)


def judge(envelope: bytes, trust: policy.TrustPolicy | None = None, **changes: Any) -> ReleaseManifest:
    """What a host of prod says of the release `hello` in this envelope."""
    asked = {"application": "hello", "environment": "prod", "now": NOW, **changes}
    return verify.verify_manifest(trust or signed.trust_policy(), envelope, **asked)


def members(**changes: Any) -> dict[str, Any]:
    """The members of a right envelope but for `changes`; `...` leaves one out."""
    whole = {**json.loads(signed.sign(MANIFEST)), **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def bent(**changes: Any) -> bytes:
    return json.dumps(members(**changes)).encode()


def statement(**changes: Any) -> bytes:
    """A rightly signed envelope around a statement with `changes`."""
    return signed.sign(canonical.encode({**DOCUMENT, **changes}))


def predicate(**changes: Any) -> bytes:
    return statement(predicate={**DOCUMENT["predicate"], **changes})


def subject(digest: Any) -> bytes:
    """A rightly signed statement whose bundle has this digest."""
    bundle, tree = DOCUMENT["subject"]
    return statement(subject=[{**bundle, "digest": digest}, tree])


def number(text: bytes) -> bytes:
    """A rightly signed payload in which this text stands where a number belongs."""
    size = b'"files":1'
    assert MANIFEST.count(size) == 1
    return signed.sign(MANIFEST.replace(size, b'"files":' + text))


def with_signatures(*signatures: bytes, keyid: str = signed.keyid(signed.BUILDER_KEY)) -> bytes:
    return bent(signatures=[{"keyid": keyid, "sig": base64.b64encode(each).decode()} for each in signatures])


def policy_with(change: Callable[[dict[str, Any]], Any], *keys: Any) -> policy.TrustPolicy:
    """The trust policy after `change` has bent its document, signed by root."""
    document = signed.policy_document()
    change(document)
    return policy.TrustPolicy.parse(signed.policy_envelope(document, *keys))


def builder_key(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the policy's entry for the builder's key."""
    return lambda document: document["keys"][signed.keyid(signed.BUILDER_KEY)].update(changes)
