"""``fleetwide task``: container tasks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetwide.cli import budget, output, relocation, task_errands, task_lists
from fleetwide.cli.baseos_options import By, person
from fleetwide.cli.context import (
    File,
    Output,
    Reason,
    Wait,
    client,
    going_on,
    noun,
    reason_or_default,
)
from fleetwide.cli.exits import Exit
from fleetwide.cli.output import Card, Column, Format, Section
from fleetwide.cli.problems import error_of
from fleetwide.cli.resource_flags import PORT_HELP, resource_flags
from fleetwide.cli.specs import merge, pairs, parse, read_spec
from fleetwide.cli.task_lists import GroupOption, LabelOption, PriorityOption, label_text
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.models.documents import AttemptDocument, ExtraDocument, LogEnd, TaskDocument
from fleetwide.models.health import HealthReport
from fleetwide.models.retries import Lineage, Spent
from fleetwide.models.task_states import EndReason

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Container tasks (Titus).")

TaskId = Annotated[str, typer.Argument(help="The task's id.")]

EXTRAS: tuple[Column[ExtraDocument], ...] = (
    Column("CONTAINER", lambda item: item.name),
    Column("STATE", lambda item: item.state),
    Column("HEALTH", lambda item: _health_text(item.health)),
    Column("EXIT", lambda item: item.exit_code),
    Column("MESSAGE", lambda item: item.message),
)
ATTEMPTS: tuple[Column[AttemptDocument], ...] = (
    Column("ATTEMPT", lambda item: item.attempt),
    Column("STATE", lambda item: item.state),
    Column("REASON", lambda item: item.reason),
    Column("EXIT", lambda item: item.exit_code),
    Column("HOST", lambda item: item.host_id),
    Column("STARTED", lambda item: item.started_at),
    Column("FINISHED", lambda item: item.finished_at),
    Column("FOLLOWS", lambda item: item.lineage.follows),
    Column("RETRIES", lambda item: _retries(item.lineage.spent)),
    Column("DELAY", lambda item: _delay(item.lineage)),
)


def _retries(spent: Spent) -> str:
    """By who paid for them, without those that there are none of."""
    counts = spent.model_dump(exclude={"system_in_a_row"})
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _delay(lineage: Lineage) -> str:
    return "" if lineage.follows is None else f"{lineage.delay_seconds:g} s"


def container_flags(
    image: str | None, cpu: float | None, memory: str | None, env: list[str] | None
) -> dict[str, Any]:
    """The container part of a spec from flags; what was not given stays away."""
    return {
        "image": image,
        "env": pairs(env, "--env"),
        "resources": {
            key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None
        },
    }


def app_of(content: dict[str, Any]) -> str | None:
    """The application, by the last part of the image's name when nobody says otherwise."""
    image = (content.get("container") or {}).get("image")
    if not isinstance(image, str):
        return None
    return image.partition("@")[0].partition(":")[0].rpartition("/")[2] or None


@app.command()
def run(  # noqa: PLR0913 - one parameter per option of the command line
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run instead of the image's command.")
    ] = None,
    *,
    file: File = None,
    app_name: Annotated[str | None, typer.Option("--app", help="Unset: the image's name.")] = None,
    image: Annotated[str | None, typer.Option(help="repository:tag or repository@digest.")] = None,
    cpu: Annotated[float | None, typer.Option(help="CPUs, in steps of 0.001.")] = None,
    memory: Annotated[str | None, typer.Option(help="For example 64MiB.")] = None,
    disk: Annotated[str | None, typer.Option(help="What it may write, for example 20GB.")] = None,
    network: Annotated[int | None, typer.Option(help="Mbit/s kept for it, and its limit.")] = None,
    gpus: Annotated[int | None, typer.Option(help="Whole devices.")] = None,
    port: Annotated[list[str] | None, typer.Option(help=PORT_HELP)] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    host_label: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    retries: Annotated[int | None, typer.Option(help="Further attempts after a failure.")] = None,
    user: Annotated[str | None, typer.Option(help="user[:group] that it runs as.")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="It may not write to its root.")
    ] = False,
    stop_grace: Annotated[
        int | None, typer.Option(help="Seconds from SIGTERM to SIGKILL when it is ended.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    label: LabelOption = None,
    capacity_group: GroupOption = None,
    priority: PriorityOption = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key starts no second task.")
    ] = None,
    wait: Wait = True,
    follow: Annotated[bool, typer.Option("--follow", help="Print the log as it comes.")] = False,
    style: Output = Format.TABLE,
) -> None:
    """Run one container to its end. The exit code is 1 when the task failed."""
    container = {
        **container_flags(image, cpu, memory, env),
        "command": command,
        "host_labels": pairs(host_label, "--host-label"),
        "stop_grace_seconds": stop_grace,
        "security": {"user": user, "read_only_root": read_only or None},
    }
    container["resources"] |= resource_flags(disk, network, gpus, port)
    flags = {
        "app": app_name,
        "owner": owner,
        "labels": pairs(label, "--label"),
        "capacity_group": capacity_group,
        "priority": priority,
        "container": container,
        "retry": {"retries": retries},
    }
    content = merge(read_spec(file), flags)
    content.setdefault("app", app_of(content))
    spec = parse(ContainerTaskSpec, content)
    with client() as api:
        operation = api.tasks.run(spec, idempotency_key=key)
        if follow:
            output.note(f"task {operation.id}")
            _follow(api, operation.id)
        elif wait:
            from fleetwide.cli.errands import wait_for_task  # noqa: PLC0415

            _show_end(wait_for_task(api, operation.id), style)
        else:
            show_task(api.tasks.get(operation.id), style)


