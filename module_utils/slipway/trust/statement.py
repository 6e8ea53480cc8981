# SPDX-License-Identifier: GPL-3.0-or-later
"""What one holder, in one role, says of one release: the in-toto Statement v1 that approvals and authorizations share.

Its only subject is `manifest`, by the digest of the release manifest's payload; so it says nothing of any other release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..base import canonical
from ..base.clock import seconds_of
from ..base.fields import SHA256, Fields

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
SUBJECT: Final = "manifest"


def encode(predicate_type: str, manifest_digest: str, predicate: Mapping[str, Any]) -> bytes:
    """Return the canonical payload; whoever makes one reads it back before it is signed."""
    return canonical.encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": dict(predicate),
            "predicateType": predicate_type,
            "subject": [{"digest": {"sha256": manifest_digest}, "name": SUBJECT}],
        }
    )


def require_type(statement: Fields, predicate_type: str) -> None:
    """Refuse another type of statement, or a statement about something else."""
    for name, expected in (("_type", STATEMENT_TYPE), ("predicateType", predicate_type)):
        found = statement.take(name)
        if found != expected:
            raise statement.refusal(name, expected, found)


def subject(statement: Fields) -> str:
    """Return the digest of the manifest, which is the one subject."""
    subjects = statement.objects("subject", maximum=1)
    if not subjects:
        raise statement.refusal("subject", f"the subject {SUBJECT}", "none")
    subjects[0].choice("name", SUBJECT)
    digest = subjects[0].object("digest")
    sha256 = digest.text("sha256", SHA256)
    digest.end()
    subjects[0].end()
    return sha256


def lifetime(fields: Fields) -> tuple[str, str]:
    """Return `created` and `expires`, which is later."""
    created, expires = fields.time("created"), fields.time("expires")
    if seconds_of(expires) <= seconds_of(created):
        raise fields.refusal("expires", f"a time after {created}", expires)
    return created, expires
