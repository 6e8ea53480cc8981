# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of deliveries as people read it: words, and a page that a browser shows without anything else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from html.parser import HTMLParser

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.delivery_report import duration, page, percent, restored, told, write_page
from test_delivery_measures import HOUR, MONDAY, UNTIL, Ledger

BROWSER_SECONDS = 60
SCRIPT = "<script>document.title='evil'</script>"


@pytest.fixture
def history():
    ledger = Ledger()
    ledger.add()
    ledger.add(release="v2", release_type="hotfix", outcome="not as asked", hosts=("reverted", "stuck"))
    ledger.add(release="v3", outcome=None, began=MONDAY - HOUR)
    ledger.add(outcome=None, began=UNTIL - HOUR)
    return ledger.measured().as_dict()


@pytest.fixture
def evil():
    """Names that would be markup, a formula of another page, or the end of an attribute."""
    ledger = Ledger()
    about = {
        "application": SCRIPT,
        "environment": '"><img src=x onerror=alert(1)>',
        "deployed_by": "{{ 7 * 7 }}",
        "release_type": "'&<",
    }
    ledger.add(release=f"v1{SCRIPT}", **about)
    return ledger.measured().as_dict()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (172800, "2.0 d")],
)
def test_a_duration_is_as_exact_as_people_need_it(seconds, text):
    assert duration(seconds) == text


def test_a_rate_is_a_percentage():
    assert [percent(rate) for rate in (None, 0, 0.125, 1)] == ["-", "0 %", "12 %", "100 %"]


@pytest.mark.parametrize(
    ("missing", "seconds", "text"), [(0, None, "-"), (0, 60, "60 s"), (2, None, "2 not restored"), (1, 60, "60 s, 1 not restored")]
)  # fmt: skip
def test_what_is_not_restored_is_said_beside_what_is(missing, seconds, text):
    assert restored({"not_restored": missing, "time_to_restore_seconds": seconds}) == text


def test_words_name_measures_changes_and_runs_without_an_end(history):
    text = told(history)
    assert "failed, not restored" in text
    assert "prod-2 (stuck)" in text
    assert "cut off, restored 2026-11-16T00:10:00Z" in text
    assert "without an end yet, and in no measure: run-4" in text
    assert told(Ledger().measured().as_dict()).endswith("no deployment switched anything in that time")


def test_a_redeployment_is_shown_with_its_type_in_both():
    ledger = Ledger()
    for _ in range(2):
        ledger.add()
    history = ledger.measured().as_dict()
    assert [(each["release_type"], each["changes"]) for each in history["measures"] if each["week"] == "all"] == [
        ("all", 1), ("minor", 1), ("redeployment", 1),
    ]  # fmt: skip
    assert [each["release_type"] for each in history["changes"]] == ["minor", "redeployment"]
    assert told(history).splitlines()[-1].split()[4] == "minor"
    assert "<td>redeployment</td>" in page(history)
    assert "in no row of all types" in page(history)


def test_it_is_plain_json(history):
    assert json.loads(json.dumps(history)) == history


