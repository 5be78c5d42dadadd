"""``fleetwide queue``: the tree of queues that batch jobs stand in."""

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.context import Cursor, File, Limit, Output, client, noun, until
from fleetwide.cli.output import Format
from fleetwide.cli.queue_lines import HISTORY, QUEUES, TREE, show_plan, show_queue
from fleetwide.cli.specs import merge, pairs, parse, read_spec
from fleetwide.errors import Conflict, NotFound
from fleetwide.models.queues import (
    Hold,
    QueueChange,
    QueueChangeSet,
    QueueDocument,
    QueueLeaving,
    QueueOrdering,
    Unplaceable,
)

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Queues of batch: who may count on what, and use it.")

NONE = "none"
Path = Annotated[str, typer.Argument(metavar="QUEUE", help="For example ml/training.")]
Below = Annotated[
    str | None, typer.Argument(metavar="[QUEUE]", help="Only this one and those below it.")
]
Revision = Annotated[
    int | None, typer.Option(min=0, help="Only if it has this revision; 0: if it is not there.")
]
Amounts = list[str] | None
Changes = Annotated[
    FilePath, typer.Option("--file", "-f", help="Changes as YAML or JSON; - reads stdin.")
]


@app.command("list")
def list_queues(below: Below = None, style: Output = Format.TABLE) -> None:
    """List the queues: what each may count on, and what it uses."""
    with client() as api:
        output.listing(api.queues.list(below=below), QUEUES, style)


@app.command()
def tree(below: Below = None, style: Output = Format.TABLE) -> None:
    """Show the queues as a tree."""
    with client() as api:
        output.listing(api.queues.list(below=below), TREE, style)


@app.command()
def show(path: Path, style: Output = Format.TABLE) -> None:
    """Show one queue, what it and all below it use, and what it counts on."""
    with client() as api:
        show_queue(api.queues.get(path), style)


@app.command("set")
def set_queue(  # noqa: PLR0913 - one parameter per option of the command line
    path: Path,
    *,
    file: File = None,
    guarantee: Annotated[
        Amounts,
        typer.Option(
            help="For example cpu=40 or memory=64GiB; repeatable; cpu=none takes it away."
        ),
    ] = None,
    limit: Annotated[Amounts, typer.Option(help="Never more; as --guarantee.")] = None,
    weight: Annotated[float | None, typer.Option(help="Its part of what is left.")] = None,
    lendable: Annotated[float | None, typer.Option(help="Of its idle guarantee, 0 to 1.")] = None,
    max_running: Annotated[int | None, typer.Option(help="Children at the same time.")] = None,
    priority_class: Annotated[
        Amounts, typer.Option(help="NAME=NUMBER; repeatable; NAME=none takes it away.")
    ] = None,
    owner: Annotated[
        Amounts, typer.Option(help="Who may change it; repeatable; all of them.")
    ] = None,
    submitter: Annotated[
        Amounts, typer.Option(help="Who may submit; repeatable; all of them.")
    ] = None,
    pending_ttl: Annotated[
        float | None, typer.Option(help="Seconds that a job may wait for its start.")
    ] = None,
    ordering: Annotated[
        QueueOrdering | None, typer.Option(help="Behind a job that does not fit.")
    ] = None,
    fence: Annotated[
        bool | None, typer.Option("--fence/--no-fence", help="It preempts only what is below it.")
    ] = None,
    min_protected: Annotated[
        float | None, typer.Option(help="Seconds that a child runs before it is preempted.")
    ] = None,
    unplaceable: Annotated[
        Unplaceable | None, typer.Option(help="A job that no host could hold.")
    ] = None,
    reason: Why,
    by: By = None,
    revision: Revision = None,
    style: Output = Format.TABLE,
) -> None:
    """Make a queue, or change it: what is not given stays, with a file all is as it says."""
    flags: dict[str, Any] = {
        "guarantee": pairs(guarantee, "--guarantee"),
        "limit": pairs(limit, "--limit"),
        "priority_classes": pairs(priority_class, "--priority-class"),
        "weight": weight,
        "lendable": lendable,
        "max_running": max_running,
        "owners": owner,
        "submitters": submitter,
        "pending_ttl_seconds": pending_ttl,
        "ordering": ordering,
        "fence": fence,
        "min_protected_seconds": min_protected,
        "unplaceable": unplaceable,
    }
    told = {"by": person(by), "reason": reason, "revision": revision}
    with client() as api:
        show_queue(_put(api, path, file, flags, told), style)


