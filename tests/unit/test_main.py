# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `slipway` on a host."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway import __main__ as command
from ansible.module_utils.slipway import __version__
from releases import UNIT, V1, V2, Site, snapshot


@pytest.fixture
def slipway(site, capsys):
    """Run the command on the host; returns exit code, output and errors."""

    def run(*arguments):
        code = command.main(arguments, site.host)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def deployed(site):
    site.build("v1", V1)
    site.deploy("v1")
    return site


def test_status_is_a_table_of_applications(deployed, slipway):
    Site(deployed.directory, deployed.host, application="empty")
    code, out, err = slipway("status")
    since = deployed.records[0]["timestamp"]
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines == [
        ["application", "active", "since", "by", "health", "previous", "bad", "trust", "history", "checked"],
        ["empty", "-", "-", "-", "inconclusive", "-", "-", "nothing_active", "intact", "-"],
        ["shop", "v1", since, "alice", "success", "-", "-", "intact", "intact", since],
    ]


def test_status_tells_of_a_history_that_lost_its_end(deployed, slipway):
    deployed.places.history.write_bytes(b"")
    code, out, _ = slipway("status")
    assert (code, out.splitlines()[1].split()[8]) == (1, "truncated")


@pytest.mark.parametrize("verb", ["status", "verify"])
def test_an_application_that_cannot_be_asked_hides_no_other(deployed, slipway, verb):
    (deployed.host.states / "broken").mkdir()
    code, out, err = slipway(verb)
    assert (code, [line.split()[0] for line in out.splitlines()]) == (1, ["application", "shop"])
    assert err.startswith("broken: application_not_bootstrapped: ")


def test_status_of_an_ill_application_ends_with_one(deployed, slipway, systemctl):
    systemctl.units[UNIT] = ("loaded", "failed", "failed")
    code, out, _ = slipway("status", "shop")
    assert (code, "failure" in out) == (1, True)


def test_status_names_bad_releases(deployed, slipway):
    deployed.sicken("v2")
    deployed.build("v2", V2)
    deployed.stage("v2", run=deployed.run("run-2"))
    deployed.activate("v2", run=deployed.run("run-2"))
    assert slipway("status")[1].splitlines()[1].split()[6] == "v2"


def test_status_of_what_cannot_be_trusted_any_more_ends_with_one(deployed, slipway):
    (deployed.places.manifests / "v1" / "file-list.json").write_bytes(b"{}")
    code, out, _ = slipway("status")
    assert (code, out.splitlines()[1].split()[7]) == (1, "file_list_altered")


def test_status_as_json(deployed, slipway):
    code, out, _ = slipway("status", "--json")
    assert (code, [(answer["application"], answer["active"]) for answer in json.loads(out)]) == (0, [("shop", "v1")])


def test_verify_reads_every_byte(deployed, slipway):
    code, out, _ = slipway("verify")
    assert (code, out.splitlines()[1].split()[:4]) == (0, ["shop", "v1", "intact", "intact"])
    assert out.endswith(" bytes; 1 records\n")
    (deployed.release("v1") / "config.json").chmod(0o755)
    code, out, _ = slipway("verify", "shop")
    assert (code, "release_altered" in out) == (1, True)


def test_verify_as_json_where_nothing_is_active(site, slipway):
    code, out, _ = slipway("verify", "--json")
    (answer,) = json.loads(out)
    assert (code, answer["application"], answer["active"]) == (0, "shop", None)
    assert answer["release"] == {"release_id": None, "outcome": "nothing_active", "detail": ""}
    assert answer["history"]["outcome"] == "intact"


@pytest.mark.parametrize(("change", "outcome", "code"), [
    (lambda data: data.replace(b"alice", b"mallo"), "altered", 1),
    (lambda data: b"", "truncated", 1),
    (lambda data: data + b'{"torn', "torn", 0),
])  # fmt: skip
def test_verify_follows_the_whole_history(deployed, slipway, change, outcome, code):
    deployed.places.history.write_bytes(change(deployed.places.history.read_bytes()))
    found, out, _ = slipway("verify")
    assert (found, out.splitlines()[1].split()[:4]) == (code, ["shop", "v1", "intact", outcome])


def test_proof_proves_the_record_of_a_run(deployed, slipway):
    code, out, _ = slipway("proof", "shop", "--run", "run-1")
    proof = json.loads(out)
    assert (code, set(proof), [line["seq"] for line in proof["lines"]]) == (0, {"lines", "checkpoint", "key"}, [0])
    transaction = deployed.records[0]["transaction"]
    assert slipway("proof", "shop", "--transaction", transaction, "--size", "1") == (0, out, "")
    code, out, error = slipway("proof", "shop", "--run", "run-9")
    assert (code, out, error.partition(":")[0]) == (1, "", "record_unknown")


def test_recover_signs_what_is_not_signed_yet(deployed, slipway):
    deployed.places.checkpoint.unlink()
    assert slipway("recover")[0] == 0
    assert deployed.places.checkpoint.exists()


def test_history_is_limited_and_newest_first(deployed, slipway):
    deployed.build("v2", V2)
    deployed.deploy("v2", "run-2")
    code, out, _ = slipway("history", "shop", "--limit", "1")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["seq", "1"])
    code, out, _ = slipway("history", "--json")
    assert (code, [record["release_id"] for record in json.loads(out)]) == (0, ["v2", "v1"])


def test_recover_settles_what_is_open(deployed, slipway):
    deployed.build("v2", V2)
    deployed.stage("v2", run=deployed.run("run-2"))
    deployed.activate("v2", run=deployed.run("run-2"))
    code, out, error = slipway("recover")
    assert (code, error.startswith("locked: "), deployed.current) == (1, True, "v2")
    code, out, _ = slipway("recover", "--force")
    assert (code, out) == (0, "shop: interrupted: run run-2 did not end; recovery went back\n")
    assert deployed.current == "v1"
    code, out, _ = slipway("recover", "--json")
    assert (code, json.loads(out)) == (0, {"application": "shop", "found": "nothing was open"})


@pytest.mark.parametrize("verb", ["status", "verify", "history", "recover"])
def test_an_application_that_is_not_here_is_refused(deployed, slipway, verb):
    before = snapshot(deployed.host.root)
    code, out, err = slipway(verb, "nosuch")
    assert (code, out, err.split(":")[0]) == (1, "", "application_not_bootstrapped")
    assert snapshot(deployed.host.root) == before


def test_an_error_of_the_host_is_said_in_one_line(deployed, slipway):
    deployed.places.lock.unlink()
    deployed.places.lock.mkdir()
    code, _, err = slipway("recover")
    assert (code, err.count("\n")) == (1, 1)


def test_wrong_usage_ends_with_two(slipway, capsys):
    for arguments in ((), ("explode",), ("history", "--limit", "many"), ("proof",), ("proof", "shop")):
        with pytest.raises(SystemExit) as ended:
            slipway(*arguments)
        assert ended.value.code == 2


def test_the_version_is_told(slipway, capsys):
    with pytest.raises(SystemExit) as ended:
        slipway("--version")
    assert (ended.value.code, capsys.readouterr().out) == (0, f"slipway {__version__}\n")


def test_without_a_host_the_command_looks_at_this_machine(deployed, monkeypatch, capsys):
    monkeypatch.setattr(command, "Host", lambda: deployed.host)
    assert command.main(["status"]) == 0
    assert "v1" in capsys.readouterr().out
