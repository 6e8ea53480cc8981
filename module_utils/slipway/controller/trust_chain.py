# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of a trust policy as files, and how the next one is signed by several people. Controller only.

Beside ``trust-policy.dsse.json``, the version in force, lie ``<n>.trust-policy.dsse.json`` for each version that was, and
``<n>.draft.dsse.json`` while version n is still to be signed. A draft is an envelope with the signatures that it has so
far; it goes from one root holder to the next, or each signs a copy and the signatures are put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import fsync_directory, read_regular, write_durable
from ..trust import dsse
from ..trust.keys import PublicKey, SigningKey
from ..trust.policy import ROOT, TrustPolicy, read_policy, sign_policy
from ..trust.rotation import MAX_CHAIN, differences, lacking, require_not_softened, rotate
from .policy_draft import Draft

MODE: Final = 0o644
_WHAT: Final = "trust policy"


@dataclass(frozen=True)
class Step:
    """What was done, or would be in check mode.

    `policy` is the version that this is about, `differences` says in words how it differs from the one before, or what the
    description says otherwise than the policy in force. `lacking` says who must still sign; then `draft` is its file.
    """

    changed: bool
    policy: TrustPolicy
    differences: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    draft: Path | None = None


@dataclass(frozen=True)
class TrustChain:
    """The files around the trust policy at `path`."""

    path: Path

    def version_path(self, version: int) -> Path:
        return self.path.with_name(f"{version}.{self.path.name}")

    def draft_path(self, version: int) -> Path:
        return self.path.with_name(f"{version}.draft.dsse.json")

    def envelopes(self) -> list[bytes]:
        """The chain up to the version in force, oldest first, as far back as it was kept and as hosts take it at once."""
        newest = read_policy(self.path)
        chain = [self._bytes(self.path)]
        for version in range(newest.version - 1, max(0, newest.version - MAX_CHAIN), -1):
            if not self.version_path(version).exists():
                break
            chain.insert(0, self._bytes(self.version_path(version)))
        return chain

    def establish(self, draft: Draft, keys: Sequence[SigningKey], *, now: int, check: bool = False) -> Step:
        """Sign version 1 when there is none; when there is a policy, say what the description says otherwise."""
        if self.path.exists():
            policy = read_policy(self.path)
            return Step(False, policy, self._wanted(draft, policy, now))
        envelope = sign_policy(canonical.parse(draft.next_version(None, now=now), what=_WHAT), *keys)
        policy = TrustPolicy.parse(envelope)
        if not check:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._keep(policy, envelope)
        return Step(True, policy, tuple(differences(None, policy)))

    def draft(
        self, draft: Draft, keys: Sequence[SigningKey], *, now: int, renew: bool = False, check: bool = False
    ) -> Step:
        """Make the next version as it is described and sign it with those of `keys` that are root's.

        A draft that lies there and says the same goes on; one that says something else is refused. With `renew` there is
        a next version also when only the times change.
        """
        current = read_policy(self.path)
        path = self.draft_path(current.version + 1)
        if path.exists():
            envelope = self._drafted(self._bytes(path), current)
            offered = TrustPolicy.from_payload(envelope.payload)
            if changes := draft.changes(offered):
                raise Refusal(
                    "policy_draft_differs",
                    expected=f"the draft at {path} to say what the variables say",
                    found="; ".join(changes),
                    remedy="Have it signed as it is (make trust-sign), or remove it, draft anew and let everybody sign again.",
                )
        elif not renew and not draft.changes(current):
            return Step(False, current)
        else:
            envelope = dsse.Envelope(dsse.TRUST_POLICY_TYPE, draft.next_version(current, now=now), ())
        offered = TrustPolicy.from_payload(envelope.payload)
        able = {key.hex for key in _root_keys(current, offered)}
        signing = [key for key in keys if PublicKey.of(key).hex in able]
        return self._proceed(current, _signed_also(envelope, signing), path, now=now, check=check)

    def sign(
        self, file: Path, keys: Sequence[SigningKey], *, now: int, digest: str | None = None, check: bool = False
    ) -> Step:
        """Add a signature of each of `keys` to the draft in `file`, and what a draft of the same bytes here has already.

        `digest` is the sha256 of what the signer was shown; a file that says something else by now is not signed. Once
        nobody's signature is lacking, the version is taken into force here.
        """
        current = read_policy(self.path)
        envelope = self._drafted(self._bytes(file), current)
        offered = TrustPolicy.from_payload(envelope.payload)
        if offered.digest == current.digest:
            return Step(False, current)
        if digest is not None and offered.digest != digest:
            raise Refusal(
                "policy_draft_changed",
                expected=f"the draft that was shown, {digest}",
                found=f"another one in {file}, {offered.digest}",
                remedy="Look at it again before you sign.",
            )
        able = _root_keys(current, offered)
        for key in keys:
            if PublicKey.of(key) not in able:
                raise Refusal(
                    "root_key_unknown",
                    expected=f"a root key of version {current.version} or {offered.version} that is not revoked",
                    found=f"the key {PublicKey.of(key).keyid}",
                    remedy="Sign with the key of a root holder; others have no say in a trust policy.",
                )
        if (here := self._copy_here(envelope, current)) is not None:
            envelope = _united(envelope, here)
        return self._proceed(current, _signed_also(envelope, keys), file, now=now, check=check)

    def signers_of(self, file: Path) -> frozenset[PublicKey]:
        """The keys whose signature counts for the draft in `file`."""
        current = read_policy(self.path)
        return _root_keys(current, TrustPolicy.from_payload(self._drafted(self._bytes(file), current).payload))

    def _wanted(self, draft: Draft, policy: TrustPolicy, now: int) -> tuple[str, ...]:
        """What the next version would change, nothing where the description says what `policy` says."""
        if not draft.changes(policy):
            return ()
        return tuple(differences(policy, TrustPolicy.from_payload(draft.next_version(policy, now=now))))

    def _drafted(self, data: bytes, current: TrustPolicy) -> dsse.Envelope:
        """Read a draft of the version after `current`, or that version itself; anything else is refused."""
        envelope = dsse.Envelope.parse(data, payload_type=dsse.TRUST_POLICY_TYPE, what=_WHAT, is_draft=True)
        offered = TrustPolicy.from_payload(envelope.payload)
        if offered.digest != current.digest:
            if offered.version != current.version + 1:
                raise Refusal(
                    "policy_draft_version",
                    expected=f"a draft of version {current.version + 1}, since version {current.version} is in force here",
                    found=f"one of version {offered.version}",
                    remedy="Bring this copy of the trust policy up to date (make trust-add), or draft anew on the controller.",
                )
            require_not_softened(current, offered)
        able = _root_keys(current, offered)
        counted = (each for each in envelope.signatures if dsse.signers(replace(envelope, signatures=(each,)), able))
        return replace(envelope, signatures=tuple(counted))

    def _copy_here(self, envelope: dsse.Envelope, current: TrustPolicy) -> dsse.Envelope | None:
        """The draft that lies here, if it is one of the same bytes."""
        path = self.draft_path(current.version + 1)
        here = self._drafted(self._bytes(path), current) if path.exists() else None
        return here if here is not None and here.payload == envelope.payload else None

    def _proceed(self, current: TrustPolicy, envelope: dsse.Envelope, path: Path, *, now: int, check: bool) -> Step:
        """Keep the draft at `path`, and once it is complete the version itself."""
        offered = TrustPolicy.from_payload(envelope.payload)
        data = envelope.encode()
        told = tuple(differences(current, offered))
        if missing := lacking(current, envelope):
            copies = {path} | ({self.draft_path(offered.version)} if self._copy_here(envelope, current) else set())
            outdated = [copy for copy in sorted(copies) if not copy.exists() or self._bytes(copy) != data]
            for copy in () if check else outdated:
                write_durable(copy, data, mode=MODE)
            return Step(bool(outdated), offered, told, tuple(missing), path)
        rotate(current, data, now)
        if not check:
            if path != self.draft_path(offered.version):
                write_durable(path, data, mode=MODE)
            if not self.version_path(current.version).exists():
                write_durable(self.version_path(current.version), self._bytes(self.path), mode=MODE)
            self._keep(offered, data)
            self.draft_path(offered.version).unlink(missing_ok=True)
            fsync_directory(self.path.parent)
        return Step(True, offered, told)

    def _keep(self, policy: TrustPolicy, envelope: bytes) -> None:
        write_durable(self.version_path(policy.version), envelope, mode=MODE)
        write_durable(self.path, envelope, mode=MODE)

    @staticmethod
    def _bytes(path: Path) -> bytes:
        return read_regular(path, limit=dsse.MAX_ENVELOPE_BYTES, what=_WHAT)


def _root_keys(current: TrustPolicy, offered: TrustPolicy) -> frozenset[PublicKey]:
    """The keys whose signature counts for one of the two roots."""
    return frozenset(
        key.public
        for policy in (current, offered)
        for key in policy.roles[ROOT].keys
        if key.public.keyid not in policy.revoked_keys
    )


def _signed_also(envelope: dsse.Envelope, keys: Iterable[SigningKey]) -> dsse.Envelope:
    """The envelope with a signature of each of `keys` that has not signed it yet."""
    wanted = {PublicKey.of(key): key for key in keys}
    there = dsse.signers(envelope, wanted)
    new = dsse.sign(
        envelope.payload_type, envelope.payload, *(key for public, key in wanted.items() if public not in there)
    )
    return _united(envelope, new)


def _united(envelope: dsse.Envelope, other: dsse.Envelope) -> dsse.Envelope:
    known = {signature.value for signature in envelope.signatures}
    added = tuple(signature for signature in other.signatures if signature.value not in known)
    return dsse.Envelope(envelope.payload_type, envelope.payload, (*envelope.signatures, *added))
