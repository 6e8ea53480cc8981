# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit bundles: what is in one, when none is made, and that any change to one is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import audit, trial
from ansible.module_utils.slipway.controller.source import facts_now, opened

DESCRIPTOR = """
application: hello
version: 1.2.3
exclude: [tests, build, promotion.yml, requirements.txt]
audit:
  tests:
    - {name: unit, argv: [sh, tests/unit], timeout_seconds: 20, junit: build/junit.xml}
    - {name: lint, argv: [sh, -c, "echo clean"]}
  requirements: [requirements.txt]
  checklist: promotion.yml
"""
JUNIT = "<testsuite><testcase/><testcase/><testcase><skipped/></testcase></testsuite>"
FILES = {
    "slipway.yml": DESCRIPTOR.encode(),
    "run!": b"#!/bin/sh\n",
    "requirements.txt": b"requests==2.32.3\nidna==3.10\n",
    "promotion.yml": b"version: 1.2.3\nitems: [{id: a, text: A, by: me, at: 2026-11-20}, {id: b, text: B}]\n",
    "tests/unit": f"mkdir -p build; echo '{JUNIT}' >build/junit.xml; echo two passed; pwd\n".encode(),
    ".gitignore": b"build/\n",
}


@pytest.fixture
def source(tmp_path):
    signed.write_tree(tmp_path / "hello", FILES)
    return tmp_path / "hello"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "release/audit_20261118_110640"


