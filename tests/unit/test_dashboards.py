# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards are what their source says, and ask for what there is: each query is taken by Prometheus, and each metric is known."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import repository
import yaml
from ansible.module_utils.slipway.watch.metrics import FAMILIES, SUFFIXES

from dashboards import __main__ as generator
from dashboards.boards import BOARDS, RELEASES
from dashboards.panels import BUILDERS
from lab import prometheus

QUERIES = sorted(
    {
        (name, panel.title, query)
        for name, board in BOARDS.items()
        for panel in board.panels()
        for query in panel.queries.values()
    }
)
# Of Debian's node exporter, of Prometheus itself, and of the example application.
OTHERS = {
    "ALERTS", "up", "node_cpu_seconds_total", "node_filesystem_avail_bytes", "node_filesystem_size_bytes", "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes", "http_requests_total", "http_request_duration_seconds", "risk_enforcement_duration_seconds",
    "audit_log_write_errors_total", "circuit_breaker_trips_total",
}  # fmt: skip
WORDS = {
    "and", "avg", "avg_over_time", "bool", "by", "count", "histogram_quantile", "increase", "le", "max", "min", "on", "or", "quantile", "rate",
    "sum", "time", "vector",
}  # fmt: skip


def concrete(query):
    """The query as Grafana asks it when everything is chosen."""
    return re.sub(r"\$(application|environment)", ".*", query)


def recorded():
    """What the rules record, and those that the watch metrics are made of."""
    files = (repository.ROOT / "roles/prometheus/files/rules").glob("*.yml")
    rules = [rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    return {rule["record"] for rule in rules if "record" in rule} | {
        f"slipway_watch:{name}" for name in ("value", "baseline", "drop_ratio", "limit_ratio", "repeat:info")
    }


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_what_its_source_says(name):
    assert (repository.ROOT / name).read_text() == generator.text(BOARDS[name]), "run `make docs`"


def test_prometheus_takes_every_query(tmp_path):
    assert len(QUERIES) > 45
    rules = [
        {"record": f"query:{number}", "expr": concrete(query)} for number, (_name, _title, query) in enumerate(QUERIES)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run = subprocess.run(
        [prometheus.ensure() / "promtool", "check", "rules", tmp_path / "rules.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("name", "title", "query"), QUERIES)
def test_every_query_asks_for_metrics_that_there_are(name, title, query):
    without_labels = re.sub(r"\{[^}]*\}|\[[^\]]*\]|(by|on) \([^)]*\)", "", query)
    asked = set(re.findall(r"[a-zA-Z_][a-zA-Z0-9_:]*", without_labels)) - WORDS
    known = {*FAMILIES, *recorded(), *OTHERS}
    assert asked
    unknown = [
        each for each in asked if each not in known and not any(each.removesuffix(end) in known for end in SUFFIXES)
    ]
    assert unknown == []


@pytest.mark.parametrize("name", BOARDS)
def test_grafana_asks_anew_every_thirty_seconds_and_nobody_edits_by_hand(name):
    made = json.loads((repository.ROOT / name).read_text())
    assert (made["refresh"], made["editable"]) == ("30s", False)
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    assert len(panels) == len(BOARDS[name].panels())
    assert len({panel["title"] for panel in panels}) == len(panels)


def test_a_release_links_to_its_manifest_and_to_the_audit_bundles():
    fleet = json.loads((repository.ROOT / "roles/grafana/files/dashboards/fleet.json").read_text())
    (releases,) = [panel for panel in fleet["panels"] if panel["title"] == "Release"]
    links = {link["title"]: link["url"] for link in releases["fieldConfig"]["defaults"]["links"]}
    assert links == {
        "Manifest": "https://slipway.example/releases/manifests/${__data.fields.release}.yaml",
        "Audit bundles": "https://slipway.example/releases/",
    }
    tasks = yaml.safe_load((repository.ROOT / "roles/grafana/tasks/main.yml").read_text())
    (written,) = [task["ansible.builtin.copy"] for task in tasks if task["name"] == "Write the dashboards"]
    assert f"replace('{RELEASES}', slipway_releases_url)" in written["content"]


def test_the_board_of_an_application_has_the_twelve_panels_and_the_service_level():
    board = BOARDS["roles/grafana/files/dashboards/application.json"]
    first = [panel for row in board.rows[:3] for panel in row.panels]
    assert len(first) == 12
    assert {panel.kind for panel in first} == set(BUILDERS)


def test_a_file_that_is_out_of_date_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().out.count("out of date") == len(BOARDS)
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
