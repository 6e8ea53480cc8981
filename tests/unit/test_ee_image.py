# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment is keyed by what goes into it, and may not grow."""

import re
import subprocess

import pytest

from ee import contents, image
from lab import shell
from lab.errors import LabError


def test_the_key_changes_with_the_base_and_with_every_file_and_their_order():
    keys = [
        image.digest("base", [b"a", b"b"]),
        image.digest("other", [b"a", b"b"]),
        image.digest("base", [b"a", b"c"]),
        image.digest("base", [b"b", b"a"]),
        image.digest("base", [b"ab"]),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == image.digest("base", iter([b"a", b"b"]))


def test_what_goes_in_is_there_and_is_what_the_definition_takes():
    assert [name for name in image.INPUTS if not (image.ROOT / name).is_file()] == []
    definition = (image.ROOT / "execution-environment.yml").read_text(encoding="utf-8")
    assert all(name in definition for name in ("requirements/execution-environment.lock", "ee/contents.py"))


def locked(name):
    """The packages of a lock with their versions, and where a version is for some platforms only, for which."""
    text = (image.ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9][^=\s]*==.+?) \\$", text, re.MULTILINE))


def test_what_a_controller_needs_is_in_it_at_the_same_versions():
    """Else what is imported late, such as a database's library, is missing only where it is needed."""
    controller = locked("controller")
    assert any(each.startswith("psycopg-binary==") for each in controller)
    assert controller - locked("execution-environment") == set()


def test_an_image_that_grew_is_refused(monkeypatch):
    def podman(*_words, **_options):
        return subprocess.CompletedProcess(_words, 0, "600000000\n", "")

    monkeypatch.setattr(shell, "podman", podman)
    with pytest.raises(LabError) as refused:
        image.require_small("localhost/slipway-ee:x")
    assert (refused.value.expected, refused.value.found) == ("an execution environment under 600 MB", "600 MB")


def test_of_two_distributions_with_one_name_the_one_that_is_imported_is_listed(tmp_path, monkeypatch):
    for place, version in (("first", "2.0"), ("second", "1.0")):
        about = tmp_path / place / f"slipway_demo-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Slipway_Demo\nVersion: {version}\n")
    monkeypatch.setattr("sys.path", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert contents.python() == {"slipway-demo": "2.0"}
