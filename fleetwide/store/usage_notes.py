"""Which services' copies are measured for scaling, and the writing down of what hosts tell."""

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Session

from fleetwide.models.hosts import HostReport
from fleetwide.store import metrics


class UsageNotes:
    """Writes each measure of a copy once, however often it is reported; nothing of others."""

    def __init__(self) -> None:
        self.wanted: Mapping[str, frozenset[str]] = {}
        """The metrics of each service that has a policy on one that hosts measure."""
        self._last: dict[str, datetime] = {}

    def note(self, session: Session, report: HostReport) -> None:
        """Keep what is new of a report."""
        last = self._last.get(report.host_id)
        news = [
            one
            for one in report.usages
            if one.service_id in self.wanted and (last is None or one.at > last)
        ]
        if news:
            metrics.add_usage(session, report.host_id, news, self.wanted)
            self._last[report.host_id] = max(one.at for one in news)
