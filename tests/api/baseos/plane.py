"""A control plane whose builder builds nothing, but knows packages: locks, documents, consoles."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from temporalio import activity
from temporalio.testing import WorkflowEnvironment

from activities.baseos_builds import OSBuildActivities
from activities.baseos_reports import BuilderQuestions
from fleetwide.baseos.locks import build_key, lock_digest, security_digest
from fleetwide.baseos.suites import Mirrors, sources_of
from fleetwide.errors import BuildFailed
from fleetwide.models.baseos import BuildPlan, OSImageSpec
from fleetwide.models.os_locks import Lock, LockRef, lock_key
from fleetwide.models.os_releases import Attachment, BootReport, LockedPlan, OSRelease
from fleetwide.models.os_reports import Fix, FixesReport
from fleetwide.models.os_steps import AttachDocuments, BootTest
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.objects import ObjectStore, open_object_store
from fleetwide.registry.digests import digest_of
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store
from fleetwide.temporal.converter import data_converter
from fleetwide.temporal.search_attributes import ALL
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.api.harness import DYNAMIC, TEMPORAL, Plane, registry, settings_for
from tests.unit.locked import package
from tests.workflow.scripted import ScriptedBuilder
from workers.registry import WORKFLOWS, control_activities

SPDX = b'{"spdxVersion": "SPDX-2.3", "name": "h\xc3\xa4llo"}\n'
CONSOLE = b"\x1b[2J\x1b[1mLinux version 6.1\x1b[0m\r\nlogin: \r\n"


MIRRORS = Mirrors("http://mirror.example/main", "http://mirror.example/security")


class Archive:
    """What the mirrors of each line hold today, and the locks that were made of it."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.packages: dict[str, dict[str, str]] = {}
        """Line to package to version."""
        self.fixed: set[str] = set()
        """Packages that come from a security suite."""

    def resolve(self, spec: OSImageSpec, _progress: object) -> tuple[Lock, LockRef]:
        held = self.packages.get(spec.name, {"base-files": "12", "dash": "0.5"})
        lock = Lock(
            suite=spec.suite,
            architecture=spec.architecture,
            sources=sources_of(spec, MIRRORS),
            packages=[
                package(name, version, security=name in self.fixed)
                for name, version in sorted(held.items())
            ],
        )
        ref = LockRef(
            digest=lock_digest(lock),
            package_count=len(lock.packages),
            size=sum(one.size for one in lock.packages),
            security_digest=security_digest(lock),
            resolved_at=datetime.now(UTC),
        )
        self.objects.put_bytes(lock_key(ref.digest), lock.model_dump_json().encode())
        return lock, ref

    def load(self, digest: str) -> Lock:
        return Lock.model_validate_json(self.objects.get_bytes(lock_key(digest)))


class OSBuilder(ScriptedBuilder):
    """Its locks, documents and consoles are real objects; the rest is scripted."""

    def __init__(self, objects: ObjectStore) -> None:
        super().__init__()
        self.objects = objects
        self.archive = Archive(objects)
        builds = cast("OSBuildActivities", SimpleNamespace(locks=self.archive))
        self.preview_build = BuilderQuestions(builds).preview_build

    def offered(self) -> list[Callable[..., Any]]:
        return [*self.activities(), self.preview_build]

    @activity.defn(name="baseos.resolve_lock")
    async def resolve_lock(self, plan: BuildPlan) -> LockedPlan:
        await self.act("resolve_lock")
        lock, ref = self.archive.resolve(plan.spec, None)
        return LockedPlan(plan=plan, lock=ref, build_key=build_key(plan, ref.digest, lock.sources))

    @activity.defn(name="baseos.test_boot")
    async def test_boot(self, request: BootTest) -> BootReport:
        plan = request.locked.plan
        key = f"baseos/consoles/{plan.name}/{plan.version}.log"
        self.objects.put_bytes(key, CONSOLE)
        if "panic" in plan.spec.vm.cmdline:
            raise BuildFailed("the kernel panicked")
        return BootReport(
            passed=True,
            state="running",
            accelerator="tcg",
            boot=request.disk.boot,
            seconds=40.0,
            console_key=key,
        )

    @activity.defn(name="baseos.attach_documents")
    async def attach_documents(self, request: AttachDocuments) -> list[Attachment]:
        plan = request.locked.plan
        key = f"baseos/documents/{plan.name}/{plan.version}/container.spdx.json"
        self.objects.put_bytes(key, SPDX)
        kind = "application/spdx+json"
        return [Attachment(artifact_type=kind, digest=digest_of(SPDX), key=key)]

    @activity.defn(name="baseos.find_fixes")
    async def find_fixes(self, release: OSRelease) -> FixesReport:
        fix = Fix(
            package="dash",
            source="dash",
            installed="0.5",
            fixed_in="0.6",
            cves=["CVE-2026-1", "CVE-2026-2"],
            urgency="high",
        )
        return FixesReport(
            name=release.name,
            version=release.version,
            compared_with=[f"{MIRRORS.security} bookworm-security"],
            checked_at=datetime.now(UTC),
            fixes=[fix],
        )


class OSPlane(Plane):
    """A control plane with an ``OSBuilder`` and no container host."""

    builder: OSBuilder

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        extra = [word for value in DYNAMIC for word in ("--dynamic-config-value", value)]
        async with AsyncExitStack() as stack:
            environment = await stack.enter_async_context(
                await WorkflowEnvironment.start_local(
                    dev_server_existing_path=str(TEMPORAL),
                    data_converter=data_converter,
                    search_attributes=ALL,
                    dev_server_extra_args=extra,
                )
            )
            self.client = environment.client
            address = self.client.service_client.config.target_host
            self.settings = settings_for(self.folder, address, self.registry_url)
            store = Store.open(self.settings.database_url.get_secret_value())
            stack.callback(store.engine.dispose)
            images = stack.enter_context(RegistryClient(self.registry_url))
            upgrade(store.engine)
            self.builder = OSBuilder(open_object_store(self.settings))
            control = control_activities(self.settings, store, images)
            for worker in (
                WorkerRole("control", workflows=WORKFLOWS, activities=control),
                WorkerRole("builder", activities=self.builder.offered()),
            ):
                await stack.enter_async_context(make_worker(self.client, worker))
            self._ready.set()
            await self._stop.wait()


@contextmanager
def os_plane(folder: Path) -> Iterator[OSPlane]:
    with registry(folder) as url, OSPlane(folder, url) as plane:
        yield plane
