"""Repositories of an upstream: what is not here is fetched when somebody asks for it.

A digest is fetched once and stays. A tag is believed for a while; then the upstream is asked what
it means, and when it does not answer, the old meaning is served with a warning. A manifest is
served while its blobs are still on their way; it is recorded when they are here, so that the index
never refers to what is missing. Only an index is recorded without its children: clients want one.
"""

import asyncio
from collections.abc import Mapping

import structlog
from sqlmodel import Session

from api.oci import memberships
from api.oci.errors import OciError, blob_unknown, denied, manifest_unknown, unavailable
from api.oci.fetches import Name, Seen
from api.oci.gateway import Gateway, utc_now
from api.oci.replies import warning
from fleetwide.errors import Denied, FleetwideError, NotFound, RegistryUnavailable
from fleetwide.providers.backend import BackendRefused
from fleetwide.providers.upstreams import Origin
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.registry.names import is_digest
from fleetwide.store import registry_fills, registry_manifests, registry_repositories
from fleetwide.store.registry_reads import Resolved

PATIENCE_SECONDS = 45.0
"""A client waits so long for a blob; then it is told to ask again, and the fetch goes on."""
LOOK_SECONDS = 10.0
"""So long an upstream may take to say what a name means when an older answer is known."""
BY = "upstream"
STALE = warning("the upstream does not answer: this is what it said last")

log = structlog.get_logger()


async def manifest(gateway: Gateway, name: Name, found: Resolved | None) -> Seen | None:
    """What a name means at its upstream; None to go by ``found``, what the index has.

    Raises:
        OciError: 404 the upstream has no such thing, 503 it does not answer, 403 its namespace has
            no room for it here.
    """
    fetches, origin = gateway.fetches, gateway.fetches.origin(name[0])
    if origin is None:
        return None
    coming = fetches.coming.get(name)
    if fetches.is_believed(name, origin) and (coming is not None or found is not None):
        return coming
    known = found is not None or coming is not None
    try:
        # Who stops waiting does not end the look: what it brings is there for the next one.
        async with asyncio.timeout(LOOK_SECONDS if known else PATIENCE_SECONDS):
            return await fetches.once(name, lambda: _look(gateway, name, origin, found))
    except NotFound as error:
        raise manifest_unknown(*name) from error
    except (RegistryUnavailable, TimeoutError) as error:
        reason = str(error) or "it takes its time"
        log.warning("an upstream does not answer", image=":".join(name), reason=reason)
        if found is not None:
            return Seen(found, warning=STALE)
        if coming is not None:
            return Seen(coming.found, coming.data, STALE)
        raise unavailable("the upstream") from error


async def _look(
    gateway: Gateway, name: Name, origin: Origin, found: Resolved | None
) -> Seen | None:
    fetches, (repository, reference), digest = gateway.fetches, name, name[1]
    if not is_digest(reference):
        digest = await fetches.looking(lambda: fetches.upstreams.resolve(origin, reference))
    if found is not None and found.digest == digest:
        fetches.believe(name)
        return None
    limit = gateway.settings.registry_manifest_bytes

    def look() -> ParsedManifest:
        got = fetches.upstreams.manifest(origin, digest)
        return parse_manifest(got.data, got.media_type, limit=limit)

    parsed = await fetches.looking(look)
    sizes = {blob.digest: blob.size for blob in parsed.blobs}
    await asyncio.to_thread(_admit, gateway, repository, sizes)
    seen = Seen(Resolved(0, digest, parsed.media_type, len(parsed.data)), parsed.data)
    for one in ((repository, digest), name):
        fetches.coming.put(one, seen)
    fetches.believe(name)
    fetches.go_on(_keep(gateway, name, parsed))
    return seen


async def _keep(gateway: Gateway, name: Name, parsed: ParsedManifest) -> None:
    """Record a manifest when all of its blobs are here."""
    repository, reference = name
    tags = [] if is_digest(reference) else [reference]
    try:
        await asyncio.gather(*(_fetched(gateway, repository, one.digest) for one in parsed.blobs))
        if not parsed.is_index:  # Distribution refuses one whose children it lacks
            for selector in tags or [parsed.digest]:
                await gateway.backend.put_manifest(
                    repository, selector, parsed.data, parsed.media_type
                )
        await gateway.writing(lambda session: _record(session, repository, parsed, tags))
    except (FleetwideError, OciError, BackendRefused) as error:
        # The next one who asks begins anew.
        log.warning("an image of an upstream is not whole", image="/".join(name), reason=str(error))
    finally:
        gateway.fetches.coming.put(name, None)
        gateway.fetches.coming.put((repository, parsed.digest), None)


async def blob(gateway: Gateway, repository: str, digest: str) -> int | None:
    """Bytes of a blob, which is fetched when it is not here.

    Raises:
        OciError: 404 the upstream has no such blob, 503 it does not answer or takes its time, 403
            its namespace has no room for it here.
    """
    size = await _size(gateway, repository, digest)
    if size is not None:
        return size
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await _fetched(gateway, repository, digest)
    except TimeoutError as error:
        raise unavailable("the upstream is slow and") from error
    except NotFound as error:
        raise blob_unknown(repository, digest) from error
    except RegistryUnavailable as error:
        log.warning("an upstream does not answer", image=repository, reason=str(error))
        raise unavailable("the upstream") from error


async def _fetched(gateway: Gateway, repository: str, digest: str) -> int | None:
    fetches, origin = gateway.fetches, gateway.fetches.origin(repository)
    if origin is None:
        return await memberships.size_of(gateway, repository, digest)

    async def fetch() -> int | None:
        size = await _size(gateway, repository, digest)
        if size is not None:
            return size

        def admit(size: int) -> None:
            _admit(gateway, repository, {digest: size})

        await fetches.fetching(lambda: fetches.upstreams.fetch(origin, repository, digest, admit))
        await gateway.writing(lambda session: _ensure(session, repository))
        return await memberships.from_distribution(gateway, repository, digest)

    return await fetches.once((repository, f"blob {digest}"), fetch)


async def _size(gateway: Gateway, repository: str, digest: str) -> int | None:
    """Bytes of a blob that is here."""
    try:
        return await memberships.size_of(gateway, repository, digest)
    except OciError as error:
        if error.status != 404:
            raise
        return None


def _admit(gateway: Gateway, repository: str, sizes: Mapping[str, int]) -> None:
    """Let blobs be fetched whose bytes the namespace has room for; in a worker thread.

    Raises:
        OciError: DENIED, with the quota. What the upstream refuses is another matter.
    """
    policy = gateway.rules().policy
    try:
        with gateway.store.read() as session:
            registry_fills.check_fill(session, repository, sizes, policy)
    except Denied as fault:
        raise denied(fault.message) from fault


def _ensure(session: Session, repository: str) -> None:
    registry_repositories.ensure(session, repository, by=BY, now=utc_now())


def _record(session: Session, repository: str, parsed: ParsedManifest, tags: list[str]) -> None:
    now = utc_now()
    row = registry_repositories.ensure(session, repository, by=BY, now=now)
    push = registry_manifests.Push(by=BY, at=now, tags=tags, sparse=True)
    registry_manifests.record(session, row, parsed, push)
