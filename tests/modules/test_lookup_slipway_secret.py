# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup as plays use it: in group_vars and templates, in every worker, with nothing of it in output or environments."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import repository
from ansible.module_utils.slipway.secrets.access_log import AccessLog
from ansible.module_utils.slipway.secrets.local_store import LocalStore
from ansible.module_utils.slipway.secrets.store_key import make_key, read_key
from safes import CANARY, secret

HOSTS = "a,b,c,d"
# From the module upwards to the test: what others can see of each process.
LOOK = """
import os, pathlib
pid, seen = os.getpid(), []
while pid != {test}:
    seen.append([pathlib.Path(f"/proc/{{pid}}/{{name}}").read_bytes() for name in ("cmdline", "environ")])
    pid = int(pathlib.Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[1])
own = sum(b"ansible-playbook" in cmdline for cmdline, _ in seen)
leaks = sum(b"{value}" in cmdline + environ for cmdline, environ in seen)
print(f"seen {{own}} processes of Ansible, {{leaks}} leaks")
"""


@pytest.fixture
def project(tmp_path, memory):
    """A function that runs a play with those tasks on four hosts, beside group_vars with a chain; returns (exit code, output)."""
    key = make_key(tmp_path / "key")
    store = LocalStore("local", tmp_path / "secrets.enc", lambda: key)
    store.make()
    store.write(secret())
    (tmp_path / "group_vars").mkdir()
    variables = {
        "slipway_state_directory": str(tmp_path / "state"), "slipway_environment": "development", "secrets_chain": ["local"],
        "secrets_swap_accepted": True, "secrets_providers": {"local": {"type": "local", "path": str(tmp_path / "secrets.enc")}},
        "database_password": "{{ lookup('slipway_secret', 'database/main', field='password') }}",
    }  # fmt: skip
    (tmp_path / "group_vars/all.yml").write_text(json.dumps(variables))

    def run(tasks, *options, **environment):
        play = {"hosts": "all", "gather_facts": False, "become": False, "connection": "local", "tasks": tasks}
        (tmp_path / "play.yml").write_text(json.dumps([play]))
        given = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SECRETS_")},
            "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"), "XDG_RUNTIME_DIR": str(memory), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"), **environment,
        }  # fmt: skip
        inventory = () if "-i" in options else ("-i", HOSTS)
        command = [Path(sys.executable).with_name("ansible-playbook"), *inventory, "play.yml", *options]
        done = subprocess.run(
            command, cwd=tmp_path, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    run.key = tmp_path / "key"
    run.log = AccessLog(tmp_path / "state/access.jsonl")
    return run


def test_group_vars_and_templates_get_values_and_the_output_does_not(project, tmp_path):
    (tmp_path / "page.j2").write_text(
        "{{ lookup('slipway_secret', 'database/main', field='username') }} {{ database_password }}\n"
    )
    template = {"src": "page.j2", "dest": f"{tmp_path}/page-{{{{ inventory_hostname }}}}", "mode": "0600"}
    tasks = [{"name": "Write it", "template": template, "no_log": True, "diff": False}]
    code, output = project(tasks, "-vvvv", "--diff", SECRETS_KEY_PATH=str(project.key))
    assert code == 0, output
    assert [(tmp_path / f"page-{host}").read_text() for host in "abcd"] == [f"shop {CANARY}\n"] * 4
    assert CANARY not in output
    records = project.log.records()
    assert {record["host"] for record in records} == set("abcd")
    assert len({record["run_id"] for record in records}) == 1


def test_a_default_and_a_refusal_that_says_what_to_do(project):
    shown = {"debug": {"msg": "{{ lookup('slipway_secret', 'none', default='nothing there') }}"}}
    assert "nothing there" in project([shown], SECRETS_KEY_PATH=str(project.key))[1]
    asked = {"debug": {"msg": "{{ lookup('slipway_secret', 'database/main', field='pin') }}"}}
    code, output = project([asked], SECRETS_KEY_PATH=str(project.key))
    assert code == 2
    assert "secret_field_missing: expected a field 'pin' in database/main; found password, username." in output
    assert CANARY not in output
    mistyped = {"debug": {"msg": "{{ lookup('slipway_secret', 'database/main', field='password', verison='3') }}"}}
    code, output = project([mistyped], SECRETS_KEY_PATH=str(project.key))
    assert code == 2
    assert (
        "lookup_option_unknown: expected no options of slipway_secret but default, field, version; found verison."
        in output
    )
    assert CANARY not in output
    code, output = project([asked])
    assert code == 2
    assert "secrets_key_missing" in output
    assert "make secrets-key" in output


def test_the_key_in_the_environment_is_read_once_and_nobody_gets_it(project, tmp_path):
    """In the first task already: neither the children of workers nor, in /proc, the workers themselves."""
    value = base64.b64encode(read_key(project.key).material).decode()
    (tmp_path / "look.py").write_text(LOOK.format(value=value, test=os.getpid()))
    tasks = [
        {"name": "Look around", "command": f"{sys.executable} {tmp_path}/look.py", "register": "looked"},
        {"name": "Say it", "debug": {"msg": "{{ looked.stdout }}; {{ database_password | length }}"}},
    ]
    code, output = project(tasks, SECRETS_KEY=value)
    assert code == 0, output
    assert output.count(f"seen 2 processes of Ansible, 0 leaks; {len(CANARY)}") == 4, output
    assert value not in output


@pytest.mark.parametrize("variable", ["SECRETS_KEY", "SECRETS_KEY_PATH"])
def test_where_ansible_runner_wrote_the_key_into_its_artifacts_the_run_says_so(project, tmp_path, variable):
    value = base64.b64encode(read_key(project.key).material).decode()
    project([{"name": "Do nothing", "meta": "noop"}])
    (tmp_path / "hosts").write_text("a\n")
    command = [
        Path(sys.executable).with_name("ansible-runner"),
        *("run", tmp_path / "private", "--project-dir", tmp_path, "-p", "play.yml", "--inventory", tmp_path / "hosts"),
    ]
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("SECRETS_")},
        "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"),
        variable: value if variable == "SECRETS_KEY" else str(project.key),
    }
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = [path for path in (tmp_path / "private").rglob("*") if path.is_file()]
    written = [path.name for path in files if value.encode() in path.read_bytes()]
    assert written == (["command"] if variable == "SECRETS_KEY" else [])
    assert ("SECRETS_KEY stands in" in done.stdout) is (variable == "SECRETS_KEY")


