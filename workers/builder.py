"""The builder worker: OS builds and bakes. It is root on its own machine and may push images."""

from fleetwide.providers.scratch import held
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.process import Process, run
from workers.registry import builder_activities

TASK_QUEUE = "builder"
# A build keeps a core and a disk busy; more at a time only slow each other down.
BUILDS_AT_A_TIME = 4


async def serve(process: Process) -> None:
    role = WorkerRole(
        task_queue=TASK_QUEUE,
        activities=builder_activities(process.settings),
        max_activities=BUILDS_AT_A_TIME,
    )
    with held(process.settings.builder_dir.absolute()):
        async with make_worker(process.client, role):
            await process.stop.wait()


def main() -> None:
    run("builder", serve)
