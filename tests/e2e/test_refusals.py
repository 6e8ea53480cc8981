# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything is done: a clear error, an exit code that is not 0, and nothing changed anywhere."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.keys import generate_private_key, load_private_key
from ansible.module_utils.slipway.trust.policy import sign_policy
from deployments import ORDERS, Application, Done, Operator


@pytest.fixture(scope="module")
def shop(operator: Operator) -> Application:
    """Return an application that serves `one` on every host; `two` is newer and waits in the catalogue."""
    shop = operator.application("refused")
    shop.make("one", {"bin/run": "one"})
    for group in ("staging", "prod"):
        shop.deploy(limit=group)
    shop.make("two", {"bin/run": "two"})
    return shop


@pytest.fixture(scope="module")
def last(shop: Application) -> dict[str, str]:
    """What was seen last on the hosts: a snapshot after one test is the one before the next."""
    return shop.snapshot()


@pytest.fixture
def unchanged(shop: Application, last: dict[str, str]) -> Iterator[None]:
    """The hosts are after the test as they were before."""
    yield
    before, after = dict(last), shop.snapshot()
    last.update(after)
    assert after == before


@pytest.fixture
def catalogue(shop: Application) -> Iterator[Path]:
    """Return the application's catalogue; the test may damage it."""
    place = shop.operator.catalogue / shop.name
    kept = place.with_name(f"{shop.name}.kept")
    shutil.copytree(place, kept)
    yield place
    shutil.rmtree(place)
    kept.rename(place)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("second", ["deploy.yml", "rollback.yml"])
def test_a_second_run_in_one_process_is_refused(shop: Application, second: str) -> None:
    """What the hosts said to the first would count in the second: a gate that was opened, a smoke test that passed."""
    first, *words = shop.words("deploy.yml", "prod", ["-e", "release_id=one"])
    done = shop.operator.play(first, second, *words, code=2)
    assert done.says("run_not_alone: expected one deployment or rollback in an ansible-playbook")


@pytest.mark.usefixtures("unchanged")
def test_a_release_that_nobody_approved_is_refused_with_who_may_approve_it(shop: Application, catalogue: Path) -> None:
    assert catalogue.exists()
    shop.make("three", approved=False)
    done = shop.deploy(limit="prod", code=2)
    assert done.says(
        "approval_missing", "1 engineering-lead (lead may give it), 1 risk-manager (risk may give it)",
        "make approve RELEASE_ID=three ENVIRONMENT=prod ROLE=engineering-lead", "Or deploy one that is approved: -e release_id=two",
    )  # fmt: skip
    shop.approve("three", "lead")
    assert shop.deploy(limit="prod", code=2).says(
        "engineering-lead by lead; missing: 1 risk-manager (risk may give it)"
    )
    checked = shop.operator.play(*shop.words("playbooks/check.yml", "prod", []), code=2)
    assert checked.says("all of prod approvals three FAIL")


@pytest.mark.usefixtures("unchanged")
def test_a_softer_policy_of_the_controller_softens_no_host(shop: Application, catalogue: Path, tmp_path: Path) -> None:
    """What a variable can change is what the controller believes; the hosts refuse by their own policy."""
    assert catalogue.exists()
    shop.make("three", approved=False)
    state, softer = shop.operator.state, tmp_path / "softer.dsse.json"
    members = json.loads((state / "trust/trust-policy.dsse.json").read_bytes())
    policy = json.loads(base64.b64decode(members["payload"]))
    policy["environments"]["prod"]["require"] = []
    keys = [load_private_key(path) for path in sorted((state / "keys").glob("root*.pem"))]
    softer.write_bytes(sign_policy(policy, *keys))
    done = shop.deploy("-e", f"release_trust_policy={softer}", limit="prod-1", code=2)
    assert done.says("deploying three on prod-1", "approval_missing", "missing: 1 engineering-lead")


