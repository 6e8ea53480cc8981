# SPDX-License-Identifier: GPL-3.0-or-later
"""Making releases: from a source to a signed manifest in the catalogue."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import audit, bundle, validation
from ansible.module_utils.slipway.controller import source as source_module
from ansible.module_utils.slipway.controller.bundle import Request
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust import verify
from ansible.module_utils.slipway.trust.lifecycle import Hooks
from ansible.module_utils.slipway.trust.promotion import (
    Artifact,
    AuditReference,
    Metadata,
    Monitoring,
    SchemaRevisions,
    Step,
)

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = {"bin/hello!": b"#!/bin/sh\n", "config.json": b'{"version": "1.2.3"}', "empty/": b"", "zero": b""}
DESCRIPTOR = b"""
application: hello
members:
  - path: bin/hello
  - {path: config.json, version_key: version, schema: {type: object}}
"""


@pytest.fixture
def catalogue(tmp_path):
    return Catalogue(tmp_path / "catalogue")


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    signed.write_tree(directory, {**FILES, "slipway.yml": DESCRIPTOR})
    (directory / "link").symlink_to("bin/hello")
    return directory


def request(source, **changes):
    asked = {"builder_key": signed.BUILDER_KEY, "policy": signed.trust_policy(), "now": signed.NOW}
    return Request(source=source, **{**asked, **changes})


def refused(source, catalogue, check=False, **changes):
    """The refusal of a request, after a look that the catalogue stayed as it was."""
    before = snapshot(catalogue.root)
    with pytest.raises(Refusal) as refusal:
        bundle.make(request(source, **changes), catalogue, check=check)
    assert snapshot(catalogue.root) == before
    return refusal.value


def snapshot(root):
    ignored = (".lock", "hello")  # a lock file and the application's directory may appear
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name not in ignored}


# --- what is made


def test_a_directory_becomes_a_release_that_a_host_trusts(source, catalogue, tmp_path):
    made = bundle.make(request(source), catalogue)
    envelope = catalogue.manifest_bytes("hello", made.manifest.release_id)
    manifest = verify.verify_manifest(
        signed.trust_policy(), envelope, application="hello", environment="prod", now=signed.NOW
    )
    listed = verify.verify_file_list(manifest, catalogue.file_list_bytes("hello", manifest.tree_digest))
    assert made.changed
    assert made.previous is None
    assert made.path.read_bytes() == envelope
    assert made.file_list == listed
    assert [entry.path for entry in listed.entries] == ["bin", "bin/hello", "config.json", "empty", "link", "zero"]
    assert catalogue.is_intact(manifest, listed)
    assert manifest.limits == signed.manifest.Limits(files=3, bytes=30)
    assert (manifest.version, manifest.builder, manifest.sequence) == ("1.2.3", "ci", signed.NOW)
    assert manifest.source == {"kind": "directory", "name": "source"}
    assert manifest.expires == "2027-11-18T11:06:40Z"
    assert [member.path for member in manifest.members] == ["bin/hello", "config.json"]


def test_the_release_id_is_the_time_unless_one_is_given(source, catalogue):
    assert bundle.make(request(source), catalogue).manifest.release_id == "release_20261118_110640"
    assert bundle.make(request(source, release_id="v1.2.3"), catalogue).manifest.release_id == "v1.2.3"


def test_two_releases_never_share_a_sequence(source, catalogue):
    made = [bundle.make(request(source), catalogue).manifest for _ in range(3)]
    assert [manifest.sequence - signed.NOW for manifest in made] == [0, 1, 2]
    assert made[2].release_id == "release_20261118_110642"
    assert made[2].created == "2026-11-18T11:06:42Z"


def test_a_clock_that_was_set_back_is_noticed(source, catalogue):
    bundle.make(request(source), catalogue)
    assert refused(source, catalogue, now=signed.NOW - 400).reason == "clock_set_back"
    assert bundle.make(request(source, now=signed.NOW - 200), catalogue).manifest.sequence == signed.NOW + 1


def test_the_bundle_is_a_tar_stream_that_tar_reads(source, catalogue, tmp_path):
    made = bundle.make(request(source), catalogue)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as package:
        for entry in made.file_list.entries:
            member = package.gettarinfo(source / entry.path, entry.path)
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            member.mode = entry.mode
            data = (source / entry.path).read_bytes() if entry.type == "file" else b""
            package.addfile(member, io.BytesIO(data))
        package.fileobj.write(bytes(1024))
        stream.truncate()
        assert hashlib.sha256(stream.getvalue()).hexdigest() == made.manifest.bundle_digest
    (tmp_path / "bundle.tar").write_bytes(stream.getvalue())
    names = subprocess.run(
        ["tar", "tf", str(tmp_path / "bundle.tar")], capture_output=True, text=True, check=True
    ).stdout
    assert names.split() == ["bin/", "bin/hello", "config.json", "empty/", "link", "zero"]


ARCHIVES = {
    "hello.tar": ["tar", "cf"],
    "hello.tar.gz": ["tar", "czf"],
    "hello.tgz": ["tar", "czf"],
    "hello.zip": ["python3", "-m", "zipfile", "-c"],
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_becomes_the_same_release_as_its_directory(source, catalogue, tmp_path, name):
    (source / "link").unlink()  # Python's zipfile follows links
    archive = tmp_path / name
    subprocess.run([*ARCHIVES[name], str(archive), "."], cwd=source, check=True)
    from_directory = bundle.make(request(source, release_id="v1"), catalogue).manifest
    from_archive = bundle.make(request(archive, release_id="v2"), catalogue).manifest
    assert from_archive.tree_digest == from_directory.tree_digest
    assert from_archive.bundle_digest == from_directory.bundle_digest
    assert from_archive.source == {"kind": "archive", "name": name}


def test_the_source_is_only_read_and_each_file_once(source, catalogue, tmp_path):
    trace = tmp_path / "trace"
    script = (
        "import sys, ansible.module_utils as a; a.__path__.append('module_utils'); sys.path[:0] = ['tests', 'tests/unit/controller']\n"
        "import test_bundle\n"
        "from pathlib import Path; from ansible.module_utils.slipway.controller import bundle, catalogue\n"
        "bundle.make(test_bundle.request(Path(sys.argv[1])), catalogue.Catalogue(Path(sys.argv[2])))"
    )
    command = ["strace", "-f", "-e", "trace=openat", "-o", str(trace), "python3", "-c", script]
    repository = Path(__file__).parents[3]
    environment = {**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run([*command, str(source), str(catalogue.root)], cwd=repository, env=environment, check=True)
    opened = [line for line in trace.read_text().splitlines() if f'"{source}/' in line and "O_DIRECTORY" not in line]
    names = sorted(line.split('"')[1].removeprefix(f"{source}/") for line in opened)
    assert names == ["bin/hello", "config.json", "slipway.yml", "zero"]
    assert all("O_RDONLY" in line for line in opened)


def git(directory, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def test_a_commit_is_named_when_the_source_is_exactly_that(source, catalogue):
    git(source, "init", "-q", "-b", "release/v1.2")
    git(source, "add", ".")
    git(source, "commit", "-qm", "All")
    git(source, "tag", "v1.2.3")
    made = bundle.make(request(source), catalogue)
    assert made.manifest.source["git_commit"] == git(source, "rev-parse", "HEAD")
    metadata = made.manifest.promotion.metadata
    assert (metadata.git_branch, metadata.git_tag) == ("release/v1.2", "v1.2.3")
    assert ".git" not in [entry.path for entry in made.file_list.entries]
    (source / "new").write_bytes(b"")
    made = bundle.make(request(source), catalogue)
    assert "git_commit" not in made.manifest.source
    assert made.manifest.promotion.metadata == Metadata()


# --- what a release is promoted as


PROMOTED = b"""
application: hello
members:
  - {path: bin/hello, kind: programs}
  - {path: config.json, version_key: version, kind: configs}
  - {path: zero, kind: models, version: v1.0_20251010}
  - {path: absent, required: false, kind: notebooks}
