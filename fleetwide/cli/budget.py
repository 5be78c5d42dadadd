"""``set-budget`` of tasks and batch jobs: another disruption budget for what runs."""

from pathlib import Path
from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.baseos_options import By, Why, person
from fleetwide.cli.context import File, client
from fleetwide.cli.specs import parse, read_spec
from fleetwide.errors import InvalidInput
from fleetwide.models.disruptions import DisruptionBudget, DisruptionBudgetChange

Default = Annotated[bool, typer.Option("--default", help="That of its kind again, and no file.")]


def task_budget(
    task_id: Annotated[str, typer.Argument(help="The task's id.")],
    *,
    reason: Why,
    file: File = None,
    default: Default = False,
    by: By = None,
) -> None:
    """Give a running task another disruption budget."""
    wanted = _change(file, reason, by, default=default)
    with client() as api:
        api.disruptions.change_of_task(task_id, wanted)
    output.note(f"task {task_id} has another budget: fleetwide task why-not-moved {task_id}")


def job_budget(
    job_id: Annotated[str, typer.Argument(help="The job's id.")],
    *,
    reason: Why,
    file: File = None,
    default: Default = False,
    by: By = None,
) -> None:
    """Give a running batch job another disruption budget."""
    wanted = _change(file, reason, by, default=default)
    with client() as api:
        api.disruptions.change_of_job(job_id, wanted)
    output.note(f"batch job {job_id} has another budget: fleetwide relocation list")


def _change(
    file: Path | None, reason: str, by: str | None, *, default: bool
) -> DisruptionBudgetChange:
    if default == (file is not None):
        raise InvalidInput("give either a file with the budget or --default", hint="-f budget.yaml")
    budget = None if default else parse(DisruptionBudget, read_spec(file))
    return DisruptionBudgetChange(disruption_budget=budget, by=person(by), reason=reason)
