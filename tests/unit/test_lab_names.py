# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the lab: unlike between clones, understood in both directions."""

from pathlib import Path

import pytest

from lab import names
from lab.errors import LabError
from lab.names import Clone


def test_two_clones_share_no_name(tmp_path: Path) -> None:
    here, there = Clone(tmp_path / "a"), Clone(tmp_path / "b")
    assert here.network("lab") != there.network("lab")
    assert here.container("lab", "prod-1") != there.container("lab", "prod-1")
    assert here.filter() != there.filter()
    assert here.filter("lab") != there.filter("lab")


def test_a_clone_reached_by_a_link_is_the_same_clone(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert Clone(tmp_path / "link").hash == Clone(tmp_path / "real").hash


def test_names_say_clone_instance_and_host(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    assert clone.container("molecule-default", "prod-2") == f"slipway-{clone.hash}-molecule-default-prod-2"
    assert len(clone.hash) == 8


def test_what_is_labelled_is_found_by_one_filter(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    labels = clone.labels("e2e")
    assert clone.filter("e2e")[1].removeprefix("label=") in labels
    assert clone.filter()[1].removeprefix("label=") in labels


@pytest.mark.parametrize("name", ["lab", "molecule-default", "molecule-no_way_back", "e2e"])
def test_an_instance_may_be_called(name: str) -> None:
    assert names.check_instance(name) == name


@pytest.mark.parametrize("name", ["", "Lab", "-lab", "a b", "a/b", "../lab", "x" * 41])
def test_an_instance_may_not_be_called(name: str) -> None:
    with pytest.raises(LabError, match="instance name"):
        names.check_instance(name)


def test_hosts_are_counted_for_each_group() -> None:
    counts = names.parse_hosts("staging=1, prod=3")
    assert counts == {"staging": 1, "prod": 3}
    assert names.host_names(counts) == [
        ("staging-1", "staging"),
        ("prod-1", "prod"),
        ("prod-2", "prod"),
        ("prod-3", "prod"),
    ]


@pytest.mark.parametrize(
    "text", ["", "prod", "prod=", "prod=0", "prod=100", "prod=1,prod=2", "Prod=1", "prod=1,", "a-b=1"]
)
def test_a_wrong_count_of_hosts_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="Correct --hosts"):
        names.parse_hosts(text)


def test_an_error_reports_what_to_do() -> None:
    report = LabError(expected="one thing", found="another", remedy="Do this.").report().splitlines()
    assert [line.strip() for line in report[1:]] == [
        "expected: one thing",
        "found:    another",
        "do this:  Do this.",
    ]