rollback_plan: {verification_steps: [{argv: [bin/hello, --check]}]}
monitoring: {heightened_period_hours: 24, alert_thresholds: {hit_ratio_drop: 0.05}}
database: {tool: alembic, directory: versions}
exclude: [versions]
"""


@pytest.fixture
def promoted(source):
    (source / "slipway.yml").write_bytes(PROMOTED)
    signed.write_tree(
        source / "versions",
        {"a.py": b"revision = 'a1'\ndown_revision = None\n", "b.py": b"revision = 'b2'\ndown_revision = 'a1'\n"},
    )
    return source


def test_members_of_a_kind_are_the_artifacts_with_the_version_that_they_state(promoted, catalogue):
    made = bundle.make(request(promoted), catalogue)
    digests = {entry.path: entry.sha256 for entry in made.file_list.files}
    assert made.manifest.promotion.artifacts == (
        Artifact("programs", "bin/hello", digests["bin/hello"]),
        Artifact("configs", "config.json", digests["config.json"], "1.2.3"),
        Artifact("models", "zero", digests["zero"], "v1.0_20251010"),
    )


def test_the_descriptor_says_the_way_back_the_watch_and_the_schema(promoted, catalogue):
    promotion = bundle.make(request(promoted), catalogue).manifest.promotion
    assert promotion.verification_steps == (Step(("bin/hello", "--check"), 60),)
    assert promotion.monitoring == Monitoring(24, 2, {"hit_ratio_drop": "0.05"})
    assert promotion.database == SchemaRevisions("alembic", "b2", ("a1", "b2"))


def test_a_release_says_what_is_run_on_hosts_and_has_those_programs(source, catalogue):
    add(source, b"hooks: {before_switch: [{argv: [bin/hello, warm]}]}\n")
    made = bundle.make(request(source), catalogue)
    assert made.manifest.hooks == Hooks({"before_switch": (Step(("bin/hello", "warm")),)})
    add(source, b"migrations: [{name: a, argv: [bin/up], reversible: true, back: [./zero]}]\n")
    refusal = refused(source, catalogue, check=True)
    assert (refusal.reason, refusal.found) == ("program_missing", "a: bin/up; a: ./zero")


def test_type_build_and_tickets_are_those_of_the_request(source, catalogue):
    asked = {"release_type": "hotfix", "build_id": "build_7", "tickets": ("A-1", "A-2")}
    promotion = bundle.make(request(source, **asked), catalogue).manifest.promotion
    assert promotion.release_type == "hotfix"
    assert promotion.metadata == Metadata(build_id="build_7", tickets=("A-1", "A-2"))


@pytest.mark.parametrize("wrong", [{"build_id": "a\nb"}, {"tickets": ("",)}, {"tickets": ("A-1", "A-1")}])
def test_a_build_or_ticket_of_another_form_is_refused(source, catalogue, wrong):
    assert refused(source, catalogue, **wrong).reason == "metadata_invalid"


def test_a_type_that_there_is_not_is_refused(source, catalogue):
    assert refused(source, catalogue, release_type="patch").reason == "manifest_malformed"


def test_a_release_without_an_audit_says_so(source, catalogue):
    made = bundle.make(request(source), catalogue)
    assert made.manifest.promotion.audit is None
    assert "audit" not in made.manifest.predicate


# --- what a release is made with


@pytest.fixture
def audited(source, tmp_path):
    """The source's validated audit bundle."""
    path = tmp_path / "release/audit_1"
    audit.create(audit.Request(source, path, signed.NOW, build_id="build_7", tickets=("A-1",)))
    validation.validate(validation.Request(source, path, signed.NOW))
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_release_names_its_audit_by_digest_and_has_its_build_and_tickets(source, catalogue, audited):
    promotion = bundle.make(request(source, audit=audited), catalogue).manifest.promotion
    digests = (sha256(audited / "audit.json"), sha256(audited / "validation.json"))
    assert promotion.audit == AuditReference("audit_1", *digests, "not_declared")
    assert promotion.metadata == Metadata(build_id="build_7", tickets=("A-1",))


