"""The documents of a release: SBOMs, provenance and its signature, stored and attached."""

from collections.abc import Iterator
from dataclasses import dataclass

from fleetwide.baseos import sbom_cyclonedx, sbom_spdx
from fleetwide.baseos.provenance import (
    FILE_NAME,
    PAYLOAD_TYPE,
    BuildOutput,
    BuildRun,
    provenance_statement,
)
from fleetwide.baseos.sbom import SbomSubject
from fleetwide.models.baseos import Face, Target
from fleetwide.models.os_locks import Lock
from fleetwide.models.os_releases import Attachment
from fleetwide.models.os_steps import AttachDocuments
from fleetwide.providers.attachments import attach
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.signing import ENVELOPE_TYPE, SigningKey, sign
from fleetwide.providers.toolchain import versions
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference
from fleetwide.registry.referrers import Document

BUILDER_ID = "urn:fleetwide:builder"


@dataclass(frozen=True)
class Archive:
    """Where documents go, and the key that signs them."""

    registry: RegistryClient
    objects: ObjectStore
    key: SigningKey


def publish_documents(
    request: AttachDocuments, lock: Lock, invocation: str, archive: Archive, progress: Progress
) -> list[Attachment]:
    """Store every document of a release; those of the container are attached to its image too.

    ``invocation`` is the workflow's id and run id. Doing it again stores a newer provenance, and
    SBOMs of the same bytes.
    """
    plan = request.locked.plan
    found = []
    documents = list(_documents(request, lock, invocation, archive.key))
    for number, (target, document) in enumerate(documents):
        part = span(progress, number / len(documents), (number + 1) / len(documents))
        key = f"baseos/documents/{plan.name}/{plan.version}/{document.file_name}"
        archive.objects.put_bytes(key, document.data)
        digest = digest_of(document.data)
        if target is not Target.VM and request.image_digest is not None:
            image = ImageReference(plan.repository, digest=request.image_digest)
            digest = attach(archive.registry, image, document, part).digest
        found.append(Attachment(artifact_type=document.artifact_type, digest=digest, key=key))
    return found


def _documents(
    request: AttachDocuments, lock: Lock, invocation: str, key: SigningKey
) -> Iterator[tuple[Target | None, Document]]:
    """Each document with the face that it is about; None for those about the whole release."""
    digests = {
        Target.CONTAINER: request.image_digest,
        Target.VM: request.disk.digest if request.disk else None,
    }
    for target, digest in digests.items():
        if digest is not None:
            subject = _subject(request, target, digest)
            packages = lock.of(Face(target.value))
            name = f"{target}.spdx.json"
            yield (
                target,
                Document(sbom_spdx.ARTIFACT_TYPE, name, sbom_spdx.spdx_document(subject, packages)),
            )
            name = f"{target}.cdx.json"
            yield (
                target,
                Document(
                    sbom_cyclonedx.ARTIFACT_TYPE,
                    name,
                    sbom_cyclonedx.cyclonedx_document(subject, packages),
                ),
            )
    statement = provenance_statement(
        request.locked, lock, _outputs(request), _run(request, invocation)
    )
    yield None, Document(PAYLOAD_TYPE, FILE_NAME, statement)
    envelope = sign(key, statement, PAYLOAD_TYPE)
    yield None, Document(ENVELOPE_TYPE, f"{FILE_NAME}.dsse.json", envelope)


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


def _run(request: AttachDocuments, invocation: str) -> BuildRun:
    return BuildRun(
        builder_id=BUILDER_ID,
        builder_versions=versions(),
        invocation_id=invocation,
        started_at=request.started_at,
        finished_at=request.finished_at,
    )
