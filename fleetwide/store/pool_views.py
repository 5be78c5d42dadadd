"""What waiting work needs of a pool, and which of its machines could go: dry runs of placement."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlmodel import Session

from fleetwide.containers.placement import (
    Emptying,
    Offer,
    Snapshot,
    cheapest_to_empty,
    plan,
)
from fleetwide.containers.pool_shares import OtherPool, own_share
from fleetwide.containers.pools import PoolView, can_start, to_replace
from fleetwide.models.hosts import TAKES_WORK
from fleetwide.store import pool_offers, pools, scheduling

EMPTIED_AT_ONCE = 1
TRIED = 20
"""Machines that are tried in a look, those with the fewest tasks."""


def with_work(session: Session, view: PoolView, offers: Sequence[Offer]) -> PoolView:
    """The view with what work needs that has no host, and with machines that could be emptied.

    What needs no machine of this pool waits for others: each offer carries the pool's labels, and
    what another pool starts machines for, or has some on the way for, is that one's.
    """
    snapshot = scheduling.snapshot(session, now=view.now)
    made = plan(snapshot)
    if made.waiting:
        others = pool_offers.others(session, view.spec.name, now=view.now)
        able = can_start(view) or not any(pool.room for pool in others)
        own = OtherPool(view.spec.name, offers, view.spec.max if able else 0, {})
        wanted = own_share(snapshot.requests, made, own, others)
        if wanted:
            return replace(view, wanted=wanted)
    return replace(view, empties=_empties(session, view, snapshot))


def _empties(session: Session, view: PoolView, snapshot: Snapshot) -> tuple[str, ...]:
    """Nothing is looked at while the pool could not go down anyway: each try costs a dry run."""
    quiet = timedelta() if view.quiet_since is None else view.now - view.quiet_since
    able = [one for one in view.machines if one.host_state in TAKES_WORK and not one.draining]
    if quiet < timedelta(seconds=view.spec.empty_after_seconds) or to_replace(view).due:
        return ()
    if len(able) <= view.spec.min:
        return ()
    ready = [one.machine.id for one in sorted(able, key=lambda one: one.tasks)[:TRIED]]
    others = sorted(set(snapshot.fleet.index) - set(ready))
    moves = pools.moves(session, ready, others)
    found: tuple[Emptying, ...] = cheapest_to_empty(snapshot, moves, EMPTIED_AT_ONCE)
    return tuple(one.host_id for one in found)
