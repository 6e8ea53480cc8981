# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host settles without a controller: at boot, at a dead-man's deadline, and by hand.

Two units of systemd start it. ``slipway-recover.service`` runs at each boot before any ordinary service, so that no application
starts with a release that nobody confirmed. ``slipway-deadman@<application>.service`` is what the timers of `deadman` start.
"""

from __future__ import annotations

from typing import Final

from ..base.errors import Refusal
from ..base.files import fsync_directory, point_link, read_if_there, read_link, remove_durable, write_durable
from ..trust.chain import Record
from .lease import Run, end_frozen, exclusive, locked
from .places import Host, Places
from .transaction import Transactions

NOBODY: Final = Run(run_id="", controller_id="", deployed_by="")
DIRECTORY: Final = "etc/systemd/system"
RELOAD_SECONDS: Final = 90.0
UNIT_LIMIT: Final = 64 * 1024
RECOVER: Final = "slipway-recover.service"
STANDBY: Final = "slipway-standby.socket"
WANTED: Final = {RECOVER: "basic.target.wants", STANDBY: "sockets.target.wants"}
UNITS: Final = {
    # Without default dependencies, which would order it after basic.target: everything ordinary comes after that.
    RECOVER: """\
[Unit]
Description=Slipway: settle what a crash left open, before any application starts
DefaultDependencies=no
RequiresMountsFor=/usr/lib/slipway
After=local-fs.target
Before=basic.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/slipway/slipway.pyz recover --boot
TimeoutStartSec=5min

[Install]
WantedBy=basic.target
""",
    # It is tried again until it succeeds: an exchange may hold the lock, a disk may be away for a while.
    "slipway-deadman@.service": """\
[Unit]
Description=Slipway: take %i back unless its release was confirmed
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/usr/lib/slipway/slipway.pyz expire %i
Restart=on-failure
RestartSec=2s
""",
    STANDBY: """\
[Unit]
Description=Slipway: exchanges are faster through a process that has everything imported

[Socket]
ListenStream=/run/slipway-standby.socket
SocketMode=0600

[Install]
WantedBy=sockets.target
""",
    # What an exchange has begun goes on when the process that it was forked from ends.
    "slipway-standby.service": """\
[Unit]
Description=Slipway: exchanges with a controller, for as long as they come
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 -I /usr/lib/slipway/slipway.pyz standby
KillMode=process
""",
}


def lacking_units(host: Host) -> bool:
    """Whether one of Slipway's own units is not on the host as it should be."""
    directory = host.root / DIRECTORY
    return any(
        read_if_there(directory / name, limit=UNIT_LIMIT, what="unit") != text.encode() for name, text in UNITS.items()
    ) or any(read_link(directory / wanted / name) != _target(name) for name, wanted in WANTED.items())


def install_units(host: Host) -> None:
    """Write them, have systemd read them, and let the boot start what is to run there.

    That comes last: until it is there, the next bootstrap does all of it again. Refusal ``systemd_not_reloaded``. That the socket could
    not be opened is none: without it exchanges take longer.
    """
    directory = host.root / DIRECTORY
    for name, wanted in WANTED.items():
        (directory / wanted).mkdir(mode=0o755, parents=True, exist_ok=True)
        remove_durable(directory / wanted / name)
    fsync_directory(directory)
    for name, text in UNITS.items():
        write_durable(directory / name, text.encode(), mode=0o644)
    reloaded = host.run(("systemctl", "--no-ask-password", "daemon-reload"), timeout_seconds=RELOAD_SECONDS)
    if not reloaded.succeeded:
        raise Refusal(
            "systemd_not_reloaded",
            expected="systemd to read the units of Slipway (systemctl daemon-reload)",
            found=reloaded.described(),
            remedy="Mend systemd on the host, then run playbooks/bootstrap.yml again.",
        )
    host.run(("systemctl", "--no-ask-password", "start", STANDBY), timeout_seconds=RELOAD_SECONDS)
    for name, wanted in WANTED.items():
        point_link(directory / wanted / name, _target(name))


def _target(name: str) -> str:
    return f"/{DIRECTORY}/{name}"


def at_boot(places: Places) -> str:
    """Move links and files back from what nobody confirmed before the restart; says what was found.

    It talks to no unit and waits for nothing. A transaction whose marker is there is of this boot, and the dead-man's.
    Refusal ``busy`` where an exchange is at work.
    """
    places.require_bootstrapped()
    with exclusive(places.lock, places.host.clock, wait_seconds=0):
        transactions = Transactions(places, at_boot=True)
        transaction = transactions.journal.read()
        if transaction is not None and transactions.deadman.is_marked(transaction):
            return f"run {transaction.run_id} was begun after the restart: left alone"
        return _told(_settle(transactions))


def at_deadline(places: Places) -> str:
    """Go back from what nobody confirmed in time; says what was found.

    Where the deadline has moved, or the timer came early, another timer is armed. Refusal ``busy`` where an exchange does not end:
    whoever calls this calls it again. An exchange that somebody stopped (SIGSTOP) would hold the lock for ever: it is killed, which
    the journal survives.
    """
    places.require_bootstrapped()
    transactions = Transactions(places)
    deadman = transactions.deadman
    try:
        with exclusive(places.lock, places.host.clock):
            transaction = transactions.journal.read()
            if (
                transaction is not None
                and not deadman.overdue(transaction)
                and (left := deadman.seconds_left(transaction))
            ):
                deadman.keep_only(deadman.rearm(transaction))
                return f"{left} s left to confirm {transaction.intent['release_id']}"
            return _told(_settle(transactions))
    except Refusal as refusal:
        if refusal.reason == "busy" and deadman.overdue(transactions.journal.read()):
            end_frozen(places.lock)
        raise


def by_hand(places: Places, *, forced: bool) -> str:
    """Settle what is open, unless a run that may still live holds it and this is not ``forced``: then Refusal ``locked``."""
    places.require_bootstrapped()
    with exclusive(places.lock, places.host.clock):
        transactions = Transactions(places)
        if not forced and (holder := transactions.holder(NOBODY)):
            raise locked(holder)
        return _told(_settle(transactions))


def _settle(transactions: Transactions) -> Record | None:
    record = transactions.recover()
    transactions.sign()
    return record


def _told(record: Record | None) -> str:
    return f"{record['status']}: {record['message']}" if record else "nothing was open"
