# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents cannot lie: the map is the tree, links lead somewhere, references are what the source says."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import PurePosixPath

import pytest
import repository

PYPROJECT = tomllib.loads((repository.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOWNCRIER = PYPROJECT["tool"]["towncrier"]
FRAGMENTS = sorted(path.name for path in (repository.ROOT / TOWNCRIER["directory"]).iterdir() if path.name[0] != ".")
PAGES = [name for name, _text in repository.texts(".md")]


def generator():
    specification = importlib.util.spec_from_file_location("generate", repository.ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["generate"] = module  # dataclasses look for the module that they are in
    specification.loader.exec_module(module)
    return module


GENERATE = generator()


def mapped():
    """The paths at the beginning of each line of the README's map."""
    readme = (repository.ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## The map\n")[2].partition("\n## ")[0]
    block = section.partition("```")[2].partition("\n")[2].partition("```")[0]
    return [line.split()[0] for line in block.splitlines() if line[:1].strip()]


def test_every_path_of_the_map_is_there():
    assert mapped()
    missing = [path for path in mapped() if not (repository.ROOT / path).exists()]
    assert missing == []
    assert [path for path in mapped() if (repository.ROOT / path).is_dir() != path.endswith("/")] == []


def test_the_map_names_everything_at_the_top_of_the_tree():
    top = {PurePosixPath(name).parts[0] for name in repository.tracked()}
    named = {PurePosixPath(path).parts[0] for path in mapped()}
    assert top - named == set()


@pytest.mark.parametrize("name", PAGES)
def test_links_between_documents_lead_somewhere(name):
    text = (repository.ROOT / name).read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (repository.ROOT / name).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("page", ["modules.md", "reasons.md", "variables.md"])
def test_the_references_are_what_the_source_says(page):
    written = (repository.ROOT / "docs/reference" / page).read_text(encoding="utf-8")
    assert written == GENERATE.pages()[page], "run `make docs`"


def test_every_key_of_an_application_is_explained_where_applications_are():
    page = (repository.ROOT / "docs/howto/your-own-application.md").read_text(encoding="utf-8")
    examples = page.partition("## What a release contains")[0]
    keys = {key.rpartition(".")[2] for key, _default in GENERATE.application_keys()}
    assert len(keys) > 45
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", examples)] == []


def test_every_variable_of_make_is_explained():
    text = (repository.ROOT / "Makefile").read_text(encoding="utf-8")
    asked = set(re.findall(r"^([A-Z_]+) \?=", text, re.MULTILINE)) - {"PYTHON"}
    assert asked == set(re.findall(r"^# ([A-Z_]+)  +\S", text, re.MULTILINE))


def test_every_page_of_references_is_generated():
    assert {path.name for path in (repository.ROOT / "docs/reference").iterdir()} == set(GENERATE.pages())


def test_every_reason_of_a_failure_is_explained():
    assert set(GENERATE.FAILURES) == GENERATE.failures()


def test_every_refusal_has_a_reason_that_the_references_can_name():
    """A refusal whose reason is only known in a run would be missing there."""
    reasons = GENERATE.reasons()
    found = {file for reason in reasons.values() for file in reason.files}
    refusing = {
        str(path.relative_to(repository.ROOT))
        for path in (*repository.DOMAIN.rglob("*.py"), *(repository.ROOT / "action_plugins").glob("*.py"))
        if re.search(r"\bRefusal\(\s*[\"'\w]", path.read_text(encoding="utf-8")) and path.name != "errors.py"
    }
    # The command on hosts only says again what the handler answered.
    assert refusing - found - {"module_utils/slipway/__main__.py"} == set()
    assert reasons.keys().isdisjoint(GENERATE.FAILURES)


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_changelog_fragment_is_well_formed(name):
    kinds = "|".join(kind["directory"] for kind in TOWNCRIER["type"])
    assert re.fullmatch(rf"(\d+|\+[a-z0-9_-]+)\.({kinds})(\.\d+)?\.md", name)
    text = (repository.ROOT / TOWNCRIER["directory"] / name).read_text(encoding="utf-8")
    assert re.fullmatch(r"[A-Z`][^\n]{20,400}\.\n", text), "one paragraph of whole sentences on one line"


def test_the_changelog_says_where_fragments_go():
    text = (repository.ROOT / TOWNCRIER["filename"]).read_text(encoding="utf-8")
    assert text.count(TOWNCRIER["start_string"]) == 1


def test_the_package_and_the_changelog_have_one_version():
    assert TOWNCRIER["version"] == PYPROJECT["project"]["version"]


@pytest.mark.parametrize("module", repository.MODULES)
def test_a_module_was_added_in_a_version_that_is_there(module):
    assert repository.documentation(module)["version_added"] <= PYPROJECT["project"]["version"]


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (repository.ROOT / "docs/adr").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_licence_is_whole():
    text = (repository.ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.lstrip().startswith("GNU GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007")
    assert "END OF TERMS AND CONDITIONS" in text
    assert PYPROJECT["project"]["license"] == "GPL-3.0-or-later"


NAMED_TESTS = sorted(
    {
        (name, test)
        for name, text in repository.texts(".md")
        for test in re.findall(r"`(tests/[\w/.]+\.py::test_\w+)`", text)
    }
)


@pytest.mark.parametrize(("page", "test"), NAMED_TESTS)
def test_a_test_that_a_document_names_is_there(page, test):
    path, _, name = test.partition("::")
    source = (repository.ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^    ?def {name}\(|^def {name}\(", source, re.MULTILINE), page


def test_each_line_of_who_may_do_what_names_its_test():
    page = (repository.ROOT / "docs/howto/keys-and-people.md").read_text(encoding="utf-8")
    rows = [
        line for line in page.partition("## Who may do what")[2].partition("\n## ")[0].splitlines() if line[:2] == "| "
    ]
    assert [row.split("|")[1].strip() for row in rows[1:]] == [
        "builder", "approver", "root holder", "operator", "controller", "host",
    ]  # fmt: skip
    assert [row for row in rows[1:] if not re.search(r"`tests/[\w/.]+\.py::test_\w+`", row.split("|")[5])] == []
