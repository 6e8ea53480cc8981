# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX has beside what `awx/` says: what is new, what is left over, what a person has to enter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..base.table import table
from .awx_data import ENCRYPTED, AwxData, AwxObject, SecretName
from .awx_kinds import BY_NAME, KINDS, LINKS

Row = Mapping[str, Any]
# Reads all objects of an endpoint that match: (endpoint, {filter: value}) -> rows as the API has them.
Reader = Callable[[str, Mapping[str, Any]], list[Row]]
_OF_ORGANIZATION: Final = {
    "inventory_sources": "inventory__organization",
    "schedules": "unified_job_template__organization",
    "workflow_job_template_nodes": "workflow_job_template__organization",
}
# These have no organization, or have names that are unique in all of AWX.
_OF_ALL: Final = frozenset({"credential_types", "execution_environments"})
_GRANTED_ON: Final = {
    "job_template": "job_templates", "workflow_job_template": "workflows", "inventory": "inventories", "project": "projects",
    "credential": "credentials", "organization": "organizations",
}  # fmt: skip


# Where the collection has another name for a role than AWX.
_ROLES: Final = {"Approve": "approval", "Ad Hoc": "adhoc"}


@dataclass(frozen=True)
class Existing:
    """What AWX has of an organization: {kind: {name: row}}; names of nodes are "workflow / identifier". ``grants`` are
    (team, role, module option, name of what it is granted on)."""

    rows: Mapping[str, Mapping[str, Row]]
    grants: frozenset[tuple[str, str, str, str]] = frozenset()

    def has(self, kind: str, name: str) -> bool:
        return kind == "grants" or name in self.rows.get(kind, {})


@dataclass(frozen=True)
class Step:
    """One run of a module.

    ``endpoint`` is where the object is, empty while it is not there. ``ready`` is false while something that it names is not there either: then a
    module in check mode could only fail. ``holder`` is the option that has ``entered``, fields whose value comes from a secret ({secret, field}) or
    is left to a person ({}): of a credential that nothing names nobody has to enter anything. ``is_part`` marks a further run for the same object.
    """

    kind: str
    name: str
    module: str
    options: Mapping[str, Any]
    endpoint: str = ""
    ready: bool = True
    holder: str = ""
    entered: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_part: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "label": f"{self.module} {self.name}"}


@dataclass(frozen=True)
class AwxPlan:
    """``steps`` bring AWX to what the data say; ``left_over`` remove what is ours and in no data."""

    steps: tuple[Step, ...]
    left_over: tuple[Step, ...]


def existing(data: AwxData, read: Reader) -> Existing:
    """What AWX has of the data's organization, read by ``read``; nothing is changed."""
    found = {str(row["name"]): row for row in read("organizations", {"name": data.organization})}
    rows: dict[str, dict[str, Row]] = {"organizations": found}
    identity = found[data.organization]["id"] if data.organization in found else None
    for kind in KINDS:
        if kind.name in ("organizations", "grants") or (identity is None and kind.name not in _OF_ALL):
            continue
        only = {} if kind.name in _OF_ALL else {_OF_ORGANIZATION.get(kind.name, "organization"): identity}
        rows[kind.name] = {_name_of(kind.name, row, data): row for row in read(kind.name, only)}
    teams = rows.get("teams", {})
    ours = [each.name for each in data.of("teams") if each.name in teams]
    grants = {
        (team, role, option, name) for team in ours for role, option, name in _granted(read(f"teams/{teams[team]['id']}/roles", {}))
    }  # fmt: skip
    return Existing(rows, frozenset(grants))


def _name_of(kind: str, row: Row, data: AwxData) -> str:
    """The name by which the data know it; one of the same name elsewhere has where it is behind it."""
    if kind == "workflow_job_template_nodes":
        return f"{row['summary_fields']['workflow_job_template']['name']} / {row['identifier']}"
    name = str(row["name"])
    said = next((each for each in data.of(kind) if each.name == name), None)
    for option in BY_NAME[kind].scope:
        place = row.get("summary_fields", {}).get(option, {}).get("name")
        if said is not None and option != "organization" and place != said.options[option]:
            return f"{name} ({place})"
    return name


