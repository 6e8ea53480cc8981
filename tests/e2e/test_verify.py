# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/verify.yml finds what was tampered with on live hosts, and is content before and after."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.trust.chain import EMPTY_TREE, leaf_hash
from deployments import Application, Done, Operator

HOST = "prod-1"
SAVE = "tar -C / -cf /var/tmp/{0}.tar srv/{0} var/lib/slipway etc/slipway"
PUT_BACK = "rm -rf /srv/{0} /var/lib/slipway /etc/slipway && tar -C / -xf /var/tmp/{0}.tar"


@pytest.fixture(scope="module")
def shop(operator: Operator) -> Application:
    """Return an application of which `one` and then `two` were deployed to prod."""
    shop = operator.application("verified")
    for release_id in ("one", "two"):
        shop.make(release_id, {"bin/run": f"this is {release_id}"})
        shop.deploy(limit="prod")
    return shop


@pytest.fixture
def kept(shop: Application) -> Iterator[None]:
    """The host is after the test what it was before, and verified to be so."""
    shop.fleet.inside(HOST, SAVE.format(shop.name))
    yield
    shop.fleet.inside(HOST, PUT_BACK.format(shop.name))
    is_green(shop)


def verify(shop: Application, *words: str, code: int | None = 2, limit: str | None = HOST) -> Done:
    return shop.operator.play(*shop.words("playbooks/verify.yml", limit, words), code=code)


def is_green(shop: Application, limit: str | None = HOST) -> None:
    assert verify(shop, code=0, limit=limit).says("is intact")


def row(done: Done, host: str = HOST) -> list[str]:
    """What is in the columns release, trust, history and runs."""
    line = next(
        line.split() for line in done.output.splitlines() if line.split()[:1] == [host] and len(line.split()) == 7
    )
    return line[3:]


def history(shop: Application) -> str:
    return f"/var/lib/slipway/{shop.name}/history.jsonl"


def lines(shop: Application) -> list[bytes]:
    return shop.fleet.inside(HOST, f"cat {history(shop)}").stdout.encode().splitlines()


def write(shop: Application, records: list[bytes]) -> None:
    data = base64.b64encode(b"".join(line + b"\n" for line in records)).decode()
    shop.fleet.inside(HOST, f"echo {data} | base64 -d > {history(shop)}")


def recomputed(records: list[bytes]) -> list[bytes]:
    """The records as a chain that holds in itself."""
    previous, chain = EMPTY_TREE, []
    for record in records:
        chain.append(canonical.encode({**json.loads(record), "prev_hash": previous}))
        previous = leaf_hash(chain[-1])
    return chain


def edited(record: bytes) -> bytes:
    return canonical.encode({**json.loads(record), "deployed_by": "nobody"})


def is_refused(shop: Application, reason: str = "history_untrusted") -> None:
    before = shop.snapshot(HOST)
    shop.deploy(code=2).says(reason, HOST)
    assert shop.snapshot(HOST) == before


def test_a_fleet_on_which_nothing_was_touched_is_intact(shop: Application) -> None:
    done = verify(shop, code=0, limit="prod")
    for host in shop.fleet.names("prod"):
        assert row(done, host) == ["intact", "intact", "intact", "complete"]
    assert done.says("everything is intact")


def test_verifying_writes_nothing_on_hosts(shop: Application) -> None:
    before = shop.snapshot(HOST)
    verify(shop, code=0)
    assert shop.snapshot(HOST) == before


def test_programs_get_the_same_as_data(shop: Application) -> None:
    done = verify(shop, "-e", "release_status_format=json", code=0)
    assert done.says('"intact": true', '"prod-1": {', '"active": "two"')


RELEASE = {
    "a changed byte": "printf T | dd of={release}/bin/run conv=notrunc status=none",
    "an added file": "touch {release}/bin/more",
}


@pytest.mark.parametrize("case", RELEASE)
@pytest.mark.usefixtures("kept")
def test_a_release_that_was_touched_is_found(shop: Application, case: str) -> None:
    shop.fleet.inside(HOST, RELEASE[case].format(release=f"/srv/{shop.name}/releases/two"))
    done = verify(shop)
    assert row(done)[0] not in ("intact", "?")
    assert row(done)[1:] == ["intact", "intact", "complete"]
    assert done.says("not intact: prod-1")