def git(directory, *arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def create(source, path, check=False, **changes):
    return audit.create(audit.Request(source, path, **{"now": signed.NOW, **changes}), check=check)


def refused(source, path, **changes):
    """The refusal of a request, after a look that nothing of a bundle stayed."""
    before = sorted(path.parent.iterdir()) if path.parent.exists() else None
    with pytest.raises(Refusal) as refusal:
        create(source, path, **changes)
    assert (sorted(path.parent.iterdir()) if path.parent.exists() else None) == before
    return refusal.value


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def files_of(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


# --- what is in one


def test_a_bundle_holds_the_evidence_and_names_every_file_by_its_digest(source, path):
    made = create(source, path, build_id="build_7", tickets=("A-1", "A-2"))
    assert made.changed
    files = files_of(path)
    assert set(files) == {
        "audit.json", "sbom.cdx.json", "checklist.yml", "tests/unit.log", "tests/unit.xml", "tests/lint.log",
    }  # fmt: skip
    document = json.loads(files["audit.json"])
    assert made.digest == sha256(files["audit.json"])
    assert canonical.encode(document) == files["audit.json"]
    assert document == made.document
    assert (document["format"], document["application"], document["version"]) == (1, "hello", "1.2.3")
    assert (document["created"], document["build_id"]) == ("2026-11-18T11:06:40Z", "build_7")
    assert document["tickets"] == ["A-1", "A-2"]
    assert document["tools"].keys() == {"ansible_core", "python", "slipway"}
    assert document["not_declared"] == []
    listed = {each["path"]: (each["sha256"], each["size"]) for each in document["files"]}
    assert listed == {name: (sha256(data), len(data)) for name, data in files.items() if name != "audit.json"}


def test_a_bundle_says_what_was_tested_with_what_result(source, path):
    unit, lint = create(source, path).document["tests"]
    output = f"two passed\n{source}\n".encode()
    assert unit.pop("milliseconds") >= 0
    assert unit == {
        "argv": ["sh", "tests/unit"],
        "counts": {"passed": 2, "failed": 0, "skipped": 1},
        "ended": "exited",
        "exit_code": 0,
        "junit": "tests/unit.xml",
        "log": "tests/unit.log",
        "name": "unit",
        "output": {"bytes": len(output), "sha256": sha256(output)},
        "result": "passed",
        "timeout_seconds": 20,
    }
    assert (lint["counts"], lint["junit"], lint["timeout_seconds"]) == (None, None, 600)
    assert (path / "tests/unit.log").read_bytes() == output
    assert (path / "tests/unit.xml").read_text() == JUNIT + "\n"


def test_a_bundle_says_who_ticked_what_complete_or_not(source, path):
    checklist = create(source, path).document["checklist"]
    assert checklist == {
        "items": [
            {"id": "a", "text": "A", "by": "me", "at": "2026-11-20"},
            {"id": "b", "text": "B", "by": None, "at": None},
        ],
        "path": "checklist.yml",
        "sha256": sha256(FILES["promotion.yml"]),
        "version": "1.2.3",
    }
    assert (path / "checklist.yml").read_bytes() == FILES["promotion.yml"]


def test_a_bundle_has_an_sbom_of_the_locked_requirements(source, path):
    found = create(source, path).document["sbom"]
    data = (path / "sbom.cdx.json").read_bytes()
    assert found == {
        "components": 2, "made_from": ["requirements.txt"], "path": "sbom.cdx.json", "sha256": sha256(data),
    }  # fmt: skip
    assert [each["name"] for each in json.loads(data)["components"]] == ["idna", "requests"]


def test_a_bundle_takes_an_sbom_that_was_made_elsewhere_as_it_is(source, path):
    made_elsewhere = b'{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"name": "x"}]}'
    (source / "sbom.json").write_bytes(made_elsewhere)
    (source / "slipway.yml").write_text(DESCRIPTOR.replace("requirements: [requirements.txt]", "sbom: sbom.json"))
    assert create(source, path).document["sbom"]["components"] == 1
    assert (path / "sbom.cdx.json").read_bytes() == made_elsewhere


def test_a_bundle_says_which_commit_it_is_of(source, path):
    assert create(source, path.with_name("a")).document["source"]["is_clean"] is False
    git(source, "init", "-q", "-b", "main")
    git(source, "add", ".")
    git(source, "commit", "-qm", "All")
    git(source, "tag", "v1.2.3")
    found = create(source, path).document["source"]
    assert len(found.pop("tree_digest")) == 64
    assert found.pop("descriptor_digest") == sha256(FILES["slipway.yml"])
    assert found == {
        "git_branch": "main",
        "git_commit": git(source, "rev-parse", "HEAD"),
        "git_tag": "v1.2.3",
        "is_clean": True,
        "kind": "directory",
        "name": "hello",
    }


def test_a_bundle_says_plainly_what_was_not_declared(source, path):
    (source / "slipway.yml").write_bytes(b"application: hello\n")
    document = create(source, path).document
    assert document["not_declared"] == ["checklist", "dependencies", "tests"]
    assert (document["checklist"], document["tests"], document["version"]) == (None, [], None)
    assert document["sbom"]["components"] == 0
    assert set(files_of(path)) == {"audit.json", "sbom.cdx.json"}


def test_an_archive_is_audited_like_its_directory(source, path, tmp_path):
    subprocess.run(["tar", "czf", str(tmp_path / "hello.tar.gz"), "."], cwd=source, check=True)
    document = create(tmp_path / "hello.tar.gz", path).document
    assert document["source"]["kind"] == "archive"
    assert document["source"]["tree_digest"] == create(source, path.with_name("b")).document["source"]["tree_digest"]


def test_others_may_read_a_bundle_and_not_write_to_it(source, path):
    before = os.umask(0o077)
    try:
        create(source, path)
    finally:
        os.umask(before)
    modes = {str(each.relative_to(path.parent)): each.stat().st_mode & 0o777 for each in path.parent.rglob("*")}
    assert {mode for name, mode in modes.items() if Path(path.parent, name).is_dir()} == {0o755}
    assert {mode for name, mode in modes.items() if Path(path.parent, name).is_file()} == {0o644}


def test_only_the_end_of_a_tests_output_is_kept(source, path):
    (source / "tests/unit").write_bytes(FILES["tests/unit"] + b"seq 100000\n")
    create(source, path)
    assert (path / "tests/unit.log").stat().st_size == trial.TAIL_BYTES


# --- again and in check mode


def test_a_whole_bundle_of_the_same_source_is_left_alone(source, path):
    first = create(source, path, build_id="b1")
    before = files_of(path)
    (source / "tests/unit").write_text("exit 1\n")  # not shipped, and never run again
    again = create(source, path, now=signed.NOW + 9)
    assert (again.changed, again.digest, again.document) == (False, first.digest, first.document)
    assert files_of(path) == before


def test_the_name_of_a_bundle_of_something_else_is_taken(source, path):
    create(source, path, build_id="b1", tickets=("A-1",))
    assert refused(source, path, build_id="b2").reason == "audit_of_another_build"
    assert refused(source, path, tickets=("A-2",)).reason == "audit_of_another_build"
    assert create(source, path, build_id="b1", tickets=("A-1",)).changed is False
    (source / "run").write_bytes(b"#!/bin/ls\n")
    assert refused(source, path).reason == "audit_of_another_source"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_bundle_is_never_replaced(source, path, make):
    path.parent.mkdir()
    make(path)
    assert refused(source, path).reason == "audit_missing"


def test_check_mode_says_what_would_be_in_it_and_runs_nothing(source, path):
    foreseen = create(source, path, check=True)
    assert (foreseen.changed, foreseen.digest) == (True, None)
    assert foreseen.document["tests"] == [
        {"argv": ["sh", "tests/unit"], "name": "unit"},
        {"argv": ["sh", "-c", "echo clean"], "name": "lint"},
    ]
    assert foreseen.document["sbom"]["components"] == 2
    assert not path.parent.exists()
    assert not (source / "build").exists()
    create(source, path)
    assert create(source, path, check=True).changed is False


# --- when none is made


def failing(source, script, **unit):
    (source / "tests/unit").write_text(script)
    if "timeout_seconds" in unit:
        text = DESCRIPTOR.replace("timeout_seconds: 20", f"timeout_seconds: {unit['timeout_seconds']}")
        (source / "slipway.yml").write_text(text)


def test_a_test_that_fails_is_refused_with_the_end_of_its_output(source, path):
    failing(source, "seq 5000; echo expected 1, found 2 >&2; exit 7")
    refusal = refused(source, path)
    assert refusal.reason == "audit_test_failed"
    assert "unit (sh tests/unit): exit code 7" in refusal.found
    assert refusal.found.endswith("expected 1, found 2")
    assert len(refusal.found) < 2500


def test_every_test_that_fails_is_named_at_once(source, path):
    failing(source, "exit 7")
    (source / "slipway.yml").write_text(DESCRIPTOR.replace("echo clean", "exit 8"))
    found = refused(source, path).found
    assert "unit (sh tests/unit): exit code 7" in found
    assert "lint (sh -c exit 8): exit code 8" in found


def test_a_test_that_hangs_is_killed_and_refused(source, path):
    failing(source, "echo so far; sleep 60", timeout_seconds=1)
    refusal = refused(source, path)
    assert refusal.reason == "audit_test_failed"
    assert "killed after 1 s" in refusal.found


def test_a_test_that_floods_its_output_is_killed_and_refused(source, path, monkeypatch):
    monkeypatch.setitem(trial.run.__kwdefaults__, "max_output_bytes", 100_000)
    failing(source, "while :; do echo and on and on; done")
    refusal = refused(source, path)
    assert refusal.reason == "audit_test_failed"
    assert "bytes of output" in refusal.found


def test_a_test_that_cannot_be_started_is_refused(source, path):
    (source / "slipway.yml").write_text(DESCRIPTOR.replace("[sh, tests/unit]", "[./absent]"))
    assert "No such file" in refused(source, path).found


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("true", "it wrote no junit.xml"),
        ("mkdir -p build; echo '<testsuite>' >build/junit.xml", "junit.xml is no XML"),
        ("mkdir -p build; echo '<testsuite/>' >build/junit.xml", "says 0 passed, 0 failed, 0 skipped"),
        (
            "mkdir -p build; echo '<testsuite><testcase><skipped/></testcase></testsuite>' >build/junit.xml",
            "says 0 passed, 0 failed, 1 skipped",
        ),
        (
            "mkdir -p build; echo '<testsuite><testcase/><testcase><error/></testcase></testsuite>' >build/junit.xml",
            "says 1 passed, 1 failed, 0 skipped",
        ),
        ("mkdir -p build/junit.xml", "junit_report_not_regular"),
    ],
)
def test_a_test_whose_report_does_not_say_that_it_passed_is_refused(source, path, script, problem):
    failing(source, script)
    refusal = refused(source, path)
    assert refusal.reason == "audit_test_failed"
    assert f"exit code 0, but {problem}" in refusal.found or problem in refusal.found


