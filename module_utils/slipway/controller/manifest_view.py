# SPDX-License-Identifier: GPL-3.0-or-later
"""One YAML page for each release: what its signed manifest says, and what the hosts recorded of its deployments.

It is for people and for tools that know no signatures; nothing is decided by it. Proof are the manifest's envelope in the
catalogue and the histories on the hosts. Controller only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..base.errors import Refusal
from ..base.files import read_if_there, write_durable
from ..trust.chain import Record
from ..trust.manifest import ReleaseManifest
from .holders import Holders

HEAD = (
    "# A view, made anew by every run: of the signed manifest (sha256 {digest})\n"
    "# and of what the hosts recorded. Nothing is decided by it.\n"
)
LIMIT = 16 << 20
# The newest record of each operation that says something of the release, by host: a rollback may be one to it or away from it.
ENTRIES = ("deploy", "rollback")
OF_HOST = (
    "environment", "run_id", "status", "reason", "previous_release_id", "active_release_id", "smoke_test_passed", "approvals", "authorizations", "window", "backups",
    "verification", "migrations",
)  # fmt: skip


@dataclass(frozen=True)
class ManifestView:
    """The page of one release in ``directory`` (release/manifests), with the people behind holder ids.

    ``envelope`` is the signed manifest, which is put beside the page: who is to approve the release signs for that (make approve MANIFEST=).
    """

    directory: Path
    manifest: ReleaseManifest
    holders: Holders = field(default_factory=Holders)
    envelope: bytes = b""

    @property
    def path(self) -> Path:
        return self.directory / f"{self.manifest.release_id}.yaml"

    @property
    def manifest_path(self) -> Path:
        return self.directory / f"{self.manifest.release_id}.dsse.json"

    def text(self, records: Mapping[str, Record]) -> str:
        """The page with the newest ``records`` by host, and with what it said of other hosts before."""
        hosts = self._hosts_before()
        for host, record in records.items():
            hosts[host] = {**hosts.get(host, {}), record["operation"]: _of_host(record)}
        page = {
            **_of_manifest(self.manifest, self.directory, hosts, self.holders),
            "hosts": dict(sorted(hosts.items())),
        }
        body = yaml.safe_dump(_plain(page), sort_keys=False, allow_unicode=True, width=120)
        return HEAD.format(digest=self.manifest.digest) + body

    def write(self, records: Mapping[str, Record], *, check: bool) -> bool:
        """Write the page, and the manifest beside it, where they differ (with ``check``, only say so); True when one does."""
        files = {self.path: self.text(records).encode()}
        if self.envelope:
            files[self.manifest_path] = self.envelope
        different = {path: data for path, data in files.items() if data != _there(path)}
        if different and not check:
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            for path, data in different.items():
                write_durable(path, data, mode=0o644)
        return bool(different)

    def _hosts_before(self) -> dict[str, Any]:
        """What it said before; what is no entry of ours is left out, so that a spoiled page is mended by the next run."""
        try:
            page = yaml.safe_load(_there(self.path) or b"")
        except (yaml.YAMLError, Refusal, RecursionError):
            return {}
        hosts = page.get("hosts") if isinstance(page, dict) else None
        return {
            str(host): kept
            for host, entries in (hosts.items() if isinstance(hosts, dict) else ())
            if isinstance(entries, dict) and (kept := {key: entries[key] for key in ENTRIES if _is_entry(entries, key)})
        }


def _there(path: Path) -> bytes | None:
    return read_if_there(path, limit=LIMIT, what="view of a manifest")


def _is_entry(entries: Mapping[str, Any], key: str) -> bool:
    entry = entries.get(key)
    texts = ("release_id", "timestamp", "deployer", "environment", "status")
    return (
        isinstance(entry, dict)
        and set(entry) <= {*texts, *OF_HOST}
        and all(isinstance(entry.get(name), str) for name in texts)
        and isinstance(entry.get("previous_release_id"), str | None)
        and isinstance(entry.get("window"), dict | None)
        and all(isinstance((entry.get("window") or {}).get(name, ""), str) for name in ("start", "end"))
    )


def concerned(records: Mapping[str, Record]) -> dict[str, dict[str, Record]]:
    """The records of a run by the release that they say something of: a way back is news of the release that was left too."""
    by_release: dict[str, dict[str, Record]] = {}
    for host, record in records.items():
        left = record["previous_release_id"] if record["operation"] == "rollback" else None
        for release_id in {record["release_id"], left} - {None}:
            by_release.setdefault(str(release_id), {})[host] = record
    return by_release


def _of_host(record: Record) -> dict[str, Any]:
    return {
        "release_id": record["release_id"],
        "timestamp": record["timestamp"],
        "deployer": record["deployed_by"],
        **{key: record[key] for key in OF_HOST if key in record},
    }


def _plain(value: Any) -> Any:
    """Plain containers and strings: what Ansible brings is marked, and YAML would not write it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    return str(value) if isinstance(value, str) else value


