"""Figures of one copy from what its endpoint tells again and again: counters become rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetwide.models.metrics import MAX_VALUE
from fleetwide.models.metrics_endpoint import EndpointMetric, SeriesKind
from fleetwide.services.exposition import MAX_SERIES, Series, Unreadable, lines_of, series_of


@dataclass
class Readings:
    """By the name of the metric: its value, or why it has none."""

    values: dict[str, float] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """A counter's series when it was read last; also those that were there only earlier."""

    moment: float
    series: Series


class EndpointMeter:
    """Remembers each counter until the next time; ``moment`` is in seconds of any steady clock.

    A counter has no value the first time, and none when it fell: its program began anew.
    """

    def __init__(self, metrics: Sequence[EndpointMetric]) -> None:
        self._metrics = metrics
        self._seen: dict[str, _Seen] = {}

    def read(self, body: bytes, moment: float) -> Readings:
        """What an answer says; raises nothing, whatever it is."""
        try:
            lines = lines_of(body)
        except Unreadable as error:
            return self.failed(str(error))
        readings = Readings()
        for metric in self._metrics:
            try:
                value = self._value(metric, series_of(lines, metric), moment)
            except Unreadable as error:
                readings.faults[metric.name] = str(error)
            else:
                if value is not None:
                    readings.values[metric.name] = value
        return readings

    def failed(self, why: str) -> Readings:
        """There was no answer to read."""
        return Readings(faults={metric.name: why for metric in self._metrics})

    def _value(self, metric: EndpointMetric, series: Series, moment: float) -> float | None:
        if metric.kind is SeriesKind.GAUGE:
            return _bounded(metric, math.fsum(series.values()))
        before = self._seen.get(metric.name)
        self._seen[metric.name] = _Seen(moment, series)
        if before is None or moment <= before.moment:
            return None
        growth = math.fsum(_growth(metric, before.series, series))
        if len(known := before.series | series) <= MAX_SERIES:
            # One that comes back later has not counted all of that since.
            self._seen[metric.name] = _Seen(moment, known)
        return _bounded(metric, growth / (moment - before.moment))


def _growth(metric: EndpointMetric, before: Series, now: Series) -> list[float]:
    """Of each series; one that was never there began at 0."""
    for labels, value in now.items():
        if value < before.get(labels, 0.0):
            raise Unreadable(
                f"{metric.series} fell from {before[labels]:g} to {value:g}; it is counted anew"
            )
    return [value - before.get(labels, 0.0) for labels, value in now.items()]


def _bounded(metric: EndpointMetric, value: float) -> float:
    if not value <= MAX_VALUE:
        raise Unreadable(f"{metric.series} makes more than {MAX_VALUE:g}")
    return value
