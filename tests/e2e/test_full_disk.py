# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full at each stage: the release before stays, or comes back, and the record is written."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from deployments import Application, Operator

FILL = "dd if=/dev/zero of=%s/filler bs=4096 2>/dev/null; df --output=avail %s | tail -1"


@pytest.fixture
def shop(operator: Operator, request: pytest.FixtureRequest) -> Iterator[Application]:
    """Return an application with file systems of its own that serves `one` on prod-1."""
    shop = operator.application(f"full-{abs(hash(request.node.name)) % 10**6}", ["prod-1"])
    places = (f"/srv/{shop.name}", f"/var/lib/slipway/{shop.name}")
    for place in places:
        shop.fleet.inside("prod-1", f"mount -t tmpfs -o size=2m,mode=0755 tmpfs {place} && mkdir -p {place}/releases")
    shop.fleet.inside("prod-1", f"rmdir {places[1]}/releases; mkdir {places[0]}/shared; chown root:e2e {places[0]}")
    shop.make("one", {"data": b"1"})
    shop.deploy()
    yield shop
    for place in places:
        shop.fleet.inside("prod-1", f"umount -l {place}", check=False)


def fill(shop: Application, *places: str) -> None:
    for place in places:
        left = shop.fleet.inside("prod-1", FILL % (place, place)).stdout.strip()
        assert left == "0", f"{left} KiB left on {place}"


def free(shop: Application, *places: str) -> None:
    for place in places:
        shop.fleet.inside("prod-1", f"rm -f {place}/filler")


def test_a_release_that_does_not_fit_is_refused_before_the_disk_is_full(shop: Application) -> None:
    shop.make("two", {"data": os.urandom(3 << 20)})
    before = shop.snapshot("prod-1")
    done = shop.deploy(code=2)
    assert done.says("preflight_failed", f"disk /srv/{shop.name} FAIL", "needed", "MiB there")
    assert shop.snapshot("prod-1") == before


@pytest.mark.parametrize("place", ["/srv", "/var/lib/slipway"])
def test_a_full_disk_changes_nothing_and_the_next_run_with_room_goes_through(shop: Application, place: str) -> None:
    shop.make("two", {"data": os.urandom(64 << 10)})
    fill(shop, f"{place}/{shop.name}")
    before = shop.snapshot("prod-1")
    done = shop.deploy(code=2)
    assert done.says("preflight_failed", f"disk {place}/{shop.name} FAIL")
    assert "Traceback" not in done.output
    assert shop.snapshot("prod-1") == before
    free(shop, f"{place}/{shop.name}")
    shop.deploy()
    assert shop.active("prod-1") == "two"
    assert shop.statuses("prod-1") == [("one", "success"), ("two", "success")]
    assert shop.is_settled("prod-1")


def test_a_disk_that_fills_up_between_stage_and_switch_keeps_the_release_before(shop: Application) -> None:
    """The room for going back is taken first: without it there is no switch."""
    shop.make("two", {"data": b"2"})
    shop.order("prod-1", "hold", "check")
    run = shop.start_deploy()
    run.await_asked(shop, "prod-1", "check")
    state = f"/var/lib/slipway/{shop.name}"
    shop.fleet.inside("prod-1", f"rm -f {state}/reserve")
    fill(shop, state)
    shop.relieve("prod-1")
    done = run.end(2)
    assert done.says("disk_full")
    assert shop.active("prod-1") == "one"
    free(shop, state)
    shop.deploy()
    assert shop.statuses("prod-1")[-1] == ("two", "success")


@pytest.mark.parametrize(("order", "active", "status"), [("ill", "one", "rolled_back"), ("", "two", "success")])
def test_a_disk_that_fills_up_after_the_switch_hinders_neither_going_back_nor_keeping(
    shop: Application, order: str, active: str, status: str
) -> None:
    shop.make("two", {"data": b"2"})
    shop.order("prod-1", "hold")
    run = shop.start_deploy()
    run.await_asked(shop, "prod-1")
    places = (f"/srv/{shop.name}", f"/var/lib/slipway/{shop.name}")
    fill(shop, *places)
    if order:
        shop.order("prod-1", order)
    shop.fleet.inside("prod-1", f"rm {shop.order_path('health')}.hold")
    done = run.end(2 if order else 0)
    assert done.row("prod-1").startswith(f"prod-1 {'reverted' if order else 'confirmed'} {active}")
    assert shop.active("prod-1") == active
    assert shop.statuses("prod-1") == [("one", "success"), ("two", status)]
    assert shop.is_settled("prod-1")
    shop.relieve("prod-1")
    free(shop, *places)
    shop.make("three", {"data": b"3"})
    shop.deploy()
    assert shop.active("prod-1") == "three"
