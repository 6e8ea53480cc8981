# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to judge a manifest with four approvals: `python -m tests.bench.approvals`.

In milliseconds once everything is imported, beside the five bare Ed25519 verifications in it, in one run.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path.insert(0, str(REPOSITORY / "tests"))

import signed
from ansible.module_utils.slipway.trust import verify
from ansible.module_utils.slipway.trust.policy import TrustPolicy

ROUNDS = 200
LEADS = {f"lead-{number}": signed.private_key(100 + number) for number in range(4)}


def policy() -> TrustPolicy:
    """Four leads, all of whom prod asks for."""
    document = signed.policy_document(
        environments={"prod": signed.environment(require=[{"role": "engineering_lead", "threshold": 4}])}
    )
    document["keys"] |= {signed.keyid(key): signed.key_entry(key, holder) for holder, key in LEADS.items()}
    document["roles"]["engineering_lead"] = {"keyids": sorted(map(signed.keyid, LEADS.values())), "threshold": 4}
    return TrustPolicy.parse(signed.policy_envelope(document))


def median_ms(work: Callable[[], object]) -> float:
    """The median of many rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def main() -> None:
    trusted, envelope, now = policy(), signed.sign(signed.manifest_payload()), signed.NOW + 60
    approvals = [signed.approval_envelope(key, holder=holder) for holder, key in LEADS.items()]

    def judge() -> None:
        manifest = verify.verify_manifest(trusted, envelope, application="hello", environment="prod", now=now)
        if len(verify.require_fresh(manifest, trusted, "prod", now, approvals)) != len(LEADS):
            raise AssertionError("not all four approvals were counted")

    key, message = signed.LEAD_KEY, b"x" * 1000
    signature, public = key.sign(message), key.public_key()
    found = {
        "judged_ms": median_ms(judge),
        "five_signatures_ms": median_ms(lambda: [public.verify(signature, message) for _ in range(5)]),
    }
    print(
        json.dumps(
            {
                **{name: round(value, 3) for name, value in found.items()},
                "ratio": round(found["judged_ms"] / found["five_signatures_ms"], 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
