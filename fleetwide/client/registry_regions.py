"""The client's methods for copies in other regions and on hosts."""

from fleetwide.client.transport import Query, Transport
from fleetwide.models.documents import Operation, Page
from fleetwide.models.registry_preheat import PreheatSpec
from fleetwide.models.registry_regions import ReplicaDocument, ReplicaRequest

ROOT = "/v1/registry"


class RegionClient:
    """The registry elsewhere."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def replicas(
        self, reference: str, *, region: str | None = None, check: bool = False
    ) -> Page[ReplicaDocument]:
        """In which regions an image lies; with ``check`` they are asked themselves."""
        query: Query = {"reference": reference, "region": region, "check": check}
        return self._transport.get(f"{ROOT}/replicas", Page[ReplicaDocument], query)

    def replicate(self, request: ReplicaRequest, *, wait: float = 0) -> Page[Operation]:
        """Copy an image; an operation for each region."""
        return self._transport.post(f"{ROOT}/replicas", Page[Operation], wait=wait, body=request)

    def preheat(self, spec: PreheatSpec, *, wait: float = 0) -> Operation:
        """Have an image on hosts."""
        return self._transport.post(f"{ROOT}/preheats", Operation, wait=wait, body=spec)
