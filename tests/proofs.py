# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a run for tests: a signed and witnessed run on two hosts, and the script that verifies it, with nothing else there."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import repository
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.controller import audit, validation
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.memory import KeptCheckpoint, KnownHost
from ansible.module_utils.slipway.controller.run_evidence import Sources
from ansible.module_utils.slipway.controller.state_place import StatePlace
from ansible.module_utils.slipway.controller.witness import Witness
from ansible.module_utils.slipway.trust import dsse, merkle
from ansible.module_utils.slipway.trust.checkpoint import Checkpoint, origin_of, read
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.note import COSIGNATURE, Note, Verifier
from ansible.module_utils.slipway.trust.promotion import AuditReference, Promotion

# What a minimal Debian has, and openssl.
TOOLS = (
    "awk", "base64", "cat", "cmp", "cut", "find", "mktemp", "od", "openssl", "rm", "sed", "sha256sum", "sort", "tail", "tr", "wc",
)  # fmt: skip
RUN_ID = "run_20261118T110640Z_9f3a1c"
HOSTS = {"prod-1": signed.HOST_ID, "prod-2": "0e4b6f1c-3a7d-4f53-8f4e-2a9c1d7b5e60"}
README = repository.ROOT / "docs/howto/prove-a-deployment.md"
SCRIPT = repository.ROOT / "roles/release/files/verify.sh"
WITNESS_NAME = "slipway/witness/3f0f5a52-5d4b-4d5e-9d0f-6a1f0f6f8f55"
WITNESS_KEY = signed.private_key(30)
FIRST_ROOTS = {"operator": signed.private_key(21), "auditor": signed.private_key(22), "founder": signed.private_key(23)}
SECOND_ROOTS = {**FIRST_ROOTS, "founder": signed.private_key(24)}
BEFORE, AFTER = 5, 3  # records of other runs around those of this one


