"""What hosts tell of copies for scaling, written down: measures, and what endpoints told."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlmodel import Session

from fleetwide.models.hosts import HostReport
from fleetwide.models.metrics import (
    KEPT,
    MAX_AHEAD,
    MAX_VALUE,
    PUSHED_BY_HOSTS,
    CopyUsage,
    Metric,
    Sample,
)
from fleetwide.models.metrics_endpoint import CopyMetrics
from fleetwide.store import metrics

MAX_FAULT = 200
MAX_AHEAD_SECONDS = MAX_AHEAD.total_seconds()

Faults = Mapping[str, Mapping[str, str]]
"""By metric and task: why a copy has no figure."""


@dataclass(frozen=True)
class _Told:
    """What a host told of a copy at one moment."""

    service_id: str
    task_id: str
    at: datetime
    values: Mapping[str, float]
    faults: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def by_measure(cls, usage: CopyUsage) -> "_Told":
        values = {Metric.CPU.value: usage.cpu, Metric.MEMORY.value: usage.memory}
        return cls(usage.service_id, usage.task_id, usage.at, values)

    @classmethod
    def by_endpoint(cls, told: CopyMetrics) -> "_Told":
        """An endpoint has no say in what hosts measure."""
        values = {name: told.values[name] for name in told.values.keys() - PUSHED_BY_HOSTS}
        return cls(told.service_id, told.task_id, told.at, values, told.faults)

    def judged(self, heard_at: datetime) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """The figures that count, and why others do not: a host is not trusted blindly."""
        ahead = (self.at - heard_at).total_seconds()
        if ahead > MAX_AHEAD_SECONDS:
            clock = f"the clock of its host is {ahead:.0f} s ahead"
            return {}, dict.fromkeys((*self.values, *self.faults), clock)
        wrong = {name: value for name, value in self.values.items() if not _is_figure(value)}
        told = {name: f"its host tells {value:g}" for name, value in wrong.items()}
        return {k: v for k, v in self.values.items() if k not in wrong}, {**self.faults, **told}


@dataclass(frozen=True)
class _Heard:
    """The newest report of a host, as far as it is of interest."""

    at: datetime
    measures: Mapping[str, _Told]
    """By task, as ``endpoints``."""
    endpoints: Mapping[str, _Told]

    @property
    def told(self) -> Iterator[_Told]:
        yield from self.measures.values()
        yield from self.endpoints.values()

    def news(self, before: "_Heard") -> Iterator[_Told]:
        """What the report before did not say."""
        pairs = ((self.measures, before.measures), (self.endpoints, before.endpoints))
        for now, known in pairs:
            yield from (one for task_id, one in now.items() if known.get(task_id) != one)


_NOTHING = _Heard(datetime.min.replace(tzinfo=UTC), {}, {})


class UsageNotes:
    """Writes each figure of a copy once, however often it is reported; nothing of others."""

    def __init__(self) -> None:
        self.wanted: Mapping[str, frozenset[str]] = {}
        """The metrics of each service that has policies."""
        self.moved: Mapping[str, str] = {}
        """By task the service that it is a copy of, where that is not the one it was begun as."""
        self._heard: dict[str, _Heard] = {}

    def note(self, session: Session, report: HostReport) -> None:
        """Keep what is new of a report."""
        now = datetime.now(UTC)
        heard = _Heard(
            now,
            self._of_interest(_Told.by_measure(one) for one in report.usages),
            self._of_interest(_Told.by_endpoint(one) for one in report.endpoints),
        )
        found = [
            (one.service_id, Sample(name, one.task_id, value, one.at))
            for one in heard.news(self._heard.get(report.host_id, _NOTHING))
            if one.at >= now - KEPT
            for name, value in one.judged(now)[0].items()
            if name in self.wanted[one.service_id]
        ]
        if found:
            metrics.add_told(session, f"host/{report.host_id}", found)
        self._heard[report.host_id] = heard

    def _of_interest(self, told: Iterable[_Told]) -> dict[str, _Told]:
        """By task; a host knows of one only whose copy it was when it began."""
        owned = (
            replace(one, service_id=self.moved[one.task_id]) if one.task_id in self.moved else one
            for one in told
        )
        return {one.task_id: one for one in owned if one.service_id in self.wanted}

    def faults(self, service_id: str) -> Faults:
        """Why copies of a service have no figures, by what their hosts told last."""
        found = defaultdict[str, dict[str, str]](dict)
        oldest = datetime.now(UTC) - KEPT
        for host_id, heard in list(self._heard.items()):
            if heard.at < oldest:
                del self._heard[host_id]
                continue
            for one in heard.told:
                if one.service_id == service_id:
                    for metric, fault in one.judged(heard.at)[1].items():
                        found[metric][one.task_id] = fault[:MAX_FAULT]
        return found


def _is_figure(value: float) -> bool:
    return 0 <= value <= MAX_VALUE  # not so for NaN
