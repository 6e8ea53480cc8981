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
from ansible.module_utils.slipway import bundle, verify
from ansible.module_utils.slipway.bundle import BundleDigest, Descriptor, Request
from ansible.module_utils.slipway.catalogue import Catalogue
from ansible.module_utils.slipway.errors import Refusal
from ansible.module_utils.slipway.tree import scan

EXAMPLES = Path(__file__).parents[2] / "examples"
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


def test_the_bundle_digest_depends_on_every_fact_of_an_entry(tmp_path):
    signed.write_tree(tmp_path, {"a": b"1"})
    entry = scan(tmp_path).entries[0]

    def digest(entry, data):
        whole = BundleDigest()
        whole.start(entry)
        whole.update(data)
        whole.end(entry)
        return whole.hexdigest()

    others = [entry._replace(path="b"), entry._replace(mode=0o755), entry._replace(type="symlink", target="x")]
    digests = {digest(entry, b"1"), digest(entry, b"2"), *(digest(other, b"1") for other in others)}
    assert len(digests) == 5


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
        "import sys, ansible.module_utils as a; a.__path__.append('module_utils'); sys.path[:0] = ['tests', 'tests/unit']\n"
        "import test_bundle\n"
        "from pathlib import Path; from ansible.module_utils.slipway import bundle, catalogue\n"
        "bundle.make(test_bundle.request(Path(sys.argv[1])), catalogue.Catalogue(Path(sys.argv[2])))"
    )
    command = ["strace", "-f", "-e", "trace=openat", "-o", str(trace), "python3", "-c", script]
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run([*command, str(source), str(catalogue.root)], cwd=repository, env=environment, check=True)
    opened = [line for line in trace.read_text().splitlines() if f'"{source}/' in line and "O_DIRECTORY" not in line]
    names = sorted(line.split('"')[1].removeprefix(f"{source}/") for line in opened)
    assert names == ["bin/hello", "config.json", "slipway.yml", "zero"]
    assert all("O_RDONLY" in line for line in opened)


def test_a_commit_is_named_when_the_source_is_exactly_that(source, catalogue):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        done = subprocess.run(["git", *identity, *arguments], cwd=source, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    assert bundle.git_commit(source) is None
    git("add", ".")
    git("commit", "-qm", "All")
    made = bundle.make(request(source), catalogue)
    assert made.manifest.source["git_commit"] == git("rev-parse", "HEAD")
    assert ".git" not in [entry.path for entry in made.file_list.entries]
    (source / "new").write_bytes(b"")
    assert bundle.git_commit(source) is None


def test_no_commit_is_named_without_git(source, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert bundle.git_commit(source) is None


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


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda s: (s / "zero").write_bytes(b"1"), "other files"),
        (lambda s: (s / "zero").chmod(0o755), "other files"),
        (lambda s: (s / "config.json").write_bytes(b'{"version": "2"}'), "other files and version"),
        (lambda s: (s / "slipway.yml").write_bytes(b"application: hello\nversion: 1.2.3\n"), "other members"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_release_id_means_one_content_for_ever(source, catalogue, change, found, check):
    bundle.make(request(source, release_id="v1"), catalogue)
    change(source)
    refusal = refused(source, catalogue, check, release_id="v1")
    assert (refusal.reason, refusal.found) == ("release_exists", found)


def test_the_newest_release_before_is_returned_for_comparing(source, catalogue):
    first = bundle.make(request(source), catalogue)
    (source / "zero").write_bytes(b"1")
    second = bundle.make(request(source), catalogue)
    assert second.previous == first.file_list
    lines = set(bundle.listing(second.file_list).splitlines()) ^ set(bundle.listing(second.previous).splitlines())
    assert {line.split()[-1] for line in lines} == {"zero"}
    assert bundle.listing(None) == ""
    assert "symlink 0777 bin/hello        link" in bundle.listing(second.file_list)


# --- descriptors, versions and members


def test_a_descriptor_has_defaults():
    read = Descriptor.parse(
        b"application: a\nmembers: [{path: c.yml}, {path: d.toml, required: false}, {path: e.bin}]\n"
    )
    assert [(member.path, member.format, member.required) for member in read.members] == [
        ("c.yml", "yaml", True),
        ("d.toml", "toml", False),
        ("e.bin", "none", True),
    ]


BAD_DESCRIPTORS = {
    "no YAML": b"a: [",
    "a list": b"[application]",
    "nothing": b"",
    "no application": b"version: '1'",
    "an application with a slash": b"application: a/b",
    "an unknown key": b"application: a\nhooks: []",
    "a key twice": b"application: a\napplication: b",
    "a version that is a number": b"application: a\nversion: 1.10",
    "members that are a mapping": b"application: a\nmembers: {path: x}",
    "a member that is a string": b"application: a\nmembers: [config.json]",
    "a member without a path": b"application: a\nmembers: [{required: true}]",
    "a member with an unknown key": b"application: a\nmembers: [{path: x, mode: 1}]",
    "a member twice": b"application: a\nmembers: [{path: x}, {path: x}]",
    "a pattern that is a number": b"application: a\nexclude: [1]",
    "an empty pattern": b"application: a\nexclude: ['']",
    "exclude as a string": b"application: a\nexclude: '*.pyc'",
}


@pytest.mark.parametrize("data", BAD_DESCRIPTORS.values(), ids=BAD_DESCRIPTORS.keys())
def test_a_bad_descriptor_is_refused(source, catalogue, data):
    (source / "slipway.yml").write_bytes(data)
    refusal = refused(source, catalogue)
    assert refusal.reason == "descriptor_invalid"
    assert "slipway.yml" in refusal.remedy


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("zero"),
        lambda path: path.write_bytes(b"#" * (1 << 20) + b"\napplication: hello"),
        os.mkfifo,
    ],
    ids=["missing", "a directory", "a link", "too large", "a fifo"],
)
def test_a_source_without_a_plain_descriptor_is_refused(source, catalogue, make):
    (source / "slipway.yml").unlink()
    make(source / "slipway.yml")
    assert refused(source, catalogue).reason == "descriptor_invalid"


