"""Transactions: every use of the database is one ``with store.read()`` or ``store.write()``."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlmodel import Session

from fleetwide.store.engine import open_engine


class Store:
    """The database behind transactions. One per process; safe to use from many threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(writes=True)

    @classmethod
    def open(cls, database_url: str) -> "Store":
        return cls(open_engine(database_url))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one snapshot and changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block, or rolls back on any exception."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session
