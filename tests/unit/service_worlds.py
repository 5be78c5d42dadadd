"""A service in SQL without Temporal: tasks are rows that a test moves as it likes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetwide.models.containers import AttemptRequest, FinishJob, JobHeader, JobKind
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.service_turns import ServiceChange
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.services.tasks import task_of
from fleetwide.store import jobs, service_changes, service_copies, service_history, service_turns
from fleetwide.store import services as services_store
from fleetwide.store.service_copies import Seen
from fleetwide.store.service_turns import Turn
from fleetwide.store.session import Store

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def service_spec(**more: Any) -> dict[str, Any]:
    """A service as people write it; its copies are ready as soon as they have started."""
    container = {"image": "apps/hello:1.0.0", "command": ["sleep"], **more.pop("container", {})}
    deploy = {"healthy_seconds": 0, "max_failed_copies": 2, **more.pop("deploy", {})}
    return {
        "app": "hello",
        "owner": "team",
        "container": container,
        "deploy": deploy,
        "capacity": {"desired": more.pop("desired", 3)},
        **more,
    }


@dataclass
class ServiceWorld:
    """The platform around one service."""

    store: Store
    now: datetime = T0
    name: str = "web"
    running: list[str] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)
    most_live: int = 0

    def create(self, **more: Any) -> None:
        spec = ContainerServiceSpec.model_validate(service_spec(**more))
        with self.store.write() as session:
            services_store.ensure(session, self.name, "run", spec, now=self.now)

    def change(self, name: str, **argument: Any) -> Any:
        argument.setdefault("reason", "a test")
        with self.store.write() as session:
            asked = ServiceChange(
                service_id=self.name,
                name=name,
                argument=argument,
                change_id=argument.pop("change_id", None),
            )
            return service_changes.change(session, asked, self.now)

    def look(self, *moves: CopyMove) -> Turn:
        """One turn, with its orders carried out at once."""
        with self.store.write() as session:
            turn = service_turns.take(session, self.name, moves, self.now)
        for member in turn.orders.starts:
            self._start(member.task_id, member.revision)
        for task_id, stop in turn.orders.stops:
            self.end(task_id, stop.reason, stop.message)
        self.most_live = max(self.most_live, len(self.running))
        return turn

    def settle(self, seconds: float = 1.0, turns: int = 60) -> Turn:
        """Look until nothing is ordered and nothing is waited for."""
        for _ in range(turns):
            turn = self.look()
            self.now += timedelta(seconds=seconds)
            if not (turn.orders.starts or turn.orders.stops) and turn.again_at is None:
                return turn
        raise AssertionError(f"it never comes to rest: {turn.status}")

    def _start(self, task_id: str, revision: int) -> None:
        with self.store.write() as session:
            service_copies.carried_out(session, [task_id], [])
            row = service_copies.find(session, task_id)
            assert row is not None
            spec = services_store.made_from(session, self.name, [revision])[revision]
            member = service_copies.membership_of(row)
            task = task_of(spec, member)
            header = self._header(task_id, task)
            if "nothing" in task.container.image:
                self._finish(session, header, EndReason.INVALID_REQUEST, "no such image")
                return
            job = jobs.ensure(session, header, "image@sha256:0", now=self.now)
            waiter = jobs.ensure_waiter(session, job, "run", "1", now=self.now)
            [attempt] = jobs.ensure_attempts(
                session, job, header, [AttemptRequest()], waiter, now=self.now
            )
            attempt.state, attempt.reserved = TaskState.STARTED, True
            attempt.host_id = self.hosts.get(task_id, f"h{len(self.running) % 3}")
            attempt.started_at = self.now
            session.add(attempt)
        self.running.append(task_id)

    def _header(self, task_id: str, task: Any) -> JobHeader:
        return JobHeader(
            workflow_id=f"task/{task_id}",
            run_id="run",
            kind=JobKind.TASK,
            app=task.app,
            owner=task.owner,
            labels=task.labels,
            container=task.container,
            retry=RetryPolicy(),
            membership=task.membership,
        )

    def end(self, task_id: str, reason: EndReason = EndReason.FAILED, message: str = "") -> None:
        with self.store.write() as session:
            row = service_copies.find(session, task_id)
            assert row is not None
            member = service_copies.membership_of(row)
            task = task_of(service_history.template_of(session, self.name, row.revision), member)
            self._finish(session, self._header(task_id, task), reason, message)
        if task_id in self.running:
            self.running.remove(task_id)

    def _finish(self, session: Any, header: JobHeader, reason: EndReason, message: str) -> None:
        result = {"reason": reason, "message": message}
        done = FinishJob(job=header, state=TaskState.FINISHED, result=result)
        jobs.finish(session, done, now=self.now)

    def put(self, task_id: str, state: TaskState, reason: EndReason | None = None) -> None:
        """Bring a copy's attempt to a state, as its host or its workflow would."""
        with self.store.write() as session:
            job = jobs.find(session, f"task/{task_id}")
            assert job is not None
            assert job.id is not None
            [attempt] = jobs.attempts(session, job.id)
            attempt.state, attempt.reason = state, reason
            session.add(attempt)

    def copies(self) -> Sequence[Seen]:
        with self.store.read() as session:
            return service_copies.seen(session, self.name)

    def indices(self) -> list[int]:
        return sorted(one.row.index for one in self.copies())
