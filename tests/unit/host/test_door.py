# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident door: a request on standard input is answered once, or nothing was begun."""

from __future__ import annotations

import io
import os

import pytest
from ansible.module_utils.slipway.base import frame
from ansible.module_utils.slipway.base.frame import Request
from ansible.module_utils.slipway.host import door, handler
from ansible.module_utils.slipway.host.options import MODULES, Module
from releases import V1

ID = "0123456789abcdef" * 2
OURS, THEIRS = "a" * 64, "b" * 64


def content(module="slipway_history_info", options=None, package=OURS, check=False, attached=None):
    given = {"application": "shop", "limit": 10, "witnessed": None} if options is None else options
    return {"package": package, "module": module, "options": given, "check": check, "attached": attached}


def ask(site, request):
    printed = io.StringIO()
    data = request if isinstance(request, bytes) else frame.encoded_request(request)
    code = door.exchange(io.BytesIO(data), printed, OURS, site.host)
    return code, printed.getvalue()


def answer(site, request):
    code, printed = ask(site, request)
    assert code == 0
    return frame.decoded_answer(request.id, printed)


def test_a_request_is_answered_as_its_module_would(site):
    site.build("v1", V1)
    site.deploy("v1")
    found = answer(site, Request(ID, content()))
    assert found["result"]["active"] == "v1"
    assert found == {"result": MODULES["slipway_history_info"].answer(content()["options"], False, site.host)}


def test_a_refusal_is_an_answer(site):
    found = answer(site, Request(ID, content(options={"application": "books", "limit": 1, "witnessed": None})))
    assert (found["result"]["failed"], found["result"]["reason"]) == (True, "application_not_bootstrapped")


def test_another_version_says_so_and_does_nothing(site, monkeypatch):
    monkeypatch.setattr(handler, "handle", lambda *_: pytest.fail("work was begun"))
    assert answer(site, Request(ID, content(package=THEIRS))) == {"package": OURS}


@pytest.mark.parametrize("data", [b"", b"hello\n", frame.encoded_request(Request(ID, content()))[:-1]])
def test_without_a_whole_request_nothing_is_done_and_nothing_answered(site, monkeypatch, capsys, data):
    monkeypatch.setattr(handler, "handle", lambda *_: pytest.fail("work was begun"))
    assert ask(site, data) == (1, "")
    assert "slipway: standard input has" in capsys.readouterr().err


def test_an_attachment_is_a_file_for_as_long_as_the_exchange_takes(site, monkeypatch):
    seen = []

    def request(options):
        with open(options["pack"], "rb") as stream:
            seen.append((options["pack"], stream.read()))
        return {"operation": "history", "application": {"name": "shop"}, "limit": 1}

    monkeypatch.setitem(MODULES, "slipway_test", Module({"pack": {"type": "path"}}, request))
    before = len(os.listdir("/proc/self/fd"))
    answer(site, Request(ID, content("slipway_test", {}, attached="pack"), b"\x00\xff" * 70000))
    assert seen[0][1] == b"\x00\xff" * 70000
    assert len(os.listdir("/proc/self/fd")) == before


def test_all_input_is_read_before_the_first_byte_of_output(site):
    """Else both sides wait for each other: the controller writes before it reads."""
    order = []

    class Source(io.BytesIO):
        def read(self, size=-1):
            order.append("read")
            return super().read(size)

    class Destination(io.StringIO):
        def write(self, text):
            order.append("write")
            return super().write(text)

    door.exchange(Source(frame.encoded_request(Request(ID, content()))), Destination(), OURS, site.host)
    assert order.index("write") == len([each for each in order if each == "read"])


def test_a_crash_is_no_answer(site, monkeypatch):
    def crash(*_):
        raise KeyError("x")

    monkeypatch.setattr(handler, "handle", crash)
    printed = io.StringIO()
    with pytest.raises(KeyError):
        door.exchange(io.BytesIO(frame.encoded_request(Request(ID, content()))), printed, OURS, site.host)
    assert printed.getvalue() == ""
