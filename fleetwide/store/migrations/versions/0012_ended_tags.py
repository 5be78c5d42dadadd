"""Tags that meant an image once are found by the image: a copy of it puts them right elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INDEX = "ix_registry_tag_ended"
ENDED = sa.text("ended_at IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        INDEX,
        "registry_tag",
        ["repository_id", "digest"],
        sqlite_where=ENDED,
        postgresql_where=ENDED,
    )


def downgrade() -> None:
    op.drop_index(INDEX, "registry_tag")
