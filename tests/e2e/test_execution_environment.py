# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment: small, without root, of what is locked and nothing else from PyPI; ansible-navigator deploys in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deployments import Operator
from workplace import Workplace

from ee import image as ee
from lab import shell, ssh

HOST = "prod-1"
# An arbitrary user in group 0: how OpenShift runs containers.
ARBITRARY = "1000660000:0"


@pytest.fixture(scope="module")
def image() -> str:
    """The execution environment, built here when nobody has yet."""
    return ee.ensure()


def inside(image: str, *words: str, options: tuple[str, ...] = ()) -> str:
    """Run a command in the image, without a network."""
    return shell.podman("run", "--rm", "--network", "none", *ee.limits(), *options, image, *words).stdout


def locked() -> dict[str, str]:
    """Every package of the lock by its normalized name; markers are for other Pythons."""
    text = (ee.ROOT / "requirements/execution-environment.lock").read_text(encoding="utf-8")
    return {name.lower(): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)}


def test_it_is_small(image: str, say: Callable[[str], None]) -> None:
    say(f"{ee.size(image) / 10**6:.0f} MB")
    assert ee.size(image) < ee.LIMIT_BYTES


def test_it_lists_what_it_has_and_python_packages_are_those_of_the_lock(image: str) -> None:
    text = inside(image, "cat", ee.CONTENTS)
    contents = json.loads(text)
    assert text == json.dumps(contents, indent=2, sort_keys=True) + "\n"
    assert ee.contents(image) == contents
    needed = {name: version for name, version in locked().items() if name in contents["python"]}
    # typing-extensions is for Pythons before 3.13, tzdata for Windows.
    assert set(locked()) - set(needed) <= {"typing-extensions", "tzdata"}
    assert {name: contents["python"][name] for name in needed} == needed
    assert {"openssh-client", "git", "rsync", "dumb-init"} <= set(contents["debian"])


def test_what_python_has_beside_the_lock_came_from_the_distribution(image: str) -> None:
    own = inside(image, "python3", "-c", OF_PIP).split()
    assert sorted(own) == sorted(name for name in locked() if name in own)
    assert len(own) > 30


# The distributions that pip installed; the distribution's own are below /usr/lib.
OF_PIP = """
from importlib.metadata import distributions
print(*{each.metadata["Name"].lower().replace("_", "-") for each in distributions() if str(each.locate_file("")).startswith("/usr/local/")})
"""


@pytest.mark.parametrize("user", ["", ARBITRARY])
def test_it_runs_without_root_as_any_user_of_group_0(image: str, user: str) -> None:
    options = ("--user", user) if user else ()
    said = inside(
        image,
        "sh",
        "-c",
        "id -u; id -g; echo $HOME; touch /runner/x ~/y && ! sudo -n true 2>/dev/null && ansible --version",
        options=options,
    )
    number, group, home, *rest = said.splitlines()
    assert (number, group) == (user.partition(":")[0] or "1000", "0")
    assert home == ("/runner" if user else home)
    assert rest[0] == f"ansible [core {locked()['ansible-core']}]"


def test_it_has_no_compiler_and_no_lists_of_packages(image: str) -> None:
    said = inside(
        image, "sh", "-c", "command -v gcc cc make; cd /var/lib/apt/lists; ls *Packages* /runner /tmp 2>/dev/null; true"
    )
    assert [line for line in said.splitlines() if line and not line.endswith(":")] == []


def test_a_second_build_builds_nothing(image: str) -> None:
    made = shell.podman("image", "inspect", "--format", "{{.Id}} {{.Created}}", image).stdout
    began = time.monotonic()
    assert ee.ensure() == image
    assert time.monotonic() - began < 10
    assert shell.podman("image", "inspect", "--format", "{{.Id}} {{.Created}}", image).stdout == made


def test_ansible_navigator_deploys_in_it(image: str, operator: Operator, tmp_path: Path) -> None:
    place = Workplace(operator.fleet, tmp_path / "slipway")
    place.check_out()
    shop = operator.application("navigator", [HOST])
    shop.make("one")
    shown = [operator.state, operator.fleet.clone.state]
    options = [
        "--network=host",
        *(f"{name}={value}" for name, value in zip(ee.limits()[::2], ee.limits()[1::2], strict=True)),
    ]
    words = [
        *(
            "run",
            "deploy.yml",
            "--mode",
            "stdout",
            "--execution-environment",
            "true",
            "--execution-environment-image",
            image,
        ),
        *("--container-engine", "podman", "--pull-policy", "never", "--playbook-artifact-enable", "false"),
        *("--log-file", str(tmp_path / "navigator.log")),
        *(f"--container-options={option}" for option in options),
        *(word for path in shown for word in ("--execution-environment-volume-mounts", f"{path}:{path}")),
        *("-l", HOST, "-e", f"@{shop.variables}", "-e", f"slipway_state_directory={operator.state}"),
    ]
    # It asks for this directory where podman is used; a machine without message queues has none.
    shell.run(["mkdir", "-p", "/dev/mqueue"], root=True)
    navigator = Path(sys.executable).with_name("ansible-navigator")
    done = subprocess.run(
        [str(navigator), *words], cwd=place.root, env=place.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{HOST}  confirmed  one" in done.stdout
    assert shop.active(HOST) == "one"
    assert ssh.private_key(operator.fleet.clone).read_text().splitlines()[1] not in done.stdout
