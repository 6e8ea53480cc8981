# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host finds when it looks at itself: release and history, told and never refused, and nothing changed."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.host import integrity
from ansible.module_utils.slipway.host.handler import handle
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.host.log import tree_of
from ansible.module_utils.slipway.trust import checkpoint, merkle
from ansible.module_utils.slipway.trust.keys import PublicKey
from releases import V1, V2, snapshot


@pytest.fixture
def two(site):
    """v1 and v2 were deployed, ten seconds apart."""
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
        site.deploy(f"v{number}", f"run-{number}")
    return site


def verify(site, **keys):
    request = {"operation": "verify", "application": {"name": "shop"}, "bytes": True, "sizes": [], **keys}
    answer = handle(request, site.host)
    assert answer["changed"] is False
    assert json.loads(json.dumps(answer)) == answer
    return answer


def prove(site, **keys):
    return handle({"operation": "proof", "application": {"name": "shop"}, **keys}, site.host)


def lines_of(site) -> list[bytes]:
    return site.places.history.read_bytes().splitlines()


def test_an_intact_host_says_so_of_everything(two):
    answer = verify(two, environment="prod", sizes=[0, 1, 2, 3], witnessed={"size": 1})
    tree = tree_of(lines_of(two))
    assert answer["host"] == {"id": two.host.identity().id, "name": "prod-1", "environment": "prod"}
    assert (answer["application"], answer["active"]) == ("shop", "v2")
    assert answer["release"] == answer["trust"]
    assert (answer["release"]["release_id"], answer["release"]["outcome"]) == ("v2", "intact")
    found = answer["history"]
    assert (found["outcome"], found["size"], found["root"]) == ("intact", 2, tree.root().hex())
    assert found["roots"] == {str(size): tree.root(size).hex() for size in (0, 1, 2)}
    assert found["consistency"] == merkle.as_hex(tree.consistency_proof(1))
    signed = checkpoint.verify(found["checkpoint"].encode(), key=PublicKey.from_hex(found["key"]))
    assert (signed.size, signed.root) == (2, tree.root())
    assert answer["runs"] == [
        {"run_id": f"run-{number}", "controller_id": "controller-1", "status": "success", "seq": number - 1}
        for number in (1, 2)
    ]


def test_a_host_that_has_nothing_yet_is_no_trouble(site):
    answer = verify(site)
    assert (answer["active"], answer["release"]["outcome"], answer["runs"]) == (None, "nothing_active", [])
    assert (answer["history"]["outcome"], answer["history"]["size"]) == ("intact", 0)


def test_a_changed_byte_shows_among_the_bytes_only(two):
    path = two.release("v2") / "config.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    assert verify(two)["release"]["outcome"] == "release_altered"
    assert verify(two)["trust"]["outcome"] == "intact"
    assert verify(two, bytes=False)["release"]["outcome"] == "intact"


def test_a_link_that_somebody_moved_shows(two):
    two.places.current.unlink()
    two.places.current.symlink_to("releases/v1")
    found = verify(two)["trust"]
    assert (found["release_id"], found["outcome"]) == ("v1", "active_unrecorded")
    assert verify(two)["release"]["outcome"] == "active_unrecorded"
    assert two.inspect()["trust"]["outcome"] == "active_unrecorded"
    two.places.current.unlink()
    assert verify(two)["trust"]["outcome"] == "active_unrecorded"


def test_another_manifest_under_the_same_name_shows(two):
    other = two.places.manifests / "v2"
    shutil.rmtree(other)
    shutil.copytree(two.places.manifests / "v1", other)
    assert verify(two)["trust"]["outcome"] != "intact"


def test_a_release_that_was_signed_anew_under_an_id_that_is_active_shows(two):
    history = History(two.places.history)
    history.append({**history.last(), "manifest_digest": "0" * 64})
    found = verify(two)["trust"]
    assert (found["outcome"], "under which it became active" in found["detail"]) == ("active_unrecorded", True)


def test_a_host_whose_trust_policy_cannot_be_read_names_none(two):
    assert verify(two)["policy"]["version"] == 1
    (two.host.configuration / "trust-policy.dsse.json").write_bytes(b"{}")
    answer = verify(two)
    assert (answer["policy"], answer["trust"]["outcome"] == "intact") == (None, False)


