"""``CapacityRequest`` on a real Temporal server and SQL: decided once, applied once, given back."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError

from activities.capacity_requests import CapacityRequestActivities
from fleetwide.models.capacity_requests import CapacityRequestSpec, CapacityStep
from fleetwide.store import queue_changes
from tests.workflow.capacity_worlds import DECISION, asked, has, put, row, soon
from tests.workflow.world import World, world

TYPE = "CapacityRequest"


async def test_what_is_given_for_a_while_comes_from_a_sibling_and_goes_back_to_it(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, skipping=True) as plane:
        await _lent_and_given_back(plane)


async def _lent_and_given_back(plane: World) -> None:
    put(plane, top={"guarantee": {"cpu": 4}})
    put(plane, top__a={"guarantee": {"cpu": 4}}, top__b={})
    spec = asked("top/b", from_queue="top/a", until=soon(3600))
    handle = await plane.start(TYPE, spec, "capacity-request/r1")
    with pytest.raises(WorkflowUpdateFailedError) as own:
        await handle.execute_update("approve", {"by": "Ana ", "reason": "mine"})
    assert "somebody else has to decide" in str(own.value.cause)
    await plane.until(lambda: row(plane, "r1") == ("Pending", "WaitingForApproval"))
    status = await handle.execute_update("approve", DECISION)
    assert (status["state"], has(plane, "top/a"), has(plane, "top/b")) == ("Applied", 2, 2)
    with pytest.raises(WorkflowUpdateFailedError) as twice:
        await handle.execute_update("approve", DECISION)
    assert "is Applied already" in str(twice.value.cause)
    # What somebody changes meanwhile stays: only what was given goes back.
    put(plane, top__a={"guarantee": {"cpu": 1}})
    assert (await handle.result())["state"] == "Expired"
    assert (has(plane, "top/a"), has(plane, "top/b")) == (3, 0)
    assert row(plane, "r1") == ("Expired", None)


async def test_what_the_queues_refuse_stays_to_be_decided(plane: World) -> None:
    put(plane, full={"guarantee": {"cpu": 1}}, full__a={})
    handle = await plane.start(TYPE, asked("full/a"), "capacity-request/r2")
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("approve", DECISION)
    assert "guaranteed 2 CPU together, above the 1 CPU of full" in str(refused.value.cause)
    assert row(plane, "r2") == ("Pending", "DoesNotFit")
    put(plane, full={"guarantee": {"cpu": 2}})
    await handle.execute_update("approve", DECISION)
    assert (await handle.result())["state"] == "Applied"
    assert has(plane, "full/a") == 2


async def test_it_is_not_given_back_while_others_were_given_of_it(plane: World) -> None:
    put(plane, used={"guarantee": {"cpu": 0}}, used__a={})
    handle = await plane.start(TYPE, asked("used", until=soon(3600)), "capacity-request/r3")
    await handle.execute_update("approve", DECISION)
    put(plane, used__a={"guarantee": {"cpu": 1}})
    await handle.cancel()
    await plane.until(lambda: row(plane, "r3") == ("Applied", "NotGivenBack"))
    assert has(plane, "used") == 2
    await handle.terminate()


async def test_cancel_gives_back_and_nobody_decides_after_the_time_is_over(plane: World) -> None:
    put(plane, ml={"guarantee": {"cpu": 1}})
    lent = await plane.start(TYPE, asked(until=soon(3600)), "capacity-request/r4")
    late = await plane.start(TYPE, asked(until=soon(0)), "capacity-request/r5")
    await lent.execute_update("approve", DECISION)
    assert has(plane, "ml") == 3
    await lent.cancel()
    await plane.until_status(lent, WorkflowExecutionStatus.CANCELED)
    assert has(plane, "ml") == 1
    assert row(plane, "r4") == ("Withdrawn", None)
    assert (await late.result())["state"] == "Expired"
    assert has(plane, "ml") == 1


async def test_a_worker_killed_behind_the_change_changes_nothing_twice(plane: World) -> None:
    """Each activity may have happened when its worker is killed: it runs again."""
    put(plane, ml={"guarantee": {"cpu": 1}})
    activities = CapacityRequestActivities(plane.store)
    spec = CapacityRequestSpec.model_validate(asked())
    step = CapacityStep(request_id="r6", run_id="one", spec=spec, by="olga", reason="x")
    back = step.model_copy(update={"give_back": True})
    for _ in range(2):
        assert activities.change_capacity(step).applied
        assert has(plane, "ml") == 3
    for _ in range(2):
        assert activities.change_capacity(back).applied
        assert has(plane, "ml") == 1
    # The answer to a call that was given up may come behind everything else.
    assert activities.change_capacity(step).applied
    assert has(plane, "ml") == 1
    with plane.store.read() as session:
        kinds = [each.change_set for each in queue_changes.history(session, "ml")]
    assert sum("capacity-request/r6/one" in each for each in kinds) == 2
