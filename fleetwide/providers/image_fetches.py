"""A host fetches an image's blobs into its cache: from a peer where it can, else the registry."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from fleetwide.errors import FleetwideError, ImagePullFailed, RegistryUnavailable
from fleetwide.models.registry_preheat import WarmedHost
from fleetwide.providers.architectures import this_architecture
from fleetwide.providers.blob_cache import BlobCache
from fleetwide.providers.distribution import Manifest, RegistryClient
from fleetwide.providers.progress import Progress, no_progress
from fleetwide.providers.registry_peers import Peer
from fleetwide.providers.registry_shares import Shares, ask_key
from fleetwide.registry.manifests import Descriptor, ParsedManifest, parse_manifest
from fleetwide.registry.preheat import platform_of
from fleetwide.registry.references import ImageReference
from fleetwide.registry.sharing import ShareKey, Together

_log = logging.getLogger(__name__)
Source = Callable[[], AbstractContextManager[Iterator[bytes]]]


@dataclass(frozen=True)
class Sharing:
    """How a host shares: its own cache, what it serves of it, and where, if it does."""

    cache: BlobCache
    shares: Shares = field(default_factory=Shares)
    url: str | None = None


@dataclass(frozen=True)
class Fetch:
    """One image on its way to one host, and how it came; safe to use from one thread."""

    host_id: str
    registry: RegistryClient
    sharing: Sharing
    together: Together
    progress: Progress = no_progress

    def manifests(self, reference: ImageReference) -> tuple[dict[str, Manifest], ParsedManifest]:
        """The image's manifests by digest, and the one of this machine.

        Raises:
            ImageNotFound: the registry does not have it.
            ImagePullFailed: it is an index without an image for this machine.
        """
        root = self.registry.get_manifest(reference)
        found = {root.digest: root}
        parsed = _parsed(root)
        if parsed.is_index:
            child = self.registry.get_manifest(reference.pinned(_of_this_machine(root)))
            found[child.digest] = child
            parsed = _parsed(child)
        return found, parsed

    def blobs(self, parsed: ParsedManifest, peer: str | None) -> WarmedHost:
        """Have the blobs in the cache. Each is checked against its digest, whoever sent it.

        The host serves them to the others of the pre-heat from then on, where it serves at all.

        Raises:
            RegistryUnavailable: neither the peer nor the registry gave one of them.
        """
        key = self._key() if peer is not None or self.sharing.url is not None else None
        source = Peer(peer, self.together, key.secret) if peer is not None and key else None
        warmed = WarmedHost(host_id=self.host_id)
        for number, blob in enumerate(parsed.blobs):
            self.progress(f"blob {number + 1} of {len(parsed.blobs)}", None)
            if self.sharing.cache.find(blob.digest) is None:
                warmed = self._have(blob, source, warmed)
        if key is None or self.sharing.url is None:
            return warmed
        digests = [blob.digest for blob in parsed.blobs]
        self.sharing.shares.open(self.together, key, self._ask, digests)
        return warmed.model_copy(update={"peer_url": self.sharing.url})

    def _ask(self) -> ShareKey:
        return ask_key(self.registry, self.together)

    def _key(self) -> ShareKey | None:
        try:
            return self._ask()
        except FleetwideError as error:
            # Nothing is lost but the sharing: the registry has all of it.
            _log.warning("%s shares no blobs: %s", self.host_id, error.message)
            return None

    def _have(self, blob: Descriptor, source: Peer | None, warmed: WarmedHost) -> WarmedHost:
        if source is not None and not warmed.faults:
            try:
                came = self._put(blob, lambda: source.stream(blob.digest, blob.size))
            except RegistryUnavailable as error:
                warmed = warmed.model_copy(update={"faults": [error.message[:500]]})
            else:
                return warmed.model_copy(update={"bytes_peers": warmed.bytes_peers + came})
        repository = self.together.repository
        came = self._put(blob, lambda: self.registry.stream_blob(repository, blob.digest))
        return warmed.model_copy(update={"bytes_registry": warmed.bytes_registry + came})

    def _put(self, blob: Descriptor, source: Source) -> int:
        with source() as pieces:
            return self.sharing.cache.put(blob.digest, self._told(pieces), blob.size)

    def _told(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.progress("fetching blobs", None)
            yield piece


def _parsed(manifest: Manifest) -> ParsedManifest:
    return parse_manifest(manifest.data, manifest.media_type)


def _of_this_machine(index: Manifest) -> str:
    architecture = this_architecture()
    digest = platform_of(index.json()["manifests"], str(architecture))
    if digest is None:
        raise ImagePullFailed(f"index {index.digest} has no image for linux/{architecture}")
    return digest
