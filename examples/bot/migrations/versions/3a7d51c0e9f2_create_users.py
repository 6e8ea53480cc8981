# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the users.

Revision ID: 3a7d51c0e9f2
Revises:
Create Date: 2026-11-02 09:14:07.512833
"""

import sqlalchemy as sa
from alembic import op

revision = "3a7d51c0e9f2"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("users")
