"""Manifests and indexes as they are pushed: hostile bytes come in, checked parts go out.

What two readers could read in two ways is refused: fields that differ from the known ones by
case alone (Go's reader takes them for the same), keys that stand twice, manifest and index in one
document.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fleetwide.errors import InvalidInput
from fleetwide.registry.digests import digest_of
from fleetwide.registry.names import DigestInvalid, check_digest
from fleetwide.registry.oci import (
    DOCKER_LIST_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
)

MAX_MANIFEST = 4 * 1024**2
"""Bytes; the specification wants at least this much to be accepted."""
MAX_DESCRIPTORS = 10_000
MAX_DEPTH = 64
MAX_SIZE = 2**63 - 1
INDEX_TYPES = frozenset({INDEX_TYPE, DOCKER_LIST_TYPE})
MEDIA_TYPES = frozenset({MANIFEST_TYPE, DOCKER_MANIFEST_TYPE, *INDEX_TYPES})
FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

_FIELD_NAMES = (
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
    "digest",
    "size",
)
_FIELDS = {name.lower(): name for name in _FIELD_NAMES}
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)


class ManifestInvalid(InvalidInput):
    """The manifest is not what its media type says, or is ambiguous (MANIFEST_INVALID)."""


class ManifestTooLarge(InvalidInput):
    """The manifest has more bytes than this registry takes (413)."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of one thing that it refers to; ``size`` in bytes."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """A manifest's exact bytes and what they refer to."""

    digest: str
    media_type: str
    data: bytes
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    """As they stand in the manifest, the first one lowest; without those not to be distributed."""
    foreign: tuple[Descriptor, ...]
    """Layers that need not be in this registry."""
    children: tuple[Descriptor, ...]
    """The manifests of an index."""
    subject: Descriptor | None
    artifact_type: str
    """What it is listed as among the referrers of its subject; "" when it does not say."""
    annotations: Mapping[str, str]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each digest once."""
        parts = (self.config, *self.layers) if self.config else self.layers
        return tuple({one.digest: one for one in parts}.values())

    @property
    def content_size(self) -> int:
        """Bytes of its blobs."""
        return sum(one.size for one in self.blobs)

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES


def parse_manifest(data: bytes, media_type: str, *, limit: int = MAX_MANIFEST) -> ParsedManifest:
    """Check ``data``, which was sent as ``media_type`` (a Content-Type; "" to go by its own field).

    Raises:
        ManifestTooLarge: there are more than ``limit`` bytes.
        ManifestInvalid: it is no manifest of that type, is ambiguous or is too deep.
        DigestUnsupported: it refers to something by another algorithm than SHA-256.
    """
    if len(data) > limit:
        raise ManifestTooLarge.for_field("manifest", f"has {len(data)} bytes; the limit is {limit}")
    document = _document(data)
    kind = _kind(document, media_type)
    index = kind in INDEX_TYPES
    config = None if index else _descriptor(document.get("config"), "config")
    layers = () if index else _descriptors(document, "layers")
    children = _descriptors(document, "manifests") if index else ()
    _check_sizes([*([config] if config else []), *layers, *children])
    subject = document.get("subject")
    return ParsedManifest(
        digest=digest_of(data),
        media_type=kind,
        data=data,
        config=config,
        layers=tuple(one for one in layers if not _is_foreign(one)),
        foreign=tuple(one for one in layers if _is_foreign(one)),
        children=children,
        subject=None if subject is None else _descriptor(subject, "subject"),
        artifact_type=_artifact_type(document, config),
        annotations=_annotations(document),
    )


def _fail(message: str, *, given: object = None) -> NoReturn:
    raise ManifestInvalid.for_field("manifest", message, given=given)


def _document(data: bytes) -> dict[str, Any]:
    _check_depth(data)
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ManifestInvalid:
        raise
    except ValueError as error:
        raise ManifestInvalid.for_field("manifest", "is no JSON document in UTF-8") from error
    if not isinstance(document, dict):
        _fail("must be a JSON object")
    _check_case(document)
    return document


def _check_depth(data: bytes) -> None:
    """Count the brackets, also those within texts: a reader that recurses must not overflow."""
    depth = 0
    for bracket in re.finditer(rb"[\[\]{}]", data):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            _fail(f"is nested deeper than {MAX_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _fail("has a key twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    _fail(f"has {name}, which JSON does not know")


def _check_case(document: Mapping[str, Any]) -> None:
    for key in document:
        known = _FIELDS.get(key.lower())
        if known is not None and key != known:
            _fail(f"has a field that differs from {known} by case alone", given=key)


def _kind(document: Mapping[str, Any], sent: str) -> str:
    """The media type; the field and the Content-Type must not contradict each other."""
    if document.get("schemaVersion") != 2 or document["schemaVersion"] is True:
        _fail("must have schemaVersion 2", given=document.get("schemaVersion"))
    own = document.get("mediaType")
    sent = sent.partition(";")[0].strip().lower()
    kind = sent or own
    if kind not in MEDIA_TYPES or (own is not None and own != kind):
        _fail(f"was sent as {sent[:100]!r} and must be of a type that is known", given=own)
    index = kind in INDEX_TYPES
    if any(key in document for key in (("config", "layers") if index else ("manifests",))):
        _fail("must not be an image manifest and an index at once")
    return str(kind)


def _descriptors(document: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    found = document.get(key)
    if found is None:  # Go writes an empty list so
        return ()
    if not isinstance(found, list):
        _fail(f"{key} must be a list")
    if len(found) > MAX_DESCRIPTORS:
        _fail(f"{key} has {len(found)} entries; the limit is {MAX_DESCRIPTORS}")
    return tuple(_descriptor(one, f"{key}[{number}]") for number, one in enumerate(found))


def _descriptor(found: object, where: str) -> Descriptor:
    if not isinstance(found, dict):
        _fail(f"{where} must be an object")
    _check_case(found)
    digest, size, media_type = (found.get(key) for key in ("digest", "size", "mediaType"))
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
        _fail(f"{where}.size must be a number of bytes", given=size)
    if not isinstance(media_type, str) or _MEDIA_TYPE.fullmatch(media_type) is None:
        _fail(f"{where}.mediaType must be a media type", given=media_type)
    return Descriptor(_digest(digest, f"{where}.digest"), size, media_type)


def _digest(found: object, where: str) -> str:
    if not isinstance(found, str):
        _fail(f"{where} must be a text", given=found)
    try:
        return check_digest(found, where)
    except DigestInvalid as error:
        raise ManifestInvalid(error.message, fields=error.fields) from error


def _check_sizes(parts: Sequence[Descriptor]) -> None:
    sizes: dict[str, int] = {}
    for one in parts:
        if sizes.setdefault(one.digest, one.size) != one.size:
            _fail("gives one digest two sizes", given=one.digest)


def _is_foreign(layer: Descriptor) -> bool:
    return layer.media_type == FOREIGN_LAYER or "nondistributable" in layer.media_type


def _artifact_type(document: Mapping[str, Any], config: Descriptor | None) -> str:
    own = document.get("artifactType")
    if own is None or own == "":
        return config.media_type if config else ""
    if not isinstance(own, str) or _MEDIA_TYPE.fullmatch(own) is None:
        _fail("artifactType must be a media type", given=own)
    return own


def _annotations(document: Mapping[str, Any]) -> dict[str, str]:
    found = document.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(_is_text(one) for one in _texts(found)):
        _fail("annotations must map texts to texts, without NUL and half characters")
    return found


def _texts(found: Mapping[str, Any]) -> Iterable[object]:
    yield from found.keys()
    yield from found.values()


def _is_text(found: object) -> bool:
    """A database keeps neither a NUL nor half of a surrogate pair in its texts."""
    return (
        isinstance(found, str)
        and "\0" not in found
        and not any("\ud800" <= one <= "\udfff" for one in found)
    )
