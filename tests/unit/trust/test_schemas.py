# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schemas say what the code says: what one builds the other accepts, and both refuse the same documents."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jsonschema
import pytest
import signed
import test_approval
import test_authorization
import test_dsse
import test_manifest
import test_policy
import test_statement
import test_tree
from ansible.module_utils.slipway.controller import bundle
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust.members import Member

REPOSITORY = Path(__file__).parents[3]
SCHEMAS = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in REPOSITORY.glob("schemas/*")
}


def is_valid(name, document):
    return jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(document)


def test_there_is_a_schema_for_each_format():
    assert set(SCHEMAS) == {
        "envelope",
        "release-manifest",
        "file-list",
        "trust-policy",
        "approval",
        "rollback-authorization",
    }


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_itself_valid_and_named(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"] == f"https://slipway.dev/schemas/{name}.schema.json"
    assert SCHEMAS[name]["description"]


@pytest.mark.parametrize("example", ["hello", "model"])
def test_what_the_builder_makes_is_valid(tmp_path, example):
    catalogue = Catalogue(tmp_path)
    request = bundle.Request(REPOSITORY / "examples" / example, signed.BUILDER_KEY, signed.trust_policy(), signed.NOW)
    made = bundle.make(request, catalogue)
    envelope = json.loads(made.path.read_bytes())
    jsonschema.validate(envelope, SCHEMAS["envelope"])
    jsonschema.validate(json.loads(base64.b64decode(envelope["payload"])), SCHEMAS["release-manifest"])
    jsonschema.validate(json.loads(made.file_list.encode()), SCHEMAS["file-list"])


def test_a_full_manifest_is_valid():
    members = (Member("a.json", False, "json", {"type": "object"}, "version", "configs"), Member("b"))
    source = {"kind": "archive", "name": "a.tar", "git_commit": "c" * 64}
    jsonschema.validate(
        json.loads(
            signed.manifest_payload(
                members=members,
                source=source,
                promotion=signed.PROMOTION,
                hooks=signed.HOOKS,
                migrations=signed.MIGRATIONS,
            )
        ),
        SCHEMAS["release-manifest"],
    )


def test_a_full_policy_is_valid():
    requirement = {"role": "risk_manager", "threshold": 1}
    document = signed.policy_document(
        environments={"prod": signed.environment(require=[requirement])},
        minSafeSequence={"hello": 1},
        revoked={"keys": ["a" * 64], "payloads": ["b" * 64]},
    )
    jsonschema.validate(document, SCHEMAS["trust-policy"])


def test_a_full_file_list_is_valid():
    entries = [test_tree.directory("a"), test_tree.file("a/zażółć..x", 0o755), test_tree.link("l", "a/../a")]
    jsonschema.validate(json.loads(test_tree.listed(*entries).encode()), SCHEMAS["file-list"])


# What the code refuses and no schema can: relations between members, and what is true of a whole list.
BEYOND_A_MANIFEST_SCHEMA = {
    "a sequence that is not created",
    "an expiry before its creation",
    "the same member twice",
    "the same artifact twice",
    "a database whose head is not the last revision",
    "hooks that hold up a way back",
    "hooks of many words",
    "the same migration twice",
}
BEYOND_A_POLICY_SCHEMA = {
    "a key that ends before it begins",
    "a role with an unknown key",
    "authorization by an unknown role",
    "approval by an unknown role",
    "approval by one role twice",
}
BEYOND_A_THRESHOLD_SCHEMA = {
    "a threshold beyond the holders",
    "approval by more than there are",
    "authorization by more than there are",
}
BEYOND_A_PATH_SCHEMA = {
    "form NFD",
    "full-width dots",
    "a two-dot leader",
    "a full-width slash",
    "a full-width backslash",
    "a lone surrogate",
    "a name of 256 bytes",
    "a name of 256 bytes in UTF-8",
    "129 levels",
}
BEYOND_A_LINK_SCHEMA = {
    "out of the root",
    "out and in again",
    "dangling",
    "through a file",
    "through a file and back",
    "through a link",
    "through a link and back",
    "to itself",
    "with a lone surrogate",
}


def table(cases, beyond):
    assert beyond <= set(cases)
    return [pytest.param(value, name not in beyond, id=name) for name, value in cases.items()]


STATEMENTS = {
    **test_manifest.MALFORMED,
    **test_manifest.TYPES,
    **test_manifest.WRONG_SUBJECTS,
    **test_manifest.DIGESTS,
}


@pytest.mark.parametrize(("document", "refused"), table(STATEMENTS, BEYOND_A_MANIFEST_SCHEMA))
def test_the_manifest_schema_refuses_what_the_code_refuses(document, refused):
    assert is_valid("release-manifest", document) is not refused


@pytest.mark.parametrize(("document", "refused"), table(test_policy.MALFORMED, BEYOND_A_POLICY_SCHEMA))
def test_the_policy_schema_refuses_what_the_code_refuses(document, refused):
    assert is_valid("trust-policy", document) is not refused


@pytest.mark.parametrize(("document", "refused"), table(test_policy.THRESHOLDS, BEYOND_A_THRESHOLD_SCHEMA))
def test_the_policy_schema_refuses_the_thresholds_that_the_code_refuses(document, refused):
    assert is_valid("trust-policy", document) is not refused


@pytest.mark.parametrize(("document", "refused"), table(test_tree.MALFORMED, set()))
def test_the_list_schema_refuses_what_the_code_refuses(document, refused):
    assert is_valid("file-list", document) is not refused


@pytest.mark.parametrize(("path", "refused"), table(test_tree.BAD_PATHS, BEYOND_A_PATH_SCHEMA))
def test_the_list_schema_refuses_the_paths_that_the_code_refuses(path, refused):
    assert is_valid("file-list", test_tree.bent(path=path)) is not refused


@pytest.mark.parametrize("path", test_tree.GOOD_PATHS)
def test_the_list_schema_accepts_the_paths_that_the_code_accepts(path):
    assert is_valid("file-list", test_tree.bent(path=path))


@pytest.mark.parametrize(("link", "refused"), table(test_tree.BAD_LINKS, BEYOND_A_LINK_SCHEMA))
def test_the_list_schema_refuses_the_links_that_the_code_refuses(link, refused):
    path, target = link
    entry = {"path": path, "type": "symlink", "mode": 511, "target": target}
    assert is_valid("file-list", {"entries": [entry], "format": 1}) is not refused


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o777, 0o4755, 0])
def test_the_list_schema_refuses_the_modes_that_the_code_refuses(mode):
    assert not is_valid("file-list", test_tree.bent(mode=mode))


