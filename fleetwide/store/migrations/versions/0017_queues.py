"""Queues of batch, and what services and fleets keep beside: see each step's own words."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One step after the other."""
    _add_metric_minutes()
    _add_rotation()
    _add_queues()
    _add_task_moves()
    _add_asks()


def downgrade() -> None:
    """The same steps, backwards."""
    _drop_metric_minutes()
    _drop_rotation()
    _drop_task_moves()
    _drop_asks()
    _drop_queues()


def _add_asks() -> None:
    """What placement reads of a job, taken out of its spec once; how it stands; who waits."""
    op.add_column("job", sa.Column("asks", sa.String(), nullable=False, server_default=""))
    op.add_column("job", sa.Column("standing", sa.JSON(), nullable=True))
    op.create_table(
        "job_wait",
        sa.Column("workflow_id", sa.String(), primary_key=True),
        sa.Column("on_id", sa.String(), primary_key=True),
    )
    op.create_index("ix_job_wait_on_id", "job_wait", ["on_id"])


def _drop_asks() -> None:
    op.drop_table("job_wait")
    op.drop_column("job", "standing")
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


def _add_queues() -> None:
    """The tree of queues: its root, the one of all that names none, and those that jobs name."""
    time, big = sa.DateTime(timezone=True), sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    queues = op.create_table(
        "queue",
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
    )
    op.create_table(
        "queue_change",
        sa.Column("id", big, primary_key=True),
        sa.Column("change_set", sa.String(), nullable=False, index=True),
        sa.Column("path", sa.String(), nullable=False, index=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("after", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("moved_to", sa.String(), nullable=True),
    )
    op.create_table(
        "capacity_request",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False, index=True),
        sa.Column("state", sa.String(), nullable=False, index=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("status", sa.JSON(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
    )
    op.add_column("job", sa.Column("pending_until", time, nullable=True))
    known = {"root": "above all others", "default": "of all that names none"}
    for name in _queues_of_jobs() - known.keys():
        known[name] = "jobs named it before there were queues"
    now = datetime.now(UTC)
    fresh = {"spec": {}, "revision": 1, "by": "fleetwide", "created_at": now, "updated_at": now}
    op.bulk_insert(queues, [{"path": path, "reason": why, **fresh} for path, why in known.items()])


def _queues_of_jobs() -> set[str]:
    """Not those that no queue can be called: the API's routes have these names."""
    query = sa.text("SELECT DISTINCT queue FROM job WHERE kind = 'batch' AND queue <> ''")
    names = set(op.get_bind().execute(query).scalars())
    return names - {"changes", "history", "plan"}


def _drop_queues() -> None:
    op.drop_column("job", "pending_until")
    for table in ("capacity_request", "queue_change", "queue"):
        op.drop_table(table)


def _add_rotation() -> None:
    """Why a machine of a pool is to be replaced."""
    why = sa.Column("rotates", sa.String(), nullable=False, server_default="")
    op.add_column("pool_machine", why)


def _drop_rotation() -> None:
    op.drop_column("pool_machine", "rotates")


def _add_metric_minutes() -> None:
    """What older samples of large services are made into."""
    op.create_table(
        "metric_minute",
        sa.Column("service_id", sa.String(), primary_key=True),
        sa.Column("moment", sa.BigInteger(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("of_copies", sa.Boolean(), primary_key=True),
        sa.Column("together", sa.Float(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("total", sa.Float(), nullable=False),
        sa.Column("least", sa.Float(), nullable=False),
        sa.Column("most", sa.Float(), nullable=False),
    )


def _drop_metric_minutes() -> None:
    op.drop_table("metric_minute")
