"""Schema migrations, shipped in the package."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text
from sqlmodel import SQLModel

from fleetwide.store import (
    archive_tables,
    batch_tables,
    capacity_tables,
    disruption_tables,
    fleet_tables,
    host_tables,
    metric_tables,
    pool_tables,
    queue_tables,
    registry_tables,
    scheduler_tables,
    service_tables,
    tables,
    target_tables,
)

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x666C656574  # "fleet": any number that every process takes for the same purpose
# Events that came by a dump from another server: numbers of transactions mean nothing here.
_SETTLE_RESTORED = """
UPDATE event SET xid = 0 WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to ``revision``; does nothing when it is there already."""
    config = _config()
    with _alone(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        if revision == "head" and engine.dialect.name == "postgresql":
            connection.execute(text(_SETTLE_RESTORED))


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Take the schema back to ``revision``; data of dropped tables is lost."""
    config = _config()
    with _alone(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """One transaction for all steps; other processes that migrate wait for its end.

    On SQLite the beginning of a writing transaction is the lock already.
    """
    with engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield connection


def new_revision(engine: Engine, message: str) -> None:
    """Write a migration for the difference between the tables and the database."""
    config = _config()
    with engine.connect().execution_options(writes=True) as connection:
        config.attributes["connection"] = connection
        command.revision(config, message=message, autogenerate=True)


def drift(engine: Engine) -> list[object]:
    """What the tables in code have and the migrated database lacks, or the reverse."""
    assert tables.EventRow.__tablename__
    assert pool_tables.HostPoolRow.__tablename__
    assert service_tables.ServiceRow.__tablename__
    assert registry_tables.TagRow.__tablename__
    assert scheduler_tables.FreedHostRow.__tablename__
    assert host_tables.HostFaultRow.__tablename__
    assert fleet_tables.HostStandingRow.__tablename__
    assert archive_tables.ArchivedJobRow.__tablename__
    assert batch_tables.JobWaitRow.__tablename__
    assert disruption_tables.DisruptionRow.__tablename__
    assert capacity_tables.CapacityGroupRow.__tablename__
    assert metric_tables.MetricSampleRow.__tablename__
    assert queue_tables.QueueRow.__tablename__
    assert target_tables.ServiceTargetRow.__tablename__
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, SQLModel.metadata))