def test_the_report_of_an_earlier_run_does_not_count(source, path):
    create(source, path.with_name("first"))
    failing(source, "true")
    assert "it wrote no junit.xml" in refused(source, path).found


def test_a_source_that_its_tests_change_is_refused(source, path):
    failing(source, FILES["tests/unit"].decode() + "echo more >>run\n")
    refusal = refused(source, path)
    assert (refusal.reason, refusal.found) == ("source_changed", "other files to be released")


@pytest.mark.parametrize("name", ["slipway.yml", "promotion.yml", "requirements.txt"])
@pytest.mark.parametrize("change", ["printf x >> {}", "rm {}", "mv {0} run2; ln -s run2 {0}"])
def test_a_test_that_changes_what_the_audit_was_made_from_is_refused(source, path, name, change):
    failing(source, FILES["tests/unit"].decode() + change.format(name))
    refusal = refused(source, path)
    assert (refusal.reason, refusal.found) == ("source_changed", f"another {name}")


def test_a_commit_that_its_tests_make_unclean_is_refused(source, path):
    (source / "tests/unit").write_bytes(FILES["tests/unit"] + b"touch tests/left-behind\n")
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-qm", "All")
    refusal = refused(source, path)
    assert (refusal.reason, refusal.found) == ("source_changed", "changes that git sees")


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda s: (s / "promotion.yml").write_bytes(b"items: []"), "checklist_invalid"),
        (lambda s: (s / "promotion.yml").unlink(), "declared_file_missing"),
        (lambda s: (s / "requirements.txt").write_bytes(b"requests\n"), "requirements_invalid"),
        (lambda s: (s / "requirements.txt").unlink(), "declared_file_missing"),
        (lambda s: (s / "slipway.yml").unlink(), "descriptor_invalid"),
        (lambda s: (s / "out").symlink_to("/etc/passwd"), "link_outside"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_source_that_cannot_be_audited_is_refused_before_any_test_runs(source, path, alter, reason, check):
    alter(source)
    assert refused(source, path, check=check).reason == reason
    assert not (source / "build").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"build_id": "a\nb"}, "metadata_invalid"), ({"tickets": ("a", "a")}, "metadata_invalid")],
)
def test_a_build_of_another_form_is_refused(source, path, changes, reason):
    assert refused(source, path, **changes).reason == reason


