"""Keeps load balancers at what the copies of services are: a turn of the scheduler's leader.

Each turn looks at SQL, writes down what is due, and only then tells the load balancers; what they
have taken is written after that. So a scheduler that is killed anywhere leaves rows by which the
next one goes on, and telling a load balancer twice changes nothing.

A turn looks at the services that events have told of, and now and then at all of them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from sqlmodel import Session

from fleetwide.models.targets import Provider, Target, TargetState
from fleetwide.providers.nginx_targets import NginxUpstreams
from fleetwide.services.targets import Change, ReachableCopy, Registration, due
from fleetwide.settings import Settings
from fleetwide.store import endpoints, events, service_copies, targets
from fleetwide.store.scheduler_lease import LeaseLost
from fleetwide.store.session import Store
from fleetwide.store.target_tables import ServiceTargetRow
from fleetwide.store.targets import Key
from workers.leading import Leadership
from workers.load_balancers import GroupTeller, NginxTeller, Outcome, provider_of

if TYPE_CHECKING:
    from fleetwide.providers.target_groups import TargetGroups

TARGETS_SECONDS = 1.0
LOOK_AT_ALL = 30.0
"""Seconds after which a turn looks at all services: others may change files and groups, too."""
MOST_EVENTS = 2000
"""More than so many since the last turn, and it looks at all services."""
FORGET_SECONDS = 600.0
SETTLES = timedelta(seconds=2)
"""nginx answers that it will load its file a moment before it has."""

Named = Mapping[str, Sequence[Target]]
"""The targets of each service that names some."""


@dataclass(frozen=True)
class News:
    """What a turn has to look at."""

    cursor: int
    """The newest event that was seen."""
    services: frozenset[str] | None
    """None for all."""
    busy: bool
    """Whether a load balancer is still to be told something, or is waited for."""


class Registrar:
    """Registers copies where their services say, and sees that they leave before they stop."""

    def __init__(
        self, store: Store, leadership: Leadership, nginx: NginxTeller, groups: GroupTeller
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._nginx = nginx
        self._groups = groups
        self._known: dict[str, tuple[targets.Standing, list[Target]]] = {}
        self._cursor: int | None = None
        self._looked = self._forgot = float("-inf")

    @classmethod
    def from_settings(cls, settings: Settings, store: Store, leadership: Leadership) -> Self:
        nginx = NginxTeller(NginxUpstreams.from_settings(settings))
        return cls(store, leadership, nginx, GroupTeller(partial(_groups, settings)))

    async def turn(self) -> None:
        """One look, and all that follows from it."""
        await asyncio.to_thread(self._turn)

    def _turn(self) -> None:
        began = monotonic()
        with self._store.read() as session:
            news = self._news(session)
            named, changed = self._named(session)
        try:
            services = None if news.services is None else news.services | changed
            is_due = self._plan(named, services)
            if is_due or changed or news.busy or news.services is None:
                self._tell(named)
                self._end_drains()
            self._forget()
        except LeaseLost:
            return  # whoever leads now goes on by the rows
        self._cursor = news.cursor
        if news.services is None:
            self._looked = began

    def _news(self, session: Session) -> News:
        busy = targets.unsettled(session)
        newest = events.newest(session)
        if self._cursor is None or monotonic() - self._looked >= LOOK_AT_ALL:
            return News(newest, None, busy)
        told = events.subjects(session, self._cursor, limit=MOST_EVENTS)
        services = _services(session, {subject for _, subject in told})
        if services is None or len(told) == MOST_EVENTS:
            return News(newest, None, busy)
        return News(told[-1][0] if told else self._cursor, services, busy)

    def _named(self, session: Session) -> tuple[Named, frozenset[str]]:
        """Who names what, and whose spec or deploy is another than it was.

        Specs are read when they are new: they are long, and there may be many.
        """
        before, now = self._known, targets.standings(session)
        changed = {
            name for name, one in now.items() if name not in before or before[name][0] != one
        }
        self._known = {
            name: (one, targets.of_revision(session, name, one.revision))
            if name in changed
            else before[name]
            for name, one in now.items()
        }
        named = {name: found for name, (_, found) in self._known.items() if found}
        return named, frozenset(changed | (before.keys() - now.keys()))

    def _plan(self, named: Named, services: frozenset[str] | None) -> bool:
        """Write down what is due at these services; whether there was anything."""
        if services is not None and not services:
            return False
        with self._store.read() as session:
            asked = None if services is None else sorted(services)
            rows = _by_service(targets.registrations(session, asked))
            among = named.keys() | rows.keys() if services is None else services
            wanted = sorted(name for name in among if name in named or name in rows)
            copies = _reaches(session, wanted)
        plan = {
            name: changes
            for name in wanted
            if (changes := due(named.get(name, []), copies.get(name, []), rows.get(name, [])))
        }
        if plan:
            self._write(plan, named)
        return bool(plan)

    def _write(self, plan: Mapping[str, Sequence[Change]], named: Named) -> None:
        now = datetime.now(UTC)
        with self._store.write() as session:
            self._leadership.fence(session)
            for name, changes in plan.items():
                by_key = {target.key: target for target in named.get(name, [])}
                targets.write(session, name, changes, by_key, now=now)
                events.append_all(session, [_event(name, change, now) for change in changes])

    def _tell(self, named: Named) -> None:
        """Tell the load balancers what the rows say now, and write what they took."""
        with self._store.read() as session:
            rows = [row for _, row in targets.registrations(session)]
            over = targets.over(session, _leaving(rows))
        if self._leadership.token is None:
            raise LeaseLost("another scheduler tells the load balancers now")
        of_nginx = [row for row in rows if provider_of(row) is Provider.NGINX]
        of_groups = [row for row in rows if provider_of(row) is Provider.TARGET_GROUP]
        outcome = self._nginx.tell(of_nginx, _upstreams(named))
        outcome.add(self._groups.tell(of_groups, over))
        if outcome != Outcome():
            with self._store.write() as session:
                self._leadership.fence(session)
                _keep(session, outcome, datetime.now(UTC))

    def _end_drains(self) -> None:
        """Let copies go that nginx sends nothing any more, when their time to end requests is over.

        Those that have ended have no requests.
        """
        now = datetime.now(UTC)
        with self._store.read() as session:
            rows = [row for row in targets.draining(session) if row.removed_at is not None]
            over = targets.over(session, [row.task_id for row in rows])
        ended = [_key(row) for row in rows if row.task_id in over or _is_drained(row, now)]
        if ended:
            with self._store.write() as session:
                self._leadership.fence(session)
                targets.drained(session, ended, now=now)

    def _forget(self) -> None:
        if monotonic() - self._forgot < FORGET_SECONDS:
            return
        with self._store.write() as session:
            self._leadership.fence(session)
            targets.forget(session, now=datetime.now(UTC))
        self._forgot = monotonic()


def _groups(settings: Settings) -> "TargetGroups":
    from fleetwide.providers.target_groups import TargetGroups  # noqa: PLC0415

    return TargetGroups(settings)


def _services(session: Session, subjects: set[str]) -> frozenset[str] | None:
    """The services that events on these subjects may be about; None when it may be any.

    A task is named ``<service>.<index>.<incarnation>``; what looks so and is none does no harm.
    One that was moved is a copy of another service by now.
    """
    tasks = sorted(name.removeprefix("task/") for name in subjects if name.startswith("task/"))
    found = set(service_copies.services_of(session, tasks).values())
    for subject in subjects:
        kind, _, name = subject.partition("/")
        if kind == "host":
            return None
        if kind == "service":
            found.add(name)
        elif kind == "task":
            found.add(name.rsplit(".", 2)[0])
    return frozenset(found)


def _leaving(rows: Sequence[Registration]) -> list[str]:
    return [row.task_id for row in rows if row.state is TargetState.DRAINING]


def _upstreams(named: Named) -> set[str]:
    return {
        target.place
        for those in named.values()
        for target in those
        if target.provider is Provider.NGINX
    }


def _by_service(rows: Sequence[tuple[str, Registration]]) -> dict[str, list[Registration]]:
    found = defaultdict[str, list[Registration]](list)
    for service, row in rows:
        found[service].append(row)
    return dict(found)


def _reaches(session: Session, services: Sequence[str]) -> dict[str, list[ReachableCopy]]:
    found = defaultdict[str, list[ReachableCopy]](list)
    for one in endpoints.seen(session, services):
        found[one.service_id].append(one.reach)
    return dict(found)


def _event(service_id: str, change: Change, now: datetime) -> dict[str, Any]:
    joins = change.to is TargetState.REGISTERING
    return events.values(
        f"service/{service_id}",
        "target",
        f"{change.task_id} {'joins' if joins else 'leaves'} {change.target}: {change.why}",
        at=now,
        data={"task": change.task_id, "target": change.target, "state": change.to},
    )


def _keep(session: Session, outcome: Outcome, now: datetime) -> None:
    targets.registered(session, outcome.registered, now=now)
    targets.unregistered(session, outcome.lost, now=now)
    targets.removed(session, outcome.removed, now=now)
    targets.drained(session, outcome.drained, now=now)
    for words, keys in _by_words(outcome.waiting).items():
        targets.waiting(session, keys, words)
    for words, keys in _by_words(outcome.failed).items():
        targets.failed(session, keys, words)


def _by_words(told: Sequence[tuple[Key, str]]) -> dict[str, list[Key]]:
    found = defaultdict[str, list[Key]](list)
    for key, words in told:
        found[words].append(key)
    return found


def _key(row: ServiceTargetRow) -> Key:
    return row.task_id, row.target


def _is_drained(row: ServiceTargetRow, now: datetime) -> bool:
    assert row.removed_at is not None
    return now >= row.removed_at + SETTLES + timedelta(seconds=row.drain_seconds)
