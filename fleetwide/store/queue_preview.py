"""Who would have to leave if queues were changed: a round of the scheduler on the work there is."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from fleetwide.batch.scheduling.scheduler import schedule
from fleetwide.batch.scheduling.tree import Tree
from fleetwide.batch.scheduling.work import Pending, Rules, Running, Snapshot
from fleetwide.containers.placement import UNCOUNTED, Amounts
from fleetwide.models.containers import JobKind
from fleetwide.models.hosts import TAKES_WORK
from fleetwide.models.queues import QueuePreemption, full_path, short_path
from fleetwide.models.task_states import TaskState
from fleetwide.store.capacity_groups import HELD
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

MOST_ATTEMPTS = 20_000
"""Of more work the newest is left out: a plan is a look, and takes a moment."""
AT_ONCE = Rules(preempt_after_seconds=0.0, preempt_share_per_minute=1.0)
"""What would leave in the end, not what would in the first minute."""


@dataclass(frozen=True)
class _Work:
    """What runs and waits, whatever its queue may."""

    hosts: Mapping[str, Amounts]
    pending: tuple[Pending, ...]
    running: tuple[Running, ...]

    def under(self, tree: Tree) -> Snapshot:
        """The part of it that has a leaf there."""
        leaves = {node.path for node in tree.leaves}
        return Snapshot(
            tree=tree,
            hosts=self.hosts,
            pending=tuple(row for row in self.pending if row.queue in leaves),
            running=tuple(task for task in self.running if task.row.queue in leaves),
            rules=AT_ONCE,
        )


def preempted(session: Session, now: Tree, then: Tree) -> list[QueuePreemption]:
    """Those that would have to leave in the tree ``then``, and need not in that of now."""
    work = _work(session)
    if not (work.pending and work.running):
        return []
    moment = time.time()
    before = {each.task for each in schedule(work.under(now), moment).evictions}
    found = schedule(work.under(then), moment).evictions
    queue_of = {row.key: row.queue for row in work.pending}
    owners = {task.row.job: task.row.queue for task in work.running}
    lost = Counter((each.task.job, queue_of[each.by]) for each in found if each.task not in before)
    return [
        QueuePreemption(
            job=job, queue=short_path(owners[job]), tasks=tasks, for_queue=short_path(queue)
        )
        for (job, queue), tasks in sorted(lost.items())
    ]


def _work(session: Session) -> _Work:
    live = or_(col(AttemptRow.reserved).is_(True), col(AttemptRow.state) == TaskState.ACCEPTED)
    query = (
        select(AttemptRow, JobRow)
        .join(JobRow, col(JobRow.id) == AttemptRow.job_id)
        .where(col(JobRow.kind) == JobKind.BATCH, live)
        .order_by(col(AttemptRow.id))
        .limit(MOST_ATTEMPTS)
    )
    found = session.exec(query).all()
    rows = _rows(session, found)
    return _Work(
        _hosts(session),
        tuple(row for row, (attempt, _) in zip(rows, found, strict=True) if not attempt.reserved),
        tuple(_running(rows, found)),
    )


def _rows(session: Session, found: Sequence[tuple[AttemptRow, JobRow]]) -> list[Pending]:
    shapes = JobShapes().of(session, {attempt.job_id for attempt, _ in found})
    return [
        Pending(
            job=job.workflow_id,
            queue=full_path(job.queue),
            shape=shapes[attempt.job_id].shape,
            first=attempt.index,
            priority=job.priority,
            owner=job.owner,
            submitted=attempt.accepted_at.timestamp(),
        )
        for attempt, job in found
    ]


def _running(
    rows: Iterable[Pending], found: Sequence[tuple[AttemptRow, JobRow]]
) -> Iterable[Running]:
    for row, (attempt, _) in zip(rows, found, strict=True):
        if attempt.reserved and attempt.host_id is not None:
            began = attempt.started_at or attempt.accepted_at
            yield Running(row, attempt.index, attempt.host_id, began.timestamp())


def _hosts(session: Session) -> dict[str, Amounts]:
    """What each host that takes work has for batch: all but what others hold of it."""
    others = (
        select_columns(col(AttemptRow.host_id), *(func.sum(amount) for amount in HELD))
        .join(JobRow, col(JobRow.id) == AttemptRow.job_id)
        .where(col(AttemptRow.reserved).is_(True), col(JobRow.kind) != JobKind.BATCH)
        .group_by(col(AttemptRow.host_id))
    )
    held = {host: tuple(map(int, rest)) for host, *rest in session.connection().execute(others)}
    rows = session.exec(select(HostRow).where(col(HostRow.state).in_(TAKES_WORK))).all()
    return {row.host_id: _left(row, held.get(row.host_id, (0,) * len(HELD))) for row in rows}


def _left(row: HostRow, held: tuple[int, ...]) -> Amounts:
    disk = UNCOUNTED if row.disk_bytes is None else row.disk_bytes
    network = UNCOUNTED if row.network_mbps is None else row.network_mbps
    has = (row.cpu_milli, row.memory_bytes, disk, network, len(row.gpus))
    return Amounts(*(max(whole - taken, 0) for whole, taken in zip(has, held, strict=True)))
