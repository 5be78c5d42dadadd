"""A service that follows its queue: it grows at once, shrinks later, and says why each time."""

import asyncio
from datetime import UTC, datetime, timedelta

from fleetwide.models.metrics import MetricBatch
from fleetwide.store import metrics, scaling, service_history
from fleetwide.store.service_tables import ServiceRow
from fleetwide.store.usage_notes import UsageNotes
from tests.workflow.serving import service, serving
from tests.workflow.world import World
from workers.scaling import AUTOSCALER, Scaler

POLICY = {
    "name": "queue",
    "metric": "queueDepth",
    "period_seconds": 1,
    "target_tracking": {
        "target": 10,
        "scale_out_cooldown_seconds": 0,
        "scale_in_cooldown_seconds": 2,
        "scale_in_window_seconds": 2,
    },
}


class Queue:
    """Tells the platform how deep a queue is, and has the scaler look at it."""

    def __init__(self, plane: World) -> None:
        self.plane = plane
        self.depth = 0.0
        self.scaler = Scaler(plane.store, plane.client, UsageNotes())

    async def turn(self) -> int:
        """The number of copies that is desired after a turn of the scheduler."""
        sample = {"service": "web", "name": "queueDepth", "value": self.depth}
        batch = MetricBatch.model_validate({"source": "queue", "samples": [sample]})
        with self.plane.store.write() as session:
            metrics.push(session, batch, now=datetime.now(UTC))
        await self.scaler.scale_services()
        with self.plane.store.read() as session:
            service = session.get(ServiceRow, "web")
        return service.desired if service else 0

    async def until(self, desired: int) -> None:
        async def reached() -> bool:
            await asyncio.sleep(0.2)
            return await self.turn() == desired

        await self.plane.until(reached)


async def test_a_service_grows_with_its_queue_and_shrinks_after_the_cool_down(
    plane: World,
) -> None:
    spec = service("sleep", desired=1, autoscaling=[POLICY])
    handle = await plane.start("ContainerService", spec, "service/web")
    queue = Queue(plane)
    async with serving(plane):
        await plane.until(lambda: plane.host.running == 1)
        queue.depth = 35
        await queue.until(4)
        await plane.until(lambda: plane.host.running == 4)
        queue.depth = 0
        await queue.until(0)
        await plane.until(lambda: plane.host.running == 0)
        await handle.execute_update("delete", {"reason": "over"})
        await handle.result()
    with plane.store.read() as session:
        history = service_history.activities(session, "web")
        status = scaling.status(session, "web")
    shrunk, grown = [one for one in history if one.by == AUTOSCALER]
    assert (grown.before["desired"], grown.after["desired"]) == (1, 4)
    assert (shrunk.before["desired"], shrunk.after["desired"]) == (4, 0)
    assert grown.numbers["value"] == 35
    assert grown.reason == "queue: queueDepth is 35, its target 10: 1 -> 4"
    assert shrunk.at - grown.at >= timedelta(seconds=2)
    assert [(one.policy, one.after) for one in status.last_actions] == [("queue", 4), ("queue", 0)]
