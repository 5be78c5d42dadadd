"""A task of several containers with a secret, on real processes: its worker is killed on the way."""

import json
import shutil
import signal
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from sqlmodel import Session

from fleetwide.store import jobs
from tests.faults.cells import Cell, cell, until
from tests.integration.containers_fixtures import (  # noqa: F401
    DOCKER_URL,
    TinyRegistry,
    tiny_registry,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
VALUE = "kept-from-everybody-4711"
DATA = [{"volume": "data", "path": "/data"}]
WELL = {"command": ["/bin/sh", "-c", "cat /data/ready"], "interval_seconds": 1}


@pytest.fixture
def plant(tiny_registry: TinyRegistry) -> Iterator[Cell]:  # noqa: F811
    folder = Path(tempfile.mkdtemp(prefix="fw-company-"))
    secrets = folder / "secrets" / "drill"
    secrets.mkdir(parents=True)
    (secrets / "password").write_text(VALUE)
    try:
        with cell(folder, tiny_registry) as made:
            start_host(made)
            until(lambda: made.host_state("one") == "Active", what="the host")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_host(plant: Cell) -> None:
    plant.start_host("one", FLEETWIDE_SECRETS_DIR=str(plant.folder / "secrets"))


def spec(plant: Cell, script: str, **container: Any) -> dict[str, Any]:
    """Its extra container's image goes by tag-less digest, too: the index pins it."""
    side = "echo side; echo yes > /data/ready; sleep 600"
    return {
        "app": "drill",
        "container": {
            "image": plant.registry.image,
            "command": ["/bin/sh", "-c", script],
            "network": "none",
            "resources": {"cpu": 0.2, "memory": "32MiB", "disk": "100MB"},
            "stop_grace_seconds": 0,
            "volumes": [{"name": "data", "kind": "shared", "size": "8MiB"}],
            "mounts": DATA,
            "secrets": {"db": {"from": "password", "as": {"file": "/etc/db"}}},
            "health": WELL,
            "extra_containers": [
                {
                    "name": "side",
                    "image": plant.registry.image,
                    "command": ["/bin/sh", "-c", side],
                    "start": "before",
                    "essential": True,
                    "health": WELL,
                    "mounts": DATA,
                }
            ],
            **container,
        },
    }


def submit(plant: Cell, task_id: str, asked: dict[str, Any]) -> None:
    plant.temporal(
        *("workflow", "start", "--type", "ContainerTask", "--task-queue", "control"),
        *("--workflow-id", f"task/{task_id}", "--input", json.dumps(asked)),
    )


def row_of(plant: Cell, task_id: str) -> dict[str, Any]:
    """What SQL knows of the task's newest attempt."""
    store = plant.store

    def read(session: Session) -> dict[str, Any]:
        job = jobs.find(session, f"task/{task_id}")
        rows = jobs.attempts(session, job.id or 0) if job else []
        return rows[-1].model_dump() | {"pinned": job.extra_images} if job and rows else {}

    with store.read() as session:
        found = read(session)
    store.engine.dispose()
    return found


def payloads(history: Any) -> Iterator[str]:
    """All texts of a history, payloads decoded."""
    if isinstance(history, dict):
        for key, value in history.items():
            is_payload = key == "data" and isinstance(value, str)
            yield from payloads(b64decode(value).decode() if is_payload else value)
    elif isinstance(history, list):
        for value in history:
            yield from payloads(value)
    else:
        yield str(history)


def content(file: Path) -> bytes:
    """Nothing where it is a folder, or was there for a moment only: leases come and go."""
    with suppress(IsADirectoryError, FileNotFoundError):
        return file.read_bytes()
    return b""


def volumes_left(plant: Cell) -> list[str]:
    with closing(docker.APIClient(base_url=DOCKER_URL)) as api:
        found = api.volumes(filters={"label": [f"fleetwide.platform={plant.state}"]})["Volumes"]
    return [one["Name"] for one in found or []]


def test_killed_and_started_again_it_ends_well_and_the_secret_is_nowhere(plant: Cell) -> None:
    asked = spec(plant, "while ! cat /data/go; do sleep 1; done; cat /etc/db")
    submit(plant, "whole", asked)
    until(lambda: len(plant.running("whole")) == 3, what="all three containers")
    until(lambda: (row_of(plant, "whole").get("health") or {}).get("status") == "healthy", 60)
    assert row_of(plant, "whole")["extra_containers"][0]["name"] == "side"
    assert row_of(plant, "whole")["pinned"] == {"side": plant.registry.image}
    plant.signal("one", signal.SIGKILL)
    start_host(plant)
    [name] = [one for one in plant.running("whole") if one.count(".") == 0]
    with closing(docker.APIClient(base_url=DOCKER_URL)) as api:
        inspected = json.dumps([api.inspect_container(one) for one in plant.left("whole")])
        where = api.inspect_volume(f"{name}.data")["Mountpoint"]
    Path(where, "go").write_text("now\n")
    [row] = plant.ended("whole")
    assert row.result is not None
    assert row.result["last_lines"][-1] == "********"
    assert [one["name"] for one in row.result["extra_containers"]] == ["side"]
    until(lambda: plant.left("whole") == [] and volumes_left(plant) == [], 60, "nothing is left")
    history = "".join(payloads(plant.temporal("workflow", "show", "--workflow-id", "task/whole")))
    assert "password" in history
    assert VALUE not in history
    assert VALUE not in inspected
    for file in plant.folder.rglob("*"):
        if "secrets" not in file.relative_to(plant.folder).parts:
            assert VALUE.encode() not in content(file), file


def test_a_missing_secret_is_named_and_tried_by_nobody_else(plant: Cell) -> None:
    missing = {"db": {"from": "other", "as": {"file": "/etc/db"}}}
    submit(plant, "missing", spec(plant, "true", secrets=missing))
    until(lambda: row_of(plant, "missing").get("reason"), 60, "its end")
    found = row_of(plant, "missing")
    assert (found["attempt"], found["reason"]) == (1, "startFailed")
    assert "the secret other of drill is not on this host" in found["message"]
    until(lambda: plant.left("missing") == [] and volumes_left(plant) == [], 60, "nothing is left")
