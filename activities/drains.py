"""One step of a drain: who is asked to leave a host, as far as the gate lets them go."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from activities.evictions import evict, eviction_of
from fleetwide.models.disturbances import Answer, Cause, Disturbed, Refusal, RefusalCode
from fleetwide.models.host_moves import DrainProgress, DrainStep
from fleetwide.models.hosts import ANSWERS
from fleetwide.store import clock, disruptions, standings
from fleetwide.store.disruption_gates import EXPIRES, Demand
from fleetwide.store.session import Store
from fleetwide.store.tables import HostRow

HEARD_WITHIN = EXPIRES - timedelta(seconds=30)
"""Whoever hears the gate's word later leaves it, before what it took is given back."""
# Total over OF_HOSTS (a test asserts it).
DOING: Mapping[Cause, str] = {
    Cause.DRAIN: "drained",
    Cause.ROTATION: "replaced",
    Cause.DEFRAGMENTATION: "emptied for denser packing",
}


async def drain_step(store: Store, client: Client, step: DrainStep) -> DrainProgress:
    """Ask some more tasks of a host to end and run elsewhere; what is left of them.

    Tasks of a host that does not answer are left alone: they are given up, or taken up again, by
    their disconnect policies. A task that was asked and does not end may not have heard it,
    because its attempt had not begun: it is asked again, before others.
    """
    found, connected = await asyncio.to_thread(_look, store, step.host_id)
    asked = set(step.asked) & {one.attempt_id for one in found}
    fresh = sorted(
        (one for one in found if not one.ends), key=lambda one: one.attempt_id not in asked
    )
    answer, now = Answer(), datetime.now(UTC)
    if connected and fresh:
        leaving = sum(one.ends and one.attempt_id in asked for one in found)
        answer, now = await asyncio.to_thread(_ask, store, step, fresh, leaving)
        await _tell(store, client, step, answer.granted, now)
    return DrainProgress(
        left=len(found),
        asked=sorted({*step.asked, *(one.attempt_id for one in answer.granted)}),
        ended=len(set(step.asked) - asked),
        held_back=len(fresh) - len(answer.granted),
        refusals=dict(Counter(one.code for one in answer.refused)),
        moving=len(found) - len(fresh) + len(answer.granted),
        again_in=again_in(answer.refused, now),
        connected=connected,
    )


def again_in(refused: Sequence[Refusal], now: datetime) -> float | None:
    """Seconds until the first one may go; None where one of them may at any time, or none ever."""
    waiting = [one for one in refused if one.code is not RefusalCode.RELOCATION_LIMIT]
    known = [one.until for one in waiting if one.until is not None]
    if not known or len(known) < len(waiting):
        return None
    return max((min(known) - now).total_seconds(), 0.0)


def _look(store: Store, host_id: str) -> tuple[list[Disturbed], bool]:
    with store.read() as session:
        numbers = [row.id for row in standings.on_host(session, host_id) if row.id is not None]
        host = session.get(HostRow, host_id)
        return disruptions.disturbed(session, numbers), host is not None and host.state in ANSWERS


def _ask(
    store: Store, step: DrainStep, fresh: Sequence[Disturbed], leaving: int
) -> tuple[Answer, datetime]:
    request = step.request
    with store.write() as session:
        now = clock.now(session)
        demand = Demand(
            cause=request.cause,
            by=request.by,
            now=now,
            reason=request.reason,
            forced=step.forced,
            most=None if step.forced else max(request.parallel - leaving, 0),
        )
        return disruptions.answer(session, fresh, demand), now


async def _tell(
    store: Store, client: Client, step: DrainStep, granted: Sequence[Disturbed], now: datetime
) -> None:
    """Tell those that were let go; what nobody could be told is given back."""
    cause = step.request.cause
    message = f"host {step.host_id} is {DOING[cause]}: {step.request.reason}"
    told = await asyncio.gather(
        *(
            evict(
                client,
                one,
                eviction_of(one, cause, message, not_after=now + HEARD_WITHIN),
                forced=step.forced,
            )
            for one in granted
        ),
        return_exceptions=True,
    )
    deaf = [one.attempt_id for one, heard in zip(granted, told, strict=True) if heard is not True]
    if deaf:
        await asyncio.to_thread(_give_back, store, deaf)
    for fault in told:
        if isinstance(fault, BaseException):
            raise fault


def _give_back(store: Store, attempt_ids: Sequence[int]) -> None:
    with store.write() as session:
        disruptions.give_back(session, attempt_ids, now=clock.now(session))
