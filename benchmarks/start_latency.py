"""How long it takes from the submission of a task to the start of its container.

The host is idle and has the image. Both ends are clocks of this machine: when the request was
made, and when Docker says that the container started. The baseline of the same run is a bare
create and start of the very same container; the value is what a task through the API takes longer.
What of it is the API's own is told by tasks whose workflow a Temporal client starts.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import select

from benchmarks.containers import BareDocker, Fleetwide, build_base, task
from benchmarks.harness import Figure, RunningPlatform, report_values, running_platform, say
from benchmarks.usage import table
from fleetwide.client import Client
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, JobRow
from fleetwide.temporal.client import connect

ROUNDS = 25
WARM_UP = 4
PAUSE_SECONDS = 0.3
FIGURE = Figure(
    name="start_latency",
    unit="ms from submission to start above a bare create and start",
    goal=150,
    better="lower",
    baseline="docker create and start of the same container, to the start that Docker notes",
)


@dataclass(frozen=True)
class Submitted:
    """The ways by which a task is submitted; each answers in seconds until its start."""

    running: RunningPlatform
    store: Store
    spec: ContainerTaskSpec

    def by_api(self) -> float:
        with Client(self.running.url("api")) as client:
            asked = datetime.now(UTC)
            task_id = client.tasks.run(self.spec).id
            while client.tasks.get(task_id).finished_at is None:
                time.sleep(PAUSE_SECONDS)
        return self._started_after(asked, f"task/{task_id}")

    def by_temporal(self) -> float:
        return asyncio.run(self._by_temporal())

    async def _by_temporal(self) -> float:
        address = self.running.config.temporal.address
        client = await connect(Settings(temporal_address=address))
        workflow_id, asked = f"task/{uuid.uuid4()}", datetime.now(UTC)
        await client.execute_workflow(
            "ContainerTask", self.spec, id=workflow_id, task_queue="control"
        )
        return self._started_after(asked, workflow_id)

    def _started_after(self, asked: datetime, workflow_id: str) -> float:
        with self.store.read() as session:
            query = select(AttemptRow).join(JobRow).where(JobRow.workflow_id == workflow_id)
            attempt = session.exec(query).one()
        assert attempt.started_at is not None
        return (attempt.started_at - asked).total_seconds()


def main() -> None:
    with running_platform() as running:
        say("building a small OS release to run")
        spec = task(build_base(running), "true")
        Fleetwide(running, spec, 1).run(WARM_UP)
        bare = BareDocker(running, spec, 1)
        submitted = Submitted(running, Store.open(f"sqlite:///{running.state}/fleetwide.db"), spec)
        ways: dict[str, Callable[[], float]] = {
            "bare Docker": bare.started_after,
            "Temporal client": submitted.by_temporal,
            "API": submitted.by_api,
        }
        taken = measure(ways)
        bare.api.close()
    show(taken)


def measure(ways: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Milliseconds by each way, all ways in turn so often."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(WARM_UP + ROUNDS):
        for name, start in ways.items():
            time.sleep(PAUSE_SECONDS)
            milliseconds = start() * 1000
            if number >= WARM_UP:
                taken[name].append(milliseconds)
    return taken


def show(taken: dict[str, list[float]]) -> None:
    rows = [
        [name, f"{statistics.median(every):.0f}", f"{min(every):.0f}", f"{max(every):.0f}"]
        for name, every in taken.items()
    ]
    table(["submission to start, ms", "median", "least", "most"], rows)
    above = [ours - bare for ours, bare in zip(taken["API"], taken["bare Docker"], strict=True)]
    medians = {name: round(statistics.median(every), 1) for name, every in taken.items()}
    report_values(FIGURE, above, {"median_ms": medians})


if __name__ == "__main__":
    main()
