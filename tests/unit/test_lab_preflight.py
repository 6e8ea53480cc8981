# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab says about a machine before it changes anything."""

import io
import subprocess
from pathlib import Path

import pytest

from lab import preflight
from lab.errors import LabError

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
UBUNTU = "# a comment\nPRETTY_NAME='Ubuntu 24.04.1 LTS'\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n"


def test_os_release_is_understood() -> None:
    found = preflight.parse_os_release(DEBIAN)
    assert found == preflight.System("debian", (12,), "bookworm", "Debian GNU/Linux 12 (bookworm)")
    assert preflight.parse_os_release(UBUNTU).version == (24, 4)


@pytest.mark.parametrize("text", [DEBIAN, UBUNTU, DEBIAN.replace('"12"', '"13"')])
def test_supported_machines_pass(text: str) -> None:
    preflight.require_supported(preflight.parse_os_release(text))


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (DEBIAN.replace('"12"', '"11"').replace(" 12", " 11"), "Debian GNU/Linux 11"),
        (UBUNTU.replace("24.04", "22.04"), "Ubuntu 22.04.1 LTS"),
        ('PRETTY_NAME="Fedora Linux 41"\nID=fedora\nVERSION_ID=41\n', "Fedora Linux 41"),
        ("", "an unknown system"),
    ],
)
def test_other_machines_are_refused_by_their_name(text: str, title: str) -> None:
    with pytest.raises(LabError, match="found " + title):
        preflight.require_supported(preflight.parse_os_release(text))


def test_each_missing_package_is_named_once() -> None:
    tools = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "podman": "podman"}
    assert preflight.missing(tools, lambda _: None) == ["openssh-client", "podman"]
    assert preflight.missing(tools, lambda tool: tool != "podman") == ["podman"]


def test_too_little_space_is_refused_with_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"5 GB free on the disk of .*; found 2\.0 GB"):
        preflight.require_space(tmp_path / "not" / "there", 5, free=lambda _: 2 * 2**30)
    preflight.require_space(tmp_path, 5, free=lambda _: 5 * 2**30)


def test_space_is_measured_on_the_nearest_directory_that_exists(tmp_path: Path) -> None:
    asked: list[Path] = []

    def free(path: Path) -> int:
        asked.append(path)
        return 2**40

    preflight.require_space(tmp_path / "not" / "there", 5, free=free)
    assert asked == [tmp_path]


def test_without_root_and_without_sudo_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("lab.shell.which", lambda _: None)
    with pytest.raises(LabError, match="Run the same command as root"):
        preflight.require_root()


def test_a_sudo_that_wants_a_password_from_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("lab.shell.which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(LabError, match="sudo -v"):
        preflight.require_root(lambda *_args, **_more: subprocess.CompletedProcess([], 1))


def test_without_apt_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("lab.shell.which", lambda _: None)
    with pytest.raises(LabError, match="apt-get, to install podman, runc"):
        preflight.install(["podman", "runc"])
    preflight.install([])
