# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a host is, what it trusts, and where an application's things are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.command import run
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.places import (
    FORMAT,
    Host,
    Identity,
    Places,
    refuse_newer_format,
    require_environment,
)

IDENTITY = {"format": FORMAT, "id": "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10", "name": "prod-1", "environment": "prod"}


@pytest.fixture
def identity_path(host):
    return host.configuration / "host.json"


@pytest.fixture
def policy_path(host):
    return host.configuration / "trust-policy.dsse.json"


def reason_of(call, *arguments) -> str:
    with pytest.raises(Refusal) as refused:
        call(*arguments)
    return refused.value.reason


def test_a_real_host_has_its_own_root_clock_and_commands_and_is_roots():
    host = Host()
    assert (host.root, host.run, host.uid) == (Path("/"), run, 0)
    assert isinstance(host.clock, SystemClock)


def test_a_host_is_who_its_identity_says(host):
    assert host.identity() == Identity(IDENTITY["id"], "prod-1", "prod")


BROKEN_IDENTITIES = {
    "a newer format": ({**IDENTITY, "format": 2}, "format_unknown"),
    "a format in text": ({**IDENTITY, "format": "1"}, "format_unknown"),
    "no environment": ({key: IDENTITY[key] for key in ("format", "id", "name")}, "host_identity_invalid"),
    "no format": ({key: IDENTITY[key] for key in ("id", "name", "environment")}, "host_identity_invalid"),
    "an environment that is none": ({**IDENTITY, "environment": None}, "host_identity_invalid"),
    "a name in two lines": ({**IDENTITY, "name": "prod-1\nprod-2"}, "host_identity_invalid"),
    "something more": ({**IDENTITY, "root": True}, "host_identity_invalid"),
    "a list": ([], "host_identity_invalid"),
}


@pytest.mark.parametrize(("values", "reason"), BROKEN_IDENTITIES.values(), ids=BROKEN_IDENTITIES.keys())
def test_an_identity_that_says_too_little_or_too_much_is_refused(host, identity_path, values, reason):
    identity_path.write_bytes(canonical.encode(values))
    assert reason_of(host.identity) == reason


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"environment":"staging","environment":"prod"}'], ids=["empty", "torn", "twice"]
)
def test_an_identity_that_is_no_json_is_refused(host, identity_path, data):
    identity_path.write_bytes(data)
    assert reason_of(host.identity).startswith("json_")


def test_an_identity_that_is_missing_is_refused(host, identity_path):
    identity_path.unlink()
    assert reason_of(host.identity) == "host_identity_missing"


def test_an_identity_that_is_a_fifo_is_refused_at_once(host, identity_path):
    identity_path.unlink()
    os.mkfifo(identity_path, 0o600)
    assert reason_of(host.identity) == "host_identity_not_regular"


def test_a_policy_that_is_missing_is_refused(host, policy_path):
    policy_path.unlink()
    assert reason_of(host.policy) == "trust_policy_missing"


def test_a_host_holds_the_policy_that_was_installed(host, signing):
    assert host.policy() == signing.policy


def test_a_policy_that_somebody_else_signed_is_refused(host, policy_path):
    policy_path.write_bytes(signed.policy_envelope(signed.policy_document(version=2), signed.OTHER_KEY))
    assert reason_of(host.policy) == "signature_unknown"


@pytest.mark.parametrize("place", ["etc/slipway/trust-policy.dsse.json", "etc/slipway"])
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o777])
def test_trust_that_others_may_write_is_none(host, place, mode):
    (host.root / place).chmod(mode | 0o100 * (host.root / place).is_dir())
    assert reason_of(host.policy) == "trust_directory_writable"


@pytest.mark.parametrize("place", ["etc/slipway/host.json", "etc/slipway"])
def test_an_identity_that_others_may_write_is_none(host, place):
    (host.root / place).chmod(0o777)
    assert reason_of(host.identity) == "trust_directory_writable"


@pytest.mark.parametrize("ask", [Host.policy, Host.identity])
def test_trust_that_belongs_to_somebody_else_is_none(host, ask):
    other = Host(root=host.root, clock=host.clock, run=host.run, uid=host.uid + 1)
    with pytest.raises(Refusal) as refused:
        ask(other)
    assert refused.value.reason == "trust_directory_writable"
    assert refused.value.found.startswith(f"uid {host.uid}, mode 0")


@pytest.mark.parametrize("name", ["host.json", "trust-policy.dsse.json"])
def test_trust_is_not_read_through_a_link(host, name):
    path = host.configuration / name
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    ask, what = (host.identity, "host_identity") if name == "host.json" else (host.policy, "trust_policy")
    assert reason_of(ask) == f"{what}_not_regular"


@pytest.mark.parametrize("kind", ["link", "file", "nothing"])
def test_trust_is_not_looked_for_where_its_directory_leads(host, kind):
    host.configuration.rename(host.root / "elsewhere")
    if kind == "link":
        host.configuration.symlink_to(host.root / "elsewhere")
    elif kind == "file":
        host.configuration.touch()
    assert reason_of(host.policy) == "trust_policy_missing"
    assert reason_of(host.identity) == "host_identity_missing"


