# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host settles without a controller: before any unit starts, when its time has come, and when somebody asks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from ansible.module_utils.slipway import __main__ as command
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import deadman, recovery
from ansible.module_utils.slipway.host.bootstrap import bootstrap
from ansible.module_utils.slipway.host.lease import exclusive
from releases import NEVER, UNIT, V1, V2, Site


@pytest.fixture
def two(site):
    """v1 is active, v2 is staged."""
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
    site.deploy("v1")
    site.stage("v2", run=site.run("run-2"))
    return site


@pytest.fixture
def open_(two):
    """v2 is switched to and waits for a minute to be confirmed."""
    assert two.activate("v2", run=two.run("run-2"), confirm_within_seconds=60)["outcome"] == "switched"
    return two


@pytest.fixture
def slipway(site, capsys):
    """Run the command on the host; returns exit code, output and errors."""

    def run(*arguments):
        code = command.main(arguments, site.host)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def restart(site):
    """What a reboot leaves of /run."""
    shutil.rmtree(site.host.root / "run")


def timers(site):
    return sorted((site.host.root / deadman.DIRECTORY).glob("*.timer"))


# at boot


def test_at_boot_the_link_goes_back_and_no_unit_is_talked_to(open_, systemctl, slipway):
    restart(open_)
    systemctl.calls.clear()
    systemctl.on_timer = lambda verb: pytest.fail(f"systemctl {verb} at boot")
    code, out, err = slipway("recover", "--boot")
    message = "this host was restarted before run run-2 by alice had confirmed; it went back"
    assert (code, out, err) == (0, f"shop: interrupted: {message}\n", "")
    assert (open_.current, systemctl.calls, open_.is_settled()) == ("v1", [], True)
    record = open_.records[-1]
    assert (record["status"], record["reason"], record["active_release_id"]) == (
        "interrupted", "interrupted_by_reboot", "v1",
    )  # fmt: skip


def test_at_boot_nothing_is_waited_for(open_, clock):
    restart(open_)
    before = len(clock.slept)
    recovery.at_boot(open_.places)
    assert clock.slept[before:] == []


def test_at_boot_no_program_of_the_release_is_run(site, systemctl):
    steps = 'rollback_plan: {verification_steps: [{argv: ["bin/verify"], timeout_seconds: 5}]}'
    for number, files in ((1, V1), (2, V2)):
        verify = f"#!/bin/sh\ntouch {site.directory}/ran\n".encode()
        site.build(f"v{number}", {**files, "bin/verify!": verify}, more=steps)
    site.deploy("v1")
    site.stage("v2", run=site.run("run-2"))
    site.activate("v2", run=site.run("run-2"))
    site.description["health"] = [{"type": "command", "argv": NEVER}]
    restart(site)
    recovery.at_boot(site.places)
    assert (site.current, (site.directory / "ran").exists()) == ("v1", False)


def test_at_boot_a_first_release_that_nobody_confirmed_is_gone(site, systemctl):
    site.build("v1", V1)
    site.stage("v1")
    site.activate("v1")
    restart(site)
    systemctl.calls.clear()
    recovery.at_boot(site.places)
    assert (site.current, systemctl.calls, site.statuses) == (None, [], [("v1", "interrupted")])


def test_at_boot_a_file_outside_the_release_is_as_before(two):
    two.description["files"] = [{"source": "config.json", "path": "/etc/shop.json", "owner": two.description["user"]}]
    (two.host.root / "etc/shop.json").write_bytes(b"before")
    two.activate("v2", run=two.run("run-2"))
    assert (two.host.root / "etc/shop.json").read_bytes() != b"before"
    restart(two)
    recovery.at_boot(two.places)
    assert (two.host.root / "etc/shop.json").read_bytes() == b"before"


def test_at_boot_a_release_stays_where_there_is_no_way_back(open_):
    shutil.rmtree(open_.release("v1"))
    restart(open_)
    told = recovery.at_boot(open_.places)
    assert told.startswith("failed: ")
    assert (open_.current, open_.statuses[-1]) == ("v2", ("v2", "failed"))


def test_at_boot_what_cannot_be_brought_in_place_where_there_is_no_way_back_is_told(two):
    place = two.host.root / "opt/conf"
    place.mkdir(parents=True)
    two.description["files"] = [
        {"source": "config.json", "path": "/opt/conf/shop.json", "owner": two.description["user"]}
    ]
    two.activate("v2", run=two.run("run-2"))
    shutil.rmtree(two.release("v1"))
    shutil.rmtree(place)
    restart(two)
    assert "files outside the release were not replaced" in recovery.at_boot(two.places)
    assert (two.current, two.statuses[-1]) == ("v2", ("v2", "failed"))


