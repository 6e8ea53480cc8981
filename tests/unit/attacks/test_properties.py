# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every byte and every file operation, not only for those that somebody thought of."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import dsse, tree, verify
from ansible.module_utils.slipway.trust.policy import TrustPolicy
from attacks import MANIFEST, judge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_file_lines import ACL, CAPABILITY

OWNER = os.getuid()
FLIPS = st.integers(1, 255)
FILES = {"bin/hello!": b"#!/bin/sh\n", "config.json": b"{}", "data/more": b"12345", "empty/": b"", "zero": b""}
on_one_tree = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def flipped(data, position, mask):
    position %= len(data)
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


def reason(call):
    with pytest.raises(Refusal) as refusal:
        call()
    return refusal.value.reason


@given(st.integers(0), FLIPS)
def test_a_flipped_byte_of_the_payload_is_refused(position, mask):
    whole = dsse.sign(dsse.IN_TOTO_TYPE, MANIFEST, signed.BUILDER_KEY)
    bent = dsse.Envelope(dsse.IN_TOTO_TYPE, flipped(MANIFEST, position, mask), whole.signatures)
    assert reason(lambda: judge(bent.encode())) == "signature_invalid"


@given(st.integers(0), FLIPS)
def test_a_flipped_byte_of_a_signature_is_refused(position, mask):
    whole = dsse.sign(dsse.IN_TOTO_TYPE, MANIFEST, signed.BUILDER_KEY)
    bad = dsse.Signature(whole.signatures[0].keyid, flipped(whole.signatures[0].value, position, mask))
    bent = dsse.Envelope(dsse.IN_TOTO_TYPE, MANIFEST, (bad,))
    assert reason(lambda: judge(bent.encode())) == "signature_invalid"


@given(st.integers(0), FLIPS)
def test_a_flipped_byte_of_a_trust_policy_is_refused_or_changes_nothing(position, mask):
    whole = signed.policy_envelope()
    try:
        read = TrustPolicy.parse(flipped(whole, position, mask))
    except Refusal:
        return
    assert read == TrustPolicy.parse(whole)  # it was in the key id, which is only a hint


@given(st.integers(0), FLIPS)
def test_a_flipped_byte_of_an_envelope_is_refused_or_changes_nothing(position, mask):
    try:
        manifest = judge(flipped(signed.sign(MANIFEST), position, mask))
    except Refusal:
        return
    assert manifest == judge(signed.sign(MANIFEST))


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    made = signed.release(tmp_path_factory.mktemp("release") / "r", FILES)
    (made.directory / "link").symlink_to("data/more")
    listed = tree.scan(made.directory)
    return made.directory, listed


@given(st.integers(0), FLIPS)
def test_a_flipped_byte_of_the_file_list_is_refused(release, position, mask):
    _, listed = release
    limits = signed.manifest.Limits(len(listed.files), listed.total_bytes)
    size = len(listed.encode())
    payload = signed.manifest_payload(limits=limits, tree_digest=listed.digest, tree_size=size)
    manifest = judge(signed.sign(payload))
    assert verify.verify_file_list(manifest, listed.encode()) == listed
    assert reason(lambda: verify.verify_file_list(manifest, flipped(listed.encode(), position, mask))) == (
        "file_list_altered"
    )


# --- one operation on one file


def _not_empty(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size > 0


def remove(path: Path, _: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def rename(path: Path, _: Path) -> None:
    path.rename(path.with_name(path.name + "~"))


def add(path: Path, _: Path) -> None:
    path.with_name(f".{path.name}.new").touch()


def swap(path: Path, other: Path) -> None:
    between = path.with_name("between")
    path.rename(between)
    other.rename(path)
    between.rename(other)


def append(path: Path, _: Path) -> None:
    with open(path, "ab") as stream:
        stream.write(b"\0")


def cut(path: Path, _: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def chmod(path: Path, _: Path) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) ^ 0o010)


def set_uid(path: Path, _: Path) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o4000)


def chown(path: Path, _: Path) -> None:
    os.chown(path, 12345, -1, follow_symlinks=False)


def capability(path: Path, _: Path) -> None:
    os.setxattr(path, "security.capability", CAPABILITY)


def access_control(path: Path, _: Path) -> None:
    os.setxattr(path, "system.posix_acl_access", ACL)


def link_instead(path: Path, _: Path) -> None:
    kept = path.parent.parent / f"kept-{path.name}"
    path.rename(kept)
    path.symlink_to(kept)


