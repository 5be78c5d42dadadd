"""The fleet as the scheduler keeps it between ticks: only hosts that changed are read again.

A host is read again when its version is another than expected (it was registered, cordoned, has new
images), when a reservation on it was given back (a trigger notes that, whoever did it), and when
something that was decided for it was not written. What placements took is known without reading.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from fleetwide.containers.placement import Engine, Fleet, Host
from fleetwide.intervals import is_over
from fleetwide.store import fleet_picture, host_images
from fleetwide.store.fleet_picture import Pictured
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.kept_usage import KeptUsage
from fleetwide.store.launches import Committed, Launch
from fleetwide.store.scheduler_tables import FreedHostRow

COMPARE_AFTER = timedelta(seconds=0.5)
"""How often the versions of all hosts are compared with those known."""
READ_ALL_AFTER = timedelta(minutes=5)
"""How often everything is read anew: faults are forgotten with time, which changes no version."""
MOST_FREED = 5_000
MANY_PORTS = 1_000
"""While a host has so many ports free, their number makes no difference to any task."""
IDS_AT_ONCE = 500


class KeptFleet:
    """An engine that knows the fleet. It forgets all when its decisions could not be written."""

    def __init__(self, shapes: JobShapes) -> None:
        self.engine = Engine(Fleet.of(()))
        self.versions: dict[str, int] = {}
        self.usage = KeptUsage()
        self._shapes = shapes
        self._images: frozenset[str] = frozenset()
        self._dirty: set[str] = set()
        self._freed: set[int] = set()
        """Notes of freed hosts that have been read, and are still to be removed."""
        self._read_all_at: datetime | None = None
        self._compared_at: datetime | None = None

    def forget(self) -> None:
        """Read everything anew next time; numbers of notes may be given a second time."""
        self._read_all_at = None
        self._freed = set()

    def refresh(self, session: Session, images: frozenset[str], *, now: datetime) -> bool:
        """Look at the hosts that changed; whether there were any.

        ``images`` are the digests that waiting tasks want: hosts that hold them are preferred.
        """
        self._read_freed(session)
        if is_over(self._read_all_at, READ_ALL_AFTER, now):
            self._read_all(session, images, now)
            return True
        stale = self._dirty | self._other_versions(session, now)
        holders = host_images.holders(session, images - self._images)
        self._images |= images
        self._dirty = set()
        if stale or holders:
            found = fleet_picture.some_hosts(session, self._shapes, self._images, stale, now=now)
            self._take(found.hosts, stale, holders)
            self.usage.take(found.usage, stale)
        return bool(stale or holders)

    def committed(self, done: Committed, launches: Iterable[Launch]) -> None:
        """What came of decisions: hosts for which something was not written are read again."""
        for host_id in done.claimed:
            self.versions[host_id] += 1
        for each in launches:
            if each.attempt_id in done.launched:
                self.usage.add(each.host_id, each.group, each.takes)
            if each.attempt_id not in done.launched or each.gpus or each.ports:
                self._dirty.add(each.host_id)

    def remove_notes(self, session: Session) -> None:
        """Remove the notes of freed hosts that have been read."""
        some = sorted(self._freed)
        for first in range(0, len(some), IDS_AT_ONCE):
            ids = some[first : first + IDS_AT_ONCE]
            session.exec(delete(FreedHostRow).where(col(FreedHostRow.id).in_(ids)))
        self._freed = set()

    def has_notes(self) -> bool:
        """Whether there are such notes."""
        return bool(self._freed)

    def read_notes(self, session: Session) -> None:
        """Learn which hosts were freed, for later: while nothing waits, nobody looks at them."""
        self._read_freed(session)

    def _read_freed(self, session: Session) -> None:
        query = select_columns(col(FreedHostRow.id), col(FreedHostRow.host_id)).limit(MOST_FREED)
        for number, host_id in session.connection().execute(query):
            if number is not None and number not in self._freed:
                self._freed.add(number)
                self._dirty.add(host_id)

    def _other_versions(self, session: Session, now: datetime) -> set[str]:
        if not is_over(self._compared_at, COMPARE_AFTER, now):
            return set()
        self._compared_at = now
        there = fleet_picture.versions(session)
        return {host_id for host_id, _ in there.items() ^ self.versions.items()}

    def _read_all(self, session: Session, images: frozenset[str], now: datetime) -> None:
        found = fleet_picture.all_hosts(session, self._shapes, images, now=now)
        occupants = tuple(one for each in found.hosts for one in each.occupants)
        self.engine = Engine(Fleet.of(each.host for each in found.hosts), occupants)
        self.versions = {each.host.host_id: each.host.version for each in found.hosts}
        self.usage.take_all(found.usage)
        self._images, self._dirty = images, set()
        self._read_all_at = self._compared_at = now

    def _take(
        self,
        found: Collection[Pictured],
        stale: Collection[str],
        holders: dict[str, frozenset[str]],
    ) -> None:
        """Put what was found of the stale hosts into the engine, and new holders of images."""
        fleet = self.engine.board.fleet
        fresh = {each.host.host_id: each.host for each in found}
        known = {name: fleet.hosts[fleet.index[name]] for name in stale if name in fleet.index}
        alike = known.keys() == fresh.keys() and all(
            _alike(known[name], fresh[name]) for name in fresh
        )
        if not alike or not holders.keys().isdisjoint(fleet.index):
            kept = (host for host in self.engine.seen() if host.host_id not in stale)
            same = (_with_images(host, holders.get(host.host_id)) for host in kept)
            self.engine = self.engine.moved_to(Fleet.of((*same, *fresh.values())))
        for each in found:
            self.engine.look_again(each.host, each.occupants)
        for name in stale:
            self.versions.pop(name, None)
        self.versions.update({name: host.version for name, host in fresh.items()})


def _with_images(host: Host, more: frozenset[str] | None) -> Host:
    return replace(host, images=host.images | more) if more else host


def _alike(before: Host, now: Host) -> bool:
    """Whether only what is free differs."""
    ports = [each.free_ports for each in (before, now)]
    many = all(each is None or each >= MANY_PORTS for each in ports)
    return (many or ports[0] == ports[1]) and _standing(before) == _standing(now)


def _standing(host: Host) -> tuple[object, ...]:
    return (host.total, host.traits, host.quality, host.images)
