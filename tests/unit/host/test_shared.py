# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that the application owns, made by root without believing anything that is there."""

import grp
import os
import pwd
import stat

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import shared


@pytest.fixture
def application():
    me = pwd.getpwuid(os.geteuid())
    return Application(
        name="shop", user=me.pw_name, group=grp.getgrgid(me.pw_gid).gr_name, shared_paths=("var/uploads", "cache")
    )


def test_declared_directories_are_made_for_the_application_alone(tmp_path, application):
    shared.make_paths(tmp_path / "shared", application)
    for path in ("shared", "shared/var", "shared/var/uploads", "shared/cache"):
        status = os.lstat(tmp_path / path)
        assert stat.S_ISDIR(status.st_mode)
        assert status.st_mode & 0o7777 == 0o750
        assert status.st_uid == os.geteuid()


def test_directories_that_are_there_stay_as_they_are(tmp_path, application):
    uploads = tmp_path / "shared/var/uploads"
    uploads.mkdir(parents=True)
    uploads.chmod(0o700)
    (uploads / "kept").write_text("mine")
    shared.make_paths(tmp_path / "shared", application)
    assert uploads.stat().st_mode & 0o7777 == 0o700
    assert (uploads / "kept").read_text() == "mine"


@pytest.mark.parametrize("place", ["var", "var/uploads"])
def test_a_link_that_the_application_left_is_not_followed(tmp_path, application, place):
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tmp_path / "shared" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(Refusal, match="shared_path_not_a_directory"):
        shared.make_paths(tmp_path / "shared", application)
    assert list(outside.iterdir()) == []


def test_a_file_in_the_way_is_refused(tmp_path, application):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/cache").write_text("a file")
    with pytest.raises(Refusal, match="shared_path_not_a_directory"):
        shared.make_paths(tmp_path / "shared", application)
    assert (tmp_path / "shared/cache").read_text() == "a file"


def test_without_shared_paths_nothing_is_made(tmp_path):
    shared.make_paths(tmp_path / "shared", Application(name="shop", user="shop", group="shop"))
    assert not (tmp_path / "shared").exists()


def test_no_descriptor_is_left_open(tmp_path, application):
    before = len(os.listdir("/proc/self/fd"))
    shared.make_paths(tmp_path / "shared", application)
    (tmp_path / "shared/cache").rmdir()
    (tmp_path / "shared/cache").write_text("")
    with pytest.raises(Refusal):
        shared.make_paths(tmp_path / "shared", application)
    assert len(os.listdir("/proc/self/fd")) == before
