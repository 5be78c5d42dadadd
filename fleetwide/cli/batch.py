"""``fleetwide batch``: arrays of container tasks."""

import getpass
from datetime import datetime
from typing import Annotated

import typer

from fleetwide.cli import budget, output, relocation
from fleetwide.cli.context import (
    Cursor,
    File,
    Limit,
    Output,
    Reason,
    Wait,
    client,
    noun,
    reason_or_default,
)
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.cli.problems import error_of
from fleetwide.cli.specs import merge, pairs, parse, read_spec
from fleetwide.cli.task import app_of, container_flags
from fleetwide.cli.task_lists import GroupOption, LabelOption, PriorityOption, label_text
from fleetwide.models.batch import BatchJobSpec, Child, ChildState, OnFailure
from fleetwide.models.batch_control import CancelChildren, ResizeRequest
from fleetwide.models.batch_states import BatchState
from fleetwide.models.documents import JobDocument, LogChunk

app = noun("Batch jobs (Compute Managed Batch).")

JobId = Annotated[str, typer.Argument(help="The job's id.")]
After = Annotated[
    list[str] | None, typer.Option(help="Begin when this job has succeeded; repeatable.")
]
StartAfter = Annotated[datetime | None, typer.Option(help="Begin no earlier; local time.")]
Deadline = Annotated[datetime | None, typer.Option(help="What runs then is stopped; local time.")]
Accumulate = Annotated[bool, typer.Option("--accumulate", help="Stay open for more children.")]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="Stop when too many children have failed.")
]
Quorum = Annotated[int | None, typer.Option(help="So many children have to succeed; unset, all.")]

JOBS = View[JobDocument](
    columns=(
        Column("ID", lambda item: item.id),
        Column("APP", lambda item: item.app),
        Column("STATE", lambda item: item.state),
        Column("SIZE", lambda item: item.size),
        Column("SUCCEEDED", lambda item: item.counts.get(ChildState.SUCCEEDED, 0)),
        Column("FAILED", lambda item: item.counts.get(ChildState.FAILED, 0)),
        Column("ATTEMPTS", lambda item: item.attempts),
        Column("CREATED", lambda item: item.created_at),
        Column("QUEUE", lambda item: item.queue, wide=True),
        Column("FINISHED", lambda item: item.finished_at, wide=True),
        Column("IMAGE", lambda item: item.image, wide=True),
    ),
    name=lambda item: item.id,
)
CHILDREN = View[Child](
    columns=(
        Column("INDEX", lambda item: item.index),
        Column("STATE", lambda item: item.state),
        Column("ATTEMPTS", lambda item: item.attempts),
        Column("REASON", lambda item: item.reason),
        Column("EXIT", lambda item: item.exit_code),
        Column("HOST", lambda item: item.host_id),
    ),
    name=lambda item: str(item.index),
)


@app.command()
def submit(  # noqa: PLR0913 - one parameter per option of the command line
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run instead of the image's command.")
    ] = None,
    *,
    file: File = None,
    app_name: Annotated[str | None, typer.Option("--app", help="Unset: the image's name.")] = None,
    image: Annotated[str | None, typer.Option(help="repository:tag or repository@digest.")] = None,
    size: Annotated[int | None, typer.Option(help="Number of children.")] = None,
    cpu: Annotated[float | None, typer.Option(help="CPUs of each child.")] = None,
    memory: Annotated[str | None, typer.Option(help="Of each child, for example 64MiB.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    retries: Annotated[int | None, typer.Option(help="Further attempts of a child.")] = None,
    max_parallel: Annotated[int | None, typer.Option(help="Children at the same time.")] = None,
    queue: Annotated[str | None, typer.Option(help="The queue to stand in.")] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Wait for a release.")] = False,
    accumulate: Accumulate = False,
    fail_fast: FailFast = False,
    quorum: Quorum = None,
    after: After = None,
    start_after: StartAfter = None,
    deadline: Deadline = None,
    label: LabelOption = None,
    capacity_group: GroupOption = None,
    priority: PriorityOption = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key starts no second job.")
    ] = None,
    wait: Wait = True,
    style: Output = Format.TABLE,
) -> None:
    """Run an array of containers. The exit code is 1 when children failed for good."""
    flags = {
        "app": app_name,
        "size": size,
        "queue": queue,
        "hold": hold or None,
        "accumulate": accumulate or None,
        "on_failure": OnFailure.FAIL_FAST if fail_fast else None,
        "success_quorum": quorum,
        "depends_on": [{"job": job} for job in after or []],
        "start_after": start_after.astimezone() if start_after else None,
        "deadline": deadline.astimezone() if deadline else None,
        "labels": pairs(label, "--label"),
        "capacity_group": capacity_group,
        "priority": priority,
        "max_parallel": max_parallel,
        "container": {**container_flags(image, cpu, memory, env), "command": command},
        "retry": {"retries": retries},
    }
    content = merge(read_spec(file), flags)
    content.setdefault("app", app_of(content))
    spec = parse(BatchJobSpec, content)
    with client() as api:
        operation = api.jobs.submit(spec, idempotency_key=key)
        if wait:
            from fleetwide.cli.errands import wait_for_job  # noqa: PLC0415

            _show_end(wait_for_job(api, operation.id), style)
        else:
            show_job(api.jobs.get(operation.id), style)


