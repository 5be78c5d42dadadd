"""How long it takes to move an image to a new OS release.

An image of a 20 MB tarball is baked onto one release (the baseline, from the start of ``Bake`` to
its end), then asked for on the next release of the line. The value is what the steps of the rebase
took by the workflow's own history: to resolve the request to a layer that fits, and to push the new
manifest over mounted blobs. Both have no smoke test; they alternate in one run on one machine.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from benchmarks.artifacts import made_up_files, write_tarball
from benchmarks.bakes import APP, Bakery, build_base, spec_of
from benchmarks.harness import Figure, RunningPlatform, report_values, running_platform, say
from fleetwide.models.bakery import ArtifactType
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect

IMAGES = 7
STEPS = {"bakery.resolve_bake", "bakery.push_image"}
FIGURE = Figure(
    name="rebase",
    unit="seconds",
    goal=0.2,
    better="lower",
    baseline="the full bake of the same image",
)


def activity_seconds(running: RunningPlatform, workflow_id: str) -> dict[str, float]:
    """What each activity of a workflow took from when it was scheduled to its end."""
    return asyncio.run(_activity_seconds(running, workflow_id))


async def _activity_seconds(running: RunningPlatform, workflow_id: str) -> dict[str, float]:
    client = await connect(Settings(temporal_address=running.config.temporal.address))
    scheduled: dict[int, HistoryEvent] = {}
    found = {}
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled[event.event_id] = event
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            first = scheduled[event.activity_task_completed_event_attributes.scheduled_event_id]
            name = first.activity_task_scheduled_event_attributes.activity_type.name
            found[name] = (
                event.event_time.ToNanoseconds() - first.event_time.ToNanoseconds()
            ) / 1e9
    return found


class Moves:
    """One image after another: baked onto release 1, then moved to release 2."""

    def __init__(self, running: RunningPlatform, folder: Path) -> None:
        self.running = running
        self.bakery = Bakery(running)
        self.folder = folder
        self.files = made_up_files()

    def run(self, number: int) -> tuple[float, float, float]:
        """Seconds of the rebase's steps, of its whole workflow, and of the full bake."""
        tarball = write_tarball(self.folder, self.files, number)
        artifact = self.bakery.upload(tarball, ArtifactType.TARBALL)
        version, entrypoint = str(number), [f"/opt/{APP}/run"]
        bake, _ = self.bakery.bake(spec_of(artifact, version, f"{APP}:1", entrypoint=entrypoint))
        whole, moved = self.bakery.bake(
            spec_of(artifact, version, f"{APP}:2", entrypoint=entrypoint)
        )
        if moved.rebased_from is None:
            sys.exit("the image was built anew: its layer should fit the new release")
        taken = activity_seconds(self.running, moved.workflow_id)
        say(f"  image {number}: {taken}, whole {whole:.2f} s, full bake {bake:.2f} s")
        return sum(taken[step] for step in STEPS), whole, bake


def main() -> None:
    with running_platform() as running, tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        build_base(running, "1")
        build_base(running, "2", "ca-certificates")
        moves = Moves(running, Path(name))
        moves.run(0)
        say(f"{IMAGES} images, each baked and then moved")
        found = [moves.run(number) for number in range(1, IMAGES + 1)]
    baseline = {
        "median_seconds": round(statistics.median(bake for *_, bake in found), 3),
        "our_whole_workflow_seconds": round(statistics.median(whole for _, whole, _ in found), 3),
    }
    report_values(FIGURE, [steps for steps, *_ in found], baseline)


if __name__ == "__main__":
    main()
