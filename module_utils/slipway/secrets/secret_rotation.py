# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation, from a new version that nobody reads to an old one that nobody can use.

making → made → handed_out → proven → adopted → retired, or taking_back → taken_back.

1. The new version is made as a candidate: a secret of its own at the first provider, which only the runs of its rotation read (candidate.py). It is
   claimed before anything is made, so that another controller is refused. What everybody else reads stays as it is until every host has been healthy with
   the new one.
2. The active release is deployed with it, like any release: in waves, with health checks, dead-man and confirmation.
3. Adopted: it becomes the newest version of the secret, if nobody has set another one meanwhile. Only now the old one is retired, in the run
   that has just seen every host have the new one; a later run looks again first.
4. Going back is nothing but leaving that out: hosts have gone back to the old version, which is valid, and the candidate is revoked and removed.

A step is announced in the record before it is done, so that whoever comes after a killed controller knows what may have been done. Each can be done
again. What cannot be proven is said in words.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from ..base.clock import timestamp
from ..base.errors import Refusal
from ..base.process import Process
from .access_log import Caller
from .candidate import Candidate, candidate, candidate_of, is_of, rotation_in, taken, values_in
from .keeper import Keeper, unknown_at
from .provider import Provider, Standing, Unknown, overtaken
from .rotation_policy import BY_HAND, DYNAMIC, GENERATED, RotationPolicy, policy_of
from .rotation_record import (
    ADOPTED,
    HANDED_OUT,
    MADE,
    MAKING,
    PROVEN,
    RETIRED,
    TAKEN_BACK,
    TAKING_BACK,
    Rotation,
    RotationRecords,
)
from .secret import Secret
from .secret_kind import require_well_formed
from .secret_maker import Maker, file_unused
from .vault import Vault

# How a host ends a run that has brought the new version everywhere where it was asked to; the others may have the one or the other.
HAS_IT: Final = ("confirmed", "unchanged")
HAS_IT_NOT: Final = ("reverted", "untouched")
# What the hosts of an application get: the fields of each secret; None for the only one that it has.
HandedOut = Mapping[str, Collection[str | None]]
T = TypeVar("T")


@dataclass(frozen=True)
class Settled:
    """How a rotation stands after a run: ``is_as_asked`` when there is nothing left to do, and what to say of it."""

    name: str
    state: str
    is_as_asked: bool
    said: str


@dataclass(frozen=True)
class Begun:
    """What a run hands out by the names of the secrets; ``names`` are all that it settles in the end; and what to say of it."""

    rotating: Mapping[str, Candidate] = field(default_factory=dict)
    names: Sequence[str] = ()
    said: Sequence[str] = ()