def test_a_link_that_only_the_unsigned_description_allows_shows(two):
    described = two.places.manifests / "v2/application.json"
    document = json.loads(described.read_bytes())
    document["description"]["shared_paths"] = ["sitecustomize.py"]
    described.write_bytes(canonical.encode(document))
    (two.release("v2") / "sitecustomize.py").symlink_to("../../shared/sitecustomize.py")
    assert verify(two)["trust"]["outcome"] == "shared_paths_changed"


def test_a_failed_check_makes_no_moved_link_right(two):
    two.places.current.unlink()
    two.places.current.symlink_to("releases/v1")
    two.build("v3", V1)
    two.description["check"] = {"argv": ["false"]}
    assert two.stage("v3")["reason"] == "check_failed"
    assert verify(two)["trust"]["outcome"] == "active_unrecorded"


def test_a_switch_that_is_not_settled_yet_is_no_moved_link(two):
    two.build("v3", V1)
    run = two.run("run-3")
    two.stage("v3", run=run)
    two.activate("v3", run=run)
    assert verify(two)["trust"] == {"release_id": "v3", "outcome": "intact", "detail": verify(two)["trust"]["detail"]}


def test_a_history_that_cannot_be_read_says_nothing_of_what_is_active(two):
    two.places.history.write_bytes(b"{}\n")
    found = verify(two)
    assert (found["history"]["outcome"], found["trust"]["outcome"]) == ("altered", "intact")


def test_an_added_file_shows(two):
    two.release("v2").chmod(0o755)
    (two.release("v2") / ".hidden").touch()
    assert verify(two)["release"]["outcome"] == "release_altered"


def test_a_manifest_that_no_longer_holds_shows_without_its_bytes(two):
    path = two.places.manifests / "v2" / "manifest.dsse.json"
    envelope = json.loads(path.read_bytes())
    envelope["signatures"][0]["sig"] = envelope["signatures"][0]["sig"].swapcase()
    path.write_bytes(canonical.encode(envelope))
    for all_bytes in (True, False):
        answer = verify(two, bytes=all_bytes)
        assert answer["trust"]["outcome"] == answer["release"]["outcome"] != "intact"


def test_a_link_that_leads_astray_is_an_answer(two):
    two.places.current.unlink()
    two.places.current.symlink_to("/somewhere/else")
    answer = verify(two)
    assert (answer["active"], answer["release"]["outcome"]) == (None, "current_invalid")
    assert answer["history"]["outcome"] == "intact"


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (lambda lines: [lines[0].replace(b"alice", b"mallo"), lines[1]], "altered"),
        (lambda lines: lines[:1], "truncated"),
        (lambda lines: [], "truncated"),
        (lambda lines: [*lines, b"noise"], "altered"),
    ],
)
def test_a_history_that_is_not_what_it_was_is_an_answer(two, change, outcome):
    two.places.history.write_bytes(b"".join(line + b"\n" for line in change(lines_of(two))))
    answer = verify(two)
    assert (answer["history"]["outcome"], answer["release"]["outcome"]) == (outcome, "intact")
    assert len(answer["runs"]) <= 2


def test_a_history_that_is_no_file_is_an_answer_with_no_runs(two):
    two.places.history.unlink()
    os.mkfifo(two.places.history)
    answer = verify(two)
    assert (answer["history"]["outcome"], answer["runs"]) == ("altered", [])


def test_the_runs_are_those_of_the_newest_records(two, monkeypatch):
    monkeypatch.setattr(integrity, "RUNS_TOLD", 1)
    assert [run["run_id"] for run in verify(two)["runs"]] == ["run-2"]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"environment": "staging"}, "environment_mismatch"),
        ({"application": {"name": "../etc"}}, "application_unknown"),
        ({"application": {"name": "other"}}, "application_not_bootstrapped"),
        ({"sizes": "all"}, "history_size_invalid"),
        ({"sizes": [-1]}, "history_size_invalid"),
        ({"witnessed": {"size": None}}, "history_size_invalid"),
    ],
)
def test_only_a_request_that_is_not_for_this_host_is_refused(two, keys, reason):
    assert verify(two, **keys)["reason"] == reason


