"""Steps of batch jobs alone: say how a job stands, ask no more for hosts, tell people of both."""

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.batch import BatchActivities
    from fleetwide.batch.array import Array
    from fleetwide.batch.dependencies import Verdict, judge
    from fleetwide.models.base import Waiting
    from fleetwide.models.batch import BatchJobSpec
    from fleetwide.models.batch_control import JobNote, JobStanding, Withdrawal
    from fleetwide.models.batch_dependencies import Dependency, DependencyQuestion
    from fleetwide.models.containers import AttemptRequest, JobHeader, Placement

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT

HELD = "held"
WAITS_FOR_JOBS = "waitsForJobs"
NOT_YET = "startsLater"


def new_array(spec: BatchJobSpec) -> Array:
    """The children of a job that begins now."""
    now = workflow.now()
    ends = [spec.deadline] if spec.deadline else []
    if spec.time_limit_seconds:
        ends.append(now + timedelta(seconds=spec.time_limit_seconds))
    held = waits(HELD, "it was submitted on hold: fleetwide batch release") if spec.hold else None
    return Array(
        size=spec.size,
        quorum=spec.success_quorum,
        accumulates=spec.accumulate,
        held=held,
        ends_at=min(ends, default=None),
    )


def waits(code: str, sentence: str) -> Waiting:
    """A wait that begins now."""
    return Waiting(code=code, sentence=sentence, since=workflow.now())


async def note(
    header: JobHeader, standing: JobStanding, kind: str, message: str, by: str = ""
) -> None:
    """Write down how the job stands, with an event; its row is made where there is none yet."""
    await workflow.execute_activity_method(
        BatchActivities.note,
        JobNote(job=header, standing=standing, kind=kind, message=message, by=by),
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary=f"{kind}: {message}",
    )


async def others(header: JobHeader, depends_on: list[Dependency]) -> Verdict:
    """Whether the job may begin, by those that it waits for."""
    states = await workflow.execute_activity_method(
        BatchActivities.dependencies,
        DependencyQuestion(job=header, depends_on=depends_on),
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary=f"how {len(depends_on)} other jobs stand",
    )
    return judge(states)


async def withdraw(header: JobHeader, wanted: list[AttemptRequest]) -> list[Placement]:
    """Take back what was asked; those that got a host meanwhile come back as placed."""
    placements = await workflow.execute_activity_method(
        BatchActivities.withdraw,
        Withdrawal(job=header, attempts=wanted),
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary=f"ask no more for {len(wanted)} attempts",
    )
    return placements.placed


def time_left(moment: datetime | None) -> timedelta | None:
    """How long it is until then; None for no moment, or one that has passed."""
    left = moment - workflow.now() if moment else timedelta()
    return left if left > timedelta() else None
