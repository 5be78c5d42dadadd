"""Images that leave the registry between the request and the pull: told as what they are."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from fleetwide.errors import ErrorCode
from fleetwide.models.task_states import EndReason
from tests.faults.cells import Cell, cell, until
from tests.integration.containers_fixtures import (
    TinyRegistry,
    push_image,
    tiny_layer,
    tiny_registry,
)

__all__ = ["tiny_registry"]
pytestmark = pytest.mark.integration
REPOSITORY = "tests/vanishing"
TAR_BLOCK = 512


@pytest.fixture
def plant(tiny_registry: TinyRegistry) -> Iterator[Cell]:
    """A cell without a host: what is submitted waits."""
    folder = Path(tempfile.mkdtemp(prefix="fw-gone-"))
    try:
        with cell(folder, tiny_registry) as made:
            until(lambda: serves(made), 60, "Temporal to serve the namespace")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serves(plant: Cell) -> bool:
    with suppress(subprocess.CalledProcessError):
        plant.temporal("workflow", "list")
        return True
    return False


def pushed(registry: TinyRegistry) -> str:
    """The digest of an image that no host has."""
    # What follows the end of a tar is no part of it, and makes the layer another one.
    layer = tiny_layer() + os.urandom(TAR_BLOCK)
    return push_image(registry.url, REPOSITORY, layer, {})


def submit(plant: Cell, task_id: str, image: str) -> None:
    container = {
        "image": image,
        "command": ["/bin/true"],
        "network": "none",
        "resources": {"cpu": 0.1, "memory": "16MiB"},
    }
    plant.temporal(
        *("workflow", "start", "--type", "ContainerTask", "--task-queue", "control"),
        *("--workflow-id", f"task/{task_id}"),
        *("--input", json.dumps({"app": "drill", "container": container})),
    )
    until(lambda: plant.attempts(task_id), 60, f"{task_id} to wait for a host")


def forget(registry: TinyRegistry, path: str) -> None:
    url = f"{registry.url}/v2/{REPOSITORY}/{path}"
    requests.delete(url, timeout=10).raise_for_status()


def config_of(registry: TinyRegistry, digest: str) -> str:
    url = f"{registry.url}/v2/{REPOSITORY}/manifests/{digest}"
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    found = requests.get(url, headers={"Accept": kind}, timeout=10).json()
    return str(found["config"]["digest"])


def test_an_image_that_vanishes_ends_its_task_and_holds_nothing_else_up(
    plant: Cell,
    tiny_registry: TinyRegistry,
) -> None:
    gone, torn = pushed(tiny_registry), pushed(tiny_registry)
    submit(plant, "gone", f"{REPOSITORY}@{gone}")
    submit(plant, "torn", f"{REPOSITORY}@{torn}")
    submit(plant, "whole", tiny_registry.image)
    forget(tiny_registry, f"blobs/{config_of(tiny_registry, torn)}")
    forget(tiny_registry, f"manifests/{gone}")
    plant.start_host("a")
    assert len(plant.ended("whole")) == 1
    [only] = until(lambda: [one for one in plant.attempts("gone") if one.reason], 60, "its end")
    assert only.reason == EndReason.INVALID_REQUEST
    assert gone in (only.message or "")
    # Of one that is there and lacks a part the host tries again, at the platform's expense.
    tried = until(lambda: failed_tries(plant, "torn"), 60, "another try of the pull")
    assert torn in tried["lastFailure"]["message"]
    assert tried["lastFailure"]["applicationFailureInfo"]["type"] == ErrorCode.IMAGE_PULL_FAILED
    assert [one.reason for one in plant.attempts("torn")] == [None]
    assert plant.left("gone") == []
    assert plant.host_state("a") == "Active"


def failed_tries(plant: Cell, task_id: str) -> dict[str, Any] | None:
    """What Temporal tells of the task's activity once a try of it has failed."""
    told = plant.temporal("workflow", "describe", "--workflow-id", f"task/{task_id}")
    waits: list[dict[str, Any]] = told.get("pendingActivities") or []
    return next((one for one in waits if "lastFailure" in one), None)
