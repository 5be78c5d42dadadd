"""Cancel in each stage leaves no container, process, mount, work folder, upload or reservation."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleetwide.models.os_releases import OSRelease
from fleetwide.providers.scratch import KEPT
from tests.platforms import Platform, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SMALL = {"cpu": 0.4, "memory": "32MiB"}


def spec_of(image: str, *command: str, cpu: float = 0.4, **more: Any) -> str:
    container = {
        "image": image,
        "command": list(command),
        "resources": {"cpu": cpu, "memory": "32MiB"},
    }
    return json.dumps({"app": "drill", "container": container, **more})


def cancel(platform: Platform, workflow_id: str) -> None:
    platform.temporal("workflow", "cancel", "--workflow-id", workflow_id)
    assert platform.ended(workflow_id, 60).status == "CANCELED"


def nothing_is_held(platform: Platform, workflow_id: str) -> None:
    assert platform.containers(workflow_id=workflow_id) == []
    with platform.client() as client:
        [host] = client.hosts().items
    assert (host.cpu_reserved, host.memory_reserved) == (0, 0)


def test_a_task_that_waits_for_a_host(platform: Platform, stable: OSRelease) -> None:
    platform.start("ContainerTask", "task/c-wait", spec_of(stable.reference, "true", cpu=96))
    eventually(lambda: platform.query("task/c-wait")["waiting"], 30, "a reason")
    cancel(platform, "task/c-wait")
    nothing_is_held(platform, "task/c-wait")


def test_a_task_that_runs(platform: Platform, stable: OSRelease) -> None:
    platform.start("ContainerTask", "task/c-run", spec_of(stable.reference, "sleep", "600"))
    eventually(lambda: platform.containers(workflow_id="task/c-run"), 30, "a container")
    cancel(platform, "task/c-run")
    nothing_is_held(platform, "task/c-run")


def test_a_task_that_waits_for_its_retry(platform: Platform, stable: OSRelease) -> None:
    retry = {"retries": 1, "delay_seconds": 600, "max_delay_seconds": 600}
    spec = spec_of(stable.reference, "false", retry=retry)
    platform.start("ContainerTask", "task/c-retry", spec)
    waiting = eventually(lambda: platform.query("task/c-retry")["waiting"], 30, "a wait")
    assert waiting["code"] == "waitingRetry"
    cancel(platform, "task/c-retry")
    nothing_is_held(platform, "task/c-retry")


def test_a_job_in_the_middle(platform: Platform, stable: OSRelease) -> None:
    spec = spec_of(stable.reference, "sleep", "600", size=10)
    platform.start("BatchJob", "batch/c-job", spec)
    eventually(lambda: len(platform.containers(workflow_id="batch/c-job")) >= 2, 30, "children")
    cancel(platform, "batch/c-job")
    nothing_is_held(platform, "batch/c-job")


def test_a_job_from_our_own_side_with_a_reason(platform: Platform, stable: OSRelease) -> None:
    spec = spec_of(stable.reference, "sleep", "600", size=4)
    platform.start("BatchJob", "batch/c-cli", spec)
    eventually(lambda: platform.containers(workflow_id="batch/c-cli"), 120, "children")
    platform.fleetwide("batch", "cancel", "c-cli", "--reason", "changed my mind")
    ended = platform.ended("batch/c-cli")
    assert (ended.status, ended.result["state"]) == ("COMPLETED", "cancelled")
    nothing_is_held(platform, "batch/c-cli")


def builder_children(platform: Platform) -> list[psutil.Process]:
    return psutil.Process(platform.pid("builder")).children(recursive=True)


def is_bootstrapping(platform: Platform) -> bool:
    """The packages are locked and fetched, and the tree is being made."""
    commands = [command_of(child) for child in builder_children(platform)]
    return any("mmdebstrap" in words and "--variant=custom" not in words for words in commands)


def command_of(process: psutil.Process) -> list[str]:
    try:
        return [Path(word).name for word in process.cmdline()]
    except psutil.NoSuchProcess:
        return []


def work_folders(platform: Platform) -> list[Path]:
    found = (platform.state / "builder").glob("*")
    return [path for path in found if path.name not in KEPT]


def mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


def test_an_os_build_while_it_bootstraps(platform: Platform, stable: OSRelease) -> None:
    assert stable.image_digest
    spec = json.dumps({"name": "dropped", "version": "1", "suite": "bookworm"})
    platform.start("OSImageBuild", "os/dropped/1", spec)
    eventually(lambda: is_bootstrapping(platform), 200, "a bootstrap process")
    with platform.client() as client:
        told = eventually(lambda: client.operation("os/dropped/1").progress, 30, "progress")
    assert told
    cancel(platform, "os/dropped/1")
    eventually(lambda: not builder_children(platform), 30, "no process left")
    assert work_folders(platform) == []
    assert mounts_below(platform.state) == []
    with platform.client() as client:
        assert client.os.get("dropped", "1").state == "withdrawn"
        assert client.os.channels("dropped").items == []


def test_a_candidate_that_is_withdrawn_leaves_the_channel(
    platform: Platform, stable: OSRelease
) -> None:
    assert stable.image_digest
    spec = {"name": "taken-back", "version": "1", "suite": "bookworm", "variant": "essential"}
    platform.start("OSImageBuild", "os/taken-back/1", json.dumps(spec))
    eventually(
        lambda: platform.query("os/taken-back/1")["state"] == "candidate", 200, "a candidate"
    )
    cancel(platform, "os/taken-back/1")
    with platform.client() as client:
        assert client.os.channels("taken-back").items == []
