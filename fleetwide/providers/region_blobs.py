"""Broken blobs are fetched again from whichever region has them."""

import logging
from collections.abc import Iterator

from fleetwide.errors import FleetwideError
from fleetwide.providers.registry_copies import Place
from fleetwide.providers.registry_regions import Regions
from fleetwide.store import registry_replicas
from fleetwide.store.session import Store

_log = logging.getLogger(__name__)


class RegionBlobs:
    """The ``BlobSource`` of a registry that has other regions."""

    def __init__(self, store: Store, regions: Regions) -> None:
        self._store = store
        self._regions = regions

    def fetch(self, repository: str, digest: str) -> Iterator[bytes] | None:
        """The bytes from the first region that says it has them: where the books know of a copy,
        else wherever there is a repository of that name. A region that is away is passed over.
        """
        for region, name in self._places(repository, digest):
            try:
                place = Place(self._regions.region(region), name)
                if place.has_blob(digest):
                    return _bytes(place, digest)
            except FleetwideError as error:
                _log.warning("%s cannot be asked for %s: %s", region, digest, error.message)
        return None

    def _places(self, repository: str, digest: str) -> list[tuple[str, str]]:
        known = self._regions.current().regions
        with self._store.read() as session:
            booked = registry_replicas.holders(session, digest)
        guessed = [(region, repository) for region in known]
        return list(dict.fromkeys(one for one in [*booked, *guessed] if one[0] in known))


def _bytes(place: Place, digest: str) -> Iterator[bytes]:
    with place.registry.stream_blob(place.repository, digest) as pieces:
        yield from pieces
