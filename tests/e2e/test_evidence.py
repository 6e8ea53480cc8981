# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a run on live hosts: exported by the literal command, verified with standard tools, red for every change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import proofs
import pytest
import yaml
from ansible.module_utils.slipway.base import canonical
from deployments import Application, Done, Operator

HOSTS = ("prod-1", "prod-2", "prod-3")


@pytest.fixture(scope="module")
def shop(operator: Operator) -> Application:
    """Return an application of which `one` was deployed to prod by a run, and `two` by the next."""
    shop = operator.application("proven")
    for release_id in ("one", "two"):
        shop.make(release_id, {"bin/run": f"this is {release_id}"})
        shop.deploy(limit="prod")
    return shop


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return proofs.tools(tmp_path_factory.mktemp("tools"))


def runs(shop: Application) -> list[str]:
    """The runs of prod-1, newest first."""
    return [record["run_id"] for record in shop.history("prod-1")]


def export(shop: Application, *words: str, code: int | None = 0, limit: str | None = "prod") -> Done:
    return shop.operator.play(*shop.words("playbooks/evidence.yml", limit, words), code=code)


def archive(shop: Application, run_id: str) -> Path:
    return shop.operator.state / f"release/evidence/{run_id}.tar.gz"


def people() -> list[str]:
    """Every name and address of trust_holders."""
    path = Path(__file__).parents[2] / "group_vars/all/holders.yml"
    holders = yaml.safe_load(path.read_text(encoding="utf-8"))["trust_holders"]
    return [text for entry in holders.values() for text in (entry["name"], entry["email"])]


