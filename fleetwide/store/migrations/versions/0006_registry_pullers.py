"""Who pulled an image of the registry, how often, and when last."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BYTEWISE = sa.String().with_variant(sa.String(collation="C"), "postgresql")
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "registry_puller",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("pulls", sa.BigInteger(), nullable=False),
        sa.Column("last_pulled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "digest", "name"),
        sa.ForeignKeyConstraint(["repository_id"], ["registry_repository.id"]),
    )


def downgrade() -> None:
    op.drop_table("registry_puller")