def test_a_name_that_is_none_is_refused(source, path):
    assert refused(source, path.with_name(".hidden")).reason == "release_id_invalid"


def test_a_full_disk_leaves_nothing_and_is_named(source, path, file_size_limit, monkeypatch):
    path.parent.mkdir()

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit, "write_durable", full)
    assert refused(source, path).reason == "disk_full"


def test_a_bundle_gets_its_name_when_all_of_it_is_durable(source, path, syscalls):
    create(source, path)
    names = [call for call in syscalls.calls if call[0] in ("fsync", "rename")]
    last = names.index(("rename", path.name))
    assert names[last - 1][0] == "fsync"
    assert names[last + 1] == ("fsync", "release")
    assert {name for call, name in names[:last] if call == "rename"} == set(map(os.path.basename, files_of(path)))


# --- reading one


@pytest.fixture
def bundle(source, path):
    create(source, path)
    return path


def test_a_whole_bundle_is_read(bundle):
    found = audit.read_audit(bundle)
    assert (found.name, found.application, found.version) == (bundle.name, "hello", "1.2.3")
    assert found.digest == sha256((bundle / "audit.json").read_bytes())
    assert [item.id for item in found.checklist.items] == ["a", "b"]


def altered(bundle):
    with pytest.raises(Refusal) as refusal:
        audit.read_audit(bundle)
    assert refusal.value.reason == "audit_altered"
    return refusal.value.found


PARTS = ["sbom.cdx.json", "checklist.yml", "tests/unit.log", "tests/unit.xml", "tests/lint.log"]


@pytest.mark.parametrize("name", PARTS)
def test_a_bundle_with_an_altered_file_is_refused(bundle, name):
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert altered(bundle) == f"{name} has other content"


@pytest.mark.parametrize("name", PARTS)
def test_a_bundle_without_one_of_its_files_is_refused(bundle, name):
    (bundle / name).unlink()
    assert altered(bundle) == f"{name} is missing"


