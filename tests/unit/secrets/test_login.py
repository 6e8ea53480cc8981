# SPDX-License-Identifier: GPL-3.0-or-later
"""One login for each provider and run, whatever the number of processes."""

from __future__ import annotations

import threading

import pytest
from ansible.module_utils.slipway.secrets.login import Logins, Token
from ansible.module_utils.slipway.secrets.volatile import Volatile
from safes import CANARY, is_locked


class Doorkeeper:
    """Counts who logs in."""

    def __init__(self, lease=3600):
        self.count, self.lease = 0, lease

    def __call__(self):
        self.count += 1
        return Token(f"{CANARY}-{self.count}", self.lease)


def test_all_processes_of_a_run_use_one_login(place, clock):
    login, tokens = Doorkeeper(), []
    threads = [
        threading.Thread(target=lambda: tokens.append(Logins(place, clock).token(("vault",), login))) for _ in range(12)
    ]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert (login.count, set(tokens)) == (1, {f"{CANARY}-1"})


def test_while_one_logs_in_the_others_wait(place, clock):
    held = []

    def login():
        held.extend(is_locked(path) for path in (place.directory / place.run).glob("token-*.lock"))
        return Token(CANARY, 3600)

    assert Logins(place, clock).token(("vault",), login) == CANARY
    assert held == [True]


def test_another_origin_and_another_run_log_in_for_themselves(place, clock):
    login = Doorkeeper()
    Logins(place, clock).token(("vault",), login)
    Logins(place, clock).token(("vault", "other"), login)
    (place.directory / "run-4-5-6").mkdir()
    Logins(Volatile(place.directory, "run-4-5-6"), clock).token(("vault",), login)
    assert login.count == 3


@pytest.mark.parametrize("shared", [True, False])
def test_a_token_ends_before_its_lease_does(memory, place, clock, shared):
    login = Doorkeeper(lease=60)
    logins = Logins(place if shared else None, clock)
    logins.token(("vault",), login)
    clock.boot += 49
    logins.token(("vault",), login)
    assert login.count == 1
    clock.boot += 1
    logins.token(("vault",), login)
    assert login.count == 2


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("lease", [None, 0, 3600])
def test_one_that_was_rejected_is_replaced_once(place, clock, shared, lease):
    login = Doorkeeper(lease)
    logins = Logins(place if shared else None, clock)
    first = logins.token(("vault",), login)
    second = logins.token(("vault",), login, rejected=first)
    assert first != second == logins.token(("vault",), login, rejected=first) == logins.token(("vault",), login)
    assert login.count == 2


def test_what_cannot_be_read_is_no_login(place, clock):
    login = Doorkeeper()
    Logins(place, clock).token(("vault",), login)
    (entry,) = place.names(place.run)
    place.write(entry, b"noise")
    assert Logins(place, clock).token(("vault",), login) == f"{CANARY}-2"


def test_a_token_does_not_show_itself(clock):
    logins = Logins(None, clock)
    logins.token(("vault",), Doorkeeper())
    assert CANARY not in repr((Token(CANARY, 1), logins))
