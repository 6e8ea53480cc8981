# SPDX-License-Identifier: GPL-3.0-or-later
"""Real commands that hang, flood, fork, or cannot be started."""

from __future__ import annotations

import os
import pwd
import signal
import time
from pathlib import Path

import pytest
from ansible.module_utils.slipway.base import command
from ansible.module_utils.slipway.base.command import OUTPUT_LIMIT, Finished, run


def sh(script: str, *, timeout_seconds: float = 10, **options) -> Finished:
    return run(("/bin/sh", "-c", script), timeout_seconds=timeout_seconds, **options)


def is_gone(process: int) -> bool:
    """Whether a process has ended, given a moment: after SIGKILL the kernel still has to take it away."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
    return False


def test_a_command_ends_with_its_exit_code_and_both_streams():
    assert sh("echo out; echo err >&2; exit 3") == Finished(3, "out\nerr\n")


def test_an_environment_comes_beside_the_bare_one():
    finished = sh('echo "$PATH|$HOME|$PGPASSWORD|${USER-none}"', environment={"PGPASSWORD": "a b", "HOME": "/x"})
    assert finished.output == f"{command.PATH}|/x|a b|none\n"


def test_what_is_in_the_environment_of_one_command_is_not_in_that_of_another():
    sh("true", environment={"PGPASSWORD": "x"})
    assert sh('echo "${PGPASSWORD-none}"').output == "none\n"


def test_a_command_that_ends_well_succeeded():
    finished = run(("true",), timeout_seconds=10)
    assert finished.succeeded
    assert finished.described() == "exit code 0"


@pytest.mark.parametrize("finished", [Finished(1, ""), Finished(None, ""), Finished(-9, ""), Finished(127, "")])
def test_every_other_end_is_none(finished):
    assert not finished.succeeded


@pytest.mark.parametrize(
    ("finished", "text"),
    [
        (Finished(1, " no\n"), "exit code 1: no"),
        (Finished(1, " \n"), "exit code 1"),
        (Finished(None, "so far\n"), "killed at its time-out: so far"),
        (Finished(None, ""), "killed at its time-out"),
    ],
)
def test_an_end_is_described_with_what_was_said(finished, text):
    assert finished.described() == text


def test_words_are_words_and_not_a_shells():
    assert run(("printf", "%s|", "$HOME", "a b", "; exit 1"), timeout_seconds=10).output == "$HOME|a b|; exit 1|"


def test_a_command_that_hangs_is_killed_at_its_time_out_with_what_it_started(tmp_path):
    began = time.monotonic()
    finished = sh(f"sleep 60 & echo $! > {tmp_path}/child; echo begun; wait", timeout_seconds=0.3)
    assert finished == Finished(None, "begun\n")
    assert time.monotonic() - began < 10
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_command_that_ignores_signals_is_killed_all_the_same():
    assert sh("trap '' TERM INT HUP; while :; do :; done", timeout_seconds=0.3).exit_code is None


def test_a_child_that_is_left_behind_after_a_normal_end_is_killed(tmp_path):
    assert sh(f"sleep 60 & echo $! > {tmp_path}/child").exit_code == 0
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_daemon_that_keeps_our_output_open_does_not_keep_us(tmp_path):
    began = time.monotonic()
    finished = sh(f"setsid sh -c 'echo $$ > {tmp_path}/daemon; exec sleep 60' & sleep 0.2; echo started")
    daemon = int((tmp_path / "daemon").read_text())
    try:
        assert finished == Finished(0, "started\n")
        assert time.monotonic() - began < 10
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_of_a_flood_the_end_is_kept():
    finished = sh("head -c 3000000 /dev/zero | tr '\\0' x; printf END")
    assert len(finished.output) == OUTPUT_LIMIT
    assert finished.output.endswith("xEND")


def test_an_endless_flood_is_killed_at_its_time_out():
    finished = run(("yes",), timeout_seconds=0.3)
    assert finished.exit_code is None
    assert len(finished.output) == OUTPUT_LIMIT


def test_output_that_is_no_text_does_no_harm():
    assert sh("printf '\\377\\376ok'").output == "\ufffd\ufffdok"


def test_a_command_that_dies_of_a_signal_says_which():
    assert sh("kill -SEGV $$").exit_code == -signal.SIGSEGV


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (("no-such-command-anywhere",), {}),
        (("/etc",), {}),
        (("a\0b",), {}),
        (("true",), {"directory": Path("/no/such/directory")}),
    ],
    ids=["unknown", "a directory", "a NUL", "no working directory"],
)
def test_a_command_that_cannot_be_started_ends_with_127(argv, options):
    finished = run(argv, timeout_seconds=10, **options)
    assert finished.exit_code == 127
    assert finished.output


def test_a_command_runs_in_its_directory(tmp_path):
    assert sh("pwd", directory=tmp_path).output == f"{tmp_path}\n"


def test_a_command_gets_a_bare_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "token")
    names = {line.partition("=")[0] for line in run(("env",), timeout_seconds=10).output.splitlines()}
    assert names == {"PATH", "LANG", "HOME"}


def test_a_command_reads_nothing_from_us():
    assert run(("cat",), timeout_seconds=10) == Finished(0, "")


def test_what_a_command_writes_is_its_owners_alone(tmp_path):
    sh(f"touch {tmp_path}/file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_command_inherits_no_descriptor_of_ours(tmp_path):
    with open(tmp_path / "lock", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        assert str(tmp_path) not in sh("ls -l /proc/self/fd").output


def test_a_command_leads_a_session_of_its_own():
    process, group, session = run(("cut", "-d ", "-f1,5,6", "/proc/self/stat"), timeout_seconds=10).output.split()
    assert process == group == session


def test_root_gives_itself_up_for_a_user_with_his_groups_and_an_ordinary_user_stays(monkeypatch):
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "getgrouplist", lambda _user, group: [group, 4711])
    shown = sh("id -u; id -g; id -G", user="nobody").output.split()
    if os.geteuid() == 0:
        assert shown == [str(nobody.pw_uid), str(nobody.pw_gid), str(nobody.pw_gid), "4711"]
    else:
        assert shown[:2] == [str(os.geteuid()), str(os.getegid())]


def test_an_unknown_user_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    finished = sh(f"touch {tmp_path}/ran", user="no-such-user")
    assert finished == Finished(127, "there is no user 'no-such-user' on this host")
    assert not (tmp_path / "ran").exists()


def test_an_interrupted_wait_leaves_no_process_behind(tmp_path, monkeypatch):
    real_wait, waits = command.subprocess.Popen.wait, []

    def interrupted(process, timeout=None):
        waits.append(process.pid)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return real_wait(process, timeout)

    monkeypatch.setattr(command.subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sh("sleep 60")
    assert is_gone(waits[0])


def test_all_output_can_be_taken_as_it_comes():
    taken = []
    finished = sh("echo out; echo err >&2", take=lambda data: taken.append(data) or True)
    assert (finished.exit_code, b"".join(taken)) == (0, b"out\nerr\n")


def test_a_command_whose_output_is_no_longer_taken_is_killed_with_its_group(tmp_path):
    taken = []
    child = tmp_path / "child"
    script = f"sleep 60 & echo $! >{child}; while :; do echo and on; done"
    finished = sh(script, take=taken.append)  # which answers None
    assert finished.exit_code == -signal.SIGKILL
    assert len(taken) == 1
    assert is_gone(int(child.read_text()))


def test_a_command_reads_what_it_is_given_however_much_that_is_and_whether_it_reads_it_or_not():
    data = b"x" * (1 << 20)
    counted = run(["wc", "-c"], timeout_seconds=20, given=data)
    assert (counted.exit_code, int(counted.output)) == (0, len(data))
    assert run(["true"], timeout_seconds=20, given=data).succeeded


def test_a_command_that_is_given_nothing_reads_nothing():
    assert run(["cat"], timeout_seconds=20) == Finished(0, "")
