"""Copies of images, asked for and commanded over HTTP."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.app import create_app
from fleetwide.client import Client
from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.documents import OperationStatus
from fleetwide.models.registry_preheat import PreheatSpec
from fleetwide.models.registry_regions import ReplicaDocument, ReplicaRequest
from fleetwide.providers.registry_copies import Place
from fleetwide.settings import Settings
from tests.integration.registry_regions.conftest import FAR, Plane, push
from tests.oci_objects import image
from tests.registry_stack import Stack

pytestmark = pytest.mark.integration


@pytest.fixture
def http(plane: Plane, home: Stack, regions_file: Path, tmp_path: Path) -> Iterator[Client]:
    settings = Settings(
        temporal_address=plane.target_host,
        registry_url=home.url,
        registry_auth="off",
        registry_regions=regions_file,
        state_dir=tmp_path,
        database_url=SecretStr(home.database_url),
        object_store_url=f"file:{tmp_path}/objects",
    )
    with TestClient(create_app(settings)) as api:
        yield Client("http://testserver", http=api)


def only(http: Client, reference: str, *, check: bool = False) -> ReplicaDocument:
    [found] = http.regions.replicas(reference, check=check).items
    return found


async def test_a_copy_is_commanded_and_asked_for(
    http: Client, plane: Plane, here: Place, there: Place
) -> None:
    made = image()
    push(here, made, "1.0")
    reference = f"{here.repository}:1.0"
    assert only(http, reference).state == "absent"
    request = ReplicaRequest(reference=reference)
    [started] = (await asyncio.to_thread(http.regions.replicate, request)).items
    await plane.client.get_workflow_handle(started.workflow_id).result()
    booked = only(http, reference)
    assert (booked.state, booked.checked, booked.digest) == ("present", False, made.digest)
    there.registry.delete_manifest(there.repository, made.digest)
    assert only(http, reference).state == "present"
    asked = only(http, f"{here.repository}@{made.digest}", check=True)
    assert (asked.state, asked.checked, asked.region) == ("absent", True, FAR)


async def test_what_cannot_be_copied_is_told_at_once(http: Client, here: Place) -> None:
    made = image()
    elsewhere = Place(here.registry, "private/other")
    push(elsewhere, made, "1.0")
    reference = "private/other:1.0"
    with pytest.raises(InvalidInput, match="no rule"):
        http.regions.replicate(ReplicaRequest(reference=reference))
    with pytest.raises(InvalidInput, match="no region nowhere"):
        http.regions.replicate(ReplicaRequest(reference=reference, regions=["nowhere"]))
    with pytest.raises(NotFound):
        http.regions.replicate(ReplicaRequest(reference="private/other:2.0", regions=[FAR]))
    with pytest.raises(NotFound):
        http.regions.replicas(reference, region="nowhere")
    with pytest.raises(InvalidInput):
        http.regions.replicas("no reference")


async def test_a_preheat_pins_its_image_before_it_starts(http: Client, here: Place) -> None:
    made = image()
    push(here, made, "1.0")
    started = http.regions.preheat(PreheatSpec(reference=f"{here.repository}:1.0"))
    assert started.status is OperationStatus.RUNNING
    assert started.workflow_id.startswith("preheat/")
    with pytest.raises(NotFound):
        http.regions.preheat(PreheatSpec(reference=f"{here.repository}:2.0"))
