"""What hosts tell of copies for scaling, written down: measures, and what endpoints told."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

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

Faults = Mapping[str, Mapping[str, str]]
"""By metric and task: why a copy's endpoint has no figure."""


class _Heard(NamedTuple):
    """The newest report of a host, as far as it was of news."""

    at: datetime
    usages: Mapping[str, CopyUsage]
    endpoints: Mapping[str, CopyMetrics]


class UsageNotes:
    """Writes each figure of a copy once, however often it is reported; nothing of others."""

    def __init__(self) -> None:
        self.wanted: Mapping[str, frozenset[str]] = {}
        """The metrics of each service that has policies."""
        self._heard: dict[str, _Heard] = {}

    def note(self, session: Session, report: HostReport) -> None:
        """Keep what is new of a report."""
        now = datetime.now(UTC)
        before = self._heard.get(report.host_id) or _Heard(now, {}, {})
        usages = {one.task_id: one for one in report.usages if one.service_id in self.wanted}
        endpoints = {one.task_id: one for one in report.endpoints if one.service_id in self.wanted}
        found = [
            (service_id, sample)
            for service_id, sample in _samples(before, usages, endpoints)
            if sample.metric in self.wanted[service_id] and _is_usable(sample, now)
        ]
        if found:
            metrics.add_told(session, f"host/{report.host_id}", found)
        self._heard[report.host_id] = _Heard(now, usages, endpoints)

    def faults(self, service_id: str) -> Faults:
        """Why copies' endpoints have no figure, by what their hosts told last."""
        found = defaultdict[str, dict[str, str]](dict)
        now = datetime.now(UTC)
        for host_id, heard in list(self._heard.items()):
            if heard.at < now - KEPT:
                del self._heard[host_id]
                continue
            for one in heard.endpoints.values():
                if one.service_id == service_id:
                    for metric, fault in _faults(one, heard.at).items():
                        found[metric][one.task_id] = fault[:MAX_FAULT]
        return found


def _samples(
    before: _Heard, usages: Mapping[str, CopyUsage], endpoints: Mapping[str, CopyMetrics]
) -> Iterator[tuple[str, Sample]]:
    """The figures that the report before did not have, with their services."""
    for task_id, usage in usages.items():
        if before.usages.get(task_id) != usage:
            for metric, value in ((Metric.CPU, usage.cpu), (Metric.MEMORY, usage.memory)):
                yield usage.service_id, Sample(metric.value, task_id, value, usage.at)
    for task_id, told in endpoints.items():
        if before.endpoints.get(task_id) != told:
            for name, value in told.values.items():
                if name not in PUSHED_BY_HOSTS:
                    yield told.service_id, Sample(name, task_id, value, told.at)


def _is_usable(sample: Sample, now: datetime) -> bool:
    """A host is not trusted further than a program that pushes."""
    in_time = now - KEPT <= sample.at <= now + MAX_AHEAD
    return in_time and math.isfinite(sample.value) and 0 <= sample.value <= MAX_VALUE


def _faults(told: CopyMetrics, heard_at: datetime) -> Mapping[str, str]:
    ahead = (told.at - heard_at).total_seconds()
    if ahead <= MAX_AHEAD.total_seconds():
        return told.faults
    clock = f"the clock of its host is {ahead:.0f} s ahead"
    return dict.fromkeys((*told.values, *told.faults), clock)
