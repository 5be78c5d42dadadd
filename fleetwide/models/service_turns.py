"""What the workflow of a service and its activities tell each other."""

from typing import Any

from fleetwide.models.base import Record
from fleetwide.models.service_documents import ServiceStatus
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.models.task_kills import TaskKill


class ServiceStart(Record):
    """A run of the workflow begins."""

    service_id: str
    run_id: str
    spec: ContainerServiceSpec


class ServiceTurn(Record):
    """Asks for one look."""

    service_id: str
    moves: list[CopyMove] = []
    """What the platform asked of copies since the last look."""


class ServiceTurned(Record):
    """What came of a look."""

    status: ServiceStatus
    again_in_seconds: float | None = None
    """When to look again though nobody tells of a change."""


class ServiceChange(Record):
    """An update of a service, by its name and with its argument."""

    service_id: str
    name: str
    argument: dict[str, Any]
    change_id: str | None = None
    """Of the update; carried out again, the change is not made again."""


class CopyKill(Record):
    """Somebody ends a task that is a copy."""

    task_id: str
    kill: TaskKill
    change_id: str | None = None
    """Of the update; carried out again, it is not told again."""
