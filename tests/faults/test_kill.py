"""``kill -9`` of any one worker while a job runs: the work goes on, nothing runs twice."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import docker
import psutil
import pytest

from fleetwide.models.os_releases import OSRelease
from tests.faults.test_cancel import is_bootstrapping
from tests.platforms import Platform, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FLAKY = "sleep 2; [ $((FLEETWIDE_ARRAY_INDEX % 4)) != 0 ] || [ $FLEETWIDE_ATTEMPT -gt 1 ]"
WORKERS = ["control", "scheduler", "host", "builder", "api"]


def starts_since(moment: int, prefix: str) -> Counter[str]:
    """How often each of the job's containers was started, by its name."""
    api = docker.APIClient()
    try:
        found = api.events(
            since=moment, until=int(time.time()) + 1, filters={"event": "start"}, decode=True
        )
        names = [event["Actor"]["Attributes"]["name"] for event in found]
    finally:
        api.close()
    return Counter(name for name in names if name.startswith(prefix))


@pytest.mark.parametrize("worker", WORKERS)
def test_a_killed_worker_loses_and_doubles_nothing(
    platform: Platform, stable: OSRelease, worker: str
) -> None:
    job = {
        "app": "drill",
        "size": 8,
        "container": {
            "image": stable.reference,
            "command": ["sh", "-c", FLAKY],
            "resources": {"cpu": 0.4, "memory": "32MiB"},
        },
        "retry": {"retries": 1, "delay_seconds": 0.1},
    }
    moment = int(time.time())
    workflow_id = f"batch/kill-{worker}"
    platform.start("BatchJob", workflow_id, json.dumps(job))
    eventually(lambda: platform.containers(workflow_id=workflow_id), 30, "a running child")
    os.kill(platform.pid(worker), signal.SIGKILL)
    ended = platform.ended(workflow_id, 120)
    assert (ended.status, ended.result["succeeded"]) == ("COMPLETED", 8)
    assert ended.result["attempts"] == 10
    starts = starts_since(moment, f"fw-batch-kill-{worker}-")
    assert len(starts) == 10
    assert set(starts.values()) == {1}
    assert platform.containers(workflow_id=workflow_id) == []
    eventually(platform.healthy, 60, "a healthy platform")


def test_a_terminated_task_leaves_no_container_and_no_reservation(
    platform: Platform, stable: OSRelease
) -> None:
    spec = {
        "app": "drill",
        "container": {
            "image": stable.reference,
            "command": ["sleep", "600"],
            "resources": {"cpu": 0.4, "memory": "32MiB"},
        },
    }
    platform.start("ContainerTask", "task/terminated", json.dumps(spec))
    eventually(lambda: platform.containers(workflow_id="task/terminated"), 30, "a container")
    platform.temporal("workflow", "terminate", "--workflow-id", "task/terminated")
    eventually(lambda: not platform.containers(workflow_id="task/terminated"), 60, "no container")
    with platform.client() as client:
        eventually(
            lambda: client.tasks.get("terminated").finished_at is not None, 60, "a closed row"
        )
        [host] = client.hosts().items
    assert host.cpu_reserved == 0


def test_a_builder_killed_in_the_middle_of_an_os_build_builds_again(
    platform: Platform, stable: OSRelease
) -> None:
    assert stable.image_digest
    spec = {"name": "phoenix", "version": "1", "suite": "bookworm", "variant": "essential"}
    platform.start("OSImageBuild", "os/phoenix/1", json.dumps(spec))
    builder = platform.pid("builder")
    eventually(lambda: is_bootstrapping(platform), 200, "a bootstrap process")
    started = psutil.Process(builder).children(recursive=True)
    os.kill(builder, signal.SIGKILL)
    eventually(lambda: not any(child.is_running() for child in started), 30, "no orphan")
    eventually(lambda: platform.query("os/phoenix/1")["state"] == "candidate", 200, "a candidate")
    assert str(platform.state) not in Path("/proc/self/mountinfo").read_text()
    with platform.client() as client:
        assert client.os.get("phoenix", "candidate").version == "1"
