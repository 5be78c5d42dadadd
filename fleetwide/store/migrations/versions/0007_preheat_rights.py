"""What a container host may pull while an image is brought to it before any job."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BYTEWISE = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "registry_preheat_right",
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("host_id", sa.String(), nullable=False),
        sa.Column("repository", BYTEWISE, nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "host_id"),
    )
    op.create_index("ix_registry_preheat_right_host", "registry_preheat_right", ["host_id"])
    op.create_index("ix_registry_preheat_right_until", "registry_preheat_right", ["until"])


def downgrade() -> None:
    op.drop_table("registry_preheat_right")
