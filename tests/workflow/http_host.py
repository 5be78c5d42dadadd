"""A container host in a process of its own, whose containers are HTTP servers; it can be killed.

``python -m tests.workflow.http_host <Temporal's address> <id> <IP address>``
"""

import asyncio
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime

from temporalio import activity

from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.hosts import HostFacts, host_task_queue
from fleetwide.models.task_states import EndReason
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.http_servers import Answering, server

ANSWER_SECONDS = 0.02


class Slow(Answering):
    """Takes its time, so that some requests are under way whenever the host is killed.

    Each answer leaves as a whole: one that has begun to reach a client cannot be asked for again.
    """

    wbufsize = -1

    def do_GET(self) -> None:  # noqa: N802 (the library's name)
        time.sleep(ANSWER_SECONDS)
        super().do_GET()


class HttpHost:
    """Each container serves on the port that it got until it is told to stop."""

    def __init__(self, host_id: str, address: str) -> None:
        self.host_id, self.address = host_id, address

    @activity.defn(name="hosts.run_container")
    async def run_container(self, run: RunContainer) -> AttemptResult:
        with server((self.address, run.ports["http"]), Slow):
            with suppress(asyncio.CancelledError):
                await self.watch()
        now = datetime.now(UTC)
        return AttemptResult(
            key=run.key,
            host_id=self.host_id,
            reason=EndReason.KILLED,
            message="it was stopped",
            started_at=now,
            finished_at=now,
        )

    @activity.defn(name="hosts.watch")
    async def watch(self) -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.1)

    @activity.defn(name="hosts.describe")
    async def describe(self) -> HostFacts:
        return HostFacts(
            host_id=self.host_id,
            address=self.address,
            docker_version="27.0",
            os="Debian",
            kernel="6",
            architecture="x86_64",
            cpus=4,
            memory=4 * 1024**3,
        )


async def main(temporal: str, host_id: str, address: str) -> None:
    """Be that host until the process is killed."""
    client = await connect(Settings(temporal_address=temporal))
    host = HttpHost(host_id, address)
    role = WorkerRole(
        host_task_queue(host_id), activities=[host.run_container, host.describe, host.watch]
    )
    async with make_worker(client, role):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
