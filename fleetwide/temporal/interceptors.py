"""What happens around every workflow and activity, in one place.

Activities get their ids bound to their logs and their errors turned into failures; workflows get
their input counted.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from temporalio import activity, workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from fleetwide.errors import FleetwideError, InvalidInput
from fleetwide.logs import bind
from fleetwide.temporal.errors import as_application_error
from fleetwide.validation import invalid_input


class ActivityEdge(Interceptor):
    """Gives every activity bound logs and errors that Temporal understands."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _ActivityEdgeInbound(next)


class _ActivityEdgeInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        bind(
            workflow_id=info.workflow_id or "",
            run_id=info.workflow_run_id or "",
            activity=info.activity_type,
            attempt=info.attempt,
        )
        try:
            return await super().execute_activity(input)
        except FleetwideError as error:
            raise as_application_error(error) from error
        except ValidationError as error:
            raise as_application_error(invalid_input(error)) from error


class WorkflowEdge(Interceptor):
    """Refuses an input that is not exactly one argument, and shortens failures.

    Without the first the call of the run method or of an update handler raises an ordinary
    exception, which fails the workflow task and not the workflow, so that the run would hang.
    """

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002
    ) -> type[WorkflowInboundInterceptor] | None:
        return _WorkflowEdgeInbound


class _WorkflowEdgeInbound(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        _require_one_argument(workflow.info().workflow_type, input.args)
        try:
            return await super().execute_workflow(input)
        except ActivityError as error:
            # What went wrong, and not that it went wrong in an activity: one short failure.
            if isinstance(error.cause, ApplicationError):
                raise error.cause from None
            raise

    def handle_update_validator(self, input: HandleUpdateInput) -> None:  # noqa: A002
        _require_one_argument(input.update, input.args)
        super().handle_update_validator(input)


def _require_one_argument(name: str, arguments: Sequence[Any]) -> None:
    given = sum(argument is not None for argument in arguments)
    if given != 1 or len(arguments) != 1:
        raise as_application_error(
            InvalidInput.for_field(
                "input", f"{name} takes exactly one JSON object, {given} were given"
            )
        )
