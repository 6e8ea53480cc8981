# SPDX-License-Identifier: GPL-3.0-or-later
"""What a manifest says about a promotion; what is refused in it is in test_manifest.py, beside its JSON Schema."""

from __future__ import annotations

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.fields import Fields
from ansible.module_utils.slipway.trust import promotion
from ansible.module_utils.slipway.trust.promotion import Artifact, Metadata, Monitoring, Promotion, Step
from ansible.module_utils.slipway.trust.tree import Entry, FileList

LISTED = FileList((Entry("config.json", "file", 0o644, 2, "e" * 64), Entry("policy.pt", "file", 0o644, 9, "f" * 64)))


def fields(value):
    return Fields(value, "a test", "bad")


@pytest.mark.parametrize("written", [signed.PROMOTION, Promotion()], ids=["everything", "nothing"])
def test_a_promotion_is_written_and_read_back(written):
    predicate = fields({**written.as_dict(), "other": 1})
    assert Promotion.take(predicate) == written
    assert predicate.names() == ["other"]


def test_what_is_not_known_is_not_written():
    value = Promotion(metadata=Metadata(git_tag="v1")).as_dict()
    assert value.keys() == {"artifacts", "metadata", "monitoring", "release_type", "rollback_plan"}
    assert value["metadata"] == {"git_tag": "v1", "tickets": []}
    assert Artifact("models", "a", "0" * 64).as_dict().keys() == {"kind", "path", "sha256"}


def test_a_watch_lasts_two_days_with_an_alert_every_two_hours_unless_said_otherwise():
    usual = Monitoring.take(fields({}))
    assert (usual.heightened_period_hours, usual.alert_frequency_hours) == (48, 2)
    assert Monitoring.take(fields({"heightened_period_hours": 0})).heightened_period_hours == 0


def test_a_step_takes_a_minute_unless_said_otherwise():
    assert Step.take(fields({"argv": ["true"]})) == Step(("true",), 60)


def test_artifacts_that_the_release_has_are_accepted():
    assert signed.PROMOTION.require_artifacts_of(LISTED) is None
    assert Promotion().require_artifacts_of(LISTED) is None


@pytest.mark.parametrize(
    ("artifact", "found"),
    [
        (Artifact("configs", "config.json", "0" * 64), "config.json: eeee"),
        (Artifact("configs", "absent", "e" * 64), "absent: no file"),
        (Artifact("configs", "config.json", "f" * 64), "config.json: eeee"),
    ],
)
def test_an_artifact_that_the_release_does_not_have_is_refused(artifact, found):
    with pytest.raises(Refusal, match="artifacts_altered") as refusal:
        Promotion(artifacts=(artifact,)).require_artifacts_of(LISTED)
    assert found in refusal.value.found


def test_only_the_first_altered_artifacts_are_named():
    many = tuple(Artifact("models", f"m{number}", "0" * 64) for number in range(9))
    with pytest.raises(Refusal) as refusal:
        Promotion(artifacts=many).require_artifacts_of(LISTED)
    assert refusal.value.found.count("no file") == 5


def test_revisions_are_limited():
    revisions = [f"r{number}" for number in range(promotion.MAX_REVISIONS + 1)]
    value = {"database": {"tool": "alembic", "head": revisions[-1], "revisions": revisions}}
    with pytest.raises(Refusal, match="at most 5000"):
        Promotion.take(fields(value))
