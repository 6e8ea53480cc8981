# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a run as one archive that anybody verifies without Slipway and without a network. Controller only.

What is in it, and how each piece is verified, docs/howto/prove-a-deployment.md says: it is the archive's README.md. Beside
each signed envelope lie its payload, the bytes that were signed and the raw signatures, so that `openssl pkeyutl` is enough.
Keys stand there under their key ids, by which trust policies name them. People stand there by their holder ids only.

The same records, envelopes and checkpoints always make the same bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..base import canonical
from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal
from ..base.files import full_disk_is_a_refusal, read_if_there, read_regular, write_durable
from ..trust import checkpoint, dsse, merkle
from ..trust.approval import open_approval
from ..trust.authorization import open_authorization
from ..trust.chain import LINE_LIMIT, Record
from ..trust.keys import PublicKey
from ..trust.manifest import ReleaseManifest
from ..trust.note import Note, Verifier
from ..trust.policy import TrustPolicy
from ..trust.promotion import AuditReference
from ..trust.verify import parse_manifest
from .audit import AUDIT, read_audit
from .catalogue import Catalogue
from .holders import Holders
from .memory import Acceptance
from .state_place import StatePlace
from .trust_chain import TrustChain
from .validation import LOG, VALIDATION
from .witness import Witness

FORMAT: Final = 1
MANIFEST: Final = "MANIFEST"
MISSING: Final = "MISSING"
README: Final = "README.md"
RUN: Final = "run.json"
VERIFY: Final = "verify.sh"
NOT_OF_RUN: Final = "record_unknown"  # what a host says that was no part of the run
CONSENTS: Final = ("approvals", "authorizations")
MAX_AUDIT_FILE_BYTES: Final = 64 << 20
MAX_ARCHIVE_BYTES: Final = 4 << 30

_SPKI: Final = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: what stands before the 32 bytes of a key
Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Sources:
    """Where evidence comes from beside the hosts' answers.

    ``policies`` are the envelopes of the trust policy's versions, ``audits`` the directory of audit bundles, ``witness`` the
    controller's key for cosignatures; ``cosigned`` has the notes that it kept, by host id and size, and ``recorded`` the hosts
    that told it of a record of this run, by host id with their names. ``accepted`` says whose history somebody accepted.
    """

    catalogue: Catalogue
    policies: Sequence[bytes]
    audits: Path
    witness: Verifier
    cosigned: Mapping[str, Mapping[int, bytes]]
    recorded: Mapping[str, str]
    accepted: Mapping[str, Acceptance]
    readme: bytes
    script: bytes


@dataclass(frozen=True)
class Gathered:
    """What there is of a run: the archive's files by path, what lacks, and what need not be there and is not."""

    run_id: str
    members: Mapping[str, bytes]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    hosts: tuple[str, ...]
    holders: frozenset[str]
    newest: int

    @property
    def anchors(self) -> dict[str, str]:
        """What an auditor should be told by somebody else: the digest of the first trust policy, and the witness's key."""
        first = self.members.get("policies/1/payload", b"")
        witness = base64.b64decode(self.members["keys/witness.pem"].split(b"\n")[1])
        return {"trust_policy": hashlib.sha256(first).hexdigest(), "witness": witness[len(_SPKI) :].hex()}

    def archive(self) -> bytes:
        """The files below a directory with the run's name, as .tar.gz; sorted, and with the run's time as theirs."""
        buffer = io.BytesIO()
        with (
            gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=self.newest) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path, data in sorted(self.members.items()):
                member = tarfile.TarInfo(f"{self.run_id}/{path}")
                member.size, member.mtime, member.mode = len(data), self.newest, 0o755 if path == VERIFY else 0o644
                archive.addfile(member, io.BytesIO(data))
        return buffer.getvalue()

    def names(self, holders: Holders) -> dict[str, dict[str, str]]:
        """The people behind the holder ids in the archive, for a file of its own beside it."""
        return {holder: entry for holder in sorted(self.holders) if (entry := holders.entry(holder))}


