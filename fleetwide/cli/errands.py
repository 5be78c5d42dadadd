"""Waiting for lifecycles, and telling how they ended."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleetwide.cli import output
from fleetwide.cli.context import going_on, until
from fleetwide.cli.problems import raise_failure
from fleetwide.errors import NotFound
from fleetwide.models.batch import ChildState
from fleetwide.models.batch_states import BatchState
from fleetwide.models.documents import (
    JobDocument,
    Operation,
    OperationStatus,
    ReleaseDocument,
    TaskDocument,
)
from fleetwide.models.os_releases import BuildOutcome, OSRelease, ReleaseState
from fleetwide.models.task_states import TaskState

if TYPE_CHECKING:
    from fleetwide.client import Client

UNFINISHED = frozenset({ReleaseState.BUILDING, ReleaseState.FAILED, ReleaseState.WITHDRAWN})


def wait_for_task(client: "Client", task_id: str) -> TaskDocument:
    """Show where the task stands until it has ended."""
    with (
        going_on(f"fleetwide task show {task_id}"),
        output.step(f"task {task_id}") as step,
    ):
        return until(lambda: client.tasks.get(task_id), task_over, task_sentence, step)


def task_over(task: TaskDocument) -> bool:
    return task.state is TaskState.FINISHED


def task_sentence(task: TaskDocument) -> str:
    """Where the task stands, in one line."""
    if task_over(task):
        return f"finished, {task.message or task.reason or 'no more is known'}"
    where = f" on {task.host_id}" if task.host_id else ""
    why = f": {task.waiting.sentence}" if task.waiting else ""
    attempt = f" (attempt {len(task.attempts)})" if len(task.attempts) > 1 else ""
    return f"{task.state}{where}{attempt}{why}"


def wait_for_job(client: "Client", job_id: str) -> JobDocument:
    """Show the children's counts until the job has ended."""
    with (
        going_on(f"fleetwide batch show {job_id}"),
        output.step(f"batch job {job_id}") as step,
    ):
        return until(lambda: client.jobs.get(job_id), job_over, job_sentence, step)


def job_over(job: JobDocument) -> bool:
    return job.state != BatchState.RUNNING


def job_sentence(job: JobDocument) -> str:
    why = f": {job.waiting.sentence}" if job.waiting else ""
    return f"{job.state}, {counts_text(job.counts) or 'accepted'}{why}"


def counts_text(counts: Mapping[ChildState, int]) -> str:
    """``17 succeeded, 3 running``."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def wait_for_bake(client: "Client", operation: Operation) -> Operation:
    """Wait until the image is there or the bake has failed."""
    if _operation_over(operation):
        return operation
    with going_on(f"fleetwide bake show {operation.id}"), output.step("bake") as step:
        ended = until(
            lambda: client.operation(operation.workflow_id),
            _operation_over,
            _operation_sentence,
            step,
        )
    if ended.status is not OperationStatus.COMPLETED:
        return ended
    # As it is in the books, which is what the same request is answered with from now on.
    return client.bakery.get(str(ended.result["bake_key"]))


def _operation_over(operation: Operation) -> bool:
    return operation.status is not OperationStatus.RUNNING


def _operation_sentence(operation: Operation) -> str:
    told = f": {operation.progress}" if operation.progress else ""
    return f"{operation.summary}, {operation.status}{told}"


def wait_for_report(client: "Client", operation: Operation, title: str) -> Any:
    """The operation's result, once it has ended well; its failure is raised."""
    with going_on(operation.links.get("ui", "")), output.step(title) as step:
        ended = until(
            lambda: client.operation(operation.workflow_id),
            _operation_over,
            lambda seen: seen.progress or seen.status,
            step,
        )
    raise_failure(ended)
    return ended.result


def wait_for_release(
    client: "Client", operation: Operation
) -> tuple[ReleaseDocument | None, Operation]:
    """Wait until the release is a candidate, or the build is over without one.

    Where nothing has changed, it says so, and answers with the release that there is already.
    """
    name, _, version = operation.id.partition("/")

    def read() -> tuple[ReleaseDocument | None, Operation]:
        newest = client.operation(operation.workflow_id)
        try:
            found = client.os.get(name, version)
        except NotFound:
            return None, newest
        # A version whose build failed before is in the books until the new build claims it.
        return (found if found.run_id == newest.run_id else None), newest

    with going_on(f"fleetwide os show {name} {version}"), output.step(f"{name} {version}") as step:
        release, ended = until(read, _build_over, _build_sentence, step)
    same = _unchanged(ended)
    if same is not None:
        output.note(f"no change: nothing was built; {same.name} {same.version} is the same")
        release = client.os.get(same.name, same.version)
    return release, ended


def _unchanged(operation: Operation) -> OSRelease | None:
    """The earlier release that made the build needless."""
    if operation.status is not OperationStatus.COMPLETED:
        return None
    release = OSRelease.model_validate(operation.result)
    return release if release.outcome is BuildOutcome.NO_CHANGE else None


def _build_over(seen: tuple[ReleaseDocument | None, Operation]) -> bool:
    # A failed build is over when its workflow is, which then tells why.
    release, operation = seen
    return _operation_over(operation) or (release is not None and release.state not in UNFINISHED)


def _build_sentence(seen: tuple[ReleaseDocument | None, Operation]) -> str:
    release, operation = seen
    if _operation_over(operation) and _unchanged(operation) is None:
        return release.state if release else operation.status
    state = release.state if release else "accepted"
    return f"{state}: {operation.progress}" if operation.progress else state
