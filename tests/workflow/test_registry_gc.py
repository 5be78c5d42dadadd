"""The registry's upkeep as workflows: on the real dev server, with real SQL and a real layout."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import select
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError

from activities.registry_collector import Collector, Told
from fleetwide.errors import ServiceUnavailable
from fleetwide.models.registry_gc import (
    BatchDone,
    GarbageBatch,
    GarbageReport,
    GarbageStatus,
    Kept,
    ReconcileReport,
    ScrubReport,
)
from fleetwide.providers.registry_storage import REPOSITORIES
from fleetwide.store.tables import EventRow
from tests.registry_index import blob, image
from tests.registry_shelf import Shelf, grow_old
from tests.workflow.storing import storing
from tests.workflow.world import World, world

APP = "apps/hello"


@pytest.fixture
async def box(plane: World, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with storing(plane, tmp_path / "registry") as opened:
        yield opened


def fill(box: Shelf, images: int) -> None:
    box.upload(APP, "config", *(f"layer{n}" for n in range(images)))
    for number in range(images):
        box.push(APP, image(f"layer{number}"), f"v{number}")
        box.untag(APP, f"v{number}")
    box.push(APP, image("layer0"), "kept")


async def test_a_collection_removes_and_reports(plane: World, box: Shelf) -> None:
    fill(box, 3)
    handle = await plane.start("RegistryGarbageCollection", {"batch": 2}, "registry-gc/1")
    report = GarbageReport.model_validate(await handle.result())
    assert report.manifests == 2
    assert report.kept[Kept.TAGGED] == 1
    assert box.stored("layer0", "layer1", "layer2") == {"layer0"}
    assert box.faults() == []
    with box.store.read() as session:
        event = session.exec(select(EventRow).where(EventRow.kind == "upkeep")).one()
    assert event.subject == "registry-gc/1"
    assert GarbageReport.model_validate(event.data["report"]) == report


async def test_a_dry_run_only_tells(plane: World, box: Shelf) -> None:
    fill(box, 3)
    uploads = box.root / REPOSITORIES / APP / "_uploads"
    for name in ("old", "fresh"):
        (uploads / name).mkdir(parents=True)
        (uploads / name / "startedat").write_text("2026")
    grow_old(uploads / "old/startedat", 25)
    handle = await plane.start("RegistryGarbageCollection", {"dry_run": True}, "registry-gc/2")
    report = GarbageReport.model_validate(await handle.result())
    assert (report.dry_run, report.manifests, report.blobs, report.uploads) == (True, 2, 2, 1)
    assert len(box.manifests(APP)) == 3
    assert {path.name for path in uploads.iterdir()} == {"old", "fresh"}


async def test_a_collection_whose_worker_died_says_that_it_removed_more(
    plane: World, box: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(box, 3)
    real, died = Collector.reviews, list[int]()

    def dies_first(self: Collector, batch: GarbageBatch, told: Told) -> BatchDone:
        done = real(self, batch, told)
        if not died:
            died.append(done.report.manifests)
            raise ServiceUnavailable("the worker died before it could answer")
        return done

    monkeypatch.setattr(Collector, "reviews", dies_first)
    handle = await plane.start("RegistryGarbageCollection", {}, "registry-gc/6")
    report = GarbageReport.model_validate(await handle.result())
    assert (died, report.manifests, report.at_least) == ([2], 0, True)
    assert report.sentence.startswith("removed at least 0 manifests")


async def test_a_look_for_old_uploads_goes_on_in_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.registry_collector.REPOSITORIES_AT_A_TIME", 1)
    few = ("limit.historyCount.suggestContinueAsNew=40",)
    async with world(tmp_path, dynamic=few) as plane, storing(plane, tmp_path / "it") as box:
        for number in range(20):
            uploads = box.root / REPOSITORIES / f"apps/n{number}/_uploads/old"
            uploads.mkdir(parents=True)
            (uploads / "startedat").write_text("2026")
            grow_old(uploads / "startedat", 25)
        handle = await plane.start("RegistryGarbageCollection", {}, "registry-gc/many")
        report = GarbageReport.model_validate(await handle.result())
        assert report.uploads == 20
        newest = await plane.client.get_workflow_handle("registry-gc/many").describe()
        assert newest.run_id != handle.first_execution_run_id


async def test_a_collection_pauses_slows_down_and_goes_on(plane: World, box: Shelf) -> None:
    fill(box, 3)
    request = {"batch": 1, "paused": True, "per_second": 1}
    handle = await plane.start("RegistryGarbageCollection", request, "registry-gc/3")
    status = GarbageStatus.model_validate(await handle.query("status"))
    assert (status.paused, status.report.reviewed) == (True, 0)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("pause", {})
    await handle.execute_update("set_rate", {"per_second": 5000})
    answer = await handle.execute_update("resume", {"reason": "night", "by": "ada"})
    assert not GarbageStatus.model_validate(answer).paused
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("resume", {})
    report = GarbageReport.model_validate(await handle.result())
    assert report.manifests == 2
    status = GarbageStatus.model_validate(await handle.query("status"))
    assert status.per_second == 5000


async def test_a_cancelled_collection_leaves_all_in_order(plane: World, box: Shelf) -> None:
    fill(box, 4)
    request = {"batch": 50, "per_second": 2}
    handle = await plane.start("RegistryGarbageCollection", request, "registry-gc/4")

    async def begun() -> bool:
        return len(await asyncio.to_thread(box.manifests, APP)) < 4

    await plane.until(begun)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert box.faults() == []
    again = await plane.start("RegistryGarbageCollection", {}, "registry-gc/5")
    await again.result()
    assert box.stored(*(f"layer{n}" for n in range(4))) == {"layer0"}
    assert box.faults() == []


async def test_a_reconciliation_mends_and_reports(plane: World, box: Shelf) -> None:
    box.upload(APP, "config", "a", "b")
    known = box.push(APP, image("a"), "v1")
    box.storage.unlink_tag(APP, "v1")
    box.storage.unlink_revision(APP, known.digest)
    box.put("strange/app", image("a"), ["v9"])
    for name in ("config", "a"):
        box.storage.link_layer("strange/app", blob(name))
    box.storage.put_blob(blob("stray"), [b"stray"])
    request = {"settle_seconds": 0}
    handle = await plane.start("RegistryReconcile", request, "registry-reconcile/1")
    report = ReconcileReport.model_validate(await handle.result())
    assert report.repositories == 2
    assert report.counts == {
        "missingTag": 1,
        "missingManifest": 1,
        "unknownLink": 2,
        "unknownManifest": 1,
        "unknownTag": 1,
        "strayBlob": 1,
    }
    assert box.faults() == []
    again = await plane.start("RegistryReconcile", request, "registry-reconcile/2")
    assert ReconcileReport.model_validate(await again.result()).counts == {}


async def test_a_scrub_finds_what_is_broken(plane: World, box: Shelf) -> None:
    box.upload(APP, "config", "a")
    box.push(APP, image("a"), "v1")
    hex_digits = blob("a").removeprefix("sha256:")
    data = box.root / f"docker/registry/v2/blobs/sha256/{hex_digits[:2]}/{hex_digits}/data"
    data.write_bytes(b"b")
    handle = await plane.start("RegistryScrub", {"bytes_per_second": "100MiB"}, "registry-scrub/1")
    report = ScrubReport.model_validate(await handle.result())
    assert report.broken == [blob("a")]
    assert report.blobs == 2
