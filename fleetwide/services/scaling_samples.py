"""Samples in periods: what scaling compares with a target or a threshold."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from statistics import fmean

from fleetwide.models.metrics import Sample
from fleetwide.models.scaling import Statistic

SLACK = timedelta(seconds=5)
"""Samples a little ahead are of the newest period: no two clocks agree."""
_STATISTICS: dict[Statistic, Callable[[list[float]], float]] = {
    Statistic.AVERAGE: fmean,
    Statistic.MINIMUM: min,
    Statistic.MAXIMUM: max,
    Statistic.SUM: math.fsum,
}


@dataclass(frozen=True)
class PeriodSamples:
    """All samples of one metric in one period; at least one."""

    samples: Sequence[Sample]

    @cached_property
    def by_task(self) -> dict[str, float]:
        """The average of each copy that told something."""
        found = defaultdict[str, list[float]](list)
        for sample in self.samples:
            if sample.task_id:
                found[sample.task_id].append(sample.value)
        return {task_id: fmean(values) for task_id, values in found.items()}

    @cached_property
    def of_service(self) -> float | None:
        """The average of what was told of the whole service; None where nothing was."""
        values = [sample.value for sample in self.samples if not sample.task_id]
        return fmean(values) if values else None

    def statistic(self, kind: Statistic) -> float:
        return _STATISTICS[kind]([sample.value for sample in self.samples])


class History:
    """The samples of one metric, the newest period first."""

    def __init__(self, samples: Iterable[Sample], now: datetime, period_seconds: float) -> None:
        self._period = period_seconds
        found = defaultdict[int, list[Sample]](list)
        usable = [one for one in samples if _is_usable(one) and one.at <= now + SLACK]
        for sample in usable:
            age = max(0.0, (now - sample.at).total_seconds())
            found[int(age // period_seconds)].append(sample)
        self._periods = {index: PeriodSamples(those) for index, those in found.items()}
        self._began = _first_moments(usable)
        moments = [one.at for one in usable]
        self.newest_age = (now - max(moments)).total_seconds() if moments else None
        self.oldest_age = (now - min(moments)).total_seconds() if moments else 0.0

    def period(self, index: int) -> PeriodSamples | None:
        """Number ``index``, counted back from now; None where nothing was told in it."""
        return self._periods.get(index)

    def established(self, now: datetime, live: frozenset[str] | None) -> dict[str, float]:
        """The newest averages of the live copies that have told something for a whole period.

        Of all live ones where none has. What the others bring lowers the figures of these only
        later: together they would make more than there is. It is alike with those that are over.
        """
        newest = self._periods.get(0)
        told = newest.by_task if newest else {}
        by_task = {one: value for one, value in told.items() if live is None or one in live}
        begun = now - timedelta(seconds=self._period)
        long = {one: value for one, value in by_task.items() if self._began[one] <= begun}
        return long or by_task

    def since(self, seconds: float) -> list[PeriodSamples]:
        """The periods that began within ``seconds``, without the newest one."""
        return [
            those
            for index, those in sorted(self._periods.items())
            if index > 0 and index * self._period < seconds
        ]


def _first_moments(samples: Iterable[Sample]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for sample in samples:
        found[sample.task_id] = min(sample.at, found.get(sample.task_id, sample.at))
    return found


def _is_usable(sample: Sample) -> bool:
    return math.isfinite(sample.value) and sample.value >= 0
