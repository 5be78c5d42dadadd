"""What the organisation's policy says of a push, judged on what the index holds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, exists, func, or_
from sqlmodel import Session, col, select

from fleetwide.errors import Denied
from fleetwide.models.registry_policy import RegistryPolicy
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.registry.quotas import Quota, namespace_of, policy_quota
from fleetwide.registry.tag_rules import immutable, refusal
from fleetwide.store.registry_repositories import lock
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestRow,
    NamespaceRow,
    RepositoryBlobRow,
    RepositoryRow,
    TagRow,
)

# Built once: every push runs them.
_QUOTA = select(NamespaceRow.quota).where(NamespaceRow.name == bindparam("namespace"))
_LAST_MEANING = (
    select(TagRow.digest)
    .where(TagRow.repository_id == bindparam("of_repository"), TagRow.name == bindparam("tag"))
    .order_by(col(TagRow.started_at).desc(), col(TagRow.id).desc())
    .limit(1)
)


@dataclass(frozen=True)
class Rules:
    """A policy, and what to call it when one of its rules is told."""

    policy: RegistryPolicy
    source: str


def check_tags(
    session: Session,
    repository: RepositoryRow,
    tags: Sequence[str],
    digest: str,
    rules: Rules,
    *,
    by: str | None,
) -> None:
    """Let each of the tags mean ``digest``, unless a rule keeps its meaning from ``by``.

    A tag that was deleted keeps it too: else deleting and pushing again would be the way around.
    Asked before the push (to refuse early) and again in the transaction that moves the tag: the
    repository's row is locked, so that of two pushes the second sees what the first has done.

    Raises:
        Denied: with the rule and the policy's name.
    """
    kept = {tag: immutable(rules.policy, repository.name, tag, by=by) for tag in tags}
    if not any(kept.values()):
        return
    lock(session, repository)
    for tag, rule in kept.items():
        before = None if rule is None else _last_meaning(session, repository, tag)
        if rule is not None and before not in (None, digest):
            reference = f"{repository.name}:{tag}"
            raise Denied(
                refusal(rule, reference, str(before), rules.source),
                hint=f"fleetwide registry history {reference}",
            )


def _last_meaning(session: Session, repository: RepositoryRow, tag: str) -> str | None:
    values = {"of_repository": repository.id, "tag": tag}
    return session.connection().execute(_LAST_MEANING, values).scalar()


def check_quota(
    session: Session,
    repository: RepositoryRow,
    parsed: ParsedManifest,
    policy: RegistryPolicy,
) -> None:
    """Let a manifest be recorded, unless it takes the namespace beyond its quota.

    It adds its own bytes, and those of the blobs that nothing refers to yet. What was uploaded
    counts from its upload on, so pushes side by side cannot pass together what none could pass
    alone, and uploads that began before the namespace was full end here. One that is there already
    passes.

    Raises:
        Denied: with the bytes used, asked and allowed.
    """
    namespace = namespace_of(repository.name)
    limit = quota_of(session, namespace, policy)
    if limit is None or session.get(ManifestRow, (repository.id, parsed.digest)) is not None:
        return
    uploaded = _new_bytes(session, repository, [one.digest for one in parsed.blobs])
    used = namespace_bytes(session, namespace) - uploaded
    quota = Quota(namespace, used, uploaded + len(parsed.data), limit)
    if quota.exceeded:
        raise Denied(quota.sentence(), hint=f"fleetwide registry usage {namespace}")


def check_upload(session: Session, repository: str, policy: RegistryPolicy) -> None:
    """Let an upload begin, unless its namespace is full already.

    Raises:
        Denied: with the bytes used and allowed.
    """
    namespace = namespace_of(repository)
    limit = quota_of(session, namespace, policy)
    if limit is None:
        return
    quota = Quota(namespace, namespace_bytes(session, namespace), 1, limit)
    if quota.exceeded:
        raise Denied(quota.sentence(), hint=f"fleetwide registry usage {namespace}")


def quota_of(session: Session, namespace: str, policy: RegistryPolicy) -> int | None:
    """Bytes that the namespace may hold: as somebody set it, else as the policy says; None for
    no limit.
    """
    row = session.connection().execute(_QUOTA, {"namespace": namespace}).first()
    return policy_quota(policy, namespace) if row is None else row[0]


def namespace_bytes(session: Session, namespace: str) -> int:
    """Bytes of blobs and manifests that the namespace's repositories hold; what two of them share
    counts twice.
    """
    held = func.sum(col(RepositoryRow.size) + col(RepositoryRow.manifest_bytes))
    query = select(func.coalesce(held, 0)).where(in_namespace(namespace))
    return int(session.exec(query).one())


def in_namespace(namespace: str) -> Any:
    """The condition on ``RepositoryRow`` that it is of this namespace."""
    name = col(RepositoryRow.name)
    # "0" comes behind "/" in the order of bytes: a range, which the index on names serves.
    return or_(name == namespace, and_(name > f"{namespace}/", name < f"{namespace}0"))


def _new_bytes(session: Session, repository: RepositoryRow, blobs: Collection[str]) -> int:
    """Bytes of the blobs that no manifest of the repository has referred to yet."""
    referred = exists().where(
        col(ManifestBlobRow.repository_id) == repository.id,
        col(ManifestBlobRow.blob) == RepositoryBlobRow.digest,
    )
    query = (
        select(func.coalesce(func.sum(BlobRow.size), 0))
        .join(RepositoryBlobRow, col(RepositoryBlobRow.digest) == BlobRow.digest)
        .where(RepositoryBlobRow.repository_id == repository.id)
        .where(col(RepositoryBlobRow.digest).in_(blobs), ~referred)
    )
    return int(session.exec(query).one())
