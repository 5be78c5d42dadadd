"""Requests for capacity on a control plane: asked for, decided, and what queues have then."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fleetwide.models.queues import QueueChangeSet
from fleetwide.store import capacity_requests, queue_changes, queues
from fleetwide.store.queue_changes import Deed
from fleetwide.store.queue_tables import CapacityRequestRow
from tests.workflow.world import World

DECISION = {"by": "olga", "reason": "there is room"}


def asked(queue: str = "ml", cpu: float = 2, **more: Any) -> dict[str, Any]:
    return {"queue": queue, "guarantee": {"cpu": cpu}, "by": "ana", "reason": "a launch", **more}


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def put(plane: World, **specs: Any) -> None:
    """Let queues be so; ``__`` stands for the separator in their names."""
    edits = [{"path": path.replace("__", "/"), "spec": spec} for path, spec in specs.items()]
    wanted = QueueChangeSet.model_validate({"changes": edits, "reason": "a test"})
    now = datetime.now(UTC)
    with plane.store.write() as session:
        deed = Deed(f"test {now}", by="olga", reason="a test")
        queue_changes.apply(session, wanted, deed, now=now)


def has(plane: World, path: str) -> float:
    """The CPUs that a queue is guaranteed."""
    with plane.store.read() as session:
        return queues.specs(session)[path].guarantee.cpu or 0


def row(plane: World, request_id: str) -> tuple[str, str | None] | None:
    """The state in SQL, and the code of the wait; None while nobody has written it."""
    with plane.store.read() as session:
        found = session.get(CapacityRequestRow, request_id)
        if found is None:
            return None
        waiting = capacity_requests.status_of(found).waiting
        return found.state, None if waiting is None else waiting.code
