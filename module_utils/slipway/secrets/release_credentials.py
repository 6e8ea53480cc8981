# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service of an application is to get of secrets: ``release_credentials``, and how its values come to hosts.

The values are read once for a run, when it is planned, so that a secret that is not as it should be stops it before any host is touched, and
so that all of its hosts get the same. What an earlier run has read is not used for that: it may have been replaced since. They stay in memory for that run (`volatile`); where there is no such memory, each host's process
reads for itself. Every handing out is a line of the access log, with the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..base import canonical
from ..base.errors import Refusal, shown
from ..host.credentials import MOST, encoded, require_fit, require_name
from .keeper import Keeper
from .secret import FIELD
from .secret import require_name as require_secret_name
from .volatile import ENTRY_LIMIT, hashed

KEYS: Final = ("secret", "field")


@dataclass(frozen=True)
class Credential:
    """One entry: under which name the service gets which field of which secret; without a field that of the only one."""

    name: str
    secret: str
    field: str | None = None


@dataclass(frozen=True, repr=False)
class Resolved:
    """Values by name, and what may be known of each: {secret, field, provider, version}."""

    values: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Resolved({', '.join(sorted(self.values))})"

    def options(self) -> dict[str, Any]:
        """The options of slipway_release that bring them to a host."""
        return {
            "credentials": {name: dict(each) for name, each in self.about.items()},
            "credential_values": encoded(self.values),
        }


def parse(given: object) -> tuple[Credential, ...]:
    """Read ``release_credentials`` {name: {secret, field}}, sorted by name; Refusal ``credentials_invalid``. No value is shown: there is none."""
    if not isinstance(given, Mapping) or len(given) > MOST:
        raise _invalid(f"at most {MOST} names, each with what it is", given)
    found = []
    for name, about in given.items():
        require_name(name)
        if not isinstance(about, Mapping) or "secret" not in about or not set(about) <= set(KEYS):
            raise _invalid(f"{{secret: …, field: …}} for {name}, and no value", "something else")
        field_name = about.get("field")
        if field_name is not None and not (isinstance(field_name, str) and FIELD.match(field_name)):
            raise _invalid(f"the name of a field for {name}", field_name)
        found.append(Credential(name, require_secret_name(about["secret"]), field_name))
    return tuple(sorted(found, key=lambda each: each.name))


def handed_out(given: object) -> dict[str, set[str | None]]:
    """The fields of each secret that hosts get by ``release_credentials``; None for the only one that it has."""
    found: dict[str, set[str | None]] = {}
    for each in parse(given):
        found.setdefault(each.secret, set()).add(each.field)
    return found


def _invalid(expected: str, found: object) -> Refusal:
    return Refusal(
        "credentials_invalid",
        expected=f"release_credentials: {expected}",
        found=shown(found),
        remedy="Correct release_credentials; docs/howto/credentials.md has its keys.",
    )


@dataclass(frozen=True)
class ReleaseCredentials:
    """The credentials of a run, by the chain of one host's environment."""

    keeper: Keeper
    wanted: Sequence[Credential]

    def read(self) -> Resolved:
        """Ask the chain, now. Refusals are those of `Keeper.read` and ``credential_unfit``."""
        values, about = {}, {}
        for each in self.wanted:
            answer = self.keeper.found(each.secret, each.field)
            values[each.name] = answer.value
            about[each.name] = {
                "secret": each.secret, "field": answer.field, "provider": answer.provider, "version": answer.version,
            }  # fmt: skip
        require_fit({name: value.encode() for name, value in values.items()})
        return Resolved(values, about)

    def keep(self, run_id: str, resolved: Resolved) -> None:
        """Keep them for the other processes of the run."""
        if self.keeper.place:
            self.keeper.place.write(
                self._entry(run_id),
                canonical.encode({"about": {name: dict(each) for name, each in resolved.about.items()}, "values": dict(resolved.values)}),
            )  # fmt: skip

    def take(self, run_id: str) -> Resolved:
        """Those of the run, for the caller's host; read by whoever comes first."""
        place = self.keeper.place
        if place is None:
            return self.read()
        with place.locked(self._entry(run_id)):
            data = place.read(self._entry(run_id))
            if data is None:
                resolved = self.read()
                self.keep(run_id, resolved)
                return resolved
        kept = canonical.parse_canonical(data, what="credentials of the run", limit=ENTRY_LIMIT)
        resolved = Resolved(kept["values"], kept["about"])
        for each in resolved.about.values():
            self.keeper.note_handed_out(**each)
        return resolved

    def _entry(self, run_id: str) -> str:
        assert self.keeper.place is not None  # noqa: S101 - for the type checker; asked by callers
        caller = self.keeper.caller
        wanted = [f"{each.name} {each.secret} {each.field}" for each in self.wanted]
        chain = ["\t".join(provider.origin) for provider in self.keeper.providers]
        return self.keeper.place.of_run(f"credentials-{hashed(run_id, caller.environment, *chain, '', *wanted)}")