class Outline(HTMLParser):
    """What a page is made of: its elements with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_page_needs_nothing_from_anywhere_and_runs_nothing(history):
    outline = Outline(page(history))
    loading = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source", "base", "form", "a"}
    assert {tag for tag, _attributes in outline.elements} & loading == set()
    assert not [
        name
        for _tag, attributes in outline.elements
        for name in attributes
        if name.startswith("on") or name in ("src", "href", "style")
    ]
    assert "url(" not in page(history)
    assert "@import" not in page(history)
    policy = next(each for each in outline.of("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_page_can_be_read_by_everybody(history):
    """By who hears it: a language, headings in order, tables with captions and heads that say what they head."""
    text = page(history)
    outline = Outline(text)
    assert outline.of("html") == [{"lang": "en"}]
    assert [tag for tag, _attributes in outline.elements if tag in ("h1", "h2", "h3")] == ["h1", "h2", "h2", "h2"]
    assert len(outline.of("table")) == len(outline.of("caption")) == 2
    assert all(attributes.get("scope") in ("col", "row") for attributes in outline.of("th"))
    names = {attributes["id"] for _tag, attributes in outline.elements if "id" in attributes}
    assert {
        attributes["aria-labelledby"] for _tag, attributes in outline.elements if "aria-labelledby" in attributes
    } == names
    assert [each.get("content") for each in outline.of("meta") if each.get("name") == "color-scheme"] == ["light dark"]
    assert "@media print" in text
    assert "prefers-color-scheme: dark" in text


def luminance(colour):
    """As WCAG 2 defines it."""
    full = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
    channels = [int(full[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_stand_out_from_the_paper_in_light_dark_and_print(history):
    blocks = [line for line in page(history).splitlines() if ":root {" in line]
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(
            each.strip().split(": ") for each in block.partition("{")[2].rstrip(" }").split(";") if each.strip()
        )
        for name in ("--ink", "--soft", "--good", "--bad"):
            light, dark = sorted((luminance(colours[name]), luminance(colours["--paper"])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, block)


def test_names_are_never_markup(evil):
    text = page(evil)
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text


def in_browser(path, *options):
    """What a real browser makes of a file, without any network."""
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--proxy-server=127.0.0.1:1",
    ]
    profile = path.with_name("profile")
    done = subprocess.run(
        [*command, f"--user-data-dir={profile}", *options, path.as_uri()], capture_output=True, text=True,
        timeout=BROWSER_SECONDS, check=True, env={**os.environ, "HOME": str(path.parent)},
    )  # fmt: skip
    shutil.rmtree(profile, ignore_errors=True)
    return done


def test_a_browser_shows_every_row_and_runs_no_name(history, evil, tmp_path):
    for number, given in enumerate((history, evil)):
        path = tmp_path / f"{number}.html"
        write_page(path, given)
        done = in_browser(path, "--dump-dom", "--enable-logging=stderr")
        outline = Outline(done.stdout)
        assert len(outline.of("tbody")) == 2
        rows = len(given["measures"]) + len(given["changes"])
        assert len(outline.of("tr")) == rows + 2, "a head for each table"
        assert outline.of("script") == outline.of("img") == []
        assert "<title>Deliveries from" in done.stdout
        assert "Content Security Policy" not in done.stderr, "nothing in it was refused"


def test_a_browser_prints_it(history, tmp_path):
    path = tmp_path / "page.html"
    write_page(path, history)
    in_browser(path, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")


def test_a_browser_paints_it_dark_where_its_user_wants_that(history, tmp_path):
    path = tmp_path / "page.html"
    write_page(path, history)
    pixels = {}
    for name, options in (("light", []), ("dark", ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"])):
        shot = tmp_path / f"{name}.png"
        in_browser(path, f"--screenshot={shot}", "--window-size=800,600", *options)
        pixels[name] = first_pixel(shot.read_bytes())
    assert pixels["light"] == (0xFF, 0xFF, 0xFF)
    assert pixels["dark"] == (0x14, 0x18, 0x1D)


def first_pixel(png):
    """The colour of the upper left corner. The first pixel of a PNG is stored as it is, whichever filter its row has."""
    import zlib

    place, data = 8, b""
    while place < len(png):
        length, kind = int.from_bytes(png[place : place + 4]), png[place + 4 : place + 8]
        if kind == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += length + 12
    return tuple(zlib.decompress(data)[1:4])


def test_a_page_is_its_owners_and_is_left_alone_where_it_says_the_same(history, tmp_path):
    path = tmp_path / "page.html"
    assert write_page(path, history, check=True)
    assert not path.exists()
    assert write_page(path, history)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not write_page(path, history)


def test_a_page_that_cannot_be_written_is_refused(history, tmp_path):
    with pytest.raises(Refusal) as caught:
        write_page(tmp_path / "none/page.html", history)
    assert caught.value.reason == "report_unwritable"
