"""Transactions: every use of the database is one ``with store.read()`` or ``store.write()``."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Engine
from sqlmodel import Session

from fleetwide.containers.disruption_rates import SystemQuota
from fleetwide.settings import Settings
from fleetwide.store import registry_reviews
from fleetwide.store.engine import open_engine

REVIEW_DELAY = timedelta(hours=24)
SYSTEM_QUOTA = SystemQuota(most=500, per_second=50)


class Store:
    """The database behind transactions. One per process; safe to use from many threads.

    ``review_delay`` is how long the registry's garbage collection leaves alone what lost its last
    reference; ``quota`` is how many running attempts the platform moves of all jobs together.
    """

    def __init__(
        self,
        engine: Engine,
        review_delay: timedelta = REVIEW_DELAY,
        quota: SystemQuota = SYSTEM_QUOTA,
    ) -> None:
        self.engine = engine
        self._info = {"review_delay": review_delay, "system_quota": quota}
        self._writer = engine.execution_options(writes=True)
        self._reader = engine
        if engine.dialect.name == "postgresql":
            # By default each statement there sees another state of the database.
            self._reader = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @classmethod
    def open(
        cls,
        database_url: str,
        review_delay: timedelta = REVIEW_DELAY,
        quota: SystemQuota = SYSTEM_QUOTA,
    ) -> "Store":
        return cls(open_engine(database_url), review_delay, quota)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Store":
        """The store of a process: whatever it writes, it does so by the settings.

        Nothing is removed within a lease of being touched, however short reviews may wait: a push
        relies on what it touched before any manifest or membership tells of it.
        """
        url = settings.database_url.get_secret_value()
        lease = timedelta(seconds=settings.registry_lease_seconds)
        quota = SystemQuota(settings.disruption_quota, settings.disruption_quota_per_second)
        return cls.open(url, max(timedelta(hours=settings.registry_review_hours), lease), quota)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one snapshot and changes nothing."""
        with self._session(self._reader) as session:
            yield session

    @contextmanager
    def write(self, *, reason: str = "") -> Iterator[Session]:
        """A transaction that commits at the end of the block, or rolls back on any exception.

        ``reason`` is why somebody wants it: it stands in what is told of the registry, and of
        running work that is moved.
        """
        with self._session(self._writer) as session, session.begin():
            session.info["reason"] = reason
            yield session
            session.flush()
            registry_reviews.write_down(session)

    def _session(self, engine: Engine) -> Session:
        return Session(engine, expire_on_commit=False, info=self._info)
