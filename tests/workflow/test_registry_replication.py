"""``ImageReplication`` and ``RegistryReplicationSweep``: the order of steps, retries, second looks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from fleetwide.models.registry_regions import ReplicaOutcome, SweepState
from tests.workflow.scripted_regions import BLOBS, ScriptedRegion, scripted_region
from tests.workflow.world import DIGEST, World, world

IMAGE = {"repository": "apps/hello", "digest": DIGEST, "region": "far"}


@pytest.fixture
async def region(plane: World) -> AsyncIterator[ScriptedRegion]:
    async with scripted_region(plane) as made:
        yield made


async def replicate(plane: World) -> ReplicaOutcome:
    handle = await plane.start("ImageReplication", IMAGE, "replicate/1")
    return ReplicaOutcome.model_validate(await handle.result())


async def test_tags_come_last(plane: World, region: ScriptedRegion) -> None:
    outcome = await replicate(plane)
    assert region.steps[0] == "find_missing"
    assert sorted(region.steps[1:4]) == sorted(f"blob {blob.digest}" for blob in BLOBS)
    assert region.steps[4:] == ["manifests", "tags"]
    assert (outcome.blobs, outcome.bytes_sent, outcome.manifests) == (3, 30, 2)
    assert outcome.tags == ["1.0"]


async def test_many_blobs_are_copied_page_by_page(plane: World, region: ScriptedRegion) -> None:
    region.pages = 3
    outcome = await replicate(plane)
    assert region.steps.count("find_missing") == 3
    assert outcome.blobs == 3


async def test_each_blob_has_retries_of_its_own(plane: World, region: ScriptedRegion) -> None:
    region.flaky.add(BLOBS[1].digest)
    outcome = await replicate(plane)
    assert outcome.blobs == 3
    assert sorted(region.steps[1:4]) == sorted(f"blob {blob.digest}" for blob in BLOBS)


async def test_a_failure_is_booked_and_nothing_is_tagged(
    plane: World, region: ScriptedRegion
) -> None:
    region.refuses = "the region is full"
    with pytest.raises(WorkflowFailureError):
        await replicate(plane)
    assert region.failures == ["the region is full"]
    assert "tags" not in region.steps


async def test_a_push_meanwhile_makes_it_look_again(plane: World, region: ScriptedRegion) -> None:
    handle = await plane.start("ImageReplication", IMAGE, "replicate/1")

    async def pushed() -> None:
        if "manifests" not in region.steps:
            await handle.signal("pushed_again")

    region.on_manifests = pushed
    outcome = ReplicaOutcome.model_validate(await handle.result())
    assert region.steps.count("tags") == 2
    assert outcome.blobs == 3


async def test_one_that_is_started_by_a_push_looks_once(
    plane: World, region: ScriptedRegion
) -> None:
    handle = await plane.client.start_workflow(
        "ImageReplication",
        IMAGE,
        id="replicate/1",
        task_queue="control",
        start_signal="pushed_again",
    )
    await handle.result()
    assert region.steps.count("tags") == 1


async def test_the_sweep_goes_on_from_the_event_that_it_saw_last(
    plane: World, region: ScriptedRegion
) -> None:
    handle = await plane.start("RegistryReplicationSweep", {}, "sweep")
    await plane.until(lambda: 3 in region.followed)
    assert region.followed[:4] == [None, 1, 2, 3]
    assert region.steps == ["compare ", "compare 1@~"]
    state: SweepState = await handle.query("progress", result_type=SweepState)
    assert state.cursor == 3
    assert state.compared_at is not None
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_look_through_a_very_large_index_goes_on_in_new_runs(tmp_path: Path) -> None:
    dynamic = ("limit.historyCount.suggestContinueAsNew=30",)
    async with world(tmp_path, dynamic=dynamic) as plane, scripted_region(plane) as region:
        region.index_pages = 9
        handle = await plane.start("RegistryReplicationSweep", {}, "sweep")

        async def compared() -> bool:
            state: SweepState = await sweep.query("progress", result_type=SweepState)
            return state.compared_at is not None

        sweep = plane.client.get_workflow_handle("sweep")
        await plane.until(compared)
        description = await sweep.describe()
        assert description.run_id != handle.first_execution_run_id
        pages = [step for step in region.steps if step.startswith("compare")]
        assert pages == ["compare ", *(f"compare {number}@~" for number in range(1, 9))]
        state: SweepState = await sweep.query("progress", result_type=SweepState)
        assert (state.after, state.comparing_since) == ("", None)
        await sweep.terminate()
