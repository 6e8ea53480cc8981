# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a run: what is in the archive, what is said to be missing, and that its own script sees every change."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import proofs
import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import run_evidence
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.controller.memory import Acceptance
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.note import COSIGNATURE, Verifier

FIRST, SECOND = (proofs.HOSTS[name] for name in ("prod-1", "prod-2"))


@pytest.fixture
def run(tmp_path):
    return proofs.Run(tmp_path)


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    return proofs.tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run that nobody changes, and its archive unpacked."""
    place = tmp_path_factory.mktemp("original")
    run = proofs.Run(place)
    (place / "evidence.tar.gz").write_bytes(gathered(run).archive())
    return run, proofs.unpack(place / "evidence.tar.gz", place / "unpacked")


@pytest.fixture
def directory(original, tmp_path):
    """Its archive, for altering."""
    return Path(shutil.copytree(original[1], tmp_path / "altered"))


def gathered(run, answers=None, **sources):
    return run_evidence.gather(proofs.RUN_ID, "hello", answers or run.answers(), run.sources(**sources))


@pytest.fixture
def unpack(run, tmp_path):
    def unpacked():
        shutil.rmtree(tmp_path / "unpacked", ignore_errors=True)
        archive = tmp_path / "evidence.tar.gz"
        archive.write_bytes(gathered(run).archive())
        return proofs.unpack(archive, tmp_path / "unpacked")

    return unpacked


# What is in it


def test_the_archive_proves_itself_with_standard_tools_only(directory, tools, original):
    run = original[0]
    done = proofs.verify(directory, tools)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ok      all 2 records of {proofs.RUN_ID} hold\n" in done.stdout
    assert done.stdout.count("approval by lead as engineering_lead for prod") == 2
    anchors = (proofs.digest_of(run.policies[0]), PublicKey.of(proofs.WITNESS_KEY).hex)
    assert tuple(gathered(run).anchors.values()) == anchors
    assert proofs.verify(directory, tools, *anchors).stdout.endswith("hold\n")


@pytest.mark.parametrize("place", [0, 1])
def test_other_anchors_than_the_auditor_was_given_are_seen(directory, tools, original, place):
    anchors = [proofs.digest_of(original[0].policies[0]), PublicKey.of(proofs.WITNESS_KEY).hex]
    anchors[place] = "0" * 64
    done = proofs.verify(directory, tools, *anchors)
    assert (done.returncode, done.stdout.splitlines()[-1].split()[0]) == (1, "FAILED")


def test_a_rollback_proves_its_authorization(unpack, tools, run):
    run.records = {name: [run.rollback(name)] for name in proofs.HOSTS}
    done = proofs.verify(unpack(), tools)
    assert done.returncode == 0
    assert done.stdout.count("authorization by lead as engineering_lead for prod") == 2


def test_several_records_of_a_host_are_all_there(unpack, tools, run):
    failed = run.record("prod-1", status="failed", approvals=[], durations={})
    run.records["prod-1"] = [failed, run.record("prod-1"), failed]
    directory = unpack()
    assert sorted(path.name for path in (directory / f"hosts/{FIRST}/records").iterdir()) == ["5", "6", "7"]
    done = proofs.verify(directory, tools)
    assert (done.returncode, f"all 4 records of {proofs.RUN_ID} hold" in done.stdout) == (0, True)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 13])
def test_a_record_is_proven_wherever_it_stands(unpack, tools, run, monkeypatch, size):
    monkeypatch.setattr(proofs, "BEFORE", 0)
    monkeypatch.setattr(proofs, "AFTER", 0)
    run.records["prod-1"] = [run.record("prod-1", transaction=str(number)) for number in range(size)]
    done = proofs.verify(unpack(), tools)
    assert (done.returncode, f"all {size + 1} records" in done.stdout) == (0, True)


def test_the_same_evidence_makes_the_same_bytes(run):
    assert gathered(run).archive() == gathered(run, dict(reversed(run.answers().items()))).archive()


def test_only_holder_ids_stand_for_people(run):
    people = Holders.parse({"lead": {"name": "Ada Example", "email": "ada@example.org"}})
    evidence = gathered(run)
    assert evidence.names(people) == {"lead": {"name": "Ada Example", "email": "ada@example.org"}}
    assert {"ci", "lead", "risk", "operator", "auditor", "founder"} == evidence.holders
    assert b"ada@example.org" not in b"".join(evidence.members.values())


def test_the_audit_is_there_as_the_manifest_names_it_and_may_have_moved(run):
    place = f"releases/{run.manifest_digest}/audit"
    here = {"audit.json", "sbom.cdx.json", "tests/smoke.log", "validation.json"}
    evidence = gathered(run)
    assert {f"{place}/{name}" for name in here} <= evidence.members.keys()
    (run.directory / "release/audit_20261118_110000").rename(run.directory / "release/audit_of_somebody")
    assert {f"{place}/{name}" for name in here} <= gathered(run).members.keys()


def test_an_audit_that_is_gone_or_altered_is_told_and_the_proof_holds(unpack, tools, run):
    (run.directory / "release/audit_20261118_110000/validation.json").write_bytes(b"{}")
    evidence = gathered(run)
    assert evidence.missing == ()
    assert "is not there any more" in evidence.notes[0]
    shutil.rmtree(run.directory / "release")
    assert gathered(run).notes == evidence.notes
    assert proofs.verify(unpack(), tools).returncode == 0


def test_a_log_of_the_validation_goes_with_it(run):
    (run.directory / "release/audit_20261118_110000/validation.log").write_bytes(b"validated")
    assert f"releases/{run.manifest_digest}/audit/validation.log" in gathered(run).members


def test_what_the_catalogue_lost_a_host_may_have(run):
    answers = run.answers()
    shutil.rmtree(run.directory / "catalogue")
    lost = gathered(run, answers)
    assert [text.split()[1] for text in lost.missing] == ["manifest", "manifest"]
    kept = [run.manifest, *run.approvals, *run.policies, b"no envelope"]
    answers["prod-2"]["envelopes"] = [envelope.decode() for envelope in kept]
    assert gathered(run, answers, policies=[]).missing == ()


# What is missing


def test_a_host_that_does_not_answer_is_named_and_one_that_was_no_part_of_it_is_not(run, tools, tmp_path):
    answers = {**run.answers(), "prod-3": {}, "prod-4": {"failed": True, "reason": "record_unknown"}}
    answers["prod-5"] = {"failed": True, "reason": "history_truncated"}
    evidence = gathered(run, answers)
    assert evidence.missing == ("the records of prod-3: no answer", "the records of prod-5: history_truncated")
    assert evidence.hosts == ("prod-1", "prod-2")
    (tmp_path / "evidence.tar.gz").write_bytes(evidence.archive())
    done = proofs.verify(proofs.unpack(tmp_path / "evidence.tar.gz", tmp_path / "unpacked"), tools)
    assert (done.returncode, "prod-3: no answer" in done.stdout) == (1, True)


def test_a_host_that_recorded_the_run_and_says_nothing_of_it_is_named(run):
    answers = run.answers()
    answers["prod-2"] = {"failed": True, "reason": "record_unknown"}
    told = "the records of prod-2: it said that it recorded this run, and sent no record of it"
    assert gathered(run, answers).missing == (told,)
    assert gathered(run, {"prod-1": answers["prod-1"]}).missing == (told,)
    assert gathered(run, answers, recorded={}).missing == ()


def test_a_run_that_no_host_knows_is_refused(run):
    with pytest.raises(Refusal) as refused:
        gathered(run, {"prod-1": {"failed": True, "reason": "record_unknown"}, "prod-2": {}}, recorded={})
    assert refused.value.reason == "run_unknown"
    assert "prod-2: no answer" in str(refused.value)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda answer: answer["lines"][0].update(inclusion=[]), "history_proof_invalid"),
        (
            lambda answer: answer["lines"][0].update(line=answer["lines"][0]["line"].replace("success", "failure")),
            "history_proof",
        ),
        (lambda answer: answer.update(key="0" * 64), "key_weak"),
        (
            lambda answer: answer.update(key=PublicKey.of(proofs.history_key("prod-2")).hex),
            "checkpoint_signature_unknown",
        ),
        (
            lambda answer: answer.update(
                host={"id": SECOND, "name": "prod-1"},
            ),
            "checkpoint_signature_unknown",
        ),
        (lambda answer: answer["host"].update(id="another"), "checkpoint_of_another_log"),
        (lambda answer: answer["lines"][0].pop("size"), "size"),
        (lambda answer: answer["lines"].append({**answer["lines"][0], "size": 2}), "history_proof_invalid"),
    ],
)
def test_what_a_host_cannot_prove_does_not_go_in(run, damage, told):
    answers = run.answers()
    damage(answers["prod-1"])
    evidence = gathered(run, answers)
    assert evidence.hosts == ("prod-2",)
    assert [text for text in evidence.missing if text.startswith("the records of prod-1: ")] != []
    assert told in evidence.missing[0]
    assert not any(FIRST in path for path in evidence.members)


def test_a_checkpoint_that_nobody_witnessed_is_missing_its_cosignature(run):
    evidence = gathered(run, cosigned={FIRST: run.cosigned()[FIRST]})
    assert evidence.missing == ("the cosignature of this controller's witness under the checkpoint of prod-2",)


def test_approvals_that_are_nowhere_are_missing(run):
    shutil.rmtree(run.directory / "catalogue/hello/approvals")
    assert len(gathered(run).missing) == 4
    assert gathered(run).missing[0].endswith(" by lead as engineering_lead, of record 5 of prod-1")


def test_an_approval_that_no_key_of_the_policies_signed_is_missing_its_signature(run):
    payload = proofs.payload_of(run.approvals[0])
    run.catalogue.add_approval(signed.sign(payload, signed.OTHER_KEY), check=False)
    place = f"releases/{run.manifest_digest}/approvals/{proofs.digest_of(run.approvals[0])}"
    evidence = gathered(run)
    assert evidence.missing == (f"{place}: a signature by a key of the trust policies",)
    assert not any(path.startswith(place) and path.endswith(".sig") for path in evidence.members)


def test_another_manifest_of_that_name_is_not_the_one(run):
    for records in run.records.values():
        records[0]["manifest_digest"] = "1" * 64
    evidence = gathered(run)
    assert evidence.missing[0] == f"the manifest of v1.2.3 with the sha256 {'1' * 64}, of record 5 of prod-1"
    assert not any(path.startswith("releases/") for path in evidence.members)


def test_a_catalogue_with_garbage_beside_an_approval_does_not_matter(run):
    (approval,) = (run.directory / "catalogue/hello/approvals" / run.manifest_digest).glob("*.lead.*")
    approval.with_name("a.dsse.json").write_bytes(b"garbage")
    assert gathered(run).missing == ()


def test_policies_that_are_not_there_are_missing(run):
    assert gathered(run, policies=run.policies[1:]).missing == ("version 1 of the trust policy",)
    others = [
        run.policies[0],
        signed.policy_envelope(proofs.policy(2, proofs.FIRST_ROOTS), *list(proofs.FIRST_ROOTS.values())[:2]),
    ]
    digest = proofs.digest_of(run.policies[1])
    assert gathered(run, policies=others).missing == (f"version 2 of the trust policy with the sha256 {digest}",)


def test_a_record_that_names_no_policy_is_said_to(run):
    for records in run.records.values():
        del records[0]["policy"]
    assert gathered(run).missing[0].startswith("the trust policy of record 5 of prod-1")


def test_a_history_that_somebody_accepted_is_told(run):
    host_id = proofs.HOSTS["prod-1"]
    accepted = {host_id: Acceptance(2, signed.NOW, "restored", "anna")}
    told = f"the history of prod-1 is judged since {timestamp(signed.NOW)} only, when anna accepted what was restored"
    assert gathered(run, accepted=accepted).notes == (told,)


def test_a_release_without_an_audit_is_told(run):
    payload = signed.manifest_payload(release_id="v2")
    with run.catalogue.workspace("hello"):
        run.catalogue.add(signed.sign(payload), b"{}", {})
    digest = hashlib.sha256(payload).hexdigest()
    changed = {"release_id": "v2", "manifest_digest": digest, "status": "failed", "approvals": []}
    run.records = {name: [run.record(name, **changed)] for name in proofs.HOSTS}
    evidence = gathered(run)
    assert (evidence.missing, evidence.notes) == ((), ("v2 was released without an audit",))


def test_an_archive_is_written_once(tmp_path):
    path = tmp_path / "below/evidence.tar.gz"
    assert run_evidence.write(path, b"one", mode=0o644, check=True)
    assert not path.parent.exists()
    assert run_evidence.write(path, b"one", mode=0o644, check=False)
    assert not run_evidence.write(path, b"one", mode=0o644, check=False)
    assert run_evidence.write(path, b"once more", mode=0o644, check=False)
    assert path.read_bytes() == b"once more"


# What the script sees

CHANGES = [
    f"hosts/{FIRST}/records/5/record",
    f"hosts/{FIRST}/records/5/inclusion",
    f"hosts/{FIRST}/checkpoint",
    f"hosts/{FIRST}/history-key.pem",
    "keys/witness.pem",
    f"keys/{signed.keyid(signed.LEAD_KEY)}.pem",
    f"keys/{signed.keyid(signed.BUILDER_KEY)}.pem",
    "policies/1/payload",
    "policies/1/pae",
    "policies/2/payload",
    "releases/{manifest}/manifest/payload",
    "releases/{manifest}/manifest/pae",
    "releases/{manifest}/manifest/{builder}.sig",
    "releases/{manifest}/approvals/{approval}/payload",
    "releases/{manifest}/approvals/{approval}/{lead}.sig",
    "releases/{manifest}/audit/audit.json",
    "releases/{manifest}/audit/sbom.cdx.json",
    "releases/{manifest}/audit/tests/smoke.log",
    "releases/{manifest}/audit/validation.json",
]


def named(run, directory, path):
    names = {
        "manifest": run.manifest_digest,
        "approval": proofs.digest_of(run.approvals[0]),
        "lead": signed.keyid(signed.LEAD_KEY),
        "builder": signed.keyid(signed.BUILDER_KEY),
    }
    return directory / path.format(**names)


@pytest.mark.parametrize("where", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("path", CHANGES)
def test_a_changed_byte_is_seen_also_where_manifest_was_written_anew(directory, tools, original, path, where):
    flip(named(original[0], directory, path), where)
    proofs.seal(directory)
    assert "MANIFEST" not in failure(directory, tools)


def test_a_changed_byte_in_any_file_is_seen_by_manifest(directory, tools):
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "verify.sh"]
    assert len(files) > 40
    for path in files:
        before = path.read_bytes()
        flip(path, 0.5)
        assert failure(directory, tools).startswith("FAILED  MANIFEST"), path
        path.write_bytes(before)


def flip(path, where):
    data = bytearray(path.read_bytes() or b"\0")
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)


def failure(directory, tools):
    """What the script says last, and that it says nothing good after the first that fails."""
    done = proofs.verify(directory, tools)
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("FAILED  ")
    assert [line for line in done.stdout.splitlines() if line.startswith("FAILED  ")] == [last]
    return last


def removed(path):
    return lambda directory, run: shutil.rmtree(p) if (p := named(run, directory, path)).is_dir() else p.unlink()


def exchanged(first, second):
    def exchange(directory, run):
        one, other = named(run, directory, first), named(run, directory, second)
        one_data, other_data = one.read_bytes(), other.read_bytes()
        one.write_bytes(other_data)
        other.write_bytes(one_data)

    return exchange


def unsigned_policy(directory, run):
    """A policy that asks for no approvals, put together as the right one is, with the signatures of the right one."""
    document = proofs.policy(2, proofs.SECOND_ROOTS)
    document["environments"]["prod"]["require"] = []
    envelope = dsse.Envelope.parse(run.policies[1], payload_type=dsse.TRUST_POLICY_TYPE, what="policy")
    forged = dsse.Envelope(envelope.payload_type, canonical.encode(document), envelope.signatures)
    place = directory / "policies/2"
    (place / "envelope.json").write_bytes(forged.encode())
    (place / "payload").write_bytes(forged.payload)
    (place / "pae").write_bytes(dsse.pae(forged.payload_type, forged.payload))


def swapped_witness(directory, run):
    (directory / "keys/witness.pem").write_bytes(run_evidence.pem(PublicKey.of(signed.OTHER_KEY)))


def other_signature(directory, run):
    """A good signature by the lead that is not in the envelope."""
    place = named(run, directory, "releases/{manifest}/approvals/{approval}")
    risk = run_evidence.pem(PublicKey.of(signed.OTHER_KEY))
    (directory / f"keys/{signed.keyid(signed.OTHER_KEY)}.pem").write_bytes(risk)
    (place / f"{signed.keyid(signed.OTHER_KEY)}.sig").write_bytes(signed.OTHER_KEY.sign((place / "pae").read_bytes()))


def policy_of_another_type(directory, run):
    keys = [proofs.FIRST_ROOTS["operator"], proofs.FIRST_ROOTS["founder"]]
    payload = (directory / "policies/1/payload").read_bytes()
    proofs.put(directory / "policies/1", dsse.sign(dsse.IN_TOTO_TYPE, payload, *keys), *keys)


def policy_twice(directory, run):
    shutil.rmtree(directory / "policies/2")
    shutil.copytree(directory / "policies/1", directory / "policies/2")


def approvals_under_each_others_names(directory, run):
    place = directory / f"releases/{run.manifest_digest}/approvals"
    first, second = sorted(place.iterdir())
    first.rename(place / "x")
    second.rename(first)
    (place / "x").rename(second)


def another_manifest(directory, run):
    payload = signed.manifest_payload(release_id="v2")
    envelope = dsse.sign(dsse.IN_TOTO_TYPE, payload, signed.BUILDER_KEY)
    proofs.put(directory / f"releases/{run.manifest_digest}/manifest", envelope, signed.BUILDER_KEY)


def checkpoint(size=None, also=""):
    """A checkpoint of another size, or with a line more, signed by host and witness."""

    def change(directory, run):
        path = directory / f"hosts/{FIRST}/checkpoint"
        origin, its_size, root = path.read_text().split("\n")[:3]
        path.write_bytes(proofs.note("prod-1", origin, size or its_size, root, also=also))

    return change


def cosignature_of_another_time(directory, run):
    path = directory / f"hosts/{FIRST}/checkpoint"
    *rest, line = path.read_text().splitlines()
    value = bytearray(base64.b64decode(line.split()[2]))
    value[11] ^= 1
    encoded = base64.b64encode(value).decode()
    path.write_text("\n".join([*rest, " ".join([*line.split()[:2], encoded])]) + "\n")


def more_hashes(directory, run):
    path = directory / f"hosts/{FIRST}/records/5/inclusion"
    path.write_text(path.read_text() + "0" * 64 + "\n")


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (policy_of_another_type, "is a application/vnd.in-toto+json"),
        (policy_twice, "policies/2 is another version"),
        (approvals_under_each_others_names, "is another than the record names"),
        (another_manifest, "is another manifest"),
        (checkpoint(size="3"), "record 5 is not among the 3"),
        (checkpoint(size="x"), "has no size"),
        (checkpoint(size="8"), "is no proof for record 5 of 8"),
        (checkpoint(also="\u2014 somebody/else AAAAAAA=\n"), "has more in it than its two signatures"),
        (cosignature_of_another_time, "is not cosigned with keys/witness.pem"),
        (more_hashes, "is no proof for record 5 of 9"),
        (removed(f"hosts/{FIRST}"), "1 records here, 2 in run.json"),
        (removed(f"hosts/{FIRST}/checkpoint"), "checkpoint is missing"),
        (removed(f"hosts/{FIRST}/records/5/inclusion"), "is not whole"),
        (removed("keys/witness.pem"), "keys/witness.pem is missing"),
        (removed(f"keys/{signed.keyid(signed.RISK_KEY)}.pem"), "is missing"),
        (removed("policies/2"), "names a trust policy that is not here"),
        (removed("policies"), "policies/1 is missing"),
        (removed(f"policies/1/{signed.keyid(proofs.FIRST_ROOTS['founder'])}.sig"), "enough holders of its own root"),
        (
            removed(f"policies/2/{signed.keyid(proofs.FIRST_ROOTS['auditor'])}.sig"),
            "enough holders of the root before it",
        ),
        (removed("releases/{manifest}/manifest"), "which the record names, is missing"),
        (removed("releases/{manifest}/manifest/pae"), "pae is missing"),
        (removed("releases/{manifest}/manifest/{builder}.sig"), "has no signature"),
        (removed("releases/{manifest}/approvals/{approval}"), "which the record names, is missing"),
        (removed("releases/{manifest}/approvals"), "which the record names, is missing"),
        (exchanged(f"hosts/{FIRST}/history-key.pem", f"hosts/{SECOND}/history-key.pem"), "another key"),
        (exchanged(f"hosts/{FIRST}/checkpoint", f"hosts/{SECOND}/checkpoint"), "is the checkpoint of"),
        (exchanged(f"hosts/{FIRST}/records/5/record", f"hosts/{SECOND}/records/5/record"), "not in the history"),
        (
            exchanged(f"keys/{signed.keyid(signed.LEAD_KEY)}.pem", f"keys/{signed.keyid(signed.RISK_KEY)}.pem"),
            "the key of another id",
        ),
        (swapped_witness, "another key than keys/witness.pem"),
        (unsigned_policy, "is not a signature by"),
        (other_signature, "none of the envelope's signatures"),
    ],
)
def test_what_is_swapped_or_taken_out_is_seen(directory, tools, original, alter, told):
    alter(directory, original[0])
    assert failure(directory, tools).startswith("FAILED  MANIFEST")
    proofs.seal(directory)
    assert told in failure(directory, tools)


def test_an_archive_without_manifest_is_none(directory, tools):
    (directory / "MANIFEST").unlink()
    assert "MANIFEST is missing" in failure(directory, tools)


def test_a_file_more_is_seen(directory, tools):
    (directory / "policies/3").mkdir()
    (directory / "policies/3/payload").write_bytes(b"{}")
    assert "does not name all files" in failure(directory, tools)


def test_a_signature_by_the_host_alone_is_not_enough(directory, tools, original):
    (directory / f"hosts/{FIRST}/checkpoint").write_bytes(original[0].answer("prod-1")["checkpoint"].encode())
    proofs.seal(directory)
    assert "is not signed with keys/witness.pem" in failure(directory, tools)


# A host that lies: it signs what it likes, and what it says is still held to the policy.


def test_a_host_that_ran_what_too_few_approved_is_seen(unpack, tools, run):
    run.records["prod-1"] = [run.record("prod-1", approvals=run.record("prod-1")["approvals"][:1])]
    assert "asks for 1 approvals as risk_manager" in failure(unpack(), tools)


def lies(**changes):
    """An approval that says something else than what it is used for; the record names it all the same."""
    return lambda run: signed.approval_envelope(**{"manifest_digest": run.manifest_digest, **changes})


@pytest.mark.parametrize(
    ("approval", "told"),
    [
        (lies(manifest_digest="1" * 64), "does not say subject/0/digest/sha256"),
        (lies(environment="staging"), "does not say predicate/environment"),
        (lies(application="other"), "does not say predicate/application"),
        (lies(holder="risk"), "does not say predicate/holder"),
        (lies(role="risk_manager"), "does not say predicate/role"),
        (lies(decision="reject"), "does not approve"),
        (lies(created="2026-11-18T12:06:40Z"), "was not in force"),
        (lies(created="2026-11-17T11:06:40Z", expires="2026-11-18T11:00:00Z"), "was not in force"),
        (lies(created="2025-11-17T11:06:40Z"), "a key that was not valid"),
        (
            lambda run: signed.approval_envelope(signed.RISK_KEY, manifest_digest=run.manifest_digest),
            "is not signed by lead as engineering_lead",
        ),
        (lambda run: run.authorization, "is no approval"),
    ],
)
def test_an_approval_that_does_not_count_is_seen(unpack, tools, run, approval, told):
    run.approvals[0] = approval(run)
    place = run.directory / "catalogue/hello/approvals" / run.manifest_digest / "x.dsse.json"
    place.write_bytes(run.approvals[0])
    run.records = {name: [run.record(name)] for name in proofs.HOSTS}
    answers = run.answers()
    for answer in answers.values():
        answer["envelopes"] = [run.approvals[0].decode()]
    evidence = gathered(run, answers)
    assert evidence.missing == ()
    archive = run.directory / "evidence.tar.gz"
    archive.write_bytes(evidence.archive())
    assert told in failure(proofs.unpack(archive, run.directory / "unpacked"), tools)


def rotated(run, document):
    """Let this be the policy that the hosts have."""
    keys = [proofs.FIRST_ROOTS["operator"], proofs.FIRST_ROOTS["auditor"], proofs.SECOND_ROOTS["founder"]]
    run.policies[1] = signed.policy_envelope(document, *keys)


def test_a_release_of_a_revoked_builder_is_seen(unpack, tools, run):
    revoked = {"keys": [signed.keyid(signed.BUILDER_KEY)], "payloads": []}
    rotated(run, proofs.policy(2, proofs.SECOND_ROOTS, revoked=revoked))
    run.records = {name: [run.record(name)] for name in proofs.HOSTS}
    assert "is not signed by its builder ci" in failure(unpack(), tools)


def test_a_release_from_before_its_builders_key_is_seen(unpack, tools, run):
    payload = signed.manifest_payload(release_id="v0", sequence=1_700_000_000)
    with run.catalogue.workspace("hello"):
        run.catalogue.add(signed.sign(payload), b"{}", {})
    changed = {"release_id": "v0", "manifest_digest": hashlib.sha256(payload).hexdigest(), "approvals": []}
    run.records = {name: [run.record(name, **changed)] for name in proofs.HOSTS}
    assert "a key that was not valid then" in failure(unpack(), tools)


@pytest.mark.parametrize(
    ("key", "holder", "told"),
    [
        (signed.LEAD_KEY, "ci", "is given by the builder"),
        (signed.RISK_KEY, "lead", "asks for 2 different holders in prod"),
    ],
)
def test_one_holder_in_two_functions_is_seen(unpack, tools, run, key, holder, told):
    document = proofs.policy(2, proofs.SECOND_ROOTS)
    document["keys"][signed.keyid(key)]["holder"] = holder
    rotated(run, document)
    given = {"engineering_lead": (signed.LEAD_KEY, "lead"), "risk_manager": (signed.RISK_KEY, "risk")}
    named = []
    for role, (signer, usual) in given.items():
        who = holder if signer is key else usual
        approval = signed.approval_envelope(signer, manifest_digest=run.manifest_digest, role=role, holder=who)
        run.catalogue.add_approval(approval, check=False)
        named.append({"role": role, "holder": who, "digest": proofs.digest_of(approval)})
    run.records = {name: [run.record(name, approvals=named)] for name in proofs.HOSTS}
    assert told in failure(unpack(), tools)


def test_an_authorization_for_another_host_is_seen(unpack, tools, run):
    run.authorization = signed.authorization_envelope(manifest_digest=run.manifest_digest, hosts=[FIRST])
    run.catalogue.add_authorization(run.authorization, check=False)
    run.records = {name: [run.rollback(name)] for name in proofs.HOSTS}
    assert f"is not for the host {SECOND}" in failure(unpack(), tools)


def test_an_approval_is_no_authorization(run, tools, tmp_path):
    run.authorization = run.approvals[0]
    run.records = {name: [run.rollback(name)] for name in proofs.HOSTS}
    answers = {name: {**answer, "envelopes": [run.approvals[0].decode()]} for name, answer in run.answers().items()}
    (tmp_path / "evidence.tar.gz").write_bytes(gathered(run, answers).archive())
    unpacked = proofs.unpack(tmp_path / "evidence.tar.gz", tmp_path / "unpacked")
    assert "is no rollback authorization" in failure(unpacked, tools)


def test_an_environment_that_the_policy_does_not_know_is_seen(unpack, tools, run):
    run.records = {name: [run.record(name, environment="moon", approvals=[])] for name in proofs.HOSTS}
    assert "the trust policy does not know moon" in failure(unpack(), tools)


def test_a_record_of_something_that_is_no_manifest_is_seen(directory, tools, original):
    run = copy.copy(original[0])
    digest = proofs.digest_of(run.approvals[0])
    run.records = {**run.records, "prod-1": [run.record("prod-1", manifest_digest=digest)]}
    envelope = dsse.Envelope.parse(run.approvals[0], payload_type=dsse.IN_TOTO_TYPE, what="approval")
    proofs.put(directory / f"releases/{digest}/manifest", envelope, signed.LEAD_KEY)
    rewritten(directory, run)
    assert "is no release manifest" in failure(directory, tools)


def rewritten(directory, run):
    """Let the first host have recorded this, and the witness have signed it."""
    answer, place = run.answer("prod-1"), directory / f"hosts/{FIRST}"
    (place / "checkpoint").write_bytes(next(iter(run.cosigned()[FIRST].values())))
    (place / "records/5/record").write_text(answer["lines"][0]["line"])
    (place / "records/5/inclusion").write_text("".join(f"{each}\n" for each in answer["lines"][0]["inclusion"]))
    proofs.seal(directory)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"run_id": "another"}, "is of another run_id"),
        ({"host_id": SECOND}, "is of another host_id"),
        ({"release_id": "v9"}, "is not of v9"),
        ({"environment": "moon"}, "does not say predicate/environment moon"),
        ({"policy": {"version": 2, "digest": "1" * 64}}, "names another trust policy 2"),
        ({"policy": {"version": 9, "digest": "1" * 64}}, "names a trust policy that is not here"),
        ({"policy": {"version": "1/../1", "digest": "1" * 64}}, "names no trust policy"),
    ],
)
def test_a_record_that_contradicts_what_it_names_is_seen(directory, tools, original, changes, told):
    run = copy.copy(original[0])
    run.records = {**run.records, "prod-1": [run.record("prod-1", **changes)]}
    rewritten(directory, run)
    assert told in failure(directory, tools)


# What is said of it


def blocks(text):
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_recipe_works_by_hand_as_it_is_written(directory, tools):
    recipe = blocks((directory / "README.md").read_text())
    assert len(recipe) >= 6
    given = {"PATH": str(tools), "LC_ALL": "C"}
    for block in recipe:
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", block], cwd=directory, env=given, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), block


def test_the_script_names_the_tools_that_it_takes():
    head = proofs.SCRIPT.read_text().partition("set -u")[0]
    assert [tool for tool in proofs.TOOLS if not re.search(rf"\b{tool}\b", head)] == []


def test_the_witness_of_another_controller_is_no_witness_of_this(run):
    other = Verifier(proofs.WITNESS_NAME, PublicKey.of(signed.OTHER_KEY), COSIGNATURE)
    assert len(gathered(run, witness=other).missing) == 2


def test_verifying_writes_nothing_into_it(directory, tools):
    before = {path: path.stat().st_mtime_ns for path in Path(directory).rglob("*")}
    proofs.verify(directory, tools)
    assert {path: path.stat().st_mtime_ns for path in Path(directory).rglob("*")} == before


def test_a_file_of_another_kind_is_never_replaced(tmp_path):
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost\n")
    for check in (True, False):
        with pytest.raises(Refusal) as refusal:
            run_evidence.write(path, b"\x1f\x8bnew", mode=0o644, check=check)
        assert refusal.value.reason == "output_exists"
    assert path.read_bytes() == b"127.0.0.1 localhost\n"
    path.write_bytes(b"\x1f\x8bold")
    assert run_evidence.write(path, b"\x1f\x8bnew", mode=0o644, check=False)
    assert path.read_bytes() == b"\x1f\x8bnew"
