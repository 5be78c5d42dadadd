"""Documents that refer to an image: OCI 1.1 artifact manifests with a ``subject``.

A registry that knows of referrers lists them itself. For one that does not (Docker Distribution
2.8) the distribution specification has the clients keep the list, as an index under the tag
``sha256-<hex>`` of the image's digest.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetwide.errors import RegistryUnavailable
from fleetwide.models.base import Digest, Record
from fleetwide.registry.digests import canonical_json, digest_of, hex_of
from fleetwide.registry.oci import INDEX_TYPE, MANIFEST_TYPE

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
TITLE = "org.opencontainers.image.title"
CLAIM_DIGITS = 32


@dataclass(frozen=True)
class Document:
    """What to attach; ``file_name`` is what it is called when somebody downloads it."""

    artifact_type: str
    file_name: str
    data: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """The manifest that is referred to, as a descriptor names it."""

    media_type: str
    digest: str
    size: int


class Referrer(Record):
    """One entry of an image's list of referrers."""

    artifact_type: str
    digest: Digest
    """Digest of the manifest that refers to the image."""
    size: int
    """Bytes of that manifest."""
    annotations: dict[str, str]


def artifact_manifest(subject: Subject, document: Document) -> bytes:
    """The manifest that ties ``document`` to ``subject``; equal input gives equal bytes."""
    layer = {
        **descriptor(document.artifact_type, document.data),
        "annotations": {TITLE: document.file_name},
    }
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": document.artifact_type,
        "config": descriptor(EMPTY_TYPE, EMPTY),
        "layers": [layer],
        "subject": {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": subject.size,
        },
    }
    if document.annotations:
        manifest["annotations"] = dict(document.annotations)
    return canonical_json(manifest)


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def referrer_of(manifest: bytes) -> Referrer:
    """The list entry of a manifest that refers to something."""
    document = json.loads(manifest)
    return Referrer(
        artifact_type=document.get("artifactType") or document["config"]["mediaType"],
        digest=digest_of(manifest),
        size=len(manifest),
        annotations=document.get("annotations") or {},
    )


def index_tag(subject_digest: str) -> str:
    """The tag that the list of an image's referrers lies under."""
    return f"sha256-{hex_of(subject_digest)}"


def claim_tag(subject_digest: str, referrer_digest: str) -> str:
    """The tag by which one referrer claims its place in the list, whoever writes the list next."""
    return f"{index_tag(subject_digest)}.{hex_of(referrer_digest)[:CLAIM_DIGITS]}"


def claims(tags: Iterable[str], subject_digest: str) -> set[str]:
    """The tags among ``tags`` by which referrers of this image claim their place."""
    prefix = f"{index_tag(subject_digest)}."
    return {
        tag for tag in tags if tag.startswith(prefix) and len(tag) == len(prefix) + CLAIM_DIGITS
    }


def is_referrers_tag(tag: str) -> bool:
    """Whether ``tag`` is one of these lists or claims, and no name that a person gave."""
    name, _, _ = tag.partition(".")
    digits = name.removeprefix("sha256-")
    return name != digits and len(digits) == 64 and not digits.strip("0123456789abcdef")


def referrers_index(referrers: Iterable[Referrer]) -> bytes:
    """The list as an OCI index, ordered by digest, each referrer once."""
    by_digest = {one.digest: one for one in referrers}
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [_entry(by_digest[digest]) for digest in sorted(by_digest)],
        }
    )


def _entry(referrer: Referrer) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "mediaType": MANIFEST_TYPE,
        "artifactType": referrer.artifact_type,
        "digest": referrer.digest,
        "size": referrer.size,
    }
    return {**entry, "annotations": referrer.annotations} if referrer.annotations else entry


def read_referrers(index: Mapping[str, Any]) -> list[Referrer]:
    """The entries of a list that a registry or another client wrote, ordered by digest.

    Raises:
        RegistryUnavailable: the document is no such list.
    """
    try:
        found = [
            Referrer(
                artifact_type=one.get("artifactType") or "",
                digest=one["digest"],
                size=one["size"],
                annotations=one.get("annotations") or {},
            )
            for one in index["manifests"] or []
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RegistryUnavailable("the registry's list of referrers is no OCI index") from error
    return sorted(found, key=lambda one: one.digest)
