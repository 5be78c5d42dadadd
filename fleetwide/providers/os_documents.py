"""The documents of a release: SBOMs, provenance and its signature, stored and attached."""

from collections.abc import Iterator

from fleetwide.baseos.provenance import BuildOutput, provenance_statement
from fleetwide.baseos.sbom import SbomSubject, take_inventory
from fleetwide.models.baseos import Face, Target
from fleetwide.models.os_locks import Lock
from fleetwide.models.os_releases import Attachment
from fleetwide.models.os_steps import AttachDocuments
from fleetwide.providers.document_archive import (
    Archive,
    BaseLinks,
    Placed,
    build_run,
    sbom_documents,
)
from fleetwide.providers.progress import Progress
from fleetwide.registry.references import ImageReference


def documents_folder(name: str, version: str) -> str:
    """Where the documents of a release lie in the object store."""
    return f"baseos/documents/{name}/{version}"


def publish_documents(
    request: AttachDocuments, lock: Lock, invocation: str, archive: Archive, progress: Progress
) -> list[Attachment]:
    """Store every document of a release; those of the container are attached to its image too.

    ``invocation`` is the workflow's id and run id. Doing it again stores a newer provenance, and
    SBOMs of the same bytes.
    """
    plan = request.locked.plan
    statement = provenance_statement(
        request.locked,
        lock,
        _outputs(request),
        build_run(invocation, request.started_at, request.finished_at),
    )
    documents = [
        *_sboms(request, lock),
        *(Placed(document, is_attached=True) for document in archive.signed(statement)),
    ]
    image = None
    if request.image_digest is not None:
        image = ImageReference(plan.repository, digest=request.image_digest)
    return archive.publish(documents_folder(plan.name, plan.version), image, documents, progress)


def _sboms(request: AttachDocuments, lock: Lock) -> Iterator[Placed]:
    """Those of each face; a disk lies in no registry that they could be attached in."""
    digests = {
        Target.CONTAINER: request.image_digest,
        Target.VM: request.disk.digest if request.disk else None,
    }
    for target, digest in digests.items():
        if digest is not None:
            subject = _subject(request, target, digest)
            inventory = take_inventory(subject, lock.of(Face(target.value)))
            for document in sbom_documents(inventory, BaseLinks()):
                yield Placed(document, is_attached=target is Target.CONTAINER)


def _subject(request: AttachDocuments, target: Target, digest: str) -> SbomSubject:
    plan = request.locked.plan
    return SbomSubject(
        target=target,
        name=plan.name,
        version=plan.version,
        digest=digest,
        repository=plan.repository if target is Target.CONTAINER else "",
        distribution=plan.spec.distribution,
        suite=plan.spec.suite,
        architecture=plan.spec.architecture,
        source_date_epoch=request.locked.source_date_epoch,
    )


def _outputs(request: AttachDocuments) -> list[BuildOutput]:
    plan = request.locked.plan
    named = {
        f"{plan.repository}:{plan.tag}": request.image_digest,
        "layer.tar.gz": request.layer.digest if request.layer else None,
        "disk.raw": request.disk.digest if request.disk else None,
    }
    return [BuildOutput(name=name, digest=digest) for name, digest in named.items() if digest]
