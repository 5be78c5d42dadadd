"""Which tasks are asked for, and what their stream tells."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleetwide.client.transport import Query, Transport
from fleetwide.models.documents import StreamCursor, TaskChange, TaskDocument
from fleetwide.models.task_states import EndReason, TaskState


@dataclass(frozen=True)
class TaskQuery:
    """The filters of the API; several values of one mean any of them."""

    app: str | None = None
    owner: str | None = None
    states: Sequence[TaskState] = ()
    reasons: Sequence[EndReason] = ()
    host: str | None = None
    service: str | None = None
    """Its copies."""
    image: str | None = None
    """A digest."""
    labels: Mapping[str, str] = field(default_factory=dict)
    submitted_after: datetime | None = None
    submitted_before: datetime | None = None

    def query(self) -> Query:
        """As parameters of a request."""
        return {
            "app": self.app,
            "owner": self.owner,
            "state": [str(state) for state in self.states],
            "reason": [str(reason) for reason in self.reasons],
            "host": self.host,
            "service": self.service,
            "image": self.image,
            "label": [f"{name}={value}" for name, value in self.labels.items()],
            "submitted_after": _time(self.submitted_after),
            "submitted_before": _time(self.submitted_before),
        }


ALL_TASKS = TaskQuery()


def task_items(
    transport: Transport, query: Query, cursor: int | None
) -> Iterator[TaskDocument | StreamCursor | TaskChange]:
    """The events of the stream as models; kinds from the future are left out."""
    last_id = "" if cursor is None else str(cursor)
    for event in transport.events("/v1/tasks/events", query, last_id):
        match event.event:
            case "task":
                yield TaskDocument.model_validate_json(event.data)
            case "snapshotEnd" | "keepAlive":
                yield StreamCursor.model_validate_json(event.data)
            case "change":
                yield TaskChange.model_validate_json(event.data)


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
