"""Manifests on their way to Distribution, which takes an index only with its children.

A child that the index of the registry has can be away there for a while: garbage collection took
it, and unlinked it only when it had been pushed again. Then it is put there once more.
"""

from collections.abc import Sequence

from sqlmodel import Session

from api.oci.gateway import Gateway
from fleetwide.providers.backend import BackendRefused
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.store import registry_manifests, registry_repositories
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import ManifestRow


async def store(
    gateway: Gateway, repository: str, parsed: ParsedManifest, references: Sequence[str]
) -> None:
    """Put a manifest at Distribution under its tags, or its digest.

    Raises:
        BackendRefused: Distribution does not take it, also with all its children there.
    """
    try:
        await _put(gateway, repository, parsed, references)
    except BackendRefused as refused:
        if not (parsed.children and refused.lacks_reference):
            raise
        for child in parsed.children:
            await _bring_back(gateway, repository, child.digest)
        await _put(gateway, repository, parsed, references)


async def _put(
    gateway: Gateway, repository: str, parsed: ParsedManifest, references: Sequence[str]
) -> None:
    for reference in references:
        await gateway.backend.put_manifest(repository, reference, parsed.data, parsed.media_type)


async def _bring_back(gateway: Gateway, repository: str, digest: str) -> None:
    """Put a manifest there as the index has it, with what is below it."""
    row = await gateway.reading(lambda session: _row(session, repository, digest))
    if row is not None:
        parsed = parse_manifest(row.data, row.media_type, limit=len(row.data))
        await store(gateway, repository, parsed, [digest])


def _row(session: Session, name: str, digest: str) -> ManifestRow | None:
    repository = registry_repositories.require(session, name)
    return registry_manifests.find(session, id_of(repository), digest)
