"""The host worker: one per container host. It has no database and no AWS credentials.

It speaks to Temporal, to its Docker daemon, to the registry (through Docker) and to the object
store. Its task queue ``host.<host id>`` is polled by nobody else.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

from activities.errands import HostErrandActivities
from activities.hosts import HostActivities
from activities.registry_preheat import HostPreheatActivities
from fleetwide.containers.offers import Kept, device_ids, label_pairs, port_range, reserve_of
from fleetwide.errors import InvalidInput
from fleetwide.models.errands import errand_task_queue
from fleetwide.models.hosts import HostSpec, host_task_queue
from fleetwide.providers.blob_cache import BlobCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.guards import GuardKeeper
from fleetwide.providers.image_fetches import Sharing
from fleetwide.providers.image_room import ImageKeeper, keep_looking
from fleetwide.providers.lease_folder import LeaseFolder
from fleetwide.providers.leases import Leases
from fleetwide.providers.objects import open_object_store
from fleetwide.providers.registry_peers import peer_server
from fleetwide.providers.registry_shares import Shares
from fleetwide.settings import Settings
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.control import TASK_QUEUE as CONTROL
from workers.ec2_host import heeding, identified
from workers.process import Process, run

# More than a host can have: its watch and its description must never wait behind containers.
ACTIVITIES_AT_A_TIME = 1000
ERRANDS_AT_A_TIME = 20


def offer(settings: Settings) -> HostSpec:
    """What this machine offers: the settings' figures, else what it has, less the reserve.

    Disk, network and GPUs that no setting names are left to the machine's own facts.
    """
    total = psutil.virtual_memory().total
    kept = Kept(settings.host_reserve_cpu, settings.host_reserve_memory)
    reserve = reserve_of(kept, total, None)
    first_port, last_port = port_range(settings.host_ports)
    zone = {"zone": settings.host_zone} if settings.host_zone else {}
    return HostSpec.model_validate(
        {
            "host_id": settings.host_id,
            "cpu": settings.host_cpu or float(psutil.cpu_count() or 1) - reserve.cpu,
            "memory": settings.host_memory or total - reserve.memory,
            "disk": settings.host_disk,
            "network": settings.host_network,
            "gpus": device_ids(settings.host_gpus),
            "first_port": first_port,
            "last_port": last_port,
            "labels": {**label_pairs(settings.host_labels), **zone},
            "report_seconds": settings.host_report_seconds,
        }
    )


async def register(client: Client, spec: HostSpec) -> None:
    """Start this host's ``Host`` workflow, or tell the running one what is offered now."""
    await client.start_workflow(
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
    if settings.peer_address is None:
        yield Sharing(cache)
        return
    host, _, port = settings.peer_address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInput.for_field(
            "peer_address", "must be host:port", given=settings.peer_address
        )
    shares = Shares()
    with peer_server(cache, (host, int(port)), shares) as bound:
        yield Sharing(cache, shares, settings.peer_url or f"http://{host}:{bound}")


def lease_folder(settings: Settings) -> Path:
    """Where this host keeps its leases: absolute, for the guard may outlive this folder's name."""
    return settings.state_dir.absolute() / "leases" / settings.host_id


@asynccontextmanager
async def guarded(settings: Settings, folder: LeaseFolder) -> AsyncIterator[None]:
    """With a guard that stops containers when this worker cannot renew their leases."""
    keeper = GuardKeeper(folder, settings.docker_url)
    with folder.held_by_worker():
        await keeper.start()
        keeping = asyncio.create_task(keeper.keep())
        try:
            yield
        finally:
            keeping.cancel()
            keeper.close()


@asynccontextmanager
async def keeping_room(keeper: ImageKeeper) -> AsyncIterator[None]:
    """With a thread that looks after the images."""
    over = Event()
    looking = Thread(target=keep_looking, args=(keeper, over.wait), name="images", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()


async def serve(process: Process) -> None:
    settings = identified(process.settings)
    host = ContainerHost.from_settings(settings)
    objects = open_object_store(settings)
    leases = Leases(LeaseFolder(lease_folder(settings)), process.client)
    keeper = host.images = ImageKeeper.from_settings(host, objects, settings)
    activities = HostActivities(settings, host, objects, process.client, leases, keeper)
    errands = WorkerRole(
        task_queue=errand_task_queue(settings.host_id),
        activities=[HostErrandActivities(host, objects).run_errand],
        max_activities=ERRANDS_AT_A_TIME,
    )
    with RegistryClient.from_settings(settings) as registry, sharing(settings) as shared:
        preheats = HostPreheatActivities(host, registry, shared)
        role = WorkerRole(
            task_queue=host_task_queue(settings.host_id),
            activities=[
                activities.describe,
                activities.run_container,
                activities.find_container,
                activities.watch,
                preheats.warm_host,
            ],
            max_activities=ACTIVITIES_AT_A_TIME,
        )
        async with (
            guarded(settings, leases.folder),
            keeping_room(keeper),
            make_worker(process.client, role),
            make_worker(process.client, errands),
        ):
            await register(process.client, offer(settings))
            async with heeding(process.client, settings, process.settings.host_id):
                await process.stop.wait()


def main() -> None:
    run("host", serve)
