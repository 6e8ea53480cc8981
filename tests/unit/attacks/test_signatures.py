# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signed, counted by raw keys and by holders: nothing else makes a signature more than it is."""

from __future__ import annotations

import hashlib

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.trust import dsse, policy
from attacks import MANIFEST, bent, builder_key, judge, policy_with, with_signatures
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from lines import judged

ROOT, BUILDER, LEAD = (signed.keyid(key) for key in (signed.ROOT_KEY, signed.BUILDER_KEY, signed.LEAD_KEY))
ORDER = 2**252 + 27742317777372353535851937790883648493
GOOD_SIGNATURE = signed.BUILDER_KEY.sign(dsse.pae(dsse.IN_TOTO_TYPE, MANIFEST))
ECDSA = ec.derive_private_key(7, ec.SECP256R1())
NEUTRAL = "01" + "00" * 31
BEYOND = (2**255 - 18).to_bytes(32, "little").hex()


def two_roots(holder, *keys):
    """A policy that two holders of root must sign, with a second key of `holder` and a third of somebody else."""

    def change(document):
        for key, of in ((signed.OTHER_KEY, holder), (signed.private_key(9), "deputy")):
            document["keys"][signed.keyid(key)] = signed.key_entry(key, of)
            document["roles"]["root"]["keyids"].append(signed.keyid(key))
        document["roles"]["root"]["threshold"] = 2

    return policy_with(change, *keys)


def one_key_twice():
    payload = canonical.encode(signed.policy_document()).decode()
    entry = canonical.encode(signed.key_entry(signed.LEAD_KEY, "somebody")).decode()
    return policy.TrustPolicy.from_payload(payload.replace('"keys":{', f'"keys":{{"{LEAD}":{entry},', 1).encode())


def revoked(**changes):
    return signed.trust_policy(revoked={"keys": [], "payloads": [], **changes})


def beyond_the_order(signature):
    s = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + s.to_bytes(32, "little")


def other_type():
    replayed = dsse.sign(dsse.TRUST_POLICY_TYPE, MANIFEST, signed.BUILDER_KEY)
    return dsse.Envelope(dsse.IN_TOTO_TYPE, MANIFEST, replayed.signatures).encode()


CASES = {
    "none": lambda: judge(bent(signatures=[])),
    "threshold 0": lambda: policy_with(lambda document: document["roles"]["builder"].update(threshold=0)),
    "the same signature twice": lambda: two_roots("operator", signed.ROOT_KEY, signed.ROOT_KEY),
    "the same key under two ids": lambda: policy_with(
        lambda document: document["keys"].update({"0" * 64: document["keys"][BUILDER]})
    ),
    "the same key in two roles": lambda: policy_with(
        lambda document: document["roles"]["engineering_lead"]["keyids"].append(BUILDER)
    ),
    "the same key for two holders": one_key_twice,
    "two keys of one holder": lambda: two_roots("operator", signed.ROOT_KEY, signed.OTHER_KEY),
    "only unknown keys": lambda: judge(signed.sign(MANIFEST, signed.OTHER_KEY, signed.private_key(8))),
    "63 bytes": lambda: judge(with_signatures(GOOD_SIGNATURE[:63])),
    "65 bytes": lambda: judge(with_signatures(GOOD_SIGNATURE + b"\0")),
    "a key of small order": lambda: policy_with(builder_key(public=NEUTRAL)),
    "a key that is not canonical": lambda: policy_with(builder_key(public=BEYOND)),
    "a signature over the raw payload": lambda: judge(with_signatures(signed.BUILDER_KEY.sign(MANIFEST))),
    "a signature of another payload type": lambda: judge(other_type()),
    "a signature with S + L": lambda: judge(with_signatures(beyond_the_order(GOOD_SIGNATURE))),
    "a signature of another algorithm": lambda: judge(
        with_signatures(ECDSA.sign(dsse.pae(dsse.IN_TOTO_TYPE, MANIFEST), ec.ECDSA(hashes.SHA256())))
    ),
    "a key of another algorithm": lambda: policy_with(builder_key(public="02" + "6b" * 32)),
    "a key before its time": lambda: judge(
        signed.sign(MANIFEST), policy_with(builder_key(notBefore="2027-01-01T00:00:00Z"))
    ),
    "a key after its time": lambda: judge(
        signed.sign(MANIFEST), policy_with(builder_key(notAfter="2026-06-01T00:00:00Z"))
    ),
    "a revoked key": lambda: judge(signed.sign(MANIFEST), revoked(keys=[BUILDER])),
    "a revoked payload": lambda: judge(signed.sign(MANIFEST), revoked(payloads=[hashlib.sha256(MANIFEST).hexdigest()])),
    "a builder who is not the one that signed": lambda: judge(
        signed.sign(signed.manifest_payload(builder="somebody-else"))
    ),
    "a policy by which builders approve": lambda: policy_with(
        lambda document: document["environments"]["prod"].update(require=[{"role": "builder", "threshold": 1}])
    ),
}


@pytest.mark.parametrize("line", CASES)
def test_a_signature_that_is_not_enough_is_refused(line):
    judged(line, CASES[line])


def test_two_holders_are_two():
    assert two_roots("operator", signed.ROOT_KEY, signed.private_key(9)).roles["root"].threshold == 2
