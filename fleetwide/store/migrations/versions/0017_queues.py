"""Queues of batch, and what services and fleets keep beside: see each step's own words."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One step after the other."""
    _add_asks()


def downgrade() -> None:
    """The same steps, backwards."""
    _drop_asks()


def _add_asks() -> None:
    """What placement reads of a job, taken out of its spec once."""
    op.add_column("job", sa.Column("asks", sa.String(), nullable=False, server_default=""))


def _drop_asks() -> None:
    op.drop_column("job", "asks")
