# SPDX-License-Identifier: GPL-3.0-or-later
"""What the dashboards show. Every query here is checked by promtool, and answered with data by a Prometheus, in the tests."""

from __future__ import annotations

from typing import Final

from .panels import Board, Panel, Row

OF: Final = 'application=~"$application",environment=~"$environment"'
HERE: Final = 'environment=~"$environment"'
# The role puts slipway_releases_url in its place.
RELEASES: Final = "https://slipway.example/releases"
VARIABLES: Final = {
    "environment": "label_values(slipway_agent_last_run_timestamp_seconds, environment)",
    "application": 'label_values(slipway_deploys_total{environment=~"$environment"}, application)',
}
STATUS: Final = {0: ("HEALTHY", "green"), 1: ("DEGRADED", "orange"), 2: ("UNHEALTHY", "red")}
BREAKER: Final = {0: ("closed", "green"), 1: ("half open", "orange"), 2: ("open", "red")}
MODE: Final = {0: ("normal", "green"), 1: ("heightened", "orange")}

FLEET: Final = Board(
    "slipway-fleet",
    "Slipway: fleet and active release",
    "What every host serves, since when, how it is watched, and which alerts there are.",
    VARIABLES,
    (
        Row(
            "Active release",
            (
                Panel("table", "Release", {"": f"max by (environment, application, release) (slipway_release_info{{{OF}}})"}, width=12,
                    links={"Manifest": f"{RELEASES}/manifests/${{__data.fields.release}}.yaml", "Audit bundles": f"{RELEASES}/"},
                    about="Each links to its manifest, which names the audit bundle beside it; make evidence has both with the approvals."),
                Panel("stat", "Deployed ago", {"{{application}}": f"time() - max by (environment, application) (slipway_release_deployed_timestamp_seconds{{{OF}}})"}, "s"),
                Panel("stat", "Approvals", {"{{application}}": f"min by (environment, application) (slipway_release_approvals{{{OF}}})"}),
                Panel("stat", "Monitoring mode", {"{{application}}": f"slipway_watch:open{{{OF}}}"}, texts=MODE),
                Panel("stat", "Watch window left", {"{{application}}": f"max by (environment, application) (slipway_watch_window_seconds_left{{{OF}}})"}, "s"),
                Panel("stat", "Hosts", {"{{environment}}": f'count by (environment) (up{{job="slipway-agents",{HERE}}} == 1)'}),
                Panel("stat", "Hosts without an answer", {"{{environment}}": f'count by (environment) (up{{job="slipway-agents",{HERE}}} == 0) or vector(0)'}, limits={1: "red"}),
            ),
        ),
        Row(
            "Alerts",
            (
                Panel("table", "Alert feed", {"": f'ALERTS{{{HERE},alertstate="firing"}}'}, width=24,
                    about="What fires now. make rollback takes the newest deployment back; it asks first."),
            ),
        ),
        Row(
            "Capacity",
            (
                Panel("series", "Disk left", {"{{instance}} {{mountpoint}}": f'node_filesystem_avail_bytes{{{HERE},fstype!~"tmpfs|ramfs|overlay|squashfs"}} / node_filesystem_size_bytes'}, "percentunit", width=8),
                Panel("series", "Memory left", {"{{instance}}": f"node_memory_MemAvailable_bytes{{{HERE}}} / node_memory_MemTotal_bytes"}, "percentunit", width=8),
                Panel("series", "Processors in use", {"{{instance}}": f'1 - avg by (environment, instance) (rate(node_cpu_seconds_total{{{HERE},mode="idle"}}[5m]))'}, "percentunit", width=8),
            ),
        ),
    ),
)  # fmt: skip

