# SPDX-License-Identifier: GPL-3.0-or-later
"""Two instances: real servers behind a real HAProxy, and what every crash leaves of them."""

from __future__ import annotations

import os
import shutil
import threading

import pytest
from ansible.module_utils.slipway.application import blue_green as pairs
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.base.files import point_link
from ansible.module_utils.slipway.host import recovery, two_instances
from ansible.module_utils.slipway.host.haproxy import Haproxy
from ansible.module_utils.slipway.host.transaction import Transactions
from faults import calls
from played_creds import bringing
from releases import V1, V2, V3


@pytest.fixture
def served(pair):
    """v1 is active, v2 is staged and `ill` answers 503."""
    for release_id, files in (("v1", V1), ("v2", V2), ("ill", V3)):
        pair.site.build(release_id, files)
    pair.site.deploy("v1", "run-1")
    pair.site.stage("v2", run=pair.site.run("run-2"))
    pair.site.stage("ill", run=pair.site.run("run-2"))
    return pair


def open_strategy(site):
    """The strategy for the open transaction."""
    transactions = Transactions(site.places)
    transaction = transactions.journal.read()
    return transactions.strategy(Application.parse(**transaction.intent["application"]), transaction)


def run_2(pair):
    return pair.site.run("run-2")


def test_the_first_release_is_blue_and_has_all_of_the_traffic(served):
    assert served.rests_on() == "blue"
    assert served.ask() == (200, "v1")
    assert served.site.inspect(health=True)["health"]["outcome"] == "success"


def test_a_new_release_serves_beside_the_old_one_until_it_is_confirmed(served):
    answer = served.site.activate("v2", run=run_2(served))
    assert answer["outcome"] == "switched"
    assert served.running() == ["blue", "green"]
    assert {served.ask() for _ in range(4)} == {(200, "v2")}
    assert served.haproxy.servers()["blue"].status == "DRAIN"
    served.site.confirm("v2", run=run_2(served))
    assert served.rests_on() == "green"
    assert served.site.is_settled()
    assert served.site.deploy("v1", "run-3", retry=True)["outcome"] == "confirmed"
    assert served.rests_on() == "blue"


def test_going_back_before_the_confirmation_starts_nothing(served):
    served.site.activate("v2", run=run_2(served))
    starts = len(served.instances.starts)
    answer = served.site.revert("v2", run=run_2(served))
    assert (answer["outcome"], answer["healthy"]) == ("reverted", True)
    assert len(served.instances.starts) == starts
    assert served.rests_on() == "blue"
    assert served.ask() == (200, "v1")


def test_the_way_back_gives_the_traffic_back_before_anything_else_is_done(served):
    served.site.activate("v2", run=run_2(served))
    strategy = open_strategy(served.site)
    point_link(served.site.places.current, "releases/v1")
    assert strategy.run_again().outcome == "success"
    assert {served.ask() for _ in range(4)} == {(200, "v1")}
    assert served.running() == ["blue", "green"]


def test_a_release_that_is_ill_never_has_traffic(served):
    """Although it listens for a while, and HAProxy, which knows no more what it was told, could reach it."""
    served.haproxy.api.set_weight("shop", "green", 100)
    served.haproxy.api.set_state("shop", "green", "ready")
    served.site.description["health_patience"] = {"interval_seconds": 0, "retries": 10_000, "deadline_seconds": 2}
    answers, ended = [], threading.Event()

    def ask_on():
        while not ended.wait(0.02):
            answers.append(served.ask())

    client = threading.Thread(target=ask_on)
    client.start()
    answer = served.site.activate("ill", run=run_2(served))
    ended.set()
    client.join()
    assert len(answers) > 10
    assert set(answers) == {(200, "v1")}
    assert (answer["reason"], answer["outcome"], answer["healthy"]) == ("health_failed", "reverted", True)
    assert "answered 503" in answer["msg"]
    assert served.rests_on() == "blue"


def test_a_rollback_takes_the_other_colour_and_ends_the_one_that_was_left(served):
    served.site.deploy("v2", "run-2")
    answer = served.site.rollback("v1", run=served.site.run("run-3"))
    assert answer["outcome"] == "confirmed"
    assert served.rests_on() == "blue"
    assert served.ask() == (200, "v1")


