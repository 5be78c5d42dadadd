"""How a container task is ended by somebody."""

from pydantic import Field

from fleetwide.models.containers import KillRequest
from fleetwide.models.texts import Line


class TaskKill(KillRequest):
    """Argument of the ``kill`` update of ``ContainerTask``."""

    by: Line = Field(default="", max_length=200)
    """Kept in the history of the service that it is a copy of."""
    now: bool = False
    """A copy of a service is stopped without leaving its load balancers first."""
