"""Metrics of services, and what automatic scaling makes of them."""

from fleetwide.client.transport import Transport, segment
from fleetwide.models.documents import Page
from fleetwide.models.metrics import MetricBatch, MetricDocument, MetricsTaken
from fleetwide.models.scaling import ScalingStatus


class MetricClient:
    """Figures that services are scaled by."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def push(self, batch: MetricBatch) -> MetricsTaken:
        """Tell figures; sent again, nothing counts twice."""
        return self._transport.post("/v1/metrics", MetricsTaken, body=batch)

    def list(
        self, service: str, *, name: str | None = None, task: str | None = None, limit: int = 100
    ) -> Page[MetricDocument]:
        """The newest samples of a service, the newest first."""
        query = {"service": service, "name": name, "task": task, "limit": limit}
        return self._transport.get("/v1/metrics", Page[MetricDocument], query)

    def scaling(self, service: str) -> ScalingStatus:
        """What was decided last for a service, and why nothing is done now."""
        return self._transport.get(f"/v1/services/{segment(service)}/scaling", ScalingStatus)
