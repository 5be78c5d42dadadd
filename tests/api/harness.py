"""A whole control plane in this process: real Temporal, SQL, registry, workflows and scheduler.

Only what needs root, Docker or AWS is a stand-in: the builder, the container host and EC2.
"""

import asyncio
import hashlib
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx2
from pydantic import SecretStr
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.hosts import HostSpec
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.objects import ObjectStore, open_object_store
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.registry.digests import canonical_json, digest_of
from fleetwide.registry.manifests import parse_manifest
from fleetwide.registry.references import parse_reference
from fleetwide.settings import Settings
from fleetwide.store import hosts, registry_blobs, registry_manifests, registry_repositories
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store
from fleetwide.temporal.converter import data_converter
from fleetwide.temporal.search_attributes import ALL
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.baked_clouds import BakedCloud
from tests.workflow.clouds import ScriptedCloud
from tests.workflow.scripted import ScriptedBuilder
from tests.workflow.scripted_bakes import ScriptedBakes
from tests.workflow.world import with_cloud
from workers.placing import Placer
from workers.registry import WORKFLOWS, control_activities, storage_activities

IMAGE = "apps/hello:1.0.0"
HOST = "h1"
TEMPORAL = Path(sys.executable).with_name("temporal")
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
DYNAMIC = (
    "history.transferProcessorMaxPollRPS=1000",
    "history.timerProcessorMaxPollRPS=1000",
    'history.timerProcessorMaxTimeShift="10ms"',
)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for the condition; a generous deadline turns a hang into a failure."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Docker Distribution on a free port with one image in it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'blobs'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: {secrets.token_hex(8)}}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(url), "the registry answers")
        push_image(url)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    with suppress(httpx2.TransportError):
        return httpx2.get(f"{url}/v2/").status_code == 200
    return False


def image() -> tuple[bytes, bytes]:
    """The config and the manifest of the one image."""
    config = canonical_json({"architecture": "amd64", "os": "linux"})
    described = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest_of(config),
        "size": len(config),
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": described,
        "layers": [],
    }
    return config, canonical_json(manifest)


def push_image(url: str) -> str:
    config, manifest = image()
    with RegistryClient(url) as client:
        reference = parse_reference(IMAGE)
        client.upload_blob(reference.repository, config, digest_of(config))
        return client.put_manifest(reference, manifest, MANIFEST_TYPE)


def index_image(store: Store) -> None:
    """Note the image in the registry's index, as a push through the gateway does."""
    config, manifest = image()
    reference, now = parse_reference(IMAGE), datetime.now(UTC)
    assert reference.tag is not None
    with store.write() as session:
        row = registry_repositories.ensure(session, reference.repository, by="tests", now=now)
        registry_blobs.admit(session, row, digest_of(config), len(config), now=now, lease_until=now)
        parsed = parse_manifest(manifest, MANIFEST_TYPE)
        push = registry_manifests.Push(by="tests", at=now, tags=[reference.tag])
        registry_manifests.record(session, row, parsed, push)


def settings_for(folder: Path, temporal_address: str, registry_url: str) -> Settings:
    return Settings(
        temporal_address=temporal_address,
        temporal_ui_url="http://ui.example",
        state_dir=folder / "state",
        database_url=SecretStr(f"sqlite:///{folder}/fleetwide.db"),
        registry_url=registry_url,
        registry_auth="off",
        object_store_url=f"file:{folder}/objects",
    )


class StandInHost:
    """Acts out a container by the words of its command."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.tries: dict[str, int] = {}

    @activity.defn(name="hosts.run_container")
    async def run_container(self, run: RunContainer) -> AttemptResult:
        words = run.container.command or ["exit", "0"]
        started = datetime.now(UTC)
        log = LogWriter(self.objects, run.key.log_key())
        log.write(f"attempt {run.key.attempt} of {run.key.index} says hällo\n".encode())
        log.flush()
        if words[0] == "sleep":
            await self._sleep()
        code = int(words[1]) if words[0] == "exit" else 0
        if words[0] == "flaky" and run.key.attempt == 1 and run.key.index % 2 == 0:
            code = 7
        return AttemptResult(
            key=run.key,
            host_id=run.host_id,
            reason=EndReason.FAILED if code else EndReason.NORMAL,
            message=f"exit code {code}",
            exit_code=code,
            started_at=started,
            finished_at=datetime.now(UTC),
            log_key=run.key.log_key(),
            last_lines=log.tail(),
        )

    async def _sleep(self) -> None:
        while True:
            activity.heartbeat()
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                raise CancelledError("stopped") from None


class Plane:
    """The control plane's event loop in a thread, so that the API runs in a loop of its own."""

    def __init__(self, folder: Path, registry_url: str) -> None:
        self.folder = folder
        self.registry_url = registry_url
        self.settings: Settings
        self.bakes = ScriptedBakes()
        self.baked = BakedCloud()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="control plane")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(60)
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def call(self, work: Callable[[Client], Awaitable[Any]]) -> Any:
        """Run something with a Temporal client in the control plane's loop."""

        async def run() -> Any:
            return await work(self.client)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
            self._ready.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        extra = [word for value in DYNAMIC for word in ("--dynamic-config-value", value)]
        async with AsyncExitStack() as stack:
            environment = await stack.enter_async_context(
                await WorkflowEnvironment.start_local(
                    dev_server_existing_path=str(TEMPORAL),
                    data_converter=data_converter,
                    search_attributes=ALL,
                    dev_server_extra_args=extra,
                )
            )
            self.client = environment.client
            address = self.client.service_client.config.target_host
            self.settings = settings_for(self.folder, address, self.registry_url)
            store = Store.open(self.settings.database_url.get_secret_value())
            stack.callback(store.engine.dispose)
            images = stack.enter_context(RegistryClient(self.registry_url))
            prepare(store)
            host = StandInHost(open_object_store(self.settings))
            builder, bakes = ScriptedBuilder(), self.bakes
            control = control_activities(self.settings, store, images)
            for worker in (
                WorkerRole(
                    "control",
                    workflows=WORKFLOWS,
                    activities=with_cloud(control, ScriptedCloud(), self.baked),
                ),
                WorkerRole("builder", activities=[*builder.activities(), *bakes.activities()]),
                WorkerRole(f"host.{HOST}", activities=[host.run_container]),
                WorkerRole("storage", activities=self._storage_activities(store)),
            ):
                await stack.enter_async_context(make_worker(self.client, worker))
            placing = asyncio.create_task(self._place(Placer(store, self.client)))
            stack.callback(placing.cancel)
            self._ready.set()
            await self._stop.wait()

    def _storage_activities(self, store: Store) -> list[Callable[..., Any]]:
        """Beside the registry that ``registry`` starts in the same folder."""
        storage = RegistryStorage(FolderTree(self.folder / "blobs"))
        return storage_activities(self.settings, store, storage)

    async def _place(self, placer: Placer) -> None:
        while True:
            await placer.tick()
            await asyncio.sleep(0.02)


def prepare(store: Store) -> None:
    """The schema and one host."""
    upgrade(store.engine)
    with store.write() as session:
        spec = HostSpec.model_validate({"host_id": HOST, "cpu": 4, "memory": "4GiB"})
        hosts.register(session, spec, now=datetime.now(UTC))
    index_image(store)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def task_spec(*command: str, **container: Any) -> dict[str, Any]:
    return {
        "app": "hello",
        "container": {
            "image": IMAGE,
            "command": list(command),
            "resources": {"cpu": 0.1, "memory": "16MiB"},
            **container,
        },
    }
