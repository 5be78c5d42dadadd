"""Pre-heat: images on hosts before anything runs there."""

from typing import Annotated

from pydantic import Field, field_validator

from fleetwide.models.base import Digest, Name, Record, Spec
from fleetwide.models.texts import Line

MAX_HOSTS = 5000
MAX_TOLD = 500
"""Hosts that an outcome names; a message of Temporal's holds 2 MiB."""
MAX_REASON = 200


class PreheatSpec(Spec):
    """Input of ``ImagePreheat``: which image, and where."""

    reference: Annotated[Line, Field(max_length=400, examples=["apps/hello:1.0.0"])]
    hosts: Annotated[list[Name], Field(max_length=MAX_HOSTS)] = []
    """Empty means every host that takes work."""
    labels: dict[Line, Line] = {}
    """Only hosts that have all of these."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """How many of them, rounded up: a job needs some hosts and does not care which."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 2
    """Hosts that fetch from the registry at a time."""
    fan_out: Annotated[int, Field(ge=1, le=20)] = 3
    """Hosts that fetch from one warm host at a time."""

    @field_validator("hosts")
    @classmethod
    def _once(cls, hosts: list[str]) -> list[str]:
        return list(dict.fromkeys(hosts))


class PreheatPlan(Record):
    """What was asked for, with names resolved."""

    repository: str
    digest: Digest
    hosts: list[str]


class WarmHost(Record):
    """Ask a host to have an image."""

    repository: str
    digest: Digest
    peer: str | None = None
    """Base URL of a host that has it; what the peer does not give, comes from the registry."""


class WarmedHost(Record):
    """How an image came to a host; bytes are those of blobs, compressed."""

    host_id: str
    peer_url: str | None = None
    """Where other hosts may fetch from it; None where it does not serve."""
    bytes_registry: int = 0
    bytes_peers: int = 0
    faults: list[str] = []
    """What peers did wrong."""


class PreheatOutcome(Record):
    """What a pre-heat did."""

    reference: str
    hosts: int = 0
    """How many it is for."""
    done: int = 0
    """Of them those that have the image."""
    lost: int = 0
    """Of them those that could not have it."""
    waiting: int = 0
    bytes_registry: int = 0
    bytes_peers: int = 0
    warm: list[WarmedHost] = []
    """The first ``MAX_TOLD`` of ``done``."""
    failed: dict[str, str] = {}
    """By host, why: the first ``MAX_TOLD`` of ``lost``."""

    def with_warm(self, host: WarmedHost) -> "PreheatOutcome":
        """This, and one more host that has the image."""
        told = [*self.warm, host] if len(self.warm) < MAX_TOLD else self.warm
        return self.model_copy(
            update={
                "done": self.done + 1,
                "bytes_registry": self.bytes_registry + host.bytes_registry,
                "bytes_peers": self.bytes_peers + host.bytes_peers,
                "warm": told,
            }
        )

    def with_failed(self, host: str, why: str) -> "PreheatOutcome":
        """This, and one more host that could not have the image."""
        told = {**self.failed, host: why[:MAX_REASON]}
        return self.model_copy(
            update={
                "lost": self.lost + 1,
                "failed": told if len(told) <= MAX_TOLD else self.failed,
            }
        )


class PreheatRest(Record):
    """What is left of a pre-heat when it goes on in another run."""

    plan: PreheatPlan
    """Its hosts are those that still wait."""
    peers: list[str]
    """Who serves."""
    outcome: PreheatOutcome


class PreheatRun(PreheatSpec):
    """What a run of ``ImagePreheat`` begins with; a first one has no rest."""

    rest: PreheatRest | None = None
