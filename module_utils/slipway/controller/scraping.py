# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' configuration and its rule files: what is asked, how often, and by which rules it is judged. Controller only.

Beyond loopback everything is asked over TLS with a client certificate, and everything that listens asks for one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..base.errors import Refusal
from ..base.fields import NAME, Fields

AGENTS_JOB: Final = "slipway-agents"
APPLICATIONS_JOB: Final = "slipway-applications"
RULES: Final = "/etc/prometheus/rules"
RUNBOOKS: Final = "https://slipway.example/runbooks"
ADDRESS: Final = re.compile(r"[A-Za-z0-9_.:-]{1,253}\Z")
HOST_PORT: Final = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})\Z")
MOST_PORT: Final = 65535
PATH: Final = re.compile(r"/[^\s\"'{}]{0,255}\Z")
FILE: Final = re.compile(r"/[^\x00-\x1f\x7f]{1,1023}\Z")
MOST_HOSTS: Final = 10_000
MOST_SAMPLES: Final = 50_000
AGENTS_SECONDS: Final = 15
APPLICATIONS_SECONDS: Final = 5
_REASON: Final = "scraping_invalid"
_REMEDY: Final = "Correct the prometheus_ variables in group_vars (docs/howto/observe.md)."

# What every message says beside its own words: looked up when the alert is made, since it is not in what the rule compares.
_OF_APPLICATION: Final = '{application=\\"%s\\",environment=\\"%s\\"}" .Labels.application .Labels.environment | query'
CONTEXT: Final = {
    "release": f'{{{{ with printf "slipway_release_info{_OF_APPLICATION} }}}}{{{{ . | first | label "release" }}}}{{{{ end }}}}',
    "last_deployment": (
        f'{{{{ with printf "max(slipway_release_deployed_timestamp_seconds{_OF_APPLICATION.replace("}", "})", 1)} }}}}'
        "{{ . | first | value | humanizeTimestamp }}{{ end }}"
    ),
    "watch_window": (
        f'{{{{ with printf "max(slipway_watch_window_seconds_left{_OF_APPLICATION.replace("}", "})", 1)} }}}}'
        "{{ if gt (. | first | value) 0.0 }}open for {{ . | first | value | humanizeDuration }}{{ else }}closed{{ end }}{{ end }}"
    ),
}


@dataclass(frozen=True)
class Tls:
    """Files on the host that asks: its certificate, its key, and the authority that all of them are from."""

    certificate: str
    key: str
    authority: str

    def client(self) -> dict[str, Any]:
        """As Prometheus' tls_config has it."""
        return {"ca_file": self.authority, "cert_file": self.certificate, "key_file": self.key}


@dataclass(frozen=True)
class Target:
    """One address that is asked; ``labels`` say whose it is."""

    address: str
    labels: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether nobody but this host can see what is asked."""
        return is_loopback(self.address.rpartition(":")[0])


@dataclass(frozen=True)
class Application:
    """Where the metrics of an application are: on each of its hosts, at ``port`` and ``path``."""

    port: int
    path: str
    uses_tls: bool


@dataclass(frozen=True)
class Scraping:
    """What group_vars and the inventory say; ``hosts`` {name: {address, environment}}, ``alertmanagers`` are addresses with ports."""

    hosts: Mapping[str, Mapping[str, str]]
    applications: Mapping[str, Application]
    alertmanagers: Sequence[str]
    agents_port: int
    tls: Tls | None

    @classmethod
    def parse(cls, value: object) -> Scraping:
        """Read the options of ``slipway_prometheus_configuration``. Refusals: ``scraping_invalid``, ``listening_unguarded``."""
        fields = Fields(value, "prometheus", _REASON, _REMEDY)
        hosts = {}
        table = fields.object("hosts")
        for name in table.keys_like(ADDRESS, maximum=MOST_HOSTS):
            host = table.object(name)
            hosts[name] = {"address": host.text("address", ADDRESS), "environment": host.text("environment", NAME)}
            host.end()
        applications = {}
        table = fields.object("applications")
        for name in table.keys_like(NAME, maximum=1000):
            applications[name] = _application(table.object(name))
        scraping = cls(
            hosts,
            applications,
            [_checked(fields, each) for each in fields.array("alertmanagers", maximum=16)],
            port_of(fields, "agents_port"),
            take_tls(fields),
        )
        fields.end()
        return scraping


def configuration(scraping: Scraping) -> dict[str, Any]:
    """Prometheus' configuration as plain data. Refusals: ``listening_unguarded`` where a target beyond loopback has no TLS."""
    agents = [
        Target(at(host["address"], scraping.agents_port), {"instance": name, "environment": host["environment"]})
        for name, host in sorted(scraping.hosts.items())
    ]
    jobs = [_job(AGENTS_JOB, agents, AGENTS_SECONDS, "/metrics", scraping.tls)]
    for name, application in sorted(scraping.applications.items()):
        targets = [
            Target(
                at(host["address"], application.port),
                {"instance": host_name, "environment": host["environment"], "application": name},
            )
            for host_name, host in sorted(scraping.hosts.items())
        ]
        # An application that serves its metrics without TLS does so for whoever may reach it: its own decision, said in group_vars.
        tls = scraping.tls if application.uses_tls else None
        job = _job(
            APPLICATIONS_JOB, targets, APPLICATIONS_SECONDS, application.path, tls, is_open=not application.uses_tls
        )
        # Names of jobs are unique, and rules know them by one: the label says it.
        job["job_name"] = f"{APPLICATIONS_JOB}-{name}"
        job["relabel_configs"] = [{"target_label": "job", "replacement": APPLICATIONS_JOB}]
        jobs.append(job)
    made: dict[str, Any] = {
        "global": {"scrape_interval": f"{AGENTS_SECONDS}s", "scrape_timeout": "5s", "evaluation_interval": "15s"},
        "rule_files": [f"{RULES}/*.yml", f"{RULES}/applications/*.yml"],
        "scrape_configs": jobs,
    }
    if scraping.alertmanagers:
        targets = [Target(address, {}) for address in scraping.alertmanagers]
        manager: dict[str, Any] = {"api_version": "v2", "static_configs": [{"targets": list(scraping.alertmanagers)}]}
        made["alerting"] = {"alertmanagers": [{**manager, **_guarded(targets, scraping.tls)}]}
    return made