APPLICATION: Final = Board(
    "slipway-application",
    "Slipway: application",
    "One application: its latency, its errors, its limits, its alerts, and how much of its error budget is left.",
    VARIABLES,
    (
        Row(
            "Now",
            (
                Panel("stat", "Latency P99", {"{{application}}": f"slipway:request_duration_seconds:p99_5m{{{OF}}}"}, "s", limits={0.5: "orange", 1: "red"}),
                Panel("stat", "Check latency P99", {"{{application}}": f"quantile by (environment, application) (0.99, slipway_check_duration_seconds{{{OF}}})"}, "s", limits={0.1: "orange", 1: "red"}),
                Panel("stat", "Circuit breakers", {"{{channel}}": f"max by (channel) (slipway_channel_breaker_state{{{HERE}}})"}, texts=BREAKER),
                Panel("stat", "Errors of checks in an hour", {"{{application}}": f"sum by (environment, application) (increase(slipway_check_errors_total{{{OF}}}[1h]))"}, limits={1: "orange"}),
            ),
        ),
        Row(
            "Over time",
            (
                Panel("series", "Latency over time", {
                    "P50": f"histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket{{{OF}}}[5m])))",
                    "P90": f"histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket{{{OF}}}[5m])))",
                    "P99": f"histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{{{OF}}}[5m])))",
                }, "s", width=12),
                Panel("series", "Limit breaches", {"{{metric}} {{mode}}": f"slipway_watch:drop_ratio{{{OF}}} > bool on (environment, application, metric, mode) slipway_watch:limit_ratio"}, width=12),
                Panel("series", "Watched values", {"{{metric}}": f"slipway_watch:value{{{OF}}}"}, width=12),
                Panel("series", "Drops beside their limits", {"{{metric}} {{mode}}": f"slipway_watch:drop_ratio{{{OF}}}", "limit of {{metric}} {{mode}}": f"slipway_watch:limit_ratio{{{OF}}}"}, "percentunit", width=12),
            ),
        ),
        Row(
            "State",
            (
                Panel("gauge", "Error rate", {"{{application}}": f"slipway:request_errors:ratio5m{{{OF}}}"}, "percentunit", limits={0.01: "orange", 0.05: "red"}),
                Panel("stat", "Release changes in a day", {"{{application}}": f'sum by (environment, application) (increase(slipway_deploys_total{{{OF},outcome=~"success|rollback_success"}}[1d]))'}),
                Panel("stat", "System health", {"{{application}}": f"max by (environment, application) (slipway_check_status{{{OF}}})"}, texts=STATUS),
                Panel("table", "Alert summary", {"": f"count by (alertname, severity, alertstate) (ALERTS{{{OF}}})"}),
            ),
        ),
        Row(
            "Service level",
            (
                Panel("stat", "Availability in 30 days", {"{{application}}": f"1 - avg_over_time(slipway:request_errors:ratio5m{{{OF}}}[30d])"}, "percentunit"),
                Panel("stat", "Error budget left of 99.9 %", {"{{application}}": f"1 - avg_over_time(slipway:request_errors:ratio5m{{{OF}}}[30d]) / 0.001"}, "percentunit"),
                Panel("series", "Requests a second", {"{{environment}} {{application}}": f"slipway:requests:rate5m{{{OF}}}"}, "reqps", width=12),
            ),
        ),
    ),
)  # fmt: skip

