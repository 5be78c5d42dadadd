"""What differs between two versions of a service, and what a new one would lead to."""

from enum import StrEnum
from typing import Any

from fleetwide.models.base import Record
from fleetwide.models.services import Strategy


class ChangeKind(StrEnum):
    """What became of a value."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class SpecChange(Record):
    """One value that differs; what may be a credential is never shown."""

    path: str
    """Such as ``container.env.COLOUR``, or ``container.extra_containers.proxy.image``."""
    kind: ChangeKind
    before: Any = None
    after: Any = None
    hidden: bool = False
    """It may be a credential: ``before`` and ``after`` are left out."""


class Effect(StrEnum):
    """What a new version leads to, the greatest of it."""

    NOTHING = "nothing"
    ATTRIBUTES = "attributes"
    CAPACITY = "capacity"
    DEPLOY = "deploy"


# Total over Effect (a test asserts it): what people read.
EFFECT_TEXT: dict[Effect, str] = {
    Effect.NOTHING: "nothing changes",
    Effect.ATTRIBUTES: "no copy is touched; those that start from now on have it",
    Effect.CAPACITY: "copies are started or stopped, and none is replaced",
    Effect.DEPLOY: "a deploy replaces all copies",
}


class ServicePlan(Record):
    """What ``deploy`` would do now, without doing anything."""

    service_id: str
    index: int
    """The version of the service that was looked at: ``deploy`` can insist that it is the same."""
    effect: Effect
    changes: list[SpecChange]
    strategy: Strategy | None = None
    """Of a deploy."""
    replaced: int = 0
    """Copies that are replaced."""
    started: int = 0
    stopped: int = 0
    """Copies more or less than are desired now."""
    most: int = 0
    least: int = 0
    """While it is deployed never more copies live, and never fewer are ready by its own doing."""
    sentence: str
