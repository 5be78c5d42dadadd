"""What the fleet needs beyond CPU and memory: see each step's own words."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_resources()
    _add_pools()
    _add_standings()
    _add_states()
    _add_company()
    _add_scheduler()  # last: a table that is written anew for SQLite loses its triggers


def downgrade() -> None:
    _drop_scheduler()  # first, for the same reason
    _drop_standings()
    _drop_states()
    _drop_company()
    _drop_pools()
    _drop_resources()


def _add_company() -> None:
    """The pinned images of extra containers, and what health checks tell."""
    op.add_column("job", sa.Column("extra_images", sa.JSON(), nullable=True))
    op.add_column("attempt", sa.Column("health", sa.JSON(), nullable=True))
    op.add_column("attempt", sa.Column("extra_containers", sa.JSON(), nullable=True))


def _drop_company() -> None:
    with op.batch_alter_table("attempt") as batch_op:
        batch_op.drop_column("extra_containers")
        batch_op.drop_column("health")
    with op.batch_alter_table("job") as batch_op:
        batch_op.drop_column("extra_images")


def _resources() -> dict[str, tuple[sa.Column[Any], ...]]:
    return {
        "host": (
            sa.Column("disk_bytes", sa.BigInteger(), nullable=True),
            sa.Column("network_mbps", sa.Integer(), nullable=True),
            sa.Column("gpus", sa.JSON(), nullable=False, server_default="[]"),
            sa.Column("first_port", sa.Integer(), nullable=False, server_default="20000"),
            sa.Column("last_port", sa.Integer(), nullable=False, server_default="32000"),
            sa.Column("machine", sa.JSON(), nullable=False, server_default="{}"),
        ),
        "attempt": (
            sa.Column("disk_bytes", sa.BigInteger(), nullable=False, server_default="0"),
            sa.Column("network_mbps", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("gpus", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("devices", sa.JSON(), nullable=False, server_default="[]"),
            sa.Column("ports", sa.JSON(), nullable=False, server_default="{}"),
        ),
    }


def _add_resources() -> None:
    """Disk, network, devices and ports; images that hosts hold, and their faults."""
    for table, columns in _resources().items():
        for column in columns:
            op.add_column(table, column)
    op.create_table(
        "host_image",
        sa.Column("host_id", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
    )
    op.create_index("ix_host_image_digest", "host_image", ["digest"])
    op.create_table(
        "host_fault",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("host_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_host_fault_at", "host_fault", ["at"])


def _drop_resources() -> None:
    op.drop_table("host_fault")
    op.drop_table("host_image")
    for table, columns in _resources().items():
        for column in columns:
            op.drop_column(table, column.name)


def _add_standings() -> None:
    """What people want of hosts, and the valve on what is given up as lost."""
    op.create_table(
        "host_standing",
        sa.Column("host_id", sa.String(), primary_key=True),
        sa.Column("wanted", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("silent_since", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "lost_valve",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.Column("silent", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.String(), nullable=False),
        sa.Column("released_because", sa.String(), nullable=False),
    )


def _drop_standings() -> None:
    op.drop_table("lost_valve")
    op.drop_table("host_standing")


def _add_states() -> None:
    """Versions and lineage of attempts; the archive of what has finished."""
    op.add_column("attempt", sa.Column("left_state", sa.String(), nullable=True))
    op.add_column("attempt", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("attempt", sa.Column("lineage", sa.JSON(), nullable=False, server_default="{}"))
    op.create_index("ix_job_finished_at", "job", ["finished_at"])
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "archived_job",
        sa.Column("id", number, primary_key=True, autoincrement=False),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("host_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("row", sa.JSON(), nullable=False),
    )
    op.create_index("ix_archived_job_workflow_id", "archived_job", ["workflow_id"])
    op.create_index("ix_archived_job_app", "archived_job", ["app"])
    op.create_table(
        "archived_attempt",
        sa.Column("job_id", number, primary_key=True, autoincrement=False),
        sa.Column("index", sa.Integer(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True),
        sa.Column("row", sa.JSON(), nullable=False),
    )


def _drop_states() -> None:
    op.drop_table("archived_attempt")
    op.drop_index("ix_job_finished_at", "job")
    op.drop_table("archived_job")
    for column in ("lineage", "version", "left_state"):
        op.drop_column("attempt", column)


def _add_pools() -> None:
    """Host pools and their machines."""
    op.create_table(
        "host_pool",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.Column("offers", sa.JSON(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("quiet_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "pool_machine",
        sa.Column("machine_id", sa.String(), primary_key=True),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end", sa.String(), nullable=True),
    )
    op.create_index("ix_pool_machine_pool", "pool_machine", ["pool"])


def _drop_pools() -> None:
    op.drop_table("pool_machine")
    op.drop_table("host_pool")


def _add_scheduler() -> None:
    """Who may place work, and the hosts on which something was given back."""
    op.create_table(
        "scheduler_lease",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("taken_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "freed_host",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("host_id", sa.String(), nullable=False),
    )
    for statement in _triggers():
        op.execute(statement)


def _triggers() -> tuple[str, ...]:
    """Whoever gives a reservation back, the scheduler learns of it."""
    insert = "INSERT INTO freed_host (host_id) VALUES (OLD.host_id);"
    when = "AFTER UPDATE OF reserved ON attempt"
    if op.get_bind().dialect.name != "postgresql":
        changed = "WHEN OLD.reserved AND NOT NEW.reserved"
        return (f"CREATE TRIGGER attempt_freed {when} {changed} BEGIN {insert} END",)
    body = f"$$ BEGIN {insert} RETURN NULL; END $$"
    changed = "FOR EACH ROW WHEN (OLD.reserved AND NOT NEW.reserved)"
    return (
        f"CREATE FUNCTION attempt_freed() RETURNS trigger LANGUAGE plpgsql AS {body}",
        f"CREATE TRIGGER attempt_freed {when} {changed} EXECUTE FUNCTION attempt_freed()",
    )


def _drop_scheduler() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER attempt_freed ON attempt")
        op.execute("DROP FUNCTION attempt_freed()")
    else:
        op.execute("DROP TRIGGER attempt_freed")
    op.drop_table("freed_host")
    op.drop_table("scheduler_lease")
