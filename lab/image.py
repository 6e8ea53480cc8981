# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts' image: bootstrapped from the machine's own package archive, no container registry involved.

The tag carries a digest of the recipe, so a changed recipe makes a new image. The bootstrapped tar is kept in the
user's cache directory, where every clone on the machine finds it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import preflight, shell
from .console import step
from .errors import LabError

REPOSITORY = "localhost/slipway-lab"
RECIPE = Path(__file__).parent / "recipe"
# What every host gets later anyway is here, since it costs minutes on each. Prometheus and Alertmanager are for one host, and roles bring them.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "haproxy",
    "iproute2",
    "nginx",
    "openssh-server",
    "procps",
    "prometheus-node-exporter",
    "python3",
    "python3-aiohttp",
    "python3-apt",
    "python3-cryptography",
    "rsync",
    "strace",
    "sudo",
    "systemd",
    "systemd-sysv",
)
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
FAMILY = {"bookworm": "debian", "trixie": "debian", "noble": "ubuntu"}
DEFAULT = {"debian": "bookworm", "ubuntu": "noble"}
KEYRING_PACKAGE = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}
# Whose archive brings the other family's keyring (Debian 12 has none for Ubuntu, but trusts Debian 13).
KEYRING_FROM = {"debian": "noble", "ubuntu": "trixie"}
KEYRINGS = {
    family: [Path(f"/usr/share/keyrings/{family}-archive-keyring.{ending}") for ending in ("gpg", "pgp")]
    for family in DEFAULT
}
# Only where the machine is of the other family and so has no archive of this one configured.
PUBLIC_ARCHIVE = {
    "debian": ("http://deb.debian.org/debian", "main"),
    "ubuntu": ("http://archive.ubuntu.com/ubuntu", "main universe"),
}
KEPT_TARS = 3


def recipe_digest(distribution: str, machine: str, files: Iterable[bytes]) -> str:
    """Return twelve hex digits that change whenever what goes into the image changes."""
    digest = hashlib.sha256("\n".join([distribution, machine, *PACKAGES, *LEFT_OUT]).encode())
    for content in files:
        digest.update(b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]


def tag(distribution: str) -> str:
    """Return the image's full name for this recipe."""
    files = [path.read_bytes() for path in sorted(RECIPE.iterdir()) if path.is_file()]
    return f"{REPOSITORY}:{distribution}-{recipe_digest(distribution, platform.machine(), files)}"


