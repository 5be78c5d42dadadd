"""Retention and the end of repositories as workflows: report first, safe ends, safe kills."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.service import RPCError

from activities.registry_repositories import RepositoryActivities, RepositoryLinks
from fleetwide.errors import ServiceUnavailable
from fleetwide.models.registry_documents import DeletionRequest, DeletionResult
from fleetwide.models.registry_retention import (
    ApplyRequest,
    RegistryRetentionRequest,
    RetentionPhase,
    RetentionReport,
)
from fleetwide.providers.registry_storage import REPOSITORIES, RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.store import events, jobs, registry_reports
from fleetwide.store import registry_deletion as deletion
from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_tags as tags
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.registry_index import blob, image, push, upload
from tests.workflow.world import World, task, world

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=100)
POLICY = """
retention:
  - {name: branches, repositories: ["ci/*"], tags: ["pr-*"], keep_newest: 2, keep_pulled_days: 7}
"""
A = image("a")


@pytest.fixture
async def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    monkeypatch.setenv("FLEETWIDE_REGISTRY_POLICY", str(policy))
    async with world(tmp_path) as running:
        yield running


def fill(store: Store, name: str = "ci/app", count: int = 5) -> None:
    """Branches 0 to ``count``, each with an image of its own, a day apart; and a release."""
    upload(store, name, "config", "a", *(f"layer{n}" for n in range(count)), now=LONG_AGO)
    for number in range(count):
        pushed = LONG_AGO + timedelta(days=number)
        push(store, name, image(f"layer{number}"), tags=[f"pr-{number}"], now=pushed)
    push(store, name, A, tags=["1.0"], now=LONG_AGO)


def names(store: Store, name: str = "ci/app") -> list[str]:
    with store.read() as session:
        row = repositories.require(session, name)
        return [tag.name for tag in tags.page(session, id_of(row), limit=100)]


async def waiting(plane: World, handle: Any) -> RetentionReport:
    async def reported() -> RetentionReport | None:
        report = RetentionReport.model_validate(await handle.query("status"))
        return report if report.phase is RetentionPhase.WAITING else None

    found: RetentionReport = await plane.until(reported)
    return found


def last_report(plane: World) -> RetentionReport | None:
    """What is kept of the first run."""
    with plane.store.read() as session:
        return registry_reports.last(session, "registry-retention/1")


async def test_nothing_goes_before_the_report_is_applied_and_nothing_that_is_not_in_it(
    plane: World,
) -> None:
    fill(plane.store)
    fill(plane.store, "apps/app")
    handle = await plane.start(
        "RegistryRetention", RegistryRetentionRequest(by="ana"), "registry-retention/1"
    )
    report = await waiting(plane, handle)
    assert (report.repositories, report.tags, report.goes) == (1, 6, 3)
    assert report.kept == {"no rule speaks of it": 1, "one of the newest 2": 2}
    [share] = report.shares
    assert [one.tag for one in share.examples] == ["pr-0", "pr-1", "pr-2"]
    assert report.bytes == 3 * image("layer0").content_size
    assert len(names(plane.store)) == 6

    push(plane.store, "ci/app", A, tags=["pr-9"], now=datetime.now(UTC))
    push(plane.store, "ci/app", A, tags=["pr-1"], now=datetime.now(UTC))
    assert await plane.until(lambda: last_report(plane)) == report.brief()
    await handle.execute_update("apply", ApplyRequest(by="eva", reason="old\nbranches"))
    done = RetentionReport.model_validate(await handle.result())
    assert (done.phase, done.ended) == (RetentionPhase.APPLIED, 2)
    assert names(plane.store) == ["1.0", "pr-1", "pr-3", "pr-4", "pr-9"]
    assert len(names(plane.store, "apps/app")) == 6
    with plane.store.read() as session:
        row = repositories.require(session, "ci/app")
        [ended] = tags.history(session, id_of(row), "pr-0", limit=9)
        told = events.latest(session, "tag-deleted", subject="registry/ci/app")
    assert ended.ended_by == "eva"
    assert last_report(plane) == done.brief()
    assert (told[0].data["by"], told[0].data["reason"]) == ("eva", "old\nbranches")
    assert told[0].message.endswith(": old branches")


async def test_what_runs_keeps_its_tag_whatever_its_age(plane: World) -> None:
    fill(plane.store)
    pinned = f"ci/app@{image('layer0').digest}"
    handle = await plane.start("ContainerTask", task("sleep", image="ci/app:pr-0"), "task/1")
    await plane.until(lambda: plane.host.running)
    with plane.store.read() as session:
        job = jobs.find(session, "task/1")
        assert job is not None
        assert job.image == pinned
    request = RegistryRetentionRequest(apply=True)
    run = await plane.start("RegistryRetention", request, "registry-retention/2")
    done = RetentionReport.model_validate(await run.result())
    assert (done.goes, done.ended, done.kept["in use"]) == (2, 2, 1)
    assert names(plane.store) == ["1.0", "pr-0", "pr-3", "pr-4"]
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_report_that_nobody_applies_ends_without_a_change(plane: World) -> None:
    fill(plane.store)
    request = RegistryRetentionRequest(wait_hours=0.0001)
    run = await plane.start("RegistryRetention", request, "registry-retention/3")
    done = RetentionReport.model_validate(await run.result())
    assert (done.phase, done.goes, done.ended) == (RetentionPhase.OVER, 3, 0)
    assert len(names(plane.store)) == 6
    with pytest.raises((WorkflowUpdateFailedError, RPCError), match="completed"):
        await run.execute_update("apply", ApplyRequest())


async def test_only_the_repositories_asked_for_are_looked_at(plane: World) -> None:
    fill(plane.store)
    fill(plane.store, "ci/other")
    request = RegistryRetentionRequest(apply=True, repositories=["ci/o*"])
    run = await plane.start("RegistryRetention", request, "registry-retention/4")
    done = RetentionReport.model_validate(await run.result())
    assert (done.repositories, done.ended) == (1, 3)
    assert len(names(plane.store)) == 6


async def delete(plane: World, **more: Any) -> Any:
    request = DeletionRequest(repository="ci/app", by="ana", reason="moved away", **more)
    return await plane.start("RepositoryDeletion", request, "registry-delete/ci/app")


@pytest.fixture
async def links(plane: World, tmp_path: Path) -> AsyncIterator[Path]:
    """The folder where Distribution keeps the links of repositories, with a worker beside it."""
    storage = RegistryStorage(FolderTree(tmp_path / "storage"))
    storage.link_layer("ci/app", blob("a"))
    storage.link_layer("ci/app/below", blob("a"))
    worker = WorkerRole("storage", activities=[RepositoryLinks(storage).unlink_repository])
    async with make_worker(plane.client, worker):
        yield tmp_path / "storage" / REPOSITORIES


async def test_a_repository_is_deleted_with_its_links_and_none_below_it(
    plane: World, links: Path
) -> None:
    fill(plane.store)
    handle = await delete(plane)
    done = DeletionResult.model_validate(await handle.result())
    assert [path.name for path in (links / "ci/app").iterdir()] == ["below"]
    assert done.finished
    assert (done.removed.tags, done.removed.manifests, done.removed.blobs) == (6, 6, 7)
    with plane.store.read() as session:
        assert deletion.find_any(session, "ci/app") is None
        told = events.after(session, 0, subject="registry/ci/app", limit=1000)
    assert told[-1].kind == "repository-deleted"
    wanted = {"repository-deleting", "tag-deleted", "manifest-deleted", "repository-deleted"}
    reasons = {(row.kind, row.data.get("reason")) for row in told if row.kind in wanted}
    assert reasons == {(kind, "moved away") for kind in wanted}


@pytest.mark.usefixtures("links")
async def test_a_repository_that_something_needs_stays(plane: World) -> None:
    fill(plane.store)
    running = await plane.start("ContainerTask", task("sleep", image="ci/app:pr-0"), "task/1")
    await plane.until(lambda: plane.host.running)
    handle = await delete(plane)
    await plane.until_status(handle, WorkflowExecutionStatus.FAILED)
    assert len(names(plane.store)) == 6
    forced = await delete(plane, force=True)
    assert DeletionResult.model_validate(await forced.result()).finished
    await running.cancel()
    await plane.until_status(running, WorkflowExecutionStatus.CANCELED)


async def test_a_cancel_stops_between_batches_and_what_is_left_is_used_again(
    plane: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.registry_repositories.BUDGET_SECONDS", 0.001)
    monkeypatch.setattr("activities.registry_repositories.TAGS", 1)
    fill(plane.store, count=60)
    handle = await delete(plane)

    async def some_gone() -> bool:
        status = DeletionResult.model_validate(await handle.query("status"))
        return status.removed.tags > 2

    await plane.until(some_gone)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    status = DeletionResult.model_validate(await handle.query("status"))
    left = names(plane.store)
    assert 0 < status.removed.tags < 61
    assert len(left) == 61 - status.removed.tags
    with plane.store.read() as session:
        told = events.after(session, 0, subject="registry/ci/app", limit=1000)[-1]
    assert told.kind == "repository-deletion-stopped"
    assert f"{status.removed.tags} tags" in told.message
    push(plane.store, "ci/app", A, tags=["again"], now=datetime.now(UTC))


@pytest.mark.usefixtures("links")
async def test_a_worker_that_dies_after_each_step_loses_nothing_but_counts(
    plane: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(plane.store)
    real, died = RepositoryActivities._batches, list[int]()

    def dies_first(self: RepositoryActivities, *work: Any) -> int:
        count = real(self, *work)
        if count:
            died.append(count)
            raise ServiceUnavailable("the worker died before it could answer")
        return count

    monkeypatch.setattr(RepositoryActivities, "_batches", dies_first)
    handle = await delete(plane)
    assert DeletionResult.model_validate(await handle.result()).finished
    assert died == [6, 6, 7]
    with plane.store.read() as session:
        assert deletion.find_any(session, "ci/app") is None
