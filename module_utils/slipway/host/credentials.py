# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application's service gets as credentials: generations that never change, and the links that say which one it gets.

A generation is a directory with a file for each credential, encrypted for this host by ``systemd-creds``; ``<generation>.json``
beside it says what they are, never what they contain. The unit loads all of the directory behind a link
(``LoadCredentialEncrypted=slipway:<link>``), so that a switch is one rename, needs no reload of systemd, and is taken back by another one
whatever names the two generations have. The service finds ``database_password`` as ``slipway_database_password``.

Whether values changed is told by keyed digests whose key never leaves the host. Two generations with the same values are one.
Everything here that changes something is called under ``lease.exclusive``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..application.blue_green import COLOURS, instance_unit
from ..application.description import Application
from ..application.service import Service
from ..base import canonical
from ..base.clock import timestamp
from ..base.errors import Refusal, shown
from ..base.files import (
    fsync_directory,
    full_disk_is_a_refusal,
    point_link,
    read_if_there,
    read_link,
    read_regular,
    remove_durable,
    remove_temporary,
    remove_tree,
    write_durable,
)
from ..trust.chain import Record
from . import unit_file
from .places import Places

# What systemd takes as a name, with our prefix before it; and neither hidden nor another directory.
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,126}\Z")
GENERATION: Final = re.compile(r"[0-9a-f]{16}\Z")
PREFIX: Final = "slipway_"
CURRENT: Final = "current"
UNMADE: Final = "unmade"  # in check mode: a generation that a deployment would make
NEW: Final = ".new-"
KEY: Final = "key"
KEY_BYTES: Final = 32
MOST: Final = 100
MOST_BYTES: Final = 1 << 20  # systemd's limit for all credentials of a unit, their names included
ENCRYPTED_LIMIT: Final = 2 << 20
ABOUT_LIMIT: Final = 1 << 20
LEAST_SYSTEMD: Final = 250
SECONDS: Final = 60.0
RELOAD_SECONDS: Final = 90.0
ABOUT: Final = ("secret", "field", "provider", "version")


@dataclass(frozen=True, repr=False)
class Given:
    """The credentials that a service is to get: ``values`` by name, and ``about`` each {secret, field, provider, version}, texts or null."""

    values: Mapping[str, bytes]
    about: Mapping[str, Mapping[str, str | None]]

    def __repr__(self) -> str:
        return f"Given({', '.join(sorted(self.values))})"

    @classmethod
    def parse(cls, request: Mapping[str, Any]) -> Given | None:
        """Those of a request: ``credentials`` {name: about}, ``credential_values`` base64 of a JSON object {name: value}.

        None where the request says nothing of credentials, so that those that are here stay. Refusals: ``credentials_invalid``,
        ``credential_unfit``. No refusal shows a value.
        """
        declared = request.get("credentials")
        if declared is None:
            return None
        values = _values(request.get("credential_values") or "")
        if not isinstance(declared, Mapping) or set(declared) != set(values) or len(values) > MOST:
            raise _invalid(f"at most {MOST} names, each with a value", "something else")
        about = {}
        for name, each in declared.items():
            require_name(name)
            if not isinstance(each, Mapping) or not all(
                each.get(key) is None or isinstance(each[key], str) for key in ABOUT
            ):
                raise _invalid(f"texts about {name}", "something else")
            about[name] = {key: each.get(key) for key in ABOUT}
        require_fit(values)
        return cls(values, about)


def encoded(values: Mapping[str, str]) -> str:
    """Values by name as they travel: one text, which nothing but the whole of it is taken for."""
    return base64.b64encode(canonical.encode(dict(values))).decode("ascii")


def _values(text: str) -> dict[str, bytes]:
    try:
        data = base64.b64decode(text, validate=True)
        values = canonical.parse(data, what="credentials", limit=8 * MOST_BYTES) if data else {}
    except (binascii.Error, ValueError, TypeError, Refusal):
        raise _invalid("values as the controller sends them", "something else") from None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise _invalid("a text for each name", "something else")
    return {name: value.encode() for name, value in values.items()}


def require_name(name: object) -> str:
    """The name of a credential: a file's name, as systemd takes it."""
    if not isinstance(name, str) or not NAME.match(name):
        raise _invalid(
            "names of at most 127 letters, digits, dots, dashes, @ and underscores, of which no dot, dash or @ is the first",
            shown(name),
        )
    return name


