"""Which tasks a request is about: the same filters for lists and for the stream."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query

from api.deps import LabelsQuery
from fleetwide.errors import InvalidInput
from fleetwide.models.labels import wanted_labels
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store.job_lists import Wanted

MAX_TEXT = 300
_Text = Query(max_length=MAX_TEXT)


@dataclass
class TaskFilter:
    """The query parameters; several values of one mean any of them, several parameters all."""

    app: Annotated[str | None, _Text] = None
    owner: Annotated[str | None, _Text] = None
    state: Annotated[list[TaskState] | None, Query(description="of the newest attempt")] = None
    reason: Annotated[list[EndReason] | None, Query(description="why that attempt ended")] = None
    host: Annotated[str | None, Query(max_length=MAX_TEXT, description="its host")] = None
    service: Annotated[str | None, Query(max_length=MAX_TEXT, description="its copies")] = None
    image: Annotated[str | None, Query(max_length=MAX_TEXT, description="a digest")] = None
    submitted_after: datetime | None = None
    submitted_before: datetime | None = None
    label: LabelsQuery = ()  # type: ignore[assignment] # FastAPI makes it a list

    def wanted(self) -> Wanted:
        """The filters for the store.

        Raises:
            InvalidInput: a label is no ``name=value``, or a time is none in UTC.
        """
        return Wanted(
            "task",
            states=tuple(self.state or ()),
            reasons=tuple(self.reason or ()),
            host=self.host,
            service=self.service,
            app=self.app,
            owner=self.owner,
            labels=wanted_labels(self.label),
            image=self.image,
            submitted_after=_utc("submitted_after", self.submitted_after),
            submitted_before=_utc("submitted_before", self.submitted_before),
        )


def _utc(field: str, time: datetime | None) -> datetime | None:
    """A time without a zone means UTC."""
    if time is None or time.tzinfo is None:
        return time and time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        message = "must be between the years 1 and 9999 in UTC"
        raise InvalidInput.for_field(field, message, given=time.isoformat()) from None


TaskFilterDep = Annotated[TaskFilter, Depends()]