@pytest.mark.parametrize("swapped", ["etc/slipway/host.json", "etc/slipway"])
def test_what_was_judged_is_what_is_read(host, monkeypatch, swapped):
    """As soon as something was judged, something else that anybody can write has its name."""
    place, judged = host.root / swapped, []

    def swaps(descriptor, real=os.fstat):
        judged.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if judged[-1] == str(place):
            place.rename(host.root / "judged")
            hostile = place / "host.json" if swapped == "etc/slipway" else place
            hostile.parent.mkdir(exist_ok=True)
            hostile.write_bytes(canonical.encode({**IDENTITY, "environment": "staging"}))
            hostile.chmod(0o666)
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", swaps)
    assert host.identity().environment == "prod"
    assert str(place) in judged
    monkeypatch.undo()
    assert reason_of(host.identity) in ("trust_directory_writable", "host_identity_missing")


def test_a_link_that_leads_nowhere_is_no_missing_policy(host, policy_path):
    policy_path.unlink()
    policy_path.symlink_to("nowhere")
    assert reason_of(host.policy) == "trust_policy_not_regular"


def test_a_request_for_the_hosts_environment_is_welcome(host):
    require_environment(host.identity(), "prod")


@pytest.mark.parametrize("requested", ["staging", "PROD", "", "prod "])
def test_a_request_for_another_environment_is_refused(host, requested):
    assert reason_of(require_environment, host.identity(), requested) == "environment_mismatch"


@pytest.mark.parametrize("found", [0, 2, None, "1", "1.0"])
def test_a_format_that_we_do_not_know_is_refused(found):
    assert reason_of(refuse_newer_format, found, Path("/x")) == "format_unknown"


def test_applications_are_those_with_a_state_directory(host, prepare):
    for name in ("shop", "blog"):
        prepare(name)
    (host.states / "file").touch()
    assert host.application_names() == ["blog", "shop"]


def test_a_host_without_state_has_no_applications(tmp_path):
    assert Host(root=tmp_path).application_names() == []


def test_an_applications_things_have_their_places():
    places = Places(Host(), "shop")
    assert {
        name: str(getattr(places, name)) for name in dir(Places) if isinstance(getattr(Places, name), property)
    } == {
        "base": "/srv/shop",
        "releases": "/srv/shop/releases",
        "credentials": "/var/lib/slipway/shop/credentials",
        "instances": "/srv/shop/instances",
        "objects": "/srv/shop/.objects",
        "share": "/srv/shop/share",
        "shared": "/srv/shop/shared",
        "current": "/srv/shop/current",
        "way_back": "/srv/shop/.way-back",
        "state": "/var/lib/slipway/shop",
        "manifests": "/var/lib/slipway/shop/manifests",
        "history": "/var/lib/slipway/shop/history.jsonl",
        "history_tree": "/var/lib/slipway/shop/history.tree",
        "checkpoint": "/var/lib/slipway/shop/checkpoint",
        "fetching": "/var/lib/slipway/shop/fetching",
        "incoming": "/srv/shop/.incoming",
        "checked": "/run/slipway/shop/checked.json",
        "markers": "/run/slipway/shop",
        "journal": "/var/lib/slipway/shop/journal.jsonl",
        "lease": "/var/lib/slipway/shop/lease.json",
        "lock": "/var/lib/slipway/shop/lock",
        "manual_lock": "/var/lib/slipway/shop/manual-lock.json",
        "backups": "/var/lib/slipway/shop/backups",
        "reserve": "/var/lib/slipway/shop/reserve",
        "format": "/var/lib/slipway/shop/format",
    }
    assert str(Host().resident) == "/usr/lib/slipway/slipway.pyz"
    assert str(Host().configuration) == "/etc/slipway"


def test_an_application_with_both_directories_is_bootstrapped(prepare):
    places = prepare("shop")
    places.require_bootstrapped()
    places.format.write_text("1\n")
    places.require_bootstrapped()


@pytest.mark.parametrize("missing", ["base", "state"])
def test_an_application_without_one_of_its_directories_is_not(host, prepare, missing):
    places = prepare("shop")
    getattr(places, missing).rename(host.root / "away")
    assert reason_of(places.require_bootstrapped) == "application_not_bootstrapped"


@pytest.mark.parametrize("text", ["2\n", "", "one", "\u00b2", "1 1"])
def test_state_in_a_format_that_we_do_not_know_is_refused(prepare, text):
    places = prepare("shop")
    places.format.write_text(text, encoding="utf-8")
    assert reason_of(places.require_bootstrapped) == "format_unknown"


@pytest.mark.parametrize("name", ["", "..", "../../etc", "a/b", "Shop", "-shop", "shop\n"])
def test_what_cannot_be_an_application_is_no_place(host, name):
    with pytest.raises(Refusal, match="application_unknown"):
        Places(host, name)
