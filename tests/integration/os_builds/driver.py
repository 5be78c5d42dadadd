"""Resolve, fetch and build in a process of its own: it may use the network, and it may be killed.

``python -m tests.integration.os_builds.driver prepare FOLDER SPEC`` prints a ``LockedPlan``;
``... build FOLDER LOCKED WORKDIR`` prints a ``RootFilesystem``. FOLDER is a builder's own. What the
build does is told on stderr, one phrase a line; an error is told as JSON with exit code 3.
"""

import json
import sys
from pathlib import Path

from fleetwide.baseos.locks import build_key
from fleetwide.baseos.plans import make_plan
from fleetwide.baseos.suites import Mirrors
from fleetwide.errors import FleetwideError
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.os_releases import LockedPlan, RootFilesystem
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.os_builds import Workshop, build_container
from fleetwide.providers.os_locks import LockResolver
from fleetwide.providers.progress import Throttled

FAILED = 3


def tell(phrase: str, _fraction: float | None) -> None:
    sys.stderr.write(f"{phrase}\n")
    sys.stderr.flush()


def opened(folder: Path) -> tuple[BuilderCache, LockResolver]:
    objects = FolderStore(folder / "objects")
    return BuilderCache(folder, objects), LockResolver(folder / "apt", objects, Mirrors())


def prepare(folder: Path, spec: OSImageSpec) -> LockedPlan:
    """Resolve the spec, and have its packages in the pool."""
    cache, resolver = opened(folder)
    lock, ref = resolver.resolve(spec, Throttled(tell))
    cache.pool.fetch(lock.packages, Throttled(tell))
    return LockedPlan(
        plan=make_plan(spec, spec.version or "1", "os/test"),
        lock=ref,
        build_key=build_key(make_plan(spec, "1", "os/test"), ref.digest, lock.sources),
        source_date_epoch=cache.pool.source_date(lock.packages),
    )


def build(folder: Path, locked: LockedPlan, workdir: Path) -> RootFilesystem:
    """Build the container face below ``workdir``."""
    cache, resolver = opened(folder)
    workdir.mkdir(parents=True)
    shop = Workshop(workdir, cache, resolver.load(locked.lock.digest))
    return build_container(locked, shop, tell).rootfs


def main(words: list[str]) -> str:
    verb, folder, given, *more = words
    if verb == "prepare":
        spec = OSImageSpec.model_validate_json(given)
        return prepare(Path(folder), spec).model_dump_json()
    locked = LockedPlan.model_validate_json(given)
    return build(Path(folder), locked, Path(more[0])).model_dump_json()


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))  # noqa: T201 - the answer
    except FleetwideError as error:
        print(json.dumps({"code": error.code, "message": error.message}))  # noqa: T201
        sys.exit(FAILED)