@pytest.fixture(scope="module")
def exported(shop: Application, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked evidence of the newest run."""
    done = export(shop)
    assert done.says(f"{runs(shop)[0]}.tar.gz", "missing: []")
    return proofs.unpack(archive(shop, runs(shop)[0]), tmp_path_factory.mktemp("evidence"))


def test_the_newest_run_is_proven_on_all_hosts(shop: Application, exported: Path, tools: Path) -> None:
    done = proofs.verify(exported, tools)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"all 3 records of {runs(shop)[0]} hold" in done.stdout
    assert done.stdout.count("approval by ") == 6
    for host in HOSTS:
        line = shop.fleet.inside(host, f"tail -n 1 /var/lib/slipway/{shop.name}/history.jsonl").stdout.rstrip("\n")
        record = canonical.parse(line.encode(), what="record")
        kept = exported / f"hosts/{record['host_id']}/records/{record['seq']}/record"
        assert kept.read_text(encoding="utf-8") == line


def test_what_an_auditor_was_told_is_compared(shop: Application, exported: Path, tools: Path) -> None:
    done = export(shop)
    told = yaml.safe_load(done.output[done.output.index("msg:") :].partition("\n\n")[0])["msg"]
    anchors = (told["first_trust_policy"], told["witness_key"])
    assert proofs.verify(exported, tools, *anchors).returncode == 0
    assert proofs.verify(exported, tools, anchors[0], "0" * 64).returncode == 1


def test_the_same_run_makes_the_same_archive_also_after_other_runs(
    shop: Application, exported: Path, tmp_path: Path
) -> None:
    run_id, path = runs(shop)[0], archive(shop, runs(shop)[0])
    before = path.read_bytes()
    assert export(shop, "-e", f"run_id={run_id}").says("changed=0")
    shop.make("three")
    shop.deploy(limit="prod")
    elsewhere = tmp_path / "evidence.tar.gz"
    export(shop, "-e", f"run_id={run_id}", "-e", f"evidence_path={elsewhere}")
    assert elsewhere.read_bytes() == before


def test_a_rollback_is_proven_too(shop: Application, tools: Path, tmp_path: Path) -> None:
    shop.rollback(limit="prod")
    export(shop)
    done = proofs.verify(proofs.unpack(archive(shop, runs(shop)[0]), tmp_path), tools)
    assert done.returncode == 0, done.stdout
    assert ": rollback of " in done.stdout


ALTERED = {
    "a byte of the record": "hosts/*/records/*/record",
    "a byte of the proof": "hosts/*/records/*/inclusion",
    "a byte of the checkpoint": "hosts/*/checkpoint",
    "a byte of an approval": "releases/*/approvals/*/payload",
    "a byte of a signature": "releases/*/approvals/*/*.sig",
    "a byte of the manifest": "releases/*/manifest/payload",
    "a byte of the policy": "policies/1/payload",
    "a byte of a key": "keys/*.pem",
}


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("what", ALTERED)
def test_what_is_altered_is_seen(exported: Path, tools: Path, tmp_path: Path, what: str, is_sealed: bool) -> None:
    copy = shutil.copytree(exported, tmp_path / "copy")
    path = sorted(copy.glob(ALTERED[what]))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    if is_sealed:
        proofs.seal(copy)
    assert proofs.verify(copy, tools).returncode == 1


def test_an_approval_or_a_host_that_is_taken_out_is_seen(exported: Path, tools: Path, tmp_path: Path) -> None:
    for number, pattern in enumerate(("releases/*/approvals/*", "hosts/*", "policies/1")):
        copy = shutil.copytree(exported, tmp_path / str(number))
        shutil.rmtree(sorted(copy.glob(pattern))[0])
        proofs.seal(copy)
        assert proofs.verify(copy, tools).returncode == 1


def test_a_host_that_is_away_is_named_and_the_export_fails(shop: Application) -> None:
    with shop.fleet.partition("prod-2"):
        done = export(shop, "-e", f"run_id={runs(shop)[0]}", code=2)
        assert done.says("evidence_incomplete: the records of prod-2: no answer")
    assert export(shop, "-e", f"run_id={runs(shop)[0]}").says("missing: []")


def test_what_the_catalogue_lost_comes_from_the_hosts(
    shop: Application, exported: Path, tools: Path, tmp_path: Path
) -> None:
    catalogue = shop.operator.catalogue / shop.name
    catalogue.rename(tmp_path / "kept")
    try:
        export(shop, "-e", f"evidence_path={tmp_path / 'evidence.tar.gz'}")
    finally:
        shutil.rmtree(catalogue, ignore_errors=True)
        (tmp_path / "kept").rename(catalogue)
    assert proofs.verify(proofs.unpack(tmp_path / "evidence.tar.gz", tmp_path / "unpacked"), tools).returncode == 0


def test_no_name_of_a_person_is_on_a_host_or_in_an_archive(shop: Application, exported: Path) -> None:
    names = people()
    assert names
    for text in names:
        for path in exported.rglob("*"):
            assert not path.is_file() or text.encode() not in path.read_bytes(), path
        for host in shop.fleet.names():
            places = f"/srv/{shop.name} /var/lib/slipway /etc/slipway"
            found = shop.fleet.inside(host, f"grep -rlF -- '{text}' {places}", check=False).stdout
            assert found == "", f"{text} on {host}: {found}"


def test_names_are_beside_an_archive_and_erasing_one_breaks_no_proof(
    shop: Application, tools: Path, tmp_path: Path
) -> None:
    run_id = runs(shop)[-1]
    before = tmp_path / "before.tar.gz"
    export(shop, "-e", f"run_id={run_id}", "-e", f"evidence_path={before}", "-e", "evidence_names=true")
    names = json.loads((tmp_path / f"{run_id}.holders.json").read_text(encoding="utf-8"))
    assert {"lead", "risk"} <= names.keys()
    erased = {holder: entry for holder, entry in names.items() if holder != "lead"}
    after = tmp_path / "after.tar.gz"
    words = ["-e", json.dumps({"trust_holders": erased, "evidence_names": True})]
    export(shop, "-e", f"run_id={run_id}", "-e", f"evidence_path={after}", *words)
    assert "lead" not in json.loads((tmp_path / f"{run_id}.holders.json").read_text(encoding="utf-8"))
    assert before.read_bytes() == after.read_bytes()
    assert proofs.verify(proofs.unpack(after, tmp_path / "unpacked"), tools).returncode == 0


def test_a_run_that_never_was_is_refused(shop: Application) -> None:
    assert export(shop, "-e", "run_id=run_20200101T000000Z_000000", code=2).says("run_unknown")
