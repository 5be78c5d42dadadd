"""Publish a bake: its image and its documents, as much of it side by side as may be."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from fleetwide.bakery.defaults import default_env
from fleetwide.models.bakes import (
    BuiltLayer,
    DocumentBake,
    PublishBake,
    PublishedBake,
    ResolvedBake,
)
from fleetwide.providers.attachments import refer, send_documents
from fleetwide.providers.bake_documents import bake_documents, spdx_delta
from fleetwide.providers.document_archive import Archive, attached_of, attachments_of
from fleetwide.providers.images import PlannedImage, plan_image, push_image
from fleetwide.providers.progress import Progress
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference


def plan_bake(bake: ResolvedBake, built: BuiltLayer, archive: Archive) -> PlannedImage:
    """The image that a bake publishes; nothing of it is sent. The same bake has the same.

    Raises:
        ImageNotFound, NotFound: the base is not in the registry any more.
        RegistryUnavailable, ObjectStoreUnavailable: one of them did not answer.
    """
    sbom = digest_of(spdx_delta(bake, built, archive.objects))
    return plan_image(archive.registry, bake, built.layer, default_env(bake), sbom)


def publish_bake(
    request: PublishBake,
    invocation: str,
    archive: Archive,
    send_layer: Callable[[], bool],
    progress: Progress,
) -> PublishedBake:
    """Push the image where there is one, store all documents, attach those of the image to it.

    ``invocation`` is the workflow's id and run id. ``send_layer`` brings the layer into the bake's
    repository, in a thread of its own; its answer is the one that ``push_image`` asks for. Done
    twice it is done once.

    Raises:
        PlatformError: a layer is not in the registry any more.
        RegistryUnavailable, ObjectStoreUnavailable: one of them did not answer.
    """
    if request.built is None:
        documents = bake_documents(DocumentBake(**dict(request)), invocation, archive)
        archive.store(_folder(request), documents, progress)
        return PublishedBake(attachments=attachments_of(_folder(request), documents, []))
    with ThreadPoolExecutor(2, "publish") as threads:
        sending = threads.submit(copy_context().run, send_layer)
        planned = plan_bake(request.bake, request.built, archive)
        told = DocumentBake(**dict(request), digest=planned.documents.digest)
        documents = bake_documents(told, invocation, archive)
        attached = attached_of(documents)
        repository = request.bake.repository
        sent = threads.submit(send_documents, archive.registry, repository, attached)
        pushed = push_image(archive.registry, planned, sending.result)
        sent.result()
        # Nothing but the registry's unreferenced blobs is left behind by what fails up to here.
        image = ImageReference(repository, digest=pushed.digest)
        referring = threads.submit(refer, archive.registry, image, planned.subject, attached)
        archive.store(_folder(request), documents, progress)
        referrers = referring.result()
    attachments = attachments_of(_folder(request), documents, referrers)
    return PublishedBake(pushed=pushed, attachments=attachments)


def _folder(request: PublishBake) -> str:
    return f"bakery/documents/{request.bake.bake_key}"