def require_fit(values: Mapping[str, bytes]) -> None:
    """Refuse what systemd would not load, and an empty value: a program that takes it for a key signs with nothing."""
    empty = sorted(name for name, value in values.items() if not value)
    size = sum(len(PREFIX) + len(name) + len(value) for name, value in values.items())
    if empty or size > MOST_BYTES:
        raise Refusal(
            "credential_unfit",
            expected=f"values that are not empty, at most {MOST_BYTES} bytes in all, which is systemd's limit for a unit",
            found=f"nothing in {', '.join(empty)}" if empty else f"{size} bytes with the names",
            remedy="Set the secret again (make secrets-set), or give the application large data as a file of its release.",
        )


def _invalid(expected: str, found: str) -> Refusal:
    return Refusal(
        "credentials_invalid",
        expected=f"release_credentials: {expected}",
        found=found,
        remedy="Correct release_credentials; docs/howto/credentials.md has its keys.",
    )


@dataclass(frozen=True)
class Turnover:
    """Which generation a transaction switches from and to. ``replaced``: once it is confirmed, nothing goes back to an older one."""

    before: str
    after: str
    replaced: bool = False

    @classmethod
    def of(cls, intent: Mapping[str, Any]) -> Turnover | None:
        """That of a journal's intent; None where the host had no credentials, or knew none yet."""
        found = intent.get("credentials")
        return cls(found["before"], found["after"], found["replaced"]) if found else None

    @property
    def changes(self) -> bool:
        return self.before != self.after

    def as_dict(self) -> dict[str, Any]:
        return {"before": self.before, "after": self.after, "replaced": self.replaced}


@dataclass(frozen=True)
class Comparison:
    """What was given beside what the service gets now: the generation that has it, None where it has to be made; names only."""

    generation: str | None
    names: Sequence[str] = ()
    added: Sequence[str] = ()
    changed: Sequence[str] = ()
    removed: Sequence[str] = ()

    def lines(self) -> list[str]:
        """For people: a line for each credential that the service gets anew, otherwise or no more."""
        words = (("new", self.added), ("changed", self.changed), ("no more", self.removed))
        return [f"credential {name}: {word}" for word, names in words for name in names]

    def as_dict(self) -> dict[str, list[str]]:
        return {key: list(getattr(self, key)) for key in ("names", "added", "changed", "removed")}


