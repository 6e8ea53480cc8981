# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX 24 runs them: ansible-runner's transmit, worker and process, with a private data directory laid out as AWX's RunJob does.

As on a node that controls and executes, the worker has that very directory. The project is a clone of a revision, the inventory a script, what a survey and a launch gave is marked `!unsafe`, credentials are a key for ssh-agent,
files beside the variables, and extra variables that name those. With an image the worker isolates the job in it by podman, else it runs here.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner
import yaml
from awx_environment import SETTINGS
from deployments import until

from ee import image as ee
from lab import ssh
from lab.fleet import Fleet
from lab.instance import USER

RUNNER = "/runner"
USER_NAME = "anna"
PLAYBOOK_SECONDS = 180
TOOLS = Path(sys.executable).parent
# What comes behind the recap is only printed, by no callback.
PRINTED = "verbose"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Unsafe(yaml.SafeDumper):
    """Writes every text as one that Ansible is not to take for a template."""

    def represent_data(self, data: Any) -> yaml.Node:
        return self.represent_scalar("!unsafe", data) if isinstance(data, str) else super().represent_data(data)


@dataclass(frozen=True)
class Credentials:
    """What is attached to a job: a Machine credential's key, and the files of credential types by what the extra variable that names each is called."""

    ssh_key: str | None
    files: Mapping[str, str] = field(default_factory=dict)

    def without(self, *names: str) -> Credentials:
        """The same without these files; `ssh_key` is the key."""
        kept = {name: text for name, text in self.files.items() if name not in names}
        return Credentials(None if "ssh_key" in names else self.ssh_key, kept)

    def holding(self, **files: str) -> Credentials:
        """The same with these files instead."""
        return Credentials(self.ssh_key, {**self.files, **files})


