"""Requests for capacity: their rows, and the queues that they change. SQL only."""

from datetime import UTC, datetime

from temporalio import activity

from fleetwide.errors import UserError
from fleetwide.models.capacity_requests import CapacityNote, CapacityOutcome, CapacityStep
from fleetwide.store import capacity_requests
from fleetwide.store.session import Store


class CapacityRequestActivities:
    """Needs the database."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="queues.note_request")
    def note_request(self, told: CapacityNote) -> None:
        """Write down how a request stands."""
        with self.store.write() as session:
            capacity_requests.note(session, told, now=datetime.now(UTC))

    @activity.defn(name="queues.change_capacity")
    def change_capacity(self, step: CapacityStep) -> CapacityOutcome:
        """Apply a request, or give it back, once; a refusal is an answer, not an error."""
        try:
            with self.store.write() as session:
                capacity_requests.change(session, step, now=datetime.now(UTC))
        except UserError as error:
            return CapacityOutcome(applied=False, refusal=error.message)
        return CapacityOutcome(applied=True)
