# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be refused, line by line with its reason, and what must be accepted. docs/threat-model.md says who would try.

`REFUSED` maps the kind of attack to its lines, and each line to the reason of the refusal; behind a stop stands the code
that `release_altered` gives the file, or the outcome of a history. A test module of this directory has a table CASES
with one case for each line that it proves; test_complete.py holds the tables together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from ansible.module_utils.slipway.base.errors import Refusal

REFUSED: Final[Mapping[str, Mapping[str, str]]] = {
    "Envelope and JSON": {
        "a wrong payloadType": "envelope_payload_type",
        "a payloadType in another case": "envelope_payload_type",
        "no payloadType": "envelope_payload_type",
        "a wrong _type": "statement_type",
        "a wrong predicateType": "statement_type",
        "a duplicate member": "json_duplicate_member",
        "a duplicate member in the other order": "json_duplicate_member",
        "a duplicate member deep down": "json_duplicate_member",
        "a case twin": "json_case_twin",
        "a byte order mark": "json_byte_order_mark",
        "UTF-16": "json_not_utf8",
        "NaN": "json_number",
        "Infinity": "json_number",
        "2 to the 53rd": "json_number",
        "minus zero": "json_number",
        "1.0": "json_number",
        "01": "json_number",
        "a lone surrogate": "json_surrogate",
        "trailing bytes": "json_trailing_bytes",
        "a second document": "json_trailing_bytes",
        "a nesting of 100,000": "json_too_deep",
        "a string of a gibibyte": "trust_policy_too_large",
        "an envelope of more than a mebibyte": "json_too_large",
        "a million signatures": "json_too_large",
        "seventeen signatures": "envelope_signatures_too_many",
        "base64 with white space": "envelope_base64",
        "base64 with wrong padding": "envelope_base64",
        "base64 with stray bits": "envelope_base64",
        "a payload that is not canonical": "json_not_canonical",
        "an array for an envelope": "envelope_malformed",
        "null for signatures": "envelope_malformed",
        "an array for a statement": "manifest_malformed",
        "null for a predicate": "manifest_malformed",
        "an empty subject": "statement_subject",
    },
    "Signatures": {
        "none": "envelope_unsigned",
        "threshold 0": "policy_threshold",
        "the same signature twice": "signature_threshold",
        "the same key under two ids": "policy_keyid",
        "the same key in two roles": "policy_key_shared",
        "the same key for two holders": "json_duplicate_member",
        "two keys of one holder": "signature_threshold",
        "only unknown keys": "signature_unknown",
        "63 bytes": "signature_length",
        "65 bytes": "signature_length",
        "a key of small order": "key_weak",
        "a key that is not canonical": "key_weak",
        "a signature over the raw payload": "signature_invalid",
        "a signature of another payload type": "signature_invalid",
        "a signature with S + L": "signature_invalid",
        "a signature of another algorithm": "signature_length",
        "a key of another algorithm": "key_invalid",
        "a key before its time": "key_outside_validity",
        "a key after its time": "key_outside_validity",
        "a revoked key": "key_revoked",
        "a revoked payload": "manifest_revoked",
        "a builder who is not the one that signed": "builder_mismatch",
        "a policy by which builders approve": "policy_malformed",
    },
    "Scope and time": {
        "a request for another environment than the host's": "environment_mismatch",
        "a release of another application": "application_mismatch",
        "the manifest of another release": "release_mismatch",
        "an environment that the policy does not know": "environment_unknown",
        "an expired manifest": "manifest_expired",
        "a manifest older than the environment allows": "manifest_too_old",
        "an expired policy": "policy_expired",
        "a manifest created in the future": "manifest_from_future",
        "a clock set back": "clock_set_back",
        "a release below the floor": "below_floor",
    },
    "Approvals": {
        "no approval": "approval_missing",
        "one approval where two are asked for": "approval_missing",
        "approvals of one holder for two roles": "approver_not_distinct",
        "a builder approving itself": "approval_by_builder",
        "a decision other than approve": "approval_rejects",
        "an approval for another digest": "approval_of_another_release",
        "an approval for another application": "approval_of_another_application",
        "an approval for another environment": "approval_of_another_environment",
        "an expired approval": "approval_expired",
        "an approval older than allowed": "approval_too_old",
        "an approval created in the future": "approval_from_future",
        "an approval by the key of another role": "approver_mismatch",
        "an approval by an unknown key": "signature_unknown",
        "a revoked approval": "approval_revoked",
        "an approval by a revoked key": "key_revoked",
        "an authorization in place of an approval": "statement_type",
        "an older sequence": "sequence_behind",
        "the same sequence with another digest": "sequence_taken",
        "a rollback beyond the depth": "rollback_too_deep",
        "a rollback authorization reused": "authorization_used",
        "a rollback authorization for another host": "authorization_of_another_host",
        "a rollback authorization for another digest": "authorization_of_another_release",
        "a rollback authorization for another environment": "authorization_of_another_environment",
        "an expired rollback authorization": "authorization_expired",
        "a rollback authorization from the future": "authorization_from_future",
        "a rollback authorization for more than a day": "authorization_too_long",
    },
    "Digests": {
        "a truncated digest": "digest_malformed",
        "an upper-case digest": "digest_malformed",
        "an empty digest": "digest_malformed",
        "only md5": "digest_malformed",
        "only sha1": "digest_malformed",
        "the right sha512 with a wrong sha256": "digest_malformed",
        "the right bundle with a wrong tree": "file_list_altered",
    },
    "Files": {
        "missing": "release_altered.file_missing",
        "an extra file": "release_altered.file_extra",
        "an extra dotfile": "release_altered.file_extra",
        "an extra empty directory": "release_altered.file_extra",
        "extra bytecode": "release_altered.file_extra",
        "two files swapped": "release_altered.file_content",
        "a byte changed": "release_altered.file_content",
        "another size": "release_altered.file_size",
        "another mode": "release_altered.file_mode",
        "a set-uid bit": "release_altered.file_setid",
        "another owner": "release_altered.file_owner",
        "an access control list": "release_altered.file_acl",
        "a capability": "release_altered.file_capability",
        "a fifo in place of a file": "release_altered.file_type",
        "a socket in place of a file": "release_altered.file_type",
        "a device in place of a file": "release_altered.file_type",
        "a link in place of a file": "release_altered.file_type",
        "a link that leads elsewhere": "release_altered.link_target",
        "a file changed between check and use": "release_altered.file_content",
        "..": "path_outside",
        "an absolute path": "path_outside",
        "//": "path_not_plain",
        "./": "path_not_plain",
        "a trailing slash": "path_not_plain",
        "a backslash": "path_not_plain",
        "a NUL in a name": "path_unprintable",
        "a newline in a name": "path_unprintable",
        "an ANSI sequence in a name": "path_unprintable",
        "a control character in a name": "path_unprintable",
        "U+202E in a name": "path_unprintable",
        "a name in form NFD": "path_not_nfc",
        "an NFD twin": "path_not_nfc",
        "a case twin of a path": "path_twin",
        "full-width dots": "path_lookalike",
        "an over-long name": "path_too_long",
        "a symlink out": "link_outside",
        "an absolute symlink": "link_outside",
        "a dangling symlink": "link_dangling",
        "a looping symlink": "link_circular",
        "a symlink through a parent": "link_through",
        "a hard link out": "archive_hardlink",
        "a fifo in a source": "file_special",
        "a socket in a source": "file_special",
        "a device in a source": "file_special",
        "a sparse bomb": "file_special",
        "a decompression bomb": "archive_too_large",
        "an object longer than listed": "object_altered",
        "a wrong archive header": "archive_malformed",
        "a name that goes on after its end": "archive_name",
        "a duplicate member of an archive": "archive_duplicate",
        "a duplicate member of a pack": "pack_invalid",
        "a decompression bomb in a pack": "pack_invalid",
        "a manifest that is a fifo": "manifest_not_regular",
        "a world-writable trust directory": "trust_directory_writable",
    },
    "Artifact store": {
        "an object with other bytes": "source_altered",
        "an object with one bit flipped": "source_altered",
        "an object swapped for another": "source_altered",
        "an object cut short": "source_altered",
        "an object with more behind it": "source_altered",
        "an empty object": "source_altered",
        "a link out of the store": "source_altered",
        "a page of a login": "source_altered",
        "an object without end": "source_altered",
        "a compressed object": "source_unusable",
        "a redirect to another host": "source_unusable",
        "a redirect into a file": "source_unusable",
        "an object that is not there": "source_lacks_object",
        "a store that only ever fails": "source_unreachable",
    },
    "Trust policy": {
        "a policy that skips a version": "policy_version_skipped",
        "a policy that only its own root signed": "policy_unsigned_by_predecessor",
        "a policy that only the root before signed": "signature_unknown",
        "an expired policy as the next one": "policy_expired",
        "an older policy": "policy_version_older",
        "the same version with other content": "policy_version_taken",
        "a policy that lowers a floor": "policy_floor_lowered",
        "a policy that takes a revocation back": "policy_revocation_withdrawn",
    },
    "History": {
        "the whole chain recomputed": "history_proof_invalid",
        "a fork": "history_proof_invalid",
        "a shrunken log": "history_proof_invalid",
        "another host's checkpoint": "checkpoint_of_another_log",
        "a checkpoint by another key": "checkpoint_signature_unknown",
        "a checkpoint that was edited": "note_signature_invalid",
        "a checkpoint that is none": "checkpoint_malformed",
        "a note that is none": "note_malformed",
        "a record edited": "history_altered",
        "a record dropped": "history_altered",
        "a record swapped": "history_altered",
        "a record inserted": "history_altered",
        "a duplicate sequence": "history_altered",
    },
}

ACCEPTED: Final = (
    "URL-safe base64",
    "unknown envelope members",
    "an extra signature by an unknown key",
    "a wrong key id hint",
    "a missing key id hint",
    "a bad signature before the good one",
    "going back after expiry",
    "empty files and directories",
    "200,000 files",
    "non-ASCII NFC names",
    "key rotation N -> N + 1",
    "rollback within policy",
    "a rollback that was authorized",
    "a bad approval beside enough good ones",
    "a torn last line, set aside and recorded",
)

Case = Callable[..., Any]


def reason_of(line: str) -> str:
    """The reason that the tables promise for a line."""
    return next(lines[line] for lines in REFUSED.values() if line in lines)


def judged(line: str, case: Callable[[], Any]) -> None:
    """Run a case and require the refusal that the tables promise for its line."""
    reason, _, code = reason_of(line).partition(".")
    with pytest.raises(Refusal) as refusal:
        case()
    assert refusal.value.reason == reason, str(refusal.value)
    if code:
        assert set(re.findall(r"\[(\w+)\]", refusal.value.found)) == {code}


def asked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a host answered, as the refusal that it is."""
    if answer.get("failed"):
        raise Refusal(answer["reason"], expected="-", found=answer["msg"], remedy="-")
    return answer