@dataclass
class Awx:
    """Launches jobs: `project` is the checkout that AWX synced, `volumes` are directories that outlive a job."""

    fleet: Fleet
    project: Path
    directory: Path
    volumes: Sequence[Path]
    credentials: Credentials
    image: str | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(41))

    @property
    def revision(self) -> str:
        words = ["git", "-C", str(self.project), "rev-parse", "HEAD"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def launch(
        self,
        playbook: str,
        *,
        survey: Mapping[str, Any] | None = None,
        limit: str = "",
        check: bool = False,
        group: str | None = None,
        credentials: Credentials | None = None,
    ) -> Job:
        """Start a job; `group` is the inventory that its template has, all hosts without it."""
        number = next(self.numbers)
        private = Path(tempfile.mkdtemp(prefix=f"awx_{number}_", dir=self.directory))
        job = Job(number, private, Path(RUNNER) if self.image else private)
        attached = credentials or self.credentials
        clone = ["git", "clone", "-q", "--depth", "1", f"file://{self.project}", str(private / "project")]
        subprocess.run(clone, check=True)
        for name in ("inventory", "env", "cp"):
            (private / name).mkdir(mode=0o700)
        self._write_inventory(private / "inventory/hosts", group)
        _write(private / "env/extravars", yaml.dump({**(survey or {}), **self._said(number)}, Dumper=Unsafe))
        arguments = [
            *(["--check", "--diff"] if check else []),
            "-u",
            USER,
            "--become",
            *(["-l", limit] if limit else []),
        ]
        injected = dict(self._inject(attached, private, job))
        _write(private / "env/tmpinjected", yaml.dump(injected, Dumper=Unsafe))
        arguments += ["-e", f"@{job.inside}/env/tmpinjected"]
        _write(private / "env/cmdline", ansible_runner.utils.args2cmdline(*arguments))
        _write(
            private / "env/settings",
            json.dumps({"job_timeout": 0, "suppress_ansible_output": True, "suppress_output_file": True}),
        )
        job.start(self._parameters(playbook, job, attached))
        return job

    def _said(self, number: int) -> dict[str, Any]:
        """What AWX says of a job, which nobody can give otherwise."""
        said = {
            "job_id": number,
            "job_launch_type": "manual",
            "user_id": 7,
            "user_name": USER_NAME,
            "user_email": "anna@slipway.example",
            "project_revision": self.revision,
            "project_scm_branch": "main",
            "job_template_id": 9,
            "job_template_name": "Deploy to prod",
        }
        return {f"{prefix}_{name}": value for prefix in ("awx", "tower") for name, value in said.items()}

    def _write_inventory(self, path: Path, group: str | None) -> None:
        groups = [group] if group else ["staging", "prod"]
        hosts = {
            name: {
                "ansible_host": self.fleet.host(name).address,
                "remote_tower_enabled": "true",
                "remote_tower_id": index,
            }
            for each in groups
            for index, name in enumerate(self.fleet.names(each), start=1)
        }
        script = {
            "all": {"children": ["ungrouped", *groups], "hosts": [], "vars": {}},
            **{each: {"hosts": self.fleet.names(each), "vars": {}, "children": []} for each in groups},
            "_meta": {"hostvars": hosts},
        }
        _write(path, f"#! /usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint({json.dumps(script)!r})\n", 0o700)

    def _inject(self, attached: Credentials, private: Path, job: Job) -> Iterator[tuple[str, str]]:
        for number, (name, text) in enumerate(attached.files.items()):
            _write(private / f"env/tmp{number}", text)
            path = f"{job.inside}/env/tmp{number}"
            if name == "known_hosts":
                options = f"-o UserKnownHostsFile={path} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
                yield "ansible_ssh_common_args", options
            else:
                yield name, path

    def _parameters(self, playbook: str, job: Job, attached: Credentials) -> dict[str, Any]:
        inside = job.inside
        collections = f"{inside}/requirements_collections:~/.ansible/collections:/usr/share/ansible/collections"
        environment = {
            **SETTINGS,
            "AWX_PRIVATE_DATA_DIR": str(job.private),
            "JOB_ID": str(job.number),
            "INVENTORY_ID": "3",
            "PROJECT_REVISION": self.revision,
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "MAX_EVENT_RES": "700000",
            "AWX_HOST": "https://awx.slipway.example",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{inside}/cp",
            # As AWX makes them of ansible.cfg's, which they then replace.
            "ANSIBLE_ROLES_PATH": f"{inside}/requirements_roles:roles:~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles",
            "ANSIBLE_COLLECTIONS_PATHS": collections,
            "ANSIBLE_COLLECTIONS_PATH": collections,
        }
        parameters: dict[str, Any] = {
            "ident": str(job.number),
            "private_data_dir": str(job.private),
            "playbook": playbook,
            "inventory": str(job.private / "inventory/hosts"),
            "passwords": {
                "Enter passphrase for .*:\\s*?$": "",
                "BECOME password.*:\\s*?$": "",
                "SSH password:\\s*?$": "",
            },
            "suppress_env_files": True,
            "envvars": environment,
            "fact_cache_type": "",
        }
        if attached.ssh_key is not None:
            parameters["ssh_key"] = attached.ssh_key
        if self.image:
            parameters |= {
                "container_image": self.image,
                "process_isolation": True,
                "process_isolation_executable": "podman",
                "container_options": ["--user=root", "--network=host", *ee.limits()],
                "container_volume_mounts": [f"{path}:{path}:z" for path in self.volumes],
            }
        return parameters


@dataclass
class Job:
    """One job. `private` is AWX's directory of it, `inside` what that is called where the playbook runs."""

    number: int
    private: Path
    inside: Path
    status: str = ""
    code: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stream(self) -> Path:
        """What the worker sent back."""
        return self.private.with_suffix(".stream")

    @property
    def artifacts(self) -> Path:
        """What AWX keeps."""
        return self.private / "artifacts" / str(self.number)

    def start(self, parameters: dict[str, Any]) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "SLIPWAY_"))
        }
        environment["PATH"] = f"{TOOLS}:{os.environ['PATH']}"
        with self.stream.open("wb") as stream, tempfile.NamedTemporaryFile() as given:
            ansible_runner.interface.run(streamer="transmit", _output=given, only_transmit_kwargs=True, **parameters)
            given.seek(0)
            self._process = subprocess.Popen(
                [str(TOOLS / "ansible-runner"), "worker", "--private-data-dir", str(self.private)],
                stdin=given,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def cancel(self) -> None:
        """What Cancel does: the node ends its worker, which ends the job."""
        self._process.send_signal(signal.SIGTERM)

    def end(self, status: str | None = None) -> Job:
        """Wait for its end and take in what the worker sent; another status is an AssertionError."""
        until(lambda: not self.is_running, f"the end of job {self.number}", PLAYBOOK_SECONDS)
        with self.stream.open("rb") as stream:
            done = ansible_runner.interface.run(
                streamer="process",
                _input=stream,
                private_data_dir=str(self.private),
                ident=str(self.number),
                event_handler=self._take,
                quiet=True,
            )
        self.status = done.status
        code = self.artifacts / "rc"
        self.code = int(code.read_text()) if code.exists() and code.read_text().strip() else None
        assert status in (None, self.status), f"job {self.number} is {self.status}\n{self.output}"
        return self

    def _take(self, event: dict[str, Any]) -> bool:
        self.events.append(event)
        return True

    @property
    def output(self) -> str:
        """What AWX shows, without colours."""
        shown = "\n".join(event["stdout"] for event in self.events if event.get("stdout"))
        return COLOURS.sub("", shown) or self.stream.read_text(errors="replace")[-3000:]

    def named(self, name: str) -> list[dict[str, Any]]:
        """The events of this name."""
        return [event for event in self.events if event["event"] == name]

    @property
    def statistics(self) -> dict[str, Any]:
        """What the recap says, by result and host."""
        (event,) = self.named("playbook_on_stats")
        return dict(event["event_data"])

    def require_complete(self, *hosts: str) -> None:
        """Every event is there, in its order, each once; the recap comes last and has these hosts and no other."""
        assert [event["counter"] for event in self.events] == list(range(1, len(self.events) + 1))
        assert len({event["uuid"] for event in self.events}) == len(self.events)
        kept = sorted(int(path.name.partition("-")[0]) for path in (self.artifacts / "job_events").glob("*.json"))
        assert kept == list(range(1, len(self.events) + 1))
        names = [event["event"] for event in self.events if event["event"] != PRINTED]
        assert (names[0], names[-1]) == ("playbook_on_start", "playbook_on_stats")
        assert set(self.statistics["processed"]) == set(hosts)
        for started in self.named("runner_on_start"):
            about = started["event_data"]
            ended = [event for event in self.events if _answers(event, about)]
            assert ended, f"no result of {about['task']} on {about['host']}"


def _answers(event: Mapping[str, Any], started: Mapping[str, Any]) -> bool:
    data = event.get("event_data", {})
    is_result = event["event"] in ("runner_on_ok", "runner_on_failed", "runner_on_skipped", "runner_on_unreachable")
    return is_result and (data["task_uuid"], data["host"]) == (started["task_uuid"], started["host"])


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.touch(mode)
    path.write_text(text, encoding="utf-8")


def machine_key(fleet: Fleet) -> str:
    """The operator's private key, as it is entered at AWX."""
    return ssh.private_key(fleet.clone).read_text(encoding="ascii")


def known_hosts(fleet: Fleet) -> str:
    """The keys of the hosts, as they are entered at AWX."""
    return ssh.known_hosts(fleet.clone, fleet.record.instance).read_text(encoding="ascii")
