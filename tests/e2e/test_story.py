# SPDX-License-Identifier: GPL-3.0-or-later
"""The literal commands: what an operator types from the root of the repository, and what the hosts then serve."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from deployments import Application, Operator

PROD = ("prod-1", "prod-2", "prod-3")
EXCHANGES = 4


def answers(operator: Operator, host: str) -> str:
    """Return which release answers on the example's port, asked from here."""
    address = operator.fleet.host(host).address
    with urllib.request.urlopen(f"http://{address}:8080/version", timeout=5) as answer:
        return str(json.load(answer)["release_id"])


def commands(output: str, address: str) -> list[str]:
    """Return what was run on a host, from the output of -vvv."""
    return re.findall(rf"^<{re.escape(address)}> .*EXEC .*$", output, re.MULTILINE)


@pytest.fixture(scope="module")
def hello(operator: Operator) -> Application:
    """Return the example with three releases made by the literal command, v1 and v2 everywhere, v2 on prod last."""
    hello = Application(operator, "hello")
    example = operator.fleet.clone.root / "examples" / "hello"
    for version in ("1", "2"):
        source = operator.state / "sources" / version
        source.parent.mkdir(exist_ok=True)
        operator.fleet.command("cp", "-r", str(example), str(source))
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, "version": f"{version}.0.0"}))
        made = operator.play("playbooks/release.yml", "-e", f"release_source={source}", "-e", f"release_id=v{version}")
        assert made.says("application: hello", f"release_id: v{version}")
        hello.approve(f"v{version}")
        for group in ("staging", "prod"):
            words = ["-e", "release_id=v1"] if version == "1" else []
            done = operator.play("deploy.yml", "-l", group, *words, "-vvv")
            hello.outputs[group, version] = done.output
    return hello


def test_a_deploy_takes_the_newest_release_to_every_host_of_the_group(hello: Application) -> None:
    assert "deploying v2 on prod-1, prod-2, prod-3" in hello.outputs["prod", "2"]
    for host in hello.fleet.names():
        assert hello.active(host) == answers(hello.operator, host) == "v2"
        assert hello.statuses(host) == [("v1", "success"), ("v2", "success")]
        assert hello.is_settled(host)


