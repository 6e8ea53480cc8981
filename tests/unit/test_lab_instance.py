# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance is: planned, written, read back, and given to Ansible."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import instance, lifecycle, names
from lab.errors import LabError
from lab.instance import Host, Instance
from lab.names import Clone

SUBNET = "10.200.3.0/24"
SCRIPT = Path(__file__).resolve().parents[2] / "inventories" / "lab" / "hosts"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    (tmp_path / ".slipway" / "lab").mkdir(parents=True)
    return Clone(tmp_path)


def record(clone: Clone, specification: str, *, ready: bool = True) -> Instance:
    hosts = instance.plan_hosts(clone, "lab", names.parse_hosts(specification), SUBNET)
    return Instance("lab", "bookworm", clone.network("lab"), SUBNET, hosts, ready)


def test_hosts_get_addresses_in_order_and_the_last_of_prod_a_volume(clone: Clone) -> None:
    hosts = record(clone, "staging=1,prod=2").hosts
    assert [(host.name, host.address, bool(host.volume)) for host in hosts] == [
        ("staging-1", "10.200.3.11", False),
        ("prod-1", "10.200.3.12", False),
        ("prod-2", "10.200.3.13", True),
    ]


def test_a_host_keeps_its_address_and_volume_when_others_come_and_go(clone: Clone) -> None:
    before = record(clone, "staging=1,prod=2")
    after = instance.plan_hosts(clone, "lab", {"prod": 3}, SUBNET, before=before)
    assert [(host.name, host.address, bool(host.volume)) for host in after] == [
        ("prod-1", "10.200.3.12", False),
        ("prod-2", "10.200.3.13", True),
        ("prod-3", "10.200.3.11", True),
    ]


def test_an_address_that_podman_still_holds_is_not_used(clone: Clone) -> None:
    before = record(clone, "prod=2")
    after = instance.plan_hosts(clone, "lab", {"prod": 2}, SUBNET, before=before, unusable={"10.200.3.11"})
    assert [host.address for host in after] == ["10.200.3.13", "10.200.3.12"]


def test_another_subnet_means_other_addresses(clone: Clone) -> None:
    after = instance.plan_hosts(clone, "lab", {"prod": 1}, "10.201.9.0/24", before=record(clone, "prod=1"))
    assert [host.address for host in after] == ["10.201.9.11"]


def test_a_record_is_read_back_as_it_was_written(clone: Clone) -> None:
    written = record(clone, "staging=1,prod=3")
    instance.save(clone, written)
    assert instance.require(clone, "lab") == written
    assert lifecycle.specification_of(written) == "staging=1,prod=3"


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', '{"format": 1}', "[]", '{"format": 1, "hosts": [{}]}'])
def test_a_record_that_cannot_be_read_counts_as_none(clone: Clone, text: str) -> None:
    (clone.state / "lab.json").write_text(text)
    assert instance.load(clone, "lab") is None


def test_an_absent_instance_is_named_with_its_remedy(clone: Clone) -> None:
    with pytest.raises(LabError, match=r"Run `make lab`\.$"):
        instance.require(clone, "lab")
    with pytest.raises(LabError, match="python3 -m lab up --instance e2e"):
        instance.require(clone, "e2e")


def test_an_unknown_host_is_answered_with_those_there_are(clone: Clone) -> None:
    with pytest.raises(LabError, match="staging-1, prod-1"):
        record(clone, "staging=1,prod=1").host("prod-9")
    assert record(clone, "prod=1").host("prod-1") == Host(
        "prod-1", "prod", "10.200.3.11", clone.container("lab", "prod-1"), clone.container("lab", "prod-1") + "-srv"
    )


def ask_inventory(clone: Clone, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = clone.root / "inventories" / "lab" / "hosts"
    script.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SCRIPT, script)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, env={**clean, **environment}, check=False
    )


def test_the_inventory_gives_groups_and_ways_to_connect(clone: Clone) -> None:
    instance.save(clone, record(clone, "staging=1,prod=2"))
    answer = json.loads(ask_inventory(clone, "--list").stdout)
    assert answer["lab"] == {"children": ["staging", "prod"]}
    assert answer["prod"] == {"hosts": ["prod-1", "prod-2"]}
    assert answer["_meta"]["hostvars"]["prod-1"]["ansible_host"] == "10.200.3.12"
    assert "StrictHostKeyChecking=yes" in answer["_meta"]["hostvars"]["prod-1"]["ansible_ssh_common_args"]
    one = json.loads(ask_inventory(clone, "--host", "prod-1").stdout)
    assert one == answer["_meta"]["hostvars"]["prod-1"]
    assert all(name.startswith("ansible_") for name in one)


@pytest.mark.parametrize("ready", [False, None])
def test_the_inventory_of_a_lab_that_is_not_up_says_what_to_do(clone: Clone, ready: bool | None) -> None:
    if ready is not None:
        instance.save(clone, record(clone, "prod=1", ready=ready))
    done = ask_inventory(clone, "--list")
    assert (done.returncode, done.stderr) == (1, "the lab is not up: run `make lab`\n")
    other = ask_inventory(clone, "--list", SLIPWAY_LAB_INSTANCE="e2e")
    assert "python3 -m lab up --instance e2e" in other.stderr
    assert json.loads(ask_inventory(clone, "--list", SLIPWAY_LAB_OPTIONAL="1").stdout) == {"_meta": {"hostvars": {}}}


def test_an_instance_keeps_the_distribution_that_it_was_made_with(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_LAB_DISTRIBUTION", "noble")
    before = record(clone, "prod=1")
    assert lifecycle.choose_distribution(before, None) == "bookworm"
    assert lifecycle.choose_distribution(before, "bookworm") == "bookworm"
    assert lifecycle.choose_distribution(None, None) == "noble"
    assert lifecycle.choose_distribution(None, "trixie") == "trixie"
    with pytest.raises(LabError, match="python3 -m lab down --instance lab"):
        lifecycle.choose_distribution(before, "trixie")
