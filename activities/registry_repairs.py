"""What becomes of blobs whose bytes are missing or wrong."""

from datetime import UTC, datetime

from temporalio import activity

from fleetwide.errors import FleetwideError
from fleetwide.providers.registry_replicas import BlobSource
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import Entry
from fleetwide.store import registry_broken
from fleetwide.store.session import Store


class _Changed(Exception):
    """Somebody wrote or removed the bytes since they were looked at."""


class Repairs:
    """Marks blobs broken, fetches them again, heals them."""

    def __init__(self, store: Store, storage: RegistryStorage, source: BlobSource) -> None:
        self.store = store
        self.storage = storage
        self.source = source

    def broken(self, digest: str, why: str, seen: Entry | None = None) -> bool | None:
        """Note that a blob is broken, and fetch it again where a replica has it; whether one had.

        None when garbage collection has taken it, or when its bytes are not the ``seen`` ones any
        more. Wrong bytes are set aside: as long as they lie there, no upload could replace them.
        """
        if seen is not None:
            self.storage.keep_aside(digest)
        try:
            names = self._marked(digest, why, seen)
        except _Changed:
            return None
        if names is None:
            return None
        return any(self._fetched(name, digest) for name in names)

    def _marked(self, digest: str, why: str, seen: Entry | None) -> list[str] | None:
        """Who has the blob; None when it is about to go.

        The bytes go while the row is held: whoever uploads it would else take wrong ones for
        mended. Killed between the two, the next look finds none, and marks it then.
        """
        with self.store.write() as session:
            if not registry_broken.mark_broken(session, digest, why, now=datetime.now(UTC)):
                return None
            if self.storage.blob(digest) != seen:
                raise _Changed
            if seen is not None:
                self.storage.remove_blob(digest)
            return registry_broken.owners(session, digest)

    def _fetched(self, repository: str, digest: str) -> bool:
        try:
            chunks = self.source.fetch(repository, digest)
            if chunks is None or not self.storage.put_blob(digest, chunks):
                return False
        except FleetwideError as error:
            activity.logger.warning("a replica did not give %s: %s", digest, error)
            return False
        return self.right(digest, "fetched again from a replica")

    def right(self, digest: str, why: str) -> bool:
        """Note that the bytes are right; whether it had been broken."""
        with self.store.write() as session:
            return registry_broken.heal(session, digest, why, now=datetime.now(UTC))
