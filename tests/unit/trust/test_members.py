# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release declares about its files, and what is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.fields import Fields
from ansible.module_utils.slipway.trust import members
from ansible.module_utils.slipway.trust.members import CONTROLLER_CHECKS, HOST_CHECKS, Member

SCHEMA = {"type": "object", "properties": {"port": {"type": "integer", "maximum": 65535}}, "required": ["port"]}


def problems(member, files, checks=CONTROLLER_CHECKS):
    return members.inspect([member], files.get, checks).problems


def test_a_member_is_written_and_read_back():
    declared = Member("a.json", False, "json", {"type": "object"}, "model.version", "configs")
    assert members.read_members([Fields(declared.as_dict(), "a test", "bad")]) == (declared,)
    assert Member("a").as_dict() == {"path": "a", "required": True, "format": "none"}


@pytest.mark.parametrize(
    "changes",
    [
        {"path": ""},
        {"required": "yes"},
        {"format": "xml"},
        {"schema": {}},
        {"version_key": "version"},
        {"format": "json", "schema": True},
        {"format": "json", "version_key": 1},
        {"kind": "my models"},
        {"version": "v1"},
        {"kind": "models", "version": "v 1"},
        {"kind": "configs", "format": "json", "version_key": "version", "version": "v1"},
        {"mode": 1},
    ],
)
def test_a_member_of_another_shape_is_refused(changes):
    with pytest.raises(Refusal, match="bad"):
        members.read_members([Fields({**Member("a").as_dict(), **changes}, "a test", "bad")])


def test_a_member_is_declared_once():
    twice = [Fields(Member("a").as_dict(), "a test", "bad") for _ in range(2)]
    with pytest.raises(Refusal, match="each path once"):
        members.read_members(twice)


def test_a_missing_required_member_is_a_problem_and_an_optional_one_is_none():
    assert problems(Member("policy.pt"), {}) == ["policy.pt is missing"]
    assert problems(Member("policy.pt", required=False), {}) == []
    assert problems(Member("policy.pt"), {"policy.pt": b""}) == []


@pytest.mark.parametrize("error", [FileNotFoundError, IsADirectoryError, NotADirectoryError])
def test_a_member_that_cannot_be_found_is_missing(error):
    def read(_path):
        raise error

    assert members.inspect([Member("a")], read, HOST_CHECKS).problems == ["a is missing"]


def test_another_failure_to_read_is_no_absence():
    def read(_path):
        raise PermissionError

    with pytest.raises(PermissionError):
        members.inspect([Member("a")], read, HOST_CHECKS)


SOUND = [("json", b'{"a": 1.5}'), ("yaml", b"a: 1.5\nb: [x]\n"), ("toml", b"a = 1.5\n"), ("none", b"\xff\x00")]


@pytest.mark.parametrize(("kind", "data"), SOUND)
def test_a_sound_member_is_no_problem(kind, data):
    assert problems(Member("m", format=kind), {"m": data}) == []


UNSOUND = {
    "cut JSON": ("json", b'{"a": '),
    "JSON with a member twice": ("json", b'{"a": 1, "a": 2}'),
    "JSON with NaN": ("json", b"[NaN]"),
    "JSON that is no UTF-8": ("json", b'"\xff"'),
    "JSON of great depth": ("json", b"[" * 100_000),
    "unparsable YAML": ("yaml", b"a: [1\n"),
    "YAML with a key twice": ("yaml", b"a: 1\nb: 2\na: 3\n"),
    "YAML with a key twice deep down": ("yaml", b"x:\n  - {a: 1, a: 2}\n"),
    "two YAML documents": ("yaml", b"a: 1\n---\nb: 2\n"),
    "YAML that would run code": ("yaml", b"!!python/object/apply:os.system [id]\n"),
    "YAML that is no UTF-8": ("yaml", b"a: \xff\n"),
    "unparsable TOML": ("toml", b"a = \n"),
    "TOML with a key twice": ("toml", b"a = 1\na = 2\n"),
}


@pytest.mark.parametrize(("kind", "data"), UNSOUND.values(), ids=UNSOUND.keys())
def test_an_unsound_member_is_a_problem(kind, data):
    found = problems(Member("m", format=kind), {"m": data})
    assert len(found) == 1
    assert found[0].startswith(f"m is no {kind}: ")
    assert "\n" not in found[0]


