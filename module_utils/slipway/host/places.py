# SPDX-License-Identifier: GPL-3.0-or-later
"""A host: who it is, where things are on it, and the means to act on it.

``root`` is ``/`` on a real host; tests give a directory of their own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..base import canonical
from ..base.clock import Clock, SystemClock
from ..base.command import Runner, run
from ..base.errors import Refusal, shown
from ..base.fields import NAME, ONE_LINE, Fields
from ..base.files import opened_directory, read_regular
from ..trust.policy import TrustPolicy

FORMAT = 1
IDENTITY_LIMIT = 64 * 1024
POLICY_LIMIT = 1 << 20
STATE_SECONDS = 10.0
_REMEDY = "Find out who changed it; restore it, or remove it and run playbooks/bootstrap.yml for this host."


@dataclass(frozen=True)
class Identity:
    """What ``/etc/slipway/host.json`` says: made at bootstrap, never by a deploy."""

    id: str
    name: str
    environment: str


@dataclass(frozen=True)
class Host:
    """The file system, clock and commands that the domain works with; ``uid`` owns what Slipway writes."""

    root: Path = Path("/")
    clock: Clock = field(default_factory=SystemClock)
    run: Runner = run
    uid: int = 0

    @property
    def configuration(self) -> Path:
        return self.root / "etc/slipway"

    @property
    def resident(self) -> Path:
        return self.root / "usr/lib/slipway/slipway.pyz"

    @property
    def states(self) -> Path:
        """The directory with one state directory for each application."""
        return self.root / "var/lib/slipway"

    @property
    def history_key(self) -> Path:
        """The private key that this host signs its histories with."""
        return self.states / "history-key.pem"

    @property
    def balancer_socket(self) -> Path:
        """Where the host's own HAProxy takes orders; it stands before applications with two instances."""
        return self.root / "run/slipway-haproxy/admin.sock"

    def is_stopping(self) -> bool:
        """Whether systemd shuts the machine down: what units and probes say then is no word on a release."""
        asked = self.run(("systemctl", "--no-ask-password", "is-system-running"), timeout_seconds=STATE_SECONDS)
        return asked.output.strip() == "stopping"

    def application_names(self) -> list[str]:
        """Every application that ever had a release staged here."""
        if not self.states.is_dir():
            return []
        return sorted(path.name for path in self.states.iterdir() if path.is_dir())

    def identity(self) -> Identity:
        """Who this host is; refused when others could have written it, since a host's environment decides what it requires."""
        path = self.configuration / "host.json"
        data = self._read_owned(path, limit=IDENTITY_LIMIT, what="host identity")
        fields = Fields(canonical.parse(data, what="host identity"), "host identity", "host_identity_invalid", _REMEDY)
        refuse_newer_format(fields.take("format"), path)
        identity = Identity(*(fields.text(name, ONE_LINE) for name in ("id", "name", "environment")))
        fields.end()
        return identity

    def policy(self) -> TrustPolicy:
        """The trust policy that holds on this host; no request can bring another."""
        path = self.configuration / "trust-policy.dsse.json"
        return TrustPolicy.parse(self._read_owned(path, limit=POLICY_LIMIT, what="trust policy"))

    def _read_owned(self, path: Path, *, limit: int, what: str) -> bytes:
        """The bytes of a file that nobody else can write, in a directory that nobody else can write.

        Directory and file are judged by the descriptors that are read from, so nothing can be put in between.
        """
        with opened_directory(path.parent, what=what) as directory:
            self._require_owned(directory, path.parent)
            return read_regular(
                path, limit=limit, what=what, directory=directory, judge=lambda file: self._require_owned(file, path)
            )

    def _require_owned(self, descriptor: int, place: Path) -> None:
        status = os.fstat(descriptor)
        if status.st_uid != self.uid or status.st_mode & 0o022:
            raise Refusal(
                "trust_directory_writable",
                expected=f"{place} owned by uid {self.uid} and writable by nobody else",
                found=f"uid {status.st_uid}, mode {status.st_mode & 0o7777:04o}",
                remedy=f"Find out who changed it and compare what is in it with another host; then chown root {place} and chmod go-w {place}.",
            )


