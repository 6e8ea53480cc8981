# SPDX-License-Identifier: GPL-3.0-or-later
"""Every no_log of this repository hides something: with it a canary is nowhere, without it that canary is in the output.

All of them are in one play, as they stand in their files, each with a canary of its own: what is found without them says of each single one that it is needed.
Masking is off for that, since it would hide what is to be seen.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import repository
import yaml
from ansible.module_utils.slipway.trust.keys import generate_private_key
from leaks import Canary, Search
from test_playbooks import typed

OPTION = re.compile(r'"(\w+)": \{(?:[^{}]|\{[^{}]*\})*?"no_log": True')
# Where nothing was found that would come out without it; it stays, since what a later Ansible prints nobody knows.
NOT_SEEN = {
    "playbooks/secret.yml: Work on it": "an action that answers without its arguments",
    "roles/release/meta/argument_specs.yml: release_source_credentials": "no error of a dictionary repeats it",
    "roles/exporter/tasks/certificate.yml: Bring its key": "a file that is copied is not printed, and diff: false keeps back what changed in it",
    "roles/alertmanager/tasks/configure.yml: Write its secrets": "a module that hides its content by itself, and diff: false",
}
# Tasks of tests, which their own scenario looks for in the output.
OF_SCENARIOS = {"molecule/not_ready/database.yml: Put the secrets there"}
KEY = "{{ playbook_dir }}/{name}.pem"


def tasks_with_it():
    """{site: task} of every task that says no_log."""
    files = repository.task_files("roles/", "playbooks/", "molecule/", "deploy.yml", "rollback.yml")
    return {
        f"{file}: {task['name']}": task for file in files for task in repository.tasks_of(file) if task.get("no_log")
    }


def options_with_it():
    """{site: (file, option)} of every option of a module that is not logged."""
    files = ["module_utils/slipway/host/options.py", *(f"library/{name}.py" for name in repository.MODULES)]
    found = [
        (file, option)
        for file in files
        for option in OPTION.findall((repository.ROOT / file).read_text(encoding="utf-8"))
    ]
    return {f"{file}: {option}": (file, option) for file, option in found}


def role_options_with_it():
    """{site: (option, its specification)} of every variable of a role that is not logged."""
    return {
        f"roles/{role}/meta/argument_specs.yml: {option}": (option, about)
        for role in repository.ROLES
        for entry in repository.load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values()
        for option, about in entry["options"].items()
        if about.get("no_log")
    }


REVERTED = {
    "application": "leaks",
    "release_id": "v1",
    "state": "reverted",
    "description": {},
    "environment": "prod",
    "run": {"run_id": "run_1"},
}
# What a module needs beside the option, to come as far as answering; "{canary}" is the value.
ASKED = {
    "library/slipway_key_info.py: passphrase": ("slipway_key_info", {"key": "/none", "passphrase": "{canary}"}),
    "library/slipway_keypair.py: passphrase": ("slipway_keypair", {"path": "{directory}/made.pem", "passphrase": "{canary}"}),
    "library/slipway_approval.py: passphrase": (
        "slipway_approval",
        {"manifest": "/none", "trust_policy": "/none", "environment": "prod", "role": "lead", "key": "/none", "passphrase": "{canary}"},
    ),
    "library/slipway_trust_signature.py: passphrase": (
        "slipway_trust_signature", {"trust_policy": "/none", "file": "/none", "key": "/none", "passphrase": "{canary}"},
    ),
    "library/slipway_bundle.py: passphrase": (
        "slipway_bundle", {"source": "/none", "catalogue": "/none", "builder_key": "/none", "trust_policy": "/none", "passphrase": "{canary}"},
    ),
    "module_utils/slipway/host/options.py: source_credentials": ("slipway_release", {**REVERTED, "source_credentials": {"token": "{canary}"}}),
    "module_utils/slipway/host/options.py: credential_values": ("slipway_release", {**REVERTED, "credential_values": "{canary}"}),
}  # fmt: skip
# The questions that somebody answers at a terminal.
TYPED = {
    "playbooks/key.yml: Ask for its passphrase": {},
    "playbooks/approve.yml: Ask for its passphrase": {},
    "playbooks/trust_sign.yml: Ask for the passphrase": {},
    "playbooks/secret.yml: Ask for each field": {"__secret": {"fields": ["password"]}, "secret_name": "database/main"},
}
# Tasks as they stand in their files, but for the program: it would need a host.
PLAYED = {
    "roles/heartbeat/tasks/credentials.yml: Look at what it has": {
        "ansible.builtin.command": {"argv": ["{directory}/systemd-creds", "{canary}"]}, "loop": ["slack_url"], "loop_control": {},
    },
    "roles/heartbeat/tasks/credentials.yml: Encrypt what is new for this host alone": {
        "ansible.builtin.command": {"argv": ["{directory}/systemd-creds"], "stdin": "{canary}"}, "loop": ["slack_url"], "loop_control": {},
    },
}  # fmt: skip


def filled(value, canary, directory):
    if isinstance(value, dict):
        return {key: filled(each, canary, directory) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, canary, directory) for each in value]
    return value.replace("{canary}", canary).replace("{directory}", str(directory)) if isinstance(value, str) else value


class Proof:
    """One play with everything that has a no_log, in a copy of the tree without masking; ``bare`` has no no_log left."""

    def __init__(self, directory: Path, *, bare: bool) -> None:
        self.root, self.bare = directory / ("bare" if bare else "as_it_is"), bare
        for name in repository.tracked():
            if not name.startswith(("tests/", "docs/", "examples/", "changelogs/", "requirements/")):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(repository.ROOT / name, self.root / name, follow_symlinks=False)
        unmasked(self.root)
        if bare:
            for file, _option in options_with_it().values():
                path = self.root / file
                path.write_text(
                    path.read_text(encoding="utf-8").replace('"no_log": True', '"no_log": False'), encoding="utf-8"
                )
        self.canaries: dict[str, Canary] = {}
        generate_private_key(self.root / "key.pem", b"unused")
        self.output = self.played()
        self.search = Search(list(self.canaries.values()))
        self.search.text(self.output, "output")
        for name in ("ansible.log", "tmp", "facts"):
            path = self.root / name
            if path.is_dir():
                self.search.tree(path)
            elif path.exists():
                self.search.data(path.read_bytes(), name)
        self.found = {hit.canary for hit in self.search.hits}

    def canary(self, site: str) -> str:
        self.canaries[site] = Canary(site)
        return self.canaries[site].plain

    def looked_up(self, site: str) -> str:
        """Its canary from a file: what stands in a play, Ansible shows where the play has an error."""
        path = self.root / f"values/{len(self.canaries)}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.canary(site))
        return f"{{{{ lookup('ansible.builtin.file', '{path}') }}}}"

    def played(self) -> str:
        known, answers, tasks = tasks_with_it(), [], []
        for site, variables in TYPED.items():
            task = {key: value for key, value in known[site].items() if key not in ("when", "register")}
            tasks.append({**task, "vars": {"__key": f"question {len(answers)}", **variables}})
            question = "database/main, password" if "secret.yml" in site else f"question {len(answers)}"
            answers.append((question, self.canary(site)))
        for site, (option, about) in role_options_with_it().items():
            given = {
                "argument_spec": {option: about},
                "provided_arguments": {option: f"no dictionary: {self.looked_up(site)}"},
            }
            tasks.append({"name": site, "ansible.builtin.validate_argument_spec": given, "ignore_errors": True})
        for site, (module, options) in ASKED.items():
            given = filled(options, self.looked_up(site), self.root)
            tasks.append({"name": f"Ask {module}", module: given, "ignore_errors": True, "check_mode": True})
        for site, changes in PLAYED.items():
            task = {key: value for key, value in known[site].items() if key not in ("when", "register")}
            tasks.append({**task, **filled(changes, self.looked_up(site), self.root)})
        (self.root / "systemd-creds").write_text('#!/bin/sh\ncat >/dev/null\necho "$1"\n')
        (self.root / "systemd-creds").chmod(0o755)
        if self.bare:
            tasks = [without(task) for task in tasks]
        play = {
            "name": "Prove it",
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "become": False,
            "tasks": tasks,
        }
        (self.root / "prove.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        environment = {
            **os.environ, "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(self.root / "tmp"),
            "ANSIBLE_LOG_PATH": str(self.root / "ansible.log"), "ANSIBLE_KEEP_REMOTE_FILES": "0",
        }  # fmt: skip
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            str(self.root / "prove.yml"),
            "-i",
            "localhost,",
            "-vvvv",
            "--diff",
        ]
        code, output = typed(
            [*command, "-e", json.dumps({"ansible_python_interpreter": sys.executable})], environment, *answers
        )
        assert code == 0, output
        return output


def without(value):
    """A task, or an argument specification in it, that says no_log no more."""
    if isinstance(value, dict):
        return {key: without(each) for key, each in value.items() if key != "no_log"}
    return value


def unmasked(root):
    """Take the masking out of a copy of the tree."""
    path = root / "vars_plugins/slipway_secrets.py"
    text = path.read_text(encoding="utf-8")
    assert text.count("    _masking.install(os.getpid())\n") == 1
    path.write_text(text.replace("    _masking.install(os.getpid())\n", "    _masking\n"), encoding="utf-8")


SITES = sorted([*TYPED, *ASKED, *PLAYED])


@pytest.fixture(scope="module")
def proofs(tmp_path_factory):
    """The play with and without."""
    directory = tmp_path_factory.mktemp("proof")
    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(lambda bare: Proof(directory, bare=bare), (False, True)))


def test_every_no_log_is_proven_here_or_said_why_not():
    known = {*tasks_with_it(), *options_with_it(), *role_options_with_it()}
    assert known - set(SITES) - set(NOT_SEEN) - OF_SCENARIOS == set()
    assert {*SITES, *NOT_SEEN, *OF_SCENARIOS} - known == set()


def test_with_them_nothing_comes_out(proofs, say):
    kept, _bare = proofs
    say(f"with {len(SITES)} no_log: {kept.search.summary}")
    assert kept.search.hits == []


@pytest.mark.parametrize("site", SITES)
def test_without_it_its_canary_is_in_the_output(proofs, site):
    _kept, bare = proofs
    assert site in bare.found, bare.output
