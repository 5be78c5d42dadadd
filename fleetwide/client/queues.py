"""Queues of batch, and requests for their capacity."""

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.capacity_requests import (
    CapacityDecision,
    CapacityRequestDocument,
    CapacityRequestSpec,
    RequestState,
)
from fleetwide.models.documents import Operation, Page
from fleetwide.models.queues import (
    QueueChange,
    QueueChangeSet,
    QueueDocument,
    QueueHistoryItem,
    QueueLeaving,
    QueuePlan,
)

ROOT = "/v1/queues"
REQUESTS = "/v1/capacity-requests"


class QueueClient:
    """The tree of queues."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, below: str | None = None) -> Page[QueueDocument]:
        """The tree, each queue before those below it."""
        return self._transport.get(ROOT, Page[QueueDocument], {"below": below})

    def get(self, path: str) -> QueueDocument:
        """One queue, with what it uses now."""
        return self._transport.get(_page(path), QueueDocument)

    def put(self, path: str, change: QueueChange) -> QueueDocument:
        """Make a queue, or change all of it."""
        return self._transport.put(_page(path), QueueDocument, body=change)

    def change(self, wanted: QueueChangeSet) -> Page[QueueDocument]:
        """Change several queues together, or none."""
        return self._transport.post(f"{ROOT}/changes", Page[QueueDocument], body=wanted)

    def plan(self, wanted: QueueChangeSet) -> QueuePlan:
        """What these changes would do now."""
        return self._transport.post(f"{ROOT}/plan", QueuePlan, body=wanted)

    def history(
        self, path: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[QueueHistoryItem]:
        """Who changed a queue, when and why; newest first."""
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(f"{_page(path)}/history", Page[QueueHistoryItem], query)

    def delete(
        self,
        path: str,
        *,
        by: str,
        reason: str,
        revision: int | None = None,
        move_to: str | None = None,
        cancel_jobs: bool = False,
    ) -> QueueLeaving | None:
        """Remove a queue; what still ends with ``cancel_jobs`` before asking again removes it."""
        query: Query = {
            "by": by,
            "reason": reason,
            "revision": revision,
            "move_to": move_to,
            "cancel_jobs": cancel_jobs,
        }
        return self._transport.delete_or_wait(_page(path), QueueLeaving, query)


class CapacityRequestClient:
    """Requests for capacity of queues."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ask(self, spec: CapacityRequestSpec, *, idempotency_key: str | None = None) -> Operation:
        """Ask for more of a queue."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._transport.post(REQUESTS, Operation, body=spec, headers=headers)

    def list(
        self,
        *,
        state: RequestState | None = None,
        queue: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[CapacityRequestDocument]:
        """Requests, newest first."""
        query: Query = {"state": state, "queue": queue, "cursor": cursor, "limit": limit}
        return self._transport.get(REQUESTS, Page[CapacityRequestDocument], query)

    def get(self, request_id: str) -> CapacityRequestDocument:
        """One request."""
        return self._transport.get(f"{REQUESTS}/{segment(request_id)}", CapacityRequestDocument)

    def approve(self, request_id: str, decision: CapacityDecision) -> CapacityRequestDocument:
        """Give the queue what is asked for."""
        return self._decide(request_id, "approve", decision)

    def reject(self, request_id: str, decision: CapacityDecision) -> CapacityRequestDocument:
        """Let it be."""
        return self._decide(request_id, "reject", decision)

    def withdraw(self, request_id: str, decision: CapacityDecision) -> CapacityRequestDocument:
        """Ask for it no more, or give back what was lent."""
        return self._decide(request_id, "withdraw", decision)

    def _decide(
        self, request_id: str, what: str, decision: CapacityDecision
    ) -> CapacityRequestDocument:
        page = f"{REQUESTS}/{segment(request_id)}/{what}"
        return self._transport.post(page, CapacityRequestDocument, body=decision)


def _page(path: str) -> str:
    return "/".join([ROOT, *map(segment, path.split("/"))])