def cache() -> Path:
    """Return the directory of bootstrapped tars."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway"


def default_distribution() -> str:
    """Return SLIPWAY_LAB_DISTRIBUTION, or the one that suits this machine."""
    chosen = os.environ.get("SLIPWAY_LAB_DISTRIBUTION") or DEFAULT.get(preflight.system().family, "bookworm")
    return check_distribution(chosen)


def check_distribution(name: str) -> str:
    """Return the name if the lab has a recipe for it."""
    if name not in FAMILY:
        raise LabError(
            expected="one of the distributions " + ", ".join(FAMILY),
            found=repr(name),
            remedy="Correct --distribution or SLIPWAY_LAB_DISTRIBUTION.",
        )
    return name


def exists(image: str) -> bool:
    """Tell whether podman has the image."""
    return shell.podman("image", "exists", image, check=False).returncode == 0


def ensure(distribution: str) -> str:
    """Make the image unless it is there, and return its name. A tar in the cache saves the bootstrap."""
    image = tag(distribution)
    if exists(image):
        return image
    directory = cache()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{distribution}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone may be making the same one
        if exists(image):
            return image
        preflight.require_space(Path("/var/lib/containers"), preflight.BUILD_GIB)
        tar = directory / (image.rpartition(":")[2] + ".tar")
        if not tar.exists():
            preflight.require_space(directory, 1)
            bootstrap(distribution, tar)
        os.utime(tar)
        with step(f"importing the image {image}"):
            shell.podman("import", "-q", str(tar), image, timeout=600)
        drop_old_tars(directory)
    return image


def bootstrap(distribution: str, tar: Path) -> None:
    """Make the root file system of a host as a tar archive; the file appears whole or not at all."""
    preflight.install(preflight.missing(preflight.IMAGE_TOOLS, shell.which))
    options = [
        "--variant=minbase",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        "--dpkgopt=force-unsafe-io",
        f"--include={','.join(PACKAGES)}",
        f"--customize-hook={RECIPE / 'setup'}",
    ]
    scratch = tar.with_suffix(f".{os.getpid()}.partial")
    try:
        title = f"bootstrapping {distribution} from the package archive"
        with keyring(FAMILY[distribution]) as signed_by, step(title):
            mmdebstrap(distribution, signed_by, options, scratch)
        scratch.replace(tar)
    finally:
        scratch.unlink(missing_ok=True)


def mmdebstrap(distribution: str, signed_by: Path, options: Iterable[str], tar: Path) -> None:
    """Run mmdebstrap against the distribution's archive, reached the way that this machine's apt reaches its own."""
    reach = apt_options(shell.run(["apt-config", "dump"], check=False).stdout)
    lines = [f"deb [signed-by={signed_by}] {source}" for source in sources(distribution)]
    words = [*(f"--aptopt={option}" for option in reach), *options, "--format=tar", distribution, "-", *lines]
    with tar.open("wb") as output:
        # /tmp may be mounted nodev, which mmdebstrap refuses.
        shell.run(["env", "TMPDIR=/var/tmp", "mmdebstrap", *words], root=True, stdout=output, timeout=1800)


@contextmanager
def keyring(family: str) -> Iterator[Path]:
    """Find the keys of a family's archive: installed here, or for the block's time from this machine's own archive."""
    if not installed_keyring(family) and family == preflight.system().family:
        preflight.install([KEYRING_PACKAGE[family]])
    found = installed_keyring(family)
    if found:
        yield found
        return
    with tempfile.TemporaryDirectory(prefix="slipway-keyring-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)  # apt reads keys as a user of its own
        yield extract_keyring(family, Path(directory))


def installed_keyring(family: str) -> Path | None:
    """Return the installed keyring of a family's archive."""
    return next((path for path in KEYRINGS[family] if path.exists()), None)


def extract_keyring(family: str, directory: Path) -> Path:
    """Take a family's keyring out of its package in the other family's archive, whose keys vouch for it."""
    package, distribution = KEYRING_PACKAGE[family], KEYRING_FROM[family]
    tar, found = directory / "package.tar", directory / f"{family}.gpg"
    with step(f"fetching {package} of {distribution}"), keyring(FAMILY[distribution]) as signed_by:
        mmdebstrap(distribution, signed_by, ["--variant=extract", f"--include={package}"], tar)
    with tarfile.open(tar) as archive:
        names = {Path("/") / member.name: member for member in archive if member.isfile()}
        member = next((names[path] for path in KEYRINGS[family] if path in names), None)
        content = archive.extractfile(member) if member else None
        if not content:
            raise LabError(
                expected=f"the keyring of {family} in the package {package} of {distribution}",
                found="none of " + " or ".join(str(path) for path in KEYRINGS[family]),
                remedy=f"Choose --distribution {default_distribution()}.",
            )
        found.write_bytes(content.read())
    found.chmod(0o644)
    return found


def sources(distribution: str) -> list[str]:
    """Return `URI suite components` for each part of the archive, from this machine's own apt configuration."""
    found = preflight.system()
    query = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(COMPONENT)",
        "Identifier: Packages",
    ]
    for attempt in range(2):
        lines = shell.run(query, check=False).stdout.splitlines()
        usable = archive_sources(lines, found.codename, distribution)
        if usable or attempt or FAMILY[distribution] != found.family:  # no list of ours has the other family's archive
            break
        with step("reading the package lists"):
            preflight.refresh_package_lists()
    if usable:
        return [source_without_mirror_list(source) for source in usable]
    uri, components = PUBLIC_ARCHIVE[FAMILY[distribution]]
    return [f"{uri} {distribution} {components}"]


def archive_sources(targets: Iterable[str], codename: str, distribution: str) -> list[str]:
    """Choose from apt's index targets (`uri|suite|origin|component`) those of the distribution's own archive.

    The machine's suites (also by the alias "stable") become those of `distribution`; third parties' archives and
    suites such as backports are left out.
    """
    origin = FAMILY[distribution]
    components: dict[tuple[str, str], list[str]] = {}
    for line in targets:
        uri, suite, found_origin, component = line.split("|")
        match = re.fullmatch(rf"({re.escape(codename)}|stable)(|-updates|-security)", suite)
        if found_origin.lower() == origin and match and component in ("main", "universe"):
            components.setdefault((uri, distribution + match[2]), []).append(component)
    if not any(suite == distribution for _, suite in components):
        return []
    return [f"{uri} {suite} {' '.join(dict.fromkeys(names))}" for (uri, suite), names in components.items()]


def source_without_mirror_list(source: str) -> str:
    """Replace `mirror+file:/path` (cloud images have it) by the first address in that file."""
    uri, rest = source.split(" ", 1)
    if not uri.startswith("mirror+file:"):
        return source
    lines = Path("/" + uri.removeprefix("mirror+file:").strip("/")).read_text(encoding="utf-8").splitlines()
    return f"{next(line for line in lines if line.strip() and not line.startswith('#')).split()[0]} {rest}"


def apt_options(dump: str) -> list[str]:
    """Return those lines of `apt-config dump` that say how to reach the archive: proxies, certificates, retries."""
    wanted = re.compile(r'Acquire::((http|https)(::.*)?|Retries|Check-Valid-Until|Check-Date) ".+";')
    return [line for line in dump.splitlines() if wanted.fullmatch(line)]


def drop_old_tars(directory: Path) -> None:
    """Keep the few tars that were used last; a recipe changes seldom."""
    tars = sorted(directory.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in tars[KEPT_TARS:]:
        path.unlink(missing_ok=True)


def remove_unused(images: Sequence[str] | None = None) -> list[str]:
    """Remove the lab's images that no container of any clone uses, and return their names."""
    names = (
        images
        if images is not None
        else shell.podman("images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY).stdout.split()
    )
    return [name for name in names if shell.podman("rmi", name, check=False).returncode == 0]
