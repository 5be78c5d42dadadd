"""Queues of batch, and what services and fleets keep beside: see each step's own words."""

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One step after the other."""


def downgrade() -> None:
    """The same steps, backwards."""
