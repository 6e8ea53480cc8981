# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: what may stand in a release, what an archive may bring, and every way in which a release differs from its list."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import stat
import tarfile

import packs
import pytest
import signed
from ansible.module_utils.slipway.controller import archive
from ansible.module_utils.slipway.host import pack
from ansible.module_utils.slipway.host.evidence import Evidence
from ansible.module_utils.slipway.host.pack import Object
from ansible.module_utils.slipway.trust import tree, verify
from ansible.module_utils.slipway.trust.tree import Entry, FileList
from lines import asked, judged
from releases import V1, V2

OWNER = os.getuid()
EMPTY = hashlib.sha256(b"").hexdigest()
# struct vfs_cap_data, revision 2: cap_net_bind_service, effective and permitted
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
# A POSIX ACL, version 2: user::rwx, user:12345:rwx, group::r-x, mask::rwx, other::r-x; each tag, rights, id
ACL = bytes.fromhex("02000000" + "01000700ffffffff020007003930000004000500ffffffff10000700ffffffff20000500ffffffff")


def released(alter):
    """A release on disk, altered, and what its verification says."""

    def case(place):
        release = signed.release(place / "release")
        alter(release.directory)
        verify.verify_tree(release.file_list, release.directory, owner=OWNER)

    return case


def swapped(root):
    (root / "a").rename(root / "c")
    (root / "b").rename(root / "a")
    (root / "c").rename(root / "b")


def two_files(alter):
    def case(place):
        release = signed.release(place / "release", {"a": b"one", "b": b"two"})
        alter(release.directory)
        verify.verify_tree(release.file_list, release.directory, owner=OWNER)

    return case


def replaced(make):
    """Another kind of file with the mode of the one whose place it takes; only its kind gives it away."""

    def alter(root):
        (root / "zero").unlink()
        make(root / "zero")

    return released(alter)


def with_mode(make):
    def made(path):
        make(path)
        path.chmod(0o644)

    return replaced(made)


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path may have 107 bytes only
        server.bind(path.name)
        os.chdir(here)


def device(path):
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def relinked(place):
    root = place / "linked"
    signed.write_tree(root, {"a": b"", "b": b""})
    (root / "link").symlink_to("a")
    whole = tree.scan(root)
    (root / "link").unlink()
    (root / "link").symlink_to("b")
    verify.verify_tree(whole, root, owner=OWNER)


def path(*names):
    return lambda _: FileList(tuple(Entry(name, "file", 0o644, 0, EMPTY) for name in names))


def link(target, name="link"):
    entries = [
        Entry("d", "dir", 0o755), Entry("d/f", "file", 0o644, 0, EMPTY), Entry("e", "symlink", 0o777, target="d"),
        Entry(name, "symlink", 0o777, target=target),
    ]  # fmt: skip
    return lambda _: FileList(tuple(entries))


def source(make):
    def case(place):
        make(place / "x")
        tree.scan(place)

    return case


