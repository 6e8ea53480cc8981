# SPDX-License-Identifier: GPL-3.0-or-later
"""RETURN is what is returned: every key of a real answer is in it, and every key in it comes in some answer.

The answers are those of the domain on a host below tmp_path, of the plugins on a controller there, and of the modules that
work on files.
"""

from __future__ import annotations

import doors
import plugins
import proofs
import pytest
import repository
import signed
import stores
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller import deployment, resident, rollout
from ansible.module_utils.slipway.host import bootstrap, handler
from ansible.module_utils.slipway.host.options import MODULES
from balancers import Pair
from offices import Office
from releases import ONCE
from safehouse import Safehouse
from safes import own_memory
from test_modules import CONTROLLER_ONLY, WITH_A_SPEC

ASKED = {"environment": None, "bytes": True, "witnessed": {}}
# For people, or of Ansible itself.
EVERYWHERE = {"changed", "failed", "msg", "diff"}
REFUSAL = {"reason", "expected", "found", "remedy"}
# Only where the host itself fails in the middle; tests/unit/test_release.py has the faults for that.
SELDOM = {"prune_error"}
V1, V2 = {"bin/shop": b"one"}, {"bin/shop": b"two"}


def keys(answers):
    return {key for answer in answers for key in answer} - EVERYWHERE - doors.ABOUT_PATHS


def deployments(site):
    """Answers of slipway_release in all that can happen to a release on one host."""
    site.build("v1", V1)
    site.build("v2", V2)
    site.description["check"] = {"argv": ["true"]}
    yield site.stage("v1", check=True)
    yield site.stage("v1", resident=resident.build())
    yield site.activate("v1", check=True)
    yield site.activate("v1")
    yield from pulled(site)
    yield site.confirm("v1", check=True)
    yield site.confirm("v1")
    yield site.confirm("v1")
    yield site.stage("v2")
    yield site.activate("v2")
    yield site.ask("renew", release_id="v2", confirm_within_seconds=60)
    yield site.ask("make_ready", release_id="v2")
    yield site.revert("v2", check=True)
    yield site.revert("v2")
    yield site.revert("v2")
    yield site.recover()
    yield site.activate("v2")
    yield site.activate("v2", retry=True)
    yield site.recover(run=site.run("run-2", dead_runs=["run-1"]))
    site.description["check"] = {"argv": ["false"]}
    site.build("v3", {"bin/shop": b"three"})
    yield site.stage("v3")
    site.description["health"] = [{"type": "command", "argv": ["false"]}]
    yield site.activate("v3", run=site.run("run-3"))
    yield site.rollback("v3", run=site.run("run-4"), retry=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler, "Host", lambda: site.host)
        yield plugins.run_on_host("slipway_release", task_vars=site.variables(), **site.options("recovered"))


def pulled(site):
    """Staging from a store whose first mirror has nothing."""
    site.build("v0", {"bin/shop": b"zero"})
    mirrors = [stores.Mirror(site.directory / "nothing"), stores.Mirror(site.catalogue.root)]
    yield site.stage("v0", objects=(), source=[mirror.url for mirror in mirrors])
    for mirror in mirrors:
        mirror.close()


def controller(site):
    return deployment.Controller(
        state=site.directory / "controller",
        application=site.application,
        environment="prod",
        deployed_by="alice",
        now=site.host.clock.now(),
        process=Process.of(1),
    )


def awx_answers(name, awx, monkeypatch):
    """What is answered about an AWX in this process, which has one object of ours that is in no data any more."""
    monkeypatch.setenv("CONTROLLER_HOST", awx.url)
    monkeypatch.setenv("CONTROLLER_OAUTH_TOKEN", awx.token)
    organization = awx.insert("organizations", name="Slipway")["id"]
    awx.insert("teams", name="Former", organization=organization, description="[slipway: Slipway]")
    root = repository.ROOT
    plan = plugins.run("slipway_awx_plan", collection="awx.awx", directory=str(root / "awx"), root=str(root))
    if name == "slipway_awx_plan":
        return [plan]
    return [plugins.run(name, collection="awx.awx", step=plan["steps"][1], check=True)]


VAULTED = ("slipway_break_glass", "slipway_vault_access", "slipway_vault_credential")
SECRETS = (
    "slipway_access_info", "slipway_secret", "slipway_secret_age_info", "slipway_secret_info", "slipway_secret_rotation", "slipway_secret_store",
)  # fmt: skip


