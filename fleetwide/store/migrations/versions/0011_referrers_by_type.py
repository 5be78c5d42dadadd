"""Referrers of one kind are found by an index: few of them among many had all be read."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INDEX = "ix_registry_manifest_subject_type"
REFERS = sa.text("subject IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        INDEX,
        "registry_manifest",
        ["repository_id", "subject", "artifact_type", "digest"],
        sqlite_where=REFERS,
        postgresql_where=REFERS,
    )


def downgrade() -> None:
    op.drop_index(INDEX, "registry_manifest")
