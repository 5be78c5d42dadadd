"""What a request for capacity changes of the tree of queues, and what giving it back does."""

from collections.abc import Mapping

from pydantic import ValidationError

from fleetwide.batch.queues import Specs
from fleetwide.containers.capacity import FIELD, amounts_of, bounds_of
from fleetwide.containers.placement import Dimension
from fleetwide.errors import InvalidInput
from fleetwide.models.capacity_groups import GroupAmounts
from fleetwide.models.capacity_requests import CapacityRequestSpec
from fleetwide.models.queues import QueueEdit, QueueSpec
from fleetwide.validation import invalid_input

Amounts = Mapping[Dimension, int]


def edits(specs: Specs, asked: CapacityRequestSpec, *, give_back: bool) -> list[QueueEdit]:
    """The queues as they shall be; a queue that was removed meanwhile has nothing to give back.

    Differences are added and taken away, so that requests do not undo each other, nor what people
    changed between them.

    Raises:
        InvalidInput: a queue is not there, has less than is taken, or no limit that could grow.
    """
    more = not give_back
    found = []
    if asked.queue in specs or more:
        found.append(_edit(specs, asked.queue, asked, more=more))
    if asked.from_queue is not None and (asked.from_queue in specs or more):
        given = asked.model_copy(update={"limit": GroupAmounts()})
        found.append(_edit(specs, asked.from_queue, given, more=not more))
    return found


def _edit(specs: Specs, path: str, asked: CapacityRequestSpec, *, more: bool) -> QueueEdit:
    if path not in specs:
        raise InvalidInput.for_field("queue", "there is no such queue", given=path)
    spec = specs[path]
    guarantee = _sum(path, spec.guarantee, asked.guarantee, more=more)
    limit = _limit(path, spec.limit, asked.limit, more=more)
    try:
        changed = {**dict(spec), "guarantee": guarantee, "limit": limit}
        return QueueEdit(path=path, spec=QueueSpec.model_validate(changed))
    except ValidationError as error:
        raise invalid_input(error, hint=f"fleetwide queue show {path}") from error


def _sum(path: str, has: GroupAmounts, asked: GroupAmounts, *, more: bool) -> GroupAmounts:
    there, change = dict(bounds_of(has)), bounds_of(asked)
    for each, amount in change.items():
        own = there.get(each, 0)
        if not more and own < amount:
            raise InvalidInput.for_field(
                f"guarantee.{FIELD[each]}",
                f"queue {path} has less than {_told(each, amount)} to give up",
                given=_told(each, own),
            )
        there[each] = own + amount if more else own - amount
    return amounts_of({each: amount for each, amount in there.items() if amount})


def _limit(path: str, has: GroupAmounts, asked: GroupAmounts, *, more: bool) -> GroupAmounts:
    there = dict(bounds_of(has))
    for each, amount in bounds_of(asked).items():
        if each in there:
            there[each] = max(there[each] + (amount if more else -amount), 0)
        elif more:
            raise InvalidInput.for_field(
                f"limit.{FIELD[each]}", f"queue {path} has no limit that could grow"
            )
    return amounts_of(there)


def _told(each: Dimension, amount: int) -> str:
    told = getattr(amounts_of({each: amount}), FIELD[each])
    return f"{told:g}" if isinstance(told, float) else str(int(told))
