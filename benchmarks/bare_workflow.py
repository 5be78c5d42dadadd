"""The least workflow that does anything, to compare tasks with: one activity, and its worker."""

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.worker import Worker

BARE_QUEUE = "bare"


@activity.defn(name="bare.nothing")
async def nothing() -> None:
    """Nothing."""


@workflow.defn(name="Bare")
class Bare:
    """One activity, and the end."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            nothing, start_to_close_timeout=timedelta(seconds=30), summary="nothing"
        )


async def serve(address: str) -> None:
    """Serve it until the process is told to end."""
    # The sandbox imports this module for each run: it has to stay light.
    from fleetwide.settings import Settings  # noqa: PLC0415
    from fleetwide.temporal.client import connect  # noqa: PLC0415
    from fleetwide.temporal.worker import sandbox  # noqa: PLC0415

    client = await connect(Settings(temporal_address=address))
    worker = Worker(
        client,
        task_queue=BARE_QUEUE,
        workflows=[Bare],
        activities=[nothing],
        workflow_runner=sandbox(),
    )
    await worker.run()
