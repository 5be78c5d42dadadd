"""The documents of a bake: SBOMs of what it adds, provenance and its signature."""

from collections.abc import Callable
from functools import lru_cache

from fleetwide.bakery.provenance import bake_statement
from fleetwide.bakery.sbom import delta_inventory
from fleetwide.baseos.sbom import LinkedDocument
from fleetwide.baseos.sbom_cyclonedx import cyclonedx_link
from fleetwide.baseos.sbom_spdx import spdx_document, spdx_link
from fleetwide.errors import NotFound
from fleetwide.models.bakes import BakedDisk, BaseImage, BuiltLayer, DocumentBake, ResolvedBake
from fleetwide.models.baseos import Target
from fleetwide.providers.document_archive import (
    Archive,
    BaseLinks,
    Placed,
    build_run,
    sbom_documents,
)
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.os_documents import documents_folder


def spdx_delta(bake: ResolvedBake, made: BuiltLayer | BakedDisk, objects: ObjectStore) -> bytes:
    """The SPDX document about what the bake adds: the one that an image names by its digest.

    It links to the base's own document where the base has one.
    """
    inventory = delta_inventory(bake, made)
    below = _link(objects, bake.base, f"{inventory.subject.target}.spdx.json", spdx_link)
    return spdx_document(inventory, below)


def bake_documents(request: DocumentBake, invocation: str, archive: Archive) -> list[Placed]:
    """Every document of a bake; those of the container belong to its image.

    ``invocation`` is the workflow's id and run id. The same request gives the same documents;
    for another image of the same bake the SBOMs stay, and the provenance is of that one.
    """
    run = build_run(invocation, request.started_at, request.finished_at)
    statement = bake_statement(request, run)
    documents = [Placed(document, is_attached=True) for document in archive.signed(statement)]
    for made in (request.built, request.disk):
        if made is not None:
            inventory = delta_inventory(request.bake, made)
            target = inventory.subject.target
            links = _links(archive.objects, request.bake.base, target)
            documents += [
                Placed(one, is_attached=target is Target.CONTAINER)
                for one in sbom_documents(inventory, links)
            ]
    return documents


def _links(objects: ObjectStore, base: BaseImage, target: Target) -> BaseLinks:
    return BaseLinks(
        spdx=_link(objects, base, f"{target}.spdx.json", spdx_link),
        cyclonedx=_link(objects, base, f"{target}.cdx.json", cyclonedx_link),
    )


def _link(
    objects: ObjectStore, base: BaseImage, file_name: str, link: Callable[[bytes], LinkedDocument]
) -> LinkedDocument | None:
    """A link to the base's document; None where the release was published without documents."""
    try:
        document = objects.get_bytes(f"{documents_folder(base.name, base.version)}/{file_name}")
    except NotFound:
        return None
    return _linked(link, document)


@lru_cache(maxsize=8)
def _linked(link: Callable[[bytes], LinkedDocument], document: bytes) -> LinkedDocument:
    # Many bakes stand on one base, and its document is long.
    return link(document)
