# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a port: read from a real /proc, and from one that tests write."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible.module_utils.slipway.application.ports import Listener, listeners

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(port, inode, *, uid=0, state="0A", address="0100007F"):
    return (
        f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}  0 {inode} 1\n"
    )


@pytest.fixture
def proc(tmp_path):
    """A /proc with these lines in its tables."""

    def made(tcp="", tcp6=None):
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net/tcp").write_text(HEAD + tcp)
        if tcp6 is not None:
            (tmp_path / "net/tcp6").write_text(HEAD + tcp6)
        return tmp_path

    return made


def process(proc, pid, inode, *, name="shop", cgroup="0::/system.slice/shop.service\n"):
    directory = proc / str(pid)
    (directory / "fd").mkdir(parents=True)
    (directory / "fd/3").symlink_to(f"socket:[{inode}]")
    (directory / "fd/4").symlink_to("/dev/null")
    if name is not None:
        (directory / "comm").write_text(f"{name}\n")
        (directory / "cgroup").write_text(cgroup)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_real_listener_is_found_with_its_process(family):
    with socket.socket(family) as server:
        server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        port = server.getsockname()[1]
        assert listeners([port], Path("/proc")) == {}
        server.listen()
        (found,) = listeners([port], Path("/proc"))[port]
        assert (found.pid, found.uid) == (os.getpid(), os.geteuid())
        assert found.described() == f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
        assert found.cgroups
    assert listeners([port], Path("/proc")) == {}


def test_only_what_listens_on_these_ports_is_found(proc):
    place = proc(line(8000, 1) + line(8001, 2) + line(8002, 3, state="01"))
    process(place, 42, 1)
    found = listeners([8000, 8002], place)
    assert found == {8000: [Listener(8000, 0, 42, "shop", frozenset({"/system.slice/shop.service"}))]}


def test_a_port_with_two_listeners_names_both_and_one_of_both_families_once(proc):
    place = proc(line(80, 1), line(80, 2, address="0" * 32) + line(80, 3, address="1" * 32))
    process(place, 7, 1, name="nginx")
    process(place, 9, 2, name="caddy")
    (place / "9/fd/5").symlink_to("socket:[3]")
    assert [listener.described() for listener in listeners([80], place)[80]] == ["nginx (pid 7)", "caddy (pid 9)"]


def test_a_server_and_its_workers_are_the_server(proc):
    place = proc(line(80, 1))
    process(place, 10, 1, name="worker")
    process(place, 9, 1, name="master")
    assert [listener.name for listener in listeners([80], place)[80]] == ["master"]


def test_a_listener_without_a_process_that_we_see_is_known_by_its_user(proc):
    place = proc(line(80, 1, uid=1000))
    (place / "5").mkdir()
    assert listeners([80], place)[80][0].described() == "a process of uid 1000"


def test_a_process_that_ends_while_it_is_looked_at_is_still_a_listener(proc):
    place = proc(line(80, 1))
    process(place, 9, 1, name=None)
    (found,) = listeners([80], place)[80]
    assert (found.described(), found.cgroups) == ("a process that has ended (pid 9)", frozenset())


@pytest.mark.parametrize(
    ("cgroup", "is_in"),
    [
        ("/system.slice/shop.service", True),
        ("/system.slice/shop.service/worker", True),
        ("/user.slice/shop.service", False),
        ("/system.slice/shop.service.evil", False),
    ],
)
def test_a_process_is_in_a_cgroup_or_below_it(cgroup, is_in):
    assert Listener(80, 0, 1, "x", frozenset({cgroup})).is_in("/system.slice/shop.service") is is_in


@pytest.mark.parametrize("nothing", ["", "/"])
def test_a_unit_that_does_not_run_has_no_cgroup_to_be_in(nothing):
    assert not Listener(80, 0, 1, "x", frozenset({"/system.slice/x.service", "/"})).is_in(nothing)


def test_systemd_s_own_hierarchy_counts_and_no_controller_s(proc):
    place = proc(line(80, 1))
    process(place, 9, 1, cgroup="5:memory:/evil\n1:name=systemd:/a/b:c\nnonsense\n0::/d\n")
    assert listeners([80], place)[80][0].cgroups == {"/a/b:c", "/d"}
