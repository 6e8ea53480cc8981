# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that is remembered: which one it is, and whether it is known to be gone."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

from ansible.module_utils.slipway.base.process import Process


def test_a_process_number_that_was_given_away_is_another_process():
    here = Process.of(os.getpid())
    assert here.is_alive()
    assert not replace(here, started="1").is_alive()
    assert not replace(here, boot_id="another boot").is_alive()


def test_a_process_of_another_container_may_be_alive():
    here = Process.of(os.getpid())
    machine = here.namespace.partition(" ")[0]
    assert replace(here, namespace=f"{machine} pid:[1]", pid=999_999, started="1").is_alive()


def test_a_process_of_another_machine_may_be_alive():
    """Two with one state directory, as jobs on two nodes have: there every boot is another one."""
    here = Process.of(os.getpid())
    namespace = here.namespace.partition(" ")[2]
    assert replace(here, namespace=f"another {namespace}", boot_id="another boot", pid=999_999, started="1").is_alive()


def test_a_process_that_is_gone_has_no_start():
    gone = Process.of(2**22 + 1)
    assert (gone.started, gone.is_alive()) == ("", False)


def test_a_process_that_was_killed_is_gone_before_anybody_has_asked_how():
    running = subprocess.Popen(["sleep", "600"])
    here = Process.of(running.pid)
    assert here.is_alive()
    running.kill()
    os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
    assert not here.is_alive()
    running.wait()
