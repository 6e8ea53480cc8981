# SPDX-License-Identifier: GPL-3.0-or-later
"""SBOMs: what is read from lock files, and that what is written is CycloneDX."""

from __future__ import annotations

import json
from pathlib import Path

import cyclonedx.schema
import jsonschema
import pytest
import referencing
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import sbom
from ansible.module_utils.slipway.controller.sbom import Component, Subject

REPOSITORY = Path(__file__).parents[3]
SCHEMAS = Path(cyclonedx.schema.__file__).parent / "_res"
SUBJECT = Subject("hello", "1.0.0", "2026-11-18T11:06:40Z", "a" * 64)
LOCK = f"""#
# made by pip-compile
--index-url https://packages.example/hush/simple
requests[socks]==2.32.3 ; python_version >= "3.11" \\
    --hash=sha256:{"1" * 64} \\
    --hash=sha256:{"2" * 64}
    # via -r requirements.in
Typing_Extensions==4.12.2  # a comment
local===1.0+x.1
"""


def components(text):
    return sbom.read_locks({"requirements.txt": text.encode()})


def problems(text):
    with pytest.raises(Refusal) as refusal:
        components(text)
    assert refusal.value.reason == "requirements_invalid"
    return refusal.value.found


def require_valid(data):
    """Against the schema that CycloneDX publishes."""
    loaded = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.schema.json") if "cryptography" not in path.name]
    registry = referencing.Registry().with_contents(
        [(schema["$id"], schema) for schema in loaded],
        default_specification=referencing.jsonschema.DRAFT7,
    )
    schema = json.loads((SCHEMAS / "bom-1.6.SNAPSHOT.schema.json").read_text())
    jsonschema.Draft7Validator(schema, registry=registry).validate(json.loads(data))


def test_a_lock_file_is_read_with_its_hashes():
    assert components(LOCK) == (
        Component("local", "1.0+x.1"),
        Component("requests", "2.32.3", ("1" * 64, "2" * 64)),
        Component("typing-extensions", "4.12.2"),
    )


def test_this_projects_own_lock_is_read_whole():
    data = (REPOSITORY / "requirements/controller.lock").read_bytes()
    found = sbom.read_locks({"controller.lock": data})
    assert len(found) == sum(b"==" in line and not line.startswith(b"#") for line in data.splitlines())
    assert all(component.hashes for component in found)


def test_several_locks_are_one_and_a_package_is_there_once():
    found = sbom.read_locks({"a": b"x==1\ny==1\n", "b": f"x==1 --hash=sha256:{'3' * 64}\ny==2\n".encode()})
    assert [(each.purl, len(each.hashes)) for each in found] == [
        ("pkg:pypi/x@1", 1),
        ("pkg:pypi/y@1", 0),
        ("pkg:pypi/y@2", 0),
    ]
    assert sbom.read_locks({}) == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("requests", "requests without one exact version"),
        ("requests>=2", "requests without one exact version"),
        ("requests==2.*", "requests without one exact version"),
        ("requests==2,!=2.1", "requests without one exact version"),
        ("x @ https://packages.example/x.whl", "x without one exact version"),
        ("-r other.txt", "'-r', which names"),
        ("-rother.txt", "'-rother.txt', which names"),
        ("--requirement other.txt", "'--requirement', which names"),
        ("-e .", "'-e', which names"),
        ("--constraint=c.txt", "'--constraint=c.txt', which names"),
        ("./x.whl", "no requirement"),
        ("no such thing", "no requirement"),
    ],
)
def test_what_is_no_lock_is_refused_with_its_line(line, problem):
    assert problems(f"# first\n{line}\n") == f"requirements.txt:2: {problem}" + (
        " what is not in this file" if "which names" in problem else ""
    )


def test_a_last_line_that_would_go_on_is_read():
    assert components("x==1 \\") == (Component("x", "1"),)


def test_every_line_that_is_wrong_is_named_at_once():
    with pytest.raises(Refusal) as refusal:
        sbom.read_locks({"a": b"x\ny==1\nz\n", "b": b"\xff"})
    assert refusal.value.found.split("; ") == [
        "a:1: x without one exact version",
        "a:3: z without one exact version",
        "b: no UTF-8 at byte 0",
    ]


def test_an_sbom_is_valid_cyclonedx_and_names_the_application():
    data = sbom.write(SUBJECT, components(LOCK))
    require_valid(data)
    document = json.loads(data)
    assert document["specVersion"] == "1.6"
    assert document["metadata"]["component"] == {
        "bom-ref": "hello", "name": "hello", "type": "application", "version": "1.0.0",
    }  # fmt: skip
    assert document["components"][0]["purl"] == "pkg:pypi/local@1.0%2Bx.1"
    assert "hush" not in data.decode()


def test_an_sbom_without_components_or_version_is_valid():
    data = sbom.write(Subject("hello", None, SUBJECT.created, "b" * 64), ())
    require_valid(data)
    assert json.loads(data)["components"] == []
    assert "version" not in json.loads(data)["metadata"]["component"]


def test_the_test_would_notice_an_sbom_that_is_not_valid():
    document = json.loads(sbom.write(SUBJECT, components(LOCK)))
    document["components"][0]["type"] = "thing"
    with pytest.raises(jsonschema.ValidationError):
        require_valid(json.dumps(document))


def test_an_sbom_of_the_same_has_the_same_bytes_and_of_another_another_serial_number():
    assert sbom.write(SUBJECT, components(LOCK)) == sbom.write(SUBJECT, components(LOCK))
    other = sbom.write(Subject("hello", "1.0.0", SUBJECT.created, "c" * 64), components(LOCK))
    assert json.loads(other)["serialNumber"] != json.loads(sbom.write(SUBJECT, ()))["serialNumber"]


def test_an_sbom_that_was_made_elsewhere_is_counted():
    assert sbom.count(b'{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{}, {}]}') == 2
    assert sbom.count(b'{"bomFormat": "CycloneDX", "specVersion": "1.6"}') == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'{"spdxVersion": "SPDX-2.3"}',
        b'{"bomFormat": "CycloneDX"}',
        b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": {}}',
        b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [1]}',
    ],
)
def test_what_is_no_cyclonedx_is_refused(data):
    with pytest.raises(Refusal, match="sbom_invalid"):
        sbom.count(data)