def sources_of(
    state: Path | StatePlace,
    application: str,
    run_id: str,
    *,
    catalogue: Path,
    trust_policy: Path,
    audits: Path,
    readme: Path,
    script: Path,
) -> Sources:
    """What this controller has, with its memory of hosts at the place ``state`` or in that directory."""
    witness = Witness(state)
    memory = witness.memory()
    hosts = {host.id: host.name for host in memory.hosts()}
    return Sources(
        catalogue=Catalogue(catalogue),
        policies=TrustChain(trust_policy).envelopes(),
        audits=audits,
        witness=witness.verifier(),
        cosigned={
            host_id: {kept.size: kept.note.encode() for kept in memory.checkpoints(host_id, application)}
            for host_id in hosts
        },
        recorded={
            host_id: name
            for host_id, name in hosts.items()
            if run_id in memory.recorded_runs(host_id, application, since=0)
        },
        accepted={host_id: found for host_id in hosts if (found := memory.acceptance(host_id, application)).accepted},
        readme=readme.read_bytes(),
        script=script.read_bytes(),
    )


def gather(run_id: str, application: str, answers: Mapping[str, Answer], sources: Sources) -> Gathered:
    """Put together all that proves a run.

    ``answers`` are those of `integrity.prove` by inventory name; a host that did not answer has one without ``lines``. What is
    not there, or whose proof or signature does not hold, is named in ``missing``.
    Refusal ``run_unknown`` when no host has a record of the run.
    """
    gathering = _Gathering(application, sources, _kept_by_hosts(answers))
    for name, answer in sorted(answers.items()):
        if "lines" in answer:
            gathering.add_host(name, answer)
        elif answer.get("reason") != NOT_OF_RUN:
            gathering.lack(name, str(answer.get("reason") or "no answer"))
    gathering.require_recorded()
    if not gathering.records:
        raise Refusal(
            "run_unknown",
            expected=f"a record of the run {run_id} of {application} on one of {', '.join(sorted(answers)) or 'no hosts'}",
            found="; ".join(gathering.missing) or "none",
            remedy="playbooks/history.yml shows the newest runs; name one of them (-e run_id=…), and the hosts that it was on.",
        )
    gathering.add_policies()
    for record in gathering.records:
        gathering.add_release(record)
    return gathering.gathered(run_id)


def _kept_by_hosts(answers: Mapping[str, Answer]) -> dict[str, bytes]:
    """What hosts keep of signed envelopes, by the digest of the payload; what is none is passed over."""
    kept: dict[str, bytes] = {}
    for _name, answer in sorted(answers.items()):
        for text in answer.get("envelopes") or ():
            for payload_type in (dsse.IN_TOTO_TYPE, dsse.TRUST_POLICY_TYPE):
                with suppress(Refusal):
                    data = str(text).encode()
                    envelope = dsse.Envelope.parse(data, payload_type=payload_type, what="envelope")
                    kept.setdefault(hashlib.sha256(envelope.payload).hexdigest(), data)
    return kept


