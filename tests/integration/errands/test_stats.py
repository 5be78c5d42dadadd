"""What a running task takes, measured on the real dockerd."""

import pytest

from fleetwide.client import Client as ApiClient
from fleetwide.client.errands import exec_request
from fleetwide.models.errands import ErrandEnd, StatsWork, UsageSample
from tests.integration.errands.conftest import RunningTask

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
BUSY = "while :; do :; done"
HUNGRY = "x=aaaaaaaa; while :; do x=$x$x; done"


def samples(api: ApiClient, task: RunningTask, work: StatsWork) -> list[UsageSample]:
    text = b""
    for item in api.errands.output(api.errands.follow_stats(task.id, work).id):
        if isinstance(item, ErrandEnd):
            assert item.result, item.error
        else:
            text += item[1]
    return [UsageSample.model_validate_json(line) for line in text.splitlines()]


def test_an_idle_container_takes_little(api: ApiClient, task: RunningTask) -> None:
    found = api.errands.stats(task.id)
    assert found.memory_limit == 64 * 1024**2
    assert 0 < found.memory < found.memory_limit
    assert found.pids >= 2
    assert found.oom_kills == 0
    assert found.cpu_percent < 50


def test_a_busy_one_is_throttled_at_its_limit(api: ApiClient, task: RunningTask) -> None:
    # A busy machine may give less than half a CPU of its own, and a twentieth always.
    with task.plane.host.engine("narrow a container") as engine:
        engine.post(
            f"{engine.base_url}/v{engine.api_version}/containers/{task.name}/update",
            json={"NanoCpus": 50_000_000},
        ).raise_for_status()
    request = exec_request(["/bin/sh", "-c", BUSY], timeout_seconds=30)
    busy = api.errands.exec(task.id, request)
    first, *_, last = samples(api, task, StatsWork(samples=4, every_seconds=0.5))
    assert last.cpu_seconds > first.cpu_seconds
    assert last.throttled_periods > first.throttled_periods
    assert 0 < last.throttled_periods <= last.periods
    assert 0 < last.cpu_percent < 50
    api.errands.cancel(busy.id)


def test_a_memory_kill_is_counted(api: ApiClient, task: RunningTask) -> None:
    ended = api.errands.exec(task.id, exec_request(["/bin/sh", "-c", HUNGRY]), wait=60)
    assert ended.result["exit_code"] == 137
    assert (api.errands.stats(task.id).oom_kills or 0) >= 1


def test_measuring_ends_with_the_container(api: ApiClient, task: RunningTask) -> None:
    errand = api.errands.follow_stats(task.id, StatsWork(samples=600, every_seconds=0.5))
    for item in api.errands.output(errand.id):
        if isinstance(item, ErrandEnd):
            assert item.result
            assert "the container ended" in item.result.message
        else:
            task.plane.host.stop(task.name)
