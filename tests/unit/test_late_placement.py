"""A call for hosts that comes after the job was closed: nothing is queued, nothing stays taken."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from sqlmodel import select
from temporalio.testing import ActivityEnvironment

from activities.containers import ContainerActivities
from fleetwide.models.containers import (
    AttemptRequest,
    ContainerSpec,
    FinishJob,
    JobHeader,
    JobKind,
    PlacementRequest,
    Placements,
)
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import TaskState
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, WaiterRow

HEADER = JobHeader(
    workflow_id="task/0",
    run_id="r",
    kind=JobKind.TASK,
    app="x",
    container=ContainerSpec.model_validate({"image": "apps/x:1"}),
    retry=RetryPolicy(),
)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def test_a_call_for_hosts_that_comes_after_the_end_queues_nothing(store: Store) -> None:
    activities = ContainerActivities(store, cast("Any", None))
    activities.finish(FinishJob(job=HEADER, state=TaskState.FINISHED, attempts=[], result={}))
    request = PlacementRequest(job=HEADER, attempts=[AttemptRequest(index=0)])
    assert ActivityEnvironment().run(activities.place, request) == Placements(placed=[])
    with store.read() as session:
        assert session.exec(select(AttemptRow)).all() == []
        assert session.exec(select(WaiterRow)).all() == []
