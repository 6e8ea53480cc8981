# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that processes of one user share: verified before it is used, and not used where it is not what it must be."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.slipway.secrets import volatile
from ansible.module_utils.slipway.secrets.volatile import (
    NotVolatile,
    file_system_of,
    hashed,
    open_volatile,
    swaps_on_disks,
    this_run,
    tidy,
)
from safes import RUN, is_locked


def opened(memory, **options):
    return open_volatile({}, RUN, **{"swap_accepted": True, "shared": memory, **options})


def test_it_is_for_its_owner_alone(place):
    place.write("cache/a", b"x")
    paths = [place.directory, *place.directory.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o700, 0o600}
    assert {path.stat().st_uid for path in paths} == {os.geteuid()}


def test_the_directory_of_the_session_comes_first(memory):
    (memory / "session").mkdir()
    place = open_volatile({"XDG_RUNTIME_DIR": str(memory / "session")}, RUN, swap_accepted=True, shared=memory)
    assert place.directory == memory / "session/slipway-secrets"
    relative = open_volatile({"XDG_RUNTIME_DIR": "session"}, RUN, swap_accepted=True, shared=memory)
    assert relative.directory.parent == memory


def test_a_disk_is_no_memory(memory, monkeypatch):
    monkeypatch.setattr(
        volatile, "file_system_of", lambda path, _mounts: ("ext4" if "disk" in str(path) else "tmpfs", [])
    )
    (memory / "disk").mkdir()
    with pytest.raises(NotVolatile, match="on ext4, which is not memory"):
        opened(memory / "disk")
    place = open_volatile({"XDG_RUNTIME_DIR": str(memory / "disk")}, RUN, swap_accepted=True, shared=memory)
    assert place.directory.parent == memory


@pytest.mark.parametrize("how", ["somebody else's", "of everybody", "of a group", "by a link"])
def test_a_place_that_others_may_rename_is_passed_over_and_said(memory, how):
    above = memory / "above"
    session = above / "session"
    session.mkdir(parents=True)
    at = session
    if how == "somebody else's":
        os.chown(above, 12345, -1)
    elif how == "by a link":
        at = memory / "link"
        at.symlink_to(session)
        above.chmod(0o777)
    else:
        above.chmod(0o777 if how == "of everybody" else 0o770)
    place = open_volatile({"XDG_RUNTIME_DIR": str(at)}, RUN, swap_accepted=True, shared=memory)
    assert place.directory.parent == memory
    assert place.passed_over == f"{at / 'slipway-secrets'}: others may rename what is in {above}"
    assert not (session / "slipway-secrets").exists()
    above.chmod(0o1777)
    os.chown(above, 0, -1)
    place = open_volatile({"XDG_RUNTIME_DIR": str(at)}, RUN, swap_accepted=True, shared=memory)
    assert (place.directory, place.passed_over) == (at / "slipway-secrets", "")


def test_a_link_that_others_may_rename_is_none_to_go_by(memory):
    (memory / "session").mkdir()
    (memory / "above").mkdir()
    (memory / "above").chmod(0o777)
    (memory / "above/link").symlink_to(memory / "session")
    place = open_volatile({"XDG_RUNTIME_DIR": str(memory / "above/link")}, RUN, swap_accepted=True, shared=memory)
    assert place.passed_over


def test_where_there_is_no_such_place_it_says_so(tmp_path):
    with pytest.raises(NotVolatile, match="neither"):
        opened(tmp_path / "none")


@pytest.mark.parametrize("how", ["a link", "others can read it", "a file", "somebody else's"])
def test_what_somebody_put_there_is_not_used(memory, tmp_path, how, monkeypatch):
    directory = memory / f"slipway-secrets-{os.geteuid()}"
    if how == "a link":
        directory.symlink_to(memory)
    elif how == "a file":
        directory.touch()
    else:
        directory.mkdir(mode=0o700 if how == "somebody else's" else 0o750)
    if how == "somebody else's":
        monkeypatch.setattr(volatile, "NAME", "x")
        (memory / f"x-{os.geteuid() + 1}").mkdir(mode=0o700)
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(NotVolatile, match="not a directory of this user with mode 0700"):
        opened(memory)


@pytest.mark.parametrize(("swaps", "found"), [
    ("Filename Type\n", []), ("Filename\n/dev/sda2 partition 8 0 -2\n/dev/zram0 partition 8 0 1\n", ["/dev/sda2"]), ("", []),
])  # fmt: skip
def test_swaps_that_write_to_a_disk(swaps, found):
    assert swaps_on_disks(swaps) == found


@pytest.mark.parametrize(("options", "refused"), [(["rw"], True), (["rw", "noswap"], False)])
def test_memory_that_may_be_swapped_to_a_disk_is_not_used_unasked(memory, monkeypatch, options, refused):
    monkeypatch.setattr(volatile, "swaps_on_disks", lambda _text: ["/dev/sda2"])
    monkeypatch.setattr(volatile, "file_system_of", lambda *_a: ("tmpfs", options))
    if refused:
        with pytest.raises(NotVolatile, match="may be swapped to /dev/sda2"):
            opened(memory, swap_accepted=False)
    assert opened(memory, swap_accepted=refused)


def test_a_file_system_is_found_by_its_device(memory):
    mounts = Path("/proc/self/mountinfo").read_text()
    assert file_system_of(memory, mounts)[0] == "tmpfs"
    assert file_system_of(memory, "") == (None, [])


def test_an_entry_is_the_old_one_or_the_new_one(place, syscalls):
    assert place.read("cache/a") is None
    place.write("cache/a", b"old")
    syscalls.fail("write", 28)
    with pytest.raises(OSError, match="No space"):
        place.write("cache/a", b"new")
    assert place.read("cache/a") == b"old"
    assert place.names("cache") == ["cache/a"]
    place.remove("cache/a")
    place.remove("cache/a")
    assert place.names("cache") == []


def test_a_lock_is_held_by_one_at_a_time(place):
    with place.locked("cache/a"):
        assert is_locked(place.directory / "cache/a.lock")
        with place.locked("cache/b"):
            assert is_locked(place.directory / "cache/b.lock")
    assert not is_locked(place.directory / "cache/a.lock")
    assert place.names("cache") == []


def test_what_belongs_to_a_run_goes_when_the_run_is_over(memory):
    program = "import time; print('.', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as alive:
        alive.stdout.read(1)
        other = this_run(alive.pid)
        open_volatile({}, other, swap_accepted=True, shared=memory).write(f"{other}/token", b"x")
        mine = this_run(os.getpid())
        place = open_volatile({}, mine, swap_accepted=True, shared=memory)
        foreign = place.directory / "run-1-2-3"
        foreign.mkdir()
        strange = place.directory / f"{mine.rpartition('-')[0].rpartition('-')[0]}-strange"
        strange.mkdir()
        assert (place.directory / other / "token").exists()
        alive.kill()
    open_volatile({}, mine, swap_accepted=True, shared=memory)
    assert not (place.directory / other).exists()
    assert not strange.exists()
    assert foreign.exists()
    assert (place.directory / mine).exists()


def test_what_a_killed_writer_left_is_tidied_up(place):
    (place.directory / "cache/.a.0123456789abcdef").touch()
    tidy(place)
    assert list((place.directory / "cache").iterdir()) == []


def test_parts_of_a_name_do_not_run_into_each_other():
    assert hashed("a", "bc") != hashed("ab", "c")