def test_the_documentation_is_shown():
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-doc"), "-t", "lookup", "slipway_secret"],
        cwd=repository.ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Asks the providers" in done.stdout, done.stderr


FLEET = ",".join(f"host-{number}" for number in range(8))


@pytest.fixture
def fleet(project, real_vault, tmp_path):
    """The same play for eight hosts and ten secrets of a real Vault, with the local store behind it; each secret is used by two tasks."""
    about = real_vault.settings()
    variables = json.loads((tmp_path / "group_vars/all.yml").read_text())
    variables["secrets_providers"]["vault"] = {
        "type": "vault", "url": about.url, "ca_path": str(about.ca_path), "prefix": "shop/play", "auth": "approle",
        "role_id_path": str(about.role_id_path), "secret_id_path": str(about.secret_id_path),
    }  # fmt: skip
    variables["secrets_chain"] = ["vault", "local"]
    variables["secrets_timeout_seconds"] = 60  # a busy machine is no bug
    names = [f"name-{number}" for number in range(10)]
    store = LocalStore("local", tmp_path / "secrets.enc", lambda: read_key(project.key))
    for name in names:
        variables[name.replace("-", "_")] = f"{{{{ lookup('slipway_secret', '{name}', field='password') }}}}"
        real_vault.put(f"play/{name}", password=f"{CANARY}-{name}", username="shop")
        store.write(secret(name, value="from the store"))
    (tmp_path / "group_vars/all.yml").write_text(json.dumps(variables))

    def run(expected, *options):
        used = [f"{name.replace('-', '_')} == {expected.format(name)!r}" for name in names]
        tasks = [{"name": f"Use them, {number}", "assert": {"that": used}, "no_log": True} for number in range(2)]
        return project(tasks, "-i", FLEET, *options, SECRETS_KEY_PATH=str(project.key))

    run.asked = lambda: (
        sum(len(real_vault.asked(f"secret/data/shop/play/{name}", "read")) for name in names),
        len(real_vault.asked("auth/approle/login")),
    )
    run.log = project.log
    return run


def test_a_run_reads_each_secret_once_and_logs_in_once_and_the_next_one_not_at_all(fleet, say):
    reads, logins = fleet.asked()
    code, output = fleet(CANARY + "-{}")
    assert code == 0, output
    assert (fleet.asked()[0] - reads, fleet.asked()[1] - logins) == (10, 1)
    assert CANARY not in output
    before = fleet.asked()
    assert fleet(CANARY + "-{}")[0] == 0
    assert fleet.asked() == before
    records = fleet.log.records()
    hits = sum(record["cached"] for record in records)
    say(
        f"two runs of 8 hosts: {len(records)} lookups, 10 reads and one login at Vault, {hits / len(records):.1%} from the cache"
    )
    assert len({record["run_id"] for record in records}) == 2


@pytest.mark.parametrize("how", ["seal", "cut_off"])
def test_a_run_goes_on_with_the_next_provider_and_says_so(fleet, real_vault, how):
    getattr(real_vault, how)()
    impatient = ("-e", '{"secrets_timeout_seconds": 1}') if how == "cut_off" else ()
    code, output = fleet("from the store", *impatient)
    assert code == 0, output
    why = {"seal": "sealed", "cut_off": "timed out"}[how]
    assert f"FALLBACK: vault is {why}; secrets come from local instead" in " ".join(output.split())
    said = [record for record in fleet.log.records() if record["outcome"] == "unavailable"]
    assert {(record["provider"], record["reason"]) for record in said} == {("vault", why)}
