# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts are like real ones where it matters: ssh, sandboxed units, credentials, partitions, crashes."""

from __future__ import annotations

import time

from lab import lifecycle
from lab.fleet import Fleet

SANDBOXED_UNIT = """
printf secret | systemd-creds encrypt --name=token - /root/token.cred
systemd-run --quiet --wait --pipe -p DynamicUser=yes -p ProtectSystem=strict -p PrivateTmp=yes \
    -p LoadCredentialEncrypted=token:/root/token.cred -p SystemCallFilter=@system-service \
    sh -c 'test ! -w /usr && cat "$CREDENTIALS_DIRECTORY/token"'
"""


def test_a_sandboxed_unit_reads_an_encrypted_credential(fleet: Fleet) -> None:
    assert fleet.run("prod-1", SANDBOXED_UNIT).stdout == "secret"


def test_every_host_has_its_own_ssh_key_and_machine_id(fleet: Fleet) -> None:
    for path in ("/etc/ssh/ssh_host_ed25519_key.pub", "/etc/machine-id"):
        assert len({fleet.run(name, f"cat {path}").stdout for name in fleet.names()}) == len(fleet.names())


def test_the_last_prod_host_has_srv_on_a_file_system_of_its_own(fleet: Fleet) -> None:
    mounted = [name for name in fleet.names() if fleet.run(name, "mountpoint -q /srv", check=False).returncode == 0]
    assert mounted == ["prod-3"]


def test_root_cannot_come_in_by_ssh(fleet: Fleet) -> None:
    assert "permitrootlogin no" in fleet.run("prod-1", "sshd -T").stdout.splitlines()


def test_a_partition_hides_a_host_and_ends(fleet: Fleet) -> None:
    with fleet.partition("prod-2"):
        assert fleet.run("prod-2", "true", check=False, timeout=8).returncode in (124, 255)
        assert fleet.inside("prod-2", "echo alive").stdout == "alive\n"
    assert fleet.run("prod-2", "echo back").stdout == "back\n"
    assert "default via" in fleet.run("prod-2", "ip route").stdout


def test_a_crashed_host_comes_back_with_its_disk(fleet: Fleet) -> None:
    fleet.run("prod-3", "touch /srv/kept /root/kept && sync")
    fleet.kill("prod-3")
    fleet.start("prod-3")
    fleet.run("prod-3", "rm /srv/kept /root/kept")


def test_up_leaves_running_hosts_alone_and_wakes_dead_ones(fleet: Fleet) -> None:
    started = fleet.run("prod-1", "stat -c %Y /proc/1").stdout
    fleet.kill("prod-2")
    fleet.pause("prod-3")
    lifecycle.up(fleet.clone, fleet.record.instance)
    assert fleet.run("prod-1", "stat -c %Y /proc/1").stdout == started
    assert {fleet.run(name, "systemctl is-system-running").stdout for name in fleet.names()} == {"running\n"}


def test_up_takes_under_three_seconds_when_all_hosts_run(fleet: Fleet) -> None:
    begun = time.monotonic()
    lifecycle.up(fleet.clone, fleet.record.instance)
    assert time.monotonic() - begun < 3


def test_the_inventory_reaches_every_host_as_root(fleet: Fleet) -> None:
    done = fleet.command("ansible", "all", "-m", "ansible.builtin.command", "-a", "id -un")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("root") == len(fleet.names())


def test_an_inventory_of_a_lab_that_is_not_up_says_what_to_do(fleet: Fleet) -> None:
    done = fleet.command("ansible", "all", "-m", "ansible.builtin.ping", environment={"SLIPWAY_LAB_INSTANCE": "absent"})
    assert done.returncode != 0
    assert "the lab is not up: run `python3 -m lab up --instance absent`" in done.stdout