def test_the_same_release_again_takes_the_other_colour_too(served):
    site = served.site
    motd = site.host.root / "etc/motd"
    site.build("v3", {**V3, "motd": b"three"})
    site.description["files"] = [{"source": "motd", "path": "/etc/motd", "owner": site.description["user"]}]
    site.deploy("v3", "run-2")
    before = served.rests_on()
    motd.write_bytes(b"altered")
    answer = site.activate("v3", run=site.run("run-3"))
    assert answer["outcome"] == "switched"
    assert sorted(served.links().values()) == ["v3", "v3"]
    site.revert("v3", run=site.run("run-3"))
    assert served.rests_on() == before
    site.deploy("v3", "run-4", retry=True)
    assert served.rests_on() != before


def test_a_first_release_that_is_ill_leaves_nothing_running(pair):
    pair.site.build("ill", V1)
    pair.site.stage("ill")
    answer = pair.site.activate("ill")
    assert (answer["reason"], answer["active_release_id"]) == ("health_failed", None)
    assert (pair.running(), pair.links(), pair.site.current) == ([], {}, None)


def test_an_open_request_of_the_old_instance_is_answered_before_that_ends(served):
    answers = []
    client = threading.Thread(target=lambda: answers.append(served.ask("/slow")))
    client.start()
    assert served.haproxy.api.awaited("shop", "blue", 10, lambda server: server.sessions == 1).sessions == 1
    served.site.activate("v2", run=run_2(served))
    assert served.ask() == (200, "v2")
    threading.Timer(0.3, served.instances.held.set).start()
    served.site.confirm("v2", run=run_2(served))
    client.join()
    assert answers == [(200, "v1")]
    assert served.instances.cut == 0
    assert served.rests_on() == "green"


def test_a_share_of_the_rollouts_lasts_until_the_confirmation(served):
    served.site.activate("v2", run=run_2(served), share=25)
    answered = [served.ask()[1] for _ in range(80)]
    assert answered.count("v2") == 20
    served.site.confirm("v2", run=run_2(served))
    assert served.rests_on() == "green"


def test_a_share_may_be_widened_before_the_confirmation(served):
    site = served.site
    site.activate("v2", run=run_2(served), share=25)
    assert open_strategy(site).share(None).outcome == "success"
    assert {served.ask() for _ in range(4)} == {(200, "v2")}


@pytest.mark.parametrize(("verdict", "ends"), [("exit 0", "v2"), ("echo too slow; exit 1", "v1")])
def test_a_declared_check_decides_after_both_were_live(served, verdict, ends):
    decide = {"argv": ["sh", "-c", f"test -f bin/shop && test {{port}} -gt 0 && {verdict}"]}
    served.site.description["blue_green"] = {**served.pair, "share": 50, "share_seconds": 1, "verdict": decide}
    answer = served.site.activate("v2", run=run_2(served))
    if ends == "v1":
        assert "after 1 s with 50% of the traffic" in answer["msg"]
        assert "too slow" in answer["msg"]
        assert served.rests_on() == "blue"
    assert served.ask() == (200, ends)


def test_without_a_declared_check_the_probes_alone_decide_while_both_are_live(served):
    served.site.description["blue_green"] = {**served.pair, "share": 50, "share_seconds": 1}
    assert served.site.activate("v2", run=run_2(served))["outcome"] == "switched"
    assert {served.ask() for _ in range(4)} == {(200, "v2")}


def test_an_instance_that_haproxy_does_not_reach_gets_no_traffic_and_goes_back(served, monkeypatch):
    """The probes are well, but they do not ask where HAProxy does."""
    monkeypatch.setattr(two_instances, "ADMITTED_SECONDS", 2.0)
    served.site.description["health"] = [{"type": "command", "argv": ["test", "{port}", "-gt", "0"]}]
    served.instances.deaf.add("green")
    answer = served.site.activate("v2", run=run_2(served))
    assert "HAProxy gives shop@green.service no traffic: DOWN" in answer["msg"]
    assert served.rests_on() == "blue"
    assert served.ask() == (200, "v1")


def test_an_instance_that_falls_ill_with_its_share_goes_back(served):
    served.site.description["blue_green"] = {**served.pair, "share": 50, "share_seconds": 30}
    served.site.description["health"].append(
        {
            "type": "command",
            "argv": [
                "sh",
                "-c",
                f"test $(echo x >> {served.site.directory}/asked; wc -l < {served.site.directory}/asked) -lt 3",
            ],
        }
    )
    answer = served.site.activate("v2", run=run_2(served))
    assert "with 50% of the traffic" in answer["msg"]
    assert served.rests_on() == "blue"


