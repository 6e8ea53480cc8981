# SPDX-License-Identifier: GPL-3.0-or-later
"""One request of plain data in, one answer of plain data out."""

from __future__ import annotations

import errno
import json
import os

import pytest
from ansible.module_utils.slipway.host import handler
from ansible.module_utils.slipway.host.handler import OPERATIONS, handle
from releases import V1, snapshot


def test_every_answer_is_plain_data(site):
    site.build("v1", V1)
    answers = [site.stage("v1"), site.activate("v1"), site.inspect(health=True, verify=True), site.confirm("v1")]
    answers += [site.ask("history", limit=5), site.recover(), site.revert("v1"), site.activate("v9")]
    for answer in answers:
        assert json.loads(json.dumps(answer)) == answer
        assert type(answer["changed"]) is bool


def test_a_refusal_is_an_answer(site):
    answer = site.inspect(environment="staging")
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, "environment_mismatch")
    assert (
        answer["msg"]
        == f"environment_mismatch: expected {answer['expected']}; found {answer['found']}. {answer['remedy']}"
    )


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EROFS, "file_system_read_only"), (errno.EIO, "host_error"),
    ],
)  # fmt: skip
def test_an_error_of_the_host_is_an_answer_that_something_may_have_changed(site, monkeypatch, number, reason):
    def fails(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setitem(OPERATIONS, "recover", fails)
    answer = site.recover()
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, True, reason)
    assert answer["expected"] == "to finish recover on this host"
    assert os.strerror(number) in answer["found"]


def test_a_request_goes_to_this_machine_unless_a_host_is_given(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)
    assert handle(site.request("inspect"))["host"]["name"] == "prod-1"


def test_check_is_off_unless_it_is_asked_for(site):
    site.build("v1", V1)
    pack = site.pack("v1", site.objects("v1"))
    site.recover()
    before = snapshot(site.host.root)
    site.ask("stage", release_id="v1", pack=pack, check=True)
    assert snapshot(site.host.root) == before
    site.ask("stage", release_id="v1", pack=pack)
    assert site.store.holds("v1")


def test_the_modes_of_what_is_written_do_not_depend_on_the_umask(site):
    site.build("v1", V1)
    before = os.umask(0o077)
    try:
        site.stage("v1")
    finally:
        os.umask(before)
    assert (site.release("v1") / "bin").stat().st_mode & 0o777 == 0o755
    assert site.places.manifests.stat().st_mode & 0o777 == 0o755
