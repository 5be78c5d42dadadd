"""One look at a pool: its machines, their hosts, waiting work; and what follows from it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlmodel import Session

from fleetwide.containers.placement import Offer
from fleetwide.containers.pool_rotation import outdated
from fleetwide.containers.pools import (
    PoolView,
    can_start,
    missing,
    next_steps,
    next_to_replace,
    offered,
    pause_left,
    to_replace,
)
from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.pools import HostPoolSpec, Machine, PoolSteps, PoolTurn
from fleetwide.providers.machines import MachineProvider
from fleetwide.store import pool_offers, pool_rotation, pool_views, pools
from fleetwide.store.pool_tables import HostPoolRow
from fleetwide.store.session import Store

BY = "host pool"


def look(store: Store, provider: MachineProvider, turn: PoolTurn) -> PoolSteps:
    """What there is to do now. What was seen is written down.

    Raises:
        CloudUnavailable: the provider does not answer.
        Conflict: the pool is being deleted: this look is of before.
    """
    now = datetime.now(UTC)
    machines = provider.listing(turn.spec)
    offers, faults = _offers(provider, turn)
    with store.write() as session:
        row = pools.ensure(session, turn, now=now)
        image, fault = _image(session, turn.spec, row.image)
        row.image = image
        faults += fault
        view = _view(session, row, turn, machines, now)
        offers = pool_offers.as_found(session, view.machines, offers)
    if turn.spec.scale and not turn.deleting:
        with store.read() as session:
            view = pool_views.with_work(session, view, offers)
    with store.write() as session:
        _note(session, view, offers, faults)
        _note_rotation(session, view)
    return PoolSteps(
        steps=next_steps(view),
        image=view.image,
        machines=len(view.machines),
        refreshed=turn.refreshing and not outdated(view.machines, view.image),
    )


def _offers(provider: MachineProvider, turn: PoolTurn) -> tuple[Sequence[Offer], list[str]]:
    """What new machines would offer; without a type that the provider does not know."""
    if turn.deleting:
        return [], []
    types = offered(turn.spec, turn.short)
    try:
        return provider.offers(turn.spec.model_copy(update={"types": types})), []
    except InvalidInput as error:
        return [], [error.message]


def _image(session: Session, spec: HostPoolSpec, known: str) -> tuple[str, list[str]]:
    """What machines are started from; the one known before while there is no other."""
    if spec.ec2 is None:
        return "", []
    if spec.ec2.image.startswith("ami-"):
        return spec.ec2.image, []
    try:
        return pools.image_for(session, spec.ec2.image, spec.ec2.base, spec.ec2.region), []
    except NotFound as error:
        return known, [error.message]


def _view(
    session: Session,
    row: HostPoolRow,
    turn: PoolTurn,
    machines: Sequence[Machine],
    now: datetime,
) -> PoolView:
    return PoolView(
        spec=turn.spec,
        machines=tuple(pools.observed(session, row, machines, now=now)),
        now=now,
        quiet_since=row.quiet_since,
        image=row.image,
        refreshing=turn.refreshing,
        deleting=turn.deleting,
        short=frozenset(turn.short),
        failures=row.failures,
        failed_at=row.failed_at,
    )


def _note(session: Session, view: PoolView, offers: Sequence[Offer], faults: list[str]) -> None:
    """Write down how quiet it is, what could be offered, and what keeps the pool from its size."""
    row, spec = pools.get(session, view.spec.name), view.spec
    row.quiet_since = None if view.wanted else row.quiet_since or view.now
    session.add(row)
    grows = spec.scale and not view.deleting and len(view.machines) < spec.max
    room = spec.max - len(view.machines) if grows and can_start(view) else 0
    pool_offers.note(session, spec.name, offers, room, grows=grows, now=view.now)
    message = "; ".join([*faults, *_paused(view)])
    if message or not missing(view):
        # What a launch was refused for stays told until there are as many as desired.
        pools.note(session, spec.name, message, now=view.now)


def _note_rotation(session: Session, view: PoolView) -> None:
    """Tell which machines are to be replaced, and ahead of it whoever runs on the next ones."""
    pool_rotation.note(session, view.spec.name, to_replace(view).due)
    for why, machines in next_to_replace(view).items():
        reason = f"{view.spec.name}: {why}"
        pool_rotation.announce(session, machines, by=BY, reason=reason)


def _paused(view: PoolView) -> list[str]:
    if not pause_left(view):
        return []
    sentence = (
        f"the last {view.failures} machines did not join the fleet within "
        f"{view.spec.register_within_seconds} s: look at their console output; the pool starts "
        "others after a pause"
    )
    return [sentence]
