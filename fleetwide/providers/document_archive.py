"""Where the documents of images go: the object store, and the registry as their referrers."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetwide.baseos import sbom_cyclonedx, sbom_spdx
from fleetwide.baseos.provenance import FILE_NAME, PAYLOAD_TYPE, BuildRun
from fleetwide.baseos.sbom import Inventory, LinkedDocument
from fleetwide.models.base import Timestamp
from fleetwide.models.os_releases import Attachment
from fleetwide.providers.attachments import attach
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.signing import ENVELOPE_TYPE, SigningKey, sign
from fleetwide.providers.toolchain import versions
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference
from fleetwide.registry.referrers import Document, Referrer

BUILDER_ID = "urn:fleetwide:builder"


@dataclass(frozen=True)
class Placed:
    """A document, and whether it goes to the container image too."""

    document: Document
    is_attached: bool


@dataclass(frozen=True)
class BaseLinks:
    """The documents about the base that those of a delta link to."""

    spdx: LinkedDocument | None = None
    cyclonedx: LinkedDocument | None = None


@dataclass(frozen=True)
class Archive:
    """Where documents go, and the key that signs them."""

    registry: RegistryClient
    objects: ObjectStore
    key: SigningKey

    def publish(
        self,
        folder: str,
        image: ImageReference | None,
        documents: Sequence[Placed],
        progress: Progress,
    ) -> list[Attachment]:
        """Store the documents below ``folder``, and attach to the image those that go there.

        The same ones again change nothing. Without an image nothing is attached.

        Raises:
            ImageNotFound: the image is not in the registry.
            RegistryUnavailable, ObjectStoreUnavailable: one of them did not answer.
        """
        self.store(folder, documents, span(progress, 0.0, 0.5))
        referrers: Sequence[Referrer] = []
        if image is not None:
            attached = attached_of(documents)
            referrers = attach(self.registry, image, attached, span(progress, 0.5, 1.0))
        return attachments_of(folder, documents, referrers)

    def store(self, folder: str, documents: Sequence[Placed], progress: Progress) -> None:
        """Put every document below ``folder`` of the object store.

        Raises:
            ObjectStoreUnavailable: it did not answer.
        """
        for number, placed in enumerate(documents):
            document = placed.document
            progress(f"storing {document.file_name}", number / len(documents))
            self.objects.put_bytes(f"{folder}/{document.file_name}", document.data)

    def signed(self, statement: bytes) -> list[Document]:
        """A statement of provenance, and the same in a signed envelope."""
        envelope = sign(self.key, statement, PAYLOAD_TYPE)
        return [
            Document(PAYLOAD_TYPE, FILE_NAME, statement),
            Document(ENVELOPE_TYPE, f"{FILE_NAME}.dsse.json", envelope),
        ]


def attached_of(documents: Sequence[Placed]) -> list[Document]:
    """Those that go to the image."""
    return [one.document for one in documents if one.is_attached]


def attachments_of(
    folder: str, documents: Sequence[Placed], referrers: Sequence[Referrer]
) -> list[Attachment]:
    """What lies below ``folder``, by the digests of the ``referrers`` where there are any.

    These are in the order of ``attached_of``; without an image there are none.
    """
    digests = {one.document.file_name: digest_of(one.document.data) for one in documents}
    attached = attached_of(documents) if referrers else []
    for document, referrer in zip(attached, referrers, strict=True):
        digests[document.file_name] = referrer.digest
    return [
        Attachment(
            artifact_type=one.document.artifact_type,
            digest=digests[one.document.file_name],
            key=f"{folder}/{one.document.file_name}",
        )
        for one in documents
    ]


def sbom_documents(inventory: Inventory, links: BaseLinks) -> list[Document]:
    """The bill of materials in both formats, named by the face that it is about."""
    spdx = sbom_spdx.spdx_document(inventory, links.spdx)
    cyclonedx = sbom_cyclonedx.cyclonedx_document(inventory, links.cyclonedx)
    target = inventory.subject.target
    return [
        Document(sbom_spdx.ARTIFACT_TYPE, f"{target}.spdx.json", spdx),
        Document(sbom_cyclonedx.ARTIFACT_TYPE, f"{target}.cdx.json", cyclonedx),
    ]


def build_run(invocation: str, started_at: Timestamp, finished_at: Timestamp) -> BuildRun:
    """A run on this builder; ``invocation`` is the workflow's id and run id."""
    return BuildRun(
        builder_id=BUILDER_ID,
        builder_versions=versions(),
        invocation_id=invocation,
        started_at=started_at,
        finished_at=finished_at,
    )
