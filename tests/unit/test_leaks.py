# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for leaks finds a canary that is planted, however it was written; one that finds nothing would prove nothing."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shlex
import subprocess
import sys
import urllib.parse
import zipfile

import pytest
import yaml
from leaks import Canary, Search

VALUE = Canary("x", "Zq0123456789abcdef00").value


def zipped(value):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("args", value * 9)
    return stream.getvalue()


WRITTEN = {
    "as it is": VALUE.encode(),
    "JSON": json.dumps({"a": VALUE}).encode(),
    "shell": shlex.quote(VALUE).encode(),
    "URL": urllib.parse.quote(VALUE, safe="").encode(),
    "YAML in narrow lines": yaml.safe_dump({"a": f"{'word ' * 9}{VALUE}"}, width=20).encode(),
    **{
        f"base64 after {before!r}": base64.b64encode(before.encode() + VALUE.encode() + b"x")
        for before in ("", "a", "ab", "user:")
    },
    "base64 for URLs": base64.urlsafe_b64encode(VALUE.encode()),
    "base64 in lines": b"-----\n" + base64.encodebytes(b"first " + VALUE.encode()).replace(b"M", b"M\n "),
    "base64 of base64": base64.b64encode(b'{"a": "' + base64.b64encode(b"1" + VALUE.encode()) + b'"}'),
    "hexadecimal": VALUE.encode().hex().encode(),
    "gzip": gzip.compress(VALUE.encode()),
    "a zip in base64": b"ZIPDATA = '" + base64.b64encode(zipped(VALUE)) + b"'",
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_planted_canary_is_found(tmp_path, how):
    search = Search([Canary("other"), Canary("planted", "Zq0123456789abcdef00")])
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"before " * 99 + WRITTEN[how] if "zip" not in how else WRITTEN[how])
    assert search.tree(tmp_path) == 1
    assert {hit.canary for hit in search.hits} == {"planted"}
    assert {hit.where for hit in search.hits} == {str(tmp_path / "a/b/file")}


def test_what_is_no_canary_is_not_found_and_what_is_excepted_is_not_looked_at(tmp_path):
    search = Search([Canary("planted")])
    (tmp_path / "file").write_bytes(b"".join(WRITTEN.values()))
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text(search.canaries[0].value)
    assert search.tree(tmp_path, but=["secret"]) == 1
    assert search.hits == []
    assert "1 files" in search.summary
    assert "for 1 canaries in 6 encodings each, also folded: 0 hits" in search.summary


def test_names_of_files_and_targets_of_links_are_looked_at(tmp_path):
    search = Search([Canary("planted")])
    word = search.canaries[0].word
    (tmp_path / f"a-{word}").touch()
    (tmp_path / "link").symlink_to(f"/nowhere/{word}")
    search.tree(tmp_path)
    assert len({hit.where for hit in search.hits}) == 2


def late(search, word):
    """What is found of a canary that becomes known only now."""
    before = len(search.hits)
    search.expect(Canary("late", word))
    return search.hits[before:]


@pytest.mark.parametrize("place", ["argument", "environment"])
def test_a_process_that_shows_it_is_seen(place):
    search = Search([Canary("planted")])
    value = search.canaries[0].value
    command = [sys.executable, "-c", "input()", *([value] if place == "argument" else [])]
    with search.watching():
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env={"PASSWORD": value} if place == "environment" else {}
        )
        while not search.hits:
            assert process.poll() is None
        process.communicate(b"\n")
    assert {"late"} == {hit.canary for hit in late(search, search.canaries[0].word)}
    assert search.samples > 0
    assert search.processes > 1
    assert all(hit.where.startswith(f"/proc/{process.pid}/") for hit in search.hits)
