"""Samples in periods: what scaling compares with a target or a threshold.

Older samples of services with many copies come added up by the minute.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from statistics import fmean
from typing import TypeVar

from fleetwide.models.metrics import MAX_VALUE, MINUTE, MinuteFigures, Sample
from fleetwide.models.scaling import Statistic

Figures = TypeVar("Figures", Sample, MinuteFigures)
SLACK = timedelta(seconds=5)
"""Samples a little ahead are of the newest period: no two clocks agree."""


@dataclass(frozen=True)
class PeriodSamples:
    """All samples of one metric in one period, and minutes of them; at least one."""

    samples: Sequence[Sample]
    minutes: Sequence[MinuteFigures] = ()

    @cached_property
    def by_task(self) -> dict[str, float]:
        """The average of each copy that told something."""
        found = defaultdict[str, list[float]](list)
        for sample in self.samples:
            if sample.task_id:
                found[sample.task_id].append(sample.value)
        return {task_id: fmean(values) for task_id, values in found.items()}

    @property
    def of_copies(self) -> float:
        """What all copies told together; of several minutes, the most."""
        minutes = [one.together for one in self.minutes if one.of_copies]
        return max(sum(self.by_task.values()), *minutes, 0.0)

    @cached_property
    def of_service(self) -> float | None:
        """The average of what was told of the whole service; None where nothing was."""
        values = [sample.value for sample in self.samples if not sample.task_id]
        if values:
            return fmean(values)
        return max((one.together for one in self.minutes if not one.of_copies), default=None)

    def statistic(self, kind: Statistic) -> float:
        values = [sample.value for sample in self.samples]
        match kind:
            case Statistic.AVERAGE:
                return self._total / (len(values) + sum(one.samples for one in self.minutes))
            case Statistic.MINIMUM:
                return min([*values, *(one.least for one in self.minutes)])
            case Statistic.MAXIMUM:
                return max([*values, *(one.most for one in self.minutes)])
            case Statistic.SUM:
                return self._total

    @property
    def _total(self) -> float:
        values = [sample.value for sample in self.samples]
        return math.fsum([*values, *(one.total for one in self.minutes)])


class History:
    """The samples of one metric, the newest period first."""

    def __init__(
        self,
        samples: Sequence[Sample],
        now: datetime,
        period_seconds: float,
        minutes: Sequence[MinuteFigures] = (),
    ) -> None:
        self._now, self._period = now, period_seconds
        figures = [one for one in samples if _is_usable(one)]
        self.unusable = len(samples) - len(figures)
        usable = [one for one in figures if one.at <= now + SLACK]
        each, added_up = self._by_period(usable), self._by_period(minutes)
        self._periods = {
            index: PeriodSamples(each[index], added_up[index])
            for index in sorted(each.keys() | added_up.keys())
        }
        self._began = _first_moments(usable)
        self._each_since = min(self._began.values(), default=now) if minutes else None
        moments = [*(one.at for one in usable), *(one.at for one in minutes)]
        self.newest_age = (now - max(moments)).total_seconds() if moments else None
        self.oldest_age = (now - min(moments)).total_seconds() if moments else 0.0

    def _by_period(self, figures: Iterable[Figures]) -> defaultdict[int, list[Figures]]:
        found = defaultdict[int, list[Figures]](list)
        for one in figures:
            age = max(0.0, (self._now - one.at).total_seconds())
            found[int(age // self._period)].append(one)
        return found

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
        if self._each_since is not None:  # what is added up does not say who was there
            begun = max(begun, self._each_since + MINUTE / 2)
        long = {one: value for one, value in by_task.items() if self._began[one] <= begun}
        return long or by_task

    def since(self, seconds: float) -> list[PeriodSamples]:
        """The periods that began within ``seconds``, without the newest one."""
        return [
            those
            for index, those in self._periods.items()
            if index > 0 and index * self._period < seconds
        ]


def _first_moments(samples: Iterable[Sample]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for sample in samples:
        found[sample.task_id] = min(sample.at, found.get(sample.task_id, sample.at))
    return found


def _is_usable(sample: Sample) -> bool:
    return 0 <= sample.value <= MAX_VALUE  # not so for NaN
