"""Every workflow with every kind of bad input: Failed at once, one short error, no hanging run."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from tests.workflow.world import World, job, task

SPECS: dict[str, dict[str, Any]] = {
    "OSImageBuild": {"name": "baseos", "suite": "bookworm"},
    "OSImagePlan": {"name": "baseos", "suite": "bookworm"},
    "OSFixesAvailable": {"name": "baseos", "pointer": "stable"},
    "OSReproduction": {"name": "baseos", "pointer": "stable"},
    "OSRetention": {"name": "baseos"},
    "Bake": {
        "name": "hello",
        "version": "1",
        "base": "baseos:stable",
        "artifacts": [{"type": "deb", "sha256": "0" * 64, "filename": "x.deb"}],
    },
    "BakeDistribution": {"bake_key": "0" * 64, "region": "eu-west-1"},
    "BakerySweep": {"dry_run": True},
    "ContainerTask": task("exit", "0"),
    "BatchJob": job("exit", "0", size=1),
    "Host": {"host_id": "h9", "cpu": 1, "memory": "1GiB"},
}
TYPES = list(SPECS)


async def failure(client: Client, type_: str, *arguments: Any) -> ApplicationError:
    handle = await client.start_workflow(
        type_, args=arguments, id=f"bad/{type_}", task_queue="control"
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.failure is not None
    assert cause.failure.stack_trace == ""
    assert len(cause.message) < 500
    return cause


@pytest.mark.parametrize("type_", TYPES)
async def test_no_kind_of_bad_input_hangs_or_is_taken(plane: World, type_: str) -> None:
    good = SPECS[type_]
    first = next(iter(good))
    missing = {key: value for key, value in good.items() if key != first}
    bad: list[tuple[str, tuple[Any, ...]]] = [
        ("input", ()),
        ("input", (None,)),
        ("input", (good, good)),
        ("input", ("a text",)),
        ("input", ([],)),
        (f"{first}", (missing,)),
        (f"{first}", ({**good, first: 3.5},)),
        (f"{first}x", ({**good, f"{first}x": "y"},)),
        ("input", (RawValue(_malformed()),)),
    ]
    for field, arguments in bad:
        error = await failure(plane.client, type_, *arguments)
        assert error.type == "InvalidInput", (field, arguments)
        assert error.message.startswith(f"{field}: "), (arguments, error.message)


def _malformed() -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=b'{"app":')


@pytest.mark.parametrize("type_", ["ContainerTask", "BatchJob"])
@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"cpu": -1}, "container.resources.cpu: must be at least 0.001 (given: -1)"),
        ({"cpu": 97}, "container.resources.cpu: must be at most 96 (given: 97)"),
        ({"cpu": 0.0001}, "container.resources.cpu: must be at least 0.001"),
        ({"memory": "1MiB"}, "container.resources.memory: must be at least 4194304"),
        ({"memory": "-5"}, "container.resources.memory: must be a number of bytes"),
        ({"memory": "2TiB"}, "container.resources.memory: must be at most 1099511627776"),
    ],
)
async def test_limits_are_told_with_their_numbers(
    plane: World, type_: str, resources: dict[str, Any], words: str
) -> None:
    spec = {**SPECS[type_]}
    spec["container"] = {**spec["container"], "resources": resources}
    error = await failure(plane.client, type_, spec)
    assert error.message.startswith(words)


async def test_a_type_that_does_not_exist_is_answered_with_those_that_do(plane: World) -> None:
    error = await failure(plane.client, "Bakee", {})
    assert error.type == "InvalidInput"
    for type_ in TYPES:
        assert type_ in error.message
