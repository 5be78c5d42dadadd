"""Which machines of a pool are to be replaced: by a refresh of people, or by its own rotation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetwide.models.pools import HostPoolSpec, PoolMachine

NEWER_IMAGE = "a newer image is there"


@dataclass(frozen=True)
class Replacing:
    """What is to be replaced of a pool."""

    due: Mapping[str, str]
    """Why each machine is, by its id; of those that are being emptied already, too."""
    most: int
    """So many at a time."""

    def first(self, serving: list[PoolMachine], count: int) -> list[PoolMachine]:
        """The next ones: those with the fewest tasks, and among them the oldest."""
        due = [one for one in serving if one.machine.id in self.due]
        order = sorted(due, key=lambda one: (one.tasks, one.machine.launched_at, one.machine.id))
        return order[: max(count, 0)]


def outdated(machines: tuple[PoolMachine, ...], image: str) -> list[PoolMachine]:
    """Machines that were started from another image than new ones are."""
    return [one for one in machines if image and one.machine.image != image]


def replacing(
    spec: HostPoolSpec,
    machines: tuple[PoolMachine, ...],
    *,
    image: str,
    now: datetime,
    refreshing: bool,
) -> Replacing:
    """What people's refresh and the pool's own rotation want replaced.

    A refresh goes by images alone, whatever the rotation says; both go on together.
    """
    rule = spec.rotation
    old = {one.machine.id for one in outdated(machines, image)}
    by_image = refreshing or (rule is not None and rule.old_images)
    due = dict.fromkeys(sorted(old), NEWER_IMAGE) if by_image else {}
    if rule is not None and rule.max_age_seconds is not None:
        limit = timedelta(seconds=rule.max_age_seconds)
        for one in machines:
            late = now - one.machine.launched_at > limit
            if late and one.machine.id not in due:
                due[one.machine.id] = f"it is older than {_words(limit)}"
    return Replacing(due, most=rule.max_rotating if rule else 1)


def _words(span: timedelta) -> str:
    """Days, hours or minutes: the largest that says it to one digit behind the point."""
    seconds = span.total_seconds()
    for name, size in (("days", 86_400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {name}"
    return f"{seconds / 60:.0f} minutes"
