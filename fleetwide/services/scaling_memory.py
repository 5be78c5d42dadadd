"""What scaling remembers of earlier changes: as much as cool-downs need."""

from collections.abc import Sequence
from datetime import datetime

from fleetwide.models.scaling import LastAction


def remember(actions: Sequence[LastAction], action: LastAction) -> list[LastAction]:
    """The last growth and the last shrinking of each policy, and of people, with this one."""
    others = [one for one in actions if _slot(one) != _slot(action)]
    return [*others, action]


def noticed(
    actions: Sequence[LastAction], seen: int | None, desired: int, now: datetime
) -> list[LastAction]:
    """With a change that none of our own decisions made, if ``desired`` is not as it was ``seen``.

    Where a scheduler was killed between a change and its note, this is its note.
    """
    if seen is None or seen == desired:
        return list(actions)
    return remember(actions, LastAction(at=now, before=seen, after=desired))


def _slot(action: LastAction) -> tuple[str, bool]:
    return action.policy, action.after > action.before