def policy(version: int, roots: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A policy whose root are these holders, two of whom must sign, and whose prod asks for two approvals."""
    document = signed.policy_document(version=version)
    approvals = [{"role": "engineering_lead", "threshold": 1}, {"role": "risk_manager", "threshold": 1}]
    document["environments"]["prod"] = signed.environment(require=approvals)
    del document["keys"][signed.keyid(signed.ROOT_KEY)]
    document["keys"] |= {signed.keyid(key): signed.key_entry(key, holder) for holder, key in roots.items()}
    document["roles"]["root"] = {"keyids": [signed.keyid(key) for key in roots.values()], "threshold": 2}
    return {**document, **changes}


def chain() -> list[bytes]:
    """Two versions; the second is signed by enough holders of both roots."""
    first, second = policy(1, FIRST_ROOTS), policy(2, SECOND_ROOTS)
    return [
        signed.policy_envelope(first, FIRST_ROOTS["operator"], FIRST_ROOTS["founder"]),
        signed.policy_envelope(second, FIRST_ROOTS["operator"], FIRST_ROOTS["auditor"], SECOND_ROOTS["founder"]),
    ]


def audited(directory: Path) -> AuditReference:
    """An audit bundle below ``directory`` with its validation."""
    source, path = directory / "source", directory / "release/audit_20261118_110000"
    tests = "audit:\n  tests:\n    - {name: smoke, argv: ['true']}\n"
    signed.write_tree(source, {"slipway.yml": f"application: hello\nversion: 1.2.3\n{tests}".encode()})
    path.parent.mkdir()
    made = audit.create(audit.Request(source, path, signed.NOW - 600))
    validation.validate(validation.Request(source, path, signed.NOW - 300))
    data = (path / validation.VALIDATION).read_bytes()
    result = str(canonical.parse(data, what="validation")["result"])
    return AuditReference(path.name, str(made.digest), hashlib.sha256(data).hexdigest(), result)


@dataclass
class Run:
    """A run on two hosts, and everything that proves it; tests change what they like before they ask for it."""

    directory: Path
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.directory / "catalogue")
        payload = signed.manifest_payload(promotion=Promotion(audit=audited(self.directory)))
        self.manifest = signed.sign(payload)
        self.manifest_digest = hashlib.sha256(payload).hexdigest()
        with self.catalogue.workspace("hello"):
            self.catalogue.add(self.manifest, b"{}", {})
        self.policies = chain()
        self.approvals = [
            signed.approval_envelope(manifest_digest=self.manifest_digest),
            signed.approval_envelope(
                signed.RISK_KEY, manifest_digest=self.manifest_digest, role="risk_manager", holder="risk"
            ),
        ]
        self.authorization = signed.authorization_envelope(
            manifest_digest=self.manifest_digest, hosts=sorted(HOSTS.values())
        )
        for approval in self.approvals:
            self.catalogue.add_approval(approval, check=False)
        self.catalogue.add_authorization(self.authorization, check=False)
        self.records = {"prod-1": [self.record("prod-1")], "prod-2": [self.record("prod-2")]}

    def record(self, name: str, **changes: Any) -> dict[str, Any]:
        """A record of this run as a host writes it, without seq and prev_hash."""
        named = [
            {"role": role, "holder": holder, "digest": digest_of(envelope), "created": "", "expires": ""}
            for (role, holder), envelope in zip(
                (("engineering_lead", "lead"), ("risk_manager", "risk")), self.approvals, strict=True
            )
        ]
        return {
            "application": "hello", "environment": "prod", "host_id": HOSTS[name], "timestamp": timestamp(signed.NOW + 60),
            "transaction": "0" * 32, "run_id": RUN_ID, "controller_id": "controller-1", "deployed_by": "u1042",
            "operation": "deploy", "release_id": "v1.2.3", "previous_release_id": None, "active_release_id": "v1.2.3",
            "manifest_digest": self.manifest_digest, "status": "success", "rollback": False, "takes_back": None, "reason": None,
            "message": 'said "approvals":[] and a \\ at the end \\', "artifacts": [], "backups": [], "smoke_test_passed": True,
            "sequence": signed.NOW, "policy": {"version": 2, "digest": digest_of(self.policies[1])}, "approvals": named,
            "authorizations": [], "window": None, "verification": [], "durations": {"total_seconds": 20}, **changes,
        }  # fmt: skip

    def rollback(self, name: str) -> dict[str, Any]:
        """A record of a way back that needed an authorization."""
        named = {"role": "engineering_lead", "holder": "lead", "digest": digest_of(self.authorization)}
        return self.record(name, operation="rollback", rollback=True, approvals=[], authorizations=[named])

    def answers(self) -> dict[str, dict[str, Any]]:
        """What each host answers to `proof`; it keeps no envelopes."""
        return {name: self.answer(name) for name in HOSTS}

    def answer(self, name: str) -> dict[str, Any]:
        lines = self._lines(name)
        tree = merkle.Tree(map(merkle.leaf_hash, lines))
        key = history_key(name)
        return {
            "changed": False, "host": {"id": HOSTS[name], "name": name, "environment": "prod"}, "envelopes": [],
            "lines": [
                {"seq": seq, "line": lines[seq].decode(), "inclusion": merkle.as_hex(tree.inclusion_proof(seq)), "size": tree.size}
                for seq in range(BEFORE, BEFORE + len(self.records[name]))
            ],
            "checkpoint": self._checkpoint(name).decode(), "key": PublicKey.of(key).hex,
        }  # fmt: skip

    def _lines(self, name: str) -> list[bytes]:
        others = self.record(name, run_id="another run")
        records = [*[others] * BEFORE, *self.records[name], *[others] * AFTER]
        lines: list[bytes] = []
        for seq, record in enumerate(records):
            before = merkle.leaf_hash(lines[-1]) if lines else merkle.EMPTY_ROOT
            lines.append(canonical.encode({**record, "seq": seq, "prev_hash": before.hex()}))
        return lines

    def _checkpoint(self, name: str) -> bytes:
        tree = merkle.Tree(map(merkle.leaf_hash, self._lines(name)))
        return Checkpoint(origin_of(HOSTS[name], "hello"), tree.size, tree.root()).sign(history_key(name))

    def cosigned(self) -> dict[str, dict[int, bytes]]:
        notes = {}
        for name, host_id in HOSTS.items():
            note = Note.parse(self._checkpoint(name)).cosigned_by(WITNESS_NAME, WITNESS_KEY, now=signed.NOW + 61)
            notes[host_id] = {len(self._lines(name)): note.encode()}
        return notes

    def sources(self, **changes: Any) -> Sources:
        given = {
            "catalogue": self.catalogue,
            "policies": self.policies,
            "audits": self.directory / "release",
            "witness": Verifier(WITNESS_NAME, PublicKey.of(WITNESS_KEY), COSIGNATURE),
            "cosigned": self.cosigned(),
            "recorded": {host_id: name for name, host_id in HOSTS.items()},
            "accepted": {},
            "readme": README.read_bytes(),
            "script": SCRIPT.read_bytes(),
        }
        return Sources(**{**given, **changes})


def options(run: Run, directory: Path, place: StatePlace | None = None) -> dict[str, Any]:
    """What slipway_evidence is asked with, by a controller below ``directory`` that witnessed both hosts; its memory may be at another place."""
    trust, state = directory / "trust/trust-policy.dsse.json", directory / "state"
    trust.parent.mkdir()
    trust.write_bytes(run.policies[1])
    trust.with_name(f"1.{trust.name}").write_bytes(run.policies[0])
    witness = Witness(place or state)
    memory, answers = witness.memory(), run.answers()
    for name, answer in answers.items():
        memory.pin(KnownHost(HOSTS[name], name, answer["key"]), now=1)
        signed_by_host = answer["checkpoint"].encode()
        told = read(signed_by_host)
        note = Note.parse(signed_by_host).cosigned_by(witness.name(memory), witness.key(), now=2).encode().decode()
        memory.keep_checkpoint(HOSTS[name], "hello", KeptCheckpoint(told.size, told.root.hex(), note, 2), after=None)
    return {
        "application": "hello", "run_id": RUN_ID, "answers": answers, "catalogue": str(run.catalogue.root),
        "trust_policy": str(trust), "state_directory": str(state), "audits": str(directory / "release"), "readme": str(README),
        "script": str(SCRIPT), "path": str(directory / "out/evidence.tar.gz"),
    }  # fmt: skip


def history_key(name: str) -> Any:
    return signed.private_key(40 + list(HOSTS).index(name))


def digest_of(envelope: bytes) -> str:
    """The sha256 of an envelope's payload."""
    return hashlib.sha256(payload_of(envelope)).hexdigest()


def payload_of(envelope: bytes) -> bytes:
    return base64.b64decode(canonical.parse(envelope, what="envelope")["payload"])


def put(place: Path, envelope: dsse.Envelope, *keys: Any) -> None:
    """Write what an archive has of an envelope in place of what is there, with the signatures of these keys."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "envelope.json").write_bytes(envelope.encode())
    (place / "payload").write_bytes(envelope.payload)
    (place / "pae").write_bytes(dsse.pae(envelope.payload_type, envelope.payload))
    for key, signature in zip(keys, envelope.signatures, strict=True):
        (place / f"{signed.keyid(key)}.sig").write_bytes(signature.value)


def note(name: str, origin: str, size: str, root: str, *, also: str = "") -> bytes:
    """A note with these lines, and ``also`` behind its signatures, that host and witness signed."""
    own = Note(f"{origin}\n{size}\n{root}\n").signed_by(origin, history_key(name))
    return own.cosigned_by(WITNESS_NAME, WITNESS_KEY, now=signed.NOW).encode() + also.encode()


def unpack(archive: Path, directory: Path) -> Path:
    """The one directory that an archive has."""
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    (unpacked,) = directory.iterdir()
    return unpacked


def tools(directory: Path) -> Path:
    """A directory with what the script may use and nothing else: no Python, no Slipway."""
    directory.mkdir(exist_ok=True)
    for name in TOOLS:
        (directory / name).symlink_to(str(shutil.which(name)))
    return directory


def verify(unpacked: Path, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script of an unpacked archive with the tools in ``path``, in an empty environment."""
    return subprocess.run(
        ["/bin/sh", "verify.sh", *arguments],
        cwd=unpacked,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def seal(unpacked: Path) -> None:
    """Write MANIFEST anew, as somebody would who changes a file and knows the format."""
    names = sorted(str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256((unpacked / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
        if name != "MANIFEST"
    ]
    (unpacked / "MANIFEST").write_text("".join(lines))
