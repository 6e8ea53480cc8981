# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX runs them, here and in the execution environment: they end as they should, tell everything, keep secrets, and one that is cancelled leaves
hosts whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safes
import vaults
import yaml
from awx_jobs import Awx, Credentials, known_hosts, machine_key
from deployments import ORDERS, Application, Operator, until
from door import Door
from leaks import Canary, Search
from workplace import AUTHOR, Workplace

from ee import image as ee

HOSTS = ("prod-1", "prod-2")
LIMIT = ",".join(HOSTS)
CONFIRM_SECONDS = 15
# A secret passes through a task of the operator's in each deployment; what arrived is compared by its digest.
HOOK = f"""
- name: Pass a secret on
  ansible.builtin.command:
    argv: [tee, {ORDERS}/secret]
    stdin: "{{{{ lookup('slipway_secret', 'runner/main', field='password') }}}}"
    stdin_add_newline: false
  changed_when: true
  no_log: true
"""


@pytest.fixture(scope="module")
def image() -> str:
    """The execution environment, built here when nobody has yet."""
    return ee.ensure()


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with safes.own_memory() as directory:
        yield directory


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vaults.RealVault]:
    server = vaults.run(tmp_path_factory.mktemp("vault"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def canary() -> Canary:
    return Canary("password")


@pytest.fixture(scope="module")
def project(
    operator: Operator, vault: vaults.RealVault, canary: Canary, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    """The repository as AWX has it, with this company's applications and secrets in group_vars."""
    place = Workplace(operator.fleet, tmp_path_factory.mktemp("project") / "slipway")
    place.check_out()
    vault.put("runner/main", password=canary.value)
    provider = {
        "type": "vault", "url": vault.url, "ca_path": str(vault.ca), "prefix": "shop", "auth": "approle",
        "role_id_path": "{{ vault_role_id_path }}", "secret_id_path": "{{ vault_secret_id_path }}",
    }  # fmt: skip
    change(
        place, "secrets.yml", secrets_chain=["vault"], secrets_providers={"vault": provider}, secrets_swap_accepted=True
    )
    change(place, "slipway.yml", slipway_state_directory=str(operator.state))
    change(
        place,
        "release.yml",
        release_hooks={"before_stage": ["hooks/secret.yml"]},
        release_confirm_within_seconds=CONFIRM_SECONDS,
    )
    (place.root / "hooks").mkdir()
    (place.root / "hooks/secret.yml").write_text(HOOK)
    return place


def change(place: Workplace, name: str, **variables: Any) -> None:
    path = place.root / "group_vars/all" / name
    known = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    path.write_text(yaml.safe_dump({**known, **variables}), encoding="utf-8")


def commit(place: Workplace) -> None:
    for words in (["add", "-A"], ["commit", "-q", "-m", "Change"]):
        place.fleet.command("git", "-C", str(place.root), *words, environment=AUTHOR)


@pytest.fixture(scope="module", params=["directly", "in the execution environment"])
def awx(
    request: pytest.FixtureRequest,
    operator: Operator,
    project: Workplace,
    vault: vaults.RealVault,
    memory: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Awx:
    """AWX with the credentials that awx/ describes."""
    isolated = request.param != "directly"
    files = {
        "release_trust_policy": (operator.state / "trust/trust-policy.dsse.json").read_text(),
        "known_hosts": known_hosts(operator.fleet),
        "vault_role_id_path": (vault.directory / "role-id").read_text(),
        "vault_secret_id_path": (vault.directory / "secret-id").read_text(),
    }
    return Awx(
        operator.fleet,
        project.root,
        tmp_path_factory.mktemp("awx"),
        [operator.state, vault.directory],
        Credentials(machine_key(operator.fleet), files),
        request.getfixturevalue("image") if isolated else None,
    )


@pytest.fixture(scope="module")
def shop(operator: Operator, project: Workplace, awx: Awx) -> Application:
    """An application that serves `one` and has `two`; it is described in the project's group_vars."""
    shop = operator.application(f"runner{'-ee' if awx.image else ''}")
    describe(project, shop)
    shop.make("one")
    shop.deploy("one", limit=LIMIT)
    shop.make("two")
    return shop


def describe(project: Workplace, shop: Application, **changes: Any) -> None:
    shop.describe(**changes)
    change(project, "applications.yml", **json.loads(shop.variables.read_text()))
    commit(project)


def survey(shop: Application, release_id: str = "", **more: Any) -> dict[str, Any]:
    """What the survey of a job template asks for."""
    return {"application": shop.name, "release_id": release_id, "release_retry": "false", **more}


def test_a_job_in_check_mode_says_what_it_would_do_and_does_nothing(awx: Awx, shop: Application) -> None:
    before = shop.snapshot(*HOSTS)
    job = awx.launch("deploy.yml", group="prod", limit=LIMIT, survey=survey(shop), check=True).end("successful")
    job.require_complete(*HOSTS)
    assert job.code == 0
    assert f"deploy of {shop.name} two: check mode: nothing was changed" in job.output
    assert shop.snapshot(*HOSTS) == before


def test_a_host_whose_key_nobody_entered_is_not_reached(awx: Awx, shop: Application) -> None:
    """AWX's own settings, which the job has in its environment, would have it believe whoever answers at the address."""
    address = awx.fleet.host("prod-2").address
    entered = awx.credentials.files["known_hosts"].splitlines(keepends=True)
    known = [line for line in entered if not line.startswith(f"{address} ")]
    assert len(known) < len(entered)
    before = shop.snapshot(*HOSTS)
    job = awx.launch(
        "deploy.yml",
        group="prod",
        limit=LIMIT,
        survey=survey(shop, "two"),
        credentials=awx.credentials.holding(known_hosts="".join(known)),
    ).end("failed")
    said = " ".join(job.output.split())
    assert "Host key verification failed" in said
    assert "no answer from prod-2; nothing was changed anywhere" in said
    assert shop.snapshot(*HOSTS) == before


def test_a_deployment_ends_well_and_hosts_record_who_launched_it(awx: Awx, shop: Application, canary: Canary) -> None:
    job = awx.launch("deploy.yml", group="prod", limit=LIMIT, survey=survey(shop, "two")).end("successful")
    job.require_complete(*HOSTS)
    assert (job.code, shop.actives(*HOSTS)) == (0, ["two"] * 2)
    assert shop.history("prod-1")[0]["deployed_by"] == f"anna (job {job.number})"
    assert awx.fleet.inside("prod-1", f"cat {ORDERS}/secret").stdout == canary.value
    assert not job.statistics["failures"]


def test_a_status_shows_every_host(awx: Awx, shop: Application) -> None:
    job = awx.launch("playbooks/status.yml", group="prod", limit=LIMIT, survey={"application": shop.name}).end(
        "successful"
    )
    job.require_complete(*HOSTS)
    assert [job.output.count(f"{host}  two ") for host in HOSTS] == [1, 1]


def test_a_rollback_takes_back_what_the_newest_job_brought(awx: Awx, shop: Application) -> None:
    job = awx.launch("rollback.yml", group="prod", limit=LIMIT, survey={"application": shop.name}).end("successful")
    job.require_complete(*HOSTS)
    assert shop.actives(*HOSTS) == ["one"] * 2


def test_a_deployment_that_fails_is_a_job_that_failed(awx: Awx, shop: Application) -> None:
    shop.make("ill")
    shop.order("prod-1", "ill")
    job = awx.launch("deploy.yml", group="prod", limit=LIMIT, survey=survey(shop, "ill")).end("failed")
    shop.relieve("prod-1")
    job.require_complete(*HOSTS)
    assert (job.code, shop.actives(*HOSTS)) == (2, ["one"] * 2)
    assert "prod-1  reverted" in job.output
    assert shop.statuses("prod-1")[-1] == ("ill", "rolled_back")


def test_a_job_that_is_cancelled_leaves_hosts_whole_and_the_next_one_works(
    awx: Awx, shop: Application, project: Workplace
) -> None:
    """It is ended while one host serves the new release unconfirmed; until then it holds that host against another job."""
    shop.make("three")
    shop.mark()
    door = Door()
    describe(project, shop, smoke=[{"type": "http", "url": door.url, "timeout_seconds": 120}])
    try:
        job = awx.launch("deploy.yml", group="prod", limit=LIMIT, survey=survey(shop, "three"))
        until(lambda: door.knocked.is_set() or not job.is_running, "the smoke test")
        assert shop.actives(*HOSTS) == ["three", "one"], job.end().output
        other = awx.launch(
            "deploy.yml", group="prod", limit=LIMIT, survey=survey(shop, "two", release_retry="true")
        ).end("failed")
        assert (other.code, shop.active("prod-1")) == (2, "three")
        assert f"anna (job {job.number})" in " ".join(other.output.split()), other.output
        job.cancel()
        job.end("canceled")
        assert job.code == 254
        until(lambda: shop.news("prod-1"), "prod-1 to go back by itself", 60)
    finally:
        door.close()
        describe(project, shop, smoke=None)
    assert shop.actives(*HOSTS) == ["one"] * 2
    assert all(shop.is_settled(host) for host in HOSTS)
    shop.make("four")
    again = awx.launch("deploy.yml", group="prod", limit=LIMIT, survey=survey(shop, "four")).end("successful")
    again.require_complete(*HOSTS)
    assert shop.actives(*HOSTS) == ["four"] * 2


def test_no_secret_is_in_what_jobs_left(
    awx: Awx, shop: Application, canary: Canary, vault: vaults.RealVault, say: Callable[[str], None]
) -> None:
    """The private key, the secret id, what Vault gave and its token: artifacts and the worker's stream have none, in any encoding."""
    secret_id = Canary("the secret id", (vault.directory / "secret-id").read_text().strip())
    lines = machine_key(awx.fleet).splitlines()
    key = Canary("the private key", lines[len(lines) // 2])
    search = Search([canary, secret_id, key])
    planted = awx.directory / "planted"
    planted.write_text(json.dumps({"stdout": canary.value, "env": secret_id.word, "key": key.word}))
    search.tree(awx.directory, but=[path.name for path in awx.directory.iterdir() if path != planted])
    assert {hit.canary for hit in search.hits} == {"password", "the secret id", "the private key"}
    planted.unlink()
    search.hits.clear()
    for stream in awx.directory.glob("*.stream"):
        search.tree(stream.with_suffix("") / "artifacts")
        search.data(stream.read_bytes(), str(stream))
    say(search.summary)
    assert search.files > 300
    assert search.hits == []
