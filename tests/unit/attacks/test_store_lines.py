# SPDX-License-Identifier: GPL-3.0-or-later
"""A forged artifact store, or whoever sits before it: whatever it serves, a host takes no other bytes, and nothing changes there."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
import stores
from ansible.module_utils.slipway.host.handler import handle
from lines import reason_of
from releases import V1, V2, Site, snapshot
from stores import Mirror

BIG = bytes(range(256)) * 500
METADATA = "169.254.169.254"  # where clouds tell their machines secrets


def served(change):
    """Serve the directory after `change(path, data)` of each object."""

    def forge(directory: Path) -> None:
        for path in sorted((directory / "shop/objects").rglob("*/*")):
            data = path.read_bytes()
            path.chmod(0o644)
            path.write_bytes(change(path, data))

    return forge


def swapped(directory):
    """Each object has the bytes of the next one of its size, or of any other."""
    paths = sorted((directory / "shop/objects").rglob("*/*"), key=lambda path: path.stat().st_size)
    contents = [path.read_bytes() for path in paths]
    for path, data in zip(paths, contents[1:] + contents[:1], strict=True):
        path.chmod(0o644)
        path.write_bytes(data)


def removed(directory):
    shutil.rmtree(directory / "shop/objects")


def linked(directory):
    """A name of the store leads out of it: the server follows, and what it finds there is not what was signed."""
    for path in (directory / "shop/objects").rglob("*/*"):
        path.unlink()
        path.symlink_to("/etc/passwd")


def answers(behaviour):
    return lambda _directory: behaviour


# What the store does: to its files, or, where it returns something, to its answers.
CASES = {
    "an object with other bytes": served(lambda _path, data: bytes(byte ^ 1 for byte in data)),
    "an object with one bit flipped": served(lambda _path, data: data[:-1] + bytes([data[-1] ^ 1])),
    "an object swapped for another": swapped,
    "an object cut short": served(lambda _path, data: data[:-1]),
    "an object with more behind it": served(lambda _path, data: data + b"\n"),
    "an empty object": served(lambda _path, _data: b""),
    "a link out of the store": linked,
    "a page of a login": answers(lambda answering: answering.give(b"<html>Please log in</html>")),
    "an object without end": answers(stores.endless),
    "a compressed object": answers(
        lambda answering: (
            answering.head(200, {"Content-Encoding": "gzip", "Content-Length": "100"}),
            answering.wfile.write(gzip.compress(bytes(100_000))[:100]),
        )
    ),
    "a redirect to another host": answers(stores.status(302, Location=f"http://{METADATA}/latest/meta-data")),
    "a redirect into a file": answers(stores.status(302, Location="file:///etc/shadow")),
    "an object that is not there": removed,
    "a store that only ever fails": answers(stores.status(503)),
}


@pytest.fixture
def forged(site, tmp_path):
    """v1 is active; the store will be asked for v2."""
    site.build("v1", V1)
    site.deploy("v1")
    site.build("v2", {**V2, "big": BIG, "bin/other!": V2["bin/shop!"][::-1]})
    shutil.copytree(site.catalogue.root, tmp_path / "store")
    made = Mirror(tmp_path / "store")
    yield site, made
    made.close()


def ask(site: Site, mirror: Mirror):
    pack = site.pack("v2", (), run_id="run-2")
    about = {"release_id": "v2", "pack": pack, "run": site.run("run-2"), "source": mirror.url}
    return handle(site.request("stage", **about), site.host)


@pytest.mark.parametrize("line", CASES)
def test_what_a_forged_store_serves_is_refused_and_nothing_changes(line, forged):
    site, mirror = forged
    mirror.always = CASES[line](mirror.directory)
    places = (site.places.releases, site.places.objects, site.places.manifests, site.places.history)
    before = [snapshot(place) if place.is_dir() else place.read_bytes() for place in places]
    answer = ask(site, mirror)
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, reason_of(line)), answer
    assert [snapshot(place) if place.is_dir() else place.read_bytes() for place in places] == before
    sizes = {entry.sha256: entry.size for entry in site.made("v2").files}
    assert all(path.stat().st_size <= sizes[path.name] for path in site.places.incoming.glob("*"))


def test_lists_and_manifests_of_a_store_are_not_asked_for(forged):
    """They come with the request, signed; what a store says of them is not even read."""
    site, mirror = forged
    for path in (mirror.directory / "shop").rglob("*.json"):
        path.chmod(0o644)
        path.write_bytes(b'{"forged": true}')
    assert ask(site, mirror)["changed"]
    assert {asked.path.split("/")[2] for asked in mirror.asked} == {"objects"}


def test_no_name_of_a_release_reaches_an_address(forged):
    """What is asked for are digests, whatever the paths in the release: there is nothing to climb out with."""
    site, mirror = forged
    ask(site, mirror)
    assert all(asked.path.count("/") == 4 and ".." not in asked.path for asked in mirror.asked)