@dataclass
class _Gathering:
    """Collects the files of one archive."""

    application: str
    sources: Sources
    kept: Mapping[str, bytes]
    members: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    policies: dict[int, TrustPolicy] = field(default_factory=dict)
    holders: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)

    def add_host(self, name: str, answer: Answer) -> None:
        """The host's records with their proofs, and the checkpoint that they are proven by."""
        try:
            host_id, key = str(answer["host"]["id"]), PublicKey.from_hex(str(answer["key"]))
            sizes = {line["size"] for line in answer["lines"]}
            note = self._note(host_id, sizes.pop() if len(sizes) == 1 else -1, answer)
            signed = checkpoint.verify(note, key=key, origin=checkpoint.origin_of(host_id, self.application))
            records = [_proven(line, signed) for line in answer["lines"]]
            cosigned = self.sources.witness.signed(Note.parse(note))
        except (Refusal, KeyError, TypeError) as error:
            self.lack(name, str(error))
            return
        if cosigned is None:
            self.missing.append(f"the cosignature of this controller's witness under the checkpoint of {name}")
        if accepted := self.sources.accepted.get(host_id):
            when, who = timestamp(accepted.accepted), accepted.accepted_by
            self.notes.append(
                f"the history of {name} is judged since {when} only, when {who} accepted what was {accepted.outcome}"
            )
        self.hosts[host_id] = name
        self.records += records
        self.members |= {f"hosts/{host_id}/history-key.pem": pem(key), f"hosts/{host_id}/checkpoint": note}
        for line in answer["lines"]:
            place = f"hosts/{host_id}/records/{line['seq']}"
            self.members[f"{place}/record"] = line["line"].encode()
            self.members[f"{place}/inclusion"] = "".join(f"{each}\n" for each in line["inclusion"]).encode()

    def lack(self, name: str, why: str) -> None:
        """Note that a host's records are not here."""
        self.missing.append(f"the records of {name}: {why}")
        self.lacking.add(name)

    def require_recorded(self) -> None:
        """Note the hosts that had records of this run when the controller saw them, and sent none now."""
        for host_id, name in sorted(self.sources.recorded.items(), key=lambda pair: pair[1]):
            if host_id not in self.hosts and name not in self.lacking:
                self.lack(name, "it said that it recorded this run, and sent no record of it")

    def _note(self, host_id: str, size: int, answer: Answer) -> bytes:
        """The checkpoint of that size as it was cosigned, else as the host signed it."""
        return self.sources.cosigned.get(host_id, {}).get(size) or str(answer["checkpoint"]).encode()

    def add_policies(self) -> None:
        """Every version from the first to the newest that a record names."""
        named = {
            record["policy"]["digest"]: record["policy"]["version"] for record in self.records if record.get("policy")
        }
        envelopes: dict[int, bytes] = {}
        for envelope in (*self.sources.policies, *self.kept.values()):
            with suppress(Refusal):
                policy = TrustPolicy.parse(envelope)
                if policy.version not in envelopes or policy.digest in named:
                    envelopes[policy.version], self.policies[policy.version] = envelope, policy
        for version in range(1, max(named.values(), default=0) + 1):
            if version not in envelopes:
                self.missing.append(f"version {version} of the trust policy")
                continue
            self.holders |= {key.holder for role in self.policies[version].roles.values() for key in role.keys}
            self._add_envelope(f"policies/{version}", envelopes[version], dsse.TRUST_POLICY_TYPE)
        for digest, version in named.items():
            if version in envelopes and self.policies[version].digest != digest:
                self.missing.append(f"version {version} of the trust policy with the sha256 {digest}")

    def add_release(self, record: Record) -> None:
        """What a record names: the manifest, who agreed, and the tests of the release."""
        where = f"record {record['seq']} of {self.hosts[record['host_id']]}"
        if not record.get("policy"):
            self.missing.append(f"the trust policy of {where}, which was written before records named one")
        manifest = self._manifest(record)
        if manifest is None:
            self.missing.append(
                f"the manifest of {record['release_id']} with the sha256 {record['manifest_digest']}, of {where}"
            )
            return
        self.holders.add(manifest.builder)
        base = f"releases/{manifest.digest}"
        for kind in CONSENTS:
            there = self._consents(kind, manifest.digest)
            for named in record.get(kind, ()):
                digest, holder = str(named["digest"]), str(named["holder"])
                self.holders.add(holder)
                envelope = there.get(digest) or self.kept.get(digest)
                if envelope is None:
                    self.missing.append(f"the {kind[:-1]} {digest} by {holder} as {named['role']}, of {where}")
                else:
                    self._add_envelope(f"{base}/{kind}/{digest}", envelope, dsse.IN_TOTO_TYPE)
        if f"{base}/audit/{AUDIT}" not in self.members:
            self._add_audit(f"{base}/audit", manifest.release_id, manifest.promotion.audit)

    def _manifest(self, record: Record) -> ReleaseManifest | None:
        digest = str(record["manifest_digest"])
        candidates: list[bytes] = [self.kept[digest]] if digest in self.kept else []
        with suppress(Refusal):
            candidates.insert(0, self.sources.catalogue.manifest_bytes(self.application, record["release_id"]))
        for envelope in candidates:
            with suppress(Refusal):
                manifest = parse_manifest(envelope)
                if manifest.digest == digest:
                    self._add_envelope(f"releases/{digest}/manifest", envelope, dsse.IN_TOTO_TYPE)
                    return manifest
        return None

    def _consents(self, kind: str, manifest_digest: str) -> dict[str, bytes]:
        """The approvals, or authorizations, that the catalogue has for a release, by the digest of the payload."""
        catalogue, is_approval = self.sources.catalogue, kind == "approvals"
        read = catalogue.approvals if is_approval else catalogue.authorizations
        found: dict[str, bytes] = {}
        for envelope in read(self.application, manifest_digest):
            with suppress(Refusal):
                consent = open_approval(envelope)[1] if is_approval else open_authorization(envelope)[1]
                found[consent.digest] = envelope
        return found

    def _add_envelope(self, place: str, data: bytes, payload_type: str) -> None:
        """An envelope with its payload, the bytes that were signed, and each signature by a key of the trust policies."""
        if f"{place}/envelope.json" in self.members:
            return
        envelope = dsse.Envelope.parse(data, payload_type=payload_type, what=place)
        message = dsse.pae(payload_type, envelope.payload)
        signatures = {
            key.keyid: (key, each.value)
            for each in envelope.signatures
            for key in self._keys(each.keyid)
            if key.verifies(each.value, message)
        }
        if not signatures:
            self.missing.append(f"{place}: a signature by a key of the trust policies")
        self.members |= {f"{place}/envelope.json": data, f"{place}/payload": envelope.payload, f"{place}/pae": message}
        for keyid, (key, value) in signatures.items():
            self.members |= {f"{place}/{keyid}.sig": value, f"keys/{keyid}.pem": pem(key)}

    def _keys(self, hint: str) -> Iterable[PublicKey]:
        """The keys of all versions, or only the one that a signature is said to be by, where there is that one."""
        keys = {
            key.public.keyid: key.public
            for policy in self.policies.values()
            for role in policy.roles.values()
            for key in role.keys
        }
        return [keys[hint]] if hint in keys else list(keys.values())

    def _add_audit(self, place: str, release_id: str, named: AuditReference | None) -> None:
        """The tests of the release, where they still are what the manifest names; a proof does not need them."""
        if named is None:
            self.notes.append(f"{release_id} was released without an audit")
            return
        for path in (self.sources.audits / named.name, *sorted(self.sources.audits.glob("audit_*"))):
            try:
                audit = read_audit(path)
            except (Refusal, OSError):
                continue
            validation = read_if_there(path / VALIDATION, limit=MAX_AUDIT_FILE_BYTES, what="validation") or b""
            if (audit.digest, hashlib.sha256(validation).hexdigest()) != (named.sha256, named.validation_sha256):
                continue
            names = [AUDIT, VALIDATION, *(each["path"] for each in audit.document["files"])]
            names += [LOG] if (path / LOG).exists() else []
            for name in names:
                data = read_regular(path / name, limit=MAX_AUDIT_FILE_BYTES, what="audit file")
                self.members[f"{place}/{name}"] = data
            return
        self.notes.append(f"the audit {named.name} of {release_id} (sha256 {named.sha256}) is not there any more")

    def gathered(self, run_id: str) -> Gathered:
        """The archive's files, with those that say what is in it."""
        notes = tuple(dict.fromkeys(self.notes))
        about = {
            "application": self.application,
            "format": FORMAT,
            "hosts": [{"id": host_id, "name": name} for host_id, name in sorted(self.hosts.items())],
            "notes": list(notes),
            "records": [{"host_id": record["host_id"], "seq": record["seq"]} for record in self.records],
            "run_id": run_id,
        }
        self.members |= {
            README: self.sources.readme,
            VERIFY: self.sources.script,
            RUN: canonical.encode(about),
            "keys/witness.pem": pem(self.sources.witness.public),
        }
        missing = tuple(dict.fromkeys(self.missing))
        if missing:
            self.members[MISSING] = "".join(f"{each}\n" for each in missing).encode()
        self.members[MANIFEST] = "".join(
            f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(self.members.items())
        ).encode()
        return Gathered(
            run_id,
            self.members,
            missing,
            notes,
            tuple(sorted(self.hosts.values())),
            frozenset(self.holders),
            max(seconds_of(record["timestamp"]) for record in self.records),
        )