def test_yaml_merges_are_no_twins():
    data = b"base: &b {a: 1}\nx:\n  <<: *b\n  a: 2\n"
    assert problems(Member("m", format="yaml"), {"m": data}) == []


def test_what_violates_its_schema_is_a_problem_by_its_place():
    member = Member("c.yaml", format="yaml", schema=SCHEMA)
    assert problems(member, {"c.yaml": b"port: 8080\n"}) == []
    assert problems(member, {"c.yaml": b"port: 99999\n"}) == [
        "c.yaml: port: 99999 is greater than the maximum of 65535"
    ]
    assert problems(member, {"c.yaml": b"{}\n"}) == ["c.yaml: $: 'port' is a required property"]


def test_a_schema_is_never_fetched():
    member = Member("a.json", format="json", schema={"$ref": "http://127.0.0.1:9/schema.json"})
    assert problems(member, {"a.json": b"{}"}) == [
        "a.json: its schema refers to http://127.0.0.1:9/schema.json, which is not in it"
    ]


def test_a_schema_without_end_is_a_problem():
    member = Member("a.json", format="json", schema={"$ref": "#"})
    assert problems(member, {"a.json": b"{}"}) == ["a.json: its schema refers to itself without end"]


def test_a_host_leaves_yaml_and_schemas_to_the_controller():
    assert problems(Member("c.yaml", format="yaml"), {"c.yaml": b"a: ["}, HOST_CHECKS) == []
    assert problems(Member("c.json", format="json", schema=SCHEMA), {"c.json": b"{}"}, HOST_CHECKS) == []
    assert problems(Member("c.json", format="json"), {"c.json": b"{"}, HOST_CHECKS) != []


VERSIONED = Member("metadata.json", format="json", version_key="model.version")


def check(data, version="1.2.3", *others, checks=HOST_CHECKS):
    files = {"metadata.json": data}
    return members.check([VERSIONED, *others], files.get, version, checks)


def test_the_version_of_a_member_is_the_manifests():
    assert check(b'{"model": {"version": "1.2.3"}}') is None


def test_another_version_is_refused():
    with pytest.raises(Refusal, match=r"metadata\.json says version '1\.2\.4', not '1\.2\.3'"):
        check(b'{"model": {"version": "1.2.4"}}')


@pytest.mark.parametrize("data", [b"{}", b'{"model": "1.2.3"}', b'{"model": {"version": 1.2}}', b"[]", b"null"])
def test_a_version_that_is_no_string_is_refused(data):
    with pytest.raises(Refusal, match=r"members_invalid.*metadata\.json: model\.version must be a string"):
        check(data)


def test_all_problems_are_named_at_once():
    others = [Member("policy.pt"), Member("config.toml", format="toml")]
    with pytest.raises(Refusal) as refusal:
        check(b'{"model": {"version": "9"}}', "1.2.3", *others)
    assert refusal.value.found.split("; ") == [
        "policy.pt is missing",
        "config.toml is missing",
        "metadata.json says version '9', not '1.2.3'",
    ]


def test_a_schema_that_is_none_is_refused():
    sound = Member("a.json", format="json", schema=SCHEMA)
    assert members.require_valid_schemas([sound, Member("b")]) is None
    with pytest.raises(Refusal, match=r"member_schema_invalid: expected a JSON Schema \(2020-12\) for a\.json"):
        members.require_valid_schemas([Member("a.json", format="json", schema={"type": "text"})])


def test_a_host_needs_neither_pyyaml_nor_jsonschema():
    script = (
        "import sys; sys.modules['yaml'] = sys.modules['jsonschema'] = sys.modules['referencing'] = None\n"
        "sys.path.insert(0, 'module_utils')\n"
        "from slipway.trust.members import HOST_CHECKS, Member, check\n"
        "declared = [Member('a.yaml', format='yaml', schema={}), Member('b.toml', format='toml', version_key='v')]\n"
        "check(declared, {'a.yaml': b'[', 'b.toml': b'v = \"1\"'}.get, '1', HOST_CHECKS)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=True)


def test_only_what_is_parsed_here_is_read():
    declared = [Member("model.pt"), Member("metadata.json", format="json"), Member("gone.json", format="json")]
    asked = []
    read = members.reader(
        declared, members.HOST_CHECKS, {"model.pt", "metadata.json"}, lambda path: asked.append(path) or b"{}"
    )
    assert [read(member.path) for member in declared] == [b"", b"{}", None]
    assert asked == ["metadata.json"]
