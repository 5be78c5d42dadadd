"""A scheduler as a process of its own, without Temporal: it writes down whom it told.

``python -m tests.faults.scheduler_process URL NAME FILE [STEP]`` places work until it is killed, or
kills itself by SIGKILL when it first reaches a step of a tick.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from fleetwide.store import launches, scheduling
from fleetwide.store.scheduling import Delivery
from fleetwide.store.session import Store
from workers.leading import Leadership
from workers.placing import Placer

LEASE_SECONDS = 1.0
STEPS = ("decided", "written", "committed", "telling", "told")


class Scribe(Placer):
    """Completes no activities: notes what it would complete them with."""

    def __init__(self, store: Store, name: str, file: Path, step: str) -> None:
        super().__init__(store, cast("Any", None), Leadership(store, name, LEASE_SECONDS))
        self.file = file
        self.step = step
        self.count = 0

    async def _deliver(self, delivery: Delivery) -> None:
        self.count += 1
        if self.step == "telling" and self.count == 3:
            die()
        placed = [[each.index, each.host_id] for each in delivery.placements]
        line = json.dumps([delivery.workflow_id, placed, self.leadership.holder])
        with self.file.open("a") as file:
            file.write(f"{line}\n")

    async def _tell_waiting(self, *_: Any) -> None:
        return None


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(scribe: Scribe) -> None:
    """Put death where the step is."""
    places: dict[str, tuple[Any, str]] = {
        "decided": (launches, "commit"),
        "written": (scribe.fleet, "remove_notes"),
        "committed": (scribe.fleet, "committed"),
        "told": (scheduling, "mark_delivered"),
    }
    if scribe.step in places:
        owner, name = places[scribe.step]
        deadly: Callable[..., None] = die
        setattr(owner, name, deadly)


async def serve(scribe: Scribe) -> None:
    while True:
        await scribe.tick()
        await asyncio.sleep(0.01)


def main() -> None:
    url, name, file, *rest = sys.argv[1:]
    scribe = Scribe(Store.open(url), name, Path(file), rest[0] if rest else "")
    arm(scribe)
    asyncio.run(serve(scribe))


if __name__ == "__main__":
    main()