def _proven(line: Mapping[str, Any], signed: checkpoint.Checkpoint) -> Record:
    """The record of a line, whose proof leads to the root that was signed."""
    text = str(line["line"]).encode()
    merkle.verify_inclusion(
        leaf=merkle.leaf_hash(text),
        index=line["seq"],
        size=line["size"],
        proof=merkle.from_hex(line["inclusion"], what="inclusion proof"),
        root=signed.root,
    )
    record: Record = canonical.parse_canonical(text, what="history record", limit=LINE_LIMIT)
    return record


def write(path: Path, data: bytes, *, mode: int, check: bool) -> bool:
    """Write a file where it has other content (with ``check``, only say so); True when it has.

    Only a file of the same kind, by its first byte, is replaced: a wrong path must not cost another file.
    """
    there = read_if_there(path, limit=MAX_ARCHIVE_BYTES, what="evidence")
    if there == data:
        return False
    if there is not None and there[:1] != data[:1]:
        raise Refusal(
            "output_exists",
            expected=f"no file at {path}, or an older export of the same",
            found="a file of another kind",
            remedy="Give another path (OUTPUT=), or move the file away.",
        )
    if not check:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with full_disk_is_a_refusal(path.parent, what=f"write {path.name}"):
            write_durable(path, data, mode=mode)
    return True


def pem(key: PublicKey) -> bytes:
    """A public key as openssl reads it."""
    body = base64.b64encode(_SPKI + key.raw)
    return b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n"
