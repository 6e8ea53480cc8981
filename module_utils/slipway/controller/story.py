# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole story of what a fleet serves, for people: what it is, who let it pass, who brought it, how long it is watched. Controller only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..application.rollback_plan import failed_steps
from ..base.clock import seconds_of
from ..trust.chain import Record
from .holders import Holders
from .regions import region_lines
from .report import agent_lines, distrusted_lines, open_lines, status_table, untrusted_lines, window_lines
from .runs import newest_runs, runs_table
from .witness import untrusted

Answers = Mapping[str, Mapping[str, Any]]
KeptOut = Mapping[str, Mapping[str, Sequence[str]]]  # by balancer
RUNS = 5
NOBODY = Holders()


def story(
    answers: Answers,
    histories: Mapping[str, Sequence[Record]],
    *,
    application: str,
    now: int,
    holders: Holders = NOBODY,
    kept_out: KeptOut = MappingProxyType({}),
) -> str:
    """What every host serves, then each release that is served with all that is known of it, then the newest runs.

    ``answers`` are those of `status.inspect` with ``manifest``, by host; ``histories`` the hosts' newest records; ``now``
    is Unix seconds; ``holders`` are the people behind the ids in manifests and approvals.
    """
    chapters = [what_is_served(answers, now, kept_out)]
    for (release_id, environment), hosts in _served(answers).items():
        records = [record for host in hosts if (record := _activation(histories.get(host, ()), release_id))]
        manifests = [answers[host]["manifest"] for host in hosts if answers[host].get("manifest")]
        previous = {host: answers[host].get("previous") for host in hosts}
        lines = [
            *of_release(manifests[0] if manifests else {}, holders),
            *_of_deployment(records, now, holders),
            *_of_credentials({host: answers[host].get("credentials") for host in hosts}),
            *_way_back(application, previous),
        ]
        chapters.append(
            "\n".join(
                [
                    f"{release_id} on {', '.join(hosts)} ({environment})",
                    *(f"  {name:<11} {text}" for name, text in lines),
                ]
            )
        )
    chapters.append(runs_table(newest_runs(histories, RUNS)))
    return "\n\n".join(chapters)


def what_is_served(answers: Answers, now: int, kept_out: KeptOut = MappingProxyType({})) -> str:
    """A line for each host, below it one for each region, then what is wrong with which release and history, what is watched, and what the agents say.

    ``now`` is Unix seconds; ``kept_out`` is what `failover.kept_out` says.
    """
    return "\n".join(
        [
            status_table(answers),
            *_of_regions(answers, kept_out),
            *open_lines(answers),
            *distrusted_lines(answers),
            *untrusted_lines(untrusted(answers)),
            *window_lines(answers, now),
            *agent_lines(answers),
        ]
    )


def _of_regions(answers: Answers, kept_out: KeptOut) -> list[str]:
    """What each region serves, by the ``region`` of answers, which `regions.with_regions` gives them."""
    regions: dict[str, list[str]] = {}
    for host, answer in sorted(answers.items()):
        if answer.get("region"):
            regions.setdefault(str(answer["region"]), []).append(host)
    serves = {
        host: str(answer["active"] or "nothing") if "active" in answer else str(answer.get("reason") or "no answer")
        for host, answer in answers.items()
    }
    return region_lines(regions, serves, kept_out)


def _served(answers: Answers) -> dict[tuple[str, str], list[str]]:
    """The hosts by what they serve and where they belong: staging may have got a release by another run than prod."""
    served: dict[tuple[str, str], list[str]] = {}
    for host, answer in sorted(answers.items()):
        if answer.get("active"):
            served.setdefault((str(answer["active"]), str(answer["host"]["environment"])), []).append(host)
    return served


def _activation(records: Sequence[Record], release_id: str) -> Record | None:
    """The newest record under which the release became active; ``records`` are newest first."""
    for record in records:
        if record["status"] == "success" and record["release_id"] == release_id:
            return record
    return None


