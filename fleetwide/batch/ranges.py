"""Sets of indexes as ranges: a hundred thousand neighbours cost as much as one."""

from pydantic import BaseModel

from fleetwide.models.batch_control import IndexRange


class Ranges(BaseModel):
    """Indexes, as ranges that neither touch nor overlap, the lowest first."""

    parts: list[IndexRange] = []

    def __contains__(self, index: int) -> bool:
        return any(first <= index <= last for first, last in self.parts)

    def add(self, first: int, last: int) -> int:
        """Add those from ``first`` to ``last``; how many of them are new."""
        before = self.count_from(0)
        kept = [each for each in self.parts if each[1] < first - 1 or each[0] > last + 1]
        for low, high in self.parts:
            if (low, high) not in kept:
                first, last = min(first, low), max(last, high)
        self.parts = sorted([*kept, (first, last)])
        return self.count_from(0) - before

    def count_from(self, index: int) -> int:
        """How many there are from ``index`` on."""
        return sum(last - max(first, index) + 1 for first, last in self.parts if last >= index)

    def beyond(self, index: int) -> int:
        """The first one from ``index`` on that is not among them."""
        for first, last in self.parts:
            if first <= index <= last:
                return last + 1
        return index