def test_a_record_says_what_was_deployed_where_by_whom_and_how_it_went(hello: Application) -> None:
    newest, oldest = hello.history("prod-2")
    assert newest["environment"] == "prod"
    assert newest["smoke_test_passed"] is True
    assert newest["rollback"] is False
    assert newest["deployed_by"]
    assert newest["run_id"] == hello.history("prod-1")[0]["run_id"] != oldest["run_id"]
    assert {artifact["path"] for artifact in newest["artifacts"]} >= {"bin/hello", "config.json"}
    assert (newest["previous_release_id"], newest["active_release_id"]) == ("v1", "v2")
    assert 0 <= newest["durations"]["startup_ms"] <= newest["durations"]["health_ms"]
    assert newest["window"]["start"] == newest["timestamp"] < newest["window"]["end"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", newest["timestamp"])


def test_a_deploy_is_four_exchanges_with_a_host_and_no_module(hello: Application, say: Callable[[str], None]) -> None:
    """Beside them it asks once, by a plain command, whether the host is still there."""
    for (group, version), output in hello.outputs.items():
        for host in hello.fleet.names(group):
            found = commands(output, hello.fleet.host(host).address)
            exchanges = [command for command in found if "slipway.pyz exchange" in command]
            modules = [command for command in found if "python3" in command and command not in exchanges]
            say(
                f"a deploy of v{version} on {host}: {len(exchanges)} exchanges of {len(found)} commands, {len(modules)} modules"
            )
            assert (len(exchanges), len(found), modules) == (EXCHANGES, EXCHANGES + 1, [])


def test_a_deploy_of_what_is_there_is_two_exchanges_with_a_host(hello: Application, say: Callable[[str], None]) -> None:
    done = hello.operator.play("deploy.yml", "-l", "prod", "-vvv")
    for host in PROD:
        found = commands(done.output, hello.fleet.host(host).address)
        say(f"a deploy of what is there on {host}: {len(found)} exchanges")
        assert (len(found), all("slipway.pyz exchange" in command for command in found)) == (2, True)
        assert re.match(rf"{host} unchanged v2 -$", done.row(host)), done.row(host)


def test_the_status_table_shows_every_host_and_json_is_there_on_request(hello: Application) -> None:
    table = hello.operator.play("playbooks/status.yml")
    for host in hello.fleet.names():
        assert re.match(rf"{host} v2 \S+Z \S+ success intact intact v1 - \S+ until \S+ \S+Z$", table.row(host)), (
            table.row(host)
        )
    answer = hello.operator.play("playbooks/status.yml", "-l", "prod", "-e", "release_status_format=json")
    assert answer.says('"prod-1": {', '"active": "v2"', '"last_good": "v2"', '"previous": "v1"')


def test_rollback_without_a_limit_takes_back_the_newest_run_where_it_ran_and_says_so_first(hello: Application) -> None:
    staging = hello.snapshot("staging-1")
    plan = hello.operator.play("rollback.yml", "--check", "--diff")
    assert plan.says("taking back run", "-v2", "+v1", "check mode: nothing was changed")
    assert hello.actives(*PROD) == ["v2"] * 3

    done = hello.operator.play("rollback.yml")
    run = hello.history("prod-1")[1]["run_id"]
    assert done.says(f"taking back run {run} on prod-1, prod-2, prod-3: v2 -> v1", "Switch back")
    for host in PROD:
        assert hello.active(host) == answers(hello.operator, host) == "v1"
        record = hello.history(host)[0]
        assert (record["operation"], record["status"], record["takes_back"]) == ("rollback", "success", run)
        assert record["rollback"] is True
    assert hello.active("staging-1") == "v2"
    assert hello.snapshot("staging-1") == staging

    for words in ([], ["-l", "prod"]):
        before = hello.snapshot()
        again = hello.operator.play("rollback.yml", *words)
        assert again.says(f"run {run}", "was already taken back on prod-1, prod-2, prod-3: nothing to do")
        assert again.says("give -e release_id=")
        assert hello.snapshot() == before


def test_a_release_that_was_taken_back_is_skipped_unless_it_is_asked_for_again(hello: Application) -> None:
    """Runs after the rollback above."""
    before = hello.snapshot()
    assert hello.operator.play("deploy.yml", "-l", "prod").says("deploying v1; v2 is skipped: bad on prod-1, prod-2")
    refused = hello.operator.play("deploy.yml", "-l", "prod", "-e", "release_id=v2", code=2)
    assert refused.says("release_bad", "v2 is bad on prod-1, prod-2, prod-3", "-e release_retry=true")
    refused = hello.operator.play("rollback.yml", "-l", "prod", "-e", "release_id=v2", code=2)
    assert refused.says("release_bad")
    refused = hello.operator.play("rollback.yml", "-l", "prod", "-e", "release_id=v9", code=2)
    assert refused.says("release_not_here", "prod-1 has v1, v2")
    stays = hello.operator.play("rollback.yml", "-l", "prod", "-e", "release_id=v1")
    assert stays.says("v1 is already active on prod-1, prod-2, prod-3: nothing to do")
    assert hello.snapshot() == before, "a deploy of what is active, and refusals, append nothing"

    hello.operator.play("deploy.yml", "-l", "prod", "-e", "release_retry=true")
    assert hello.actives(*PROD) == ["v2"] * 3
    done = hello.operator.play("rollback.yml", "-l", "prod", "-e", "release_id=v1")
    assert done.says("going back to v1 on prod-1, prod-2, prod-3")
    assert hello.actives(*PROD) == ["v1"] * 3


def test_where_previous_releases_differ_a_rollback_shows_a_table_and_asks(operator: Operator) -> None:
    shop = operator.application("differing")
    for release in ("a", "b", "c"):
        shop.make(release)
    shop.deploy("a", limit="prod-1")
    shop.deploy("b", limit="prod-2")
    shop.deploy("c", limit="prod-1,prod-2")
    before = shop.snapshot()
    done = shop.rollback(limit=None, code=2)
    assert done.says("previous_differs", "host active previous prod-1 c a prod-2 c b", "-e release_id=")
    done = shop.rollback("-e", "release_id=a", limit="prod-1,prod-2", code=2)
    assert done.says("release_not_here", "prod-2 has b, c")
    assert shop.snapshot() == before
    shop.rollback(limit="prod-2")
    assert shop.actives("prod-1", "prod-2") == ["c", "b"]


def test_releases_beyond_the_keep_count_go_but_never_the_active_and_the_previous_one(operator: Operator) -> None:
    shop = operator.application("pruned", ["prod-1"])
    for release in ("a", "b", "c"):
        shop.make(release, {"file": release})
        shop.deploy("-e", "release_keep_count=1")
    releases = shop.fleet.inside("prod-1", f"ls /srv/{shop.name}/releases").stdout.split()
    assert releases == ["b", "c"]
    kept = shop.fleet.inside("prod-1", f"find /srv/{shop.name}/.objects -type f | wc -l").stdout.strip()
    assert kept == "2", "VERSION and file have the same content, kept once for each release"
    shop.rollback()
    assert shop.active("prod-1") == "b"


def test_a_release_can_be_made_of_an_archive(operator: Operator, tmp_path: Path) -> None:
    example = operator.fleet.clone.root / "examples" / "model"
    archive = tmp_path / "model.tar.gz"
    operator.fleet.command("tar", "-czf", str(archive), "-C", str(example), ".")
    made = operator.play("playbooks/release.yml", "-e", f"release_source={archive}")
    assert re.search(r"release_id: release_\d{8}_\d{6}\b", made.output)