def require_environment(identity: Identity, requested: str) -> None:
    """A host's environment is its own: a request that names another must not lower what this one requires."""
    if identity.environment != requested:
        raise Refusal(
            "environment_mismatch",
            expected=f"a request for {identity.environment}, the environment of host {identity.name}",
            found=f"a request for {requested!r}",
            remedy="Limit the run to hosts of one environment, or bootstrap the host into the other one.",
        )


def refuse_newer_format(found: object, where: Path) -> None:
    """Formats only grow: a newer one was written by a newer Slipway, whose promises we do not know."""
    if found != FORMAT:
        raise Refusal(
            "format_unknown",
            expected=f"format {FORMAT} in {where}",
            found=repr(found),
            remedy="Use the Slipway release that wrote it, or a newer one.",
        )


@dataclass(frozen=True)
class Places:
    """Where one application's things are on a host (docs/architecture.md, "On a host")."""

    host: Host
    application: str

    def __post_init__(self) -> None:
        if not NAME.match(self.application):
            raise Refusal(
                "application_unknown",
                expected="the name of an application",
                found=shown(self.application),
                remedy="Correct the name; `slipway status` shows those that are here.",
            )

    @property
    def base(self) -> Path:
        return self.host.root / "srv" / self.application

    @property
    def releases(self) -> Path:
        return self.base / "releases"

    @property
    def objects(self) -> Path:
        return self.base / ".objects"

    @property
    def shared(self) -> Path:
        return self.base / "shared"

    @property
    def current(self) -> Path:
        return self.base / "current"

    @property
    def way_back(self) -> Path:
        """The link that a revert renames over ``current``: made before the switch, so that a full disk cannot prevent it."""
        return self.base / ".way-back"

    @property
    def share(self) -> Path:
        """The percentage of its work that a canary is to take on, for the application to read; absent for all of it."""
        return self.base / "share"

    @property
    def instances(self) -> Path:
        """Where there are two instances: for each colour that may run, a link to its release."""
        return self.base / "instances"

    @property
    def incoming(self) -> Path:
        """Objects that are being fetched from an artifact store: verified before they get a name among `objects`."""
        return self.base / ".incoming"

    @property
    def state(self) -> Path:
        return self.host.states / self.application

    @property
    def manifests(self) -> Path:
        return self.state / "manifests"

    @property
    def history(self) -> Path:
        return self.state / "history.jsonl"

    @property
    def history_tree(self) -> Path:
        """What `log` remembers of the history's tree: not trusted, and made anew when it is lost."""
        return self.state / "history.tree"

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint of the history that this host signed."""
        return self.state / "checkpoint"

    @property
    def checked(self) -> Path:
        """When every byte of the active release was last verified by request; gone after a reboot."""
        return self.markers / "checked.json"

    @property
    def markers(self) -> Path:
        """Where an open transaction has a file of its name for as long as the host runs; empty after a reboot."""
        return self.host.root / "run/slipway" / self.application

    @property
    def journal(self) -> Path:
        return self.state / "journal.jsonl"

    @property
    def lease(self) -> Path:
        return self.state / "lease.json"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def fetching(self) -> Path:
        """Held by the one exchange that fetches at a time."""
        return self.state / "fetching"

    @property
    def manual_lock(self) -> Path:
        """The lock that a person took, if one did."""
        return self.state / "manual-lock.json"

    @property
    def backups(self) -> Path:
        return self.state / "backups"

    @property
    def credentials(self) -> Path:
        """What the application's service gets as credentials (`credentials`); not there for one that gets none."""
        return self.state / "credentials"

    @property
    def reserve(self) -> Path:
        """Room for the journal and the history, freed when the disk is full at the worst moment."""
        return self.state / "reserve"

    @property
    def format(self) -> Path:
        return self.state / "format"

    def require_bootstrapped(self) -> None:
        """Both directories are made by playbooks/bootstrap.yml, with the application's group on one of them."""
        for place in (self.base, self.state):
            if not place.is_dir():
                raise Refusal(
                    "application_not_bootstrapped",
                    expected=f"the directory {place}",
                    found="none",
                    remedy=f"Run playbooks/bootstrap.yml for this host: it prepares the application {self.application}.",
                )
        if self.format.exists():
            text = read_regular(self.format, limit=16, what="format").decode("ascii", "replace").strip()
            refuse_newer_format(int(text) if text.isdigit() else text, self.format)
