# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that no answer of a host can break."""

from __future__ import annotations

from ansible.module_utils.slipway.base.table import table


def test_a_table_is_aligned_and_ends_without_white_space():
    assert table(("host", "is"), [("a", "up"), ("prod-1", "")]) == "host    is\na       up\nprod-1"


def test_a_table_without_rows_is_its_head():
    assert table(("host", "is"), []) == "host  is"


def test_what_a_command_printed_stays_in_its_cell_and_drives_no_terminal():
    shown = table(("host", "why"), [("a", "two\r\n lines\t\x1b[2J\u202egone\x00 \udcff")])
    assert shown.splitlines()[1:] == ["a     two lines \\x1b[2J\\u202egone\\x00 \\udcff"]
