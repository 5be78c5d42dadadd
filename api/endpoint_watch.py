"""Waiting for the endpoints of services to change: one look at SQL serves all who wait."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from api.problems import ascii_json
from fleetwide.errors import NotFound
from fleetwide.models.discovery import Endpoint, Endpoints
from fleetwide.store import endpoints, events
from fleetwide.store.endpoints import SeenCopy
from fleetwide.store.service_tables import ServiceRow
from fleetwide.store.session import Store

POLL_SECONDS = 0.25
LOOK_ANYWAY = 5.0
"""Seconds after which SQL is looked at though no event has told of anything."""
MOST_KNOWN = 1000
VERSION_LENGTH = 16


def read_endpoints(store: Store, service_id: str) -> Endpoints:
    """The healthy copies of a service now.

    Raises:
        NotFound: there is no such service.
    """
    with store.read() as session:
        if session.get(ServiceRow, service_id) is None:
            raise NotFound(f"there is no service {service_id}", hint="fleetwide service list")
        copies = endpoints.seen(session, [service_id])
    found = [_endpoint(copy) for copy in copies if _is_served(copy)]
    document = Endpoints(service_id=service_id, version="", endpoints=found)
    version = hashlib.sha256(ascii_json(document)).hexdigest()[:VERSION_LENGTH]
    return document.model_copy(update={"version": version})


def _is_served(copy: SeenCopy) -> bool:
    return copy.reach.healthy and not copy.reach.leaving and bool(copy.reach.address)


def _endpoint(copy: SeenCopy) -> Endpoint:
    return Endpoint(
        index=copy.index,
        task_id=copy.reach.task_id,
        revision=copy.revision,
        host_id=copy.host_id,
        zone=copy.zone,
        address=copy.reach.address,
        ports=dict(sorted(copy.reach.ports.items())),
    )


@dataclass
class _Known:
    """A service's endpoints as they were when event number ``seq`` was the newest."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    document: Endpoints | None = None
    seq: int = -1
    looked: float = 0.0


class EndpointWatch:
    """Of one process. SQL is asked for events a few times a second, whoever waits for whatever."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Known] = {}
        self._lock = asyncio.Lock()
        self._seq, self._asked = -1, float("-inf")

    async def changed(
        self, service_id: str, version: str, seconds: float, gone: Callable[[], Awaitable[bool]]
    ) -> Endpoints:
        """The endpoints as soon as their version is another, or as they are after ``seconds``.

        ``gone`` says that nobody waits for the answer any more.
        """
        deadline = monotonic() + seconds
        while True:
            document = await self._look(service_id)
            left = deadline - monotonic()
            if document.version != version or left <= 0 or await gone():
                return document
            await asyncio.sleep(min(POLL_SECONDS, left))

    async def _look(self, service_id: str) -> Endpoints:
        seq = await self._sequence()
        if service_id not in self._known:
            self._make_room()
        known = self._known.setdefault(service_id, _Known())
        async with known.lock:
            late = monotonic() - known.looked >= LOOK_ANYWAY
            if known.document is None or known.seq != seq or late:
                known.document = await asyncio.to_thread(read_endpoints, self._store, service_id)
                known.seq, known.looked = seq, monotonic()
            return known.document

    def _make_room(self) -> None:
        """Forget those that nobody has looked at for longest."""
        while len(self._known) >= MOST_KNOWN:
            del self._known[min(self._known, key=lambda name: self._known[name].looked)]

    async def _sequence(self) -> int:
        async with self._lock:
            if monotonic() - self._asked >= POLL_SECONDS / 2:
                self._seq = await asyncio.to_thread(self._newest)
                self._asked = monotonic()
            return self._seq

    def _newest(self) -> int:
        with self._store.read() as session:
            return events.newest(session)
