"""Errors that came as documents, as errors of this process."""

import typer

from fleetwide.cli import output
from fleetwide.cli.exits import Exit
from fleetwide.errors import FleetwideError
from fleetwide.models.documents import Operation, OperationStatus, Problem


def error_of(problem: Problem) -> FleetwideError:
    """The error that the document tells."""
    from fleetwide.client.transport import error_from  # noqa: PLC0415

    return error_from(problem)


def raise_failure(operation: Operation) -> None:
    """Raise the operation's failure, or end with exit code 1 when it was stopped."""
    if operation.error is not None:
        raise error_of(operation.error)
    if operation.status not in (OperationStatus.RUNNING, OperationStatus.COMPLETED):
        output.failure(
            f"{operation.workflow_id} ended as {operation.status}",
            f"fleetwide events {operation.workflow_id}",
        )
        raise typer.Exit(Exit.FAILED)
