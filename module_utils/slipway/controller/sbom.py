# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application is made of: a CycloneDX 1.6 SBOM, from locked Python requirements or made elsewhere.

A lock file is one that pip installs with --require-hashes or without, such as pip-compile and uv write: each requirement
pinned to one version, with `--hash` options or none. An SBOM of the same requirements at the same time has the same bytes.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .. import __version__
from ..base.errors import Refusal, shown

SPEC_VERSION: Final = "1.6"
MAX_LOCK_BYTES: Final = 16 << 20
MAX_SBOM_BYTES: Final = 64 << 20

_HASH: Final = re.compile(r"\s--hash[= ]sha256:([0-9a-f]{64})(?=\s|\Z)")
_COMMENT: Final = re.compile(r"(\A|\s)#.*\Z")
# Options of pip that name further requirements; all others say from where, which an SBOM does not need.
_FURTHER: Final = re.compile(r"-[rce]|--(requirement|constraint|editable)\b")
_NAMESPACE: Final = uuid.UUID("8a0a6d2e-5c0b-5d0e-9a54-1d8c5f0f7c11")


@dataclass(frozen=True)
class Component:
    """A Python package at a version; `hashes` are the sha256 of the files that the lock admits."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{quote(self.version, safe='')}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as CycloneDX has it."""
        value: dict[str, Any] = {
            "bom-ref": self.purl,
            "name": self.name,
            "purl": self.purl,
            "type": "library",
            "version": self.version,
        }
        if self.hashes:
            value["externalReferences"] = [
                {"hashes": [{"alg": "SHA-256", "content": each}], "type": "distribution", "url": self.purl}
                for each in self.hashes
            ]
        return value


@dataclass(frozen=True)
class Subject:
    """The application that the SBOM is of; `created` is RFC 3339, `tree_digest` the sha256 of its file list."""

    application: str
    version: str | None
    created: str
    tree_digest: str


@dataclass
class _Findings:
    components: dict[str, Component] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_locks(locks: Mapping[str, bytes]) -> tuple[Component, ...]:
    """Return the components of lock files, by path, sorted by package URL; Refusal names every line that is no lock."""
    findings = _Findings()
    for path, data in locks.items():
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            findings.problems.append(f"{path}: no UTF-8 at byte {error.start}")
            continue
        for number, line in _logical_lines(text):
            _read_line(f"{path}:{number}", line, findings)
    if findings.problems:
        raise Refusal(
            "requirements_invalid",
            expected="lock files, with one exact version for each requirement",
            found="; ".join(findings.problems),
            remedy="Lock the requirements (pip-compile, uv pip compile), and name each lock file in slipway.yml.",
        )
    return tuple(findings.components[purl] for purl in sorted(findings.components))


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Each line that says something, with its number; lines that end with a backslash are joined."""
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        whole = _COMMENT.sub("", joined + line).strip()
        if whole:
            yield first, whole
        joined, first = "", 0
    if joined.strip():
        yield first, _COMMENT.sub("", joined).strip()


def _read_line(where: str, line: str, findings: _Findings) -> None:
    if line.startswith("-"):
        if _FURTHER.match(line):
            findings.problems.append(
                f"{where}: {shown(line.split(maxsplit=1)[0])}, which names what is not in this file"
            )
        return
    hashes = tuple(_HASH.findall(line))
    try:
        requirement = Requirement(re.split(r"\s--", line, maxsplit=1)[0].strip())
    except InvalidRequirement:
        findings.problems.append(f"{where}: no requirement")
        return
    pins = [each.version for each in requirement.specifier if each.operator in ("==", "===")]
    if len(pins) != 1 or len(requirement.specifier) != 1 or pins[0].endswith(".*"):
        findings.problems.append(f"{where}: {requirement.name} without one exact version")
        return
    component = Component(canonicalize_name(requirement.name), pins[0])
    known = findings.components.get(component.purl, component)
    findings.components[component.purl] = Component(
        component.name, component.version, tuple(sorted({*known.hashes, *hashes}))
    )


def write(subject: Subject, components: Iterable[Component]) -> bytes:
    """Return the SBOM as JSON text."""
    application = {"bom-ref": subject.application, "name": subject.application, "type": "application"}
    if subject.version is not None:
        application["version"] = subject.version
    name = f"{subject.application} {subject.version} {subject.tree_digest} {subject.created}"
    document = {
        "bomFormat": "CycloneDX",
        "components": [component.as_dict() for component in components],
        "metadata": {
            "component": application,
            "timestamp": subject.created,
            "tools": {"components": [{"name": "slipway", "type": "application", "version": __version__}]},
        },
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, name)}",
        "specVersion": SPEC_VERSION,
        "version": 1,
    }
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def count(data: bytes) -> int:
    """Return how many components an SBOM that was made elsewhere has, or raise Refusal("sbom_invalid")."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _invalid("JSON", " ".join(str(error).split())) from None
    if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
        raise _invalid('an object with bomFormat "CycloneDX"', shown(document))
    if not isinstance(document.get("specVersion"), str):
        raise _invalid("a specVersion", shown(document.get("specVersion")))
    components = document.get("components", [])
    if not isinstance(components, list) or not all(isinstance(each, dict) for each in components):
        raise _invalid("components as a list of objects", shown(components))
    return len(components)


def _invalid(expected: str, found: str) -> Refusal:
    return Refusal(
        "sbom_invalid",
        expected=f"a CycloneDX SBOM: {expected}",
        found=found,
        remedy="Make the SBOM again with a tool that writes CycloneDX as JSON.",
    )