AGENTS: Final = Board(
    "slipway-agents",
    "Slipway: agents",
    "Whether every agent beats, what its checks find, and whether its alerts reach anybody.",
    VARIABLES,
    (
        Row(
            "Heartbeats",
            (
                Panel("series", "Since the last beat", {"{{instance}}": f"time() - slipway_agent_last_run_timestamp_seconds{{{HERE}}}"}, "s", width=12),
                Panel("series", "Time of a run", {"{{instance}}": f"slipway_agent_run_duration_seconds{{{HERE}}}"}, "s", width=12),
            ),
        ),
        Row(
            "Checks",
            (
                Panel("table", "Status", {"": f"max by (instance, application, check) (slipway_check_status{{{OF}}})"}, width=12, texts=STATUS),
                Panel("table", "Escalation", {"": f"max by (instance, application, check) (slipway_check_escalation_level{{{OF}}})"}, width=12),
                Panel("series", "Response times", {"{{instance}} {{check}}": f"slipway_check_duration_seconds{{{OF}}}"}, "s", width=12),
                Panel("series", "Since bytes were verified", {"{{instance}} {{application}}": f"time() - slipway_verification_last_success_timestamp_seconds{{{OF}}}"}, "s", width=12),
            ),
        ),
        Row(
            "Delivery",
            (
                Panel("series", "Alerts that wait", {"{{instance}}": f"slipway_agent_queued_alerts{{{HERE}}}"}, width=8),
                Panel("stat", "Breakers", {"{{instance}} {{channel}}": f"slipway_channel_breaker_state{{{HERE}}}"}, texts=BREAKER, width=8),
                Panel("series", "Errors of channels", {"{{channel}}": f"sum by (channel) (increase(slipway_channel_errors_total{{{HERE}}}[5m]))"}, width=8),
                Panel("series", "Security events", {"{{event}}": f"sum by (event) (increase(slipway_security_events_total{{{HERE}}}[1h]))"}, width=24),
            ),
        ),
    ),
)  # fmt: skip

DELIVERY: Final = Board(
    "slipway-dora",
    "Slipway: how well we deliver",
    "The four DORA measures, from the hosts' signed histories.",
    VARIABLES,
    (
        Row(
            "DORA",
            (
                Panel("stat", "Deployments of a host in a week", {"{{environment}} {{application}}": f"slipway:deploys:increase7d{{{OF}}}"}),
                Panel("stat", "Lead time", {"{{environment}} {{application}}": f"slipway:lead_time_seconds:median{{{OF}}}"}, "s",
                    about="From the making of a release to its first activation there."),
                Panel("stat", "Change failure rate", {"{{environment}} {{application}}": f"slipway:change_failures:ratio30d{{{OF}}}"}, "percentunit", limits={0.15: "orange", 0.3: "red"}),
                Panel("stat", "Time to restore", {"{{environment}} {{application}}": f"slipway:restore_seconds:median{{{OF}}}"}, "s"),
            ),
        ),
        Row(
            "Deployments",
            (
                Panel("series", "Outcomes", {"{{outcome}}": f"sum by (outcome) (increase(slipway_deploys_total{{{OF}}}[1d]))"}, width=12),
                Panel("series", "Duration P95", {"{{application}}": f"histogram_quantile(0.95, sum by (application, le) (slipway_deploy_duration_seconds_bucket{{{OF}}}))"}, "s", width=12),
            ),
        ),
    ),
    since="now-30d",
)  # fmt: skip

HELLO: Final = Board(
    "hello",
    "hello: what only this application has",
    "Travels in the release of the example application, and goes back with it.",
    {"environment": VARIABLES["environment"]},
    (
        Row(
            "Decisions",
            (
                Panel("stat", "Decision latency P99", {"{{instance}}": f'histogram_quantile(0.99, rate(risk_enforcement_duration_seconds_bucket{{application="hello",{HERE}}}[5m]))'}, "s", limits={0.000025: "red"}),
                Panel("stat", "Errors of the audit log in an hour", {"{{instance}}": f'increase(audit_log_write_errors_total{{application="hello",{HERE}}}[1h])'}, limits={1: "red"}),
                Panel("stat", "Trips of circuit breakers in an hour", {"{{instance}}": f'increase(circuit_breaker_trips_total{{application="hello",{HERE}}}[1h])'}, limits={1: "red"}),
                Panel("series", "Requests by code", {"{{code}}": f'sum by (code) (rate(http_requests_total{{application="hello",{HERE}}}[1m]))'}, "reqps"),
            ),
        ),
    ),
)  # fmt: skip

# By the file that each is written to.
BOARDS: Final = {
    "roles/grafana/files/dashboards/fleet.json": FLEET,
    "roles/grafana/files/dashboards/application.json": APPLICATION,
    "roles/grafana/files/dashboards/agents.json": AGENTS,
    "roles/grafana/files/dashboards/dora.json": DELIVERY,
    "examples/hello/monitoring/dashboard.json": HELLO,
}
