"""The transaction that wrote an event, by which readers order them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    # What is there already counts as written by this transaction.
    default = "pg_current_xact_id()::text::bigint" if postgresql else "0"
    column = sa.Column("xid", sa.BigInteger(), nullable=False, server_default=sa.text(default))
    op.add_column("event", column)
    op.create_index("ix_event_order", "event", ["xid", "seq"])


def downgrade() -> None:
    op.drop_index("ix_event_order", "event")
    op.drop_column("event", "xid")
