"""Bakes on a builder: dependencies, layer, smoke test, push, documents.

The builder is root on its own machine and may push to the registry. Until a bake has passed its
tests, its layer lies in the object store and nothing of it in the registry.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from functools import partial
from pathlib import Path

from temporalio import activity

from activities.bake_bench import BakeBench, Bench, run_id
from activities.progress import heartbeat
from fleetwide.bakery.defaults import default_env
from fleetwide.bakery.lint_subject import LintSubject
from fleetwide.bakery.rebase import is_rebaseable
from fleetwide.errors import NotFound
from fleetwide.models.bake_amis import SweepLayers
from fleetwide.models.bakes import (
    BuiltLayer,
    Dependency,
    LayerRequest,
    PublishBake,
    PublishedBake,
    ResolvedBake,
    SmokeReport,
    WithdrawBake,
)
from fleetwide.providers.bake_publishing import plan_bake, publish_bake
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.compress import Compressed
from fleetwide.providers.dependencies import DependencyRequest, resolve_dependencies
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.document_archive import Archive
from fleetwide.providers.images import upload_layer
from fleetwide.providers.layers import pack_layer
from fleetwide.providers.lint_payload import judge, load_policy, read_subject
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.payloads import Payload, PayloadInputs, make_payload
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.script_limits import script_limits
from fleetwide.providers.signing import load_or_create_key
from fleetwide.providers.smoke_tests import SmokeRequest, smoke_test
from fleetwide.settings import Settings

LAYERS = "bakery/layers/"


def layer_key(run: str) -> str:
    """Where the layer of a run lies until the bake has passed its tests."""
    return f"{LAYERS}{run}.tar.gz"


class BakeActivities:
    """One per builder: its caches are shared by all bakes that run on it."""

    def __init__(self, settings: Settings, registry: RegistryClient, objects: ObjectStore) -> None:
        self.settings = settings
        self.root = settings.builder_dir.absolute()
        self.registry = registry
        self.objects = objects
        self.bases = BaseCache(self.root / "bases", registry)
        self.benches = BakeBench(self.root, registry, objects)

    @activity.defn(name="bakery.resolve_dependencies", no_thread_cancel_exception=True)
    def resolve_dependencies(self, bake: ResolvedBake) -> list[Dependency]:
        """What the artifacts need beyond the base and each other, to the byte."""
        with self.benches.open("resolving") as bench:
            progress = bench.progress
            request = DependencyRequest(
                bake=bake,
                artifacts=self.benches.artifacts(bake, bench, span(progress, 0.0, 0.4)),
                base=self.bases.rootfs(bake.base, span(progress, 0.4, 0.6)),
                lock=self.benches.lock(bake),
                folder=self.root / "apt",
            )
            found = resolve_dependencies(request, span(progress, 0.6, 1.0))
            for one in found:
                bench.log.line(f"needs {one.kind} {one.name} {one.version}")
        return found

    @activity.defn(name="bakery.build_layer", no_thread_cancel_exception=True)
    def build_layer(self, bake: ResolvedBake) -> BuiltLayer:
        """Make the bake's own layer and look it over; it waits in the object store.

        Raises:
            ArtifactRejected: an artifact is not what it says, or cannot be installed.
            InstallFailed: an artifact's own script failed.
            PolicyRefused: the image would break a rule of the bakery policy.
        """
        started = time.monotonic()
        with self.benches.open("building") as bench:
            progress = bench.progress
            inputs = PayloadInputs(
                bake=bake,
                artifacts=self.benches.artifacts(bake, bench, span(progress, 0.0, 0.2)),
                dependencies=self.benches.dependencies(bake, bench, span(progress, 0.2, 0.3)),
                base=self.bases.rootfs(bake.base, span(progress, 0.3, 0.4)),
                limits=script_limits(self.settings),
            )
            workdir = bench.folder / "payload"
            workdir.mkdir()
            payload = make_payload(inputs, workdir, span(progress, 0.4, 0.7))
            packed, subject = _packed(inputs, payload, bench)
            findings = judge(subject, packed.layer.size, load_policy(self.settings))
            for found in findings:
                bench.log.line(f"{found.severity}: {found.rule}: {found.where}: {found.message}")
            self.objects.move_file(layer_key(run_id()), packed.path)
        return BuiltLayer(
            layer=packed.layer,
            uncompressed_size=packed.uncompressed_size,
            entries=len(payload.entries),
            rebaseable=is_rebaseable(payload.entries, bake.spec.name),
            python=payload.python,
            packages=payload.packages,
            findings=findings,
            build_seconds=round(time.monotonic() - started, 3),
        )

    @activity.defn(name="bakery.smoke_test", no_thread_cancel_exception=True)
    def smoke_test(self, request: LayerRequest) -> SmokeReport:
        """Start the image for real.

        Raises:
            SmokeTestFailed: it does not start as it should.
        """
        bake = request.bake
        with self.benches.open("testing") as bench:
            layer = bench.folder / "layer.tar.gz"
            self._fetch_layer(request, layer)
            workdir = bench.folder / "smoke"
            workdir.mkdir()
            smoke = SmokeRequest(
                bake=bake,
                base=self.bases.rootfs(bake.base, span(bench.progress, 0.0, 0.3)),
                layer=layer,
                env=default_env(bake),
                workdir=workdir,
            )
            report = smoke_test(smoke, span(bench.progress, 0.3, 1.0), bench.log.write)
            bench.log.line(f"smoke test: {report.how}")
        return report

    @activity.defn(name="bakery.publish", no_thread_cancel_exception=True)
    def publish(self, request: PublishBake) -> PublishedBake:
        """The image under its version's tag, and SBOMs, provenance and signature of the bake.

        The documents lie in the object store, and at the image as referrers. Done twice it is
        done once.
        """
        info = activity.info()
        invocation = f"{info.workflow_id}/{info.workflow_run_id}"
        with self.benches.open("publishing") as bench:
            send = partial(self._send_layer, request, bench.progress)
            published = publish_bake(request, invocation, self._archive(), send, heartbeat)
            if published.pushed is not None:
                bench.log.line(f"pushed {request.bake.repository}@{published.pushed.digest}")
        self.objects.delete(layer_key(run_id()))
        return published

    @activity.defn(name="bakery.withdraw")
    def withdraw(self, request: WithdrawBake) -> None:
        """Remove what a bake that came to nothing has made; earlier images of its key stay."""
        self.objects.delete(layer_key(run_id()))
        bake = request.bake
        if request.built is None:
            return
        try:
            digest = plan_bake(bake, request.built, self._archive()).documents.digest
        except NotFound:
            return  # no image can have been pushed onto a base that is not there
        known = {*bake.known_digests, bake.cached and bake.cached.digest}
        if digest not in known:
            self.registry.delete_manifest(bake.repository, digest)

    @activity.defn(name="bakery.sweep_layers")
    def sweep_layers(self, request: SweepLayers) -> list[str]:
        """Remove the layers of bakes that were cut off; what was removed."""
        keep = {layer_key(run) for run in request.keep}
        lost = [one.key for one in self.objects.list(LAYERS) if one.key not in keep]
        for key in lost if not request.dry_run else []:
            self.objects.delete(key)
        return lost

    def _archive(self) -> Archive:
        key = load_or_create_key(self.settings.signing_key)
        return Archive(self.registry, self.objects, key)

    def _send_layer(self, request: PublishBake, progress: Progress) -> bool:
        """Whether the layer lies in the bake's repository now."""
        assert request.built is not None
        repository, layer = request.bake.repository, request.built.layer
        if self.registry.blob_exists(repository, layer.digest):
            return True
        try:
            content = self.objects.open_stream(layer_key(run_id()))
        except NotFound:
            return False
        with closing(content):
            upload_layer(self.registry, repository, content.read, layer, progress)
        return True

    def _fetch_layer(self, request: LayerRequest, target: Path) -> None:
        """The layer of this run, or one that lies in the registry from an earlier bake."""
        try:
            self.objects.get_file(layer_key(run_id()), target)
        except NotFound:
            layer = request.built.layer
            with (
                self.registry.stream_blob(request.bake.repository, layer.digest) as pieces,
                target.open("wb") as writer,
            ):
                for piece in pieces:
                    writer.write(piece)


def _packed(
    inputs: PayloadInputs, payload: Payload, bench: Bench
) -> tuple[Compressed, LintSubject]:
    """The layer, and what there is to look over of it, which is read meanwhile."""
    with ThreadPoolExecutor(1, "lint") as thread:
        # A cancel reaches both: each has the activity's context.
        subject = thread.submit(
            copy_context().run, read_subject, inputs.bake, payload, inputs.base, heartbeat
        )
        told = span(bench.progress, 0.7, 1.0)
        packed = pack_layer(payload.entries, bench.folder / "layer.tar.gz", told)
        return packed, subject.result()
