# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of a run: for the right identity, for a short time, in memory."""

from __future__ import annotations

import threading

import pytest
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.secret_cache import ABSENT, SecretCache
from ansible.module_utils.slipway.secrets.volatile import ENTRY_LIMIT, Volatile
from safes import CANARY, secret

ORIGIN = ("vault", "https://vault.example", "namespace", "secret", "prefix", "approle", "identity")


@pytest.fixture(params=["shared", "own"])
def cache(request, memory, clock):
    place = request.getfixturevalue("place") if request.param == "shared" else None
    return SecretCache(place, 300, clock)


def test_an_answer_is_kept_for_its_time_and_no_longer(cache, clock):
    assert cache.get(ORIGIN, "database/main", None) is None
    cache.put(ORIGIN, "database/main", None, secret(kind="database", description="d"))
    assert cache.get(ORIGIN, "database/main", None) == secret(kind="database", description="d")
    clock.boot += 299
    clock.time -= 10**9  # nobody keeps a secret longer by setting a clock
    assert cache.get(ORIGIN, "database/main", None) == secret(kind="database", description="d")
    clock.boot += 1
    assert cache.get(ORIGIN, "database/main", None) is None


@pytest.mark.parametrize(("lease", "until"), [(60, 60), (3600, 300), (None, 300), (0, 0), (-5, 0)])
def test_a_lease_bounds_how_long_an_answer_is_kept(cache, clock, lease, until):
    cache.put(ORIGIN, "a", None, Secret("a", {"value": CANARY}, lease_seconds=lease))
    if until:
        clock.boot += until - 1
        assert cache.get(ORIGIN, "a", None)
        clock.boot += 1
    assert cache.get(ORIGIN, "a", None) is None


@pytest.mark.parametrize("part", range(len(ORIGIN)))
def test_whoever_asks_elsewhere_or_as_another_one_finds_nothing(cache, part):
    cache.put(ORIGIN, "a", None, secret("a"))
    other = [*ORIGIN]
    other[part] = "another"
    assert cache.get(other, "a", None) is None
    assert cache.get(ORIGIN, "b", None) is None
    assert cache.get(ORIGIN, "a", "1") is None


def test_that_there_is_none_is_kept_for_the_run_only(place, clock):
    cache = SecretCache(place, 300, clock)
    cache.put(ORIGIN, "a", None, ABSENT)
    assert cache.get(ORIGIN, "a", None) is ABSENT
    (place.directory / "run-4-5-6").mkdir()
    assert SecretCache(Volatile(place.directory, "run-4-5-6"), 300, clock).get(ORIGIN, "a", None) is None


def test_forgetting_a_name_forgets_all_of_its_versions_and_nothing_else(cache):
    for version in (None, "1", "2"):
        cache.put(ORIGIN, "a", version, secret("a"))
    cache.put(("other",), "a", None, ABSENT)
    cache.put(ORIGIN, "b", None, secret("b"))
    assert cache.forget("a") == 4
    assert cache.get(ORIGIN, "a", None) is None
    assert cache.get(ORIGIN, "b", None)
    assert cache.flush() == 1
    assert cache.flush() == 0


def test_no_seconds_are_no_cache(place, clock):
    cache = SecretCache(place, 0, clock)
    cache.put(ORIGIN, "a", None, secret("a"))
    with cache.asked_once(ORIGIN, "a", None):
        assert cache.get(ORIGIN, "a", None) is None
    assert place.names("cache") == []


def test_what_is_over_is_removed_when_something_is_added(place, clock):
    cache = SecretCache(place, 300, clock)
    cache.put(ORIGIN, "a", None, secret("a"))
    (place.directory / "cache/.b.0123456789abcdef").touch()
    clock.boot += 300
    cache.put(ORIGIN, "b", None, secret("b"))
    assert len(place.names("cache")) == 1
    assert not (place.directory / "cache/.b.0123456789abcdef").exists()


def test_who_wants_what_this_run_was_answered_gets_nothing_of_another_one(place, clock):
    (place.directory / "run-4-5-6").mkdir()
    this, other = SecretCache(place, 300, clock), SecretCache(Volatile(place.directory, "run-4-5-6"), 300, clock)
    other.put(ORIGIN, "a", None, secret("a", value="older"))
    assert this.get(ORIGIN, "a", None, of_this_run=True) is None
    assert this.get(ORIGIN, "a", None) == secret("a", value="older")
    this.put(ORIGIN, "a", None, secret("a"))
    assert this.get(ORIGIN, "a", None, of_this_run=True) == secret("a")
    assert other.get(ORIGIN, "a", None) == secret("a")
    alone = SecretCache(None, 300, clock)
    alone.put(ORIGIN, "a", None, secret("a"))
    assert alone.get(ORIGIN, "a", None, of_this_run=True) == secret("a")


def test_what_is_too_large_is_not_kept_and_nothing_older_instead(cache):
    cache.put(ORIGIN, "a", None, secret("a", value="older"))
    cache.put(ORIGIN, "a", None, secret("a", value="x" * ENTRY_LIMIT))
    assert len(cache) == 0
    assert cache.get(ORIGIN, "a", None) is None


def test_an_entry_that_cannot_be_read_keeps_nobody_from_asking(place, clock):
    cache = SecretCache(place, 300, clock)
    cache.put(ORIGIN, "a", None, secret("a"))
    (entry,) = place.names("cache")
    place.write(entry, b"x" * (ENTRY_LIMIT + 1))
    cache.put(ORIGIN, "b", None, secret("b"))
    assert entry not in place.names("cache")
    place.write(entry, b"x" * (ENTRY_LIMIT + 1))
    assert cache.get(ORIGIN, "a", None) is None
    assert entry not in place.names("cache")
    assert cache.get(ORIGIN, "b", None) == secret("b")


@pytest.mark.parametrize("data", [b"", b"noise", b'{"name":"other","run":"","secret":null,"until":99999999999}'])
def test_an_entry_that_is_none_is_removed_and_asked_for_again(place, clock, data):
    cache = SecretCache(place, 300, clock)
    cache.put(ORIGIN, "a", None, secret("a"))
    (entry,) = place.names("cache")
    place.write(entry, data)
    assert cache.get(ORIGIN, "a", None) is None
    assert place.names("cache") == []


def test_one_asks_while_the_others_wait_for_its_answer(place, clock):
    asked = []

    def ask():
        cache = SecretCache(place, 300, clock)
        with cache.asked_once(ORIGIN, "a", None):
            if cache.get(ORIGIN, "a", None) is None:
                asked.append(1)
                cache.put(ORIGIN, "a", None, secret("a"))

    threads = [threading.Thread(target=ask) for _ in range(10)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert asked == [1]


def test_the_cache_does_not_show_what_it_holds(clock):
    cache = SecretCache(None, 300, clock)
    cache.put(ORIGIN, "a", None, secret("a"))
    assert CANARY not in repr(cache)
