"""Answers to requests that start a lifecycle: 202 with the operation, 200 with its end."""

from fastapi import Response

from api import lifecycles
from api.deps import Platform
from api.lifecycles import Start
from api.links import operation_page
from fleetwide.models.documents import Operation, OperationStatus


async def start_and_answer(
    platform: Platform, response: Response, request: Start, wait: float
) -> Operation:
    """Start, wait up to ``wait`` seconds, answer 202 while it runs and 200 when it has ended."""
    handle = await lifecycles.start(platform, request)
    await lifecycles.wait_end(handle, wait)
    return await answer(platform, response, request.workflow_id)


async def answer(platform: Platform, response: Response, workflow_id: str) -> Operation:
    """The operation, with the status code and Location that fit it."""
    operation = await lifecycles.operation(platform, workflow_id)
    response.headers["Location"] = operation_page(workflow_id)
    response.status_code = 202 if operation.status is OperationStatus.RUNNING else 200
    return operation
