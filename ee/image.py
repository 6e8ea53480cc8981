# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the execution environment with ansible-builder and podman, once for what goes into it.

The tag carries a digest of that: the definition, the locked packages, the base image, and what builds it. EE_BASE_IMAGE names the base; without
it the lab's own image of Debian or Ubuntu is the base, for which no registry is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shlex
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lab import hosts, image, preflight, shell
from lab.console import step
from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "localhost/slipway-ee"
INPUTS = (
    "execution-environment.yml",
    "requirements/execution-environment.lock",
    "requirements/builder.lock",
    "ee/contents.py",
    "ee/image.py",
)
CONTENTS = "/usr/share/slipway/contents.json"
BUILD_GIB = 3
LIMIT_BYTES = 600_000_000
# Where this machine's certificate authorities and pip's cache are while the image is built.
AUTHORITIES, CACHE = "/run/pip/authorities.crt", "/run/pip/cache"
CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def digest(base: str, files: Iterable[bytes]) -> str:
    """Return twelve hex digits that change whenever what goes into the image changes; ``base`` is the base image's id."""
    found = hashlib.sha256(base.encode())
    for content in files:
        found.update(b"\0" + hashlib.sha256(content).digest())
    return found.hexdigest()[:12]


def base_image() -> str:
    """Return the name of the base image, made or fetched if it is not there."""
    named = os.environ.get("EE_BASE_IMAGE")
    if not named:
        return image.ensure(image.default_distribution())
    if not image.exists(named):
        with step(f"pulling {named}"):
            shell.podman("pull", "--quiet", named, timeout=1800)
    return named


def tag(base: str) -> str:
    """Return the name of the image that is built from this base image."""
    identity = shell.podman("image", "inspect", "--format", "{{.Id}}", base).stdout.strip()
    return f"{REPOSITORY}:{digest(identity, [(ROOT / name).read_bytes() for name in INPUTS])}"


def ensure() -> str:
    """Build the image unless it is there, and return its name."""
    preflight.install(preflight.missing_for_hosts())
    preflight.require_root()
    base = base_image()
    name = tag(base)
    if image.exists(name):
        return name
    directory = image.cache()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "ee.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone may be building the same one
        if not image.exists(name):
            preflight.require_space(Path("/var/lib/containers"), BUILD_GIB)
            with step(f"building {name} on {base}"):
                build(name, base, directory / "pip")
        require_small(name)
    return name


def build(name: str, base: str, cache: Path) -> None:
    """Run ansible-builder; pip takes and keeps its downloads in ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    arguments = {"EE_BASE_IMAGE": base, "PIP_CACHE_DIR": CACHE}
    options = ["--network", "host", "--volume", f"{cache}:{CACHE}", *limits()]
    if authorities := next((os.environ[each] for each in CERTIFICATES if os.environ.get(each)), None):
        arguments["PIP_CERT"] = AUTHORITIES
        options += ["--volume", f"{authorities}:{AUTHORITIES}:ro"]
    if index := os.environ.get("PIP_INDEX_URL"):
        arguments["PIP_INDEX_URL"] = index
    with tempfile.TemporaryDirectory(prefix="slipway-ee-") as context:
        words = [
            "--file",
            "execution-environment.yml",
            "--context",
            context,
            "--tag",
            name,
            "--container-runtime",
            "podman",
        ]
        words += [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        words += [f"--extra-build-cli-args={shlex.join(options)}", "--verbosity", "3"]
        builder = Path(sys.executable).with_name("ansible-builder")
        shell.run(["env", "-C", str(ROOT), str(builder), "build", *words], root=True, timeout=1800)


def limits() -> list[str]:
    """Return podman's options for fixed limits: its defaults may be above what this machine allows."""
    files, processes = hosts.limit(resource.RLIMIT_NOFILE, hosts.OPEN_FILES), hosts.limit(resource.RLIMIT_NPROC, 4096)
    return ["--ulimit", f"nofile={files}", "--ulimit", f"nproc={processes}"]


def size(name: str) -> int:
    """Return how large the image is, in bytes, with its base."""
    return int(shell.podman("image", "inspect", "--format", "{{.Size}}", name).stdout)


def require_small(name: str) -> None:
    """Refuse an image that grew beyond what a node should have to pull."""
    found = size(name)
    if found >= LIMIT_BYTES:
        raise LabError(
            expected=f"an execution environment under {LIMIT_BYTES // 10**6} MB",
            found=f"{found // 10**6} MB",
            remedy="See with `make execution-environment-contents` what came in, or choose a smaller EE_BASE_IMAGE.",
        )


def contents(name: str) -> dict[str, dict[str, str]]:
    """Return what the image says that it has: {"debian": {package: version}, "python": {package: version}}."""
    words = ["run", "--rm", "--network", "none", *limits(), "--entrypoint", "/bin/cat", name, CONTENTS]
    found: dict[str, dict[str, str]] = json.loads(shell.podman(*words).stdout)
    return found