def copy_instead_of_link(path: Path, _: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def fifo_instead(path: Path, _: Path) -> None:
    remove(path, path)
    os.mkfifo(path, 0o644)


ANY, FILE, DIRECTORY, LINK = ["bin", "bin/hello", "config.json", "empty", "link", "zero"], ["bin/hello", "config.json", "zero"], ["bin", "empty"], ["link"]  # fmt: skip
OPERATIONS = {
    remove: ANY, rename: ANY, add: ANY, append: FILE, cut: ["bin/hello", "config.json"], chmod: FILE + DIRECTORY,
    set_uid: FILE + DIRECTORY, chown: ANY, capability: FILE, access_control: FILE + DIRECTORY, link_instead: FILE + DIRECTORY,
    copy_instead_of_link: LINK, fifo_instead: ANY,
}  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "name"),
    [pytest.param(o, n, id=f"{o.__name__} {n}") for o, names in OPERATIONS.items() for n in names],
)
def test_an_operation_on_one_file_is_refused(release, tmp_path, operation, name):
    root, listed = release
    copy = tmp_path / "r"
    shutil.copytree(root, copy, symlinks=True)
    verify.verify_tree(listed, copy, owner=OWNER)
    operation(copy / name, copy)
    assert reason(lambda: verify.verify_tree(listed, copy, owner=OWNER)) == "release_altered"


@pytest.mark.parametrize(("one", "other"), [("bin/hello", "data/more"), ("zero", "config.json"), ("bin", "data"), ("bin", "zero")])  # fmt: skip
def test_two_files_that_were_swapped_are_refused(release, tmp_path, one, other):
    root, listed = release
    copy = tmp_path / "r"
    shutil.copytree(root, copy, symlinks=True)
    swap(copy / one, copy / other)
    assert reason(lambda: verify.verify_tree(listed, copy, owner=OWNER)) == "release_altered"


@on_one_tree
@given(name=st.sampled_from(["bin/hello", "config.json", "data/more"]), position=st.integers(0), mask=FLIPS)
def test_a_flipped_byte_of_any_file_is_refused(release, name, position, mask):
    root, listed = release
    before = (root / name).read_bytes()
    (root / name).write_bytes(flipped(before, position, mask))
    try:
        assert reason(lambda: verify.verify_tree(listed, root, owner=OWNER)) == "release_altered"
    finally:
        (root / name).write_bytes(before)


@on_one_tree
@given(
    name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
        lambda name: name not in (".", "..")
    )
)
def test_an_added_file_of_any_name_is_refused(release, name):
    root, listed = release
    if (root / name).exists():
        return
    (root / name).touch()
    try:
        assert reason(lambda: verify.verify_tree(listed, root, owner=OWNER)) == "release_altered"
    finally:
        (root / name).unlink()


# --- the verifier reads, and nothing else

VERIFY = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from slipway.trust.policy import TrustPolicy
from slipway.trust import verify
place = Path(sys.argv[2])
policy = TrustPolicy.parse((place / "policy").read_bytes())
envelope = (place / "manifest").read_bytes()
manifest = verify.verify_manifest(policy, envelope, application="hello", environment="prod", now=None)
listed = verify.verify_file_list(manifest, (place / "list").read_bytes())
print("ready", flush=True)
for _ in range(2):
    verify.verify_tree(listed, place / "release", owner=int(sys.argv[3]))
"""
WRITING = (
    "write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,mknod,mknodat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,"
    "setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,fallocate,creat"
)


def test_verifying_calls_nothing_that_writes(tmp_path):
    release = signed.release(tmp_path / "release", FILES)
    for name, data in (
        ("policy", signed.policy_envelope()),
        ("manifest", release.envelope),
        ("list", release.file_list.encode()),
    ):
        (tmp_path / name).write_bytes(data)
    before = snapshot(tmp_path)
    log = tmp_path.parent / f"{tmp_path.name}.strace"
    domain = Path(verify.__file__).parents[2]
    program = [sys.executable, "-IB", "-c", VERIFY, str(domain), str(tmp_path), str(OWNER)]
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={WRITING},openat", *program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, _, after = log.read_text().partition('"ready\\n"')
    assert "openat" in said
    calls = [line.split(None, 1)[1] for line in after.splitlines()[1:]]
    assert len([call for call in calls if call.startswith("openat")]) >= 2 * len(release.file_list.files)
    opened_to_write = [call for call in calls if call.startswith("openat") and not call.count("O_RDONLY")]
    others = [call for call in calls if "(" in call and not call.startswith(("openat", "+++", "---"))]
    assert (opened_to_write, others) == ([], [])
    assert snapshot(tmp_path) == before


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """Inode, mode, size, and the times of change and status of everything below `root`."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def test_the_same_release_gives_the_same_answer_twice(release, tmp_path):
    root, listed = release
    copy = tmp_path / "r"
    shutil.copytree(root, copy, symlinks=True)
    (copy / "config.json").write_bytes(b"[]")
    (copy / "added").touch()
    first = tree.differences(listed, copy, owner=OWNER)
    before = snapshot(copy)
    assert tree.differences(listed, copy, owner=OWNER) == first
    assert snapshot(copy) == before