@app.command()
def show(task_id: TaskId, style: Output = Format.TABLE) -> None:
    """Show a task, its attempts, why it waits, and how it ended."""
    with client() as api:
        show_task(api.tasks.get(task_id), style)


@app.command()
def logs(
    task_id: TaskId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it comes.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, max=10_000, help="Last lines only.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Unset: the newest.")] = None,
    container: Annotated[
        str | None, typer.Option(help="An extra container; unset: the main one.")
    ] = None,
) -> None:
    """Print a task's log."""
    with client() as api:
        if follow:
            _follow(api, task_id, container)
        else:
            text = api.tasks.logs(task_id, tail=tail, attempt=attempt, container=container)
            output.data(text, end="")


@app.command("kill")
@app.command()
def cancel(
    task_id: TaskId,
    *,
    reason: Reason = None,
    by: By = None,
    now: Annotated[
        bool, typer.Option("--now", help="A copy of a service leaves no load balancer first.")
    ] = False,
    style: Output = Format.TABLE,
) -> None:
    """Stop a task; a copy of a service leaves its load balancers, and another replaces it."""
    why = reason_or_default(reason)
    with client() as api:
        task = api.tasks.cancel(task_id, why, by=person(by), now=now)
    if task.service_id and task.finished_at is None:
        output.note(f"it leaves the load balancers of {task.service_id}, then it is stopped")
    show_task(task, style)


app.command("list")(task_lists.list_tasks)
app.command("events")(task_lists.events)
app.command("exec")(task_errands.exec_command)
app.command("files")(task_errands.files)
app.command("fetch")(task_errands.fetch)
app.command("stats")(task_errands.stats)
app.command("why-not-moved")(relocation.task_why)
app.command("set-budget")(budget.task_budget)


def _follow(api: "Client", task_id: str, container: str | None = None) -> None:
    end: LogEnd | None = None
    which = f" --container {container}" if container else ""
    with going_on(f"fleetwide task logs -f {task_id}{which}"):
        for item in api.tasks.follow_logs(task_id, container=container):
            if isinstance(item, LogEnd):
                end = item
            else:
                output.data(item.text, end="")
    if end is not None and end.reason != EndReason.NORMAL:
        output.failure(f"task {task_id} ended: {end.message}", f"fleetwide task show {task_id}")
        raise typer.Exit(Exit.FAILED)


def _show_end(task: TaskDocument, style: Format) -> None:
    if task.error is not None and not task.attempts:
        raise error_of(task.error)
    show_task(task, style)
    if task.reason is not EndReason.NORMAL:
        output.failure(f"task {task.id} ended: {task.message}", f"fleetwide task logs {task.id}")
        raise typer.Exit(Exit.FAILED)


def _extra_lines(last: AttemptDocument | None) -> Sequence[str]:
    if last is None or not last.extra_containers:
        return ()
    return output.table_lines(last.extra_containers, EXTRAS)


def _health_text(health: HealthReport | None) -> str | None:
    if health is None:
        return None
    return f"{health.status}: {health.message}" if health.message else health.status


def show_task(task: TaskDocument, style: Format) -> None:
    last = task.attempts[-1] if task.attempts else None
    rows = (
        ("task", task.id),
        ("app", task.app),
        ("owner", task.owner),
        ("labels", label_text(task.labels)),
        ("capacity group", f"{task.capacity_group}, priority {task.priority}"),
        ("service", task.service_id),
        ("state", task.state),
        ("waiting", task.waiting.sentence if task.waiting else None),
        ("reason", task.reason),
        ("message", task.message),
        ("exit code", task.exit_code),
        ("signal", last.signal if last else None),
        ("out of memory", "yes" if last and last.oom_killed else None),
        ("health", _health_text(last.health if last else None)),
        ("host", task.host_id),
        ("has to leave", last.leaves_at if last else None),
        ("ports", " ".join(f"{k}={v}" for k, v in last.ports.items()) if last else None),
        ("devices", " ".join(last.devices) if last else None),
        ("image", task.image),
        ("error", task.error.detail if task.error else None),
        ("created", task.created_at),
        ("finished", task.finished_at),
        ("web ui", task.links.get("ui")),
    )
    sections = (
        Section("attempts", output.table_lines(task.attempts, ATTEMPTS) if task.attempts else ()),
        Section("extra containers", _extra_lines(last)),
        Section("last lines", last.last_lines if last else ()),
    )
    output.record(task, Card(task.id, rows, sections), style)