WRONG_COMMANDS = {
    "hosts of two environments": (
        "staging-1,prod-1",
        [],
        "environments_mixed",
        "prod and staging",
        "-l prod or -l staging",
    ),
    "no limit, so all environments": (None, [], "environments_mixed"),
    "a limit that matches nothing": ("nowhere", [], "nowhere"),
    "an unknown release": ("prod-1", ["release_id=three"], "release_unknown", "two, one"),
    "a release id that is a path": ("prod-1", ["release_id=../../etc"], "release_id_invalid"),
    "an unknown application": ("prod-1", ["application=shopp"], "application_unknown", "e2e-refused"),
    "a host of another environment": ("prod-1", ["slipway_environment=staging"], "environment_mismatch", "prod-1"),
    "a count that is no number": ("prod-1", ["release_keep_count=abc"], "release_keep_count", "int"),
    "waves that are no list": ("prod-1", ["release_waves=nonsense"], "waves_invalid", "nonsense"),
    "waves of nothing": ("prod-1", ['{"release_waves": []}'], "waves_invalid"),
    "a retry that is neither yes nor no": ("prod-1", ["release_retry=perhaps"], "release_retry"),
    "a lease that is no number": ("prod-1", ["release_lease_seconds=soon"], "release_lease_seconds"),
}


@pytest.mark.parametrize("case", WRONG_COMMANDS)
@pytest.mark.usefixtures("unchanged")
def test_a_wrong_command_is_refused(shop: Application, case: str) -> None:
    limit, variables, *said = WRONG_COMMANDS[case]
    words = [word for variable in variables for word in ("-e", variable)]
    done = shop.deploy(*words, limit=limit, code=None)
    assert done.code not in (0, -2, -9), done.output
    assert done.says(*said)
    assert "Traceback" not in done.output


WRONG_DESCRIPTIONS = {
    "an unknown key": ({"helth": []}, "helth"),
    "a unit that is no unit": ({"unit": "../evil"}, "unit"),
    "a deadline that is no number": ({"health_patience": {"deadline_seconds": "long"}}, "deadline_seconds"),
    "a probe of no known type": ({"health": [{"type": "ping"}]}, "health[0].type"),
    "an absolute shared path": ({"shared_paths": ["/etc"]}, "shared_paths[0]"),
    "a file of Slipway's own": ({"files": [{"source": "bin/run", "path": "/etc/slipway/host.json"}]}, "files[0].path"),
}


@pytest.mark.usefixtures("unchanged")
def test_a_wrong_description_is_refused_with_every_mistake_named(shop: Application) -> None:
    kept = shop.changes
    shop.describe(
        **{
            key: value
            for changes, _said in WRONG_DESCRIPTIONS.values()
            for key, value in changes.items()
            if key != "health"
        }
    )
    done = shop.deploy(code=2)
    shop.changes = kept
    shop.describe(
        **dict.fromkeys(key for changes, _said in WRONG_DESCRIPTIONS.values() for key in changes if key != "health")
    )
    assert done.says("application_invalid")
    for case, (changes, said) in WRONG_DESCRIPTIONS.items():
        assert "health" in changes or said in done.text, case


@pytest.mark.usefixtures("unchanged")
def test_a_unit_that_does_not_exist_is_found_before_the_switch(shop: Application) -> None:
    shop.describe(unit="e2e-absent.service")
    done = shop.deploy(code=2)
    shop.describe(unit=None)
    assert done.says("preflight_failed", "e2e-absent.service", "FAIL", "LoadState=not-found")


NOT_READY = {
    "configuration": {
        "files": ["/etc/e2e-none.env", f"{ORDERS}/shop.env"],
        "keys": {
            "PORT": {"type": "int", "maximum": 65535},
            "SECRET_KEY": {"required": True, "secret": True, "min_length": 32},
            "TOKEN": {"required": True, "secret": True},
        },
    },
    "preflight": {
        "ports": [22],
        "files": ["/etc/e2e-none.toml"],
        "packages": ["e2e-none", {"name": "systemd", "minimum": "9999"}],
        "imports": ["e2e_none"],
        "commands": ["e2e-none"],
    },
}