OF_CONSENTS = {"approval": test_approval, "rollback-authorization": test_authorization}
BEYOND_A_CONSENT_SCHEMA = {"an end before its beginning", "hosts that are not sorted"}


@pytest.mark.parametrize("name", OF_CONSENTS)
def test_the_schemas_of_what_holders_sign_refuse_what_the_code_refuses(name):
    tests = OF_CONSENTS[name]
    assert is_valid(name, tests.DOCUMENT)
    for case, changes in tests.WRONG.items():
        document = {**tests.DOCUMENT, "predicate": {**tests.PREDICATE, **changes}}
        assert is_valid(name, document) is (case in BEYOND_A_CONSENT_SCHEMA), case
    for case, changes in test_statement.WRONG.items():
        assert not is_valid(name, {**tests.DOCUMENT, **changes}), case
    for missing in tests.PREDICATE:
        left = {key: value for key, value in tests.PREDICATE.items() if key != missing}
        assert not is_valid(name, {**tests.DOCUMENT, "predicate": left}), missing


# JSON Schema has no exact notion of canonical base64: stray bits and mixed alphabets need a decoder.
ENVELOPES = [
    test_dsse.members(payloadType="application/json"),
    test_dsse.members(payload=None),
    test_dsse.members(payload="eyJh IjoxfQ=="),
    test_dsse.members(payload="eyJhIjoxfQ"),
    test_dsse.members(payload="-_+/"),
    test_dsse.members(signatures=[]),
    test_dsse.members(signatures=None),
    test_dsse.members(signatures=test_dsse.members()["signatures"] * 17),
    test_dsse.members(signatures=[{"keyid": "a"}]),
    test_dsse.members(signatures=[{"sig": "AAAA"}]),
    test_dsse.members(signatures=[{**test_dsse.members()["signatures"][0], "keyid": None}]),
    [],
]


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_the_envelope_schema_refuses_what_the_code_refuses(envelope):
    assert not is_valid("envelope", envelope)
    with pytest.raises(test_dsse.Refusal):
        test_dsse.parse(envelope)


def test_the_envelope_schema_accepts_unknown_members_and_url_safe_base64():
    assert is_valid("envelope", test_dsse.members(comment=1, payload="_-8="))
