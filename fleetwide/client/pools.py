"""Host pools."""

from fleetwide.client.transport import Transport, segment
from fleetwide.models.documents import Operation, Page
from fleetwide.models.pool_documents import PoolDocument
from fleetwide.models.pools import HostPoolSpec, PoolMove, PoolScale

ROOT = "/v1/pools"


class PoolClient:
    """Machines that come and go with the work."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, spec: HostPoolSpec) -> Operation:
        """Start a pool; it lives until it is deleted."""
        return self._transport.post(ROOT, Operation, body=spec)

    def list(self) -> Page[PoolDocument]:
        """All pools, without their machines."""
        return self._transport.get(ROOT, Page[PoolDocument])

    def get(self, name: str) -> PoolDocument:
        """One pool, with its machines."""
        return self._transport.get(f"{ROOT}/{segment(name)}", PoolDocument)

    def scale(self, name: str, change: PoolScale) -> PoolDocument:
        """Change how many machines there are."""
        return self._transport.post(f"{ROOT}/{segment(name)}/scale", PoolDocument, body=change)

    def refresh(self, name: str, move: PoolMove) -> PoolDocument:
        """Replace machines of older images, one after the other."""
        return self._transport.post(f"{ROOT}/{segment(name)}/refresh", PoolDocument, body=move)

    def delete(self, name: str, move: PoolMove) -> Operation:
        """Empty its hosts, end its machines and end the pool."""
        return self._transport.post(f"{ROOT}/{segment(name)}/delete", Operation, body=move)
