"""Queues of batch, and what services and fleets keep beside: see each step's own words."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One step after the other."""
    _add_task_moves()
    _add_asks()


def downgrade() -> None:
    """The same steps, backwards."""
    _drop_task_moves()
    _drop_asks()


def _add_asks() -> None:
    """What placement reads of a job, taken out of its spec once."""
    op.add_column("job", sa.Column("asks", sa.String(), nullable=False, server_default=""))


def _drop_asks() -> None:
    op.drop_column("job", "asks")


def _add_task_moves() -> None:
    """A task may be a copy of one service after another; changes done once; ends by service."""
    lives = sa.text("ended_at IS NULL")
    op.drop_index("ix_service_copy_task_id", "service_copy")
    op.create_index("ix_service_copy_task_id", "service_copy", ["task_id"])
    op.create_index(
        "ix_service_copy_live_task",
        "service_copy",
        ["task_id"],
        unique=True,
        sqlite_where=lives,
        postgresql_where=lives,
    )
    op.add_column("service_activity", sa.Column("change_id", sa.String(), nullable=True))
    op.create_index("ix_service_activity_change_id", "service_activity", ["change_id"])
    op.add_column("archived_job", sa.Column("service_id", sa.String(), nullable=True))
    jobs = sa.table(
        "archived_job", sa.column("service_id", sa.String()), sa.column("row", sa.JSON())
    )
    op.execute(jobs.update().values(service_id=jobs.c.row["service_id"].as_string()))
    op.create_index("ix_archived_job_service_id", "archived_job", ["service_id"])


def _drop_task_moves() -> None:
    """Without the ends that tell only of a move: their tasks' later ones stay."""
    op.drop_index("ix_archived_job_service_id", "archived_job")
    op.drop_column("archived_job", "service_id")
    op.drop_index("ix_service_activity_change_id", "service_activity")
    op.drop_column("service_activity", "change_id")
    op.execute(
        "DELETE FROM service_copy WHERE EXISTS (SELECT 1 FROM service_copy AS later "
        "WHERE later.task_id = service_copy.task_id AND later.id > service_copy.id)"
    )
    op.drop_index("ix_service_copy_live_task", "service_copy")
    op.drop_index("ix_service_copy_task_id", "service_copy")
    op.create_index("ix_service_copy_task_id", "service_copy", ["task_id"], unique=True)
