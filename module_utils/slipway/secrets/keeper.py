# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to a chain of providers, answered from the cache where that is possible, and noted whatever comes of it.

1. The providers are asked in their order. The next one is asked only when one is Unavailable, which is said aloud and noted: an answer
   of 403 or 404 is an answer, and nobody gets around it by another provider.
2. A default is for names that no provider knows. So after a 404 the others are asked whether they know it: one that does means that
   the secret is in the wrong place, and one that does not answer means that nobody can tell; both are refused.
3. A version is what one provider calls it: with a version only the first one is asked.
4. The value is handed out after its line in the access log is on disk.
5. A run that rotates a secret reads the version that its rotation has made, at the first provider and nowhere else (secret_rotation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from ..base.clock import Clock
from ..base.errors import Refusal
from .access_log import EVERYTHING, AccessLog, Caller
from .candidate import CANDIDATES, Candidate, candidate_of
from .circuit_breaker import CircuitBreaker
from .env_file import Declared
from .known_values import tell
from .provider import Entry, Provider, Standing, Unavailable, Unknown, failed
from .retries import asked
from .secret import Secret, require_name
from .secret_cache import ABSENT, Absent, SecretCache
from .secret_kind import require_well_formed
from .secret_settings import SecretSettings
from .volatile import Volatile

T = TypeVar("T")


class _NoDefault:
    """No default was given: also None and the empty text are some."""


NO_DEFAULT: Final = _NoDefault()


@dataclass(frozen=True)
class Found:
    """The value of a field, and where it was: ``version`` is what the provider calls it, None where it has none."""

    value: str = field(repr=False)
    field: str
    provider: str
    version: str | None


@dataclass(frozen=True)
class Listed:
    """A secret in a list: where it is, or that it is declared and nowhere to be found (``provider`` is None)."""

    entry: Entry
    provider: str | None


@dataclass
class Keeper:
    """The chain of an environment, for one caller. ``announce`` says a sentence in the run's output.

    ``rotating`` are the secrets that this run rotates: their next versions, by their names.
    """

    settings: SecretSettings
    providers: Sequence[Provider]
    place: Volatile | None
    log: AccessLog
    caller: Caller
    clock: Clock
    announce: Callable[[str], None]
    rotating: Mapping[str, Candidate] = field(default_factory=dict)
    cache: SecretCache = field(init=False)
    _breakers: dict[str, CircuitBreaker] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = SecretCache(self.place, self.settings.cache_seconds, self.clock)

    def read(
        self,
        name: str,
        field_name: str | None = None,
        version: str | None = None,
        default: str | _NoDefault = NO_DEFAULT,
    ) -> str:
        """The value of a field of a secret."""
        found = self._read_or_default(name, field_name, version, default)
        return found.value if isinstance(found, Found) else found

    def found(self, name: str, field_name: str | None = None) -> Found:
        """The same with where it was, for whoever hands it to hosts: as a provider has answered in this run, and not in an earlier one."""
        found = self._read_or_default(name, field_name, None, NO_DEFAULT, of_this_run=True)
        assert isinstance(found, Found)  # noqa: S101 - for the type checker; there was no default
        return found

    def note_handed_out(
        self, *, secret: str | None, field: str | None, provider: str | None, version: str | None
    ) -> None:
        """Note that the caller gets a value that this run has read before."""
        self._note("read", str(secret), "read", field=field, provider=provider, version=version, cached=True)

    def _read_or_default(
        self,
        name: str,
        field_name: str | None,
        version: str | None,
        default: str | _NoDefault,
        *,
        of_this_run: bool = False,
    ) -> Found | str:
        require_name(name)
        silent: list[str] = []
        chain = self.providers[:1] if name in self.rotating else self.providers
        for number, provider in enumerate(chain):
            try:
                secret, cached = self._noted(name, field_name, provider, version, of_this_run=of_this_run)
            except Unavailable as error:
                silent.append(f"{provider.label}: {error.why}")
                self._say_fallback(number, error.why, name, version)
                if version is not None:
                    break
                continue
            if isinstance(secret, Secret):
                return self._handed_out(secret, field_name, provider, cached)
            if isinstance(default, _NoDefault) or silent:
                raise self._refused(name, field_name, provider, unknown_at(name, version, provider.label, silent))
            self._require_nowhere(name, field_name, self.providers[number + 1 :], provider.label)
            self._note("read", name, "default", field=field_name)
            return default
        raise _unavailable(name, silent)

    def write(
        self,
        name: str,
        fields: Mapping[str, str],
        kind: str | None = None,
        description: str = "",
        *,
        check: bool = False,
    ) -> bool:
        """Make these the newest version of a secret at the first provider; returns whether they were not already.

        Of a declared secret kind and description need not be said. With ``check`` nothing is written. What cannot be noted is not done: a line
        before says that it is begun, another one what came of it.
        """
        declared = self.declared(name)
        kind, description = kind or declared.kind, description or declared.description
        require_well_formed(name, kind, fields)
        tell(self.place, Secret(name, fields), kind)
        provider = self.providers[0]
        try:
            try:
                before: Secret | None = self._asked(provider, lambda: provider.read(name))
            except Unknown:
                before = None
            if before is not None and _same(before, fields, kind, description):
                self._note("write", name, "unchanged", provider=provider.label, version=before.version or None)
                return False
            if check:
                self._note("write", name, "read", provider=provider.label)
                return True
            self._note("write", name, "begun", provider=provider.label)
            version = provider.write(Secret(name, dict(fields), kind, description))
        except Unavailable as error:
            self._note("write", name, "unavailable", provider=provider.label, reason=error.why)
            raise _unavailable(name, [f"{provider.label}: {error.why}"]) from None
        except Unknown:
            refusal = failed(provider.label, f"{name} is being removed there")
            raise self._refused(name, None, provider, refusal, "write") from None
        except Refusal as refusal:
            raise self._refused(name, None, provider, refusal, "write") from None
        finally:
            self.cache.forget(name)
        self._note("write", name, "written", provider=provider.label, version=version)
        return True

    def declared(self, name: str) -> Declared:
        """What is said of a secret in group_vars, if anything."""
        require_name(name)
        return next((each for each in self.settings.declared if each.name == name), Declared(name))

    def listed(self, *, ask: bool = True) -> list[Listed]:
        """The names at every provider of the chain and those that are declared, sorted; no values. A name that several have is there
        once for each; a provider that does not answer is said aloud.
        """
        found: list[Listed] = []
        for provider in self.providers if ask else ():
            try:
                entries = self._asked(provider, provider.entries)
            except Unavailable as error:
                self.announce(f"{provider.label} is {error.why}: its secrets are not in this list")
                self._note("list", EVERYTHING, "unavailable", provider=provider.label, reason=error.why)
                continue
            except Refusal as refusal:
                raise self._refused(EVERYTHING, None, provider, refusal, "list") from None
            self._note("list", EVERYTHING, "listed", provider=provider.label)
            found += [Listed(entry, provider.label) for entry in entries if not entry.name.startswith(f"{CANDIDATES}/")]
        there = {each.entry.name for each in found}
        found += [
            Listed(Entry(each.name, each.kind, each.description), None)
            for each in self.settings.declared
            if each.name not in there
        ]
        return sorted(found, key=lambda each: each.entry.name)

    def standings(self, name: str) -> tuple[str, Standing] | None:
        """Who of the chain has a secret, and which version since when; None where nobody has it. One that does not answer is said aloud."""
        for provider in self.providers:
            try:
                return provider.label, self._asked(provider, partial(provider.standing, name))
            except Unknown:
                continue
            except Unavailable as error:
                self.announce(f"{provider.label} is {error.why}: it is not known how old what it has is")
        return None

    def ask_first(self, name: str, question: Callable[[], T], *, changes: bool = False) -> T:
        """The answer to a question to the first provider that is about a secret; what ``changes`` something is asked once.

        Unknown passes; that it does not answer is a Refusal.
        """
        try:
            return question() if changes else self._asked(self.providers[0], question)
        except Unavailable as error:
            raise _unavailable(name, [f"{self.providers[0].label}: {error.why}"]) from None

    def note_rotation(self, name: str, state: str, version: str) -> None:
        """Note how far the rotation of a secret is."""
        self._note("rotate", name, state, provider=self.providers[0].label, version=version)

    def cached(self) -> int:
        """How many answers are kept, whether or not their time is over."""
        return len(self.cache)

    def flush(self) -> int:
        """Forget what is cached; returns how many entries that were."""
        count = self.cache.flush()
        self._note("flush", EVERYTHING, "flushed")
        return count

    def _noted(
        self, name: str, field_name: str | None, provider: Provider, version: str | None, *, of_this_run: bool = False
    ) -> tuple[Secret | Absent, bool]:
        """What a provider answers and whether that was in the cache; what is no answer is noted."""
        try:
            return self._answer(provider, name, version, of_this_run)
        except Unavailable as error:
            self._note(
                "read",
                name,
                "unavailable",
                field=field_name,
                provider=provider.label,
                version=version,
                reason=error.why,
            )
            raise
        except Refusal as refusal:
            raise self._refused(name, field_name, provider, refusal) from None

    def _answer(
        self, provider: Provider, name: str, version: str | None, of_this_run: bool
    ) -> tuple[Secret | Absent, bool]:
        candidate = self.rotating.get(name)
        if candidate is not None and version in (None, candidate.version):
            # What an earlier run has read there was the candidate of an earlier rotation.
            found, cached = self._kept_or_read(provider, candidate_of(name), None, of_this_run=True)
            return candidate.opened(name, provider.label, found) if isinstance(found, Secret) else found, cached
        return self._kept_or_read(provider, name, version, of_this_run)

    def _kept_or_read(
        self, provider: Provider, name: str, version: str | None, of_this_run: bool
    ) -> tuple[Secret | Absent, bool]:
        origin = provider.origin
        if not origin:
            return self._read(provider, name, version), False
        if (kept := self.cache.get(origin, name, version, of_this_run=of_this_run)) is not None:
            return kept, True
        with self.cache.asked_once(origin, name, version):
            if (kept := self.cache.get(origin, name, version, of_this_run=of_this_run)) is not None:
                return kept, True
            answer = self._read(provider, name, version)
            self.cache.put(origin, name, version, answer)
            return answer, False

    def _read(self, provider: Provider, name: str, version: str | None) -> Secret | Absent:
        try:
            return self._asked(provider, lambda: provider.read(name, version))
        except Unknown:
            return ABSENT

    def _asked(self, provider: Provider, question: Callable[[], T]) -> T:
        """Ask what may be asked twice, unless the run has learned that it is of no use."""
        breaker = self._breaker(provider.label)
        if (why := breaker.why_not()) is not None:
            raise Unavailable(why, passing=False)
        try:
            answer = asked(
                question, clock=self.clock, attempts=self.settings.breaker_failures,
                failed=lambda error: breaker.failed(error.why, at_once=not error.passing),
            )  # fmt: skip
        except (Unknown, Refusal):
            breaker.succeeded()  # it does answer
            raise
        breaker.succeeded()
        return answer

    def _breaker(self, label: str) -> CircuitBreaker:
        if label not in self._breakers:
            self._breakers[label] = CircuitBreaker(
                label, self.place, self.clock, self.settings.breaker_failures, self.settings.breaker_seconds
            )
        return self._breakers[label]

    def _handed_out(self, secret: Secret, field_name: str | None, provider: Provider, cached: bool) -> Found:
        try:
            value = secret.value(field_name)
        except Refusal as refusal:
            raise self._refused(secret.name, field_name, provider, refusal) from None
        tell(self.place, secret, secret.kind or self.declared(secret.name).kind)
        self._note(
            "read", secret.name, "read",
            field=field_name, provider=provider.label, version=secret.version or None, cached=cached,
        )  # fmt: skip
        return Found(value, field_name or next(iter(secret.fields)), provider.label, secret.version or None)

    def _require_nowhere(self, name: str, field_name: str | None, others: Sequence[Provider], first: str) -> None:
        for provider in others:
            try:
                answer, _cached = self._noted(name, field_name, provider, None)
            except Unavailable as error:
                raise _unavailable(name, [f"{provider.label}: {error.why}"]) from None
            if isinstance(answer, Secret):
                refusal = Refusal(
                    "secret_misplaced",
                    expected=f"{name} at {first}, which is asked first, or nowhere",
                    found=f"it at {provider.label}",
                    remedy=f"Set it at {first} (make secrets-set), or remove it from {provider.label}, so that the default holds.",
                )
                raise self._refused(name, field_name, provider, refusal)

    def _say_fallback(self, number: int, why: str, name: str, version: str | None) -> None:
        label = self.providers[number].label
        if version is None and name not in self.rotating and number + 1 < len(self.providers):
            self.announce(f"FALLBACK: {label} is {why}; secrets come from {self.providers[number + 1].label} instead")

    def _refused(
        self, name: str, field_name: str | None, provider: Provider, refusal: Refusal, operation: str = "read"
    ) -> Refusal:
        self._note(operation, name, "refused", field=field_name, provider=provider.label, reason=refusal.reason)
        return refusal

    def _note(self, operation: str, name: str, outcome: str, **what: object) -> None:
        self.log.note(self.caller, self.clock, operation=operation, name=name, outcome=outcome, **what)


def _same(before: Secret, fields: Mapping[str, str], kind: str | None, description: str) -> bool:
    """Whether setting it would change nothing; what a provider does not say of a secret is taken as it should be."""
    return (
        dict(before.fields) == dict(fields)
        and before.kind in (None, kind)
        and (not before.description or before.description == description)
    )


def unknown_at(name: str, version: str | None, label: str, silent: Sequence[str] = ()) -> Refusal:
    """For a name that the provider does not know which must have it; ``silent`` are those that did not answer before."""
    what = f"version {version} of {name}" if version else name
    aside = f" (not asked, since they did not answer: {', '.join(silent)})" if silent else ""
    return Refusal(
        "secret_unknown",
        expected=f"a secret {what} at {label}",
        found=f"none{aside}",
        remedy=f"Set it: make secrets-set NAME={name}; or correct the name. make secrets-list has all names.",
    )


def _unavailable(name: str, silent: Sequence[str]) -> Refusal:
    return Refusal(
        "secret_unavailable",
        expected=f"an answer for {name} from a provider of the chain",
        found="; ".join(silent) or "no provider",
        remedy="Bring the first of them back (unseal it, mend the network), then run the same command again.",
    )
