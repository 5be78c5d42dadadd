"""What machines that pools would start offer: written by the pools, read by the scheduler."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from sqlmodel import Session, col, select

from fleetwide.containers.placement import UNCOUNTED, Amounts, Host, Offer, traits_of
from fleetwide.containers.pool_shares import OtherPool
from fleetwide.models.base import Record
from fleetwide.models.pools import PoolMachine
from fleetwide.store import pools
from fleetwide.store.pool_tables import HostPoolRow, PoolMachineRow
from fleetwide.store.tables import HostRow

NOTED_EVERY = timedelta(minutes=1)
COUNTS_FOR = timedelta(minutes=6)
"""A pool does not look while it starts machines, which takes five minutes at the most."""


class _OfferNote(Record):
    """An offer as the row keeps it; disk and network of a machine to come are not known."""

    type: str
    cpu_milli: int
    memory_bytes: int
    gpus: int = 0
    labels: dict[str, str]
    price: float = 1.0
    grows: bool = True
    """Whether its pool is smaller than it may be."""
    room: int = 0
    """Machines that its pool could start now; 0 while its last ones failed, or none are left."""

    @classmethod
    def of(cls, offer: Offer, room: int, *, grows: bool) -> Self:
        total = offer.host.total
        return cls(
            type=offer.name,
            cpu_milli=total.cpu_milli,
            memory_bytes=total.memory_bytes,
            gpus=total.gpus,
            labels=dict(offer.host.traits.labels),
            price=offer.price,
            grows=grows,
            room=room,
        )

    def offer(self, name: str) -> Offer:
        total = Amounts(self.cpu_milli, self.memory_bytes, UNCOUNTED, UNCOUNTED, self.gpus)
        host = Host(name, total=total, free=total, traits=traits_of(self.labels))
        return Offer(name, host, self.price)


def as_found(
    session: Session, machines: Sequence[PoolMachine], offers: Sequence[Offer]
) -> list[Offer]:
    """The offers, no larger than what hosts of the same types really have.

    Else work that no real one could take would start machine after machine.
    """
    joined = {one.machine.type: one.machine.id for one in machines if one.host_state is not None}
    found = []
    for offer in offers:
        row = session.get(HostRow, joined.get(offer.name, ""))
        host = offer.host
        if row is not None:
            has = (row.cpu_milli, row.memory_bytes, row.disk_bytes, row.network_mbps, len(row.gpus))
            pairs = zip(host.total.vector, has, strict=True)
            total = Amounts(*(most if real is None else min(most, real) for most, real in pairs))
            host = replace(host, total=total, free=total)
        found.append(replace(offer, host=host))
    return found


def note(
    session: Session,
    name: str,
    found: Sequence[Offer],
    room: int,
    *,
    grows: bool,
    now: datetime,
) -> None:
    """Write down what machines of the pool would offer: for other pools, and for who waits."""
    row = session.get(HostPoolRow, name)
    if row is None:
        return
    told = [_OfferNote.of(one, room, grows=grows).model_dump(mode="json") for one in found]
    if row.offers != told:
        row.offers = told
    if row.looked_at is None or now - row.looked_at > NOTED_EVERY:
        row.looked_at = now
    session.add(row)


def offers(session: Session) -> list[Offer]:
    """What new machines of any pool would offer, each named ``pool/type``."""
    query = select(HostPoolRow.name, HostPoolRow.offers).where(HostPoolRow.state == pools.ACTIVE)
    return [
        told.offer(f"{name}/{told.type}")
        for name, notes in session.exec(query.order_by(HostPoolRow.name))
        for told in map(_OfferNote.model_validate, notes)
        if told.grows
    ]


def others(session: Session, name: str, *, now: datetime) -> list[OtherPool]:
    """The other pools; what one could start counts while its workflow looks after it."""
    query = select(HostPoolRow).where(HostPoolRow.state == pools.ACTIVE, HostPoolRow.name != name)
    coming = _coming(session)
    found = []
    for row in session.exec(query.order_by(HostPoolRow.name)):
        notes = [_OfferNote.model_validate(told) for told in row.offers]
        alive = row.looked_at is not None and now - row.looked_at < COUNTS_FOR
        found.append(
            OtherPool(
                row.name,
                [one.offer(one.type) for one in notes],
                max((one.room for one in notes), default=0) if alive else 0,
                coming.get(row.name, {}),
            )
        )
    return found


def _coming(session: Session) -> dict[str, Counter[str]]:
    """Machines that have not joined the fleet yet, by pool and type."""
    query = select(PoolMachineRow.pool, PoolMachineRow.type).where(
        col(PoolMachineRow.joined_at).is_(None), col(PoolMachineRow.ended_at).is_(None)
    )
    found: dict[str, Counter[str]] = {}
    for pool, kind in session.exec(query):
        found.setdefault(pool, Counter())[kind] += 1
    return found
