"""What the handlers stand on: the index, Distribution, and what is kept in memory."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Self, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from api.oci.cache import ManifestCache, Recent
from api.oci.errors import unavailable, unusable
from api.oci.fetches import Fetches
from api.oci.places import BlobPlaces
from api.oci.pulls import PullCounter
from fleetwide.errors import PlatformError, ServiceUnavailable
from fleetwide.providers.backend import Backend
from fleetwide.providers.registry_policies import PolicyFile
from fleetwide.registry.quotas import namespace_of, policy_quota
from fleetwide.settings import Settings
from fleetwide.store.registry_admission import Rules
from fleetwide.store.registry_reads import ManifestReads, Resolved, Standing, open_reads
from fleetwide.store.session import Store

RECENT = 20_000
"""Names whose last meaning is kept for when the index does not answer."""

Result = TypeVar("Result")


class Gateway:
    """One per process; of one event loop."""

    def __init__(self, settings: Settings, store: Store, reads: ManifestReads) -> None:
        self.settings = settings
        self.backend = Backend(settings.registry_backend_url)
        self.manifests = ManifestCache(settings.registry_manifest_cache)
        self.pulls = PullCounter(store)
        self.blobs = BlobPlaces(settings)
        self.fetches = Fetches(settings, store)
        self.policy = PolicyFile(settings.registry_policy)
        self.store = store
        self._reads = reads
        self._recent: Recent[tuple[str, str], Resolved] = Recent(RECENT)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        url = settings.database_url.get_secret_value()
        return cls(settings, Store.from_settings(settings), open_reads(url))

    async def close(self) -> None:
        await self.fetches.close()
        await self.pulls.close()
        await self.backend.close()
        await self._reads.close()
        self.store.engine.dispose()

    async def resolve(self, repository: str, reference: str) -> tuple[Resolved | None, bool]:
        """What a tag or digest means, and whether that comes from memory.

        Raises:
            OciError: 503 when the index does not answer and this was not asked before.
        """
        key = (repository, reference)
        try:
            found = await self._reads.resolve(repository, reference)
        except PlatformError as error:
            remembered = self._recent.get(key)
            if remembered is None:
                raise unavailable("the index") from error
            return remembered, True
        self._recent.put(key, found)
        return found, False

    async def manifest(self, found: Resolved) -> bytes | None:
        """The bytes of a manifest that was resolved; None when it went away in between."""
        data = self.manifests.get(found.digest)
        if data is None:
            data = await self._reads.data(found.repository_id, found.digest)
            if data is not None:
                self.manifests.put(found.digest, data)
        return data

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """Bytes of a live blob of the repository; None when the index does not know it as one.

        Raises:
            IndexUnavailable: the index does not answer.
        """
        return await self._reads.blob_size(repository, digest)

    async def standing(self, repository: str, digest: str) -> Standing | None:
        """How a repository stands to a blob; None when there is no such repository.

        Raises:
            IndexUnavailable: the index does not answer.
        """
        return await self._reads.standing(repository, digest)

    async def takes_uploads(self, repository: str) -> bool:
        """Whether there is the repository, and nothing bounds what comes to it.

        Raises:
            IndexUnavailable: the index does not answer.
            InvalidInput: the policy's file is gone or wrong.
        """
        namespace = namespace_of(repository)
        home = await self._reads.home(repository, namespace)
        if home is None or not home.live:
            return False
        policy = self.policy.current()
        return (home.quota if home.has_quota else policy_quota(policy, namespace)) is None

    async def tags(self, repository: str, after: str, limit: int) -> list[str] | None:
        """Names of tags from behind ``after``; None when there is no such repository.

        Raises:
            IndexUnavailable: the index does not answer.
        """
        return await self._reads.tags(repository, after=after, limit=limit)

    async def repositories(self, after: str, limit: int) -> list[str]:
        """Names of all repositories from behind ``after``.

        Raises:
            IndexUnavailable: the index does not answer.
        """
        return await self._reads.repositories(after=after, limit=limit)

    def rules(self) -> Rules:
        """The organisation's policy as it is now.

        Raises:
            OciError: 503, its file is gone or wrong.
        """
        try:
            return Rules(self.policy.serving(), self.policy.source)
        except ServiceUnavailable as fault:
            raise unusable(fault.message) from fault

    async def reading(self, work: Callable[[Session], Result]) -> Result:
        """Run ``work`` on a snapshot of the index, in a thread.

        Raises:
            OciError: 503 when the index does not answer.
        """
        return await asyncio.to_thread(self._read, work)

    async def writing(self, work: Callable[[Session], Result]) -> Result:
        """Run ``work`` in one transaction of the index, in a thread.

        Raises:
            OciError: 503 when the index does not answer; nothing is changed then.
        """
        # A request that is broken off must not leave a transaction that nobody waits for.
        return await asyncio.shield(asyncio.to_thread(self._write, work))

    def _read(self, work: Callable[[Session], Result]) -> Result:
        try:
            with self.store.read() as session:
                return work(session)
        except (DBAPIError, PoolTimeout) as error:
            raise unavailable("the index") from error

    def _write(self, work: Callable[[Session], Result]) -> Result:
        try:
            with self.store.write() as session:
                return work(session)
        except (DBAPIError, PoolTimeout) as error:
            raise unavailable("the index") from error

    def lease(self, now: datetime) -> datetime:
        """Until when a blob stays that was uploaded at ``now``."""
        return now + timedelta(seconds=self.settings.registry_lease_seconds)


def utc_now() -> datetime:
    return datetime.now(UTC)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
