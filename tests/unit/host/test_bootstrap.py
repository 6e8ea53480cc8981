# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine becomes a host once; after that only its resident package is renewed."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.bootstrap import COMMAND, bootstrap
from ansible.module_utils.slipway.host.log import load_history_key
from ansible.module_utils.slipway.host.places import Host
from ansible.module_utils.slipway.host.recovery import UNITS, WANTED
from ansible.module_utils.slipway.trust.keys import PublicKey

EVERYTHING = ["identity", "trust policy", "resident package", "history key", "command", "units"]


@pytest.fixture
def machine(tmp_path, clock, systemctl):
    """A machine that was never bootstrapped."""
    root = tmp_path / "machine"
    root.mkdir()
    return Host(root=root, clock=clock, run=systemctl, uid=os.geteuid())


@pytest.fixture
def request_(tmp_path, signing):
    package = tmp_path / "package.pyz"
    package.write_bytes(b"#!package 1")
    return {
        "name": "prod-1", "environment": "prod", "trust_policy": signing.envelope.decode(), "resident": str(package),
    }  # fmt: skip


def tree(host):
    """Every path below the host's root, with what it is."""
    return {
        str(path.relative_to(host.root)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in host.root.rglob("*")
    }


def refused(request, host) -> Refusal:
    before = tree(host)
    with pytest.raises(Refusal) as refusal:
        bootstrap(request, host, check=False)
    assert tree(host) == before
    return refusal.value


def test_a_new_machine_gets_everything(machine, request_, signing):
    answer = bootstrap(request_, machine, check=False)
    assert (answer["changed"], answer["installed"]) == (True, EVERYTHING)
    identity = machine.identity()
    assert answer["host"] == {"id": identity.id, "name": "prod-1", "environment": "prod"}
    assert uuid.UUID(identity.id).version == 4
    assert machine.policy() == signing.policy
    assert machine.resident.read_bytes() == b"#!package 1"
    assert machine.states.is_dir()
    assert os.readlink(machine.root / COMMAND) == "/usr/lib/slipway/slipway.pyz"
    paths = (*machine.configuration.iterdir(), machine.resident, *machine.states.iterdir())
    assert {path.name: path.stat().st_mode & 0o777 for path in paths} == {
        "host.json": 0o644, "trust-policy.dsse.json": 0o644, "slipway.pyz": 0o755, "history-key.pem": 0o600,
    }  # fmt: skip
    assert answer["history_key"] == PublicKey.of(load_history_key(machine)).hex


def test_a_history_key_is_never_replaced_and_its_public_half_told_again(machine, request_):
    first = bootstrap(request_, machine, check=False)["history_key"]
    assert bootstrap(request_, machine, check=False)["history_key"] == first
    assert bootstrap(request_, machine, check=True)["history_key"] == first
    machine.history_key.write_bytes(b"damaged")
    assert refused(request_, machine).reason == "key_invalid"


def test_what_the_key_signs_never_comes_with_the_key(machine, request_):
    secret = load_history_key_text(machine, request_)
    assert secret not in str(bootstrap(request_, machine, check=False))


def load_history_key_text(machine, request_) -> str:
    bootstrap(request_, machine, check=False)
    return machine.history_key.read_text().splitlines()[1]


def test_a_strict_umask_hides_nothing_that_applications_may_read(machine, request_):
    before = os.umask(0o077)
    try:
        bootstrap(request_, machine, check=False)
    finally:
        os.umask(before)
    assert machine.configuration.stat().st_mode & 0o777 == 0o755
    assert (machine.configuration / "host.json").stat().st_mode & 0o777 == 0o644


def test_a_second_time_changes_nothing(machine, request_):
    bootstrap(request_, machine, check=False)
    before = tree(machine)
    answer = bootstrap(request_, machine, check=False)
    assert (answer["changed"], answer["installed"]) == (False, [])
    assert answer["host"]["id"] == machine.identity().id
    assert tree(machine) == before


def test_two_machines_are_two_hosts(machine, request_, tmp_path):
    other = replace(machine, root=tmp_path / "other")
    other.root.mkdir()
    ids = {bootstrap(request_, host, check=False)["host"]["id"] for host in (machine, other)}
    assert len(ids) == 2


def test_check_mode_says_what_would_be_installed_and_installs_nothing(machine, request_):
    answer = bootstrap(request_, machine, check=True)
    assert (answer["changed"], answer["installed"]) == (True, EVERYTHING)
    assert answer["history_key"] is None
    assert tree(machine) == {}


def test_an_outdated_package_is_renewed_and_nothing_else(machine, request_, tmp_path):
    bootstrap(request_, machine, check=False)
    before = tree(machine)
    (tmp_path / "package.pyz").write_bytes(b"#!package 2")
    answer = bootstrap(request_, machine, check=False)
    assert answer["installed"] == ["resident package"]
    assert tree(machine) == {**before, "usr/lib/slipway/slipway.pyz": b"#!package 2"}


@pytest.mark.parametrize(
    ("lost", "installed"),
    [
        ("etc/slipway/trust-policy.dsse.json", ["trust policy"]),
        ("usr/lib/slipway/slipway.pyz", ["resident package"]),
        (COMMAND, ["command"]),
        ("etc/slipway/host.json", ["identity"]),
        ("var/lib/slipway/history-key.pem", ["history key"]),
    ],
)
def test_what_is_lost_is_installed_again(machine, request_, lost, installed):
    bootstrap(request_, machine, check=False)
    (machine.root / lost).unlink()
    assert bootstrap(request_, machine, check=False)["installed"] == installed
    assert (machine.root / lost).is_symlink() == (lost == COMMAND)


def test_a_command_that_leads_elsewhere_is_set_right(machine, request_):
    bootstrap(request_, machine, check=False)
    (machine.root / COMMAND).unlink()
    (machine.root / COMMAND).symlink_to("/tmp/elsewhere")
    assert bootstrap(request_, machine, check=False)["installed"] == ["command"]
    assert os.readlink(machine.root / COMMAND) == "/usr/lib/slipway/slipway.pyz"


def test_a_machine_is_a_host_only_when_all_else_is_there(machine, request_, syscalls):
    bootstrap(request_, machine, check=False)
    assert [name for call, name in syscalls.calls if call == "rename"] == [
        "slipway.pyz", "slipway", "trust-policy.dsse.json", *UNITS, *WANTED, "history-key.pem", "host.json",
    ]  # fmt: skip


def test_an_installation_that_broke_off_is_finished_by_the_next(machine, request_, syscalls):
    for number, name in enumerate(("fsync", "fchmod", "symlink", "rename", "write")):
        syscalls.fail(name, 5)
        with pytest.raises(OSError, match="Input/output error"):
            bootstrap(request_, machine, check=False)
        assert not (machine.configuration / "host.json").exists(), number
    bootstrap(request_, machine, check=False)
    assert machine.identity().name == "prod-1"
    assert not [path for path in tree(machine) if path.rpartition("/")[2].startswith(".")]


@pytest.mark.parametrize("change", [{"name": "prod-2"}, {"environment": "staging"}])
def test_a_host_does_not_become_another(machine, request_, change):
    bootstrap(request_, machine, check=False)
    refusal = refused({**request_, **change}, machine)
    assert refusal.reason == "host_is_another"
    assert refusal.found.startswith("prod-1 of prod")


@pytest.mark.parametrize(
    ("changes", "reason", "found"),
    [
        ({"version": 2}, "trust_policy_differs", "version 2 with other content"),
        ({"version": 3}, "trust_policy_outdated", "version 2"),
        ({"version": 1}, "policy_version_older", "version 1"),
    ],
)
def test_a_policy_is_not_replaced(machine, request_, changes, reason, found):
    here = signed.policy_envelope(signed.policy_document(version=2, minSafeSequence={"hello": 1}))
    bootstrap({**request_, "trust_policy": here.decode()}, machine, check=False)
    other = signed.policy_envelope(signed.policy_document(**changes))
    refusal = refused({**request_, "trust_policy": other.decode()}, machine)
    assert (refusal.reason, refusal.found) == (reason, found)
    assert ("playbooks/trust.yml" in refusal.remedy) == (reason == "trust_policy_outdated")


def test_the_same_policy_with_one_more_signature_is_the_same(machine, request_):
    bootstrap(request_, machine, check=False)
    before = tree(machine)
    more = signed.policy_envelope(signed.policy_document(), signed.ROOT_KEY, signed.OTHER_KEY)
    assert bootstrap({**request_, "trust_policy": more.decode()}, machine, check=False)["installed"] == []
    assert tree(machine) == before


def test_a_policy_that_does_not_hold_is_not_installed(machine, request_):
    forged = signed.policy_envelope(signed.policy_document(), signed.OTHER_KEY)
    assert refused({**request_, "trust_policy": forged.decode()}, machine).reason == "signature_unknown"


def test_an_environment_that_the_policy_does_not_know_is_refused(machine, request_):
    assert refused({**request_, "environment": "play"}, machine).reason == "environment_unknown"


def test_a_package_that_did_not_arrive_is_refused(machine, request_, tmp_path):
    (tmp_path / "package.pyz").unlink()
    assert refused(request_, machine).reason == "resident_package_missing"


def test_a_file_in_place_of_the_command_is_left_alone(machine, request_):
    (machine.root / COMMAND).parent.mkdir(parents=True)
    (machine.root / COMMAND).write_text("somebody else's slipway")
    assert refused(request_, machine).reason == "not_a_link"
