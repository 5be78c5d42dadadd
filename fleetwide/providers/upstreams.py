"""Registries whose images are fetched when they are asked for; for worker threads."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex

from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.registry_regions import Blob, RegistryRegions, Upstream
from fleetwide.providers.distribution import Manifest, RegistryClient
from fleetwide.providers.registry_copies import Place, copy_blob
from fleetwide.providers.registry_regions import Regions
from fleetwide.registry.references import ImageReference
from fleetwide.registry.replication import upstream_of
from fleetwide.settings import Settings
from fleetwide.store import registry_replicas
from fleetwide.store.session import Store

CLAIM_LIFE = timedelta(seconds=30)
RENEW_SECONDS = 5.0
LOOK_SECONDS = 0.2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a repository comes from."""

    upstream: Upstream
    repository: str
    """Its name there."""


class Upstreams:
    """Fetches into this region's Distribution; one per process, shared by its threads.

    Who fetches a blob claims it in SQL first: of many gateways one asks the upstream.

    Raises:
        InvalidInput: the file of the regions is wrong from the start. One that goes wrong later
            must not keep anybody from pulling: then what it said last holds.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self.enabled = settings.registry_regions is not None
        self._regions = Regions(settings.registry_regions)
        self._last = self._regions.current()
        self._backend = RegistryClient(settings.registry_backend_url)
        self._store = store
        self._owner = token_hex(8)
        self._told = ""

    def close(self) -> None:
        self._regions.close()
        self._backend.close()

    def origin(self, repository: str) -> Origin | None:
        """Where a repository comes from; None for one of this registry's own."""
        if not self.enabled:
            return None
        found = upstream_of(self._known(), repository)
        return Origin(*found) if found else None

    def _known(self) -> RegistryRegions:
        try:
            self._last, self._told = self._regions.current(), ""
        except InvalidInput as error:
            if error.message != self._told:
                _log.error("the registry's regions stay as they were: %s", error.message)
            self._told = error.message
        return self._last

    def resolve(self, origin: Origin, tag: str) -> str:
        """The digest that a tag means at the upstream now.

        Raises:
            ImageNotFound: it has no such tag.
            RegistryUnavailable: it does not answer, or does not let this registry in.
        """
        return self._client(origin).resolve(ImageReference(origin.repository, tag=tag))

    def manifest(self, origin: Origin, digest: str) -> Manifest:
        """A manifest, checked against its digest; raises what ``resolve`` raises."""
        return self._client(origin).get_manifest(ImageReference(origin.repository, digest=digest))

    def fetch(
        self, origin: Origin, repository: str, digest: str, admit: Callable[[int], None]
    ) -> None:
        """Let Distribution have a blob; returns when it does, whoever fetched it.

        ``admit`` is given its size in bytes before any travels; what it raises ends the fetch.

        Raises:
            NotFound: the upstream does not have it.
            RegistryUnavailable: one of the two does not answer, or the bytes are others.
        """
        target = Place(self._backend, repository)
        while not self._claim(repository, digest):
            time.sleep(LOOK_SECONDS)
        try:
            if not target.has_blob(digest):
                self._copy(origin, target, digest, admit)
        finally:
            with self._store.write() as session:
                registry_replicas.release(session, repository, digest, self._owner)

    def _copy(
        self, origin: Origin, target: Place, digest: str, admit: Callable[[int], None]
    ) -> None:
        source = Place(self._client(origin), origin.repository)
        size = source.registry.blob_size(source.repository, digest)
        if size is None:
            raise NotFound(
                f"{source.repository} has no blob {digest} at {source.registry.base_url}"
            )
        admit(size)
        renewed = time.monotonic()

        def renew(_phrase: str, _fraction: float | None) -> None:
            nonlocal renewed
            if time.monotonic() - renewed > RENEW_SECONDS:
                renewed = time.monotonic()
                self._claim(target.repository, digest)

        copy_blob(source, target, Blob(digest=digest, size=size), renew)

    def _claim(self, repository: str, digest: str) -> bool:
        now = datetime.now(UTC)
        with self._store.write() as session:
            return registry_replicas.claim(
                session, repository, digest, self._owner, now=now, life=CLAIM_LIFE
            )

    def _client(self, origin: Origin) -> RegistryClient:
        return self._regions.client(origin.upstream)