HISTORY: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str, str]] = {
    "an edited record": (lambda records: [edited(records[0]), *records[1:]], "rewritten", "history_altered"),
    "a record less": (lambda records: records[:-1], "truncated", "history_untrusted"),
    "the whole chain computed anew": (
        lambda records: recomputed([edited(each) for each in records]),
        "rewritten",
        "history_untrusted",
    ),
}


@pytest.mark.parametrize("case", HISTORY)
@pytest.mark.usefixtures("kept")
def test_a_history_that_was_touched_is_found_and_nothing_is_deployed_there(shop: Application, case: str) -> None:
    change, verdict, reason = HISTORY[case]
    write(shop, change(lines(shop)))
    assert row(verify(shop))[2] == verdict
    is_refused(shop, reason)
    # From a history that contradicts the host's own checkpoint nothing can begin.
    assert row(verify(shop, "-e", "history_accept=true"))[2] == verdict


@pytest.mark.usefixtures("kept")
def test_a_chain_that_the_host_itself_takes_for_its_own_is_found(shop: Application) -> None:
    write(shop, recomputed([edited(each) for each in lines(shop)]))
    shop.fleet.inside(
        HOST, f"cd /var/lib/slipway/{shop.name} && rm checkpoint history.tree; slipway recover {shop.name}"
    )
    shop.fleet.inside(HOST, f"test -e /var/lib/slipway/{shop.name}/checkpoint")
    assert row(verify(shop))[2] == "rewritten"
    is_refused(shop)


@pytest.mark.usefixtures("kept")
def test_a_key_that_was_replaced_is_found(shop: Application) -> None:
    shop.fleet.inside(HOST, f"cd /var/lib/slipway && rm history-key.pem; slipway recover {shop.name}")
    assert row(verify(shop))[2] == "key_changed"
    is_refused(shop)


def test_a_record_of_a_run_that_nobody_began_is_found(shop: Application) -> None:
    run_id = shop.history(HOST)[0]["run_id"]
    with sqlite3.connect(shop.operator.state / "state.sqlite") as memory:
        memory.execute("UPDATE runs SET run_id = 'hidden' WHERE run_id = ?", (run_id,))
    done = verify(shop)
    with sqlite3.connect(shop.operator.state / "state.sqlite") as memory:
        memory.execute("UPDATE runs SET run_id = ? WHERE run_id = 'hidden'", (run_id,))
    assert row(done) == ["intact", "intact", "intact", "unknown"]
    assert done.says(run_id)
    is_green(shop)


def test_a_host_that_does_not_answer_is_a_finding(shop: Application) -> None:
    with shop.fleet.partition("prod-2"):
        done = verify(shop, limit="prod-1,prod-2", code=None)
    assert done.code not in (0, None)
    assert done.says("prod-2", "unreachable", "not intact: prod-2")
    assert row(done) == ["intact", "intact", "intact", "complete"]


def test_histories_are_accepted_on_hosts_that_are_named_and_on_no_others(shop: Application) -> None:
    assert verify(shop, "-e", "history_accept=true", limit=None).says("limit_needed")


def test_a_host_that_was_put_back_to_a_snapshot_is_found_and_can_be_accepted(shop: Application) -> None:
    shop.fleet.inside(HOST, SAVE.format(shop.name))
    shop.make("three", {"bin/run": "this is three"})
    shop.deploy(limit="prod")
    run_id = shop.history(HOST)[0]["run_id"]
    shop.fleet.inside(HOST, PUT_BACK.format(shop.name))

    done = verify(shop)
    assert row(done) == ["intact", "intact", "restored", "missing"]
    assert done.says("-e history_accept=true", f"no record of {run_id}")
    is_refused(shop)
    status = shop.operator.play(*shop.words("playbooks/status.yml", HOST, ()))
    assert status.says("restored", "playbooks/verify.yml -l prod-1")

    back = shop.rollback()
    assert back.says("two -> one", "its history is restored", "playbooks/verify.yml")
    assert shop.active(HOST) == "one"
    assert row(verify(shop))[2] == "forked"  # it went on from where it was put back to

    accepted = verify(shop, "-e", "history_accept=true", code=0)
    assert accepted.says("history accepted: by ", "everything else is intact")
    assert row(accepted) == ["intact", "intact", "accepted", "complete"]
    is_green(shop)
    shop.deploy("three")
    assert shop.active(HOST) == "three"
    is_green(shop, limit="prod")
