"""The labels of jobs: written with the job, and looked for by an index."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, and_, exists
from sqlmodel import Session, col

from fleetwide.store.tables import JobLabelRow, JobRow


def write(session: Session, job: JobRow, labels: Mapping[str, str]) -> None:
    """Note the labels of a job that has just been inserted."""
    assert job.id is not None
    session.add_all(
        JobLabelRow(job_id=job.id, name=name, value=value) for name, value in labels.items()
    )


def carries(labels: Mapping[str, str]) -> ColumnElement[bool]:
    """The condition on ``JobRow`` that it carries all these labels."""
    return and_(
        True,
        *(
            exists().where(
                col(JobLabelRow.job_id) == col(JobRow.id),
                col(JobLabelRow.name) == name,
                col(JobLabelRow.value) == value,
            )
            for name, value in labels.items()
        ),
    )