@pytest.mark.parametrize("check", [False, True])
def test_a_release_of_another_source_than_the_audits_is_refused(source, catalogue, audited, check):
    (source / "zero").write_bytes(b"1")
    refusal = refused(source, catalogue, check, audit=audited)
    assert refusal.reason == "audit_of_another_source"
    assert "file list" in refusal.found


def test_a_release_of_another_version_than_the_audits_is_refused(source, catalogue, tmp_path):
    (source / "slipway.yml").write_bytes(b"application: hello")
    path = tmp_path / "audit_2"
    audit.create(audit.Request(source, path, signed.NOW))
    validation.validate(validation.Request(source, path, signed.NOW))
    assert refused(source, catalogue, audit=path, version="2").reason == "audit_of_another_source"
    assert bundle.make(request(source, audit=path, release_id="v9"), catalogue).manifest.version == "v9"


@pytest.mark.parametrize("given", [{"build_id": "build_8"}, {"tickets": ("A-2",)}])
def test_a_release_of_another_build_than_the_audits_is_refused(source, catalogue, audited, given):
    assert refused(source, catalogue, audit=audited, **given).reason == "audit_of_another_build"
    same = {"build_id": "build_7", "tickets": ("A-1",)}
    assert bundle.make(request(source, audit=audited, **same), catalogue).changed