@dataclass
class Rotations:
    """The rotations of one environment for one application, by one run of this controller (``process``).

    ``newest_run`` says which run of an application was the last one that this controller began.
    """

    keeper: Keeper
    state: Path
    application: str
    process: Process
    newest_run: Callable[[str], str | None] = lambda _application: None
    records: RotationRecords = field(init=False)

    def __post_init__(self) -> None:
        self.records = RotationRecords(self.state, self.keeper.caller.environment)

    def due(self, handed_out: Collection[str]) -> list[str]:
        """The secrets that the application's hosts get whose time has come, and those whose rotation was left open; sorted."""
        by_hand = {each.name for each in self.keeper.settings.rotation if each.made_by == BY_HAND}
        open_ones = [each for each in self.records.all() if each.is_open]
        left = {each.name for each in open_ones if each.state != MAKING or each.name not in by_hand}
        readable = [each for each in self.keeper.settings.rotation if self._is_read(each, handed_out)]
        return [each.name for each in readable if each.name in left or self._is_due(each)]

    def begin(
        self,
        names: Sequence[str],
        handed_out: HandedOut,
        brought: Mapping[str, str] | None = None,
        *,
        back: bool = False,
        check: bool = False,
    ) -> Begun:
        """Make what is missing of the new versions, and say which ones the run is to hand out.

        ``handed_out`` is what the application's hosts get; ``brought`` the fields of one that is made by hand. With ``back`` what is open is taken back: the run
        then hands out the old version. All are judged before one is made, also whether hosts would get another value at all; with ``check`` none is.
        """
        policies = [policy_of(self.keeper.settings.rotation, name) for name in names]
        for policy in policies:
            self._require_reader(policy, handed_out)
        open_before = {name: self._open(name) for name in names}
        for policy in policies:
            self._require_ready(policy, open_before[policy.name], handed_out, brought, back=back)
        if check:
            return Begun(names=names, said=[self._would(policy, open_before[policy.name], back) for policy in policies])
        rotating, said = {}, []
        rotations = [self._taken_over(policy, back) for policy in policies]
        for policy, rotation in zip(policies, rotations, strict=True):
            if rotation is None:
                said.append(f"{policy.name}: no rotation is open, nothing to take back")
                continue
            ready = self._make(policy, rotation, handed_out, brought) if rotation.state == MAKING else rotation
            if ready.state not in (ADOPTED, TAKING_BACK):
                rotating[policy.name] = Candidate(ready.after, ready.id)
            said.append(self._beginning(ready))
        ours = [rotation.name for rotation in rotations if rotation]
        return Begun(rotating, ours, said)

    def settle(self, names: Sequence[str], run_id: str, hosts: Mapping[str, str]) -> list[Settled]:
        """Decide by how each host ended the run (its outcome in the run's report), and go on as far as that allows.

        Nobody takes one over meanwhile: a worker may outlive its run, and whoever finds that dead goes on with what it has left.
        """
        with self.records.locked():
            return [self._settled(name, run_id, hosts) for name in names if self._is_ours(name)]

    # how it begins

    def _is_due(self, policy: RotationPolicy) -> bool:
        """Whether it is time, of what can be made without anybody; of what is missing the report of ages tells."""
        if policy.made_by == BY_HAND:
            return False
        try:
            written = self.keeper.ask_first(policy.name, lambda: self._first.standing(policy.name)).written
        except Unknown:
            return False
        return policy.is_due(None if written is None else self.keeper.clock.now() - written)

    def _is_read(self, policy: RotationPolicy, handed_out: Collection[str]) -> bool:
        return policy.name in handed_out and self.application in (policy.applications or (self.application,))

    def _require_reader(self, policy: RotationPolicy, handed_out: Collection[str]) -> None:
        """Nobody proves a version that no host gets, so that retiring the old one would be a guess."""
        if not self._is_read(policy, handed_out):
            raise Refusal(
                "rotation_not_handed_out",
                expected=f"{policy.name} in release_credentials of {self.application}, and {self.application} in its applications in secrets_rotation",
                found=f"release_credentials with {', '.join(handed_out) or 'nothing'}",
                remedy="Name it there, rotate with the application that reads it, or set what only the controller uses by make secrets-set.",
            )

    def _open(self, name: str) -> Rotation | None:
        """The rotation of a secret that is open, if nobody works on it."""
        found = self.records.read(name)
        if found is None or not found.is_open:
            return None
        if found.process != self.process and found.process.is_alive():
            raise Refusal(
                "rotation_running",
                expected=f"nobody else to rotate {name} at the same time",
                found=f"{found.by} since {found.began} in {found.run_id}, process {found.process.pid}",
                remedy="Wait for its end. If it was killed, the same command goes on with it.",
            )
        return found

    def _taken_over(self, policy: RotationPolicy, back: bool) -> Rotation | None:
        """The rotation of this run: the open one, or a new one in state making. None where there is none to take back."""
        with self.records.locked():
            found = self._open(policy.name)
            if found is None:
                return self._left_elsewhere(policy) if back else self._new(policy)
            if back and (found.state == ADOPTED or self._is_adopted(found)):
                raise Refusal(
                    "rotation_adopted",
                    expected=f"a rotation of {policy.name} whose new version only its own runs read",
                    found=f"version {found.after}, which is the newest one at {found.provider} already",
                    remedy="Go on with it; or set the secret anew (make secrets-set) and deploy.",
                )
            ours = (
                (found.before,) if found.state == MAKING else (found.before, found.after)
            )  # what is being made is not adopted
            is_overtaken = self._standing(found.name).version not in ours
            if is_overtaken and found.state == MAKING and not back:
                self._undo(policy, found)
                return self._new(policy)
            if is_overtaken and found.state != TAKING_BACK and not back:
                raise overtaken(self._first.label, found.name, found.before)
            state = TAKING_BACK if back else found.state
            taken_over = replace(found, process=self.process, run_id=self._caller.run_id, by=self._caller.by)
            return self._saved(replace(taken_over, state=state, resumed=found.state != MAKING))

    def _left_elsewhere(self, policy: RotationPolicy) -> Rotation | None:
        """What a controller that is lost has left of its rotation, as one that is taken back here; None where there is nothing."""
        found = self._candidate(policy.name)
        if found is None:
            return None
        return self._new(policy, id=rotation_in(found), state=TAKING_BACK, resumed=True)

    def _new(self, policy: RotationPolicy, **about: Any) -> Rotation:
        label = self._first.label
        standing = self._standing(policy.name)
        self._maker(policy)  # what cannot be made is refused before anything is noted
        before, after = standing.version, self._first.version_after(standing.version)
        now = timestamp(self.keeper.clock.now())
        new = Rotation(
            id=f"rotation_{secrets.token_hex(6)}", name=policy.name, provider=label, state=MAKING, before=before, after=after, by=self._caller.by,
            run_id=self._caller.run_id, process=self.process, began=now, changed=now, origin_before=self._known_origin(policy.name, before),
            applications=dict.fromkeys(policy.applications or (self.application,), ""),
        )  # fmt: skip
        return self._saved(replace(new, **about))

    def _known_origin(self, name: str, version: str) -> Mapping[str, str]:
        """Where the version in use came from, as the rotation before has noted it; nothing where it was not made by one."""
        last = self.records.read(name)
        if last is None or last.is_open or last.provider != self._first.label:
            return {}
        in_use = (last.after, last.origin) if last.state == RETIRED else (last.before, last.origin_before)
        return in_use[1] if in_use[0] == version else {}

    def _make(
        self, policy: RotationPolicy, rotation: Rotation, handed_out: HandedOut, brought: Mapping[str, str] | None
    ) -> Rotation:
        """Make the candidate, unless it was made before the run that wanted it died; where it came from is noted first."""
        maker, claim = self._maker(policy), self._claimed(rotation)
        if not values_in(claim):
            current = self._current(rotation)
            self._require_change(policy, current, handed_out, brought)
            self._revoke(policy, rotation.origin)
            before = self._done(rotation.name, lambda: maker.origin_of(current, rotation.origin_before))
            made = self._done(rotation.name, lambda: maker.make(current, brought))
            rotation = self._saved(replace(rotation, origin=made.origin, origin_before=before))
            kind = self._kind(current)
            require_well_formed(policy.name, kind, made.fields)
            whole = candidate(policy.name, rotation.id, made.fields, kind, self._first.version_after(claim.version))
            try:
                self._done(rotation.name, lambda: self._first.replace(whole, claim.version))
            finally:
                self.keeper.cache.forget(claim.name)
        return self._saved(replace(rotation, state=MADE))

    def _claimed(self, rotation: Rotation) -> Secret:
        """The place of the candidate, which is this very rotation's from here on; Refusal ``rotation_elsewhere`` where it is another one's."""
        if self._candidate(rotation.name) is None:
            try:
                self._done(rotation.name, lambda: self._first.replace(candidate(rotation.name, rotation.id, {}), ""))
            except Refusal as refusal:
                if refusal.reason != "secret_overtaken":
                    raise
        return self._own_candidate(rotation)

    def _require_ready(
        self,
        policy: RotationPolicy,
        rotation: Rotation | None,
        handed_out: HandedOut,
        brought: Mapping[str, str] | None,
        *,
        back: bool,
    ) -> None:
        """Refuse, before anything is noted or made, what would not change what hosts have, what another controller has begun, and to go on with what
        somebody has removed.
        """
        self._maker(policy).require_file_used(brought)
        if policy.old == "destroyed" and not self._first.ends_versions:
            raise Refusal(
                "rotation_cannot_destroy",
                expected=f"a first provider that can destroy a version, since old of {policy.name} is destroyed",
                found=f"{self._first.label}, where a version can be read by its id until the provider removes it",
                remedy="Say old: deleted or kept. After a leak have whoever checks the value (the database, the peer) refuse the old one.",
            )
        if back:
            if brought is not None:
                raise file_unused(policy.name, "what is open would be taken back")
            return
        found = self._candidate(policy.name)
        is_missing = found is None and rotation is not None and rotation.state in (MADE, HANDED_OUT, PROVEN)
        if is_missing or (found is not None and (rotation is None or not is_of(found, rotation.id))):
            raise taken(policy.name, self._first.label, found)
        values = values_in(found) if found is not None else {}
        if rotation is None or (rotation.state == MAKING and not values):
            self._require_change(policy, self._read(policy.name), handed_out, brought)
        elif brought is not None and not set(brought.items()) <= set(values.items()):
            raise file_unused(
                policy.name, f"a rotation with other values, open since {rotation.began} ({rotation.state})"
            )

    def _require_change(
        self, policy: RotationPolicy, current: Secret, handed_out: HandedOut, brought: Mapping[str, str] | None
    ) -> None:
        """Refuse a rotation after which hosts would have what they have: it would say that the old value is retired."""
        maker, kind = self._maker(policy), self._kind(current)
        changed = maker.changes(current, kind, brought)
        after = Secret(policy.name, {**current.fields, **dict.fromkeys(changed, "")})
        for field_name in handed_out[policy.name]:
            after.value(field_name)  # that hosts could not be given is refused here, and not when it is made
        got = {field_name or next(iter(after.fields)) for field_name in handed_out[policy.name]}
        if not got & changed:
            raise Refusal(
                "rotation_changes_nothing",
                expected=f"another value of {', '.join(sorted(got))} of {policy.name}, which is what hosts get",
                found=f"another value of {', '.join(sorted(changed)) or 'nothing'}",
                remedy="Name in secrets_rotation the fields that are to change, or bring other values; nothing was made.",
            )
        if policy.made_by in (GENERATED, BY_HAND):  # it is made of nothing, so that it can be looked at
            require_well_formed(policy.name, kind, maker.make(current, brought).fields)

    def _kind(self, secret: Secret) -> str | None:
        return secret.kind or self.keeper.declared(secret.name).kind

    def _current(self, rotation: Rotation) -> Secret:
        """The version that is rotated, as it is now."""
        current = self._read(rotation.name)
        if current.version != rotation.before:
            raise overtaken(self._first.label, rotation.name, rotation.before)
        return current

    def _beginning(self, rotation: Rotation) -> str:
        if rotation.state == TAKING_BACK:
            return f"{rotation.name}: hosts go back to version {rotation.before} at {rotation.provider}"
        where = "the newest one there" if rotation.state == ADOPTED else "which only this rotation reads so far"
        return f"{rotation.name}: from version {rotation.before} to {rotation.after} at {rotation.provider}, {where}"

    def _would(self, policy: RotationPolicy, rotation: Rotation | None, back: bool) -> str:
        if back or rotation:
            step = f"open since {rotation.began} ({rotation.state})" if rotation else "not open"
            return f"{policy.name}: {step}; would be {'taken back' if back else 'gone on with'}"
        standing = self._standing(policy.name)
        return f"{policy.name}: version {standing.version or '?'} at {self._first.label} would be rotated ({policy.made_by})"

    # how it ends

    def _is_ours(self, name: str) -> bool:
        found = self.records.read(name)
        return found is not None and found.is_open and found.process == self.process

    def _settled(self, name: str, run_id: str, hosts: Mapping[str, str]) -> Settled:
        rotation = self.records.read(name)
        assert rotation is not None  # noqa: S101 - for the type checker; it is ours
        everywhere = bool(hosts) and all(outcome in HAS_IT for outcome in hosts.values())
        nowhere = all(outcome in HAS_IT_NOT for outcome in hosts.values())
        try:
            policy = policy_of(self.keeper.settings.rotation, name)
            if rotation.state == TAKING_BACK:
                return self._taken_back(policy, rotation) if everywhere else self._left(rotation, hosts)
            if everywhere:
                return self._proven(policy, rotation, run_id)
            if nowhere and rotation.state == MADE and not rotation.resumed:
                return self._taken_back(policy, self._saved(replace(rotation, state=TAKING_BACK)))
            return self._left(rotation if rotation.state == ADOPTED else replace(rotation, state=HANDED_OUT), hosts)
        except Refusal as refusal:
            found = self.records.read(name) or rotation
            said = f"{name}: {found.state}, and then {refusal}"
            return Settled(name, found.state, False, said)

    def _proven(self, policy: RotationPolicy, rotation: Rotation, run_id: str) -> Settled:
        applications = {**rotation.applications, self.application: run_id}
        rotation = replace(rotation, applications=applications)
        if rotation.state != ADOPTED:
            rotation = self._saved(replace(rotation, state=PROVEN))
            self._adopt(rotation)
        rotation = self._saved(replace(rotation, state=ADOPTED))
        stale = [
            name
            for name, run in applications.items()
            if name != self.application and run and self.newest_run(name) not in (None, run)
        ]
        waits = sorted({*rotation.waits_for, *stale})
        if waits:
            said = (
                f"{rotation.name}: version {rotation.after} is the newest one; {rotation.before} stays valid for {', '.join(waits)}. "
                f"Next: make secrets-rotate NAME={rotation.name} APPLICATION={waits[0]}"
            )
            return Settled(rotation.name, ADOPTED, False, said)
        return self._retired(policy, rotation)

    def _adopt(self, rotation: Rotation) -> None:
        """Let everybody read what every host was healthy with; done before, it is not done again."""
        if self._is_adopted(rotation):
            return
        values, now = values_in(self._own_candidate(rotation)), self._read(rotation.name)
        secret = Secret(rotation.name, values, now.kind, now.description, rotation.after)
        try:
            self._done(rotation.name, lambda: self._first.replace(secret, rotation.before))
        finally:
            self.keeper.cache.forget(rotation.name)

    def _retired(self, policy: RotationPolicy, rotation: Rotation) -> Settled:
        maker = self._maker(policy)
        unproven = self._done(rotation.name, lambda: maker.revoke(rotation.origin_before))
        if policy.old != "kept":
            destroyed = policy.old == "destroyed"
            self._done(rotation.name, lambda: self._first.retire(rotation.name, rotation.before, destroyed=destroyed))
        if is_of(self._candidate(rotation.name), rotation.id):
            self._remove_candidate(rotation)
        self._saved(replace(rotation, state=RETIRED))
        of_the_old = f"version {rotation.before} is {policy.old}"
        if policy.old != "kept" and not self._first.ends_versions:
            of_the_old = f"version {rotation.before} has no label at {self._first.label} any more, which removes it in its own time"
        said = f"{rotation.name}: every host has version {rotation.after}; {of_the_old}{unproven and f' ({unproven})'}"
        return Settled(rotation.name, RETIRED, True, said)

    def _taken_back(self, policy: RotationPolicy, rotation: Rotation) -> Settled:
        self._undo(policy, rotation)
        self._saved(replace(rotation, state=TAKEN_BACK))
        said = f"{rotation.name}: every host reads version {rotation.before}, as before; the new one is gone"
        return Settled(rotation.name, TAKEN_BACK, True, said)

    def _left(self, rotation: Rotation, hosts: Mapping[str, str]) -> Settled:
        self._saved(rotation)
        reached = [host for host, outcome in sorted(hosts.items()) if outcome in HAS_IT]
        others = [f"{host} ({outcome})" for host, outcome in sorted(hosts.items()) if outcome not in HAS_IT]
        version = rotation.before if rotation.state == TAKING_BACK else rotation.after
        said = (
            f"{rotation.name}: {', '.join(reached) or 'no host'} on version {version}; not known to be: {', '.join(others)}. Both "
            f"versions are valid. When they answer, the same command goes on with it"
        )
        return Settled(rotation.name, rotation.state, False, said)

    # what it stands on

    @property
    def _first(self) -> Provider:
        return self.keeper.providers[0]

    @property
    def _caller(self) -> Caller:
        return self.keeper.caller

    def _maker(self, policy: RotationPolicy) -> Maker:
        return Maker(policy, self._first if isinstance(self._first, Vault) else None)

    def _candidate(self, name: str) -> Secret | None:
        """What is there as the next version of a secret, whosever it is."""
        try:
            return self.keeper.ask_first(name, lambda: self._first.read(candidate_of(name)))
        except Unknown:
            return None

    def _own_candidate(self, rotation: Rotation) -> Secret:
        found = self._candidate(rotation.name)
        if found is None or not is_of(found, rotation.id):
            raise taken(rotation.name, self._first.label, found)
        return found

    def _is_adopted(self, rotation: Rotation) -> bool:
        """Whether everybody reads the new version, also where that was not noted since the answer was lost."""
        found, now = self._candidate(rotation.name), self._read(rotation.name)
        return (
            found is not None
            and is_of(found, rotation.id)
            and now.version == rotation.after
            and dict(now.fields) == values_in(found)
        )

    def _undo(self, policy: RotationPolicy, rotation: Rotation) -> None:
        """Make the new version invalid and remove it. What another rotation has put in its place stays, and so does what that may
        have made of a role that they share; a lease is this one's alone.
        """
        is_ours = is_of(self._candidate(rotation.name), rotation.id)
        if is_ours or policy.made_by == DYNAMIC:
            self._revoke(policy, rotation.origin)
        if is_ours:
            self._remove_candidate(rotation)

    def _revoke(self, policy: RotationPolicy, origin: Mapping[str, str]) -> None:
        """Make what came from there invalid, where it came from anywhere."""
        if origin:
            maker = self._maker(policy)
            self._done(policy.name, lambda: maker.revoke(origin))

    def _standing(self, name: str) -> Standing:
        return self._known(name, lambda: self._first.standing(name))

    def _read(self, name: str) -> Secret:
        return self._known(name, lambda: self._first.read(name))

    def _known(self, name: str, question: Callable[[], T]) -> T:
        """The answer to a question, which is refused where the first provider does not have the secret."""
        try:
            return self.keeper.ask_first(name, question)
        except Unknown:
            raise unknown_at(name, None, self._first.label) from None

    def _done(self, name: str, act: Callable[[], T]) -> T:
        """Have something changed: asked once."""
        self._require_run(name)
        try:
            return self.keeper.ask_first(name, act, changes=True)
        except Unknown:
            raise unknown_at(name, None, self._first.label) from None

    def _require_run(self, name: str) -> None:
        """Refuse to a worker whose run was killed to change anything: what hosts have since then it does not know."""
        if not self.process.is_alive():
            raise Refusal(
                "rotation_run_ended",
                expected=f"the run that rotates {name} to be there",
                found=f"its process {self.process.pid} gone, and a worker of it that goes on",
                remedy="Run the same command again: it goes on with what was left.",
            )

    def _remove_candidate(self, rotation: Rotation) -> None:
        name = candidate_of(rotation.name)
        self._done(rotation.name, lambda: self._first.remove(name))
        self.keeper.cache.forget(name)

    def _saved(self, rotation: Rotation) -> Rotation:
        """Keep how far it is, and note each step in the access log."""
        self._require_run(rotation.name)
        kept = self.records.save(replace(rotation, changed=timestamp(self.keeper.clock.now())))
        version = kept.before if kept.state in (TAKING_BACK, TAKEN_BACK) else kept.after
        self.keeper.note_rotation(kept.name, kept.state, version)
        return kept
