"""What it costs to ask for an OS release when nothing has changed.

``OSImageBuild`` of an unchanged lock on a running platform, from the start to its answer, against
the question to apt that it is spared: reading the indexes of the same suites and solving the same
packages. Both sides alternate in one run on one machine; the value is the ratio of wall times.
"""

import asyncio
import sys
import time
import uuid
from pathlib import Path

from benchmarks.harness import Figure, RunningPlatform, alternate, report, running_platform, say
from fleetwide.baseos.suites import Mirrors
from fleetwide.client import Client
from fleetwide.models.baseos import OSImageSpec, Variant
from fleetwide.models.os_releases import BuildOutcome
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.os_locks import LockResolver
from fleetwide.providers.progress import no_progress
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect

SPEC = OSImageSpec(name="bench", suite="bookworm", variant=Variant.APT)
PAIRS = 5
BUILD_SECONDS = 280
GOAL_SECONDS = 1
FIGURE = Figure(
    name="os_noop",
    unit="ratio of wall times",
    goal=0.5,
    better="lower",
    baseline="apt reading the suites' indexes and solving the packages; ours: OSImageBuild from "
    f"its start to the answer that nothing changed, to take at most {GOAL_SECONDS} s",
)


class Unchanged:
    """Our side: a Temporal client starts the workflow and awaits its result."""

    def __init__(self, running: RunningPlatform) -> None:
        self.address = running.config.temporal.address

    def run(self) -> float:
        return asyncio.run(self._run())

    async def _run(self) -> float:
        client = await connect(Settings(temporal_address=self.address))
        started = time.perf_counter()
        found = await client.execute_workflow(
            "OSImageBuild", SPEC, id=f"os/{uuid.uuid4()}", task_queue="control"
        )
        taken = time.perf_counter() - started
        if found["outcome"] != BuildOutcome.NO_CHANGE:
            sys.exit(f"something has changed: {found['outcome']}")
        return taken


class Apt:
    """The baseline: the same question, with nothing remembered and the index folder warm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resolver = LockResolver(folder, FolderStore(folder / "objects"), Mirrors())

    def run(self) -> float:
        for memo in self.folder.glob("*.json"):
            memo.unlink()
        started = time.perf_counter()
        self.resolver.resolve(SPEC, no_progress)
        return time.perf_counter() - started


def main() -> None:
    with running_platform() as running:
        say("building the release that will not change")
        with Client(running.url("api")) as client:
            client.os.build(SPEC, wait=BUILD_SECONDS)
        ours, apt = Unchanged(running), Apt(running.state / "bench-apt")
        ours.run()
        apt.run()
        say(f"{PAIRS} pairs")
        measured = alternate(ours.run, apt.run, PAIRS)
    report(FIGURE, measured)


if __name__ == "__main__":
    main()
