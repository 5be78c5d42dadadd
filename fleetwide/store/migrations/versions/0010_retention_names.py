"""Which tags a retention's report named: its application ends no other."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0007"
branch_labels = None
depends_on = None

BYTEWISE = sa.String().with_variant(sa.String(collation="C"), "postgresql")
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "registry_retention_tag",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "repository_id", "name"),
    )
    op.create_index("ix_registry_retention_tag_judged", "registry_retention_tag", ["judged_at"])


def downgrade() -> None:
    op.drop_table("registry_retention_tag")
