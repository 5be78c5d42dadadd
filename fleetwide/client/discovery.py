"""Where services are reached."""

from collections.abc import Iterator

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.discovery import Endpoints, RegistrationDocument
from fleetwide.models.documents import Page

FOLLOW_SECONDS = 30.0


class DiscoveryClient:
    """Healthy copies of services, and how they stand at load balancers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def endpoints(self, service_id: str, *, after: str = "", wait: float = 0) -> Endpoints:
        """The healthy copies; with ``after`` and ``wait`` as soon as the version is another.

        ``wait`` is in seconds; up to 50, as an answer has to come within a minute.
        """
        query: Query = {"after": after or None, "wait": wait or None}
        return self._transport.get(
            f"/v1/services/{segment(service_id)}/endpoints", Endpoints, query
        )

    def follow(self, service_id: str) -> Iterator[Endpoints]:
        """The healthy copies now, and again whenever they change, without end."""
        found = self.endpoints(service_id)
        while True:
            yield found
            before = found.version
            while found.version == before:
                found = self.endpoints(service_id, after=before, wait=FOLLOW_SECONDS)

    def targets(self, service_id: str) -> Page[RegistrationDocument]:
        """How each copy stands at each load balancer that the service names."""
        path = f"/v1/services/{segment(service_id)}/targets"
        return self._transport.get(path, Page[RegistrationDocument])