def test_at_boot_an_outcome_that_was_noted_is_completed(open_):
    with open(open_.places.journal, "ab") as stream:
        stream.write(b'{"confirmed_by":"alice","smoke_test_passed":true,"step":"confirmed"}\n')
    restart(open_)
    assert recovery.at_boot(open_.places) == "success: confirmed"
    assert (open_.current, open_.statuses[-1]) == ("v2", ("v2", "success"))


def test_at_boot_whoever_holds_the_lease_holds_it_no_more(open_):
    assert open_.places.lease.exists()
    restart(open_)
    recovery.at_boot(open_.places)
    assert not open_.places.lease.exists()


def test_at_boot_what_was_never_armed_is_interrupted_by_the_restart_as_well(two, systemctl):
    two.activate("v2", run=two.run("run-2"))
    two.confirm("v2", run=two.run("run-2"))
    systemctl.timers_end = Finished(1, "no room")
    two.activate("v1", run=two.run("run-3"), rollback=True)
    recovery.at_boot(two.places)
    record = two.records[-1]
    assert (record["release_id"], record["status"], record["reason"]) == ("v1", "interrupted", "interrupted_by_reboot")


def test_what_was_begun_after_the_restart_is_left_to_its_dead_man(open_, slipway, clock):
    clock.advance(3600)
    code, out, _ = slipway("recover", "--boot")
    assert (code, out) == (0, "shop: run run-2 was begun after the restart: left alone\n")
    assert (open_.current, len(timers(open_))) == ("v2", 1)


def test_an_application_that_cannot_be_settled_does_not_keep_the_others_from_it(open_, slipway):
    broken = Site(open_.directory, open_.host, application="broken")
    broken.places.journal.write_bytes(b"no journal\n")
    gone = Site(open_.directory, open_.host, application="zebra")
    gone.places.base.rmdir()
    restart(open_)
    code, out, err = slipway("recover", "--boot")
    assert (code, out.split(":")[0], open_.current) == (1, "shop", "v1")
    assert [line.partition(": ")[2].partition(":")[0] for line in err.splitlines()] == [
        "journal_unreadable", "application_not_bootstrapped",
    ]  # fmt: skip


def test_at_boot_an_exchange_at_work_is_not_waited_for(open_, clock):
    restart(open_)
    with exclusive(open_.places.lock, clock), pytest.raises(Refusal, match="busy"):
        recovery.at_boot(open_.places)
    assert (open_.current, clock.slept) == ("v2", [])


def test_at_boot_where_nothing_is_open_nothing_changes(two):
    before = (two.current, two.records)
    assert recovery.at_boot(two.places) == "nothing was open"
    assert (two.current, two.records) == before


# at a deadline


def test_at_the_deadline_the_host_goes_back_by_itself(open_, slipway, clock, systemctl):
    clock.boot += 60
    systemctl.calls.clear()
    code, out, _ = slipway("expire", "shop")
    message = "run run-2 by alice did not confirm in time; this host went back by itself"
    assert (code, out) == (0, f"shop: rolled_back: {message}\n")
    assert (open_.current, systemctl.verbs[:2], open_.is_settled()) == ("v1", ["reset-failed", "restart"], True)
    assert (systemctl.timers, systemctl.units[UNIT][1]) == ([], "active")


def test_before_the_deadline_the_timer_is_set_again(open_, slipway, clock, systemctl):
    (before,) = timers(open_)
    clock.advance(59)
    code, out, _ = slipway("expire", "shop")
    assert (code, out, open_.current) == (0, "shop: 1 s left to confirm v2\n", "v2")
    (after,) = timers(open_)
    assert (after != before, systemctl.timers) == (True, [after.name])
    assert "OnActiveSec=1000ms" in after.read_text()


def test_a_deadline_that_was_moved_holds(open_, clock):
    open_.ask("renew", release_id="v2", run=open_.run("run-2"), confirm_within_seconds=600)
    clock.advance(61)
    assert recovery.at_deadline(open_.places) == "539 s left to confirm v2"
    clock.advance(539)
    assert recovery.at_deadline(open_.places).startswith("rolled_back")


def test_a_timer_for_nothing_changes_nothing(two, slipway):
    assert slipway("expire", "shop")[:2] == (0, "shop: nothing was open\n")
    assert two.current == "v1"


def test_a_timer_after_the_confirmation_changes_nothing(open_, clock):
    open_.confirm("v2", run=open_.run("run-2"))
    clock.advance(3600)
    assert recovery.at_deadline(open_.places) == "nothing was open"
    assert open_.current == "v2"


