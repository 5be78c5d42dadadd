"""What every step of a bake on a builder needs: a folder, its part of the log, the inputs."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.models.bakery import Artifact, ArtifactType
from fleetwide.models.bakes import ResolvedBake
from fleetwide.models.os_locks import Lock, lock_key
from fleetwide.providers.artifacts import fetch
from fleetwide.providers.bake_logs import BakeLog, part_key
from fleetwide.providers.dependencies import fetch_dependency
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.payload_images import fetch_image
from fleetwide.providers.progress import Progress, span

# Where a step's part stands in the log of a bake.
LOG_ORDER = {"resolving": 1, "building": 2, "disk": 3, "testing": 4, "boot": 5, "publishing": 6}

Item = TypeVar("Item")


@dataclass(frozen=True)
class Bench:
    """One try's own folder, its part of the log, and its progress, which is logged too."""

    folder: Path
    log: BakeLog
    progress: Progress


class BakeBench:
    """Shared by all steps that run on a builder."""

    def __init__(self, root: Path, registry: RegistryClient, objects: ObjectStore) -> None:
        self.root = root
        self.registry = registry
        self.objects = objects

    @contextmanager
    def open(self, step: str) -> Iterator[Bench]:
        """A bench for this try of the step; its folder is gone afterwards."""
        info = activity.info()
        folder = self.root / f"bake-{info.workflow_run_id}-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = BakeLog(self.objects, part_key(run_id(), LOG_ORDER[step], step, info.attempt))
        try:
            yield Bench(folder, log, log.following(heartbeat))
        except Exception as error:
            log.line(f"error: {error}")
            raise
        finally:
            log.close()
            shutil.rmtree(folder, ignore_errors=True)

    def artifacts(self, bake: ResolvedBake, bench: Bench, progress: Progress) -> list[Path]:
        """The bake's artifacts on disk, checked, in the order of the spec."""
        folder = bench.folder / "artifacts"
        folder.mkdir()
        return _each(
            bake.spec.artifacts,
            lambda number, one: folder / f"{number}-{one.filename}",
            lambda one, path, told: self._fetch(bake, one, path, told),
            progress,
        )

    def _fetch(
        self, bake: ResolvedBake, artifact: Artifact, target: Path, progress: Progress
    ) -> None:
        if artifact.type is ArtifactType.IMAGE:
            fetch_image(self.registry, artifact, bake.base.architecture, target, progress)
        else:
            fetch(artifact, target, self.objects.get_file, progress)

    def dependencies(self, bake: ResolvedBake, bench: Bench, progress: Progress) -> list[Path]:
        """The bake's dependencies on disk, checked, in their order."""
        folder = bench.folder / "dependencies"
        folder.mkdir()
        return _each(
            bake.dependencies, lambda _, one: folder / one.filename, fetch_dependency, progress
        )

    def lock(self, bake: ResolvedBake) -> Lock | None:
        """The lock of the bake's base; None where the release is older than locks."""
        lock = bake.base.lock
        if lock is None:
            return None
        return Lock.model_validate_json(self.objects.get_bytes(lock_key(lock.digest)))


def run_id() -> str:
    """The run of the workflow that this activity belongs to."""
    found = activity.info().workflow_run_id
    assert found is not None
    return found


def _each(
    items: Sequence[Item],
    place: Callable[[int, Item], Path],
    get: Callable[[Item, Path, Progress], None],
    progress: Progress,
) -> list[Path]:
    paths = []
    for number, item in enumerate(items):
        path = place(number, item)
        get(item, path, span(progress, number / len(items), (number + 1) / len(items)))
        paths.append(path)
    return paths
