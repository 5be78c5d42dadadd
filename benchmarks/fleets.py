"""What benchmarks and fault drills of whole fleets share: a platform of simulated hosts, tasks."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowHandle

from benchmarks.harness import RunningPlatform
from fleetwide.containers.scenarios import SIMULATE
from fleetwide.dev.config import DevConfig, Process, only
from fleetwide.dev.registry_accounts import ADMIN, admin_secret
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_auth import Credentials
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference

SIMULATION = "simulation"
REPOSITORY = "bench/nothing"
CONTROL_PLANE = ("control", "scheduler")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def fleet_config(config: DevConfig, hosts: int, options: str = "") -> DevConfig:
    """The platform with nothing but a control plane, and simulated hosts instead of this machine.

    They are a process as the others are: started again when it dies. ``options`` are further ones
    of ``fleetwide worker host --simulate``.
    """
    chosen = only(config, CONTROL_PLANE)
    simulation = Process(
        command=f"fleetwide worker host --simulate {hosts} {options}".strip(),
        metrics_port=9499,
        health="http://127.0.0.1:{metrics-port}/metrics",
        after="temporal",
        start_seconds=600,
        stop_seconds=60,
    )
    return chosen.model_copy(update={"processes": {**chosen.processes, SIMULATION: simulation}})


def push_nothing(registry: RegistryClient) -> str:
    """An image of no layers, which no host ever pulls; returns repository@digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}})
    blob = config.encode()
    registry.upload_blob(REPOSITORY, blob, digest_of(blob))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "size": len(blob),
            "digest": digest_of(blob),
        },
        "layers": [],
    }
    reference = ImageReference(REPOSITORY, tag="1")
    digest = registry.put_manifest(reference, json.dumps(manifest).encode(), MANIFEST)
    return f"{REPOSITORY}@{digest}"


def push_image(running: RunningPlatform) -> str:
    """That image in the platform's registry."""
    account = Credentials(ADMIN, admin_secret(running.state).read_text())
    with RegistryClient(running.url("registry"), account) as registry:
        return push_nothing(registry)


def simulated_task(image: str, scenario: str, **container: Any) -> ContainerTaskSpec:
    """A task that only simulated hosts take."""
    return ContainerTaskSpec.model_validate(
        {
            "app": "drill",
            "container": {
                "image": image,
                "env": {SIMULATE: scenario},
                "resources": {"cpu": 0.5, "memory": "64MiB"},
                "constraints": {"tolerations": ["simulated"]},
                **container,
            },
        }
    )


@dataclass(frozen=True)
class Tasks:
    """Starts ``ContainerTask`` workflows by a Temporal client, some at a time."""

    client: TemporalClient
    parallel: int = 32

    async def start(self, specs: Sequence[ContainerTaskSpec]) -> list[WorkflowHandle[Any, Any]]:
        turns = asyncio.Semaphore(self.parallel)

        async def one(spec: ContainerTaskSpec) -> WorkflowHandle[Any, Any]:
            async with turns:
                return await self.client.start_workflow(
                    "ContainerTask", spec, id=f"task/{uuid.uuid4()}", task_queue="control"
                )

        return list(await asyncio.gather(*(one(spec) for spec in specs)))

    async def events_of(self, handle: WorkflowHandle[Any, Any]) -> int:
        """The length of a workflow's history."""
        return (await handle.describe()).raw_description.workflow_execution_info.history_length