def test_while_an_exchange_is_at_work_the_dead_man_is_asked_to_come_again(open_, slipway, clock):
    clock.boot += 60
    with exclusive(open_.places.lock, clock):
        code, _, err = slipway("expire", "shop")
    assert (code, err.partition(":")[0], open_.current) == (1, "busy", "v2")
    assert slipway("expire", "shop")[0] == 0
    assert open_.current == "v1"


@pytest.fixture
def another_exchange(open_):
    """Another process that holds the lock."""
    program = (
        "import fcntl, signal, sys; lock = open(sys.argv[1]); fcntl.flock(lock, fcntl.LOCK_EX); "
        "print('held', flush=True); signal.pause()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, open_.places.lock], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    yield holder
    holder.kill()
    holder.communicate()


def stop(process):
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


def test_an_exchange_that_was_frozen_does_not_keep_the_host_from_going_back(open_, slipway, clock, another_exchange):
    stop(another_exchange)
    clock.boot += 60
    assert slipway("expire", "shop")[0] == 1
    assert another_exchange.wait(10) == -signal.SIGKILL
    assert slipway("expire", "shop")[0] == 0
    assert open_.current == "v1"


def test_an_exchange_that_runs_is_left_alone(open_, slipway, clock, another_exchange):
    clock.boot += 60
    assert slipway("expire", "shop")[0] == 1
    assert another_exchange.poll() is None


def test_before_the_deadline_no_exchange_is_ended(open_, slipway, another_exchange):
    stop(another_exchange)
    assert slipway("expire", "shop")[0] == 1
    assert another_exchange.poll() is None


def test_where_the_timer_cannot_be_set_again_it_is_asked_to_come_again(open_, slipway, systemctl):
    systemctl.timers_end = Finished(1, "no room in /run")
    code, _, err = slipway("expire", "shop")
    assert (code, err.partition(":")[0], open_.current) == (1, "deadman_not_armed", "v2")


# by hand


def test_by_hand_a_run_that_lives_is_left_alone(open_, clock):
    with pytest.raises(Refusal, match="locked"):
        recovery.by_hand(open_.places, forced=False)
    assert open_.current == "v2"
    assert recovery.by_hand(open_.places, forced=True).startswith("interrupted: ")
    assert open_.current == "v1"


def test_by_hand_an_exchange_at_work_is_left_alone_whatever_is_forced(open_, clock):
    with exclusive(open_.places.lock, clock), pytest.raises(Refusal, match="busy"):
        recovery.by_hand(open_.places, forced=True)
    assert open_.current == "v2"


def test_by_hand_what_is_overdue_is_settled(open_, clock):
    clock.boot += 60
    assert recovery.by_hand(open_.places, forced=False).startswith("rolled_back: ")


# the units


def test_the_units_start_what_they_are_there_for():
    boot, timer = recovery.UNITS[recovery.RECOVER], recovery.UNITS["slipway-deadman@.service"]
    assert "\nDefaultDependencies=no\n" in boot
    assert "\nBefore=basic.target shutdown.target\n" in boot
    assert "\nExecStart=/usr/lib/slipway/slipway.pyz recover --boot\n" in boot
    assert "\nExecStart=/usr/lib/slipway/slipway.pyz expire %i\n" in timer
    assert "\nRestart=on-failure\n" in timer
    assert deadman.SERVICE.format("shop") == "slipway-deadman@shop.service"


def test_units_that_systemd_could_not_read_are_installed_again(host, systemctl, tmp_path, signing):
    package = tmp_path / "package.pyz"
    package.write_bytes(b"#!package")
    request = {
        "name": "prod-1", "environment": "prod", "trust_policy": signing.envelope.decode(), "resident": str(package),
    }  # fmt: skip
    systemctl.ends = {"daemon-reload": Finished(1, "no bus")}
    with pytest.raises(Refusal, match="systemd_not_reloaded"):
        bootstrap(request, host, check=False)
    systemctl.ends = {}
    assert "units" in bootstrap(request, host, check=False)["installed"]
    assert bootstrap(request, host, check=False)["installed"] == []
    for name, place in (
        ("slipway-recover.service", "basic.target.wants"),
        ("slipway-standby.socket", "sockets.target.wants"),
    ):
        assert os.readlink(host.root / recovery.DIRECTORY / place / name) == f"/etc/systemd/system/{name}"
    (host.root / recovery.DIRECTORY / "slipway-deadman@.service").write_bytes(b"[Unit]\n")
    assert bootstrap(request, host, check=True)["installed"] == ["units"]
    systemctl.ends = {"daemon-reload": Finished(1, "no bus")}
    with pytest.raises(Refusal, match="systemd_not_reloaded"):
        bootstrap(request, host, check=False)
    systemctl.ends = {}
    assert bootstrap(request, host, check=False)["installed"] == ["units"]
    assert systemctl.verbs == ["daemon-reload", "daemon-reload", "start"] * 2
