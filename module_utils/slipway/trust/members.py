# SPDX-License-Identifier: GPL-3.0-or-later
"""The members that a release declares: files that must or may be there, and what must be true of them.

A member is {path, required, format: json|yaml|toml|none, schema?, version_key?, kind?, version?}: `schema` is a JSON Schema
(2020-12) for the parsed file, `version_key` the dotted name of the value in it that must equal the manifest's version,
`kind` what it is promoted as (configs, models, notebooks, …). The controller checks all of that; a host checks what its
standard library can read.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..base.fields import NAME, ONE_LINE, VERSION, Fields

FORMATS: Final = ("json", "yaml", "toml", "none")
HOST_CHECKS: Final = frozenset({"json", "toml"})
CONTROLLER_CHECKS: Final = HOST_CHECKS | {"yaml", "schema"}
MAX_MEMBER_BYTES: Final = 16 << 20

Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Member:
    """A declared file of a release; `path` is relative to its root."""

    path: str
    required: bool = True
    format: str = "none"
    schema: Mapping[str, Any] | None = None
    version_key: str | None = None
    kind: str | None = None
    version: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the member as it stands in the manifest."""
        value: dict[str, Any] = {"format": self.format, "path": self.path, "required": self.required}
        if self.schema is not None:
            value["schema"] = dict(self.schema)
        if self.version_key is not None:
            value["version_key"] = self.version_key
        if self.kind is not None:
            value["kind"] = self.kind
        if self.version is not None:
            value["version"] = self.version
        return value


@dataclass
class Findings:
    """What looking at the members found: sentences for all that is wrong, and the versions they state, by path."""

    problems: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def read_members(items: Iterable[Fields]) -> tuple[Member, ...]:
    """Read the declarations from a manifest or descriptor, sorted as given, each path once."""
    members: list[Member] = []
    for item in items:
        member = _member(item)
        if any(member.path == other.path for other in members):
            raise item.refusal("path", "each path once", member.path)
        members.append(member)
    return tuple(members)


def _member(item: Fields) -> Member:
    form = item.choice("format", *FORMATS)
    member = Member(
        path=item.text("path", ONE_LINE),
        required=item.boolean("required"),
        format=form,
        schema=_schema(item) if "schema" in item else None,
        version_key=item.text("version_key", ONE_LINE) if "version_key" in item else None,
        kind=item.text("kind", NAME) if "kind" in item else None,
        version=item.text("version", VERSION) if "version" in item else None,
    )
    if member.version is not None and (member.kind is None or member.version_key is not None):
        raise item.refusal("version", "it only with a kind, and where no version_key says the version", member.version)
    if form == "none" and (member.schema is not None or member.version_key is not None):
        raise item.refusal("format", "json, yaml or toml where there is a schema or version_key", form)
    item.end()
    return member


def _schema(item: Fields) -> dict[str, Any]:
    schema = item.take("schema")
    if not isinstance(schema, dict):
        raise item.refusal("schema", "a JSON Schema as an object", schema)
    return schema


def inspect(members: Sequence[Member], read: Read, checks: AbstractSet[str]) -> Findings:
    """Look at every member and return all that was found.

    `read` returns the bytes of a file of the release; for one that is not there it returns None or raises the OSError
    of that. `checks` says what can be done here: HOST_CHECKS or CONTROLLER_CHECKS; presence is checked everywhere.
    """
    findings = Findings()
    for member in members:
        data = _read_if_there(read, member.path)
        if data is None:
            if member.required:
                findings.problems.append(f"{member.path} is missing")
            continue
        if member.format in checks:
            _inspect_content(member, data, checks, findings)
    return findings


def _read_if_there(read: Read, path: str) -> bytes | None:
    try:
        return read(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def reader(
    members: Iterable[Member], checks: AbstractSet[str], present: Container[str], read: Callable[[str], bytes]
) -> Read:
    """A `Read` that opens only what is parsed here: a model of gigabytes need not be read to be there."""
    parsed = {member.path for member in members if member.format in checks}
    return lambda path: None if path not in present else read(path) if path in parsed else b""


def check(members: Sequence[Member], read: Read, version: str, checks: AbstractSet[str]) -> None:
    """Raise one Refusal that names every problem, a version that differs from the manifest's included."""
    require_sound(inspect(members, read, checks), version)


def require_sound(findings: Findings, version: str) -> None:
    """Raise Refusal("members_invalid") when something is wrong, or when a file states another version."""
    others = {path: found for path, found in findings.versions.items() if found != version}
    stated = [f"{path} says version {shown(found)}, not {shown(version)}" for path, found in others.items()]
    problems = [*findings.problems, *stated]
    if problems:
        raise Refusal(
            "members_invalid",
            expected="every required member of the release, each in its format",
            found="; ".join(problems),
            remedy="Correct these files, or their declaration in slipway.yml, and build the release again.",
        )


def _inspect_content(member: Member, data: bytes, checks: AbstractSet[str], findings: Findings) -> None:
    try:
        value = _PARSERS[member.format](data)
    except (ValueError, RecursionError) as error:
        findings.problems.append(f"{member.path} is no {member.format}: {' '.join(str(error).split())}")
        return
    if member.schema is not None and "schema" in checks:
        findings.problems.extend(f"{member.path}: {problem}" for problem in _violations(member.schema, value))
    if member.version_key is not None:
        version = _value_at(value, member.version_key)
        if isinstance(version, str):
            findings.versions[member.path] = version
        else:
            findings.problems.append(
                f"{member.path}: {member.version_key} must be a string with the version, found {shown(version)}"
            )


def _value_at(value: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")


def _parse_json(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)


def _parse_toml(data: bytes) -> Any:
    return tomllib.loads(data.decode("utf-8"))


def _parse_yaml(data: bytes) -> Any:
    import yaml

    try:
        return yaml.load(data.decode("utf-8"), Loader=_once_loader())  # noqa: S506  it is a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _once_loader() -> Any:
    """A YAML loader that refuses what PyYAML lets pass: the same key twice in one mapping."""
    import yaml

    class OnceLoader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
            if len(set(keys)) != len(keys):
                raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
            return super().construct_mapping(node, deep=deep)

    return OnceLoader


_PARSERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "json": _parse_json,
    "toml": _parse_toml,
    "yaml": _parse_yaml,
}


def parse_yaml(data: bytes) -> Any:
    """Return the one YAML document in `data`, keys unique; ValueError says what is wrong. Controller only."""
    return _parse_yaml(data)


def _violations(schema: Mapping[str, Any], value: Any) -> list[str]:
    import jsonschema
    import referencing
    import referencing.exceptions

    # An explicit registry: by default jsonschema fetches a remote $ref over the network.
    validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    except referencing.exceptions.Unresolvable as error:
        return [f"its schema refers to {error.ref}, which is not in it"]
    except RecursionError:
        return ["its schema refers to itself without end"]
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


def require_valid_schemas(members: Iterable[Member]) -> None:
    """Refuse a declaration whose schema is itself no JSON Schema. Controller only."""
    import jsonschema

    for member in members:
        try:
            if member.schema is not None:
                jsonschema.Draft202012Validator.check_schema(member.schema)
        except jsonschema.SchemaError as error:
            raise Refusal(
                "member_schema_invalid",
                expected=f"a JSON Schema (2020-12) for {member.path}",
                found=f"{error.json_path}: {error.message}",
                remedy="Correct the schema in slipway.yml.",
            ) from None
