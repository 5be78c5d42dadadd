"""Where the copies of a service are reached, as the API tells it."""

from fleetwide.models.base import Record, Timestamp
from fleetwide.models.targets import Provider, TargetState


class Endpoint(Record):
    """One healthy copy."""

    index: int
    """Its number in the service: a replacement has that of the copy that it replaces."""
    task_id: str
    revision: int
    """The version of the service that it was started from."""
    host_id: str
    zone: str = ""
    address: str
    """IP address of its host."""
    ports: dict[str, int] = {}
    """Ports of its host by their names in ``resources.ports``."""


class Endpoints(Record):
    """All healthy copies of a service that are not about to stop; by index."""

    service_id: str
    version: str
    """Another one as soon as anything below is another; what a long poll compares with."""
    endpoints: list[Endpoint] = []


class RegistrationDocument(Record):
    """How one copy stands at one of the service's targets."""

    task_id: str
    provider: Provider
    place: str
    """The upstream, or the ARN of the target group."""
    address: str
    port: int
    state: TargetState
    since: Timestamp
    tries: int = 0
    """In a row that failed."""
    message: str = ""
    """What keeps it from its state."""