def test_a_rollback_is_not_shared(served):
    served.site.deploy("v2", "run-2")
    served.site.description["blue_green"] = {
        **served.pair,
        "share": 50,
        "share_seconds": 30,
        "verdict": {"argv": ["false"]},
    }
    assert served.site.rollback("v1", run=served.site.run("run-3"))["outcome"] == "confirmed"


def test_an_instance_that_systemd_cannot_start_is_never_asked(served):
    run = served.site.host.run

    def broken(argv, **options):
        return Finished(1, "no such luck") if argv[2:3] == ("restart",) else run(argv, **options)

    object.__setattr__(served.site.host, "run", broken)
    answer = served.site.activate("v2", run=run_2(served))
    assert "systemctl could not start shop@green.service: exit code 1: no such luck" in answer["msg"]
    object.__setattr__(served.site.host, "run", run)
    assert served.rests_on() == "blue"


def test_without_haproxy_nothing_is_switched(served):
    served.haproxy.stop()
    assert served.site.stage("v2", run=run_2(served))["reason"] == "balancer_silent"
    answer = served.site.activate("v2", run=run_2(served))
    assert (answer["reason"], answer["changed"]) == ("balancer_silent", False)
    assert (served.running(), served.site.is_settled()) == (["blue"], True)


def test_a_haproxy_that_dies_after_the_switch_does_not_hold_up_the_way_back(served):
    served.site.activate("v2", run=run_2(served))
    served.haproxy.stop()
    answer = served.site.revert("v2", run=run_2(served))
    assert (answer["outcome"], answer["healthy"]) == ("reverted", False)
    assert "balancer_silent" in answer["msg"]
    assert (served.running(), served.links()) == (["blue"], {"blue": "v1"})


def test_an_instance_before_that_died_meanwhile_is_started_again(served):
    served.site.activate("v2", run=run_2(served))
    served.instances.set("blue", runs=False)
    answer = served.site.revert("v2", run=run_2(served))
    assert answer["healthy"] is True
    assert served.rests_on() == "blue"


def test_an_instance_before_that_cannot_be_started_again_is_told(served):
    served.site.activate("v2", run=run_2(served))
    served.instances.set("blue", runs=False)
    run = served.site.host.run

    def broken(argv, **options):
        return Finished(1, "no such luck") if argv[2:3] == ("start",) else run(argv, **options)

    object.__setattr__(served.site.host, "run", broken)
    answer = served.site.revert("v2", run=run_2(served))
    object.__setattr__(served.site.host, "run", run)
    assert (answer["outcome"], answer["healthy"]) == ("reverted", False)
    assert "no such luck" in answer["msg"]
    assert served.links() == {"blue": "v1"}


def test_where_there_is_no_way_back_the_new_release_has_the_traffic_however_it_is(served):
    (served.site.release("v1") / "bin/shop").write_bytes(b"altered")
    answer = served.site.activate("ill", run=run_2(served))
    assert (answer["outcome"], answer["healthy"]) == ("stuck", False)
    assert served.rests_on() == "green"
    assert served.ask() == (503, "ill")


@pytest.mark.parametrize("is_linked", [True, False])
def test_a_release_that_stays_at_a_boot_has_its_instance(served, is_linked):
    served.site.activate("v2", run=run_2(served))
    (served.site.release("v1") / "bin/shop").write_bytes(b"altered")
    if not is_linked:  # the crash came between the two links
        (served.site.places.instances / "green").unlink()
    for marker in served.site.places.markers.glob("*"):
        marker.unlink()
    Transactions(served.site.places, at_boot=True).recover()
    served.instances.boot()
    assert (served.running(), served.links()) == (["green"], {"green": "v2"})


def test_at_a_boot_the_links_alone_say_what_runs(served):
    served.site.deploy("v2", "run-2")
    served.instances.boot()
    assert served.running() == ["green"]


# every crash


@pytest.fixture
def stand(played_pair):
    """v1 is active and v2 staged, and a way to start over."""
    site = played_pair.site
    for release_id, files in (("v1", V1), ("v2", V2)):
        site.build(release_id, files)
    site.deploy("v1", "run-1")
    site.stage("v2", run=site.run("run-2"))
    return played_pair


def activate(pair):
    return pair.site.activate("v2", run=run_2(pair))


def activate_ill(pair):
    pair.site.sicken("v2")
    try:
        return activate(pair)
    finally:
        pair.site.sicken()


def confirm(pair):
    return pair.site.confirm("v2", run=run_2(pair))


def revert(pair):
    return pair.site.revert("v2", run=run_2(pair))


def recover(pair):
    return pair.site.recover(run=pair.site.run("run-9", dead_runs=["run-2"]))