def rule_file(document: Mapping[str, Any], runbooks: str) -> dict[str, Any]:
    """A rule file as it goes to Prometheus: with the address of this site's runbooks, and what every message says of its application."""
    groups = []
    for group in document["groups"]:
        rules = []
        for rule in group["rules"]:
            if "alert" in rule:
                told = {
                    name: str(text).replace(RUNBOOKS, runbooks.rstrip("/"))
                    for name, text in (rule.get("annotations") or {}).items()
                }
                rules.append({**rule, "annotations": {**CONTEXT, **told}})
            else:
                rules.append(dict(rule))
        groups.append({**group, "rules": rules})
    return {"groups": groups}


def web_configuration(address: str, tls: Tls | None) -> dict[str, Any] | None:
    """The file by which an exporter of Prometheus' kind listens at ``address``: with TLS and client certificates beyond loopback.

    None where it needs none. Refusals: ``listening_unguarded``.
    """
    require_guarded(address, tls)
    if tls is None or is_loopback(address):
        return None
    return {
        "tls_server_config": {
            "cert_file": tls.certificate,
            "key_file": tls.key,
            "client_ca_file": tls.authority,
            "client_auth_type": "RequireAndVerifyClientCert",
            "min_version": "TLS12",
        }
    }


def at(address: str, port: int) -> str:
    """Both in one text; an address of version 6 stands in brackets, since it has colons itself."""
    return f"[{address}]:{port}" if ":" in address and not address.startswith("[") else f"{address}:{port}"


def require_guarded(address: str, tls: Tls | None) -> None:
    """Refuse to listen, or to ask, beyond loopback without TLS and authentication."""
    if tls is None and not is_loopback(address):
        raise Refusal(
            "listening_unguarded",
            expected=f"TLS and client certificates for {address}, which is beyond loopback",
            found="none",
            remedy="Set exporter_certificates_enabled and slipway_monitoring_tls, or name files of your own, or listen on 127.0.0.1 (docs/howto/observe.md).",
        )


def is_loopback(address: str) -> bool:
    """Whether only this host reaches it; a name that is not `localhost` may be anything, and nothing said is everything."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def take_tls(fields: Fields) -> Tls | None:
    """Read ``tls`` {certificate, key, authority}; None where all three are empty."""
    table = fields.object("tls")
    names = ("certificate", "key", "authority")
    values = [table.text(name, re.compile(rf"\Z|{FILE.pattern}")) for name in names]
    table.end()
    if not any(values):
        return None
    if not all(values):
        raise fields.refusal("tls", "a certificate, its key and the authority, or none of them", names)
    return Tls(*values)


def _job(
    name: str, targets: Sequence[Target], seconds: int, path: str, tls: Tls | None, *, is_open: bool = False
) -> dict[str, Any]:
    return {
        "job_name": name,
        "scrape_interval": f"{seconds}s",
        "scrape_timeout": f"{min(seconds, 5)}s",
        "metrics_path": path,
        "sample_limit": MOST_SAMPLES,
        "label_value_length_limit": 512,
        **({} if is_open else _guarded(targets, tls)),
        "static_configs": [{"targets": [target.address], "labels": dict(target.labels)} for target in targets],
    }


def _guarded(targets: Sequence[Target], tls: Tls | None) -> dict[str, Any]:
    beyond = [target for target in targets if not target.is_local]
    for target in beyond:
        require_guarded(target.address.rpartition(":")[0], tls)
    if not beyond:  # what is on loopback is asked as it listens there
        return {}
    return {"scheme": "https", "tls_config": tls.client()} if tls else {}


def _application(fields: Fields) -> Application:
    application = Application(port_of(fields, "port"), fields.text("path", PATH), fields.boolean("tls_enabled"))
    fields.end()
    return application


def port_of(fields: Fields, name: str) -> int:
    """Take a port."""
    value = fields.take(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_PORT:
        raise fields.refusal(name, "a port", value)
    return int(value)


def _checked(fields: Fields, value: object) -> str:
    match = HOST_PORT.match(value) if isinstance(value, str) else None
    if not match or not 0 < int(match[1]) <= MOST_PORT:
        raise fields.refusal("alertmanagers", "addresses such as 127.0.0.1:9093", value)
    return str(value)
