"""The client's methods for the registry's upkeep by itself."""

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.documents import Operation, Page
from fleetwide.models.registry_gc import (
    GarbageOverview,
    GarbageRequest,
    GarbageStatus,
    PauseRequest,
    RateRequest,
    ReconcileRequest,
    ScrubRequest,
    UpkeepEntry,
    UpkeepKind,
    UpkeepReport,
    UpkeepSchedule,
)

ROOT = "/v1/registry"


class UpkeepClient:
    """Garbage collection, reconciliation, scrub."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def collect(self, request: GarbageRequest, *, wait: float = 0) -> Operation:
        """Start a collection; the operation's result is a ``GarbageReport``."""
        return self._transport.post(f"{ROOT}/gc", Operation, wait=wait, body=request)

    def overview(self) -> GarbageOverview:
        return self._transport.get(f"{ROOT}/gc", GarbageOverview)

    def status(self, run: str) -> GarbageStatus:
        """Where a collection stands; ``run`` is what follows ``registry-gc/`` in its id."""
        return self._transport.get(f"{ROOT}/gc/{segment(run)}", GarbageStatus)

    def pause(self, run: str, request: PauseRequest) -> GarbageStatus:
        path = f"{ROOT}/gc/{segment(run)}/pause"
        return self._transport.post(path, GarbageStatus, body=request)

    def resume(self, run: str, request: PauseRequest) -> GarbageStatus:
        path = f"{ROOT}/gc/{segment(run)}/resume"
        return self._transport.post(path, GarbageStatus, body=request)

    def set_rate(self, run: str, request: RateRequest) -> GarbageStatus:
        path = f"{ROOT}/gc/{segment(run)}/rate"
        return self._transport.post(path, GarbageStatus, body=request)

    def reconcile(self, request: ReconcileRequest, *, wait: float = 0) -> Operation:
        """Compare index and storage; the operation's result is a ``ReconcileReport``."""
        return self._transport.post(f"{ROOT}/reconcile", Operation, wait=wait, body=request)

    def scrub(self, request: ScrubRequest, *, wait: float = 0) -> Operation:
        """Read all blobs again; the operation's result is a ``ScrubReport``."""
        return self._transport.post(f"{ROOT}/scrub", Operation, wait=wait, body=request)

    def schedule(self, request: UpkeepSchedule) -> Page[UpkeepEntry]:
        """How often the registry does each of these by itself."""
        return self._transport.put(f"{ROOT}/upkeep", Page[UpkeepEntry], request)

    def reports(
        self, kind: UpkeepKind, *, cursor: str | None = None, limit: int = 50
    ) -> Page[UpkeepReport]:
        """What earlier runs told, the newest first."""
        query: Query = {"cursor": cursor, "limit": limit}
        path = f"{ROOT}/upkeep/{kind}/reports"
        return self._transport.get(path, Page[UpkeepReport], query)
