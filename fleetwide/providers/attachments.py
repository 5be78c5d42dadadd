"""Attach documents (SBOMs, provenance, signatures) to an image in the registry, and list them.

Where the registry keeps no list of referrers, we do, and it has no way to change a tag only if
nobody else has. So each referrer first claims its place by a tag of its own, and whoever writes the
list writes all that have claimed one, then looks again. The last writer therefore always sees the
claims of those whose list it overwrote, and no entry is lost.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from fleetwide.errors import ImageNotFound, RegistryUnavailable
from fleetwide.providers.distribution import Manifest, RegistryClient
from fleetwide.providers.progress import Progress, meanwhile, no_progress
from fleetwide.registry.digests import digest_of
from fleetwide.registry.oci import INDEX_TYPE, MANIFEST_TYPE
from fleetwide.registry.references import ImageReference
from fleetwide.registry.referrers import (
    EMPTY,
    Document,
    Referrer,
    Subject,
    artifact_manifest,
    claim_tag,
    claims,
    index_tag,
    read_referrers,
    referrer_of,
    referrers_index,
)

MAX_ROUNDS = 100
"""More writers of one image's list than that have never met."""
REREAD_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4)
AT_A_TIME = 5
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def attach(
    client: RegistryClient,
    subject: ImageReference,
    documents: Sequence[Document],
    progress: Progress = no_progress,
) -> list[Referrer]:
    """Attach ``documents`` to the image, and answer them in order; again changes nothing.

    Raises:
        ImageNotFound: the image is not in the registry.
        RegistryUnavailable: the registry did not answer, or other writers never rested.
    """
    image = client.get_manifest(subject)
    send_documents(client, subject.repository, documents, progress)
    described = Subject(image.media_type, image.digest, len(image.data))
    return refer(client, subject.pinned(image.digest), described, documents, progress)


def send_documents(
    client: RegistryClient,
    repository: str,
    documents: Sequence[Document],
    progress: Progress = no_progress,
) -> None:
    """Send what ``refer`` needs of the documents; their image need not be there yet.

    Raises:
        RegistryUnavailable: the registry did not answer.
    """
    blobs = {digest_of(data): data for data in [EMPTY, *(one.data for one in documents)]}

    def send(digest: str) -> None:
        client.upload_blob(repository, blobs[digest], digest)

    if documents:
        _side_by_side(progress, "sending documents", send, blobs)


def refer(
    client: RegistryClient,
    image: ImageReference,
    described: Subject,
    documents: Sequence[Document],
    progress: Progress = no_progress,
) -> list[Referrer]:
    """Refer to the image, which is given by its digest, by documents that were sent.

    Raises:
        RegistryUnavailable: the registry did not answer, or other writers never rested.
    """
    one = partial(_refer_one, client, image, described)
    attached = _side_by_side(progress, "attaching documents", one, documents) if documents else []
    referrers = [one.referrer for one in attached]
    if not all(one.is_listed for one in attached):
        _write_list(client, image, referrers, progress)
    return referrers


def _side_by_side(
    progress: Progress, phrase: str, call: Callable[[Item], Answer], items: Iterable[Item]
) -> list[Answer]:
    answers: list[Answer] = []

    def call_all() -> None:
        with ThreadPoolExecutor(AT_A_TIME, "attach") as threads:
            answers.extend(threads.map(call, items))

    meanwhile(progress, phrase, call_all)
    return answers


@dataclass(frozen=True)
class _Attached:
    referrer: Referrer
    is_listed: bool
    """By the registry itself; else it has claimed a place in the list that we keep."""


def _refer_one(
    client: RegistryClient, image: ImageReference, subject: Subject, document: Document
) -> _Attached:
    manifest = artifact_manifest(subject, document)
    referrer = referrer_of(manifest)
    place = image.pinned(referrer.digest)
    is_listed = _again(lambda: client.put_referrer(place, manifest, MANIFEST_TYPE))
    if not is_listed:
        claim = ImageReference(image.repository, tag=claim_tag(subject.digest, referrer.digest))
        client.put_manifest(claim, manifest, MANIFEST_TYPE)
    return _Attached(referrer, is_listed)