def test_a_schema_that_is_none_is_refused(source, catalogue):
    (source / "slipway.yml").write_bytes(b"application: hello\nmembers: [{path: config.json, schema: {type: text}}]")
    assert refused(source, catalogue).reason == "member_schema_invalid"


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.pyc", "a.pyc", True),
        ("*.pyc", "deep/er/a.pyc", True),
        ("*.pyc", "a.pyc.txt", False),
        ("docs", "docs", True),
        ("docs", "src/docs", True),
        ("/docs", "docs", True),
        ("/docs", "src/docs", False),
        ("docs/*", "docs/a", True),
        ("docs/*", "docs/a/b", False),
        ("docs/**", "docs/a/b", True),
        ("**/tests", "a/b/tests", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a]", "a", False),
        ("a.b", "axb", False),
    ],
)
def test_exclude_patterns_match_names_or_whole_paths(pattern, path, matches):
    assert Descriptor("hello", exclude=(pattern,)).skips(path) is matches


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
    monkeypatch.setattr(bundle, "MAX_MEMBER_BYTES", 5)
    assert refused(source, catalogue).reason == "member_too_large"
    (source / "slipway.yml").write_bytes(b"application: hello\nmembers: [{path: config.json, format: none}]")
    assert bundle.make(request(source), catalogue).changed


# --- refusals


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (lambda s: (s / "out").symlink_to("../outside"), "link_unsafe"),
        (lambda s: (s / "out").symlink_to("/etc/passwd"), "link_unsafe"),
        (lambda s: os.mkfifo(s / "fifo"), "file_special"),
        (lambda s: (s / "zero").chmod(0o4755), "mode_unsafe"),
        (lambda s: (s / "ZERO").write_bytes(b""), "path_twin"),
        (lambda s: (s / "a\nb").write_bytes(b""), "path_unsafe"),
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
    assert refused(tmp_path / "a.tar", catalogue).reason == "path_unsafe"


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

    monkeypatch.setattr(bundle.os, "open", open_and_act)


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
    monkeypatch.setattr(bundle.os, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied")))
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
