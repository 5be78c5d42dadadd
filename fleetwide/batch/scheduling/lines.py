"""The rows that wait in one leaf, and which of them is next.

Rows that are alike are one group, in which the oldest is next; so what holds for one of them (it
fits nowhere) is found out once.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fleetwide.batch.scheduling.work import Pending
from fleetwide.containers.placement.requests import Shape

Age = tuple[float, str, int]
Rank = tuple[int, float, float, Age]
ShareOf = Callable[[str], float]


class Group(NamedTuple):
    """What rows have in common that are alike for a round."""

    owner: str
    priority: int
    shape: Shape
    gang: int
    """How many start together; 0 when each may start by itself."""
    seconds: float | None
    job: str
    """Empty unless the job bounds how many of its tasks run."""


def group_of(row: Pending) -> Group:
    """The group that a row is in."""
    size = row.count if row.gang else 0
    job = "" if row.at_most is None else row.job
    return Group(row.owner, row.priority, row.shape, size, row.seconds, job)


def age(row: Pending) -> Age:
    """The oldest first; the same for everybody who looks."""
    return (row.submitted, row.job, row.first)


class Line:
    """The rows of a leaf that may start."""

    def __init__(self) -> None:
        self.groups: dict[Group, list[Pending]] = {}

    def add(self, row: Pending) -> None:
        """A row begins to wait."""
        insort(self.groups.setdefault(group_of(row), []), row, key=age)

    def remove(self, row: Pending) -> None:
        group = group_of(row)
        rows = self.groups[group]
        del rows[bisect_left(rows, age(row), key=age)]
        if not rows:
            del self.groups[group]


class Heads:
    """The groups of a line in the order of service, while a round goes on.

    First what is overdue, by age; then priority; then the owner who uses the least; then age.
    The owners' shares only grow in a round, so a group is looked at again when it is next.
    """

    def __init__(
        self, line: Line, share_of: ShareOf, overdue_since: float, groups: Iterable[Group]
    ) -> None:
        self._line = line
        self._share_of = share_of
        self._overdue_since = overdue_since
        self._heap = [(self._rank(group), group) for group in groups if group in line.groups]
        heapq.heapify(self._heap)

    def _rank(self, group: Group) -> Rank:
        return rank(self._line.groups[group][0], self._share_of, self._overdue_since)

    def top(self) -> Pending | None:
        """The row that is next; None when there is nothing more to look at."""
        while self._heap:
            there, group = self._heap[0]
            rows = self._line.groups.get(group)
            if not rows:
                heapq.heappop(self._heap)
                continue
            now = self._rank(group)
            if now == there:
                return rows[0]
            heapq.heapreplace(self._heap, (now, group))
        return None

    def drop(self) -> None:
        """Leave out the group that is next: nothing of it can start in this round."""
        heapq.heappop(self._heap)

    def before_another_owner(self, wanted: int, own: float, each: float) -> int:
        """How many tasks of the next row may start before another owner's turn comes.

        ``own`` is the share of the row's owner, ``each`` what one task adds to it.
        """
        (overdue, priority, _, _), group = self._heap[0]
        if overdue == 0 or each <= 0:
            return wanted
        others = [
            self._share_of(other.owner)
            for (late, level, _, _), other in self._heap
            if late == overdue and level == priority and other.owner != group.owner
        ]
        if not others:
            return wanted
        return max(1, min(wanted, int((min(others) - own) / each) + 1))


def rank(row: Pending, share_of: ShareOf, overdue_since: float) -> Rank:
    """Where a row stands in its leaf; lower ones come first."""
    if row.submitted <= overdue_since:
        return (0, 0.0, 0.0, age(row))
    return (1, -row.priority, share_of(row.owner), age(row))
