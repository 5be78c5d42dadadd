"""Two whole registries as two regions, the workers between them, and images to copy."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from fleetwide.models.registry_regions import ReplicaOutcome, ReplicateImage
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_auth import Credentials
from fleetwide.providers.registry_copies import Place
from fleetwide.providers.registry_regions import Regions
from fleetwide.registry.references import ImageReference
from fleetwide.store.session import Store
from fleetwide.temporal.converter import data_converter
from fleetwide.temporal.search_attributes import ALL
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.oci_objects import Manifest, digest_of
from tests.registry_stack import PASSWORD, Stack, StackOptions, registry_stack
from tests.workflow.world import BIN
from workers.registry import WORKFLOWS
from workers.replication import replication_activities

FAR = "far"
ADMIN = Credentials("admin", PASSWORD)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """This region: without accounts, and without nginx."""
    with registry_stack(tmp_path_factory.mktemp("home"), StackOptions(plane="redirect")) as made:
        yield made


@pytest.fixture(scope="session")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The other region: it wants a token, and all of its bytes come through one door."""
    options = StackOptions(plane="nginx", auth="token")
    with registry_stack(tmp_path_factory.mktemp("far"), options) as made:
        yield made


@pytest.fixture(scope="session")
def regions_file(far: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything below ``apps/`` is to lie in the other region too."""
    folder = tmp_path_factory.mktemp("regions")
    (folder / "secret").write_text(f"{PASSWORD}\n")
    login = {"username": "admin", "password_file": str(folder / "secret")}
    document = {
        "region": "home",
        "regions": {FAR: {"url": far.url, "login": login}},
        "rules": [{"repositories": ["apps/*"], "regions": [FAR]}],
    }
    file = folder / "regions.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture
def repository() -> str:
    return f"apps/{uuid4().hex[:12]}"


@pytest.fixture
def here(home: Stack, repository: str) -> Iterator[Place]:
    with RegistryClient(home.url) as client:
        yield Place(client, repository)


@pytest.fixture
def there(far: Stack, repository: str) -> Iterator[Place]:
    with RegistryClient(far.url, ADMIN) as client:
        yield Place(client, repository)


def push(place: Place, made: Manifest, *tags: str) -> None:
    """Everything below it first; without tags, by its digest."""
    for child in made.children:
        push(place, child)
    for blob in made.blobs:
        place.registry.upload_blob(place.repository, blob, digest_of(blob))
    for tag in tags or (None,):
        digest = made.digest if tag is None else None
        place.put(ImageReference(place.repository, tag, digest), made.data, made.media_type)


def assert_whole(place: Place, made: Manifest) -> None:
    """The image lies there to the last byte."""
    reference = ImageReference(place.repository, digest=made.digest)
    assert place.registry.get_manifest(reference).data == made.data
    for blob in made.blobs:
        with place.registry.stream_blob(place.repository, digest_of(blob)) as pieces:
            assert b"".join(pieces) == blob
    for child in made.children:
        assert_whole(place, child)


@dataclass
class Plane:
    """The control plane of the home region."""

    client: Client
    store: Store
    regions: Regions
    target_host: str

    async def replicate(self, place: Place, digest: str) -> ReplicaOutcome:
        image = ReplicateImage(repository=place.repository, digest=digest, region=FAR)
        handle = await self.start(image)
        return ReplicaOutcome.model_validate(await handle.result())

    async def start(self, image: ReplicateImage) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            "ImageReplication", image, id=image.workflow_id, task_queue="control"
        )


@pytest.fixture
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BIN / "temporal"),
        data_converter=data_converter,
        search_attributes=ALL,
    ) as environment:
        yield environment


@pytest.fixture
async def idle_plane(
    temporal: WorkflowEnvironment, home: Stack, regions_file: Path
) -> AsyncIterator[Plane]:
    """With a worker for workflows, and none that copies."""
    async with AsyncExitStack() as stack:
        store = home.store()
        stack.callback(store.engine.dispose)
        regions = stack.enter_context(Regions(regions_file))
        await stack.enter_async_context(
            make_worker(temporal.client, WorkerRole("control", WORKFLOWS))
        )
        host = temporal.client.service_client.config.target_host
        yield Plane(temporal.client, store, regions, host)


@pytest.fixture
async def plane(idle_plane: Plane, home: Stack) -> AsyncIterator[Plane]:
    with RegistryClient(home.url) as registry:
        activities = replication_activities(
            idle_plane.store, registry, idle_plane.regions, idle_plane.client
        )
        role = WorkerRole("replication", activities=activities, max_activities=16)
        async with make_worker(idle_plane.client, role):
            yield idle_plane
