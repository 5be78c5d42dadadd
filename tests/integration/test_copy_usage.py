"""A host tells in its reports what copies of services take, as real containers take it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.models.hosts import HostReport
from fleetwide.models.membership import Membership
from fleetwide.models.metrics import CopyUsage
from fleetwide.models.task_states import EndReason
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.usage_watch import UsageWatch
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs

pytestmark = pytest.mark.integration
CANCEL = ActivityCancellationDetails(cancel_requested=True)


@pytest.fixture
def activities(
    host_settings: Settings,
    container_host: ContainerHost,
    object_store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> HostActivities:
    monkeypatch.setattr("activities.hosts.UsageWatch", lambda host: UsageWatch(host, 0.3))
    return HostActivities(host_settings, container_host, object_store)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as running:
        yield running


def heard(activities: HostActivities, pool: ThreadPoolExecutor) -> CopyUsage:
    """The first usage that the host's reports tell."""
    found: list[CopyUsage] = []
    told = threading.Event()
    watching = ActivityEnvironment()

    def hear(report: HostReport) -> None:
        if report.usages:
            found.extend(report.usages)
            told.set()

    watching.on_heartbeat = hear
    end = pool.submit(lambda: asyncio.run(watching.run(activities.watch)))
    assert told.wait(60)
    watching.cancel(CANCEL)
    with pytest.raises(asyncio.CancelledError):
        end.result(30)
    return found[0]


def test_reports_tell_what_a_copy_takes_of_what_it_asked_for(
    activities: HostActivities, runs: Runs, pool: ThreadPoolExecutor
) -> None:
    member = Membership(service_id="web", index=0, revision=1, incarnation=1)
    busy = runs.shell("while :; do :; done", resources={"cpu": 0.25, "memory": "64MiB"})
    environment = ActivityEnvironment()
    running = pool.submit(
        environment.run, activities.run_container, busy.model_copy(update={"membership": member})
    )
    usage = heard(activities, pool)
    environment.cancel(CANCEL)
    assert running.result(60).reason is EndReason.KILLED
    assert (usage.service_id, usage.task_id) == ("web", "web.0.1")
    assert 0 < usage.cpu < 4
    assert 0 < usage.memory < 1
