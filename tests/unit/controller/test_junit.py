# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting the tests of JUnit XML files."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible.module_utils.slipway.controller import junit
from ansible.module_utils.slipway.controller.junit import Counts

SUITES = b"""<?xml version="1.0"?>
<testsuites><testsuite name="a" tests="99">
  <properties><property name="x" value="y"/></properties>
  <testcase name="one"/><testcase name="two"><system-out>skipped failure</system-out></testcase>
  <testcase name="three"><failure message="no">&lt;</failure></testcase>
  <testcase name="four"><error/><failure/></testcase>
  <testcase name="five"><skipped/></testcase>
</testsuite><testsuite/></testsuites>
"""


def test_tests_are_counted_by_what_became_of_them():
    assert junit.count(SUITES) == Counts(passed=2, failed=2, skipped=1)
    assert Counts(2, 1, 0).as_dict() == {"passed": 2, "failed": 1, "skipped": 0}


def test_a_single_suite_is_a_report_too():
    assert junit.count(b"<testsuite><testcase/></testsuite>") == Counts(1, 0, 0)
    assert junit.count(b"<testsuites/>") == Counts(0, 0, 0)


def test_what_pytest_writes_is_counted(tmp_path):
    (tmp_path / "test_x.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n@pytest.mark.skip\ndef test_c(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=j.xml", "-p", "no:cacheprovider", "."]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert junit.count((tmp_path / "j.xml").read_bytes()) == Counts(1, 1, 1)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no XML"),
        (b"<testsuite>", "no XML"),
        (b"passed", "no XML"),
        (b"<html/>", "its root is 'html'"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><testsuite>&a;</testsuite>', "a document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>', "a document type"),
    ],
)
def test_what_is_no_report_is_refused(data, problem):
    with pytest.raises(ValueError, match=problem):
        junit.count(data)
