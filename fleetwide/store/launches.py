"""Writing what a tick has decided: all of it in a few statements, however many tasks it places.

A host's version is compared and raised in one statement: what was decided on old figures is not
written, and is decided again. Rows that somebody else is writing at the moment are left out instead
of waited for, so that the scheduler never stands still behind a task that is being ended, and never
locks with it.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, CursorResult, bindparam, text, update
from sqlmodel import Session, col

from fleetwide.containers.placement import Amounts, Decision
from fleetwide.models.base import Waiting
from fleetwide.models.capacity_groups import DEFAULT_GROUP
from fleetwide.models.hosts import TAKES_WORK
from fleetwide.models.task_states import TaskState
from fleetwide.store import attempt_states, events, grants
from fleetwide.store.tables import AttemptRow, UtcDateTime

# What was decided comes as one JSON array of pairs: ``many`` has a row for each. The plus keeps
# SQLite from going through all rows of a state, once for each pair, by their index.
_CLAIM = {
    "sqlite": """
UPDATE host SET version = host.version + 1
FROM (SELECT value ->> 0 AS host_id, value ->> 1 AS version FROM json_each(:pairs)) AS many
WHERE host.host_id = many.host_id AND host.version = many.version AND +host.state IN :open
RETURNING host.host_id
""",
    "postgresql": """
WITH free AS (
  SELECT host.host_id
  FROM json_array_elements(CAST(:pairs AS json)) AS many
  JOIN host ON host.host_id = many ->> 0 AND host.version = CAST(many ->> 1 AS integer)
  WHERE host.state IN :open
  FOR NO KEY UPDATE OF host SKIP LOCKED
)
UPDATE host SET version = host.version + 1 FROM free WHERE host.host_id = free.host_id
RETURNING host.host_id
""",
}
_LAUNCH = {
    "sqlite": """
UPDATE attempt SET host_id = many.host_id, state = :launched, version = version + 1,
  reserved = true, launched_at = :now, waiting = NULL
FROM (SELECT value ->> 0 AS id, value ->> 1 AS host_id FROM json_each(:pairs)) AS many
WHERE attempt.id = many.id AND +attempt.state = :accepted
RETURNING attempt.id
""",
    "postgresql": """
WITH free AS (
  SELECT attempt.id, many ->> 1 AS host_id
  FROM json_array_elements(CAST(:pairs AS json)) AS many
  JOIN attempt ON attempt.id = CAST(many ->> 0 AS bigint)
  WHERE attempt.state = :accepted
  FOR NO KEY UPDATE OF attempt SKIP LOCKED
)
UPDATE attempt SET host_id = free.host_id, state = :launched, version = attempt.version + 1,
  reserved = true, launched_at = :now, waiting = NULL
FROM free WHERE attempt.id = free.id
RETURNING attempt.id
""",
}
_EXPLAIN = {
    "sqlite": """
UPDATE attempt SET waiting = many.waiting
FROM (SELECT value ->> 0 AS id, value -> 1 AS waiting FROM json_each(:pairs)) AS many
WHERE attempt.id = many.id AND +attempt.state = :accepted
""",
    "postgresql": """
WITH free AS (
  SELECT attempt.id, many -> 1 AS waiting
  FROM json_array_elements(CAST(:pairs AS json)) AS many
  JOIN attempt ON attempt.id = CAST(many ->> 0 AS bigint)
  WHERE attempt.state = :accepted
  FOR NO KEY UPDATE OF attempt SKIP LOCKED
)
UPDATE attempt SET waiting = free.waiting FROM free WHERE attempt.id = free.id
""",
}
_VALUES: tuple[BindParameter[Any], ...] = (
    bindparam("open", sorted(TAKES_WORK), expanding=True),
    bindparam("accepted", TaskState.ACCEPTED),
    bindparam("launched", TaskState.LAUNCHED),
    bindparam("now", type_=UtcDateTime),
)


class Launch(NamedTuple):
    """One attempt gets one host."""

    attempt_id: int
    host_id: str
    workflow_id: str
    child: int
    """Its index in the array."""
    attempt: int
    gpus: tuple[int, ...] = ()
    """Places of the devices that it gets."""
    ports: bool = False
    """Whether it wants ports of the host."""
    group: str = DEFAULT_GROUP
    """Its capacity group."""
    takes: tuple[int, ...] = Amounts().vector
    """What it takes of the host, in the order of ``Amounts``."""


@dataclass(frozen=True)
class Committed:
    """What was written of a tick."""

    claimed: frozenset[str]
    """Hosts that were as they were thought to be; each has a version more now."""
    launched: frozenset[int]
    """Attempts that have their host."""


def commit(
    session: Session, launches: Sequence[Launch], versions: Mapping[str, int], *, now: datetime
) -> Committed:
    """Write the launches whose host is unchanged, an event for each; ``versions`` is by host id."""
    if not launches:
        return Committed(frozenset(), frozenset())
    hosts = sorted({each.host_id for each in launches})
    pairs = [(host_id, versions[host_id]) for host_id in hosts]
    claimed = frozenset[str](_run(session, _CLAIM, pairs).scalars())
    there = [each for each in launches if each.host_id in claimed]
    plain = [(each.attempt_id, each.host_id) for each in there if not (each.gpus or each.ports)]
    launched = set[int](_run(session, _LAUNCH, plain, now).scalars()) if plain else set[int]()
    launched |= _launch_with_grants(session, [e for e in there if e.gpus or e.ports], now)
    tell(session, [each for each in there if each.attempt_id in launched], now=now)
    return Committed(claimed, frozenset(launched))


def tell(session: Session, launched: Collection[Launch], *, now: datetime) -> None:
    """One event for each."""
    if launched:
        events.append_all(session, [_event(each, now) for each in launched])


def explain(session: Session, reasons: Mapping[int, Waiting]) -> None:
    """Keep why attempts wait; those that got a host meanwhile are left alone."""
    if reasons:
        pairs = [(number, each.model_dump(mode="json")) for number, each in reasons.items()]
        _run(session, _EXPLAIN, pairs)


def _launch_with_grants(session: Session, launches: list[Launch], now: datetime) -> set[int]:
    """Devices and ports are chosen one by one; what gets none waits for the next tick."""
    launched: set[int] = set()
    for host_id in sorted({each.host_id for each in launches}):
        here = [
            Decision(each.attempt_id, host_id, each.gpus)
            for each in launches
            if each.host_id == host_id
        ]
        for attempt_id, grant in grants.give(session, host_id, here):
            given = {"devices": grant.devices, "ports": grant.ports}
            for number in _run(session, _LAUNCH, [(attempt_id, host_id)], now).scalars():
                launched.add(number)
                mine = update(AttemptRow).where(col(AttemptRow.id) == number)
                session.exec(mine.values(**given))
    return launched


def _event(launch: Launch, now: datetime) -> dict[str, object]:
    which = (launch.child, launch.attempt)
    return attempt_states.event(
        launch.workflow_id, which, TaskState.LAUNCHED, at=now, host=launch.host_id
    )


def _run(
    session: Session,
    words: Mapping[str, str],
    pairs: Iterable[tuple[object, object]],
    now: datetime | None = None,
) -> CursorResult[Any]:
    said = words[session.get_bind().dialect.name]
    statement = text(said).bindparams(*(each for each in _VALUES if f":{each.key}" in said))
    values = {"pairs": json.dumps(list(pairs)), "now": now}
    return session.connection().execute(statement, values)
