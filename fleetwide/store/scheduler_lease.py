"""The right to place work: held by one scheduler at a time, fenced by a number.

Time is the database's, so that clocks of schedulers do not matter. A lease that ran out is still
its holder's until somebody else takes it; what counts is the token, compared in the very
transaction that writes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import TextClause, text
from sqlmodel import Session

from fleetwide.store.clock import MILLISECONDS

LEASE_SECONDS = 3.0
MOST_SECONDS = 60.0
"""No lease is given for longer. One that goes on for longer was given before the database's clock
was set back, and is free: else nobody would lead until the clock is there again."""
NAME = "placement"

# The row is locked until the transaction ends: a rival waits, and then sees it renewed.
_HOLD = """
UPDATE scheduler_lease SET expires_ms = {clock} + :milliseconds
WHERE name = :name AND token = :token
"""
_TAKE = """
INSERT INTO scheduler_lease (name, holder, token, taken_ms, expires_ms)
VALUES (:name, :holder, 1, {clock}, {clock} + :milliseconds)
ON CONFLICT (name) DO UPDATE SET
  holder = excluded.holder,
  token = scheduler_lease.token + 1,
  taken_ms = excluded.taken_ms,
  expires_ms = excluded.expires_ms
WHERE scheduler_lease.expires_ms <= {clock}
  OR scheduler_lease.expires_ms > {clock} + :most_milliseconds
RETURNING token
"""
_GIVE_BACK = """
UPDATE scheduler_lease SET expires_ms = 0 WHERE name = :name AND token = :token
"""
_LOOK = """
SELECT holder, token, taken_ms, expires_ms, {clock} AS now_ms FROM scheduler_lease
WHERE name = :name
"""


class LeaseLost(Exception):
    """Another scheduler has taken over: nothing of this transaction may be written."""


@dataclass(frozen=True)
class Lease:
    """The lease as everybody sees it."""

    holder: str
    token: int
    taken_at: datetime
    expires_at: datetime
    held: bool
    """Whether it has not run out yet."""


def take(session: Session, holder: str, *, seconds: float = LEASE_SECONDS) -> int | None:
    """Take the lease when nobody holds it: its token, or None while another one does."""
    values = {
        "name": NAME,
        "holder": holder,
        "milliseconds": _milliseconds(seconds),
        "most_milliseconds": _milliseconds(MOST_SECONDS),
    }
    found = session.connection().execute(_statement(session, _TAKE), values).first()
    return None if found is None else int(found.token)


def hold(session: Session, token: int, *, seconds: float = LEASE_SECONDS) -> None:
    """Renew the lease, and keep others off it until the transaction ends.

    Raises:
        LeaseLost: somebody else took it since.
    """
    values = {"name": NAME, "token": token, "milliseconds": _milliseconds(seconds)}
    if not session.connection().execute(_statement(session, _HOLD), values).rowcount:
        raise LeaseLost(f"the lease to place work has a newer token than {token}")


def give_back(session: Session, token: int) -> None:
    """Let the next one take it at once; nothing happens when it is somebody else's already."""
    session.connection().execute(_statement(session, _GIVE_BACK), {"name": NAME, "token": token})


def look(session: Session) -> Lease | None:
    """Who holds the lease, or held it last; None before anybody did."""
    found = session.connection().execute(_statement(session, _LOOK), {"name": NAME}).first()
    if found is None:
        return None
    return Lease(
        holder=found.holder,
        token=found.token,
        taken_at=_time(found.taken_ms),
        expires_at=_time(found.expires_ms),
        held=0 < found.expires_ms - found.now_ms <= _milliseconds(MOST_SECONDS),
    )


def _milliseconds(seconds: float) -> int:
    return round(min(seconds, MOST_SECONDS) * 1000)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _statement(session: Session, words: str) -> TextClause:
    return text(words.format(clock=MILLISECONDS[session.get_bind().dialect.name]))
