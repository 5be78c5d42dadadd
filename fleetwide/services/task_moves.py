"""Whether a running copy may become one of another service. Pure.

Nothing of a container is changed by a move, so the other service has to want the very same one.
"""

from dataclasses import dataclass

from fleetwide.errors import Conflict
from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.models.services import Capacity, ContainerServiceSpec
from fleetwide.models.task_states import TaskState
from fleetwide.services.revisions import spec_changes

_RESTED = frozenset({DeployPhase.SUCCEEDED, DeployPhase.ROLLED_BACK})
_SAME = ("container.", "capacity_group", "priority")
"""What a copy is started with; owner, app, labels and all that is of the service may differ."""


@dataclass(frozen=True)
class Side:
    """One of the two services."""

    service_id: str
    made_from: ContainerServiceSpec
    """What its copies are made from: of the source the one that moves, of the target new ones."""
    capacity: Capacity
    enabled: bool
    deploy: DeployState


def differences(source: ContainerServiceSpec, target: ContainerServiceSpec) -> list[str]:
    """The fields that copies of the two are started with, and that are not the same."""
    return [change.path for change in spec_changes(source, target) if change.path.startswith(_SAME)]


def moved(source: Side, target: Side, copy: Copy) -> tuple[Capacity, Capacity]:
    """What both services have of capacity when the copy has moved.

    Raises:
        Conflict: it cannot move; the message says why, the hint what to do about it.
    """
    for side in (source, target):
        _check_rests(side)
    _check_copy(copy)
    if differs := differences(source.made_from, target.made_from):
        raise Conflict(
            f"a copy of {source.service_id} is no copy of {target.service_id}: "
            f"{', '.join(differs)} {'differ' if len(differs) > 1 else 'differs'}",
            hint=f"fleetwide service show {target.service_id} -o yaml",
        )
    return _less(source), _more(target)


def _check_rests(side: Side) -> None:
    if not side.enabled:
        raise Conflict(
            f"service {side.service_id} is disabled",
            hint=f"fleetwide service enable {side.service_id} --reason ...",
        )
    if side.deploy.phase not in _RESTED:
        raise Conflict(
            f"deploy {side.deploy.number} of service {side.service_id} is {side.deploy.phase}: "
            "copies move when a deploy has come to its end",
            hint=f"fleetwide service show {side.service_id}",
        )


def _check_copy(copy: Copy) -> None:
    task_id = copy.membership.task_id
    if copy.state is not TaskState.STARTED:
        raise Conflict(
            f"{task_id} is {copy.state}: only a copy that is Started can move",
            hint=f"fleetwide task show {task_id}",
        )
    if copy.leaving:
        raise Conflict(
            f"{task_id} has to leave its host: another takes its place, which can move",
            hint=f"fleetwide service copies {copy.membership.service_id}",
        )


def _less(side: Side) -> Capacity:
    capacity = side.capacity
    if capacity.desired <= capacity.min:
        raise Conflict(
            f"service {side.service_id} wants its min of {capacity.min} copies: none can leave it",
            hint=f"fleetwide service scale {side.service_id} --min {max(capacity.desired - 1, 0)} "
            "--reason ...",
        )
    return capacity.model_copy(update={"desired": capacity.desired - 1})


def _more(side: Side) -> Capacity:
    capacity = side.capacity
    if capacity.desired >= capacity.max:
        raise Conflict(
            f"service {side.service_id} wants its max of {capacity.max} copies: it has no room",
            hint=f"fleetwide service scale {side.service_id} --max {capacity.desired + 1} "
            "--reason ...",
        )
    return capacity.model_copy(update={"desired": capacity.desired + 1})