def test_looking_changes_nothing_but_the_note_of_when_it_was(two):
    before = snapshot(two.host.root)
    verify(two, bytes=False)
    verify(two, check=True)
    assert snapshot(two.host.root) == before
    verify(two)
    changed = {path for path, found in snapshot(two.host.root).items() if before.get(path) != found}
    assert {path.removeprefix(str(two.host.root)) for path in changed} <= {
        "/.", "", "/run", "/run/.", "/run/slipway", "/run/slipway/.", "/run/slipway/shop", "/run/slipway/shop/.",
        "/run/slipway/shop/checked.json",
    }  # fmt: skip


def test_the_same_question_gets_the_same_answer_twice(two):
    assert verify(two, sizes=[1]) == verify(two, sizes=[1])


# when every byte was last looked at


def test_every_byte_is_checked_when_a_release_becomes_active(two):
    assert two.inspect()["bytes_checked"] == two.inspect()["since"] == two.records[-1]["timestamp"]


def test_a_check_by_request_is_newer_and_of_that_release_alone(two):
    two.host.clock.advance(100)
    now = timestamp(two.host.clock.now())
    verify(two, bytes=False)
    assert two.inspect()["bytes_checked"] != now
    verify(two)
    assert two.inspect()["bytes_checked"] == now
    assert stat_of(two.places.checked) == 0o644
    two.host.clock.advance(100)
    two.rollback("v1", run=two.run("run-3"), takes_back="run-2")
    assert two.inspect()["bytes_checked"] == two.records[-1]["timestamp"]


def stat_of(path) -> int:
    return path.stat().st_mode & 0o777


def test_a_check_that_found_something_is_no_check(two):
    two.host.clock.advance(100)
    two.release("v2").chmod(0o755)
    (two.release("v2") / "more").touch()
    verify(two)
    assert not two.places.checked.exists()


def test_a_release_that_was_activated_after_the_check_was_checked_then(two):
    verify(two)
    two.host.clock.advance(100)
    two.build("v3", V1)
    two.deploy("v3", "run-3")
    two.places.checked.write_bytes(canonical.encode({"checked": "2020-01-01T00:00:00Z", "release_id": "v3"}))
    assert two.inspect()["bytes_checked"] == two.records[-1]["timestamp"]


def test_a_check_in_an_open_transaction_counts_though_there_is_no_record_yet(two):
    two.build("v3", V1)
    two.stage("v3", run=two.run("run-3"))
    two.activate("v3", run=two.run("run-3"))
    assert two.inspect()["bytes_checked"] is None
    verify(two)
    assert two.inspect()["bytes_checked"] == timestamp(two.host.clock.now())


@pytest.mark.parametrize(
    "note",
    [b"", b"noise", b"[]", b"{}", b'{"checked":"yesterday","release_id":"v2"}', b'{"checked":7,"release_id":"v2"}',
     b'{"checked":"9999-01-01T00:00:00Z","release_id":"v2"}', b'{"checked":"2026-11-21T00:00:00Z"}', b"x" * 5000],
)  # fmt: skip
def test_a_note_that_says_nothing_of_use_is_none(two, note):
    verify(two)
    two.places.checked.write_bytes(note)
    assert two.inspect()["bytes_checked"] == two.records[-1]["timestamp"]


def test_a_note_that_cannot_be_written_is_no_reason_to_doubt_the_bytes(two):
    shutil.rmtree(two.host.root / "run")
    (two.host.root / "run").write_bytes(b"no directory")
    assert verify(two)["release"]["outcome"] == "intact"
    assert two.inspect()["bytes_checked"] == two.records[-1]["timestamp"]


def test_nothing_active_was_never_checked(site):
    assert site.inspect()["bytes_checked"] is None


# trust at every read


def test_every_look_verifies_signatures_and_file_list_of_what_is_active(two):
    assert two.inspect()["trust"]["outcome"] == "intact"
    (two.places.manifests / "v2" / "file-list.json").write_bytes(b"{}")
    answer = two.inspect()
    assert (answer["trust"]["release_id"], answer["trust"]["outcome"]) == ("v2", "file_list_altered")


