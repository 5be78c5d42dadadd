"""Health checks of containers: how one is asked, and what came of it."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Record, Spec, Timestamp
from fleetwide.models.launching import Words

MAX_PATH = 1000
MAX_SERVICE = 127
MAX_SECONDS = 3600
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(ge=1, le=MAX_SECONDS)]
Tries = Annotated[int, Field(ge=1, le=100)]


class HttpProbe(Spec):
    """A GET request to the container: any answer from 200 to 399 says that it is well."""

    port: Port
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=MAX_PATH)] = "/"


class TcpProbe(Spec):
    """A connection to the container: that it is taken says that it is well."""

    port: Port


class GrpcProbe(Spec):
    """A call of ``grpc.health.v1.Health/Check``, without TLS: SERVING says that it is well."""

    port: Port
    service: Annotated[str, Field(pattern=r"^[!-~]*$", max_length=MAX_SERVICE)] = ""
    """Which of the server's services is asked for; empty, the server as a whole."""


class OnUnhealthy(StrEnum):
    """What an unhealthy container leads to."""

    NOTHING = "nothing"
    KILL = "kill"
    """The attempt ends as ``unhealthy``."""


class ContainerHealth(Spec):
    """How the host finds out whether a container is well: by one of command, http, tcp or grpc."""

    command: Annotated[Words, Field(min_length=1)] | None = None
    """Run in the container; exit code 0 says that it is well."""
    http: HttpProbe | None = None
    tcp: TcpProbe | None = None
    grpc: GrpcProbe | None = None
    start_period_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS)] = 10.0
    """Failures this soon after the start do not count."""
    interval_seconds: Seconds = 10.0
    timeout_seconds: Seconds = 5.0
    failures: Tries = 3
    """In a row: then it is unhealthy."""
    successes: Tries = 1
    """In a row: then it is healthy."""
    on_unhealthy: OnUnhealthy = OnUnhealthy.NOTHING

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = ("command", "http", "tcp", "grpc")
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(ways)}, not {len(given)}")
        return self

    @property
    def needs_address(self) -> bool:
        """Whether it is asked through the container's network."""
        return self.command is None


class HealthStatus(StrEnum):
    """Whether a container is ready; beside its state, never in place of it."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class HealthReport(Record):
    """What the checks of a container tell."""

    status: HealthStatus
    since: Timestamp
    """By the host's clock."""
    heard_at: Timestamp | None = None
    """When the platform heard of it, by its own clock."""
    message: str = ""
    """What the last check that failed said."""
