# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember when users came.

Revision ID: 8c26f4b7d013
Revises: 3a7d51c0e9f2
Create Date: 2026-11-16 15:40:22.904117
"""

import sqlalchemy as sa
from alembic import op

revision = "8c26f4b7d013"
down_revision = "3a7d51c0e9f2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("came_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "came_at")