def _put(
    api: "Client", path: str, file: File, flags: dict[str, Any], told: dict[str, Any]
) -> QueueDocument:
    """Change the queue to what is given over what it is."""
    before, seen = _now(api, path)
    content = merge(before if file is None else read_spec(file), flags)
    for named in ("guarantee", "limit", "priority_classes"):
        content[named] = {
            each: value for each, value in (content.get(named) or {}).items() if value != NONE
        }
    if told["revision"] is None:
        told = {**told, "revision": seen}
    return api.queues.put(path, parse(QueueChange, {**content, **told}))


@app.command()
def plan(file: Changes, *, by: By = None, style: Output = Format.TABLE) -> None:
    """Tell what a set of changes would do; nothing is written. It fails if they are refused."""
    with client() as api:
        told = api.queues.plan(_changes(file, by))
        show_plan(told, style)
    if not told.valid:
        raise Conflict(f"the changes would be refused: {'; '.join(told.faults[:3])}")


@app.command()
def apply(file: Changes, *, by: By = None, style: Output = Format.TABLE) -> None:
    """Change several queues together, or none."""
    with client() as api:
        output.listing(api.queues.change(_changes(file, by)), QUEUES, style)


@app.command()
def hold(
    path: Path,
    *,
    drain: Annotated[bool, typer.Option("--drain", help="Take no jobs either.")] = False,
    reason: Why,
    by: By = None,
    style: Output = Format.TABLE,
) -> None:
    """Start nothing more of a queue and of all below it."""
    _hold(path, Hold.DRAIN if drain else Hold.HOLD, person(by), reason, style)


@app.command()
def release(path: Path, *, reason: Why, by: By = None, style: Output = Format.TABLE) -> None:
    """Let a queue that is on hold go on."""
    _hold(path, Hold.OPEN, person(by), reason, style)


@app.command()
def history(
    path: Path, limit: Limit = 50, cursor: Cursor = None, style: Output = Format.TABLE
) -> None:
    """Tell who changed a queue, when and why; newest first."""
    with client() as api:
        output.listing(api.queues.history(path, cursor=cursor, limit=limit), HISTORY, style)


@app.command()
def delete(
    path: Path,
    *,
    move_to: Annotated[str | None, typer.Option(help="Where its open jobs go.")] = None,
    cancel_jobs: Annotated[
        bool, typer.Option("--cancel-jobs", help="Cancel its jobs and wait for their end.")
    ] = False,
    reason: Why,
    by: By = None,
    revision: Revision = None,
) -> None:
    """Remove a queue: one without work, or what becomes of its jobs is said."""
    who = person(by)
    with client() as api, output.step(f"remove {path}") as step:
        first = revision

        def ask() -> QueueLeaving | None:
            nonlocal first
            asked, first = first, None  # the drain of the first request raised it
            return api.queues.delete(
                path,
                by=who,
                reason=reason,
                revision=asked,
                move_to=move_to,
                cancel_jobs=cancel_jobs,
            )

        until(ask, lambda left: left is None, lambda left: f"{left.jobs if left else 0} jobs", step)
    output.note(f"deleted {path}")


def _changes(file: FilePath, by: str | None) -> QueueChangeSet:
    content = read_spec(file)
    return parse(QueueChangeSet, {**content, "by": by or content.get("by") or person(None)})


def _hold(path: str, wanted: Hold, by: str, reason: str, style: Format) -> None:
    with client() as api:
        found = api.queues.get(path)
        spec = {**dict(found.spec), "hold": wanted}
        told = {"by": by, "reason": reason, "revision": found.revision}
        change = QueueChange.model_validate({**spec, **told})
        show_queue(api.queues.put(path, change), style)


def _now(api: "Client", path: str) -> tuple[dict[str, Any], int]:
    """The queue as it is, and its revision; nothing and 0 when it is not there."""
    try:
        found = api.queues.get(path)
    except NotFound:
        return {}, 0
    return found.spec.model_dump(mode="json", exclude_none=True), found.revision