SWEEPS = [
    pytest.param((), activate, {"v1"}, id="activate"),
    pytest.param((), activate_ill, {"v1"}, id="activate_ill"),
    pytest.param((activate,), confirm, {"v1", "v2"}, id="confirm"),
    pytest.param((activate,), revert, {"v1"}, id="revert"),
    pytest.param((activate,), recover, {"v1"}, id="recover"),
]


@pytest.fixture
def counted(stand, monkeypatch):
    """Let each question to systemd and to HAProxy be a moment to die in, too."""
    asked, run, tick = Haproxy._asked, stand.site.host.run, stand.site.directory / "tick"
    tick.touch()

    def counted_asked(haproxy, command):
        os.utime(tick)
        return asked(haproxy, command)

    def counted_run(argv, **options):
        os.utime(tick)
        return run(argv, **options)

    monkeypatch.setattr(Haproxy, "_asked", counted_asked)
    object.__setattr__(stand.site.host, "run", counted_run)


def boot(pair):
    """A restart of the host: HAProxy knows nothing any more, recovery moves links, then systemd starts what may start."""
    for colour in ("blue", "green"):
        pair.instances.set(colour, runs=False)
        pair.haproxy.api.set_weight("shop", colour, 100)
        pair.haproxy.api.set_state("shop", colour, "ready")
    for marker in pair.site.places.markers.glob("*"):
        marker.unlink()
    calls_before = len(pair.instances.verbs)
    Transactions(pair.site.places, at_boot=True).recover()
    assert pair.instances.verbs[calls_before:] == []
    pair.instances.boot()


@pytest.mark.parametrize("is_rebooted", [False, True], ids=["goes on", "reboots"])
@pytest.mark.parametrize(("before", "exchange", "possible"), SWEEPS)
def test_an_exchange_that_is_killed_anywhere_leaves_one_instance_once_it_is_settled(
    stand, counted, before, exchange, possible, is_rebooted, capsys
):
    template = stand.site.directory / "template"
    for prepare in before:
        assert not prepare(stand).get("failed")
    calls.copy(stand.site.host.root, template)
    runs = {colour: stand.instances.runs(colour) for colour in ("blue", "green")}
    servers, number = stand.haproxy.servers(), 0
    while calls.die_at(number, lambda: exchange(stand)):
        if is_rebooted:
            boot(stand)
        else:
            assert "blue" in stand.running() or stand.site.current == "v2"
            recover(stand)
        stand.rests_on()
        assert stand.site.current in possible
        assert stand.site.is_settled()
        number += 1
        calls.copy(template, stand.site.host.root)
        for colour, server in servers.items():
            stand.instances.set(colour, runs=runs[colour])
            stand.haproxy.api.set_weight("shop", colour, server.weight)
            stand.haproxy.api.set_state(
                "shop", colour, {"DRAIN": "drain", "MAINT": "maint"}.get(server.status, "ready")
            )
    with capsys.disabled():
        print(f" killed at {number} points", end=" ")
    assert number > 20


def test_settling_at_a_boot_moves_links_and_asks_nobody(stand):
    activate(stand)
    strategy = open_strategy(stand.site)
    point_link(stand.site.places.current, "releases/v1")
    stand.haproxy.stop()
    strategy.settle(kept=False, boot=True)
    assert stand.links() == {"blue": "v1"}
    strategy.settle(kept=False, boot=True)
    assert stand.links() == {"blue": "v1"}


# what is asked before a deployment


def results(pair, check):
    answer = pair.site.inspect(preflight=True)
    return {row["subject"]: row["status"] for row in answer["preflight"]["results"] if row["check"] == check}


def test_a_deployment_asks_for_both_units_all_ports_and_the_balancer(served):
    assert results(served, "unit").keys() == {"shop@blue.service", "shop@green.service"}
    assert results(served, "port").keys() == {
        str(port) for port in (served.port, *served.pair["instance_ports"].values())
    }
    assert results(served, "balancer") == {"blue": "PASS", "green": "PASS"}


def test_the_probes_ask_the_instance_that_is_active(served):
    served.site.deploy("v2", "run-2")
    rows = [
        row
        for row in served.site.inspect(preflight=True, health=True)["preflight"]["results"]
        if row["check"] == "health"
    ]
    assert {row["status"] for row in rows} == {"PASS"}
    assert any(str(served.pair["instance_ports"]["green"]) in row["subject"] for row in rows)


def test_a_balancer_that_does_not_know_the_instances_keeps_a_deployment_from_beginning(served):
    served.haproxy.api = None
    served.haproxy.stop()
    assert results(served, "balancer") == {"slipway-haproxy.service": "FAIL"}