def test_nothing_active_needs_no_trust(site):
    assert site.inspect()["trust"] == {"release_id": None, "outcome": "nothing_active", "detail": ""}


# proofs


def test_the_records_of_a_run_are_proven(two):
    proof = prove(two, run_id="run-2")
    (line,) = proof["lines"]
    assert json.loads(line["line"])["run_id"] == "run-2"
    signed = checkpoint.verify(proof["checkpoint"].encode(), key=PublicKey.from_hex(proof["key"]))
    merkle.verify_inclusion(
        leaf=merkle.leaf_hash(line["line"].encode()), index=line["seq"], size=line["size"],
        proof=merkle.from_hex(line["inclusion"], what="a proof"), root=signed.root,
    )  # fmt: skip
    assert prove(two, transaction=two.records[1]["transaction"])["lines"] == proof["lines"]
    assert prove(two, run_id="run-1", size=1)["lines"][0]["inclusion"] == []


@pytest.mark.parametrize(
    "keys",
    [{"run_id": "run-9"}, {"transaction": "nothing"}, {}, {"run_id": ""}, {"run_id": "run-1", "transaction": "x"}],
)
def test_what_is_not_recorded_is_not_proven(two, keys):
    assert prove(two, **keys)["reason"] == "record_unknown"


def test_of_the_sizes_that_a_controller_keeps_the_smallest_that_covers_is_proven_against(two):
    assert [line["size"] for line in prove(two, run_id="run-1", sizes=[0, 1, 2])["lines"]] == [1]
    assert [line["size"] for line in prove(two, run_id="run-2", sizes=[1, 2])["lines"]] == [2]
    assert [line["size"] for line in prove(two, run_id="run-1", sizes=[0])["lines"]] == [2]
    assert prove(two, run_id="run-1", sizes=[9])["reason"] == "history_unsigned"
    assert prove(two, run_id="run-1", sizes=["1"])["reason"] == "history_size_invalid"


def test_with_a_proof_comes_who_proves_it_and_how_its_log_goes_on(two):
    answer = prove(two, run_id="run-2", witnessed={"size": 1})
    assert (answer["changed"], answer["host"]["id"]) == (False, two.host.identity().id)
    assert answer["log"]["checkpoint"] == answer["checkpoint"]
    tree = tree_of(two.places.history.read_bytes().split(b"\n")[:-1])
    assert answer["log"]["consistency"] == merkle.as_hex(tree.consistency_proof(1))


def test_with_a_proof_comes_what_was_signed_of_its_releases_and_of_trust(two):
    kept = two.places.manifests / "v2"
    (kept / "approvals").mkdir(exist_ok=True)
    (kept / "approvals/a.dsse.json").write_text("an approval")
    (kept / "authorizations").mkdir(exist_ok=True)
    (kept / "authorizations/b.dsse.json").write_text("an authorization")
    (two.host.configuration / "policies").mkdir()
    (two.host.configuration / "policies/1.dsse.json").write_text("an older policy")
    (two.host.configuration / "policies/2.dsse.json").mkdir()
    policy = (two.host.configuration / "trust-policy.dsse.json").read_text()
    manifest = (kept / "manifest.dsse.json").read_text()
    expected = [manifest, "an approval", "an authorization", policy, "an older policy"]
    assert prove(two, run_id="run-2")["envelopes"] == expected
    (kept / "manifest.dsse.json").unlink()
    assert prove(two, run_id="run-2")["envelopes"] == expected[1:]


def test_a_run_is_proven_from_a_history_that_holds_only(two):
    lines = lines_of(two)
    two.places.history.write_bytes(b"".join(line.replace(b"alice", b"mallo") + b"\n" for line in lines))
    assert prove(two, run_id="run-1")["reason"] == "history_altered"
    assert prove(two, run_id="run-1", application={"name": "other"})["reason"] == "application_not_bootstrapped"


# exchanges


