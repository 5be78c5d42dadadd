"""How many bytes the manifests of a repository have: they count in the quota of its namespace."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "registry_repository",
        # The gateways of the version before know nothing of it.
        sa.Column("manifest_bytes", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.execute(
        "UPDATE registry_repository SET manifest_bytes = (SELECT COALESCE(SUM(m.size), 0)"
        " FROM registry_manifest m WHERE m.repository_id = registry_repository.id)"
    )


def downgrade() -> None:
    op.drop_column("registry_repository", "manifest_bytes")
