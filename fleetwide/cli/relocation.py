"""``fleetwide relocation`` and ``why-not-moved``: what is to be moved, and what keeps it."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Cursor, Limit, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, View
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.relocation_documents import DisruptionDocument, RelocationDocument

app = noun("Relocation plans: what is to leave its host, and what keeps it there.")


def _what(item: RelocationDocument) -> str:
    child = f"[{item.index}]" if item.workflow_id.startswith("batch/") else ""
    return f"{item.workflow_id}{child}"


def _stays(item: RelocationDocument) -> str:
    if item.let_go_at is not None:
        return "it is leaving"
    return item.refusal.sentence if item.refusal else "nothing"


RELOCATIONS = View[RelocationDocument](
    columns=(
        Column("WHAT", _what),
        Column("HOST", lambda item: item.host_id),
        Column("CAUSE", lambda item: item.cause),
        Column("BY", lambda item: item.by or None),
        Column("SINCE", lambda item: item.since),
        Column("NOT BEFORE", lambda item: item.not_before),
        Column("WHAT KEEPS IT", _stays),
        Column("REASON", lambda item: item.reason or None, wide=True),
        Column("ATTEMPT", lambda item: item.attempt, wide=True),
    ),
    name=_what,
)


@app.callback()
def relocation() -> None:
    """Relocation plans: what is to leave its host, and what keeps it there."""


@app.command("list")
def list_relocations(
    host: Annotated[str | None, typer.Option(help="Only on this host.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Only of this job: service/NAME, task/ID or batch/ID.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List running tasks that are to be moved, newest first."""
    with client() as api:
        found = api.disruptions.relocations(host=host, budget=budget, cursor=cursor, limit=limit)
        output.listing(found, RELOCATIONS, style)


def task_why(
    task_id: Annotated[str, typer.Argument(help="The task's id.")], style: Output = Format.TABLE
) -> None:
    """Tell why a running task was not moved, and what of its disruption budget is left."""
    with client() as api:
        _show(api.disruptions.of_task(task_id), style)


def child_why(
    job_id: Annotated[str, typer.Argument(help="The job's id.")],
    index: Annotated[int, typer.Argument(min=0, help="The child's index.")],
    style: Output = Format.TABLE,
) -> None:
    """Tell why a running child was not moved, and what of the job's disruption budget is left."""
    with client() as api:
        _show(api.disruptions.of_child(job_id, index), style)


def _show(found: DisruptionDocument, style: Format) -> None:
    refusal, plan = found.refusal, found.plan
    rows = (
        ("task", found.workflow_id),
        ("why", found.sentence),
        ("code", refusal.code if refusal else None),
        ("not before", refusal.until if refusal else None),
        ("wanted away since", plan.since if plan else None),
        ("budget of", found.budget_key),
        ("policy", policy_text(found.budget) + (", the default" if found.default else "")),
        ("healthy", f"{found.healthy} of {found.desired}, at least {found.min_healthy}"),
        ("may go now", found.quota),
        ("rate", None if found.rate_allowed is None else _rate(found)),
        ("window opens", found.window_opens_at),
        ("moved before", found.relocations or None),
    )
    output.record(found, Card(found.workflow_id, rows), style)


def _rate(found: DisruptionDocument) -> str:
    return f"{found.rate_used} of {found.rate_allowed} used"


def policy_text(budget: DisruptionBudget) -> str:
    """The policy in one line, as its spec names it."""
    [(name, values)] = budget.policy.model_dump(exclude_none=True).items()
    return f"{name} " + " ".join(f"{key}={value:g}" for key, value in values.items())
