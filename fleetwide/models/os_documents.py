"""What the HTTP API answers about OS releases and lines beyond the release itself."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from fleetwide.models.base import Record, Spec, Timestamp
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.os_releases import Attachment
from fleetwide.models.os_reports import PackageDiff


def _time_of_day(text: str) -> str:
    if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text) is None:
        raise ValueError("must be a time of day from 00:00 to 23:59")
    return text


TimeOfDay = Annotated[str, Field(examples=["03:00"]), AfterValidator(_time_of_day)]


class ReleaseDiff(Record):
    """What changed between the packages of two releases of a line."""

    name: str
    version: str
    against: str | None
    """The release before; None when there is none, and everything counts as added."""
    summary: str
    diff: PackageDiff


class DocumentEntry(Attachment):
    """One document of a release: SBOM, provenance or signature."""

    name: str
    """File name, the last part of its address."""
    links: dict[str, str] = {}


class LineSchedule(Spec):
    """What a line does by itself."""

    spec: OSImageSpec
    """Without a version: each build takes the next free one."""
    daily_at: TimeOfDay = "03:00"
    """Time of day, in UTC, of a build that any change of the packages makes a release."""
    security_minutes: Annotated[int, Field(ge=5, le=24 * 60)] | None = 15
    """Minutes between looks at the security suite; only its changes make a release. Null: never."""
    retention: bool = True
    """Once a day, retire what the spec's retention lets go."""


class ScheduleKind(StrEnum):
    """The things that a line does by itself."""

    DAILY = "daily"
    SECURITY = "security"
    RETENTION = "retention"


class ScheduledStart(Record):
    """One start that a schedule made."""

    at: Timestamp
    workflow_id: str


class ScheduleEntry(Record):
    """One of the line's Temporal schedules."""

    kind: ScheduleKind
    id: str
    paused: bool
    note: str = ""
    """Who owns it, or why it is paused."""
    next: list[Timestamp] = []
    """The next times, soonest first; they pass without a start while it is paused."""
    last: list[ScheduledStart] = []
    """The last starts, newest first."""


class ScheduleDocument(LineSchedule):
    """A line's schedules: what was asked for, and how each of them stands."""

    name: str
    entries: list[ScheduleEntry]
    links: dict[str, str] = {}

    @property
    def paused(self) -> bool:
        return any(entry.paused for entry in self.entries)
