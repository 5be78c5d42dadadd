"""Short ways to fill the registry's index in tests."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fleetwide.registry.digests import digest_of
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.registry.oci import CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE
from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store.session import Store

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LEASE = timedelta(hours=1)


def blob(name: str) -> str:
    """The digest of the blob whose bytes are ``name``."""
    return digest_of(name.encode())


def descriptor(media_type: str, name: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": blob(name), "size": len(name)}


def image(
    *layers: str, subject: str | None = None, artifact_type: str | None = None
) -> ParsedManifest:
    """An image of blobs that are called ``layers``, and a config that is called "config"."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, "config"),
        "layers": [descriptor(LAYER_TYPE, name) for name in layers],
    }
    if subject is not None:
        document["subject"] = {"mediaType": MANIFEST_TYPE, "digest": subject, "size": 2}
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    return parse_manifest(json.dumps(document).encode(), MANIFEST_TYPE)


def index(*children: ParsedManifest) -> ParsedManifest:
    """An index of these manifests."""
    entries = [
        {"mediaType": one.media_type, "digest": one.digest, "size": len(one.data)}
        for one in children
    ]
    document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    return parse_manifest(json.dumps(document).encode(), INDEX_TYPE)


def upload(store: Store, repository: str, *names: str, now: datetime = NOW) -> None:
    """Blobs come to a repository, as by an upload of each."""
    for name in names:
        with store.write() as session:
            row = repositories.ensure(session, repository, by="tests", now=now)
            blobs.admit(session, row, blob(name), len(name), now=now, lease_until=now + LEASE)


def push(
    store: Store,
    repository: str,
    parsed: ParsedManifest,
    *,
    tags: Sequence[str] = (),
    now: datetime = NOW,
) -> None:
    """The last step of a push."""
    with store.write() as session:
        row = repositories.ensure(session, repository, by="tests", now=now)
        manifests.record(session, row, parsed, manifests.Push("tests", now, tags))
