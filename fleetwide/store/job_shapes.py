"""What jobs ask of hosts, read once each: a job never changes what it asks for."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Text, cast
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from fleetwide.containers.placement import Shape, shape_of
from fleetwide.models.placement import StoredContainer
from fleetwide.store.among import among
from fleetwide.store.tables import JobRow

IDS_AT_ONCE = 500
MOST_JOBS = 100_000
MOST_SHAPES = 10_000
# Only what placement looks at leaves the database: commands and environments may be long.
_PARTS = tuple(StoredContainer.model_fields)
_JOBS = select_columns(
    col(JobRow.id),
    col(JobRow.workflow_id),
    col(JobRow.image),
    col(JobRow.capacity_group),
    col(JobRow.priority),
    *(cast(col(JobRow.spec)[("container", part)], Text) for part in _PARTS),
)


@dataclass(frozen=True, slots=True)
class JobShape:
    """What a job asks of hosts, its name for others that want to be apart from it, its turn."""

    name: str
    shape: Shape
    group: str
    """Its capacity group."""
    priority: int


class JobShapes:
    """The shapes of jobs. Jobs that ask for the same share one: the engine groups by it."""

    def __init__(self) -> None:
        self._jobs: dict[int, JobShape] = {}
        self._shapes: dict[tuple[str | None, ...], Shape] = {}

    def of(self, session: Session, job_ids: Collection[int]) -> dict[int, JobShape]:
        """The shapes of at least these jobs."""
        missing = sorted(each for each in job_ids if each not in self._jobs)
        if len(self._jobs) + len(missing) > MOST_JOBS:
            self._jobs = {}
            missing = sorted(job_ids)
        for first in range(0, len(missing), IDS_AT_ONCE):
            some = missing[first : first + IDS_AT_ONCE]
            these = _JOBS.where(among(session, col(JobRow.id), some))
            for row in session.connection().execute(these):
                job_id, name, image, group, priority, *parts = row
                assert job_id is not None
                shape = self._shape(image, parts)
                self._jobs[job_id] = JobShape(name, shape, group, priority)
        return self._jobs

    def _shape(self, image: str, parts: Sequence[str | None]) -> Shape:
        key = (image, *parts)
        known = self._shapes.get(key)
        if known is None:
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            told = zip(_PARTS, parts, strict=True)
            asked = {name: json.loads(words) for name, words in told if words is not None}
            asked = {name: value for name, value in asked.items() if value is not None}
            container = StoredContainer.model_validate(asked)
            known = self._shapes[key] = shape_of(container, image)
        return known
