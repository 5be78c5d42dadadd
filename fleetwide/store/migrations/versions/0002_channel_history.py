"""The history of channels, and what OS releases are made of."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "os_channel_move",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("before", sa.String(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("os_channel_move") as batch:
        batch.create_index("ix_os_channel_move_name", ["name"], unique=False)
    with op.batch_alter_table("os_release") as batch:
        batch.add_column(sa.Column("build_key", sa.String(), nullable=False, server_default=""))
        batch.create_index("ix_os_release_build_key", ["build_key"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("os_release") as batch:
        batch.drop_index("ix_os_release_build_key")
        batch.drop_column("build_key")
    op.drop_table("os_channel_move")
