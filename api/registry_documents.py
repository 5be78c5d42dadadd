"""Rows of the registry's index as the API's documents."""

from collections.abc import Mapping, Sequence

from sqlmodel import Session

from fleetwide.errors import ImageNotFound
from fleetwide.models.registry_documents import (
    LayerDocument,
    ManifestDocument,
    NamespaceDocument,
    PullerDocument,
    Repository,
    TagDocument,
    TagMoment,
)
from fleetwide.models.registry_policy import RegistryPolicy
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.registry.names import check_tag, is_digest
from fleetwide.registry.quotas import policy_quota
from fleetwide.registry.tag_rules import immutable
from fleetwide.store import registry_manifests, registry_pulls, registry_tags
from fleetwide.store.registry_admission import namespace_bytes
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import ManifestRow, NamespaceRow, RepositoryRow, TagRow
from fleetwide.store.registry_visibility import (
    SharedBlob,
    TaggedImage,
    count_referrers,
    shared_blobs,
)

PULLERS = 20
"""Accounts that an image's document names."""


def repository_document(row: RepositoryRow) -> Repository:
    document = Repository.model_validate(row, from_attributes=True)
    return document.model_copy(update={"size": row.size + row.manifest_bytes})


def tag_document(policy: RegistryPolicy, repository: str, tag: TaggedImage) -> TagDocument:
    rule = immutable(policy, repository, tag.name)
    return TagDocument(
        name=tag.name,
        reference=f"{repository}:{tag.name}",
        digest=tag.digest,
        media_type=tag.media_type,
        size=tag.size,
        by=tag.by,
        pushed_at=tag.started_at,
        pulls=tag.pulls,
        last_pulled_at=tag.last_pulled_at,
        immutable=rule.name if rule else None,
    )


def tag_moment(row: TagRow, *, present: bool) -> TagMoment:
    return TagMoment(
        tag=row.name,
        digest=row.digest,
        by=row.by,
        started_at=row.started_at,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        present=present,
    )


def find_manifest(session: Session, repository: RepositoryRow, reference: str) -> ManifestRow:
    """The manifest that a tag or a digest means in this repository.

    Raises:
        TagInvalid: it is neither.
        ImageNotFound: there is none.
    """
    digest: str | None = reference
    if not is_digest(reference):
        tag = registry_tags.live(session, id_of(repository), check_tag(reference))
        digest = tag.digest if tag else None
    row = registry_manifests.find(session, id_of(repository), digest) if digest else None
    if row is None:
        mark = "@" if is_digest(reference) else ":"
        raise ImageNotFound(
            f"{repository.name}{mark}{reference} is not in the registry",
            hint=f"fleetwide registry tags {repository.name}",
        )
    return row


def manifest_document(
    session: Session, repository: RepositoryRow, row: ManifestRow, in_use: Sequence[str]
) -> ManifestDocument:
    parsed = parse_manifest(row.data, row.media_type)
    repository_id = id_of(repository)
    shared = {one.digest: one for one in shared_blobs(session, repository_id, row.digest)}
    return ManifestDocument(
        repository=repository.name,
        digest=row.digest,
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        state=row.state,
        manifest_size=row.size,
        size=row.content_size,
        shared=sum(one.size for one in shared.values() if one.images > 1),
        tags=[tag.name for tag in registry_tags.of_manifest(session, repository_id, row.digest)],
        subject=row.subject,
        annotations=row.annotations,
        pushed_by=row.pushed_by,
        pushed_at=row.pushed_at,
        pulls=row.pulls,
        last_pulled_at=row.last_pulled_at,
        pulled_by=_pulled_by(session, row),
        layers=_layers(parsed, shared),
        children=[one.digest for one in parsed.children],
        referrers=count_referrers(session, repository_id, row.digest),
        in_use=list(in_use),
    )


def _pulled_by(session: Session, row: ManifestRow) -> list[PullerDocument]:
    found = registry_pulls.pullers(session, row.repository_id, row.digest, limit=PULLERS)
    return [PullerDocument.model_validate(one, from_attributes=True) for one in found]


def _layers(parsed: ParsedManifest, shared: Mapping[str, SharedBlob]) -> list[LayerDocument]:
    """Layers as they stand in the manifest, each as often as it stands there."""
    found = []
    for layer in parsed.layers:
        known = shared.get(layer.digest)
        found.append(
            LayerDocument(
                digest=layer.digest,
                media_type=layer.media_type,
                size=layer.size,
                images=known.images if known else 1,
                repositories=known.repositories if known else 1,
            )
        )
    return found


def namespace_document(session: Session, name: str, policy: RegistryPolicy) -> NamespaceDocument:
    row = session.get(NamespaceRow, name)
    from_policy = policy_quota(policy, name)
    source = "settings" if row else "policy" if from_policy is not None else "nobody"
    return NamespaceDocument(
        name=name,
        quota=row.quota if row else from_policy,
        set_by=source,
        owner=row.owner if row else "",
        used=namespace_bytes(session, name),
        updated_at=row.updated_at if row else None,
    )
