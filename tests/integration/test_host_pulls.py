"""Images on their way to a host: fetched once however many want them, and never waited for long."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.errors import ImagePullFailed
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.hosts import RunProgress
from fleetwide.models.task_states import EndReason
from fleetwide.providers import docker as engine
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.counting_proxy import CountingProxy, counting_proxy
from tests.faults.cells import until
from tests.integration.containers_fixtures import (
    Runs,
    TinyRegistry,
    forget_images,
    push_image,
    tiny_layer,
)

pytestmark = pytest.mark.integration
TASKS = 6
TAR_BLOCK = 512
PAD = 4 * 1024**2
RATE = 400_000


@pytest.fixture
def proxy(tiny_registry: TinyRegistry) -> Iterator[CountingProxy]:
    with counting_proxy(tiny_registry.url) as found:
        yield found


@pytest.fixture
def activities(
    host_settings: Settings, proxy: CountingProxy, object_store: FolderStore
) -> Iterator[HostActivities]:
    """A host that reaches its registry through the proxy."""
    settings = host_settings.model_copy(update={"registry_url": proxy.url})
    host = ContainerHost.from_settings(settings)
    yield HostActivities(settings, host, object_store)
    assert not host.list_ours()
    host.close()
    forget_images(proxy.url.removeprefix("http://") + "/")


@pytest.fixture
def fresh(tiny_registry: TinyRegistry) -> str:
    """An image that no host has, of some MiB that cannot be packed; repository@digest."""
    # What follows the end of a tar is no part of it, and makes the layer another one.
    layer = tiny_layer() + os.urandom(PAD)
    layer += bytes(-len(layer) % TAR_BLOCK)
    return f"tests/fresh@{push_image(tiny_registry.url, 'tests/fresh', layer, {})}"


def execute(activities: HostActivities, run: RunContainer) -> AttemptResult:
    return ActivityEnvironment().run(activities.run_container, run)


def test_tasks_side_by_side_fetch_an_image_once(
    activities: HostActivities, runs: Runs, fresh: str, proxy: CountingProxy
) -> None:
    wanted = [runs.command(["/bin/true"], image=fresh) for _ in range(TASKS)]
    with ThreadPoolExecutor(TASKS) as pool:
        ends = list(pool.map(lambda run: execute(activities, run), wanted))
    assert [end.reason for end in ends] == [EndReason.NORMAL] * TASKS
    layer = len(tiny_layer()) + PAD
    assert layer < proxy.sent < 2 * layer


@pytest.mark.parametrize("stall_at", [PAD // 2, 0], ids=["half way", "without any answer"])
def test_a_pull_that_stands_still_is_given_up_and_says_so(
    activities: HostActivities,
    runs: Runs,
    fresh: str,
    proxy: CountingProxy,
    monkeypatch: pytest.MonkeyPatch,
    stall_at: int,
) -> None:
    monkeypatch.setattr(engine, "PULL_STALL_SECONDS", 2)
    proxy.stall_at = stall_at
    with pytest.raises(ImagePullFailed, match="came no step forward for 2 s"):
        execute(activities, runs.command(["/bin/true"], image=fresh))


def test_a_slow_pull_goes_on_shows_how_far_it_is_and_holds_up_no_other(
    activities: HostActivities,
    runs: Runs,
    fresh: str,
    proxy: CountingProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes longer in all than a pull may stand still."""
    monkeypatch.setattr(engine, "PULL_STALL_SECONDS", 6)
    other = runs.command(["/bin/true"])
    assert execute(activities, other).reason is EndReason.NORMAL  # its image is there from now on
    proxy.rate = RATE
    slow = runs.command(["/bin/true"], image=fresh)
    told: list[RunProgress] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = told.append
    with ThreadPoolExecutor() as pool:
        began = monotonic()
        pull = pool.submit(environment.run, activities.run_container, slow)
        assert execute(activities, runs.command(["/bin/true"])).reason is EndReason.NORMAL
        assert not pull.done()
        result = pull.result(120)
    assert result.reason is EndReason.NORMAL
    assert result.pull_seconds is not None
    assert 6 < result.pull_seconds < monotonic() - began
    done = [one.pull.bytes_done for one in told if one.pull is not None]
    assert len(set(done)) > 3
    assert done == sorted(done)


def test_a_kill_is_heard_while_a_pull_stands_still(
    activities: HostActivities, runs: Runs, fresh: str, proxy: CountingProxy
) -> None:
    proxy.stall_at = PAD // 2
    environment = ActivityEnvironment()
    with ThreadPoolExecutor() as pool:
        run = runs.command(["/bin/true"], image=fresh)
        pull = pool.submit(environment.run, activities.run_container, run)
        until(lambda: proxy.sent > PAD // 2, 60, "a pull that stands still")
        environment.cancel()
        assert pull.result(60).reason is EndReason.KILLED
    proxy.hang_up()  # else Docker goes on waiting for it
