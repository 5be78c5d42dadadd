"""What nobody waits for goes from a host, and only that. On a real Temporal server and dockerd."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import docker
import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.hosts import HostActivities
from activities.reaping import UNKNOWN_LOOKS, Reaper
from fleetwide.containers.launch import create_request, labels
from fleetwide.models.containers import AttemptKey, AttemptResult, RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import tail_lines
from fleetwide.providers.attempt_results import load_result, save_result
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs, temporal_program
from tests.integration.test_host_activities import run_and_die
from tests.integration.test_host_reconcile import watch_until_left

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal_program()
    ) as server:
        yield server.client


@pytest.fixture
def reaper(container_host: ContainerHost, object_store: FolderStore, client: Client) -> Reaper:
    return Reaper(container_host, object_store, client, None)


async def reap(reaper: Reaper, host: ContainerHost) -> list[str]:
    """One look; the names of the containers that stay."""
    await reaper.reap(await asyncio.to_thread(host.list_ours), lambda _: False)
    return [found.name for found in await asyncio.to_thread(host.list_ours)]


async def opened(client: Client, run: RunContainer) -> RunContainer:
    """The attempt as that of a workflow that is open."""
    handle = await client.start_workflow("Any", id=f"task/{uuid.uuid4()}", task_queue="nobody")
    assert handle.first_execution_run_id
    key = AttemptKey(workflow_id=handle.id, run_id=handle.first_execution_run_id)
    return run.model_copy(update={"key": key})


async def terminate(client: Client, run: RunContainer) -> None:
    await client.get_workflow_handle(run.key.workflow_id).terminate()


def make(host: ContainerHost, run: RunContainer) -> None:
    """The attempt's container, which nobody started."""
    image = host.image_name(run.image)
    host.pull(image, lambda _: True)
    assert host.create(run.key.container_name(), create_request(run, image, host.platform))


async def test_one_that_was_made_and_never_started_goes_with_its_workflow(
    client: Client,
    runs: Runs,
    container_host: ContainerHost,
    object_store: FolderStore,
    reaper: Reaper,
) -> None:
    run = await opened(client, runs.shell("echo ran"))
    await asyncio.to_thread(make, container_host, run)
    assert await reap(reaper, container_host) == [run.key.container_name()]
    await terminate(client, run)
    assert await reap(reaper, container_host) == []
    kept = load_result(object_store, run.key)
    assert kept
    assert (kept.reason, kept.exit_code) == (EndReason.KILLED, None)
    assert "before the container started" in kept.message


async def test_a_result_that_is_known_stays_as_it_is(
    client: Client,
    runs: Runs,
    container_host: ContainerHost,
    object_store: FolderStore,
    reaper: Reaper,
) -> None:
    run = await opened(client, runs.shell("echo ran"))
    await asyncio.to_thread(make, container_host, run)
    known = AttemptResult(key=run.key, reason=EndReason.EVICTED, message="drained")
    save_result(object_store, known)
    await terminate(client, run)
    assert await reap(reaper, container_host) == []
    assert load_result(object_store, run.key) == known


async def test_a_task_that_was_killed_while_the_host_worker_was_dead(
    client: Client,
    runs: Runs,
    host_settings: Settings,
    container_host: ContainerHost,
    object_store: FolderStore,
) -> None:
    run = await opened(client, runs.shell("echo up; exec sleep 600"))
    await asyncio.to_thread(run_and_die, host_settings, run)
    assert [found.status for found in container_host.list_ours()] == ["running"]
    await terminate(client, run)
    activities = HostActivities(host_settings, container_host, object_store, client)
    await watch_until_left(activities, container_host, [])
    kept = load_result(object_store, run.key)
    assert kept
    assert kept.reason is EndReason.KILLED
    assert tail_lines(object_store, run.key.log_key(), 1) == ["up"]


@pytest.fixture
def foreign(
    runs: Runs, container_host: ContainerHost, docker_api: docker.APIClient
) -> Iterator[set[str]]:
    """Containers of others: without labels, of another platform, and of this one's but no attempt's."""
    run = runs.shell("true")
    image = container_host.image_name(run.image)
    container_host.pull(image, lambda _: True)
    ours = labels(run, container_host.platform)
    wanted: dict[str, dict[str, str]] = {
        "none": {},
        "platform": labels(run, "/somewhere/else"),
        "host": {**ours, "fleetwide.host": "another"},
        "attempt": {name: ours[name] for name in ("fleetwide.platform", "fleetwide.host")},
    }
    made = {
        docker_api.create_container(image, ["/bin/true"], labels=found, name=f"fw-{uuid.uuid4()}")[
            "Id"
        ]
        for found in wanted.values()
    }
    yield made
    for container in made:
        docker_api.remove_container(container, force=True)


async def test_containers_of_others_stay(
    foreign: set[str], container_host: ContainerHost, docker_api: docker.APIClient, reaper: Reaper
) -> None:
    for _ in range(UNKNOWN_LOOKS + 1):
        await reap(reaper, container_host)
    there = {container["Id"] for container in docker_api.containers(all=True)}
    assert foreign <= there


async def test_one_whose_workflow_temporal_does_not_know_goes_after_some_looks(
    runs: Runs, container_host: ContainerHost, reaper: Reaper
) -> None:
    run = runs.shell("exec sleep 600")
    await asyncio.to_thread(make, container_host, run)
    for _ in range(UNKNOWN_LOOKS - 1):
        assert await reap(reaper, container_host) == [run.key.container_name()]
    assert await reap(reaper, container_host) == []
