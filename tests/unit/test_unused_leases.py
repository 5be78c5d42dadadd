"""Leases of attempts whose container was never started: nothing starts late, nothing stays."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.containers.leases import Lease
from fleetwide.containers.scenarios import SIMULATE
from fleetwide.errors import ImageNotFound, ServiceUnavailable
from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer
from fleetwide.models.hosts import HostSpec, RunProgress
from fleetwide.models.task_states import EndReason
from fleetwide.providers.lease_folder import LeaseFolder
from fleetwide.providers.leases import AttemptLease, Leases
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.simulated import SimulatedEngine
from fleetwide.providers.simulated_state import SimulatedState
from fleetwide.settings import Settings

IMAGE = f"apps/hello@sha256:{'0' * 64}"
SPEC = HostSpec.model_validate({"host_id": "sim-0001", "cpu": 4, "memory": "8GiB"})
BOOT, STOP_AFTER = "boot", 5.0


class ScriptedLease(AttemptLease):
    """A lease that Temporal confirms once, and never again."""

    def take(self, progress: RunProgress) -> None:
        self._answered(self._leases.clock())

    def tick(self, progress: RunProgress) -> None:
        pass


class ScriptedLeases:
    """The leases of one host, by a clock that tests set."""

    def __init__(self, folder: LeaseFolder) -> None:
        self.folder, self.boot, self.now = folder, BOOT, 1000.0
        self.passes = 0.0
        """How long an attempt takes from its lease to its container."""

    def clock(self) -> float:
        self.now += self.passes
        return self.now

    def open(self, run: RunContainer, _platform: str) -> AttemptLease:
        lease = Lease(
            name=run.key.container_name(),
            labels={},
            boot_id=BOOT,
            renewed_at=0.0,
            stop_after=STOP_AFTER,
            grace=0,
        )
        return ScriptedLease(cast("Leases", self), lease, b"")


@pytest.fixture
def here(tmp_path: Path) -> Any:
    folder = LeaseFolder(tmp_path / "leases")
    folder.folder.mkdir()
    state = SimulatedState(tmp_path / "simulated.db")
    engine = SimulatedEngine(SPEC, "here", "http://127.0.0.1:5050", state, "run=0s")
    leases = ScriptedLeases(folder)
    store = FolderStore(tmp_path / "objects")
    activities = HostActivities(Settings(), engine, store, None, cast("Leases", leases))
    return SimpleNamespace(leases=leases, engine=engine, activities=activities)


def run_of(script: str) -> RunContainer:
    return RunContainer(
        key=AttemptKey(workflow_id="task/t", run_id="r"),
        host_id=SPEC.host_id,
        app="hello",
        image=IMAGE,
        container=ContainerSpec(image=IMAGE, env={SIMULATE: script}),
    )


def execute(here: Any, script: str) -> Any:
    return ActivityEnvironment().run(here.activities.run_container, run_of(script))


def test_no_container_starts_on_a_lease_that_ended_meanwhile(here: Any) -> None:
    here.leases.passes = STOP_AFTER + 1
    with pytest.raises(ServiceUnavailable, match="may not start here"):
        execute(here, "run=0s exit=3")
    assert [one.status for one in here.engine.list_ours()] == ["created"]
    assert len(here.leases.folder.all()) == 1
    here.leases.passes = 0.0
    assert execute(here, "run=0s exit=3").reason is EndReason.FAILED
    assert here.leases.folder.all() == []


def test_the_lease_of_a_try_that_failed_without_a_container_is_given_back(here: Any) -> None:
    with pytest.raises(ImageNotFound):
        execute(here, "no-image")
    assert here.leases.folder.all() == []
