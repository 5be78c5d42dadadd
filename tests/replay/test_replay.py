"""Golden histories replayed: today's workflows issue the commands that are on record."""

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from fleetwide.temporal.converter import data_converter
from fleetwide.temporal.interceptors import ActivityEdge, WorkflowEdge
from fleetwide.temporal.worker import sandbox
from tests.replay.record import HISTORIES, SHAPES
from workers.registry import WORKFLOWS

GOLDEN = sorted(HISTORIES.glob("*.json"))


def history_of(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


def type_of(path: Path) -> str:
    first = json.loads(path.read_text())["events"][0]
    name: str = first["workflowExecutionStartedEventAttributes"]["workflowType"]["name"]
    return name


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
async def test_a_golden_history_replays(path: Path) -> None:
    replayer = Replayer(
        workflows=list(WORKFLOWS),
        workflow_runner=sandbox(),
        data_converter=data_converter,
        interceptors=[ActivityEdge(), WorkflowEdge()],
    )
    await replayer.replay_workflow(history_of(path))


def test_every_shape_is_on_record() -> None:
    assert {path.stem for path in GOLDEN} >= {shape.__name__ for shape in SHAPES}


def test_every_workflow_type_has_a_golden_history() -> None:
    from temporalio.workflow._definition import _Definition

    names = {_Definition.must_from_class(cls).name for cls in WORKFLOWS} - {None}
    assert {type_of(path) for path in GOLDEN} >= names


async def test_a_history_that_was_changed_does_not_replay() -> None:
    """The check can fail: the same history with another activity is refused."""
    text = (HISTORIES / "task_succeeds.json").read_text()
    changed = text.replace("containers.place", "containers.misplace")
    replayer = Replayer(
        workflows=list(WORKFLOWS), workflow_runner=sandbox(), data_converter=data_converter
    )
    with pytest.raises(Exception, match=r"(?i)nondeterminism"):
        await replayer.replay_workflow(WorkflowHistory.from_json("changed", changed))
