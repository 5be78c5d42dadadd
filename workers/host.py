"""The host worker: one per container host. It has no database and no AWS credentials.

It speaks to Temporal, to its Docker daemon, to the registry (through Docker) and to the object
store. Its task queue ``host.<host id>`` is polled by nobody else.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from temporalio.common import WorkflowIDConflictPolicy

from activities.hosts import HostActivities
from activities.registry_preheat import HostPreheatActivities
from fleetwide.errors import InvalidInput
from fleetwide.models.containers import HostSpec, host_task_queue
from fleetwide.providers.blob_cache import BlobCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.image_fetches import Sharing
from fleetwide.providers.objects import open_object_store
from fleetwide.providers.registry_peers import peer_server
from fleetwide.settings import Settings
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.control import TASK_QUEUE as CONTROL
from workers.process import Process, run

CONTAINERS_AT_A_TIME = 200
# Kept back for the operating system, Docker and the platform's own processes.
RESERVED_SHARE = 0.1
RESERVED_BYTES = 512 * 1024**2


def offer(settings: Settings) -> HostSpec:
    """What this machine offers: the settings' figures, else all CPUs and most of the memory."""
    total = psutil.virtual_memory().total
    spare = total - max(int(total * RESERVED_SHARE), RESERVED_BYTES)
    return HostSpec.model_validate(
        {
            "host_id": settings.host_id,
            "cpu": settings.host_cpu or float(psutil.cpu_count() or 1),
            "memory": settings.host_memory or spare,
        }
    )


async def register(process: Process) -> None:
    """Start this host's ``Host`` workflow, or tell the running one what is offered now."""
    spec = offer(process.settings)
    await process.client.start_workflow(
        "Host",
        spec,
        id=f"host/{spec.host_id}",
        task_queue=CONTROL,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="offers",
        start_signal_args=[spec],
        static_summary=f"container host {spec.host_id}: {spec.cpu:g} CPU, "
        f"{spec.memory.human_readable()}",
    )


@contextmanager
def sharing(settings: Settings) -> Iterator[Sharing]:
    """This host's cache of blobs, served to other hosts where the settings say so."""
    cache = BlobCache(settings.state_dir / "peer-blobs", settings.peer_cache)
    cache.clean()
    secret = settings.peer_secret.get_secret_value()
    if settings.peer_address is None or not secret:
        yield Sharing(cache, secret)
        return
    host, _, port = settings.peer_address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInput.for_field(
            "peer_address", "must be host:port", given=settings.peer_address
        )
    with peer_server(cache, (host, int(port)), secret) as bound:
        yield Sharing(cache, secret, settings.peer_url or f"http://{host}:{bound}")


async def serve(process: Process) -> None:
    settings = process.settings
    host = ContainerHost.from_settings(settings)
    activities = HostActivities(settings, host, open_object_store(settings), process.client)
    with RegistryClient.from_settings(settings) as registry, sharing(settings) as shared:
        preheats = HostPreheatActivities(host, registry, shared)
        role = WorkerRole(
            task_queue=host_task_queue(settings.host_id),
            activities=[
                activities.describe,
                activities.run_container,
                activities.watch,
                preheats.warm_host,
            ],
            max_activities=CONTAINERS_AT_A_TIME,
        )
        async with make_worker(process.client, role):
            await register(process)
            await process.stop.wait()


def main() -> None:
    run("host", serve)
