"""Manifests as they are pushed and deleted.

A push is three steps: it is admitted (one transaction that also holds every blob it refers to),
stored at Distribution, and recorded. Killed between any two, nothing is lost and nothing is
visible: the client pushes again, or the reconciliation finds what lies at Distribution alone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from api.oci import memberships, stores
from api.oci.errors import OciError, digest_invalid, manifest_unknown, unavailable
from api.oci.gateway import Gateway, utc_now
from api.oci.replies import Header, Reply, header
from api.oci.requests import Request
from fleetwide.errors import InvalidInput
from fleetwide.providers.backend import BackendRefused
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.registry.names import DigestUnsupported, check_tag, is_digest
from fleetwide.store import (
    registry_admission,
    registry_blobs,
    registry_manifests,
    registry_repositories,
    registry_tags,
)
from fleetwide.store.registry_manifests import ReferencesUnknown
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import RepositoryRow

MAX_TAGS = 100
ASKED_AT_ONCE = 16
QUICK_BYTES = 16 * 1024
"""Of a manifest that is read sooner than it is handed to a thread and back."""


@dataclass(frozen=True)
class Push:
    """A manifest on its way in."""

    repository: str
    parsed: ParsedManifest
    tags: Sequence[str]
    by: str

    @property
    def blobs(self) -> list[str]:
        return [blob.digest for blob in self.parsed.blobs]


async def put(gateway: Gateway, request: Request) -> Reply:
    """PUT by tag, or by digest with any number of ``?tag=``."""
    gateway.fetches.refuse_push(request.repository)
    data = await request.body(gateway.settings.registry_manifest_bytes)
    parsed = await _read(data, request.header(b"content-type"))
    push = Push(request.repository, parsed, _tags(request, parsed), request.by)
    await _admit(gateway, push)
    await _store(gateway, push)
    await gateway.writing(lambda session: _record(gateway, session, push))
    return Reply(201, _pushed_headers(push, by_tag_parameter="tag" in request.query))


async def _read(data: bytes, media_type: str) -> ParsedManifest:
    if len(data) <= QUICK_BYTES:
        return _parsed(data, media_type)
    # A large manifest takes a while: others are served meanwhile.
    return await asyncio.to_thread(_parsed, data, media_type)


def _parsed(data: bytes, media_type: str) -> ParsedManifest:
    try:
        return parse_manifest(data, media_type, limit=len(data))
    except DigestUnsupported as fault:
        raise OciError(400, "UNSUPPORTED", fault.message) from fault
    except InvalidInput as fault:
        raise OciError(400, "MANIFEST_INVALID", fault.message) from fault


def _tags(request: Request, parsed: ParsedManifest) -> list[str]:
    reference = request.reference
    if is_digest(reference):
        if reference != parsed.digest:
            raise OciError(400, "DIGEST_INVALID", f"the manifest's digest is {parsed.digest}")
        tags = list(dict.fromkeys(request.query.get("tag", [])))
    elif ":" in reference:
        raise digest_invalid(reference)
    else:
        tags = [reference]
    if len(tags) > MAX_TAGS:
        raise OciError(414, "TAG_INVALID", f"a manifest takes {MAX_TAGS} tags at a time")
    for tag in tags:
        _check_tag(tag)
    return tags


def _check_tag(tag: str) -> None:
    try:
        check_tag(tag)
    except InvalidInput as fault:
        raise OciError(400, "TAG_INVALID", fault.message) from fault


async def _admit(gateway: Gateway, push: Push) -> None:
    """Check all that the index can say, and hold the blobs; ask Distribution for the others."""
    missing = await gateway.writing(lambda session: _hold(gateway, session, push))
    limit = asyncio.Semaphore(ASKED_AT_ONCE)

    async def present(digest: str) -> bool:
        async with limit:
            found = await memberships.from_distribution(gateway, push.repository, digest)
            return found is not None

    answers = await asyncio.gather(*(present(digest) for digest in missing))
    lost = [digest for digest, there in zip(missing, answers, strict=True) if not there]
    if lost:
        raise ReferencesUnknown(push.repository, lost)


def _hold(gateway: Gateway, session: Session, push: Push) -> list[str]:
    now = utc_now()
    repository = registry_repositories.ensure(session, push.repository, by=push.by, now=now)
    _judge(gateway, session, repository, push)
    children = (child.digest for child in push.parsed.children)
    lost = registry_manifests.missing(session, id_of(repository), children)
    if lost:
        raise ReferencesUnknown(push.repository, lost)
    return registry_blobs.hold(
        session,
        repository,
        push.blobs,
        now=now,
        lease_until=gateway.lease(now),
        # Distribution writes no manifest whose bytes it has, also if they are on their way out.
        also=[push.parsed.digest],
    )


def _judge(gateway: Gateway, session: Session, repository: RepositoryRow, push: Push) -> None:
    rules = gateway.rules()
    digest = push.parsed.digest
    registry_admission.check_tags(session, repository, push.tags, digest, rules, by=push.by)
    registry_admission.check_quota(session, repository, push.parsed, rules.policy)


async def _store(gateway: Gateway, push: Push) -> None:
    parsed = push.parsed
    try:
        await stores.store(gateway, push.repository, parsed, push.tags or (parsed.digest,))
    except BackendRefused as refused:
        if refused.status >= 500 and not refused.lacks_reference:
            raise unavailable("the blob store") from refused
        # Distribution does not take layers that may not be distributed; the index does.
        if not parsed.foreign:
            message = "the blob store refuses the manifest"
            raise OciError(400, "MANIFEST_INVALID", message) from refused


def _record(gateway: Gateway, session: Session, push: Push) -> None:
    repository = registry_repositories.take(session, push.repository)
    # Once more: since it was admitted, another push may have taken the tag or the quota.
    _judge(gateway, session, repository, push)
    recorded = registry_manifests.Push(by=push.by, at=utc_now(), tags=push.tags)
    registry_manifests.record(session, repository, push.parsed, recorded)


def _pushed_headers(push: Push, *, by_tag_parameter: bool) -> list[Header]:
    digest = push.parsed.digest
    headers = [
        header("location", f"/v2/{push.repository}/manifests/{digest}"),
        header("docker-content-digest", digest),
    ]
    if push.parsed.subject:
        headers.append(header("oci-subject", push.parsed.subject.digest))
    if by_tag_parameter:
        headers += [header("oci-tag", tag) for tag in push.tags]
    return headers


async def delete(gateway: Gateway, request: Request) -> Reply:
    """DELETE: a tag alone, or a manifest with every tag on it."""
    if is_digest(request.reference):
        return await _delete_manifest(gateway, request)
    if ":" in request.reference:
        raise digest_invalid(request.reference)
    _check_tag(request.reference)
    gone = await gateway.writing(lambda session: _delete_tag(session, request))
    if not gone:
        raise manifest_unknown(request.repository, request.reference)
    return Reply(202)


def _delete_tag(session: Session, request: Request) -> bool:
    repository = registry_repositories.require(session, request.repository)
    return registry_tags.delete(
        session, repository, request.reference, by=request.by, now=utc_now()
    )


async def _delete_manifest(gateway: Gateway, request: Request) -> Reply:
    # Distribution first: what the index alone still has, the reconciliation puts there again, and
    # the client, which got no answer, deletes again. The other way about, it would come back.
    repository, digest = request.repository, request.reference
    if not await gateway.reading(lambda session: _has(session, repository, digest)):
        raise manifest_unknown(repository, digest)
    await gateway.backend.delete_manifest(repository, digest)
    await gateway.writing(lambda session: _delete_recorded(session, request))
    return Reply(202)


def _has(session: Session, name: str, digest: str) -> bool:
    repository = registry_repositories.require(session, name)
    return not registry_manifests.missing(session, id_of(repository), [digest])


def _delete_recorded(session: Session, request: Request) -> None:
    repository = registry_repositories.require(session, request.repository)
    registry_manifests.delete(session, repository, request.reference, by=request.by, now=utc_now())
