"""The main job on real parts, started both ways: CLI through the API, and the Temporal CLI."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fleetwide.client.task_queries import TaskQuery
from fleetwide.models.os_releases import Channel, OSRelease, ReleaseState
from tests.platforms import ROOT, Platform, eventually
from tests.receivers import ReceivedSpan

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

SMALL = {"cpu": 0.25, "memory": "32MiB"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example service as a wheel."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800"}
    subprocess.run(command, cwd=ROOT / "examples/hello-service", env=env, check=True)
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def image(platform: Platform, stable: OSRelease, wheel: Path) -> dict[str, Any]:
    """The example service baked onto the stable base."""
    assert ReleaseState.STABLE is stable.state
    return bake(platform, wheel)


def bake(platform: Platform, wheel: Path) -> dict[str, Any]:
    text = platform.fleetwide(
        "bake", "create", str(wheel), "--base", "baseos:stable",
        "--entrypoint", "/usr/local/bin/hello-service", "--port", "8080", "-o", "json",
    )  # fmt: skip
    found: dict[str, Any] = json.loads(text)
    return found


def task_spec(image: str, *command: str, **more: Any) -> str:
    container = {"image": image, "entrypoint": [], "command": list(command), "resources": SMALL}
    return json.dumps({"app": "test", "container": container, **more})


def reference(image: dict[str, Any]) -> str:
    return f"{image['repository']}@{image['digest']}"


def test_a_release_is_a_candidate_first_and_stable_after_its_promotion(
    platform: Platform, stable: OSRelease
) -> None:
    assert stable.channels == [Channel.CANDIDATE, Channel.STABLE]
    assert stable.package_count > 80
    assert platform.query("os/baseos/1")["state"] == "stable"  # and open for what comes later
    with platform.client() as client:
        resolved = client.registry.resolve("baseos/baseos:1")
    assert resolved.digest == stable.image_digest


def test_the_same_bake_again_is_answered_with_the_first_image(
    platform: Platform, image: dict[str, Any], wheel: Path
) -> None:
    again = bake(platform, wheel)
    assert reference(again) == reference(image)
    assert again == image


def test_a_container_says_which_os_release_it_runs_on(
    platform: Platform, image: dict[str, Any]
) -> None:
    platform.fleetwide(
        "task", "run", "-f", "-", "--idempotency-key", "says",
        stdin=task_spec(reference(image), "cat", "/etc/os-release"),
    )  # fmt: skip
    with platform.client() as client:
        [task] = client.tasks.list(TaskQuery(app="test")).items[:1]
    log = platform.fleetwide("task", "logs", task.id)
    assert "IMAGE_ID=" in log
    assert "baseos" in log


def test_builds_tasks_and_jobs_start_from_the_temporal_cli(
    platform: Platform, image: dict[str, Any]
) -> None:
    build = {"name": "tiny", "version": "7", "suite": "bookworm", "variant": "essential"}
    platform.start("OSImageBuild", "os/tiny/7", json.dumps(build))
    task = task_spec(reference(image), "sh", "-c", "echo from the cli; exit 0")
    platform.start("ContainerTask", "task/cli", task)
    assert platform.ended("task/cli").result["last_lines"] == ["from the cli"]
    job = {"app": "test", "size": 2, "container": json.loads(task)["container"]}
    platform.start("BatchJob", "batch/cli", json.dumps(job))
    assert platform.ended("batch/cli").result["succeeded"] == 2
    eventually(lambda: platform.query("os/tiny/7")["state"] == "candidate", 200, "a candidate")
    promote = ["workflow", "update", "execute", "--workflow-id", "os/tiny/7", "--name", "promote"]
    platform.temporal(*promote, "--input", '{"channel": "stable"}')
    assert platform.query("os/tiny/7")["state"] == "stable"
    revoke = ["workflow", "update", "execute", "--workflow-id", "os/tiny/7", "--name", "revoke"]
    platform.temporal(*revoke, "--input", '{"reason": "only a test"}')
    ended = platform.ended("os/tiny/7")
    assert (ended.status, ended.result["state"]) == ("COMPLETED", "revoked")


def test_a_bake_from_the_temporal_cli_finds_the_first_image(
    platform: Platform, image: dict[str, Any], wheel: Path
) -> None:
    with platform.client() as client:
        uploaded = client.bakery.upload(wheel)
    spec = {
        "name": image["name"],
        "version": image["version"],
        "artifacts": [{"type": "wheel", "sha256": uploaded.sha256, "filename": wheel.name}],
        "base": "baseos:stable",
        "entrypoint": ["/usr/local/bin/hello-service"],
        "ports": [8080],
    }
    platform.start("Bake", "bake/by-hand", json.dumps(spec))
    ended = platform.ended("bake/by-hand")
    assert ended.status == "COMPLETED"
    assert ended.result["digest"] == image["digest"]


def test_limits_are_real_and_a_task_past_its_memory_ends_as_oom_killed(
    platform: Platform, image: dict[str, Any]
) -> None:
    eat = "b = bytearray()\nwhile True: b += b'x' * 1048576"
    platform.start("ContainerTask", "task/oom", task_spec(reference(image), "python3", "-c", eat))
    ended = platform.ended("task/oom")
    assert (ended.status, ended.failure_type) == ("FAILED", "TaskFailed")
    with platform.client() as client:
        task = client.tasks.get("oom")
    assert task.attempts[-1].oom_killed
    assert task.attempts[-1].reason == "oomKilled"


def test_twenty_children_some_fail_first_and_all_succeed(
    platform: Platform, image: dict[str, Any]
) -> None:
    job = {
        "app": "primes",
        "size": 20,
        "container": {
            "image": reference(image),
            "entrypoint": ["/usr/local/bin/hello-batch"],
            "env": {"FAIL_FIRST_ATTEMPT": "5"},
            "resources": SMALL,
        },
        "retry": {"retries": 2, "delay_seconds": 0.2},
    }
    text = platform.fleetwide("batch", "submit", "-f", "-", "-o", "json", stdin=json.dumps(job))
    job_id = json.loads(text)["id"]
    children = json.loads(platform.fleetwide("batch", "children", job_id, "-o", "json"))["items"]
    assert [child["index"] for child in children] == list(range(20))
    assert all(child["state"] == "succeeded" for child in children)
    retried = [child["index"] for child in children if child["attempts"] == 2]
    assert retried == [0, 5, 10, 15]
    assert "primes" in platform.fleetwide("batch", "logs", job_id, "3")
    listed = platform.temporal("workflow", "list", "--query", "Product='batch'")
    assert f"batch/{job_id}" in listed


def test_what_a_task_needs_beyond_any_host_is_told_with_the_numbers(
    platform: Platform, image: dict[str, Any]
) -> None:
    spec = json.loads(task_spec(reference(image), "true"))
    spec["container"]["resources"]["cpu"] = 96
    platform.start("ContainerTask", "task/huge", json.dumps(spec))
    waiting = eventually(lambda: platform.query("task/huge")["waiting"], 30, "a reason")
    assert waiting["code"] == "exceedsEveryHost"
    assert "asks for 96 CPU" in waiting["sentence"]
    assert waiting["numbers"]["largestHostCpu"] < 96
    with platform.client() as client:
        assert client.tasks.get("huge").waiting is not None
        client.tasks.cancel("huge", "nobody has 96 CPUs")
    assert platform.ended("task/huge").result["message"] == "nobody has 96 CPUs"


def test_the_hello_service_answers_over_the_network(
    platform: Platform, image: dict[str, Any]
) -> None:
    ask = (
        "hello-service & for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; "
        "python3 -c 'import urllib.request as r; "
        'print(r.urlopen("http://127.0.0.1:8080/").read().decode())\' && exit 0; done; exit 1'
    )
    platform.start("ContainerTask", "task/hello", task_spec(reference(image), "sh", "-c", ask))
    ended = platform.ended("task/hello")
    assert ended.status == "COMPLETED", ended
    assert any("baseos" in line for line in ended.result["last_lines"])


def test_one_trace_leads_from_the_request_to_the_containers_start(
    platform: Platform, image: dict[str, Any]
) -> None:
    trace_id = os.urandom(16).hex()
    answer = httpx2.post(
        f"{platform.api_url}/v1/tasks",
        content=task_spec(reference(image), "true"),
        headers={
            "traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01",
            "content-type": "application/json",
        },
    )
    assert answer.status_code == 202

    # Each process sends its spans in its own time, so the chain is whole some time after its end.
    def whole() -> list[ReceivedSpan]:
        chain = chain_from("container start", platform, trace_id)
        return chain if chain and chain[-1].service == "fleetwide-api" else []

    chain = eventually(whole, 30, "a chain of spans up to the API's")
    assert chain[0].service == "fleetwide-host"
    assert "RunActivity:hosts.run_container" in {span.name for span in chain}


def chain_from(name: str, platform: Platform, trace_id: str) -> list[ReceivedSpan]:
    """The span with this name, its parent, and so on up to the last that has arrived."""
    spans = [span for span in platform.traces.spans if span.trace_id == trace_id]
    by_id = {span.span_id: span for span in spans}
    span = next((span for span in spans if span.name == name), None)
    chain = []
    while span is not None:
        chain.append(span)
        span = by_id.get(span.parent_id)
    return chain


def test_every_process_serves_its_metrics(platform: Platform) -> None:
    for name, process in platform.config.processes.items():
        if process.metrics_port is None:
            continue
        text = httpx2.get(f"http://127.0.0.1:{process.metrics_port}/metrics").text
        # The gateway has no Temporal client: its metrics are its own, the others' are the SDK's.
        expected = "fleetwide_registry_requests_total" if name == "gateway" else "temporal_"
        assert expected in text, name
