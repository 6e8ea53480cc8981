# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading Alembic's migration files, none of which is run."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import migrations
from ansible.module_utils.slipway.controller.descriptor import Database
from ansible.module_utils.slipway.trust.promotion import SchemaRevisions

# As `alembic revision` writes it.
ALEMBIC = '''"""Add accounts

Revision ID: {revision}
Revises: {parent}
Create Date: 2026-11-20 18:45:00.000000

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = {revision!r}
down_revision: Union[str, Sequence[str], None] = {parent!r}
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    revision = "not this one"
    op.create_table("account", sa.Column("id", sa.Integer, primary_key=True))
'''


@pytest.fixture
def versions(tmp_path):
    directory = tmp_path / "migrations/versions"
    directory.mkdir(parents=True)
    return directory


def add(versions, revision, parent, name=None):
    (versions / f"{name or revision}_add.py").write_text(ALEMBIC.format(revision=revision, parent=parent))


def read(versions):
    return migrations.read_migrations(versions.parents[1], Database("alembic", "migrations/versions"))


def problems(versions):
    with pytest.raises(Refusal) as refusal:
        read(versions)
    assert refusal.value.reason == "migrations_invalid"
    return refusal.value.found


def test_a_chain_is_read_from_its_first_revision_to_its_head(versions):
    add(versions, "ae1027a6acf", "1975ea83b712", name="a")
    add(versions, "27c6a30d7c24", "ae1027a6acf", name="c")
    add(versions, "1975ea83b712", None, name="b")
    assert read(versions) == SchemaRevisions("alembic", "27c6a30d7c24", ("1975ea83b712", "ae1027a6acf", "27c6a30d7c24"))


def test_merged_branches_have_one_head(versions):
    add(versions, "base", None)
    add(versions, "left", "base")
    add(versions, "right", "base")
    add(versions, "merge", ("left", "right"))
    assert read(versions).head == "merge"
    assert read(versions).revisions == ("base", "left", "right", "merge")


def test_an_old_file_without_annotations_is_read(versions):
    (versions / "a.py").write_text("revision = 'a1'\ndown_revision = None\n")
    (versions / "b.py").write_text("revision = 'b2'\ndown_revision = ['a1']\n")
    assert read(versions).revisions == ("a1", "b2")


def test_other_files_beside_the_migrations_are_none(versions):
    add(versions, "a1", None)
    for name in ("__init__.py", "README", "script.py.mako", ".hidden.py"):
        (versions / name).write_text("")
    assert read(versions).revisions == ("a1",)


def test_no_migration_is_ever_run(versions, tmp_path):
    mark = tmp_path / "ran"
    add(versions, "a1", None)
    path = versions / "a1_add.py"
    path.write_text(path.read_text() + f"\nopen({str(mark)!r}, 'w')\n")
    read(versions)
    assert not mark.exists()


def test_several_heads_are_refused_by_name(versions):
    add(versions, "base", None)
    add(versions, "left", "base")
    add(versions, "right", "base")
    assert problems(versions) == "2 heads: left, right"


def test_a_broken_chain_is_refused(versions):
    add(versions, "b2", "a1")
    assert problems(versions) == "b2_add.py: 'a1' before it, which is not there"


def test_a_circle_is_refused(versions):
    add(versions, "a1", "b2")
    add(versions, "b2", "a1")
    assert problems(versions).startswith("a circle: ")
    add(versions, "base", None)
    assert problems(versions).startswith("a circle: ")


def test_the_same_revision_twice_is_refused(versions):
    add(versions, "a1", None)
    add(versions, "a1", None, name="again")
    assert problems(versions) == "again_add.py: revision a1 again, which a1_add.py has"


def test_no_migration_at_all_is_refused(versions):
    assert problems(versions).startswith("0 migrations")
    versions.rmdir()
    assert problems(versions) == "no such directory"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("revision = ", "no Python"),
        ("revision = 'a\0'", "no Python"),
        ("(" * 10_000, "no Python"),
        ("", "no revision"),
        ("revision = name\ndown_revision = None", "no revision"),
        ("revision = 1\ndown_revision = None", "no revision"),
        ("revision = 'a-1'\ndown_revision = None", "no revision"),
        ("revision: str\ndown_revision = None", "no revision"),
        ("if True:\n    revision = 'a1'\ndown_revision = None", "no revision"),
        ("revision = 'a1'", "no down_revision"),
        ("revision = 'a1'\ndown_revision = open('/etc/passwd').read()", "no down_revision"),
        ("revision = 'a1'\ndown_revision = (1,)", "no down_revision"),
        ("revision = 'a1'\ndown_revision = None\ndepends_on = 'x'", "depends_on"),
    ],
)
def test_a_file_that_is_no_migration_is_refused(versions, text, problem):
    add(versions, "sound", None)
    (versions / "bad.py").write_text(text)
    assert problems(versions).startswith(f"bad.py: {problem}")


def test_every_bad_file_is_named_at_once(versions):
    (versions / "a.py").write_text("revision = ")
    (versions / "b.py").write_text("")
    assert problems(versions).count(".py: no ") == 2


def test_a_link_is_not_followed(versions, tmp_path):
    add(versions, "a1", None)
    (versions / "b.py").symlink_to(versions / "a1_add.py")
    with pytest.raises(Refusal, match="migration_not_regular"):
        read(versions)