def member(name, data=b"", **changes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


END = bytes(1024)


def unpacked(data, name="a.tar", **options):
    def case(place):
        (place / name).write_bytes(data)
        (place / "unpacked").mkdir()
        archive.unpack(place / name, place / "unpacked", **options)

    return case


def checksummed(header):
    """A tar header with the check sum that fits its bytes."""
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    return bytes(header)


def sparse():
    header = bytearray(member("a", type=tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"%011o\0%011o\0" % (0, 0)  # one hole …
    header[483:495] = b"\x80" + (1 << 50).to_bytes(11, "big")  # … in a file of a pebibyte
    return checksummed(header) + END


def two_names():
    header = bytearray(member("safe" + "x" * 8))
    header[4] = 0
    return checksummed(header) + END


def packed_twice(_):
    name = hashlib.sha256(b"x").hexdigest()
    list(pack.Pack(io.BytesIO(packs.packed(packs.START, packs.member(name, b"x") * 2))).objects())


def inflating(_):
    """A block of a few bytes that says a little and would become more than any disk holds."""
    bomb = packs.deflated(packs.START + bytes(1 << 28), size=1 << 20)
    list(pack.Pack(io.BytesIO(pack.MAGIC + bomb + packs.END)).objects())


BY_BYTES = {
    "missing": released(lambda root: (root / "config.json").unlink()),
    "an extra file": released(lambda root: (root / "added").touch()),
    "an extra dotfile": released(lambda root: (root / ".env").touch()),
    "an extra empty directory": released(lambda root: (root / "empty/more").mkdir()),
    "extra bytecode": released(lambda root: (root / "bin/hello.pyc").touch()),
    "two files swapped": two_files(swapped),
    "a byte changed": released(lambda root: (root / "config.json").write_bytes(b"[]")),
    "another size": released(lambda root: (root / "config.json").write_bytes(b"{} ")),
    "another mode": released(lambda root: (root / "config.json").chmod(0o666)),
    "a set-uid bit": released(lambda root: (root / "bin/hello").chmod(0o4755)),
    "another owner": released(lambda root: os.chown(root / "config.json", 12345, -1)),
    "an access control list": released(
        lambda root: [
            os.setxattr(root / "bin/hello", "system.posix_acl_access", ACL),
            (root / "bin/hello").chmod(0o755),
        ]
    ),
    "a capability": released(lambda root: os.setxattr(root / "bin/hello", "security.capability", CAPABILITY)),
    "a fifo in place of a file": with_mode(os.mkfifo),
    "a socket in place of a file": with_mode(bind),
    "a device in place of a file": with_mode(device),
    "a link that leads elsewhere": relinked,
    "..": path("a/../b"),
    "an absolute path": path("/etc/passwd"),
    "//": path("a//b"),
    "./": path("./a"),
    "a trailing slash": path("a/"),
    "a backslash": path("a\\b"),
    "a NUL in a name": path("a\0b"),
    "a newline in a name": path("a\nb"),
    "an ANSI sequence in a name": path("a\x1b[2Jb"),
    "a control character in a name": path("a\x9bb"),
    "U+202E in a name": path("exe\u202egnp"),
    "a name in form NFD": path("u\u0308"),
    "an NFD twin": path("u\u0308", "\u00fc"),
    "a case twin of a path": path("README", "readme"),
    "full-width dots": path("\uff0e\uff0e"),
    "an over-long name": path("x" * 256),
    "a symlink out": link("../x"),
    "an absolute symlink": link("/etc/passwd"),
    "a dangling symlink": link("absent"),
    "a looping symlink": link("link"),
    "a symlink through a parent": link("e/f"),
    "a hard link out": unpacked(member("a", type=tarfile.LNKTYPE, linkname="/etc/shadow") + END),
    "a fifo in a source": source(os.mkfifo),
    "a socket in a source": source(bind),
    "a device in a source": source(device),
    "a sparse bomb": unpacked(sparse()),
    "a decompression bomb": unpacked(
        gzip.compress(member("zeros", bytes(4 << 20)) + END), "a.tar.gz", max_bytes=1 << 20
    ),
    "a wrong archive header": unpacked(member("a", b"x") + b"?" + member("b")[1:] + END),
    "a name that goes on after its end": unpacked(two_names()),
    "a duplicate member of an archive": unpacked(member("a", b"1") + member("a", b"2") + END),
    "a duplicate member of a pack": packed_twice,
    "a decompression bomb in a pack": inflating,
}


@pytest.mark.parametrize("line", BY_BYTES)
def test_a_file_that_is_not_as_it_was_signed_or_never_should_be_is_refused(line, tmp_path):
    judged(line, lambda: BY_BYTES[line](tmp_path))


def linked(site):
    """A link to the same bytes: its mode differs too, since links have one of their own."""
    target = site.release("v2") / "config.json"
    target.rename(site.directory / "config.json")
    target.symlink_to(site.directory / "config.json")
    asked(site.activate("v2"))


def changed(site):
    (site.release("v2") / "config.json").write_bytes(b'{"version": "6.6"}')
    asked(site.activate("v2"))


def longer(site):
    entry = site.made("v2").files[0]
    site.store.put(Object(entry.sha256, 1 << 40, io.BytesIO()), [entry], signed.NOW)


def fifo(site):
    evidence = Evidence(site.places)
    (evidence.directory("v2") / pack.MANIFEST).unlink()
    os.mkfifo(evidence.directory("v2") / pack.MANIFEST)
    asked(site.activate("v2"))


def writable(site):
    site.host.configuration.chmod(0o777)
    asked(site.activate("v2"))


ON_A_HOST = {
    "a link in place of a file": linked,
    "a file changed between check and use": changed,
    "an object longer than listed": longer,
    "a manifest that is a fifo": fifo,
    "a world-writable trust directory": writable,
}


@pytest.mark.parametrize("line", ON_A_HOST)
def test_a_host_refuses_what_was_changed_after_it_was_staged(line, site):
    site.build("v1", V1)
    site.deploy("v1")
    site.build("v2", V2)
    asked(site.stage("v2"))
    history = site.records
    judged(line, lambda: ON_A_HOST[line](site))
    assert (site.current, site.records) == ("v1", history)


CASES = {**BY_BYTES, **ON_A_HOST}
