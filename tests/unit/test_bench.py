# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of `make bench` says what was measured, what was left out, and which figures are reached."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench import meter, report
from tests.bench.results import Result, Results, append, read

MACHINE = {"processors": "2 processors", "system": "Linux"}


def result(tool: str, case: str, wall: float, *, hosts: int = 8, number: int = 0, **more: object) -> Result:
    members = {
        "run": "2026-01-02T00:00:00Z", "round": number, "bundle": "small", "has_service": True, "hosts": hosts, "version": "1",
        "sent": 800 * hosts, "sessions": (4,) * hosts, "machine": MACHINE, "promised_bytes": 1000,
    }  # fmt: skip
    return Result(tool=tool, case=case, wall=wall, **(members | more))  # type: ignore[arg-type]


def found(*results: Result) -> dict[str, tuple[float, float, float]]:
    return {name: tuple(rest) for name, *rest in report.figures_to_reach(Results(results))}  # type: ignore[misc]


def test_figures_are_medians_of_the_ratios_of_each_round():
    ours = [result("slipway", "changed", wall, number=number) for number, wall in enumerate((2.0, 9.0, 3.0))]
    theirs = [result("pyinfra", "changed", wall, number=number) for number, wall in enumerate((4.0, 10.0, 3.0))]
    assert found(*ours, *theirs)["1 % changed, of pyinfra's time"] == (0.9, 0.9, 1.3)


def test_a_ratio_takes_no_round_of_another_run():
    other = result("pyinfra", "changed", 4.0, run="2026-01-03T00:00:00Z")
    assert "1 % changed, of pyinfra's time" not in found(result("slipway", "changed", 2.0), other)


def test_bytes_are_compared_with_what_was_promised_and_sessions_with_five():
    figures = found(result("slipway", "changed", 2.0), result("slipway", "unchanged", 2.0))
    assert figures["no change, exchanges with each host"] == (4, 5, 5)
    (share,) = (value for name, (value, *_limits) in figures.items() if "bytes" in name)
    assert share == 0.8


def test_growth_is_that_of_the_medians_from_8_to_32_hosts():
    figures = found(result("slipway", "first", 2.0), result("slipway", "first", 7.0, hosts=32))
    assert figures["first deploy, time at 32 hosts of that at 8"] == (3.5, 4, 4)


def test_the_report_names_what_was_left_out_and_what_failed_and_says_which_figures_are_reached():
    text = report.compose(
        [
            result("slipway", "changed", 5.0),
            result("slipway", "rollback", 1.0),
            result("pyinfra", "changed", 4.0),
            result("rsync", "first", 0.0, failed="no route"),
            result("capistrano", "", 0.0, hosts=0, failed="not installed"),
        ]
    )
    assert "**rsync** failed at first deploy: no route." in text
    assert "**capistrano** left out: not installed." in text
    assert "Machine: 2 processors, Linux." in text
    assert "| 1 % changed, of pyinfra's time | 1.25 | 0.9 | not reached |" in text
    assert "| rollback, of pyinfra's 1 % changed time | 0.25 | 0.6 | reached |" in text
    assert "| pyinfra | 1 % changed | 1 | 4.0 | 4.0 - 4.0 | 0.80 x |" in text


def test_results_are_kept_line_by_line(tmp_path: Path):
    kept = tmp_path / "results.jsonl"
    assert read(kept) == []
    for wall in (1.0, 2.0):
        append(kept, result("slipway", "first", wall))
    assert [each.wall for each in read(kept)] == [1.0, 2.0]
    assert read(kept)[0] == result("slipway", "first", 1.0)


def test_a_report_has_a_place_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "PAGE", tmp_path / "page.md")
    report.PAGE.write_text("before\n<b>\nold\n<e>\nafter\n")
    report.replace("<b>", "<e>", "new\n")
    assert report.PAGE.read_text() == "before\n<b>\n\nnew\n\n<e>\nafter\n"
    with pytest.raises(ValueError, match="no place"):
        report.replace("<other>", "<e>", "new")


def test_processors_of_descendants_are_counted_while_they_run_and_when_they_ended():
    before = meter.processor_seconds()
    with subprocess.Popen(
        ["sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; echo; read _"], stdin=-1, stdout=-1
    ) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        running = meter.processor_seconds()
        assert busy.pid in meter.descendants()
        busy.communicate(b"\n")
    assert before < running <= meter.processor_seconds()
