# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does beside the switch, planned before a host is touched: the operator's task files, and a release's migrations.

Migrations change what all hosts share. They are run once, on the first host of a deployment, which is a wave of its own then;
a rollback takes them back only where no host of the environment stays on the release that is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal, quoted
from ..host.hooks import RUNBOOK, irreversible
from ..trust import lifecycle
from ..trust.lifecycle import Migration, pending
from ..trust.manifest import ReleaseManifest
from .catalogue import Catalogue
from .rollout import Settings

MOMENTS: Final = ("before_stage", "after_stage", *lifecycle.MOMENTS)
Answers = Mapping[str, Mapping[str, Any]]


def task_files(hooks: object, root: Path) -> dict[str, list[str]]:
    """The operator's task files by moment, absolute; a relative path is below ``root``.

    Refusals: ``hooks_invalid``, and ``hook_missing`` that names every file that is not there.
    """
    if not isinstance(hooks, Mapping):
        raise _invalid(quoted(hooks))
    wrong = [str(moment) for moment in hooks if moment not in MOMENTS]
    wrong += [str(moment) for moment, paths in hooks.items() if not _are_paths(paths)]
    if wrong:
        raise _invalid(", ".join(dict.fromkeys(wrong)))
    found = {
        moment: [str(root / path) for path in hooks[moment]] for moment in MOMENTS if hooks.get(moment)
    }  # fmt: skip
    missing = [f"{moment}: {path}" for moment, paths in found.items() for path in paths if not Path(path).is_file()]
    if missing:
        raise Refusal(
            "hook_missing",
            expected="every task file of release_hooks to be there",
            found="; ".join(missing),
            remedy="Add the file, or correct release_hooks; relative paths begin at the root of this repository.",
        )
    return found


def _are_paths(paths: object) -> bool:
    return isinstance(paths, Sequence) and not isinstance(paths, str) and all(isinstance(p, str) and p for p in paths)


def _invalid(found: str) -> Refusal:
    return Refusal(
        "hooks_invalid",
        expected=f"release_hooks to map some of {', '.join(MOMENTS)} to lists of paths",
        found=found,
        remedy="Correct it in group_vars (docs/howto/hooks-and-migrations.md).",
    )


def told_files(files: Mapping[str, Sequence[str]]) -> list[str]:
    """What of the operator's will be run, a line for each moment."""
    return [f"tasks of {moment}: {', '.join(paths)}" for moment, paths in files.items()]


@dataclass(frozen=True)
class Deployment:
    """What a deployment runs beside the switch: ``migrating`` is the host that runs the migrations, "" for none.

    ``seconds`` is what the hooks of a host may take after its wave has begun, ``migrations_seconds`` what all pending ones may;
    ``lines`` say it all to people.
    """

    migrating: str
    seconds: int
    migrations_seconds: int
    checks_before_confirm: bool
    lines: tuple[str, ...]

    def settings(self, settings: Settings) -> Settings:
        """The rollout's, with a first wave of one host where that runs migrations: the others wait for how it ends."""
        if not self.migrating or settings.waves[0] == "1":
            return settings
        return replace(settings, waves=("1", *settings.waves))


def of_deployment(catalogue: Catalogue, manifest: ReleaseManifest, answers: Answers, *, first: str = "") -> Deployment:
    """Plan the hooks and migrations of a release. Where a host serves what the catalogue does not have, all may be pending there.

    ``first`` is the host that the rollout begins with, the first by name without it.
    """
    needed: dict[str, Migration] = {}
    for answer in answers.values():
        needed |= {each.name: each for each in _pending(catalogue, manifest, answer)}
    first = first or min(answers, default="")
    hooks = manifest.hooks
    lines = [
        f"migration {each.name}{'' if each.reversible else ' (irreversible)'} on {first}: {' '.join(each.argv)}"
        for each in manifest.migrations
        if each.name in needed
    ]
    if names := irreversible(needed.values()):
        lines.append(f"There is no way back over {', '.join(names)}: a release that is not well stays ({RUNBOOK}).")
    lines += [f"hook {moment}: {' '.join(step.argv)}" for moment in lifecycle.MOMENTS for step in hooks.at(moment)]
    return Deployment(
        migrating=first if needed else "",
        seconds=hooks.seconds("before_switch", "after_switch", "before_confirm"),
        migrations_seconds=sum(migration.timeout_seconds for migration in needed.values()),
        checks_before_confirm=bool(hooks.at("before_confirm")),
        lines=tuple(lines),
    )


def may_be_pending(catalogue: Catalogue, manifest: ReleaseManifest, answer: Mapping[str, Any]) -> bool:
    """Whether a deployment of the release may have migrations to run for this host."""
    return bool(_pending(catalogue, manifest, answer))


def _pending(catalogue: Catalogue, manifest: ReleaseManifest, answer: Mapping[str, Any]) -> tuple[Migration, ...]:
    settled = answer.get("settled")
    if settled == manifest.release_id:
        return ()
    return pending(manifest.migrations, named(catalogue, manifest.application, settled) or ())


def named(catalogue: Catalogue, application: str, release_id: str | None) -> tuple[Migration, ...] | None:
    """The migrations that a release names; None where the catalogue does not have it, or it cannot be read there."""
    if release_id is None:
        return ()
    try:
        return catalogue.manifest(application, release_id).migrations
    except (Refusal, OSError):
        return None


@dataclass(frozen=True)
class WayBack:
    """What a rollback does with migrations: ``migrate`` is whether each host takes back those that it ran."""

    migrate: bool
    lines: tuple[str, ...]


def of_rollback(
    catalogue: Catalogue,
    application: str,
    answers: Answers,
    targets: Mapping[str, str],
    *,
    others: Sequence[str] = (),
    accepted: bool = False,
) -> WayBack:
    """Plan the migrations of a rollback to ``targets`` {host: release}; hosts decide again by what they keep themselves.

    ``others`` are hosts of the same environment that are not in this run, or did not answer. Refusal ``migration_irreversible``.
    """
    left, stuck = dict[str, None](), list[str]()
    for host, target in sorted(targets.items()):
        active = answers[host].get("settled")
        known = named(catalogue, application, target)
        between = () if known is None else pending(named(catalogue, application, active) or (), known)
        left |= dict.fromkeys(each.name for each in between)
        if names := irreversible(between):
            stuck.append(f"{host}: {', '.join(names)} between {target} and {active}")
    if stuck and not accepted:
        raise Refusal(
            "migration_irreversible",
            expected="no irreversible migration between what hosts serve and what they go back to",
            found="; ".join(stuck),
            remedy=f"See {RUNBOOK}. On purpose: -e release_irreversible_accepted=true.",
        )
    serving = {str(answers[host].get("settled")) for host in targets}
    staying = sorted({*others, *(h for h, a in answers.items() if h not in targets and a.get("settled") in serving)})
    lines = [f"over irreversible migrations, accepted: {'; '.join(stuck)}"] if stuck else []
    if left:
        lines.append(
            f"migrations {', '.join(left)} stay: {', '.join(staying)} may still need them"
            if staying
            else f"migrations {', '.join(left)} are taken back by the host that ran them, as far as they can be"
        )
    return WayBack(not staying, tuple(lines))