def test_a_balancer_with_another_server_is_named(served, monkeypatch):
    real = Haproxy.servers
    monkeypatch.setattr(Haproxy, "servers", lambda haproxy, backend: {"blue": real(haproxy, backend)["blue"]})
    assert results(served, "balancer") == {"blue": "PASS", "green": "FAIL"}
    answer = served.site.stage("v2", run=run_2(served))
    assert answer["reason"] == "balancer_server_missing"


def test_a_strategy_that_is_left_behind_stops_both_instances(served, systemctl):
    """From blue_green to restart and back again: the unit of the release that is active runs, and no other."""
    systemctl.units["shop.service"] = ("loaded", "inactive", "dead")
    site = served.site
    site.description = {
        **{key: value for key, value in site.description.items() if key != "blue_green"},
        "unit": "shop.service", "strategy": "restart", "health": [{"type": "command", "argv": ["false"]}],
    }  # fmt: skip
    site.stage("v2", run=run_2(served))
    answer = site.activate("v2", run=run_2(served))
    assert (answer["outcome"], answer["healthy"]) == ("reverted", True)
    assert systemctl.units["shop.service"][1] == "inactive"
    assert served.rests_on() == "blue"


# credentials: each colour has those that it was started with


def gets(pair, colour):
    return pair.site.gets(colour).get("slipway_key")


@pytest.fixture
def turned(served):
    """v1 is active with one key, and staged with another, whose generation is returned too."""
    served.site.deploy("v1", "run-3", credentials={"key": "old"})
    staged = served.site.stage("v1", run=run_2(served), **bringing({"key": "new"}))
    return served, staged["generation"]


def test_other_credentials_are_started_beside_those_of_before_with_the_same_release(turned):
    pair, generation = turned
    before = pair.rests_on()
    after = pairs.other(before)
    answer = pair.site.activate("v1", run=run_2(pair), generation=generation)
    assert (answer["outcome"], pair.running()) == ("switched", ["blue", "green"])
    assert (gets(pair, before), gets(pair, after), gets(pair, "current")) == ("old", "new", "new")
    assert pair.haproxy.servers()[before].status == "DRAIN"
    assert pair.site.inspect(health=True)["health"]["outcome"] == "success"
    pair.site.confirm("v1", run=run_2(pair))
    assert pair.rests_on() == after
    assert {gets(pair, colour) for colour in ("current", "blue", "green")} == {"new"}
    assert pair.site.is_settled()


def test_which_instance_is_meant_is_told_by_its_credentials_while_both_run_one_release(turned):
    pair, generation = turned
    for _ in range(2):  # once to each colour
        before = pair.rests_on()
        pair.site.activate("v1", run=run_2(pair), generation=generation)
        strategy = Transactions(pair.site.places).strategy(Application.parse("shop", pair.site.description))
        assert strategy.active == pairs.other(before)
        pair.site.confirm("v1", run=run_2(pair))
        generation = pair.site.stage("v1", run=run_2(pair), **bringing({"key": f"after {before}"}))["generation"]


def test_going_back_to_the_credentials_of_before_starts_nothing(turned):
    pair, generation = turned
    before = pair.rests_on()
    pair.site.activate("v1", run=run_2(pair), generation=generation)
    starts = len(pair.instances.starts)
    answer = pair.site.revert("v1", run=run_2(pair))
    assert (answer["outcome"], answer["healthy"]) == ("reverted", True)
    assert (len(pair.instances.starts), pair.rests_on()) == (starts, before)
    assert {gets(pair, colour) for colour in ("current", "blue", "green")} == {"old"}


def test_a_restart_in_the_window_leaves_the_instance_with_the_credentials_of_before(turned):
    pair, generation = turned
    before = pair.rests_on()
    pair.site.activate("v1", run=run_2(pair), generation=generation)
    shutil.rmtree(pair.site.places.markers)
    recovery.at_boot(pair.site.places)
    pair.instances.boot()
    assert (pair.running(), pair.links()) == ([before], {before: "v1"})
    assert {gets(pair, colour) for colour in ("current", "blue", "green")} == {"old"}


def test_the_template_loads_the_credentials_of_its_colour(turned):
    pair, _generation = turned
    text = (pair.site.host.root / "etc/systemd/system/shop@.service.d/slipway-credentials.conf").read_text()
    assert text.endswith("LoadCredentialEncrypted=slipway:/var/lib/slipway/shop/credentials/%i\n")
