"""What a gateway knows of fetches from upstreams that go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from api.oci.cache import Recent
from api.oci.errors import denied
from api.oci.replies import Header
from fleetwide.errors import Denied, InvalidInput, RegistryUnavailable
from fleetwide.providers.upstreams import Origin, Upstreams
from fleetwide.registry.names import is_digest
from fleetwide.settings import Settings
from fleetwide.store.registry_reads import Resolved
from fleetwide.store.session import Store

LOOKS = 8
"""Questions to upstreams at once, for tags and manifests."""
FETCHES = 8
"""Blobs on their way at once; a large one takes minutes, and no question waits for it."""
ON_THEIR_WAY = 32
TAGS = 20_000

Name = tuple[str, str]
"""A repository, and a tag or a digest."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a name means, the bytes where they are not in the index yet, and a warning."""

    found: Resolved
    data: bytes | None = None
    warning: Header | None = None


class Fetches:
    """One per gateway, of its event loop."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.upstreams = Upstreams(settings, store)
        self.coming: Recent[Name, Seen] = Recent(ON_THEIR_WAY)
        """Manifests that are served while their blobs are on the way."""
        self._looks = ThreadPoolExecutor(LOOKS, "upstream-look")
        self._blobs = ThreadPoolExecutor(FETCHES, "upstream-blob")
        self._flights: dict[Name, asyncio.Task[Any]] = {}
        self._asked: Recent[Name, float] = Recent(TAGS)
        self._beside: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what is being fetched; what was fetched stays."""
        tasks = [*self._flights.values(), *self._beside]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for threads in (self._looks, self._blobs):
            await asyncio.to_thread(threads.shutdown)
        self.upstreams.close()

    def origin(self, repository: str) -> Origin | None:
        """Where a repository comes from; None for one of this registry's own."""
        return self.upstreams.origin(repository) if self.upstreams.enabled else None

    def refuse_push(self, repository: str) -> None:
        """Let pass what is no mirror.

        Raises:
            OciError: DENIED, the repository mirrors an upstream's.
        """
        origin = self.origin(repository)
        if origin is not None:
            raise denied(
                f"{repository} mirrors {origin.repository} of {origin.upstream.address}: "
                "push there, or under another name"
            )

    def believe(self, name: Name) -> None:
        """The upstream has just said what the name means."""
        self._asked.put(name, time.monotonic())

    def is_believed(self, name: Name, origin: Origin) -> bool:
        """Whether the upstream need not be asked again yet."""
        if is_digest(name[1]):
            return True
        asked = self._asked.get(name)
        return asked is not None and time.monotonic() - asked < origin.upstream.tag_seconds

    async def once(self, key: Name, work: Callable[[], Awaitable[Result]]) -> Result:
        """Join the same work where it goes on. Who leaves does not end it for the others."""
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(work())
            self._flights[key] = task
            task.add_done_callback(lambda ended: self._landed(key, ended))
        result: Result = await asyncio.shield(task)
        return result

    def _landed(self, key: Name, task: "asyncio.Task[Any]") -> None:
        del self._flights[key]
        if not task.cancelled():
            task.exception()  # seen, also when everybody who waited has left

    def go_on(self, work: Awaitable[None]) -> None:
        """Do something beside the requests."""
        task = asyncio.ensure_future(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def looking(self, work: Callable[[], Result]) -> Result:
        """Ask an upstream something small without holding up the loop."""
        return await self._apart(self._looks, work)

    async def fetching(self, work: Callable[[], Result]) -> Result:
        """Have a blob copied without holding up the loop, or who only asks."""
        return await self._apart(self._blobs, work)

    async def _apart(self, threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        """Run ``work`` in a thread.

        Raises:
            RegistryUnavailable: also where the upstream refuses, sends what is no manifest, or
                cannot be asked because this registry's own secret is missing: nothing that who
                pulls could mend, or should read of.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except (Denied, InvalidInput) as error:
            raise RegistryUnavailable(error.message) from error