@pytest.mark.parametrize("name", PARTS)
def test_a_bundle_with_a_link_for_a_file_is_refused(bundle, name, tmp_path):
    (bundle / name).rename(tmp_path / "moved")
    (bundle / name).symlink_to(tmp_path / "moved")
    assert altered(bundle) == f"{name} has other content"


def test_a_bundle_with_a_file_more_is_refused(bundle):
    (bundle / "tests/more.log").write_bytes(b"")
    assert altered(bundle) == "tests/more.log is not in the bundle"


def test_the_first_of_many_differences_are_named(bundle):
    for name in PARTS:
        (bundle / name).unlink()
    (bundle / "more").write_bytes(b"")
    assert altered(bundle).endswith("tests/lint.log is missing; tests/unit.log is missing; and 1 more")


@pytest.mark.parametrize("name", ["more", "tests/more", "validation.log"])
def test_a_bundle_with_a_directory_more_is_refused(bundle, name):
    (bundle / name).mkdir()
    assert altered(bundle) == f"{name} is not in the bundle"


def test_a_bundle_with_a_link_to_a_directory_is_refused(bundle, tmp_path):
    (bundle / "more").symlink_to(tmp_path)
    assert altered(bundle) == "more is not in the bundle"


def document_of(bundle):
    return json.loads((bundle / "audit.json").read_bytes())


def replaced(bundle, name, data):
    """Write another file of a bundle, with its digest and size in the list of files, and nowhere else."""
    (bundle / name).write_bytes(data)
    listed = [each for each in document_of(bundle)["files"] if each["path"] != name]
    listed.append({"path": name, "sha256": sha256(data), "size": len(data)})
    rewritten(bundle, files=sorted(listed, key=lambda each: each["path"]))


def test_a_bundle_that_says_of_the_checklist_what_is_not_in_it_is_refused(bundle):
    replaced(bundle, "checklist.yml", FILES["promotion.yml"].replace(b"by: me", b"by: another"))
    assert altered(bundle) == "audit.json does not say of checklist what the other files do"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("checklist", {"version": "1.2.4"}),
        ("checklist", {"items": []}),
        ("checklist", {"sha256": "0" * 64}),
        ("sbom", {"sha256": "0" * 64}),
        ("sbom", {"components": 3}),
        ("sbom", {"path": "checklist.yml"}),
    ],
)
def test_a_bundle_that_says_otherwise_than_its_files_is_refused(bundle, name, change):
    rewritten(bundle, **{name: {**document_of(bundle)[name], **change}})
    assert altered(bundle) == f"audit.json does not say of {name} what the other files do"


@pytest.mark.parametrize(
    "changes",
    [
        {"checklist": None},
        {"not_declared": ["checklist"]},
        {"files": lambda listed: [{**each, "size": 1} for each in listed]},
        {"files": lambda listed: [*listed, listed[-1]]},
        {"files": lambda listed: listed[::-1]},
    ],
)
def test_a_bundle_that_leaves_out_or_adds_facts_is_refused(bundle, changes):
    found = document_of(bundle)
    rewritten(bundle, **{name: to(found[name]) if callable(to) else to for name, to in changes.items()})
    assert altered(bundle) == f"audit.json does not say of {next(iter(changes))} what the other files do"


def test_a_bundle_whose_sbom_is_another_is_refused(bundle):
    replaced(bundle, "sbom.cdx.json", b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}')
    assert altered(bundle) == "audit.json does not say of sbom what the other files do"


def test_a_bundle_without_an_sbom_is_refused(bundle):
    (bundle / "sbom.cdx.json").unlink()
    rewritten(bundle, files=[each for each in document_of(bundle)["files"] if each["path"] != "sbom.cdx.json"])
    assert "no sbom.cdx.json" in altered(bundle)


