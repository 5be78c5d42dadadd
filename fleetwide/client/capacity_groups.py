"""Capacity groups."""

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.capacity_groups import CapacityGroupChange, CapacityGroupDocument
from fleetwide.models.documents import Page

ROOT = "/v1/capacity-groups"


class CapacityGroupClient:
    """Parts of the fleet that people may count on."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Page[CapacityGroupDocument]:
        """All groups, with what they use now."""
        return self._transport.get(ROOT, Page[CapacityGroupDocument])

    def get(self, name: str) -> CapacityGroupDocument:
        """One group."""
        return self._transport.get(f"{ROOT}/{segment(name)}", CapacityGroupDocument)

    def put(self, name: str, change: CapacityGroupChange) -> CapacityGroupDocument:
        """Make a group, or change all of it."""
        return self._transport.put(f"{ROOT}/{segment(name)}", CapacityGroupDocument, body=change)

    def delete(self, name: str, *, by: str, reason: str, revision: int | None = None) -> None:
        """Remove a group that nothing counts to."""
        query: Query = {"by": by, "reason": reason, "revision": revision}
        self._transport.delete(f"{ROOT}/{segment(name)}", query)