def _of_manifest(
    manifest: ReleaseManifest, directory: Path, hosts: Mapping[str, Mapping[str, Any]], holders: Holders
) -> dict[str, Any]:
    promotion, audit = manifest.promotion, manifest.promotion.audit
    newest = _newest_by_environment(hosts)
    last = max(newest.values(), key=lambda entry: str(entry["timestamp"]), default=None)
    previous = last["previous_release_id"] if last else None
    window = (last.get("window") if last else None) or {}
    return {
        "release_id": manifest.release_id,
        "release_type": promotion.release_type,
        "application": manifest.application,
        "version": manifest.version,
        "audit_bundle": (
            {
                "name": audit.name,
                "hash": f"sha256:{audit.sha256}",
                "validation": audit.validation_result,
                "validation_hash": f"sha256:{audit.validation_sha256}",
            }
            if audit
            else None
        ),
        "built": {"timestamp": manifest.created, "builder": manifest.builder, **holders.entry(manifest.builder), "expires": manifest.expires},
        "deployment": _who_and_when(last) if last else None,
        "deployments": {environment: _who_and_when(entry) for environment, entry in sorted(newest.items())},
        "approvals": [{**each, **holders.entry(each["holder"])} for each in _approvals(last)],
        "artifacts": _artifacts(manifest, previous),
        "rollback_plan": {
            "previous_release_id": previous,
            "previous_manifest": f"{directory.parent.name}/{directory.name}/{previous}.yaml" if previous else None,
            "restore_commands": restore_commands(manifest.application, hosts),
            "verification_steps": [" ".join(step.argv) for step in promotion.verification_steps],
        },
        "hooks": {
            moment: [" ".join(step.argv) for step in steps] for moment, steps in sorted(manifest.hooks.steps.items())
        },
        "migrations": [{"name": each.name, "reversible": each.reversible} for each in manifest.migrations],
        "monitoring": {
            "heightened_period_hours": promotion.monitoring.heightened_period_hours,
            "heightened_start": window.get("start"),
            "heightened_end": window.get("end"),
            "alert_thresholds": {name: float(limit) for name, limit in promotion.monitoring.alert_thresholds.items()},
            "alert_frequency_hours": promotion.monitoring.alert_frequency_hours,
            "review": list(promotion.monitoring.review),
        },
        "metadata": {
            "git_commit": manifest.source.get("git_commit"),
            "git_branch": promotion.metadata.git_branch,
            "git_tag": promotion.metadata.git_tag,
            "build_id": promotion.metadata.build_id,
            "tickets": list(promotion.metadata.tickets),
        },
    }  # fmt: skip


def _newest_by_environment(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The newest deployment in each environment, whatever became of it later."""
    newest: dict[str, Mapping[str, Any]] = {}
    for entries in hosts.values():
        entry = entries.get("deploy")
        if entry and str(entry["timestamp"]) >= str(newest.get(entry["environment"], {}).get("timestamp", "")):
            newest[str(entry["environment"])] = entry
    return newest


def _approvals(entry: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The approvals of a record; what else a spoiled page has there is left out."""
    given = (entry or {}).get("approvals")
    listed = given if isinstance(given, (list, tuple)) else []
    return [each for each in listed if isinstance(each, Mapping) and isinstance(each.get("holder"), str)]


def _who_and_when(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("timestamp", "deployer", "environment", "status")}


def _artifacts(manifest: ReleaseManifest, previous: str | None) -> dict[str, list[dict[str, str]]]:
    """By kind, each with its hash and, once something was replaced, with where the file that it replaced is kept on the hosts."""
    by_kind: dict[str, list[dict[str, str]]] = {}
    for artifact in manifest.promotion.artifacts:
        entry = {"path": artifact.path, "hash": f"sha256:{artifact.sha256}"}
        if artifact.version is not None:
            entry["version"] = artifact.version
        if previous is not None:
            entry["backup"] = f"/srv/{manifest.application}/releases/{previous}/{artifact.path}"
        by_kind.setdefault(artifact.kind, []).append(entry)
    return by_kind


def restore_commands(application: str, hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The commands that take each host back to what it served before; as text, for people."""
    by_previous: dict[tuple[str, str], list[str]] = {}
    for host, entries in sorted(hosts.items()):
        entry, back = entries.get("deploy"), entries.get("rollback")
        was_left = back is not None and entry is not None and str(back["timestamp"]) > str(entry["timestamp"])
        if entry and not was_left and entry["status"] == "success" and entry["previous_release_id"]:
            by_previous.setdefault((str(entry["environment"]), str(entry["previous_release_id"])), []).append(host)
    return [
        f"ansible-playbook rollback.yml -l {','.join(names)} -e application={application} -e release_id={previous}"
        for (_environment, previous), names in sorted(by_previous.items())
    ]
