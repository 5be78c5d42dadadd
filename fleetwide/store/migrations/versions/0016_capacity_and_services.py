"""Capacity groups, disruption budgets and services: see each step's own words."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One step after the other."""
    _add_capacity_groups()
    _add_targets()
    _add_services()
    _add_ends()
    _add_disruptions()
    _add_metrics()


def downgrade() -> None:
    """The same steps, backwards."""
    _drop_metrics()
    _drop_disruptions()
    _drop_ends()
    _drop_services()
    _drop_targets()
    _drop_capacity_groups()


def _add_targets() -> None:
    """Where copies of services are registered, and which of them were asked to leave."""
    op.create_table(
        "service_target",
        sa.Column("task_id", sa.String(), primary_key=True),
        sa.Column("target", sa.String(), primary_key=True),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("drain_seconds", sa.Float(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
    )
    op.create_index("ix_service_target_service_id", "service_target", ["service_id"])
    op.create_index("ix_service_target_state", "service_target", ["state"])
    op.create_table(
        "service_release",
        sa.Column("task_id", sa.String(), primary_key=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
    )


def _drop_targets() -> None:
    op.drop_table("service_release")
    op.drop_table("service_target")


def _add_services() -> None:
    """Services with their versions, copies and history; which copy of which one a task is."""
    time, big = sa.DateTime(timezone=True), sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("job", sa.Column("service_id", sa.String(), nullable=True))
    op.add_column("job", sa.Column("copy_index", sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("revision", sa.Integer(), nullable=True))
    op.create_index("ix_job_service", "job", ["service_id", "finished_at"])
    op.create_table(
        "service",
        sa.Column("service_id", sa.String(), primary_key=True),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False, index=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("app", sa.String(), nullable=False, index=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("least", sa.Integer(), nullable=False),
        sa.Column("desired", sa.Integer(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disable_increase_desired", sa.Boolean(), nullable=False),
        sa.Column("disable_decrease_desired", sa.Boolean(), nullable=False),
        sa.Column("deploy", sa.JSON(), nullable=False),
        sa.Column("status", sa.JSON(), nullable=False),
        sa.Column("ends", sa.Integer(), nullable=False),
        sa.Column("ends_seen", sa.Integer(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
    )
    op.create_table(
        "service_revision",
        sa.Column("service_id", sa.String(), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("template", sa.Integer(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("verdict_reason", sa.String(), nullable=False),
    )
    op.create_table(
        "service_copy",
        sa.Column("id", big, primary_key=True),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.Column("leaving", sa.JSON(), nullable=True),
        sa.Column("stop", sa.JSON(), nullable=True),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("streak", sa.Integer(), nullable=False),
        sa.Column("started_at", time, nullable=True),
        sa.Column("ended_at", time, nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("host_id", sa.String(), nullable=True),
        sa.UniqueConstraint("service_id", "index", "incarnation"),
    )
    op.create_index("ix_service_copy_live", "service_copy", ["service_id", "ended_at"])
    op.create_index("ix_service_copy_task_id", "service_copy", ["task_id"], unique=True)
    op.create_table(
        "service_activity",
        sa.Column("id", big, primary_key=True),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
    )
    op.create_index("ix_service_activity_service", "service_activity", ["service_id", "id"])


def _drop_services() -> None:
    for table in ("service_activity", "service_copy", "service_revision", "service"):
        op.drop_table(table)
    op.drop_index("ix_job_service", "job")
    for column in ("revision", "copy_index", "service_id"):
        op.drop_column("job", column)


def _add_capacity_groups() -> None:
    """The groups, with the one that is always there; who counts to which; who has to leave."""
    groups = op.create_table(
        "capacity_group",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("guarantee", sa.JSON(), nullable=False),
        sa.Column("cap", sa.JSON(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    now = datetime.now(UTC)
    default = {"name": "default", "tier": "Flex", "guarantee": {}, "cap": {}, "weight": 1.0}
    told = {"owner": "", "revision": 1, "by": "fleetwide", "reason": "of all that names none"}
    op.bulk_insert(groups, [{**default, **told, "created_at": now, "updated_at": now}])
    group = sa.Column("capacity_group", sa.String(), nullable=False, server_default="default")
    op.add_column("job", group)
    op.add_column("job", sa.Column("priority", sa.Integer(), nullable=False, server_default="50"))
    op.add_column("attempt", sa.Column("preempt_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("attempt", sa.Column("preempt_for", sa.BigInteger(), nullable=True))
    marked = sa.text("preempt_at IS NOT NULL")
    op.create_index(
        "ix_attempt_preempt_at",
        "attempt",
        ["preempt_at"],
        sqlite_where=marked,
        postgresql_where=marked,
    )


def _drop_capacity_groups() -> None:
    op.drop_index("ix_attempt_preempt_at", "attempt")
    op.drop_column("attempt", "preempt_for")
    op.drop_column("attempt", "preempt_at")
    op.drop_column("job", "priority")
    op.drop_column("job", "capacity_group")
    op.drop_table("capacity_group")


def _add_ends() -> None:
    """Machines that are surely off, when pools last looked, and from where on events are kept."""
    op.add_column("host_standing", sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("host_pool", sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "event_horizon",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("highest", sa.BigInteger(), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=False),
    )
    words = sa.Column("pressure", sa.String(), nullable=False, server_default="")
    op.add_column("host", words)
    op.create_index("ix_archived_job_archived_at", "archived_job", ["archived_at"])


def _drop_ends() -> None:
    op.drop_index("ix_archived_job_archived_at", "archived_job")
    op.drop_column("host", "pressure")
    op.drop_table("event_horizon")
    op.drop_column("host_pool", "looked_at")
    op.drop_column("host_standing", "gone_at")


def _add_disruptions() -> None:
    """What was let go, what is to leave, and the tokens for all jobs together."""
    time, big = sa.DateTime(timezone=True), sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "disruption",
        sa.Column("attempt_id", big, primary_key=True, autoincrement=False),
        sa.Column("budget_key", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("granted_at", time, nullable=False),
        sa.Column("asked_at", time, nullable=False, index=True),
    )
    op.create_index("ix_disruption_budget", "disruption", ["budget_key", "granted_at"])
    op.create_table(
        "relocation",
        sa.Column("attempt_id", big, primary_key=True, autoincrement=False),
        sa.Column("budget_key", sa.String(), nullable=False),
        sa.Column("host_id", sa.String(), nullable=False, index=True),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", time, nullable=False),
        sa.Column("asked_at", time, nullable=False, index=True),
        sa.Column("not_before", time, nullable=True),
        sa.Column("refusal", sa.JSON(), nullable=True),
    )
    op.create_table(
        "disruption_quota",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("at", time, nullable=False),
    )
    op.add_column(
        "pool_machine",
        sa.Column("hurried", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def _drop_disruptions() -> None:
    op.drop_column("pool_machine", "hurried")
    for table in ("disruption_quota", "relocation", "disruption"):
        op.drop_table(table)


def _add_metrics() -> None:
    """Samples of services' metrics, and what scaling made of them last."""
    op.create_table(
        "metric_sample",
        sa.Column("service_id", sa.String(), primary_key=True),
        sa.Column("moment", sa.BigInteger(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("task_id", sa.String(), primary_key=True),
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("value", sa.Float(), nullable=False),
    )
    op.create_table(
        "service_scaling",
        sa.Column("service_id", sa.String(), primary_key=True),
        sa.Column("desired", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.Column("policies", sa.JSON(), nullable=False),
        sa.Column("last_actions", sa.JSON(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    )


def _drop_metrics() -> None:
    op.drop_table("service_scaling")
    op.drop_table("metric_sample")
