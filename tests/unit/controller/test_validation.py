# SPDX-License-Identifier: GPL-3.0-or-later
"""Validating an audited source: what is evidence, and of what no release can be made."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import audit, source, trial, validation

DESCRIPTOR = """
application: hello
version: 1.2.3
exclude: [dry-run, promotion.yml, .gitignore]
audit: {checklist: promotion.yml}
validation: {argv: [sh, dry-run], timeout_seconds: 20}
"""
TICKED = b"version: 1.2.3\nitems: [{id: a, text: A, by: me, at: 2026-11-20}]\n"
OPEN = b"version: 1.2.3\nitems: [{id: a, text: A}, {id: b, text: B, by: me, at: 2026-11-20}, {id: c, text: C}]\n"


@pytest.fixture
def directory(tmp_path):
    files = {"slipway.yml": DESCRIPTOR.encode(), "run": b"1", "promotion.yml": TICKED, "dry-run": b"echo 42 trades\n"}
    signed.write_tree(tmp_path / "hello", files)
    return tmp_path / "hello"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "release/audit_1"


def audited(directory, path, **changes):
    return audit.create(audit.Request(directory, path, **{"now": signed.NOW, **changes}))


def validate(directory, path, check=False, now=signed.NOW, **changes):
    return validation.validate(validation.Request(directory, path, now, **changes), check=check)


def evidence_of(directory, path, **given):
    with source.opened(directory) as (place, descriptor):
        facts = source.facts_now(directory, place, descriptor)
    return validation.evidence_of(path, facts, descriptor, **given)


def reason(act, *arguments, **options):
    with pytest.raises(Refusal) as refusal:
        act(*arguments, **options)
    return refusal.value.reason


def kept(path):
    return json.loads((path / "validation.json").read_bytes())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what is evidence


def test_a_validation_that_passes_is_evidence_in_the_bundle(directory, path):
    audited(directory, path)
    done = validate(directory, path)
    document = kept(path)
    assert canonical.encode(document) == (path / "validation.json").read_bytes()
    assert done.evidence == document
    assert document["command"].pop("milliseconds") >= 0
    output = b"42 trades\n"
    digest = hashlib.sha256(output).hexdigest()
    assert document == {
        "application": "hello",
        "audit_sha256": sha256(path / "audit.json"),
        "checklist": "complete",
        "command": {
            "argv": ["sh", "dry-run"],
            "ended": "exited",
            "exit_code": 0,
            "output": {"bytes": len(output), "sha256": digest},
            "timeout_seconds": 20,
        },
        "created": "2026-11-18T11:06:40Z",
        "format": 1,
        "log_sha256": digest,
        "result": "passed",
    }
    assert (path / "validation.log").read_bytes() == output


def test_a_manifest_refers_to_audit_and_validation_by_their_digests(directory, path):
    audited(directory, path, build_id="b1", tickets=("A-1",))
    validate(directory, path)
    found = evidence_of(directory, path)
    assert found.reference.as_dict() == {
        "name": "audit_1",
        "sha256": sha256(path / "audit.json"),
        "validation_result": "passed",
        "validation_sha256": sha256(path / "validation.json"),
    }
    assert (found.build_id, found.tickets) == ("b1", ("A-1",))


def test_a_source_without_a_validation_or_checklist_says_so(directory, path):
    (directory / "slipway.yml").write_bytes(b"application: hello\n")
    audited(directory, path)
    assert validate(directory, path).argv == ()
    assert (kept(path)["result"], kept(path)["checklist"], kept(path)["command"]) == ("not_declared",) * 2 + (None,)
    assert evidence_of(directory, path).reference.validation_result == "not_declared"


def test_a_validation_may_be_repeated_and_the_newest_counts(directory, path):
    audited(directory, path)
    validate(directory, path)
    (directory / "dry-run").write_bytes(b"echo no; exit 3\n")
    assert reason(validate, directory, path) == "validation_failed"
    assert reason(evidence_of, directory, path) == "validation_failed"
    (directory / "dry-run").write_bytes(b"true\n")
    validate(directory, path, now=signed.NOW + 9)
    assert kept(path)["created"] == "2026-11-18T11:06:49Z"
    assert evidence_of(directory, path).reference.validation_result == "passed"


def test_check_mode_judges_everything_and_runs_nothing(directory, path):
    audited(directory, path)
    foreseen = validate(directory, path, check=True)
    assert (foreseen.argv, foreseen.evidence) == (("sh", "dry-run"), None)
    assert not (path / "validation.json").exists()
    (path / "sbom.cdx.json").write_bytes(b"{}")
    assert reason(validate, directory, path, check=True) == "audit_altered"


# --- a command that does not pass


@pytest.mark.parametrize(
    ("script", "timeout", "ended", "found"),
    [
        (b"echo loss 12 >&2; exit 3\n", 20, "exited", "exit code 3, with this at the end of its output:\nloss 12"),
        (b"echo so far; sleep 60\n", 1, "timed_out", "killed after 1 s"),
        (b"while :; do echo and on and on; done\n", 20, "flooded", "bytes of output"),
    ],
    ids=["fails", "hangs", "floods"],
)
def test_a_command_that_does_not_pass_is_refused_and_kept_as_evidence(
    directory, path, monkeypatch, script, timeout, ended, found
):
    monkeypatch.setitem(trial.run.__kwdefaults__, "max_output_bytes", 100_000)
    (directory / "slipway.yml").write_text(DESCRIPTOR.replace("20", str(timeout)))
    (directory / "dry-run").write_bytes(script)
    audited(directory, path)
    with pytest.raises(Refusal) as refusal:
        validate(directory, path)
    assert refusal.value.reason == "validation_failed"
    assert found in refusal.value.found
    assert (kept(path)["result"], kept(path)["command"]["ended"]) == ("failed", ended)
    assert reason(evidence_of, directory, path) == "validation_failed"


def test_a_command_that_cannot_be_started_is_refused(directory, path):
    (directory / "slipway.yml").write_text(DESCRIPTOR.replace("[sh, dry-run]", "[bin/absent]"))
    audited(directory, path)
    assert reason(validate, directory, path) == "validation_failed"
    assert reason(evidence_of, directory, path) == "validation_failed"


# --- before the command


@pytest.mark.parametrize("check", [False, True])
def test_an_incomplete_checklist_is_refused_with_all_its_open_items(directory, path, check):
    (directory / "promotion.yml").write_bytes(OPEN)
    audited(directory, path)
    with pytest.raises(Refusal) as refusal:
        validate(directory, path, check=check)
    assert refusal.value.reason == "checklist_incomplete"
    assert refusal.value.found == "2 not ticked: a (A); c (C)"
    assert not (path / "validation.json").exists()


def test_a_checklist_for_another_version_is_refused(directory, path):
    (directory / "promotion.yml").write_bytes(TICKED.replace(b"1.2.3", b"1.2.2"))
    audited(directory, path)
    assert reason(validate, directory, path) == "checklist_other_version"


def test_a_checklist_that_was_ticked_after_the_audit_is_not_in_it(directory, path):
    (directory / "promotion.yml").write_bytes(OPEN)
    audited(directory, path)
    (directory / "promotion.yml").write_bytes(TICKED)
    assert reason(validate, directory, path) == "checklist_incomplete"


def git(directory, *arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
    subprocess.run(command, cwd=directory, capture_output=True, check=True)


@pytest.mark.parametrize(
    ("alter", "what"),
    [
        (lambda d: (d / "run").write_bytes(b"2"), "file list"),
        (lambda d: (d / "slipway.yml").write_text("application: hello\nversion: 1.2.3\n"), "slipway.yml"),
        (lambda d: (d / "slipway.yml").write_text(DESCRIPTOR.replace("1.2.3", "1.2.4")), "version"),
        (lambda d: (d / "slipway.yml").write_text(DESCRIPTOR.replace("hello", "other")), "application"),
        (lambda d: git(d, "commit", "--allow-empty", "-qm", "Another"), "commit"),
        (lambda d: (d / "dry-run").write_bytes(b""), "commit"),
    ],
    ids=[
        "other files",
        "another descriptor",
        "another version",
        "another application",
        "another commit",
        "an unclean commit",
    ],
)
def test_an_audit_of_another_source_is_refused(directory, path, alter, what):
    git(directory, "init", "-q")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "All")
    audited(directory, path)
    validate(directory, path)
    before = (path / "validation.json").read_bytes()
    alter(directory)
    for act in (validate, evidence_of):
        with pytest.raises(Refusal) as refusal:
            act(directory, path)
        assert refusal.value.reason == "audit_of_another_source"
        assert what in refusal.value.found
    assert (path / "validation.json").read_bytes() == before


@pytest.mark.parametrize("bundle", [None, "absent"])
def test_a_validation_without_an_audit_is_refused(directory, tmp_path, bundle):
    assert reason(validate, directory, bundle and tmp_path / bundle) == "audit_missing"


# --- of what no release is made


@pytest.fixture
def validated(directory, path):
    audited(directory, path)
    validate(directory, path)
    return path


def test_a_bundle_without_a_validation_is_refused(directory, validated):
    (validated / "validation.json").unlink()
    assert reason(evidence_of, directory, validated) == "validation_missing"


def rewritten(path, name, **changes):
    document = json.loads((path / name).read_bytes())
    (path / name).write_bytes(canonical.encode({**document, **changes}))


@pytest.mark.parametrize(
    "alter",
    [
        lambda p: (p / "validation.log").write_bytes(b"43 trades\n"),
        lambda p: (p / "validation.log").unlink(),
        lambda p: rewritten(p, "validation.json", log_sha256=None),
        lambda p: rewritten(p, "validation.json", audit_sha256="0" * 64),
        lambda p: rewritten(p, "validation.json", result="good"),
        lambda p: rewritten(p, "validation.json", format=2),
        lambda p: (p / "validation.json").write_bytes(b"{}"),
        lambda p: (p / "validation.json").write_bytes(b"{} "),
        lambda p: rewritten(p, "audit.json", build_id="another"),
        lambda p: (p / "checklist.yml").write_bytes(OPEN),
    ],
    ids=[
        "another log", "no log", "a log that is not named", "of another audit", "another result", "another format",
        "nothing", "not canonical", "an audit that was altered later", "another checklist",
    ],
)  # fmt: skip
def test_a_bundle_whose_evidence_does_not_belong_together_is_refused(directory, validated, alter):
    alter(validated)
    assert reason(evidence_of, directory, validated) == "audit_altered"


def commanded(path, **changes):
    rewritten(path, "validation.json", command={**kept(path)["command"], **changes})


NOTHING = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}


@pytest.mark.parametrize(
    ("alter", "found"),
    [
        (lambda p: commanded(p, exit_code=3), "result 'passed', not 'failed'"),
        (lambda p: commanded(p, ended="timed_out"), "null"),
        (lambda p: commanded(p, ended="timed_out", exit_code=None), "result 'passed', not 'failed'"),
        (lambda p: commanded(p, ended="well"), "well"),
        (lambda p: commanded(p, exit_code=False), "False"),
        (lambda p: commanded(p, argv=["true"]), "of true for 20 s, where slipway.yml declares sh dry-run for 20 s"),
        (lambda p: commanded(p, timeout_seconds=21), "of sh dry-run for 21 s, where slipway.yml declares"),
        (lambda p: commanded(p, output=NOTHING), "'bytes': 0"),
        (lambda p: commanded(p, more=1), "more"),
        (lambda p: rewritten(p, "validation.json", more=1), "more"),
        (lambda p: rewritten(p, "validation.json", application="other"), "application 'other', not 'hello'"),
        (lambda p: rewritten(p, "validation.json", checklist="not_declared"), "not 'complete'"),
        (lambda p: rewritten(p, "validation.json", result="failed"), "result 'failed', not 'passed'"),
        (lambda p: rewritten(p, "validation.json", result="not_declared"), "result 'not_declared', not 'passed'"),
        (lambda p: rewritten(p, "validation.json", command=None), "None"),
        (lambda p: rewritten(p, "validation.json", created="now"), "now"),
    ],
    ids=[
        "a code that is none of success", "killed with an exit code", "killed and passed", "an end that is none",
        "an exit code that is none", "another command", "another time", "other output", "a further fact",
        "a further member", "another application", "another checklist", "a failure", "nothing declared", "no command",
        "no time",
    ],
)  # fmt: skip
def test_evidence_that_contradicts_itself_or_what_is_declared_is_refused(directory, validated, alter, found):
    alter(validated)
    with pytest.raises(Refusal) as refusal:
        evidence_of(directory, validated)
    assert refusal.value.reason == "audit_altered"
    assert found in refusal.value.found


@pytest.mark.parametrize("result", ["passed", "not_declared"])
def test_a_validation_that_failed_cannot_be_edited_into_another_result(directory, path, result):
    (directory / "dry-run").write_bytes(b"echo bad; exit 3\n")
    audited(directory, path)
    assert reason(validate, directory, path) == "validation_failed"
    rewritten(path, "validation.json", result=result)
    assert reason(evidence_of, directory, path) == "audit_altered"


def test_a_declared_validation_cannot_be_said_not_to_be_declared(directory, validated):
    rewritten(validated, "validation.json", command=None, log_sha256=None, result="not_declared")
    (validated / "validation.log").unlink()
    with pytest.raises(Refusal) as refusal:
        evidence_of(directory, validated)
    assert refusal.value.reason == "audit_altered"
    assert "of no command, where slipway.yml declares sh dry-run for 20 s" in refusal.value.found


def test_a_validation_that_is_not_declared_cannot_be_said_to_have_passed(directory, path):
    (directory / "slipway.yml").write_text(DESCRIPTOR)
    audited(directory, path)
    validate(directory, path)
    passed = {name: kept(path)[name] for name in ("command", "log_sha256", "result")}
    log = (path / "validation.log").read_bytes()
    (directory / "slipway.yml").write_bytes(b"application: hello\n")
    other = path.with_name("audit_2")
    audited(directory, other)
    validate(directory, other)
    rewritten(other, "validation.json", **passed)
    (other / "validation.log").write_bytes(log)
    assert reason(evidence_of, directory, other) == "audit_altered"


def test_a_log_that_is_longer_than_any_is_refused(directory, validated):
    (validated / "validation.log").write_bytes(b"x" * (trial.TAIL_BYTES + 1))
    assert reason(evidence_of, directory, validated) == "audit_altered"


def test_a_validation_with_long_output_is_evidence(directory, path):
    (directory / "dry-run").write_bytes(b"seq 100000\n")
    audited(directory, path)
    validate(directory, path)
    assert evidence_of(directory, path).reference.validation_result == "passed"


def test_evidence_cannot_say_that_an_open_checklist_was_complete(directory, path):
    (directory / "promotion.yml").write_bytes(OPEN)
    made = audited(directory, path)
    forged = {"audit_sha256": made.digest, "format": 1, "log_sha256": None, "result": "passed"}
    (path / "validation.json").write_bytes(canonical.encode(forged))
    assert reason(evidence_of, directory, path) == "checklist_incomplete"


def test_evidence_of_another_build_is_refused(directory, path):
    audited(directory, path, build_id="b1", tickets=("A-1",))
    validate(directory, path)
    assert evidence_of(directory, path, build_id="b1", tickets=("A-1",))
    assert reason(evidence_of, directory, path, build_id="b2") == "audit_of_another_build"
    assert reason(evidence_of, directory, path, tickets=("A-1", "A-2")) == "audit_of_another_build"


def test_a_full_disk_is_named(directory, path, monkeypatch):
    audited(directory, path)

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(validation, "write_durable", full)
    assert reason(validate, directory, path) == "disk_full"
