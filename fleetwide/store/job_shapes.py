"""What jobs ask of hosts, read once each: a job never changes what it asks for."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, case, cast
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from fleetwide.containers.placement import Shape, shape_of
from fleetwide.models.placement import StoredContainer
from fleetwide.store.among import among
from fleetwide.store.tables import JobRow

IDS_AT_ONCE = 500
MOST_JOBS = 100_000
MOST_SHAPES = 10_000
_JOBS = select_columns(
    col(JobRow.id),
    col(JobRow.workflow_id),
    col(JobRow.image),
    col(JobRow.capacity_group),
    col(JobRow.priority),
    case(
        (col(JobRow.asks) == "", cast(col(JobRow.spec)["container"], Text)),
        else_=col(JobRow.asks),
    ),
)


def asks(container: Mapping[str, Any]) -> str:
    """What placement reads of a job's container: commands and environments may be long."""
    return json.dumps({part: container[part] for part in StoredContainer.model_fields})


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
        self._shapes: dict[tuple[str, str], Shape] = {}

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
                job_id, name, image, group, priority, asks = row
                assert job_id is not None
                shape = self._shape(image, asks)
                self._jobs[job_id] = JobShape(name, shape, group, priority)
        return self._jobs

    def _shape(self, image: str, asks: str) -> Shape:
        known = self._shapes.get((image, asks))
        if known is None:
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            container = StoredContainer.model_validate_json(asks)
            known = self._shapes[image, asks] = shape_of(container, image)
        return known
