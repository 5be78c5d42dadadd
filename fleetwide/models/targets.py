"""Where the copies of a service are made known: upstreams of an nginx, target groups of AWS."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fleetwide.models.base import Spec
from fleetwide.models.resources import Port, PortName, Protocol

MAX_TARGETS = 30
UPSTREAM_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
TARGET_GROUP_PATTERN = (
    r"^arn:aws[a-z-]{0,20}:elasticloadbalancing:[a-z0-9-]{1,32}:[0-9]{12}"
    r":targetgroup/[A-Za-z0-9-]{1,32}/[0-9a-f]{1,32}$"
)
MAX_DRAIN_SECONDS = 3600

Upstream = Annotated[str, Field(pattern=UPSTREAM_PATTERN, examples=["shop"])]
TargetGroup = Annotated[str, Field(pattern=TARGET_GROUP_PATTERN)]


class Provider(StrEnum):
    """What sends requests to copies."""

    NGINX = "nginx"
    TARGET_GROUP = "targetGroup"


class Target(Spec):
    """A place where healthy copies are registered, and left before they are stopped."""

    port: PortName
    """A port of the container, by its name in ``resources.ports``."""
    nginx: Upstream | None = None
    """An upstream of the operator's nginx; its file is the operator's setting."""
    target_group: TargetGroup | None = None
    """ARN of a target group of AWS whose targets are IP addresses."""
    drain_seconds: Annotated[float, Field(ge=0, le=MAX_DRAIN_SECONDS)] = 10.0
    """So long a copy goes on after nginx has stopped sending it requests. AWS has a delay of its
    own for that: a copy is left once AWS says so."""

    @model_validator(mode="after")
    def _one_provider(self) -> Self:
        given = [name for name in ("nginx", "target_group") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of nginx, target_group, not {len(given)}")
        return self

    @property
    def provider(self) -> Provider:
        return Provider.NGINX if self.nginx is not None else Provider.TARGET_GROUP

    @property
    def place(self) -> str:
        """The upstream, or the ARN."""
        return str(self.nginx if self.nginx is not None else self.target_group)

    @property
    def key(self) -> str:
        """Names it within its service: ``<provider>:<place>``."""
        return f"{self.provider}:{self.place}"


def _named_once(targets: list[Target]) -> list[Target]:
    keys = [target.key for target in targets]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"two of them are {twice[0]}")
    return targets


Targets = Annotated[list[Target], Field(max_length=MAX_TARGETS), AfterValidator(_named_once)]


def check_ports(targets: Sequence[Target], ports: Mapping[str, Port]) -> None:
    """Refuse targets whose port the container does not have, or which nginx cannot speak to.

    Raises:
        ValueError: with the target and the names that exist.
    """
    for number, target in enumerate(targets):
        port = ports.get(target.port)
        if port is None:
            known = ", ".join(sorted(ports)) or "none"
            raise ValueError(
                f"targets.{number}.port: the container has no port {target.port!r} in "
                f"resources.ports; it has {known}"
            )
        if target.provider is Provider.NGINX and port.protocol is not Protocol.TCP:
            raise ValueError(f"targets.{number}.port: nginx needs tcp, not {port.protocol}")


class TargetState(StrEnum):
    """How far one copy is at one target."""

    REGISTERING = "registering"
    REGISTERED = "registered"
    DRAINING = "draining"
    DEREGISTERED = "deregistered"