@pytest.mark.parametrize("words", [[], ["--check", "--diff"]], ids=["deploy", "check mode"])
@pytest.mark.usefixtures("unchanged")
def test_a_host_that_is_not_ready_is_told_with_everything_at_once_and_no_secret(
    shop: Application, words: list[str]
) -> None:
    """The file stands in a directory that others may write into, but not replace what is there."""
    shop.fleet.inside("prod-1", f"printf 'PORT=70000\\nSECRET_KEY=canary-5e5d3f0a\\n' >{ORDERS}/shop.env")
    shop.describe(**NOT_READY)
    done = shop.deploy(*words, code=2)
    checked = shop.operator.play(*shop.words("playbooks/check.yml", "prod-1", []), code=2)
    shop.describe(**dict.fromkeys(NOT_READY))
    shop.fleet.inside("prod-1", f"rm {ORDERS}/shop.env")
    for output in (done, checked):
        rows = {tuple(line.split()[1:4]) for line in output.output.splitlines() if " FAIL " in line}
        assert rows >= {
            ("configuration", "/etc/e2e-none.env", "FAIL"), ("configuration", "PORT", "FAIL"),
            ("configuration", "SECRET_KEY", "FAIL"), ("configuration", "TOKEN", "FAIL"), ("port", "22", "FAIL"),
            ("file", "/etc/e2e-none.toml", "FAIL"), ("package", "e2e-none", "FAIL"), ("package", "systemd", "FAIL"),
            ("import", "e2e_none", "FAIL"), ("command", "e2e-none", "FAIL"),
            ("security", f"{ORDERS}/shop.env", "FAIL"),
        }  # fmt: skip
        assert output.says("held by sshd (pid", "FAIL")
        assert "canary" not in output.output
    assert done.says("preflight_failed")
    assert checked.says("not_ready")


def test_a_fleet_that_is_ready_is_told_as_such(shop: Application) -> None:
    checked = shop.operator.play(*shop.words("playbooks/check.yml", "prod", []))
    assert checked.says("e2e-refused: ready", "all of prod release two PASS", "prod-3 health", "0 FAIL")


def manifest_of(catalogue: Path) -> Path:
    return catalogue / "manifests" / "two.dsse.json"


def payload_of(catalogue: Path) -> dict[str, object]:
    return dict(
        json.loads(
            dsse.Envelope.parse(
                manifest_of(catalogue).read_bytes(), payload_type=dsse.IN_TOTO_TYPE, what="manifest"
            ).payload
        )
    )


def object_of(catalogue: Path) -> Path:
    """The only object that `one` does not have too: bin/run of `two`."""
    return next(
        path for path in catalogue.glob("objects/*/*") if path.read_bytes() == b"two" and "bin" not in path.parts
    )


def list_of(catalogue: Path) -> Path:
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in payload_of(catalogue)["subject"]}  # type: ignore[attr-defined]
    return catalogue / "trees" / f"{digests['tree']}.json"


def unsign(catalogue: Path) -> None:
    envelope = json.loads(manifest_of(catalogue).read_bytes())
    manifest_of(catalogue).write_text(json.dumps({**envelope, "signatures": []}))


def sign_with_another_key(catalogue: Path) -> None:
    envelope = dsse.Envelope.parse(manifest_of(catalogue).read_bytes(), payload_type=dsse.IN_TOTO_TYPE, what="manifest")
    key = catalogue / "another.pem"
    generate_private_key(key)
    forged = dsse.sign(envelope.payload_type, envelope.payload, load_private_key(key))
    manifest_of(catalogue).write_bytes(forged.encode())


