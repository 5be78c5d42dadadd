"""Services and their copies as rows of SQL, for tests of who is told where copies are reached."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from fleetwide.models.containers import AttemptKey
from fleetwide.models.health import HealthReport, HealthStatus
from fleetwide.models.hosts import ContainerReport
from fleetwide.models.task_states import TaskState
from fleetwide.store import attempt_health, attempt_states, events, targets
from fleetwide.store.attempt_states import Change
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRevisionRow, ServiceRow
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

ADDRESS = "127.0.0.1"


class Serving:
    """What the platform would have written, by hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.write() as session:
            session.add(
                HostRow(
                    host_id="served",
                    state="Active",
                    cpu_milli=1000,
                    memory_bytes=2**30,
                    machine={"address": ADDRESS},
                    labels={"zone": "a"},
                    registered_at=_now(),
                    seen_at=_now(),
                )
            )

    def service(self, service_id: str, named: Sequence[dict[str, Any]] = (), rev: int = 1) -> None:
        """A service, or a new version of it."""
        with self.store.write() as session:
            row = session.get(ServiceRow, service_id) or ServiceRow(
                service_id=service_id,
                workflow_id=f"service/{service_id}",
                run_id="r",
                state="Active",
                app="shop",
                created_at=_now(),
                updated_at=_now(),
            )
            row.revision = rev
            session.add(row)
            spec = {"targets": list(named)}
            session.add(
                ServiceRevisionRow(
                    service_id=service_id, number=rev, template=1, spec=spec, at=_now()
                )
            )

    def copy(self, service_id: str, index: int, port: int, *, checked: bool = False) -> str:
        """A copy that has started; its task's id."""
        task_id = f"{service_id}.{index}.1"
        with self.store.write() as session:
            job = JobRow(
                workflow_id=f"task/{task_id}",
                run_id="r",
                kind="task",
                app="shop",
                state=TaskState.STARTED,
                spec={"container": {"health": {"tcp": {"port": 80}} if checked else None}},
                created_at=_now(),
                service_id=service_id,
                copy_index=index,
                revision=1,
            )
            session.add(job)
            session.flush()
            session.add(
                AttemptRow(
                    job_id=job.id or 0,
                    state=TaskState.STARTED,
                    cpu_milli=100,
                    memory_bytes=2**20,
                    host_id="served",
                    ports={"http": port},
                    accepted_at=_now(),
                )
            )
            events.append(session, job.workflow_id, "state", "attempt 1 is Started", at=_now())
        return task_id

    def move(self, task_id: str, to: str, index: int) -> None:
        """Let a copy be one of another service."""
        with self.store.write() as session:
            job = _job(session, task_id)
            job.service_id, job.copy_index = to, index
            session.add(job)
            session.add(
                ServiceCopyRow(
                    service_id=to,
                    index=index,
                    incarnation=1,
                    revision=1,
                    task_id=task_id,
                    created_at=_now(),
                )
            )
            targets.hand_over(session, task_id, to)
            events.append(session, f"service/{to}", "moveTask", "it was moved", at=_now())

    def health(self, task_id: str, status: str) -> None:
        """What the checks of a copy tell."""
        report = ContainerReport(
            key=AttemptKey(workflow_id=f"task/{task_id}", run_id="r"),
            state=TaskState.STARTED,
            since=_now(),
            health=HealthReport(status=HealthStatus(status), since=_now()),
        )
        with self.store.write() as session:
            attempt_health.write(session, report, now=_now())

    def state(self, task_id: str, state: TaskState) -> None:
        """Where a copy is; over when it is Finished."""
        with self.store.write() as session:
            row, job = _attempt(session, task_id), _job(session, task_id)
            ended = _now() if state is TaskState.FINISHED else None
            change = Change(state, _now(), values={"finished_at": ended})
            attempt_states.move(session, job.workflow_id, row, change)
            job.finished_at = ended
            session.add(job)

    def release(self, task_id: str) -> bool:
        """Ask a copy to leave its targets; whether it may be stopped."""
        with self.store.write() as session:
            targets.release(session, task_id.rsplit(".", 2)[0], task_id, _now())
        return self.released(task_id)

    def released(self, task_id: str) -> bool:
        with self.store.read() as session:
            return targets.released(session, task_id, _now())

    def states(self) -> dict[str, str]:
        """Each registration's state by task and target; ``!`` where something keeps it from it."""
        with self.store.read() as session:
            return {
                f"{one.task_id} {one.target.partition(':')[2]}": one.state + "!" * bool(one.error)
                for _, one in targets.registrations(session)
            }


def _job(session: Session, task_id: str) -> JobRow:
    return session.exec(select(JobRow).where(JobRow.workflow_id == f"task/{task_id}")).one()


def _attempt(session: Session, task_id: str) -> AttemptRow:
    job = _job(session, task_id)
    query = select(AttemptRow).where(col(AttemptRow.job_id) == job.id)
    return session.exec(query).one()


def _now() -> datetime:
    return datetime.now(UTC)
