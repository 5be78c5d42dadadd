"""A service grows by what its copies' own endpoint tells, and keeps still when that vanishes."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sqlmodel import col, select

from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer
from fleetwide.models.hosts import HostReport
from fleetwide.models.membership import Membership
from fleetwide.models.scaling import HoldCode, ScalingStatus
from fleetwide.providers.metrics_watch import MetricsWatch
from fleetwide.store import scaling
from fleetwide.store.service_tables import ServiceCopyRow
from fleetwide.store.usage_notes import UsageNotes
from tests.workflow.serving import service, serving
from tests.workflow.world import World
from workers.scaling import Scaler

LOAD = 35.0
POLICY = {
    "name": "requests",
    "metric": "requests",
    "period_seconds": 2,
    "target_tracking": {"target": 10, "scale_in_cooldown_seconds": 0},
}


class Counting(BaseHTTPRequestHandler):
    """Each copy answers its share of the requests that come in."""

    copies = 1
    counted = 0.0
    since = time.monotonic()

    @classmethod
    def share(cls, copies: int) -> None:
        now = time.monotonic()
        cls.counted += (now - cls.since) * LOAD / cls.copies
        cls.since, cls.copies = now, copies

    def do_GET(self) -> None:
        Counting.share(Counting.copies)
        body = f'http_requests_total{{code="200"}} {Counting.counted}\n'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def counting() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Attempt:
    """A copy's attempt, as far as its endpoint goes."""

    name: str
    run: RunContainer
    address: str = "127.0.0.1"


class Host:
    """Reads the endpoints of all copies as a host does, and has its reports heard."""

    def __init__(self, plane: World, container: ContainerSpec, stack: ExitStack) -> None:
        self.plane, self.container, self.stack = plane, container, stack
        self.watch = MetricsWatch(0.2)
        self.watched: set[str] = set()
        self.scaler = Scaler(plane.store, plane.client, UsageNotes())

    async def turn(self) -> ScalingStatus:
        """The scaler's word after a look."""
        await asyncio.sleep(0.2)
        store = self.plane.store
        with store.read() as session:
            lives = select(ServiceCopyRow).where(col(ServiceCopyRow.ended_at).is_(None))
            for copy in session.exec(lives):
                self._take_up(copy)
        Counting.share(max(1, len(self.watched)))
        with store.write() as session:
            report = HostReport(host_id="h1", endpoints=self.watch.endpoints())
            self.scaler.usages.note(session, report)
        await self.scaler.scale_services()
        with store.read() as session:
            return scaling.status(session, "web")

    def _take_up(self, copy: ServiceCopyRow) -> None:
        if copy.task_id in self.watched:
            return
        self.watched.add(copy.task_id)
        member = Membership(
            service_id="web", index=copy.index, revision=1, incarnation=copy.incarnation
        )
        run = RunContainer(
            key=AttemptKey(workflow_id=copy.task_id, run_id="r"),
            host_id="h1",
            app="x",
            image="x",
            container=self.container,
            membership=member,
        )
        self.stack.enter_context(self.watch.watching(Attempt(copy.task_id, run)))


async def test_it_grows_with_its_requests_and_keeps_still_when_the_endpoint_vanishes(
    plane: World,
) -> None:
    with counting() as server, ExitStack() as stack:
        spec = service("sleep", desired=1, autoscaling=[POLICY])
        spec["container"]["metrics_endpoint"] = {
            "port": server.server_port,
            "metrics": [{"name": "requests", "series": "http_requests_total"}],
        }
        handle = await plane.start("ContainerService", spec, "service/web")
        host = Host(plane, ContainerSpec.model_validate(spec["container"]), stack)
        async with serving(plane):

            async def grown() -> bool:
                return (await host.turn()).desired == 4

            async def said() -> bool:
                return (await host.turn()).code is HoldCode.STALE_SAMPLES

            await plane.until(lambda: plane.host.running == 1)
            await plane.until(grown)
            await plane.until(lambda: plane.host.running == 4)
            server.shutdown()
            server.server_close()
            await plane.until(said)
            status = await host.turn()
            await handle.execute_update("delete", {"reason": "over"})
            await plane.until(lambda: plane.host.running == 0)
    assert status.desired == 4
    assert "no figure of 4 copies" in status.sentence
    assert "Connection refused" in status.sentence
