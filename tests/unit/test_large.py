# SPDX-License-Identifier: GPL-3.0-or-later
"""Large files pass in bounded memory, and many small ones in time that grows as they do, at every step from source to host.

The steps are those of `python -m tests.bench.bytes`, each in a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import time

import pytest
from ansible.module_utils.slipway.host.store import Store
from ansible.module_utils.slipway.trust.tree import PLAIN_MODE, Entry, FileList

from tests.bench import bytes as bench

MEBIBYTES = 160
BASE = 56  # what the interpreter and the imports take
MOST = BASE + 64
MANY = 20_000


@pytest.fixture
def world(in_memory):
    made = bench.World(in_memory)
    made.source.mkdir()
    (made.source / "slipway.yml").write_text("application: bench\n")
    return made


@pytest.mark.parametrize(
    ("kind", "steps"), [("random", list(bench.STEPS)), ("text", ["make the release", "make the pack", "unpack"])]
)
def test_a_large_file_takes_no_more_memory_than_a_small_one(world, in_memory, say, kind, steps):
    bench.large(world.source, MEBIBYTES, kind)
    most = {name: bench.step_of(name, in_memory)["peak_mib"] for name in steps}
    say(f"{MEBIBYTES} MiB of {kind}: {max(most.values()):.0f} MiB at most, when to {max(most, key=most.__getitem__)}")
    assert {name: peak for name, peak in most.items() if peak > MOST} == {}


def test_what_many_files_lack_is_found_in_one_pass(world, say):
    """A set that was made anew for each file took half a minute for these, and hours for ten times as many."""
    store: Store = world.store
    entries = []
    for number in range(MANY):
        data = b"%d" % number
        entry = Entry(f"f{number:06d}", "file", PLAIN_MODE, len(data), hashlib.sha256(data).hexdigest())
        path = store.object(entry)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.chmod(path, PLAIN_MODE)
        entries.append(entry)
    file_list = FileList(tuple(entries))
    began = time.process_time()
    assert store.lacking(file_list) == set()
    spent = time.process_time() - began
    say(f"{MANY} files: {spent:.1f} s of a processor")
    assert spent < 3.0
