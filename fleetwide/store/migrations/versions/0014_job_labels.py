"""Tasks and jobs are found by the labels that people note on them."""

import sqlalchemy as sa
from alembic import op

from fleetwide.store.tables import BigId

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_label",
        sa.Column("job_id", BigId, sa.ForeignKey("job.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name"),
    )
    op.create_index("ix_job_label_value", "job_label", ["name", "value", "job_id"])


def downgrade() -> None:
    op.drop_table("job_label")