def test_each_exchange_that_reads_or_appends_tells_the_log(site):
    site.build("v1", V1)
    site.stage("v1")
    told = [site.activate("v1"), site.confirm("v1"), site.inspect(), site.ask("history", limit=1), site.recover()]
    site.build("v2", V2)
    site.stage("v2", run=site.run("run-2"))
    told += [site.activate("v2", run=site.run("run-2")), site.revert("v2", run=site.run("run-2"))]
    assert [answer["log"]["size"] for answer in told] == [0, 1, 1, 1, 1, 1, 2]
    for answer in told:
        assert answer["log"]["outcome"] == "intact"
        signed = checkpoint.verify(answer["log"]["checkpoint"].encode(), key=PublicKey.from_hex(answer["log"]["key"]))
        assert signed.size == answer["log"]["size"]
    assert "log" not in site.stage("v2")


def test_each_exchange_proves_that_the_log_goes_on_from_what_was_witnessed(two):
    tree = tree_of(lines_of(two))
    for answer in (
        two.inspect(witnessed={"size": 1}), two.ask("history", limit=1, witnessed={"size": 1}), two.recover(witnessed={"size": 1}),
        two.revert("v2", witnessed={"size": 1}), two.confirm("v2", witnessed={"size": 1}),
        two.activate("v2", run=two.run("run-3"), witnessed={"size": 1}),
    ):  # fmt: skip
        assert answer["log"]["consistency"] == merkle.as_hex(tree.consistency_proof(1)), answer


@pytest.mark.parametrize(
    "operation", ["inspect", "history", "activate", "confirm", "revert", "recover", "verify", "proof"]
)
def test_an_exchange_with_no_size_is_refused_before_anything_is_done(two, operation):
    before = snapshot(two.host.root)
    answer = two.ask(operation, release_id="v1", limit=1, witnessed={"size": "1"})
    assert answer["reason"] == "history_size_invalid"
    assert snapshot(two.host.root) == before


def test_check_mode_signs_nothing(two):
    two.places.checkpoint.unlink()
    two.recover()
    two.places.checkpoint.unlink()
    before = snapshot(two.host.root)
    for answer in (two.activate("v2", check=True), two.confirm("v2", check=True), two.recover(check=True)):
        assert answer["log"]["checkpoint"] is None
    assert snapshot(two.host.root) == before


def test_a_host_from_before_there_were_checkpoints_signs_with_its_next_exchange(two):
    two.host.history_key.unlink()
    two.places.checkpoint.unlink()
    two.places.history_tree.unlink()
    assert two.inspect()["log"]["key"] is None
    answer = two.recover()
    assert (answer["changed"], answer["log"]["size"], answer["log"]["outcome"]) == (False, 2, "intact")
    assert checkpoint.read(answer["log"]["checkpoint"].encode()).size == 2


def test_a_history_that_is_not_as_signed_stops_a_deployment_before_its_switch_and_no_way_back(two, tmp_path):
    two.build("v3", V1)
    two.stage("v3", run=two.run("run-3"))
    for change, reason in (
        (lambda lines: lines[1:], "history_altered"),
        (lambda lines: lines[:1], "history_truncated"),
    ):
        keep = tmp_path / reason
        shutil.copytree(two.places.state, keep, symlinks=True)
        two.places.history.write_bytes(b"".join(line + b"\n" for line in change(lines_of(two))))
        answer = two.activate("v3", run=two.run("run-3"))
        assert (answer["reason"], answer["changed"], two.current) == (reason, False, "v2")
        assert two.is_settled()
        if reason == "history_truncated":
            answer = two.rollback("v1", run=two.run("run-4"))
            assert (answer["outcome"], answer["log"]["outcome"], two.current) == ("confirmed", "altered", "v1")
        shutil.rmtree(two.places.state)
        shutil.copytree(keep, two.places.state, symlinks=True)


def test_a_key_that_is_damaged_stops_a_deployment_before_its_switch_and_no_way_back(two):
    two.host.history_key.write_bytes(b"damaged")
    two.build("v3", V1)
    two.stage("v3", run=two.run("run-3"))
    assert two.activate("v3", run=two.run("run-3"))["reason"] == "key_invalid"
    assert two.current == "v2"
    answer = two.rollback("v1", run=two.run("run-4"))
    assert (answer["outcome"], two.current) == ("confirmed", "v1")
    assert (answer["log"]["outcome"], answer["log"]["key"]) == ("altered", None)
    assert two.statuses[-1] == ("v1", "success")
