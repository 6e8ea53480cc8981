# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands whose end and output are evidence: real ones that end, fail, hang and flood."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.fields import Fields
from ansible.module_utils.slipway.controller import trial


def sh(script, directory, **options):
    return trial.run(["sh", "-c", script], **{"timeout_seconds": 20, "directory": directory, **options})


def test_a_command_passes_when_it_ends_well_and_its_output_is_known(tmp_path):
    done = sh("pwd; echo err >&2", tmp_path)
    output = f"{tmp_path}\nerr\n".encode()
    assert done.passed
    assert (done.ended, done.exit_code, done.tail) == (trial.EXITED, 0, output)
    assert (done.output_bytes, done.output_sha256) == (len(output), hashlib.sha256(output).hexdigest())
    assert done.described() == f"exit code 0, with this at the end of its output:\n{output.decode().strip()}"


def test_only_the_last_lines_of_many_short_ones_are_shown(tmp_path):
    done = sh("yes | head -n 5000; exit 3", tmp_path)
    assert done.described().splitlines() == ["exit code 3, with this at the end of its output:", *["y"] * 20]


def test_a_program_is_found_relative_to_the_directory(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool").write_text("#!/bin/sh\necho $1\n")
    (tmp_path / "bin/tool").chmod(0o755)
    assert trial.run(["bin/tool", "x"], timeout_seconds=20, directory=tmp_path).tail == b"x\n"


def test_a_command_sees_nothing_of_ours_and_has_a_home_that_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_PASSWORD", "hush")
    done = sh('echo 1 >"$HOME/.cache"; env | sort; echo "$HOME"', tmp_path)
    home = Path(done.tail.decode().splitlines()[-1])
    assert done.passed
    assert b"hush" not in done.tail
    assert home != Path("/")
    assert not home.exists()


def test_a_command_that_fails_does_not_pass(tmp_path):
    done = sh("exit 3", tmp_path)
    assert (done.passed, done.ended, done.exit_code) == (False, trial.EXITED, 3)
    assert done.described() == "exit code 3"


def test_a_command_that_cannot_be_started_says_why(tmp_path):
    done = trial.run(["./absent"], timeout_seconds=20, directory=tmp_path)
    assert (done.passed, done.exit_code) == (False, 127)
    assert "No such file" in done.described()


def test_a_command_that_hangs_is_killed(tmp_path):
    done = sh("echo so far; sleep 60", tmp_path, timeout_seconds=1)
    assert (done.passed, done.ended, done.exit_code) == (False, trial.TIMED_OUT, None)
    assert 900 <= done.milliseconds < 20_000
    assert done.described() == "killed after 1 s, with this at the end of its output:\nso far"


def test_a_command_that_floods_its_output_is_killed(tmp_path):
    done = sh("while :; do echo and on and on; done", tmp_path, max_output_bytes=100_000)
    assert (done.passed, done.ended, done.exit_code) == (False, trial.FLOODED, None)
    assert 100_000 < done.output_bytes < 1_000_000
    assert done.described().startswith(f"killed after {done.output_bytes} bytes of output, with")


def test_a_command_that_wrote_too_much_before_it_ended_well_does_not_pass(tmp_path):
    assert not sh("echo 123", tmp_path, max_output_bytes=3).passed
    assert sh("echo 123", tmp_path, max_output_bytes=4).passed


def test_only_the_end_of_long_output_is_kept_and_all_of_it_is_hashed(tmp_path):
    done = sh("seq 100000", tmp_path)
    whole = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    assert done.tail == whole[-trial.TAIL_BYTES :]
    assert (done.output_bytes, done.output_sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_what_a_daemon_writes_later_is_no_evidence(tmp_path):
    recorder = trial._Recorder(100)
    assert recorder.take(b"in time")
    recorder.close()
    assert not recorder.take(b"too late")
    assert (recorder.size, recorder.tail) == (7, b"in time")


@pytest.mark.parametrize("script", ["true", "exit 1"])
def test_evidence_has_facts_and_no_output(tmp_path, script):
    done = sh(f"echo hush; {script}", tmp_path)
    value = done.as_dict()
    assert value["argv"] == ["sh", "-c", f"echo hush; {script}"]
    assert value["output"] == {"bytes": 5, "sha256": hashlib.sha256(b"hush\n").hexdigest()}
    assert value.keys() == {"argv", "ended", "exit_code", "milliseconds", "output", "timeout_seconds"}


def taken(value, tail):
    fields = Fields(value, "command", "evidence_bad")
    done = trial.Trial.take(fields, tail)
    fields.end()
    return done


@pytest.mark.parametrize(
    "script", ["echo 1", "true", "exit 3", "seq 100000", "echo so far; sleep 60", "exit 127", "kill -9 $$"]
)
def test_evidence_is_read_as_it_was_written(tmp_path, script):
    done = sh(script, tmp_path, timeout_seconds=1)
    assert taken(done.as_dict(), done.tail) == done


def test_evidence_of_a_command_that_could_not_be_started_is_read_with_the_reason_in_its_log(tmp_path):
    done = trial.run(["./absent"], timeout_seconds=20, directory=tmp_path)
    assert done.output_bytes == 0
    assert taken(done.as_dict(), done.tail) == done


@pytest.mark.parametrize(
    ("script", "changes", "tail"),
    [
        ("echo 1", {"exit_code": None}, b"1\n"),
        ("echo 1", {"ended": "flooded"}, b"1\n"),
        ("echo 1", {"ended": "fell"}, b"1\n"),
        ("echo 1", {"argv": []}, b"1\n"),
        ("echo 1", {"timeout_seconds": 0}, b"1\n"),
        ("echo 1", {"output": {"bytes": 2, "sha256": "0" * 64}}, b"1\n"),
        ("echo 1", {}, b"2\n"),
        ("echo 1", {}, b""),
        ("true", {}, b"1"),
        ("seq 100000", {}, b"100000\n"),
    ],
)
def test_evidence_that_contradicts_itself_or_its_log_is_refused(tmp_path, script, changes, tail):
    value = {**sh(script, tmp_path).as_dict(), **changes}
    with pytest.raises(Refusal) as refusal:
        taken(value, tail)
    assert refusal.value.reason == "evidence_bad"