def alter_manifest(catalogue: Path) -> None:
    """One letter of the payload."""
    envelope = json.loads(manifest_of(catalogue).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    altered = payload.replace(b'"version":"two"', b'"version":"twp"')
    assert altered != payload
    manifest_of(catalogue).write_text(json.dumps({**envelope, "payload": base64.b64encode(altered).decode()}))


def alter_list(before: bytes, after: bytes) -> Callable[[Path], None]:
    def alter(catalogue: Path) -> None:
        data = list_of(catalogue).read_bytes()
        assert before in data
        list_of(catalogue).write_bytes(data.replace(before, after, 1))

    return alter


def alter_object(catalogue: Path) -> None:
    path = object_of(catalogue)
    path.chmod(0o644)
    path.write_bytes(b"owt")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "the manifest is missing": (lambda catalogue: manifest_of(catalogue).unlink(), "release_unknown"),
    "the manifest is not signed": (unsign, "signature"),
    "the manifest is signed by an unknown key": (sign_with_another_key, "signature"),
    "a letter of the manifest is altered": (alter_manifest, "signature"),
    "a byte of the manifest is no text": (lambda c: manifest_of(c).write_bytes(b"\xff" + manifest_of(c).read_bytes()), "release manifest"),
    "the file list is missing": (lambda catalogue: list_of(catalogue).unlink(), "catalogue_incomplete"),
    "a file was added to the list": (alter_list(b'{"entries":[', b'{"entries":[{"mode":420,"path":"A","type":"dir"},'), "file_list"),
    "a mode was altered in the list": (alter_list(b'"mode":420', b'"mode":493'), "file_list"),
    "an object is missing": (lambda catalogue: object_of(catalogue).unlink(), "catalogue_damaged"),
    "an object is altered": (alter_object, "catalogue_damaged"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.usefixtures("unchanged")
def test_a_damaged_release_is_refused(shop: Application, catalogue: Path, damage: str) -> None:
    cause, reason = DAMAGES[damage]
    cause(catalogue)
    done = shop.deploy("two", code=2)
    assert done.says(reason)
    assert "Traceback" not in done.output


def test_a_damaged_release_does_not_stand_in_the_way_of_another(shop: Application, catalogue: Path) -> None:
    manifest_of(catalogue).write_bytes(b"damaged")
    assert shop.deploy("one").says("unchanged one")


SOURCES: dict[str, tuple[dict[str, str], str]] = {
    "a link out of the tree": ({"link": "->../../etc/passwd"}, "link_outside"),
    "an absolute link": ({"link": "->/etc/passwd"}, "link_outside"),
    "a required member that is not there": (
        {"slipway.yml": "application: e2e-refused\nmembers: [{path: policy.pt}]\n"},
        "policy.pt",
    ),
    "a config that cannot be parsed": (
        {"slipway.yml": "application: e2e-refused\nmembers: [{path: config.yaml}]\n", "config.yaml": "a: [b"},
        "config.yaml",
    ),
    "a version that differs": (
        {
            "slipway.yml": "application: e2e-refused\nversion: '1.0'\nmembers: [{path: config.yaml, version_key: version}]\n",
            "config.yaml": "version: '2.0'",
        },
        "2.0",
    ),
}


def test_a_source_that_cannot_be_trusted_makes_no_release(operator: Operator, tmp_path: Path) -> None:
    def make(name: str) -> Done:
        return operator.play("playbooks/release.yml", "-e", f"release_source={tmp_path / name}", code=None)

    before = sorted(operator.catalogue.rglob("*"))
    for case, (files, said) in SOURCES.items():
        source = tmp_path / case.replace(" ", "-")
        source.mkdir()
        (source / "slipway.yml").write_text("application: e2e-refused\n")
        for name, content in files.items():
            if content.startswith("->"):
                (source / name).symlink_to(content.removeprefix("->"))
            else:
                (source / name).write_text(content)
        done = make(source.name)
        assert done.code == 2, (case, done.output)
        assert done.says(said), case
    assert sorted(operator.catalogue.rglob("*")) == before


def test_a_host_that_does_not_answer_at_the_start_stops_the_run_before_anything_is_changed(shop: Application) -> None:
    before = shop.snapshot()
    with shop.fleet.partition("prod-3"):
        done = shop.deploy(limit="prod", code=None)
        assert done.code not in (0, None)
        assert done.says("host_unreachable", "prod-3", "nothing was changed anywhere")
        assert shop.snapshot() == before
        back = shop.rollback(limit=None, code=None)
        assert back.code not in (0, None)
        assert back.says("host_unreachable", "prod-3")
    assert shop.snapshot() == before
