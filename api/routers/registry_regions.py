"""The registry elsewhere: copies in other regions, and images on hosts."""

import asyncio
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Response
from sqlmodel import Session
from temporalio.common import WorkflowIDReusePolicy

from api import lifecycles
from api.deps import Platform, PlatformDep, WaitQuery
from api.lifecycles import Start
from api.links import operation_page
from api.rights import SIGNED_IN, VisitorDep
from api.starts import start_and_answer
from fleetwide.errors import NotFound
from fleetwide.models.documents import Operation, Page
from fleetwide.models.registry_access import Action
from fleetwide.models.registry_preheat import PreheatSpec
from fleetwide.models.registry_regions import ReplicaDocument, ReplicaRequest, ReplicateImage
from fleetwide.providers.registry_copies import Place
from fleetwide.providers.registry_regions import Regions
from fleetwide.registry.references import parse_reference
from fleetwide.registry.replication import SET_REGIONS, chosen_regions
from fleetwide.store import registry_replicas
from fleetwide.store.registry_tables import ReplicaRow
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1/registry", tags=["registry"], dependencies=SIGNED_IN)

ABSENT = "absent"
Reference = Annotated[str, Query(max_length=400, description="repository:tag or repository@digest")]


@router.get("/replicas")
def list_replicas(
    platform: PlatformDep,
    visitor: VisitorDep,
    reference: Reference,
    region: Annotated[str | None, Query(max_length=63, description="one region alone")] = None,
    check: Annotated[bool, Query(description="ask the regions themselves")] = False,
) -> Page[ReplicaDocument]:
    """In which regions an image lies: what the books say, or the regions themselves."""
    image = parse_reference(reference, "reference")
    visitor.require(image.repository, Action.PULL)
    with Regions(platform.settings.registry_regions) as regions:
        names = sorted(regions.current().regions)
        if region is not None and region not in names:
            known = ", ".join(names)
            raise NotFound(
                f"there is no registry region {region}",
                hint=f"the file of regions has {known}" if known else SET_REGIONS,
            )
        digest = platform.images.resolve(image)
        with platform.store.read() as session:
            found = _documents(session, image.repository, digest, names)
        found = [one for one in found if region in (None, one.region)]
        if check:
            found = [_checked(regions, one) for one in found]
    return Page(items=found)


def _documents(
    session: Session, repository: str, digest: str, names: list[str]
) -> list[ReplicaDocument]:
    rows = {row.region: row for row in registry_replicas.of_digest(session, repository, digest)}
    return [_document(repository, digest, name, rows.get(name)) for name in names]


def _document(repository: str, digest: str, region: str, row: ReplicaRow | None) -> ReplicaDocument:
    if row is None:
        return ReplicaDocument(repository=repository, digest=digest, region=region, state=ABSENT)
    return ReplicaDocument(
        repository=repository,
        digest=digest,
        region=region,
        state=row.state,
        message=row.message,
        updated_at=row.updated_at,
        links={"operation": operation_page(row.workflow_id)},
    )


def _checked(regions: Regions, document: ReplicaDocument) -> ReplicaDocument:
    place = Place(regions.region(document.region), document.repository)
    # The manifest comes after all that it refers to.
    there = place.has_manifest(document.digest)
    state = registry_replicas.PRESENT if there else ABSENT
    return document.model_copy(update={"state": state, "checked": True})


@router.post("/replicas", status_code=202)
async def replicate(
    platform: PlatformDep, visitor: VisitorDep, request: ReplicaRequest, wait: WaitQuery = 0
) -> Page[Operation]:
    """Copy an image to regions now; one operation for each."""
    image = parse_reference(request.reference, "reference")
    visitor.require(image.repository, Action.PULL, Action.PUSH)
    images = await asyncio.to_thread(_wanted, platform, request)
    handles = [await lifecycles.start(platform, _start(image)) for image in images]
    await asyncio.gather(*(lifecycles.wait_end(handle, wait) for handle in handles))
    operations = [await lifecycles.operation(platform, image.workflow_id) for image in images]
    return Page(items=operations)


def _wanted(platform: Platform, request: ReplicaRequest) -> list[ReplicateImage]:
    image = parse_reference(request.reference, "reference")
    with Regions(platform.settings.registry_regions) as regions:
        names = chosen_regions(regions.current(), image.repository, request.regions)
    digest = platform.images.resolve(image)
    return [
        ReplicateImage(repository=image.repository, digest=digest, region=name) for name in names
    ]


def _start(image: ReplicateImage) -> Start:
    return Start(
        workflow_type="ImageReplication",
        workflow_id=image.workflow_id,
        spec=image,
        summary=f"copy {image.repository} to {image.region}",
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        attributes=attributes.pairs(
            {attributes.PRODUCT: "registry", attributes.IMAGE_DIGEST: image.digest}
        ),
    )


@router.post("/preheats", status_code=202)
async def preheat(
    platform: PlatformDep,
    visitor: VisitorDep,
    response: Response,
    spec: PreheatSpec,
    wait: WaitQuery = 0,
) -> Operation:
    """Have an image on hosts before a job needs it there."""
    image = parse_reference(spec.reference, "reference")
    visitor.require(image.repository, Action.PULL)
    digest = await asyncio.to_thread(platform.images.resolve, image)
    request = Start(
        workflow_type="ImagePreheat",
        workflow_id=f"preheat/{uuid4().hex[:12]}",
        spec=spec.model_copy(update={"reference": str(image.pinned(digest))}),
        summary=f"bring {image} to hosts",
        attributes=attributes.pairs(
            {attributes.PRODUCT: "registry", attributes.IMAGE_DIGEST: digest}
        ),
    )
    return await start_and_answer(platform, response, request, wait)