def test_no_release_is_made_of_an_audit_that_is_altered_or_gone_or_not_validated(source, catalogue, audited):
    validated = (audited / "validation.json").read_bytes()
    (audited / "validation.json").unlink()
    assert refused(source, catalogue, audit=audited).reason == "validation_missing"
    (audited / "validation.json").write_bytes(validated)
    (audited / "sbom.cdx.json").write_bytes(b"{}")
    assert refused(source, catalogue, audit=audited).reason == "audit_altered"
    assert refused(source, catalogue, audit=audited.with_name("absent")).reason == "audit_missing"


# --- again, in check mode, and after damage


def test_making_the_same_release_again_changes_nothing(source, catalogue):
    first = bundle.make(request(source, release_id="v1"), catalogue)
    before = snapshot(catalogue.root)
    again = bundle.make(request(source, release_id="v1", now=signed.NOW + 999), catalogue)
    assert (again.changed, again.manifest) == (False, first.manifest)
    assert again.previous == again.file_list
    assert snapshot(catalogue.root) == before


def test_a_damaged_object_is_mended_by_making_the_release_again(source, catalogue):
    made = bundle.make(request(source, release_id="v1"), catalogue)
    path = catalogue.object_path("hello", made.file_list.files[0].sha256)
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(good[::-1])
    envelope = made.path.read_bytes()
    assert bundle.make(request(source, release_id="v1"), catalogue).changed
    assert path.read_bytes() == good
    assert made.path.read_bytes() == envelope
    assert not bundle.make(request(source, release_id="v1"), catalogue).changed


def test_check_mode_says_what_would_be_made_and_makes_nothing(source, catalogue):
    foreseen = bundle.make(request(source), catalogue, check=True)
    assert foreseen.changed
    assert not catalogue.root.exists()
    made = bundle.make(request(source), catalogue)
    assert (made.manifest, made.file_list, made.path) == (foreseen.manifest, foreseen.file_list, foreseen.path)
    assert not bundle.make(request(source, release_id=made.manifest.release_id), catalogue, check=True).changed