def _granted(rows: Iterable[Row]) -> Iterable[tuple[str, str, str]]:
    for row in rows:
        about = row.get("summary_fields", {})
        option = _GRANTED_ON.get(str(about.get("resource_type")))
        if option:
            name = str(row["name"])
            yield _ROLES.get(name, name.lower().replace(" ", "_")), option, str(about.get("resource_name"))


def plan(data: AwxData, there: Existing) -> AwxPlan:
    """What is to be done, in order: a module run for each object, and one for each that is left over, last made first."""
    named = {reference for each in data.objects if each.kind.name != "grants" for reference in each.refers}
    steps = (step for each in data.objects for step in _parts(_step(each, there, named)))
    return AwxPlan(tuple(steps), tuple(_left_over(data, there)))


def _parts(step: Step) -> Iterable[Step]:
    """The runs of the module that a step takes: one, but for an approval node that leads somewhere.

    The module looks for the links of the node at its approval as well, where AWX has none, so they are given without it.
    """
    linked = [link for link in LINKS if step.options.get(link)]
    if "approval_node" not in step.options:
        yield step
        return
    yield replace(step, options={name: value for name, value in step.options.items() if name not in LINKS})
    if linked or step.endpoint:
        links = {
            name: value
            for name, value in step.options.items()
            if name not in ("approval_node", "all_parents_must_converge")
        }
        yield replace(step, name=f"{step.name}, its links", options=links, is_part=True)


def _step(each: AwxObject, there: Existing, named: Collection[tuple[str, str]]) -> Step:
    is_needed = each.kind.name != "credentials" or (each.kind.name, each.name) in named
    row = there.rows.get(each.kind.name, {}).get(each.name)
    return Step(
        kind=each.kind.name, name=each.name, module=each.kind.module, options=each.options,
        endpoint=f"{each.kind.name}/{row['id']}" if row else "",
        ready=(bool(row) or each.kind.name == "grants") and all(there.has(kind, name) for kind, name in each.refers),
        holder=each.holder if each.entered else "",
        entered={name: _as_dict(secret) for name, secret in each.entered.items() if secret or is_needed},
    )  # fmt: skip


def _as_dict(secret: SecretName | None) -> dict[str, str]:
    return {} if secret is None else {"secret": secret.secret, "field": secret.field}


def _left_over(data: AwxData, there: Existing) -> Iterable[Step]:
    known = {(each.kind.name, each.name) for each in data.objects}
    granted = {
        (str(each.options["team"]), str(each.options["role"]), option, name)
        for each in data.of("grants") for option in _GRANTED_ON.values() for name in each.options.get(option, [])
    }  # fmt: skip
    for team, role, option, name in sorted(there.grants - granted):
        options = {
            "team": team,
            "role": role,
            option: [name],
            "lookup_organization": data.organization,
            "state": "absent",
        }
        yield Step("grants", f"{team}: {role} {option} {name}", "role", options)
    for kind in reversed(KINDS):
        if kind.name in ("grants", "organizations"):
            continue
        for name, row in sorted(there.rows.get(kind.name, {}).items()):
            if (kind.name, name) not in known and _is_ours(kind.name, row, data):
                yield Step(kind.name, name, kind.module, _identity(kind.name, row, data), f"{kind.name}/{row['id']}")


def _is_ours(kind: str, row: Row, data: AwxData) -> bool:
    """Whether it was made from these data. A node has no description: it is ours with its workflow, unless that goes too."""
    if kind == "workflow_job_template_nodes":
        workflow = str(row["summary_fields"]["workflow_job_template"]["name"])
        return any(each.name == workflow for each in data.of("workflow_job_templates"))
    return str(row.get("description", "")).endswith(data.mark)


