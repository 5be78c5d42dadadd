"""Unpacked base layers on a builder, fetched once each."""

import hashlib
import shutil
from pathlib import Path

from fleetwide.errors import PlatformError, RegistryUnavailable
from fleetwide.models.bakery import BaseImage
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.file_locks import locked
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.providers.sandbox import run_isolated
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
        name = hex_of(base.layer.digest)
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
            _untar(packed, tree, progress)
            tree.rename(ready)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _download(self, base: BaseImage, target: Path, progress: Progress) -> None:
        digest, size = base.layer.digest, base.layer.size
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


def _untar(packed: Path, tree: Path, progress: Progress) -> None:
    command = ["tar", "--extract", "--gzip", "--numeric-owner", "--same-owner"]
    command += ["--same-permissions", "--xattrs", "--xattrs-include=*"]
    finished = run_isolated(
        [*command, f"--file={packed.absolute()}", f"--directory={tree.absolute()}"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        progress=lambda _phrase, _fraction: progress("unpacking the base", None),
        read=lambda _line: None,
        network=False,
    )
    if finished.returncode != 0:
        raise PlatformError(f"the base could not be unpacked: {' '.join(finished.lines[-3:])}")