def add(source, line):
    (source / "slipway.yml").write_bytes(DESCRIPTOR + line)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda s: (s / "zero").write_bytes(b"1"), "other files"),
        (lambda s: (s / "zero").chmod(0o755), "other files"),
        (lambda s: (s / "config.json").write_bytes(b'{"version": "2"}'), "other files and version"),
        (lambda s: (s / "slipway.yml").write_bytes(b"application: hello\nversion: 1.2.3\n"), "other members"),
        (lambda s: add(s, b"monitoring: {review: [logs]}"), "other monitoring"),
        (lambda s: add(s, b"hooks: {after_switch: [{argv: ['true']}]}"), "other hooks"),
        (lambda s: add(s, b"migrations: [{name: a, argv: ['true'], reversible: false}]"), "other migrations"),
        (lambda s: add(s, b"rollback_plan: {verification_steps: [{argv: ['true']}]}"), "other rollback plan"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_release_id_means_one_content_for_ever(source, catalogue, change, found, check):
    bundle.make(request(source, release_id="v1"), catalogue)
    change(source)
    refusal = refused(source, catalogue, check, release_id="v1")
    assert (refusal.reason, refusal.found) == ("release_exists", found)


def test_an_audited_release_stays_as_it_is_when_it_is_made_again_with_the_same_audit_or_without(
    source, catalogue, audited, tmp_path
):
    bundle.make(request(source, release_id="v1", audit=audited), catalogue)
    assert not bundle.make(request(source, release_id="v1", audit=audited), catalogue).changed
    assert not bundle.make(request(source, release_id="v1"), catalogue).changed
    other = tmp_path / "release/audit_2"
    audit.create(audit.Request(source, other, signed.NOW + 1, build_id="build_8"))
    validation.validate(validation.Request(source, other, signed.NOW + 1))
    refusal = refused(source, catalogue, release_id="v1", audit=other)
    assert (refusal.reason, refusal.found) == ("release_exists", "other audit and build id")
    assert refused(source, catalogue, release_id="v1", release_type="major").found == "other type"


def test_the_newest_release_before_is_returned_for_comparing(source, catalogue):
    first = bundle.make(request(source), catalogue)
    (source / "zero").write_bytes(b"1")
    second = bundle.make(request(source), catalogue)
    assert second.previous == first.file_list
    lines = set(bundle.listing(second.file_list).splitlines()) ^ set(bundle.listing(second.previous).splitlines())
    assert {line.split()[-1] for line in lines} == {"zero"}
    assert bundle.listing(None) == ""
    assert "symlink 0777 bin/hello        link" in bundle.listing(second.file_list)


# --- versions and members


def test_what_is_excluded_is_not_shipped(source, catalogue):
    (source / "slipway.yml").write_bytes(b'application: hello\nexclude: [bin, "*.json"]\n')
    (source / "link").unlink()
    made = bundle.make(request(source), catalogue)
    assert [entry.path for entry in made.file_list.entries] == ["empty", "zero"]


def version_of(source, catalogue, descriptor, **changes):
    (source / "slipway.yml").write_bytes(descriptor)
    return bundle.make(request(source, **changes), catalogue, check=True).manifest.version


def test_the_version_given_comes_first_then_the_descriptors_then_a_members_then_the_release_id(source, catalogue):
    assert version_of(source, catalogue, b"application: hello", version="9") == "9"
    assert version_of(source, catalogue, b"application: hello\nversion: '8'") == "8"
    assert version_of(source, catalogue, b"application: hello\nversion: '8'", version="8") == "8"
    assert version_of(source, catalogue, DESCRIPTOR) == "1.2.3"
    assert version_of(source, catalogue, b"application: hello", release_id="v7") == "v7"


def test_a_version_that_differs_from_the_descriptors_is_refused(source, catalogue):
    (source / "slipway.yml").write_bytes(b"application: hello\nversion: '8'")
    assert refused(source, catalogue, version="9").reason == "version_mismatch"


def test_a_version_that_differs_from_a_members_is_refused(source, catalogue):
    refusal = refused(source, catalogue, version="1.2.4")
    assert refusal.reason == "members_invalid"
    assert "config.json says version '1.2.3', not '1.2.4'" in refusal.found


@pytest.mark.parametrize(("name", "value"), [("release_id", "v1/2"), ("release_id", ".."), ("version", "1 2")])
def test_a_name_that_is_no_name_is_refused(source, catalogue, name, value):
    (source / "slipway.yml").write_bytes(b"application: hello")
    assert refused(source, catalogue, **{name: value}).reason == f"{name}_invalid"


def test_all_problems_with_members_are_named_at_once(source, catalogue):
    (source / "bin/hello").unlink()
    (source / "link").unlink()
    (source / "config.json").write_bytes(b"{")
    refusal = refused(source, catalogue)
    assert refusal.reason == "members_invalid"
    assert refusal.found.startswith("bin/hello is missing; config.json is no json: ")


def test_a_member_of_no_format_may_be_of_any_size_and_others_not(source, catalogue, monkeypatch):
    monkeypatch.setattr(source_module, "MAX_MEMBER_BYTES", 5)
    assert refused(source, catalogue).reason == "member_too_large"
    (source / "slipway.yml").write_bytes(b"application: hello\nmembers: [{path: config.json, format: none}]")
    assert bundle.make(request(source), catalogue).changed


# --- refusals


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (lambda s: (s / "out").symlink_to("../outside"), "link_outside"),
        (lambda s: (s / "out").symlink_to("/etc/passwd"), "link_outside"),
        (lambda s: os.mkfifo(s / "fifo"), "file_special"),
        (lambda s: (s / "zero").chmod(0o4755), "mode_unsafe"),
        (lambda s: (s / "ZERO").write_bytes(b""), "path_twin"),
        (lambda s: (s / "a\nb").write_bytes(b""), "path_unprintable"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_source_that_cannot_be_released_is_refused(source, catalogue, alter, expected, check):
    alter(source)
    assert refused(source, catalogue, check).reason == expected


def test_a_source_that_is_neither_directory_nor_archive_is_refused(source, catalogue, tmp_path):
    for path, found in ((tmp_path / "absent", "nothing"), (source / "config.json", "another file")):
        refusal = refused(path, catalogue)
        assert (refusal.reason, refusal.found) == ("source_unknown", found)


def test_a_hostile_archive_is_refused(catalogue, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as package:
        package.addfile(tarfile.TarInfo("../out"))
    assert refused(tmp_path / "a.tar", catalogue).reason == "path_outside"


def test_an_archive_beyond_the_limit_is_refused(source, catalogue, tmp_path):
    subprocess.run(["tar", "czf", str(tmp_path / "a.tar.gz"), "."], cwd=source, check=True)
    assert refused(tmp_path / "a.tar.gz", catalogue, max_bytes=10).reason == "archive_too_large"


def test_a_key_that_is_no_builders_is_refused(source, catalogue):
    assert refused(source, catalogue, builder_key=signed.OTHER_KEY).reason == "key_unknown"


def test_a_builder_whose_key_has_expired_makes_nothing(source, catalogue):
    assert refused(source, catalogue, now=1_900_000_000).reason == "key_outside_validity"


def test_a_release_needs_as_many_builders_as_the_policy_says(source, catalogue):
    document = signed.policy_document()
    document["keys"][signed.keyid(signed.OTHER_KEY)] = signed.key_entry(signed.OTHER_KEY, "ci-2")
    document["roles"]["builder"] = {
        "keyids": [signed.keyid(signed.BUILDER_KEY), signed.keyid(signed.OTHER_KEY)],
        "threshold": 2,
    }
    policy = verify.TrustPolicy.parse(signed.policy_envelope(document))
    assert refused(source, catalogue, policy=policy).reason == "signature_threshold"


def on_reading(monkeypatch, source, name, act):
    """Call `act` after `name` was opened for reading, before its bytes are read."""
    opened = os.open

    def open_and_act(path, *arguments, **options):
        descriptor = opened(path, *arguments, **options)
        if Path(path) == source / name:
            act()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_act)


@pytest.mark.parametrize(
    "act",
    [
        lambda s: (s / "config.json").write_bytes(b'{"version": "1.2.4"}'),
        lambda s: (s / "config.json").write_bytes(b"{}"),
        lambda s: (s / "config.json").write_bytes(b'{"version": "1.2.3"} '),
        lambda s: (s / "bin/hello").write_bytes(b"#!/bin/ls\n"),
        lambda s: (s / "added").write_bytes(b""),
        lambda s: (s / "zero").write_bytes(b"1"),
        lambda s: (s / "empty").rmdir(),
    ],
    ids=["rewritten", "cut", "grown", "one read before", "a file added", "another grown", "a directory removed"],
)
def test_a_source_that_changes_while_it_is_read_is_refused(source, catalogue, monkeypatch, act):
    on_reading(monkeypatch, source, "config.json", lambda: act(source))
    assert refused(source, catalogue).reason == "source_changed"


@pytest.mark.parametrize("act", [lambda p: p.unlink(), lambda p: (p.unlink(), p.symlink_to("zero"))])
def test_a_source_that_vanishes_while_it_is_read_is_refused(source, catalogue, monkeypatch, act):
    on_reading(monkeypatch, source, "bin/hello", lambda: act(source / "config.json"))
    refusal = refused(source, catalogue)
    assert refusal.reason == "source_changed"
    assert "config.json" in refusal.expected


def test_another_failure_to_read_is_no_change(source, catalogue, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(PermissionError):
        bundle.make(request(source), catalogue, check=True)


def test_two_builders_at_once_make_two_releases(source, catalogue):
    made = []
    threads = [threading.Thread(target=lambda: made.append(bundle.make(request(source), catalogue))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.manifest.sequence - signed.NOW for one in made) == [0, 1, 2, 3]
    assert len(catalogue.releases("hello")) == 4


# --- the examples


@pytest.mark.parametrize(("name", "version"), [("hello", "1.0.0"), ("model", "2026.11.21")])
def test_an_example_can_be_released(catalogue, name, version):
    made = bundle.make(request(EXAMPLES / name), catalogue)
    assert made.manifest.application == name
    assert made.manifest.version == version


@pytest.fixture
def model(tmp_path):
    subprocess.run(["cp", "-r", str(EXAMPLES / "model"), str(tmp_path / "model")], check=True)
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["policy.pt", "value_function.pt", "config.yaml", "metadata.json"])
def test_a_model_without_a_required_member_is_refused(catalogue, model, name):
    (model / name).unlink()
    assert f"{name} is missing" in refused(model, catalogue).found


@pytest.mark.parametrize("name", ["feature_scaler.pkl", "risk_model.pt", "README.md"])
def test_a_model_without_an_optional_member_is_released(catalogue, model, name):
    (model / name).unlink()
    assert bundle.make(request(model), catalogue).changed


def test_a_model_whose_configuration_does_not_parse_is_refused(catalogue, model):
    (model / "config.yaml").write_text("environment: [")
    assert "config.yaml is no yaml" in refused(model, catalogue).found


def test_a_model_whose_configuration_violates_its_schema_is_refused(catalogue, model):
    (model / "config.yaml").write_text((model / "config.yaml").read_text().replace("2500.0", "-1"))
    assert "config.yaml: limits.max_daily_loss" in refused(model, catalogue).found


def test_a_model_of_another_version_is_refused(catalogue, model):
    assert "metadata.json says version" in refused(model, catalogue, version="2").found
