# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's decisions about hosts, connections and the steps of the demo."""

from pathlib import Path

import pytest

from lab import demo, hosts, ssh
from lab.instance import Host
from lab.names import Clone

HOST = Host("prod-1", "prod", "10.200.3.11", "container")


@pytest.mark.parametrize(
    ("state", "needed"),
    [
        ("running", "leave"),
        ("paused", "unpause"),
        ("exited", "start"),
        ("created", "start"),
        ("configured", "start"),
        ("stopped", "start"),
        ("stopping", "create"),
        ("dead", "create"),
        ("something new", "create"),
        (None, "create"),
    ],
)
def test_a_container_in_any_state_is_brought_back(state: str | None, needed: str) -> None:
    assert hosts.next_step(state) == needed


def test_actions_run_on_all_hosts_and_an_error_comes_last() -> None:
    done: list[str] = []

    def action(host: Host) -> str:
        done.append(host.name)
        if host.name == "a":
            raise ValueError("a fails")
        return host.name.upper()

    both = [Host("a", "prod", "", ""), Host("b", "prod", "", "")]
    with pytest.raises(ValueError, match="a fails"):
        hosts.in_parallel(action, both)
    assert sorted(done) == ["a", "b"]
    assert hosts.in_parallel(action, both[1:]) == {"b": "B"}
    assert hosts.in_parallel(action, []) == {}


def test_host_keys_are_added_and_replaced_but_never_lost(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    clone.state.mkdir(parents=True)
    ssh.learn(clone, "lab", {"10.0.0.2": "ssh-ed25519 B", "10.0.0.1": "ssh-ed25519 A"})
    ssh.learn(clone, "lab", {"10.0.0.2": "ssh-ed25519 C"})
    assert ssh.known_hosts(clone, "lab").read_text() == "10.0.0.1 ssh-ed25519 A\n10.0.0.2 ssh-ed25519 C\n"


def test_the_ssh_command_trusts_known_hosts_alone(tmp_path: Path) -> None:
    words = ssh.command(Clone(tmp_path), "lab", HOST)
    assert words[-1] == "operator@10.200.3.11"
    assert "StrictHostKeyChecking=yes" in words
    assert f"UserKnownHostsFile={tmp_path}/.slipway/lab/known_hosts_lab" in words


def test_a_path_with_blanks_is_quoted_for_ssh() -> None:
    assert ssh.quoted(Path("/a b/c")) == '"/a b/c"'
    assert ssh.quoted(Path("/a/c")) == "/a/c"


def test_the_demo_numbers_its_steps_and_ends_with_the_status() -> None:
    steps = demo.steps("v1")
    assert [step.place for step in steps][:2] == [f"[1/{len(steps)}]", f"[2/{len(steps)}]"]
    assert steps[-1].command == "ansible-playbook playbooks/status.yml"
    assert [step.command for step in steps if "{" in step.command] == []


def test_the_demo_uses_the_clones_own_environment_first(tmp_path: Path) -> None:
    environment = demo.environment(tmp_path)
    assert environment["PATH"].split(":")[0] == str(tmp_path / ".venv" / "bin")
    assert environment["ANSIBLE_CONFIG"] == str(tmp_path / "ansible.cfg")
