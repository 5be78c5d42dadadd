"""What the routes stand on: opened once per process, handed to each request."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request
from temporalio.client import Client

from api.auth import Entrance
from api.endpoint_watch import EndpointWatch
from fleetwide.errors import InvalidInput, ServiceUnavailable
from fleetwide.models.labels import MAX_LABELS
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.image_references import ImageResolver
from fleetwide.providers.objects import ObjectStore, open_object_store
from fleetwide.providers.registry_policies import PolicyFile
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.temporal.client import connect, make_runtime

CONNECT_SECONDS = 5.0
MAX_WAIT_SECONDS = 300
MAX_PAGE = 200
# Admissions mostly compute: more threads at once only take the interpreter from each other.
ADMISSION_THREADS = 2


class TemporalConnection:
    """One client for the process, connected at first need: the API answers reads without it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runtime = make_runtime(settings)
        self._client: Client | None = None
        self._lock = asyncio.Lock()

    async def client(self) -> Client:
        """The connected client.

        Raises:
            ServiceUnavailable: Temporal does not answer.
        """
        async with self._lock:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Client:
        try:
            return await asyncio.wait_for(connect(self._settings, self._runtime), CONNECT_SECONDS)
        except TimeoutError as error:
            raise ServiceUnavailable(
                f"Temporal at {self._settings.temporal_address} does not answer",
                hint="fleetwide dev status",
            ) from error


@dataclass(frozen=True)
class Platform:
    """Everything below the API."""

    settings: Settings
    store: Store
    registry: RegistryClient
    objects: ObjectStore
    temporal: TemporalConnection
    registry_policy: PolicyFile
    entrance: Entrance
    endpoints: EndpointWatch
    admissions: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(ADMISSION_THREADS))

    @classmethod
    def open(cls, settings: Settings) -> "Platform":
        store = Store.from_settings(settings)
        return cls(
            settings=settings,
            store=store,
            registry=RegistryClient.from_settings(settings),
            objects=open_object_store(settings),
            temporal=TemporalConnection(settings),
            registry_policy=PolicyFile(settings.registry_policy),
            entrance=Entrance(settings, store),
            endpoints=EndpointWatch(store),
        )

    @property
    def images(self) -> ImageResolver:
        return ImageResolver(self.store, self.registry)

    def close(self) -> None:
        self.registry.close()
        self.store.engine.dispose()


# FastAPI runs what is not async in a thread, and a thread costs each request more than these do.
async def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


def _page_number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise InvalidInput.for_field("cursor", "must be the next of an earlier page", given=cursor)
    return int(cursor)


async def _cursor(
    cursor: Annotated[str | None, Query(description="next of the page before")] = None,
) -> int | None:
    return _page_number(cursor)


def next_cursor(items: list[Any], limit: int, last: int | None) -> str | None:
    """The cursor behind a full page; a page that is not full is the last one."""
    return str(last) if len(items) == limit and last is not None else None


PlatformDep = Annotated[Platform, Depends(_platform)]
CursorDep = Annotated[int | None, Depends(_cursor)]
LabelsQuery = Annotated[
    list[str],
    Query(alias="label", max_length=MAX_LABELS, description="name=value; all that are given"),
]
LimitQuery = Annotated[int, Query(ge=1, le=MAX_PAGE, description="items per page")]
WaitQuery = Annotated[
    float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait for the end")
]