def of_release(manifest: Mapping[str, Any], holders: Holders = NOBODY) -> list[tuple[str, str]]:
    """What a manifest's predicate says of its release, as pairs of a name and a text."""
    if not manifest:
        return [("release", "its manifest could not be read on any host")]
    metadata, source = manifest.get("metadata", {}), manifest["source"]
    git = [
        f"{name} {value}"
        for name, value in (
            ("commit", source.get("git_commit")),
            ("branch", metadata.get("git_branch")),
            ("tag", metadata.get("git_tag")),
            ("build", metadata.get("build_id")),
        )
        if value
    ]
    tickets = [f"for {', '.join(metadata['tickets'])}"] if metadata.get("tickets") else []
    lines = [
        ("release", f"{manifest.get('release_type', 'minor')}, version {manifest['version']}"),
        ("built", f"{manifest['created']} by {holders.named(manifest['builder'])}, valid until {manifest['expires']}"),
        ("source", ", ".join([f"{source['kind']} {source['name']}", *git, *tickets])),
        ("audit", _of_audit(manifest.get("audit"))),
    ]
    by_kind: dict[str, list[str]] = {}
    for artifact in manifest.get("artifacts", ()):
        by_kind.setdefault(artifact["kind"], []).append(artifact["path"])
    lines += [(kind, ", ".join(paths)) for kind, paths in sorted(by_kind.items())]
    return lines


def _of_audit(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return "none"
    return f"{audit['name']} (sha256 {audit['sha256']}), validation {audit['validation_result'].replace('_', ' ')}"


def _of_deployment(records: Sequence[Record], now: int, holders: Holders) -> list[tuple[str, str]]:
    if not records:
        return [("deployed", "before the records that were read")]
    newest = max(records, key=lambda record: str(record["timestamp"]))
    verb = "back since" if newest["operation"] == "rollback" else "deployed"
    smoke = {True: "smoke test passed", False: "smoke test failed", None: "no smoke test"}[newest["smoke_test_passed"]]
    lines = [
        (verb, f"{newest['timestamp']} by {newest['deployed_by']} ({newest['run_id']}), {smoke}"),
        ("approvals", _acting(newest, "approvals", holders) or "none"),
    ]
    if authorized := _acting(newest, "authorizations", holders):
        lines.append(("authorized", authorized))
    if newest.get("verification"):
        passed = sum(step["passed"] for step in newest["verification"])
        told = f"{passed} of {len(newest['verification'])} steps of the rollback plan passed"
        failure = failed_steps(newest["verification"])
        lines.append(("verified", f"{told}; {failure}" if failure else told))
    ends = [str(record["window"]["end"]) for record in records if record.get("window")]
    lines.append(("watch", _watch(max(ends), now) if ends else "none"))
    return lines


def _of_credentials(found: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[str, str]]:
    """What the service gets, a line for each credential: of which secret, and since when on the host that has it longest. By host."""
    by_host = {host: (about or {}).get("credentials", {}) for host, about in found.items()}
    lines = []
    for name in sorted({name for about in by_host.values() for name in about}):
        having = {host: about[name] for host, about in by_host.items() if name in about}
        secrets = sorted({f"{each['secret']} {each['field'] or ''}".strip() for each in having.values()})
        lacking = [host for host in by_host if host not in having]
        told = f"{name} of {', '.join(secrets)}, since {min(str(each['since']) for each in having.values())}"
        lines.append(("credential", f"{told}; not on {', '.join(lacking)}" if lacking else told))
    return lines


def _acting(record: Record, kind: str, holders: Holders) -> str:
    return "; ".join(holders.acting(each["holder"], each["role"]) for each in record.get(kind, ()))


def _watch(end: str, now: int) -> str:
    minutes = (seconds_of(end) - now) // 60
    return f"until {end}, {minutes // 60} h {minutes % 60} min left" if minutes > 0 else f"over since {end}"


def _way_back(application: str, previous: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """One command for each release that hosts would go back to; ``previous`` is that release by host."""
    lines = []
    for release_id in sorted({release for release in previous.values() if release}):
        hosts = ",".join(host for host, release in previous.items() if release == release_id)
        command = f"ansible-playbook rollback.yml -l {hosts} -e application={application} -e release_id={release_id}"
        lines.append(("way back", f"to {release_id}: {command}"))
    if without := [host for host, release in previous.items() if not release]:
        lines.append(("way back", f"none on {', '.join(without)}: no good release from before is there"))
    return lines
