"""Bakes: resolve a request, build and push the image, keep the books."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.models.bakery import BakedImage, BakeSpec, BuiltBake, RecordImage, ResolvedBake
from fleetwide.providers.artifacts import fetch
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import LayerInputs, build_layer, push_image
from fleetwide.providers.objects import ObjectStore
from fleetwide.settings import Settings
from fleetwide.store import bakes, images
from fleetwide.store.session import Store


class ImageActivities:
    """Control side: needs the database only."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="bakery.resolve_bake")
    def resolve_bake(self, spec: BakeSpec) -> ResolvedBake:
        """Pin the base and compute the key; an image that exists already comes with it."""
        with self.store.read() as session:
            return bakes.resolve(session, spec)

    @activity.defn(name="bakery.record_image")
    def record_image(self, request: RecordImage) -> BakedImage:
        """Write the image to the inventory; the first image of a key stays the one."""
        now = datetime.now(UTC)
        bake, built = request.bake, request.built
        image = BakedImage(
            name=bake.spec.name,
            version=bake.spec.version,
            bake_key=bake.bake_key,
            workflow_id=activity.info().workflow_id or "",
            repository=bake.repository,
            base_name=bake.base.name,
            base_version=bake.base.version,
            base_digest=bake.base.digest,
            created_at=now,
            **built.model_dump(),
        )
        with self.store.write() as session:
            return images.save(session, image, bake.spec.owner, now=now)


class BakeActivities:
    """Builder side: needs root on its own machine and the right to push to the registry."""

    def __init__(self, settings: Settings, registry: RegistryClient, objects: ObjectStore) -> None:
        self.root = settings.builder_dir.absolute()
        self.registry = registry
        self.objects = objects
        self.bases = BaseCache(self.root / "bases", registry)

    @activity.defn(name="bakery.build_image", no_thread_cancel_exception=True)
    def build_image(self, bake: ResolvedBake) -> BuiltBake:
        """Fetch the artifacts, write the layer, push the image; the work folder is gone after.

        Raises:
            ArtifactRejected: an artifact is not what it says, or cannot be installed.
        """
        started = time.monotonic()
        info = activity.info()
        workdir = self.root / f"bake-{info.workflow_run_id}"
        fetched = self.root / f"fetch-{info.workflow_run_id}"
        try:
            paths = self._fetch(bake, fetched)
            inputs = LayerInputs(bake, paths, self.bases.rootfs)
            packed = build_layer(inputs, workdir, heartbeat)
            pushed = push_image(self.registry, bake, packed, heartbeat)
        finally:
            shutil.rmtree(workdir, ignore_errors=True)
            shutil.rmtree(fetched, ignore_errors=True)
        return BuiltBake(
            digest=pushed.digest,
            app_layer=packed.layer,
            size=pushed.size,
            build_seconds=round(time.monotonic() - started, 3),
        )

    def _fetch(self, bake: ResolvedBake, folder: Path) -> list[Path]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        paths = []
        for number, artifact in enumerate(bake.spec.artifacts):
            path = folder / f"{number}-{artifact.filename}"
            fetch(artifact, path, self.objects.get_file, heartbeat)
            paths.append(path)
        return paths
