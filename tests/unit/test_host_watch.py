"""A host goes on telling how it is, whatever it clears away meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from activities.reaping import Reaper
from fleetwide.models.hosts import HostSpec
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.simulated import SimulatedEngine
from fleetwide.providers.simulated_state import SimulatedState
from fleetwide.settings import Settings


class Reaping:
    """One look that lasts until it is cancelled, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.looks = 0
        self.cancelled = 0

    async def reap(self, *_: Any) -> None:
        self.looks += 1
        if self.error is not None:
            raise self.error
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def watch(folder: Path, reports: int) -> None:
    spec = HostSpec.model_validate({"host_id": "sim-0001", "cpu": 4, "memory": "8GiB"})
    state = SimulatedState(folder / "simulated.db")
    engine = SimulatedEngine(spec, "here", "http://127.0.0.1:5050", state, "run=0s")
    settings = Settings(state_dir=folder, host_report_seconds=0.1)
    activities = HostActivities(settings, engine, FolderStore(folder / "objects"))
    environment = ActivityEnvironment()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    environment.on_heartbeat = heard.put_nowait
    watching = asyncio.create_task(environment.run(activities.watch))
    for _ in range(reports):
        await asyncio.wait_for(heard.get(), 30)
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


@pytest.mark.parametrize("error", [None, RuntimeError("no volumes")])
async def test_reports_go_on_while_something_is_cleared_away_or_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    reaping = Reaping(error)
    monkeypatch.setattr(Reaper, "reap", reaping.reap)
    monkeypatch.setattr("activities.hosts.RECONCILE_SECONDS", 0)
    await watch(tmp_path, reports=4)
    assert reaping.looks > 1 if error else (reaping.looks, reaping.cancelled) == (1, 1)
