"""Unpacked base layers on a builder, fetched once each."""

import hashlib
import shutil
from pathlib import Path

from fleetwide.errors import NotFound, RegistryUnavailable
from fleetwide.models.bakes import BaseImage
from fleetwide.models.base import Layer
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.file_locks import locked
from fleetwide.providers.layer_trees import untar
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.registry.digests import PREFIX, hex_of


class BaseCache:
    """A folder of unpacked layers by digest; safe for several processes at once.

    A folder appears under its final name only when it is complete, so a crash leaves nothing that
    could be taken for a base. The folders are read by many: never write into one.
    """

    def __init__(self, root: Path, client: RegistryClient) -> None:
        self._root = root
        self._client = client

    def rootfs(self, base: BaseImage, progress: Progress) -> Path:
        """The unpacked root file system of ``base``; fetched first when it is not here."""
        name = hex_of(_layer(base).digest)
        ready = self._root / name
        if ready.is_dir():
            return ready
        self._root.mkdir(parents=True, exist_ok=True)
        with locked(
            self._root / f"{name}.lock", progress, "waiting for the base that another bake fetches"
        ):
            if not ready.is_dir():
                self._fill(base, ready, progress)
        return ready

    def _fill(self, base: BaseImage, ready: Path, progress: Progress) -> None:
        partial = ready.with_name(f"{ready.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        tree = partial / "tree"
        tree.mkdir(parents=True)
        try:
            packed = partial / "layer.tar.gz"
            self._download(base, packed, Throttled(progress))
            untar(packed, tree, progress, "the base")
            tree.rename(ready)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _download(self, base: BaseImage, target: Path, progress: Progress) -> None:
        digest, size = _layer(base).digest, _layer(base).size
        seen, received = hashlib.sha256(), 0
        with (
            self._client.stream_blob(base.repository, digest) as pieces,
            target.open("wb") as writer,
        ):
            for piece in pieces:
                seen.update(piece)
                received += len(piece)
                writer.write(piece)
                progress("fetching the base", received / size)
        if PREFIX + seen.hexdigest() != digest:
            raise RegistryUnavailable(
                f"{base.repository}: the registry sent {PREFIX}{seen.hexdigest()} for {digest}"
            )


def _layer(base: BaseImage) -> Layer:
    if base.layer is None:
        raise NotFound(f"OS release {base.name} {base.version} has no container base")
    return base.layer
