"""The pool: every package of every lock, by its SHA-256, in the object store and on this builder.

The mirror is asked once in a package's life. Mirrors drop old versions, the pool does not: a lock
can be built for as long as its packages lie in the object store.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2

from fleetwide.baseos.locks import packages_index, pool_path, release_file
from fleetwide.errors import BuildFailed, NotFound, PlatformError
from fleetwide.models.baseos import Face
from fleetwide.models.os_locks import Lock, LockedPackage, pool_key
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.progress import INTERVAL_SECONDS, Progress

FETCHES_AT_A_TIME = 8
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
# The first member of a .deb begins behind this magic; its header has the time at bytes 16 to 28.
AR_MAGIC = b"!<arch>\n"
AR_TIME = slice(len(AR_MAGIC) + 16, len(AR_MAGIC) + 28)


@dataclass
class _Fetching:
    """What the threads of one fetch share."""

    http: httpx2.Client
    received: int = 0
    stopped: bool = False


class Pool:
    """A builder's copy of the packages it used, filled from the object store and from mirrors."""

    def __init__(self, folder: Path, objects: ObjectStore) -> None:
        self._folder = folder.absolute()
        self._objects = objects

    def path(self, package: LockedPackage) -> Path:
        """Where the package lies on this builder once it was fetched."""
        return self._folder / f"{package.sha256}.deb"

    def fetch(self, packages: Sequence[LockedPackage], progress: Progress) -> None:
        """Have every package here and in the object store, each checked against its SHA-256.

        What has arrived stays, so a second call goes on where a first one broke off.

        Raises:
            BuildFailed: a mirror no longer has a package, and nor has the object store.
            PlatformError: a mirror does not answer, or sent other bytes.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        missing = [package for package in packages if not self._have(package)]
        total = sum(package.size for package in missing)
        with (
            httpx2.Client(timeout=TIMEOUT, follow_redirects=True) as http,
            ThreadPoolExecutor(FETCHES_AT_A_TIME, "fetch") as threads,
        ):
            state = _Fetching(http)
            futures = [threads.submit(self._fetch_one, state, package) for package in missing]
            try:
                while (now := wait(futures, INTERVAL_SECONDS, FIRST_EXCEPTION)).not_done:
                    progress(f"fetching {len(missing)} packages", state.received / total)
                    for future in now.done:
                        future.result()
                for future in futures:
                    future.result()
            except BaseException:
                state.stopped = True
                threads.shutdown(cancel_futures=True)
                raise

    def _have(self, package: LockedPackage) -> bool:
        """Whether the package is here; then it counts as used now."""
        try:
            os.utime(self.path(package))
            return self.path(package).stat().st_size == package.size
        except FileNotFoundError:
            return False

    def _fetch_one(self, state: _Fetching, package: LockedPackage) -> None:
        target = self.path(package)
        # Another build may fetch the same package at this moment.
        partial = target.with_name(f"{package.sha256}.{uuid4().hex}.partial")
        try:
            if not self._from_objects(package, partial):
                self._from_mirror(state, package, partial)
                self._objects.put_file(pool_key(package.sha256), partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        state.received += package.size

    def _from_objects(self, package: LockedPackage, target: Path) -> bool:
        try:
            self._objects.get_file(pool_key(package.sha256), target)
        except NotFound:
            return False
        with target.open("rb") as reader:
            return hashlib.file_digest(reader, "sha256").hexdigest() == package.sha256

    def _from_mirror(self, state: _Fetching, package: LockedPackage, target: Path) -> None:
        seen = hashlib.sha256()
        try:
            with state.http.stream("GET", package.url) as answer, target.open("wb") as writer:
                _expect(answer, package)
                for piece in answer.iter_raw(256 * 1024):
                    if state.stopped:
                        raise PlatformError("the fetch was stopped")
                    seen.update(piece)
                    writer.write(piece)
        except httpx2.HTTPError as error:
            raise PlatformError(f"{package.url} could not be fetched: {error}") from error
        if seen.hexdigest() != package.sha256:
            raise PlatformError(
                f"{package.url} has SHA-256 {seen.hexdigest()}, the lock says {package.sha256}",
                hint="the mirror is broken or being updated; name another one as `mirror`",
            )

    def source_date(self, packages: Sequence[LockedPackage]) -> int:
        """The newest source date of the packages, in seconds since 1970: the lock's own clock."""
        return max((_source_date(self.path(package)) for package in packages), default=0)

    def lay_out_mirror(self, lock: Lock, face: Face, folder: Path) -> None:
        """Make ``folder`` an archive of exactly the lock's packages for one face."""
        packages = lock.of(face)
        index = packages_index(packages)
        binary = folder / "dists" / lock.suite / "main" / f"binary-{lock.architecture}"
        binary.mkdir(parents=True)
        (binary / "Packages").write_bytes(index)
        (folder / "dists" / lock.suite / "Release").write_bytes(release_file(lock, index))
        (folder / "pool").mkdir()
        for package in packages:
            (folder / pool_path(package)).hardlink_to(self.path(package))


def _expect(answer: httpx2.Response, package: LockedPackage) -> None:
    if answer.status_code in (404, 410):
        raise BuildFailed(
            f"the mirror no longer has {package.name} {package.version}, and nor has the pool: "
            f"{package.url}",
            hint="build again without a lock, to take what the mirror has now",
        )
    if answer.status_code != 200:
        raise PlatformError(f"the mirror answered {answer.status_code} for {package.url}")


def _source_date(deb: Path) -> int:
    with deb.open("rb") as reader:
        head = reader.read(AR_TIME.stop)
    text = head[AR_TIME].decode("ascii", "replace").strip()
    if not head.startswith(AR_MAGIC) or not text.isdigit():
        raise BuildFailed(f"{deb.name} is no Debian package")
    return int(text)