def list_referrers(client: RegistryClient, repository: str, digest: str) -> list[Referrer]:
    """What is attached to the image, ordered by digest; empty also when there is no such image."""
    known = client.referrers(repository, digest)
    return _read_list(client, repository, digest) if known is None else read_referrers(known)


def fetch(client: RegistryClient, repository: str, referrer: Referrer) -> bytes:
    """The attached document itself, checked against its digest.

    Raises:
        ImageNotFound, NotFound: it is not in the registry any more.
        RegistryUnavailable: what the registry serves is not what was attached.
    """
    manifest = client.get_manifest(ImageReference(repository, digest=referrer.digest))
    try:
        (layer,) = manifest.json()["layers"]
        digest, size = str(layer["digest"]), int(layer["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryUnavailable(f"{referrer.digest} is no single document") from error
    if size > MAX_DOCUMENT_BYTES:
        raise RegistryUnavailable(f"{digest} has {size} bytes, more than any document of ours")
    return _blob(client, repository, digest, size)


def _blob(client: RegistryClient, repository: str, digest: str, size: int) -> bytes:
    data = bytearray()
    with client.stream_blob(repository, digest) as pieces:
        for piece in pieces:
            data += piece
            if len(data) > size:
                break
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise RegistryUnavailable(f"the registry serves other bytes for {digest}")
    return bytes(data)


def _write_list(
    client: RegistryClient,
    image: ImageReference,
    attached: Sequence[Referrer],
    progress: Progress,
) -> None:
    """Write the list of an image, by its digest, until it holds every claim."""
    repository, digest = image.repository, image.selector
    ours = {claim_tag(digest, one.digest): one for one in attached}
    for _ in range(MAX_ROUNDS):
        progress("listing the document at the image", None)
        listed = _read_list(client, repository, digest)
        wanted = _claimed(client, repository, digest, listed)
        if not wanted:
            return
        # Distribution refuses a list that names a manifest which was deleted since.
        kept = [one for one in listed if _is_there(client, repository, one)]
        missing = (ours.get(tag) or _claimant(client, repository, tag) for tag in sorted(wanted))
        index = referrers_index([*kept, *filter(None, missing)])
        client.put_manifest(ImageReference(repository, tag=index_tag(digest)), index, INDEX_TYPE)
    raise RegistryUnavailable(
        f"the list of referrers of {repository}@{digest} is being written by too many at once"
    )


def _claimed(
    client: RegistryClient, repository: str, digest: str, listed: list[Referrer]
) -> set[str]:
    """The tags by which referrers have claimed a place that they do not have in the list."""
    known = {claim_tag(digest, one.digest) for one in listed}
    return claims(client.list_tags(repository), digest) - known


def _claimant(client: RegistryClient, repository: str, tag: str) -> Referrer | None:
    manifest = _manifest(client, ImageReference(repository, tag=tag))
    return None if manifest is None else referrer_of(manifest.data)


def _read_list(client: RegistryClient, repository: str, digest: str) -> list[Referrer]:
    index = _manifest(client, ImageReference(repository, tag=index_tag(digest)))
    if index is None:
        return []
    if index.media_type != INDEX_TYPE:
        raise RegistryUnavailable(
            f"{repository}:{index_tag(digest)} is {index.media_type}, no list of referrers"
        )
    return read_referrers(index.json())


def _is_there(client: RegistryClient, repository: str, referrer: Referrer) -> bool:
    return _manifest(client, ImageReference(repository, digest=referrer.digest)) is not None


def _manifest(client: RegistryClient, reference: ImageReference) -> Manifest | None:
    """The manifest, or None when there is none."""
    return _again(lambda: _found(client, reference))


def _again(call: Callable[[], Answer]) -> Answer:
    """Ask once more where others write the same at this moment.

    Distribution rewrites the file of a tag, and that of a blob's membership, in place: who reads
    it in that moment is told 500, or that the blob is unknown.
    """
    for seconds in REREAD_SECONDS:
        try:
            return call()
        except RegistryUnavailable:
            time.sleep(seconds)
    return call()


def _found(client: RegistryClient, reference: ImageReference) -> Manifest | None:
    try:
        return client.get_manifest(reference)
    except ImageNotFound:
        return None