@app.command("list")
def list_jobs(
    app_name: Annotated[str | None, typer.Option("--app", help="Only of this app.")] = None,
    label: LabelOption = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List jobs, newest first."""
    with client() as api:
        labels = pairs(label, "--label")
        page = api.jobs.list(app=app_name, labels=labels, cursor=cursor, limit=limit)
        output.listing(page, JOBS, style)


@app.command()
def show(job_id: JobId, style: Output = Format.TABLE) -> None:
    """Show a job and the counts of its children."""
    with client() as api:
        show_job(api.jobs.get(job_id), style)


@app.command()
def children(
    job_id: JobId, limit: Limit = 200, cursor: Cursor = None, style: Output = Format.TABLE
) -> None:
    """List a job's children by index."""
    with client() as api:
        output.listing(api.jobs.children(job_id, cursor=cursor, limit=limit), CHILDREN, style)


@app.command()
def logs(
    job_id: JobId,
    index: Annotated[int, typer.Argument(min=0, help="The child's index.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it comes.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, max=10_000, help="Last lines only.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Unset: the newest.")] = None,
) -> None:
    """Print a child's log."""
    with client() as api:
        if not follow:
            output.data(api.jobs.logs(job_id, index, tail=tail, attempt=attempt), end="")
            return
        for item in api.jobs.follow_logs(job_id, index):
            if isinstance(item, LogChunk):
                output.data(item.text, end="")


@app.command()
def cancel(
    job_id: JobId,
    children: Annotated[
        list[str] | None,
        typer.Option("--children", help="Only these: 7 or 20-29; repeatable."),
    ] = None,
    reason: Reason = None,
    style: Output = Format.TABLE,
) -> None:
    """Stop a job and all its children, or only some of them."""
    why = reason_or_default(reason)
    with client() as api:
        if not children:
            show_job(api.jobs.cancel(job_id, why), style)
            return
        asked = {"indexes": children, "reason": why, "by": getpass.getuser()}
        answer = api.jobs.cancel_children(job_id, parse(CancelChildren, asked))
        rows = (
            ("cancelled", answer.cancelled),
            ("stopping", answer.stopping),
            ("had ended", answer.ended_already),
        )
        output.record(answer, Card(job_id, rows), style)


@app.command()
def hold(
    job_id: JobId,
    reason: Reason = None,
    stop_running: Annotated[
        bool, typer.Option("--stop-running", help="Children that run begin again afterwards.")
    ] = False,
    style: Output = Format.TABLE,
) -> None:
    """Let a job ask for no more hosts until it is released."""
    with client() as api:
        why, by = reason_or_default(reason), getpass.getuser()
        show_job(api.jobs.hold(job_id, why, by=by, stop_running=stop_running), style)


@app.command()
def resize(
    job_id: JobId,
    size: Annotated[int, typer.Argument(min=1, help="Children in all.")],
    close: Annotated[bool, typer.Option("--close", help="The job ends when they have.")] = False,
    reason: Reason = None,
    style: Output = Format.TABLE,
) -> None:
    """Set how many children a job has that was submitted with --accumulate."""
    asked = {"size": size, "close": close, "reason": reason_or_default(reason)}
    with client() as api:
        request = parse(ResizeRequest, {**asked, "by": getpass.getuser()})
        show_job(api.jobs.resize(job_id, request), style)


@app.command()
def release(job_id: JobId, reason: Reason = None, style: Output = Format.TABLE) -> None:
    """Let a job go on after a hold."""
    with client() as api:
        by = getpass.getuser()
        show_job(api.jobs.release(job_id, reason_or_default(reason), by=by), style)


app.command("why-not-moved")(relocation.child_why)
app.command("set-budget")(budget.job_budget)


def _show_end(job: JobDocument, style: Format) -> None:
    if job.error is not None and not job.attempts:
        raise error_of(job.error)
    show_job(job, style)
    if job.state != BatchState.SUCCEEDED:
        failed = job.counts.get(ChildState.FAILED, 0)
        output.failure(
            f"batch job {job.id} {job.state}: {failed} of {job.size} children failed",
            f"fleetwide batch children {job.id}",
        )
        raise typer.Exit(Exit.FAILED)


def show_job(job: JobDocument, style: Format) -> None:
    from fleetwide.cli.errands import counts_text  # noqa: PLC0415

    rows = (
        ("job", job.id),
        ("app", job.app),
        ("owner", job.owner),
        ("queue", job.queue),
        ("labels", label_text(job.labels)),
        ("capacity group", f"{job.capacity_group}, priority {job.priority}"),
        ("state", job.state),
        ("children", f"{job.size}: {counts_text(job.counts)}" if job.counts else job.size),
        ("attempts", job.attempts),
        ("waiting", job.waiting.sentence if job.waiting else None),
        ("error", job.error.detail if job.error else None),
        ("image", job.image),
        ("created", job.created_at),
        ("finished", job.finished_at),
        ("web ui", job.links.get("ui")),
    )
    output.record(job, Card(job.id, rows), style)