def test_a_bundle_with_the_log_of_no_test_is_refused(bundle):
    replaced(bundle, "tests/more.log", b"")
    assert "tests/more.log" in altered(bundle)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": "other"}, "none"),
        ({"name": "Unit"}, "Unit"),
        ({"exit_code": 1}, "exit code 1"),
        ({"ended": "timed_out", "exit_code": None}, "killed after 20 s"),
        ({"output": {"bytes": 1, "sha256": "0" * 64}}, "'bytes': 1"),
        ({"result": "failed"}, "audit.json does not say of tests what the other files do"),
        ({"junit": None}, "audit.json does not say of tests what the other files do"),
        ({"counts": {"passed": 200, "failed": 0, "skipped": 0}}, "audit.json does not say of tests"),
        ({"log": "tests/lint.log"}, "audit.json does not say of tests what the other files do"),
        ({"more": 1}, "audit.json does not say of tests what the other files do"),
    ],
)
def test_a_bundle_that_contradicts_itself_about_a_test_is_refused(bundle, change, found):
    unit, lint = document_of(bundle)["tests"]
    rewritten(bundle, tests=[{**unit, **change}, lint])
    assert found in altered(bundle)


@pytest.mark.parametrize(("report", "found"), [(b"<testsuite/>", "says 0 passed"), (b"<a/>", "is no JUnit XML")])
def test_a_bundle_with_the_report_of_a_test_that_did_not_pass_is_refused(bundle, report, found):
    replaced(bundle, "tests/unit.xml", report)
    assert found in altered(bundle)


def declared_otherwise(source, bundle):
    with opened(source) as (directory, descriptor), pytest.raises(Refusal) as refusal:
        audit.read_audit(bundle).require_of(facts_now(source, directory, descriptor), descriptor)
    assert refusal.value.reason == "audit_altered"
    return refusal.value.found


def without_tests(bundle):
    kept = [each for each in document_of(bundle)["files"] if not each["path"].startswith("tests/")]
    shutil.rmtree(bundle / "tests")
    rewritten(bundle, tests=[], files=kept, not_declared=["tests"])


def without_checklist(bundle):
    kept = [each for each in document_of(bundle)["files"] if each["path"] != "checklist.yml"]
    (bundle / "checklist.yml").unlink()
    rewritten(bundle, checklist=None, files=kept, not_declared=["checklist"])


def another_test(bundle, **changes):
    unit, lint = document_of(bundle)["tests"]
    rewritten(bundle, tests=[unit, {**lint, **changes}])


@pytest.mark.parametrize(
    ("alter", "what"),
    [
        (without_tests, "tests"),
        (without_checklist, "checklist"),
        (lambda b: another_test(b, argv=["true"]), "tests"),
        (lambda b: another_test(b, timeout_seconds=3), "tests"),
        (lambda b: rewritten(b, tests=document_of(b)["tests"][::-1]), "tests"),
        (lambda b: rewritten(b, sbom={**document_of(b)["sbom"], "made_from": ["other.txt"]}), "dependencies"),
    ],
    ids=["no tests", "no checklist", "another command", "another time", "another order", "other requirements"],
)
def test_an_audit_that_does_not_say_what_its_source_declares_is_refused(source, bundle, alter, what):
    alter(bundle)
    audit.read_audit(bundle)
    assert declared_otherwise(source, bundle) == f"audit.json with other {what} than slipway.yml declares"
    with pytest.raises(Refusal) as refusal:
        create(source, bundle)
    assert refusal.value.reason == "audit_altered"


def rewritten(bundle, **changes):
    document = json.loads((bundle / "audit.json").read_bytes())
    (bundle / "audit.json").write_bytes(canonical.encode({**document, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"application": "Hello"},
        {"version": 1},
        {"created": "now"},
        {"source": {}},
        {"tickets": "A-1"},
        {"build_id": "a\nb"},
        {"files": {}},
        {"files": [{"path": "x", "sha256": "short"}]},
        {"more": 1},
    ],
)
def test_a_bundle_that_does_not_say_what_it_should_is_refused(bundle, changes):
    rewritten(bundle, **changes)
    assert "audit.json that cannot be read (audit_altered" in altered(bundle)


def test_a_bundle_that_is_not_canonical_is_refused(bundle):
    path = bundle / "audit.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=2))
    assert "json_not_canonical" in altered(bundle)


def test_a_bundle_that_is_not_there_is_refused(tmp_path, bundle):
    (bundle / "audit.json").unlink()
    for path, found in ((None, "none"), (tmp_path / "absent", "none"), (bundle, "no audit.json in it")):
        with pytest.raises(Refusal) as refusal:
            audit.read_audit(path)
        assert (refusal.value.reason, refusal.value.found) == ("audit_missing", found)