def _identity(kind: str, row: Row, data: AwxData) -> dict[str, Any]:
    """The options by which the module finds exactly this one."""
    options: dict[str, Any] = {"state": "absent"}
    if kind == "workflow_job_template_nodes":
        return {**options, "identifier": row["identifier"], "workflow_job_template": row["summary_fields"]["workflow_job_template"]["name"], "organization": data.organization}  # fmt: skip
    options["name"] = row["name"]
    if "organization" in BY_NAME[kind].scope:
        options["organization"] = data.organization
    for option in BY_NAME[kind].scope:
        if option != "organization":
            options[option] = row["summary_fields"][option]["name"]
    return options


def with_entered(
    options: Mapping[str, Any],
    holder: str,
    entered: Mapping[str, Mapping[str, str]],
    current: Mapping[str, Any] | None,
    values: Mapping[str, str],
) -> tuple[dict[str, Any], list[str]]:
    """The options with the fields that are in no data, and the names of those that a person still has to enter.

    ``current`` is the object as AWX has it, None for a new one; ``values`` are of the fields that a secret is named for and that are to be sent.
    What AWX has stays: an encrypted value by the word that AWX shows instead of it, so that the module compares without knowing it. What
    nobody has entered yet is left out, and is an empty text where AWX wants one.
    """
    kept = dict((current or {}).get(holder) or {})
    said = dict(options[holder])
    is_notification = holder == "notification_configuration"
    for name in entered:
        if name in values:
            said[name] = values[name]
        elif is_notification and name not in kept:
            said[name] = ""
    wanted = {**kept, **said}
    missing = [name for name in entered if not wanted.get(name)]
    made = {**options, holder: wanted}
    if is_notification and current is not None and wanted == kept:
        del made[holder]  # the module takes an encrypted value for a change
    if holder == "inputs":
        made["update_secrets"] = any(name in values and kept.get(name) == ENCRYPTED for name in values)
    return made, missing


def is_removed(left_over: str) -> bool:
    """Whether what is left over is removed, of ``kept`` or ``removed``; Refusal ``awx_left_over_invalid``."""
    if left_over not in ("kept", "removed"):
        raise Refusal(
            "awx_left_over_invalid",
            expected="kept or removed as awx_left_over",
            found=shown(left_over),
            remedy="Leave it out to see what is left over, then say -e awx_left_over=removed. Nothing was sent.",
        )
    return left_over == "removed"


def left_over_table(steps: Iterable[Step]) -> str:
    """What is left over, for people."""
    rows = [(each.kind, each.name) for each in steps]
    return table(("KIND", "NAME"), rows) if rows else ""


def refused(name: str, said: str, address: str, hidden: Iterable[str] = ()) -> Refusal:
    """What a module or the API said, as a refusal of ours.

    ``hidden`` are the fields whose values were sent: AWX repeats the start of a key that it does not like, so then only their names are told.
    """
    fields = [each for each in hidden if each in said]
    if "HTTP 401" in said or "(401)" in said:
        return Refusal(
            "awx_token_invalid",
            expected=f"a token that {address} takes",
            found="HTTP 401",
            remedy="Make one at AWX (your user, Tokens, scope Write) and give it as CONTROLLER_OAUTH_TOKEN.",
        )
    if "HTTP 403" in said:
        return Refusal(
            "awx_denied",
            expected=f"that the token's user may change {name} at {address}",
            found="HTTP 403",
            remedy="Use the token of an administrator of the system: credential types are not an organization's.",
        )
    if any(
        each in said
        for each in (
            "network error",
            "unknown error when trying to connect",
            "secure connection",
            "Unable to resolve",
            "server error",
        )
    ):
        return Refusal(
            "awx_unreachable",
            expected=f"an AWX that answers at {address}",
            found=said,
            remedy="Correct CONTROLLER_HOST, or mend what is between here and there. The next run goes on where this one ended.",
        )
    if fields or any(hidden):
        said = f"a refusal that names {', '.join(fields) or 'no field'}; what else it says may repeat a secret and is left out"
    return Refusal(
        "awx_refused",
        expected=f"that {address} takes {name}",
        found=said,
        remedy="Correct awx/ or what is laid over it. The next run goes on where this one ended.",
    )