@dataclass(frozen=True)
class Credentials:
    """The credentials of one application on this host."""

    places: Places
    application: Application | None = field(default=None)

    @property
    def directory(self) -> Path:
        return self.places.credentials

    def link(self, name: str = CURRENT) -> Path:
        """What a service loads: ``current``, and of two instances each its own colour."""
        return self.directory / name

    def path(self, generation: str) -> Path:
        return self.directory / generation

    def current(self, name: str = CURRENT) -> str | None:
        """The generation behind a link; None where the host has no credentials of this application."""
        return read_link(self.link(name))

    def generations(self) -> list[str]:
        """All that are here, whole or not."""
        if not self.directory.is_dir():
            return []
        return sorted(path.name for path in self.directory.iterdir() if GENERATION.match(path.name))

    def about(self, generation: str | None) -> dict[str, Any] | None:
        """{created, credentials: {name: {secret, field, provider, version, since, digest, sha256}}} of a generation, None where nothing says it.

        ``since`` is when this host first got the value; ``sha256`` is of the encrypted file. A description that was damaged is none: it holds up
        neither a look at the host nor a way back, and a deployment makes the generation anew.
        """
        if generation is None or not GENERATION.match(generation):
            return None
        data = read_if_there(self.directory / f"{generation}.json", limit=ABOUT_LIMIT, what="credentials")
        if data is None:
            return None
        try:
            about: dict[str, Any] = canonical.parse_canonical(data, what="credentials", limit=ABOUT_LIMIT)
        except Refusal:
            return None
        return about

    def holds(self, generation: str) -> bool:
        """Whether a generation is here as it was made."""
        return self.flaw(generation) is None

    def flaw(self, generation: str) -> str | None:
        """What a generation lacks to be as it was made, None for nothing: those files, root's alone, each with its bytes."""
        try:
            about = self.about(generation)
            if about is None:
                return "nothing says what they were"
            if sorted(os.listdir(self.path(generation))) != sorted(about["credentials"]):
                return "other files than there were"
            altered = [
                name
                for name, each in about["credentials"].items()
                if not self._is_as_made(self.path(generation) / name, each["sha256"])
            ]
            return f"{', '.join(altered)} altered" if altered else None
        except OSError as error:
            return f"{error.filename or self.path(generation)} ({error.strerror})"
        except Refusal as refusal:
            return str(refusal)

    def _is_as_made(self, path: Path, sha256: str) -> bool:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != self.places.host.uid or status.st_mode & 0o077:
            return False
        data = read_regular(path, limit=ENCRYPTED_LIMIT, what="credential")
        return hashlib.sha256(data).hexdigest() == sha256

    # what a deployment brings

    def compare(self, given: Given) -> Comparison:
        """What was given beside what is here. Nothing is changed, and no value shows."""
        now = self.about(self.current())
        before = now["credentials"] if now else {}
        digests = self._digests(given)
        names = sorted(given.values)
        return Comparison(
            generation=self._with(digests) if digests is not None else None,
            names=names,
            added=[name for name in names if name not in before],
            changed=[name for name in names if name in before and (digests or {}).get(name) != before[name]["digest"]],
            removed=sorted(before.keys() - given.values.keys()),
        )

    def _with(self, digests: Mapping[str, str]) -> str | None:
        """The generation with these values, the one that the service gets first."""
        current = self.current()
        for generation in sorted(self.generations(), key=lambda each: each != current):
            about = self.about(generation)
            found = {name: each["digest"] for name, each in about["credentials"].items()} if about else None
            if found == digests and self.holds(generation):
                return generation
        return None

    def _digests(self, given: Given) -> dict[str, str] | None:
        """A keyed digest of each value; None where this host has no key yet."""
        key = read_if_there(self.directory / KEY, limit=KEY_BYTES, what="key of credentials")
        if key is None or len(key) != KEY_BYTES:
            return None
        return {
            name: hmac.digest(key, b"%d\0%s%s" % (len(name), name.encode(), value), "sha256").hex()
            for name, value in given.values.items()
        }

    def stage(self, given: Given) -> str:
        """Have what was given here, encrypted and durable, without touching what the service gets; returns its generation.

        Refusals: ``credentials_without_unit``, ``credentials_unsupported``, ``credentials_not_encrypted``, ``unit_foreign``,
        ``systemd_not_reloaded``, ``disk_full``.
        """
        with full_disk_is_a_refusal(self.places.state, what="keep the credentials"):
            self._make_ready()
            found = self.compare(given).generation or self._make(given)
            self._load_them()
        return found

    def _make_ready(self) -> None:
        """The directory, the key, and, in the end, a link for each unit: to what it gets now, which in the beginning is nothing."""
        if not self.directory.is_dir():
            self.directory.mkdir(mode=0o700)
            fsync_directory(self.places.state)
        self.sweep()
        if len(read_if_there(self.directory / KEY, limit=KEY_BYTES, what="key of credentials") or b"") != KEY_BYTES:
            write_durable(self.directory / KEY, secrets.token_bytes(KEY_BYTES), mode=0o600)
        if self.current() is None:
            nothing = Given({}, {})
            point_link(self.link(), self.compare(nothing).generation or self._make(nothing))
        for name in self._instances():
            if self.current(name) is None:
                point_link(self.link(name), str(self.current()))

    def _make(self, given: Given) -> str:
        """Encrypt a generation and give it its name: a name is a whole generation."""
        generation = secrets.token_hex(8)
        building = self.directory / f"{NEW}{generation}"
        before = (self.about(self.current()) or {"credentials": {}})["credentials"]
        digests = self._digests(given) or {}
        created = timestamp(self.places.host.clock.now())
        about: dict[str, Any] = {}
        if given.values:
            require_supported(self.places)
        building.mkdir(mode=0o700)
        try:
            for name, value in sorted(given.values.items()):
                stays = before.get(name, {}).get("digest") == digests[name]
                about[name] = {
                    **given.about[name], "digest": digests[name], "sha256": self._encrypt(building / name, name, value),
                    "since": before[name]["since"] if stays else created,
                }  # fmt: skip
            fsync_directory(building)
            described = canonical.encode({"created": created, "credentials": about})
            write_durable(self.directory / f"{generation}.json", described, mode=0o600)
            os.rename(building, self.path(generation))
        except BaseException:
            remove_tree(building)
            remove_durable(self.directory / f"{generation}.json")
            raise
        fsync_directory(self.directory)
        return generation

    def _encrypt(self, path: Path, name: str, value: bytes) -> str:
        """One credential, for this host and this name alone; returns the sha256 of the file."""
        done = self.places.host.run(
            ("systemd-creds", "encrypt", f"--name={PREFIX}{name}", "-", str(path)), timeout_seconds=SECONDS, given=value
        )
        if not done.succeeded:
            raise Refusal(
                "credentials_not_encrypted",
                expected=f"systemd-creds to encrypt {name} on this host",
                found=done.described(),
                remedy="See what it says: it needs a TPM, or /var/lib/systemd on a disk for the key of the host (systemd-creds setup).",
            )
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, 0o600)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return hashlib.sha256(read_regular(path, limit=ENCRYPTED_LIMIT, what="credential")).hexdigest()

    def _load_them(self) -> None:
        """Have the unit load them when it next starts, by a file beside it: also one that the application brings."""
        application, run = self._described(), self.places.host.run
        written = unit_file.write_drop_in(application, self.places.host, self._directive())
        services = [Service(unit, run) for unit in _units(application)]
        if not written and not any(service.needs_reload() for service in services):
            return
        reloaded = run(("systemctl", "--no-ask-password", "daemon-reload"), timeout_seconds=RELOAD_SECONDS)
        if not reloaded.succeeded:
            raise Refusal(
                "systemd_not_reloaded",
                expected="systemd to read that the unit loads credentials (systemctl daemon-reload)",
                found=reloaded.described(),
                remedy="Mend systemd on the host, then run the same command again.",
            )

    def _directive(self) -> str:
        link = "%i" if self._described().blue_green else CURRENT
        return f"LoadCredentialEncrypted={PREFIX.removesuffix('_')}:/var/lib/slipway/{self.places.application}/credentials/{link}"

    def _described(self) -> Application:
        if self.application is None or self.application.unit is None:
            raise Refusal(
                "credentials_without_unit",
                expected=f"a unit of {self.places.application}, whose service gets the credentials",
                found="an application without a unit",
                remedy="Name its `unit` in slipway_applications, or leave release_credentials empty.",
            )
        return self.application

    def _instances(self) -> Sequence[str]:
        return COLOURS if self.application and self.application.blue_green else ()

    # which of them

    def point(self, generation: str, name: str = CURRENT) -> None:
        """Let a link say this generation, unless it does so already."""
        if self.current(name) != generation:
            point_link(self.link(name), generation)

    def of_release(self, release_id: str, records: Iterable[Record]) -> str | None:
        """The generation that the release had when it was last confirmed here, None where that is unknown or must not be used any more."""
        for record in reversed(list(records)):
            about = record.get("credentials")
            if record["status"] != "success" or not about:
                continue
            if record["active_release_id"] == release_id:
                return str(about["after"])
            if about["replaced"]:
                return None
        return None

    def prune(self, keep: Iterable[str | None]) -> None:
        """Remove the generations that nothing needs any more."""
        kept = {*keep, self.current(), *(self.current(colour) for colour in COLOURS)}
        for generation in self.generations():
            if generation not in kept:
                os.rename(self.path(generation), self.directory / f"{NEW}{generation}")
        self.sweep()

    def sweep(self) -> None:
        """Remove what an interrupted exchange left: half a generation, and what describes one that is not here."""
        if not self.directory.is_dir():
            return
        remove_temporary(self.directory)
        for building in self.directory.glob(f"{NEW}*"):
            remove_tree(building)
        for described in self.directory.glob("*.json"):
            if not self.path(described.stem).is_dir():
                described.unlink()
        fsync_directory(self.directory)

    def summary(self) -> dict[str, Any] | None:
        """For status: {generation, created, credentials: {name: {secret, field, provider, version, since}}}, None where there are none.

        ``created`` is null where nothing says what they are.
        """
        generation = self.current()
        if generation is None:
            return None
        about = self.about(generation) or {"created": None, "credentials": {}}
        return {
            "generation": generation,
            "created": about["created"],
            "credentials": {
                name: {key: each[key] for key in (*ABOUT, "since")} for name, each in about["credentials"].items()
            },
        }


def require_supported(places: Places) -> None:
    """Refuse a host whose systemd cannot load encrypted credentials."""
    asked = places.host.run(("systemd-creds", "--version"), timeout_seconds=SECONDS)
    version = re.match(r"systemd (\d+)", asked.output)
    if not asked.succeeded or version is None or int(version[1]) < LEAST_SYSTEMD:
        raise Refusal(
            "credentials_unsupported",
            expected=f"systemd {LEAST_SYSTEMD} or newer, with systemd-creds",
            found=version[0] if version and asked.succeeded else asked.described(),
            remedy="Use a host with Debian 12, Ubuntu 24.04 or newer, or leave release_credentials empty there.",
        )


def _units(application: Application) -> list[str]:
    unit = application.unit or ""
    return [instance_unit(unit, colour) for colour in COLOURS] if application.blue_green else [unit]
