"""Shapes of the registry's own workflows: retention, and the end of a repository."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from activities.registry_repositories import RepositoryActivities, RepositoryLinks
from fleetwide.models.registry_policy import RetentionRule
from fleetwide.models.registry_retention import (
    ApplyRequest,
    RegistryRetentionRequest,
    RetentionPhase,
    RetentionPlan,
    RetentionReport,
    RetentionState,
)
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.registry_index import image, push, upload
from tests.workflow.world import World

RULE = RetentionRule(name="old", repositories=["ci/*"], keep_newest=1)


def _fill(plane: World, name: str) -> None:
    now = datetime.now(UTC) - timedelta(days=9)
    upload(plane.store, name, "config", "a", "b", now=now)
    for number, layer in enumerate("ab"):
        pushed = now + timedelta(hours=number)
        push(plane.store, name, image(layer), tags=[layer], now=pushed)


def _retention(**more: Any) -> RegistryRetentionRequest:
    plan = RetentionPlan(rules=[RULE], source="golden", at=datetime.now(UTC))
    state = RetentionState(plan=plan, report=RetentionReport(at=plan.at), after="")
    return RegistryRetentionRequest(so_far=state, **more)


async def registry_retention_has_no_rules(plane: World) -> Any:
    request = RegistryRetentionRequest()
    handle = await plane.start("RegistryRetention", request, "registry-retention/none")
    await handle.result()
    return handle


async def registry_retention_is_applied(plane: World) -> Any:
    _fill(plane, "ci/applied")
    handle = await plane.start("RegistryRetention", _retention(), "registry-retention/applied")

    async def waits() -> bool:
        report = RetentionReport.model_validate(await handle.query("status"))
        return report.phase is RetentionPhase.WAITING

    await plane.until(waits)
    await handle.execute_update("apply", ApplyRequest(by="ada"))
    await handle.result()
    return handle


async def registry_retention_is_not_applied(plane: World) -> Any:
    _fill(plane, "ci/left")
    request = _retention(wait_hours=0.0001)
    handle = await plane.start("RegistryRetention", request, "registry-retention/left")
    await handle.result()
    return handle


async def _delete(plane: World, name: str) -> Any:
    request = {"repository": name, "by": "ada"}
    return await plane.start("RepositoryDeletion", request, f"registry-delete/{name}")


async def repository_is_deleted(plane: World) -> Any:
    _fill(plane, "ci/deleted")
    with TemporaryDirectory() as folder:
        links = RepositoryLinks(RegistryStorage(FolderTree(Path(folder))))
        worker = WorkerRole("storage", activities=[links.unlink_repository])
        async with make_worker(plane.client, worker):
            handle = await _delete(plane, "ci/deleted")
            await handle.result()
    return handle


async def repository_is_not_there(plane: World) -> Any:
    handle = await _delete(plane, "ci/nothing")
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def repository_deletion_is_cancelled(plane: World) -> Any:
    """Cancelled while its tags go, of which there are enough."""
    _fill(plane, "ci/stopped")
    real = RepositoryActivities._batches
    RepositoryActivities._batches = lambda *_: 1  # type: ignore[method-assign]
    try:
        handle = await _delete(plane, "ci/stopped")

        async def some_gone() -> bool:
            return bool((await handle.query("status"))["removed"]["tags"] > 1)

        await plane.until(some_gone)
        await handle.cancel()
        await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    finally:
        RepositoryActivities._batches = real  # type: ignore[method-assign]
    return handle


SHAPES = (
    registry_retention_has_no_rules,
    registry_retention_is_applied,
    registry_retention_is_not_applied,
    repository_is_deleted,
    repository_is_not_there,
    repository_deletion_is_cancelled,
)