def answers_about_secrets(name, tmp_path):
    house = Safehouse(tmp_path)
    with own_memory() as memory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(memory))
        patch.delenv("SECRETS_KEY_PATH", raising=False)
        store = house.ask("slipway_secret_store")
        written = house.ask("slipway_secret", name="pager", fields={"key": "a-key"})
        if name == "slipway_secret_rotation":
            return [
                house.ask(
                    name, application="shop", description={}, answers={}, catalogue=tmp_path, trust_policy=tmp_path
                )
            ]
        answers = {"slipway_secret": written, "slipway_secret_store": store}
        return [answers[name] if name in answers else house.ask(name)]


def answers_of(name, site, tmp_path):
    """Real answers of a module or plugin."""
    if name == "slipway_release":
        return [*deployments(site)]
    if name in SECRETS:
        return answers_about_secrets(name, tmp_path)
    if name == "slipway_run_notice":
        run = {"run_id": "run-1", "deployed_by": "alice"}
        about = {"moment": "started", "application": "shop", "environment": "prod", "run": run, "release_id": "v1"}
        return [plugins.run(name, channels=channels, **about) for channels in ({}, {"pigeon": {}})]
    site.build("v1", V1)
    if name == "slipway_application_info":
        return [
            site.witnessed(preflight=True),
            site.inspect(),
            site.inspect(health=True, manifest=True, verify=True),
            site.inspect(environment="staging"),
        ]
    if name == "slipway_integrity_info":
        site.deploy("v1")
        return [MODULES[name].answer({**ASKED, "applications": ["shop"]}, check=False)]
    if name == "slipway_proof_info":
        site.deploy("v1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(handler, "Host", lambda: site.host)
            return [plugins.run_on_host(name, task_vars=site.variables(), application="shop", run_id="run-1")]
    if name == "slipway_history_info":
        site.deploy("v1")
        return [site.ask("history", limit=2)]
    if name == "slipway_host":
        return bootstrapped(site)
    if name == "slipway_trust_rotation":
        return [
            site.ask("rotate_policy", policies=[signed.policy_envelope().decode()]),
            site.ask("rotate_policy", policies=[]),
        ]
    if name == "slipway_artifact_store":
        return published(site, tmp_path)
    if name == "slipway_unit":
        return units_written(site)
    if name == "slipway_lock":
        asked = {"holder": "anna", "message": "frozen"}
        return [site.ask("lock", state=state, **asked) for state in ("shown", "taken")] + [
            site.ask("lock", state="taken", **{**asked, "holder": "bert"})
        ]
    if name == "slipway_recovery_plan":
        return [plugins.run(name, application="shop", environment="prod", state_directory=str(tmp_path))]
    if name in ("slipway_balancer", "slipway_balancer_configuration", "slipway_failover"):
        return balanced_answers(name, site)
    if name in ("slipway_approval", "slipway_approval_file", "slipway_approvals_info"):
        return approved(name, tmp_path)
    if name in ("slipway_audit_bundle", "slipway_validation"):
        return audited(name, site, tmp_path)
    if name in (
        "slipway_keypair",
        "slipway_key_info",
        "slipway_trust_policy",
        "slipway_trust_signature",
        "slipway_bundle",
    ):
        return made_on_a_controller(name, site, tmp_path)
    if name in ("slipway_failover_plan", "slipway_failover_report"):
        return failed_over(name, tmp_path)
    if name in WATCHING:
        return watching(name, tmp_path)
    return planned(name, site, tmp_path)


WATCHING = (
    "slipway_alertmanager_configuration", "slipway_application_monitoring", "slipway_canary_analysis", "slipway_listener", "slipway_monitoring_certificate",
    "slipway_prometheus_configuration",
)  # fmt: skip


def failed_over(name, tmp_path):
    """What is decided of a region, and refused; and how that ended at a balancer which did not answer."""
    balancer = {"host": "lb", "backend": "shop", "socket": "/s", "drain_seconds": 5, "hosts": ["a", "b"]}
    standing = {"__release_balancer": balancer, "held": [], "serving": ["a", "b"], "not_up": []}
    about = {
        "application": "shop", "state_directory": str(tmp_path), "region_order": ["eu", "us"], "groups": {"eu": ["a"], "us": ["b"]},
        "environments": {"a": "prod", "b": "prod"}, "everyone": {}, "balancers": {}, "answers": {}, "standings": [standing],
    }  # fmt: skip
    if name == "slipway_failover_plan":
        return [plugins.run(name, region=region, **about) for region in ("eu", "mars")]
    order = {**balancer, "out": ["a"], "admitted": ["b"], "healthy_min": 1, "returning": []}
    return [plugins.run(name, region="eu", orders=[order], standings=[])]


def watching(name, tmp_path):
    """One answer and one refusal of a plugin that makes what watches."""
    tls = {"certificate": "/a", "key": "/b", "authority": "/c"}
    slack = {"enabled": True, "url_secret": "alerting/slack", "channel": "#alerts"}
    off = {"enabled": False}
    alerting = {
        "pagerduty": off,
        "email": off,
        "webhook": off,
        "slack": slack,
        "routes": {"prod": {"critical": ["slack"]}},
        "quiet_hours": [],
        "repeat_hours": 6,
        "watch_repeat_usual_hours": 2,
        "watch_repeat_hours": [1],
        "group_wait_seconds": 0,
        "group_interval_seconds": 60,
        "watchdog_url": "",
    }
    asking = {
        "hosts": ["prod-1"],
        "applications": {},
        "alertmanagers": [],
        "agents_port": 9100,
        "tls": tls,
        "watch_metrics": {},
        "watch_repeat_hours": 2,
        "rules_path": str(repository.ROOT / "roles/prometheus/files/rules"),
        "runbooks_url": "https://wiki.example",
        "retention_days": 15,
    }
    comparing = {"prometheus": {"url": "http://127.0.0.1:1"}, "new": ["prod-1"], "old": [], "seconds": 0}
    changes = {
        "slipway_alertmanager_configuration": (alerting, {"slack": off}),
        "slipway_application_monitoring": ({"rules": "", "application": "shop", "runbooks_url": "https://wiki.example"}, {"rules": "groups: 1"}),
        "slipway_canary_analysis": ({"analysis": {}, **comparing}, {"analysis": {"x": 1}}),
        "slipway_listener": ({"address": "192.0.2.1", "ports": [9090], "tls": tls}, {"tls": dict.fromkeys(tls, "")}),
        "slipway_monitoring_certificate": ({"state_directory": str(tmp_path), "name": "prod-1", "addresses": []}, {"name": "a b"}),
        "slipway_prometheus_configuration": (asking, {"agents_port": 0}),
    }  # fmt: skip
    variables = {"hostvars": {"prod-1": {"slipway_environment": "prod"}}}
    options, wrong = changes[name]
    return [plugins.run(name, task_vars=variables, **{**options, **change}) for change in ({}, wrong)]


def bootstrapped(site):
    package = site.directory / "slipway.pyz"
    package.write_bytes(resident.build())
    request = {
        "name": "prod-1",
        "environment": "prod",
        "trust_policy": signed.policy_envelope().decode(),
        "resident": str(package),
    }
    answers = [bootstrap.bootstrap(request, site.host, check=check) for check in (True, False)]
    return [*answers, site.ask("bootstrap", **{**request, "environment": "staging"})]


def published(site, tmp_path):
    about = {"path": str(tmp_path / "store"), "application": "shop", "catalogue": str(site.catalogue.root)}
    return [
        plugins.run_on_host(
            "slipway_artifact_store", door=plugins.MODULE, task_vars=site.variables(), **{**about, **changes}
        )
        for changes in ({}, {"application": "Shop"})
    ]


def units_written(site):
    directory = site.host.root / "etc/systemd/system"
    directory.mkdir(parents=True)
    limits = {"memory_max": "1G", "cpu_quota": "100%", "tasks_max": 512, "stop_timeout_seconds": 30}
    description = {"unit": "shop.service", "service": {"command": "bin/shop"}}
    application = {"name": "shop", "description": description}
    written = site.ask("write_unit", application=application, limits=limits)
    (directory / "shop.service").write_text("[Service]\n")
    return [written, site.ask("write_unit", application=application, limits=limits)]


def balanced_answers(name, site):
    pair = Pair(site, real=False)
    try:
        if name == "slipway_balancer_configuration":
            (site.host.root / "etc/slipway/haproxy.cfg").write_text("global\n")
            request = {"applications": {"shop": site.description}, "timeout_seconds": 60}
            refused = site.ask("write_balancer", **request)
            (site.host.root / "etc/slipway/haproxy.cfg").unlink()
            return [refused, site.ask("write_balancer", check=True, **request)]
        about = {"socket": str(site.host.balancer_socket), "backend": "shop", "weight": None, "drain_seconds": 0}
        if name == "slipway_failover":
            about |= {"admitted": [], "healthy_min": 1, "returning": []}
            return [site.ask("fail_over", **about, out=[server]) for server in ("blue", "red")]
        return [site.ask("balance", **about, server=name, state="drained") for name in ("blue", "red")]
    finally:
        pair.haproxy.stop()


def made_on_a_controller(name, site, tmp_path):
    root, builder, policy = tmp_path / "keys/root.pem", tmp_path / "keys/builder.pem", tmp_path / "policy.json"
    made = {"slipway_keypair": [doors.run("slipway_keypair", path=path) for path in (root, builder)]}
    made["slipway_key_info"] = [doors.run("slipway_key_info", key=path) for path in (root, tmp_path / "none.pem")]
    entries = [
        {"holder": "operator", "role": "root", "path": str(root)},
        {"holder": "ci", "role": "builder", "path": str(builder)},
    ]
    environment = {
        "require": [], "distinct_holders": True, "max_manifest_age_days": 9, "max_approval_age_days": 7, "rollback_depth": 3,
    }  # fmt: skip
    made["slipway_trust_policy"] = [
        doors.run("slipway_trust_policy", path=policy, keys=entries, environments=environments)
        for environments in ({"prod": environment}, {"prod": {**environment, "rollback_depth": 4}})
    ]
    described = {
        "path": policy,
        "keys": entries,
        "environments": {"prod": environment},
        "state": "drafted",
        "renew": True,
    }
    made["slipway_trust_policy"].append(doors.run("slipway_trust_policy", check=True, **described))
    made["slipway_trust_policy"].append(doors.run("slipway_trust_policy", **{**described, "valid_days": 0}))
    made["slipway_trust_signature"] = [
        doors.run("slipway_trust_signature", trust_policy=policy, file=file)
        for file in (policy, tmp_path / "none.json")
    ]
    source = site.directory / f"sources/{site.application}-v1"
    options = {"source": source, "catalogue": tmp_path / "catalogue", "builder_key": builder, "trust_policy": policy}
    made["slipway_bundle"] = [doors.run("slipway_bundle", **options)]
    builder.chmod(0o644)
    made["slipway_keypair"].append(doors.run("slipway_keypair", path=builder))
    made["slipway_bundle"].append(doors.run("slipway_bundle", **options))
    return made[name]


def approved(name, tmp_path):
    office = Office(tmp_path)
    office.establish()
    office.build()
    sent = tmp_path / "sent.json"
    made = {
        "slipway_approval": [
            office.approve(check=True),
            office.approve(output=sent),
            office.approve("ci", role="builder"),
        ]
    }
    where = {"catalogue": office.catalogue, "trust_policy": office.policy}
    made["slipway_approval_file"] = [
        doors.run("slipway_approval_file", path=path, **where) for path in (sent, office.policy)
    ]
    made["slipway_approvals_info"] = [
        doors.run("slipway_approvals_info", application="shop", release_id=release, **where) for release in ("v1", "v9")
    ]
    return made[name]


def audited(name, site, tmp_path):
    source, bundle = site.directory / f"sources/{site.application}-v1", tmp_path / "release/audit_1"
    made = {"slipway_audit_bundle": [doors.run("slipway_audit_bundle", check=check, source=source, path=bundle)
            for check in (True, False)]}  # fmt: skip
    made["slipway_validation"] = [
        doors.run("slipway_validation", check=check, source=source, audit=bundle) for check in (True, False)
    ]
    (bundle / "sbom.cdx.json").unlink()
    made["slipway_audit_bundle"].append(doors.run("slipway_audit_bundle", source=source, path=bundle))
    made["slipway_validation"].append(doors.run("slipway_validation", source=source, audit=bundle))
    return made[name]


def planned(name, site, tmp_path):
    """Answers of an action plugin."""

    def ask(**options):
        return plugins.run(name, **options)

    state = str(site.directory / "controller")
    if name == "slipway_application":
        return [ask(applications={"shop": {}})]
    if name == "slipway_smoke_test":
        asked = {"smoke": [{"type": "tcp", "host": "127.0.0.1", "port": 1}], "smoke_patience": ONCE}
        return [ask(application="shop", description=description) for description in (asked, {})]
    if name == "slipway_gate":
        memory, _unrecorded = controller(site).begin("deploy")
        held = ask(state_directory=state, run_id=memory["run_id"], seconds=0)
        return [held, ask(decision="promote", state_directory=state)]
    if name == "slipway_delivery_info":
        controller(site).begin("deploy")
        return [ask(state_directory=state), ask(state_directory=state, weeks=0)]
    if name == "slipway_state_backup":
        controller(site).begin("deploy")
        where = {"state_directory": state, "path": str(tmp_path / "state.backup")}
        return [ask(state="written", **where), ask(state="written", **where)]
    if name == "slipway_rollout_verdict":
        planned = rollout.plan(rollout.Settings.parse({"waves": ["1"]}), rollout.Pace(1, 1, 1), {"prod-1": {}})
        return [ask(rollout=planned.as_dict(), results={})]
    if name == "slipway_evidence":
        return [ask(**proofs.options(proofs.Run(tmp_path), tmp_path), holders={})]
    if name == "slipway_integrity_report":
        return [ask(answers={"prod-1": {}})]
    if name == "slipway_run_report":
        results = {"confirmation": {"prod-1": {"outcome": "confirmed", "active_release_id": "v1"}}}
        run, _unrecorded = controller(site).begin("deploy")
        where = {"catalogue": str(site.catalogue.root), "view_directory": str(tmp_path), "application": "shop"}
        return [ask(**where, state_directory=state, run=run, title="deploy", results=results, unreachable=["prod-2"])]
    if name == "slipway_release_view":
        return [ask(catalogue=str(site.catalogue.root), application="shop", directory=str(tmp_path), release_id="v1")]
    if name == "slipway_preflight_report":
        where = {"catalogue": str(site.catalogue.root), "trust_policy": str(tmp_path / "none.json")}
        return [ask(application="shop", **where, answers={"prod-1": site.inspect(preflight=True)})]
    planned = {"application": "shop", "environment": "prod", "state_directory": state}
    if name == "slipway_deploy_plan":
        policy = tmp_path / "trust-policy.dsse.json"
        policy.write_bytes(signed.policy_envelope())
        where = {
            "catalogue": str(site.catalogue.root),
            "trust_policy": str(policy),
            "description": {},
            "waves": ["1", "100%"],
        }
        return [ask(**planned, **where, answers={"prod-1": site.witnessed()})]
    site.deploy("v1")
    site.build("v2", V2)
    site.deploy("v2", "run-2")
    return [ask(**planned, catalogue=str(site.catalogue.root), answers={"prod-1": site.witnessed()})]


def vaulted(name, house, memory):
    """What is answered about a real Vault."""
    applied = house.ask("slipway_vault_access", **house.administrator)
    if name == "slipway_vault_access":
        return [applied]
    if name == "slipway_vault_credential":
        return [house.ask(name, role="deployer", output=memory / "parcel", **house.administrator)]
    halves = {"first": memory / "first", "second": memory / "second", "reason": "what is answered then"}
    answers = [house.ask(name, state="sealed", **halves, **house.administrator)]
    answers.append(house.ask(name, state="opened", directory=memory / "open", **halves))
    return [*answers, house.ask(name, state="shut", directory=memory / "open")]


@pytest.mark.parametrize("name", [*WITH_A_SPEC, *CONTROLLER_ONLY])
def test_return_names_what_is_returned(name, site, tmp_path, request):
    documented = doors.documented_returns(name)
    if name in VAULTED:
        answers = vaulted(name, *map(request.getfixturevalue, ("vault_house", "memory")))
    elif name.startswith("slipway_awx"):
        answers = awx_answers(name, *map(request.getfixturevalue, ("awx", "monkeypatch")))
    else:
        answers = answers_of(name, site, tmp_path)
    # What a refusal says is the same for all, so that an answer need not have been one.
    returned = keys(answers) - REFUSAL
    assert returned <= documented
    assert documented - REFUSAL - EVERYWHERE - SELDOM <= returned
    assert documented >= REFUSAL


@pytest.mark.parametrize("module", repository.MODULES)
def test_no_answer_uses_a_word_that_ansible_takes_for_its_own(module):
    """With `unreachable` in an answer, even as a list, Ansible drops the host and goes on without the answer."""
    own = {"unreachable", "skipped", "exception", "ansible_facts", "results", "rc"}
    assert own.isdisjoint(repository.documentation(module, "RETURN"))
