"""What the scheduler learns from Temporal: which containers started, which workflows are over."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlmodel import Session
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.models.containers import (
    ContainerReport,
    EndReason,
    FinishJob,
    HostReport,
    HostState,
    JobHeader,
    TaskState,
)
from fleetwide.store import bakes, hosts, jobs, releases
from fleetwide.store.session import Store
from fleetwide.store.tables import JobRow

# A younger job may still be on its way into its first activity.
RECONCILE_AFTER = timedelta(seconds=10)

log = structlog.get_logger()


class Watcher:
    """Reads the hosts' heartbeats and finds what terminated workflows left behind."""

    def __init__(
        self, store: Store, client: Client, reconcile_after: timedelta = RECONCILE_AFTER
    ) -> None:
        self.store = store
        self.client = client
        self.reconcile_after = reconcile_after

    async def watch_hosts(self) -> None:
        """Carry the states that hosts report into SQL: one call to Temporal per host."""
        with self.store.read() as session:
            active = [h for h in hosts.listing(session) if h.state == HostState.ACTIVE]
        for host in active:
            description = await self._describe(f"host/{host.host_id}", None)
            report = await self._report(description) if description else None
            if report is not None:
                self._apply(report)

    async def _report(self, description: WorkflowExecutionDescription) -> HostReport | None:
        for pending in description.raw_description.pending_activities:
            payloads = pending.heartbeat_details.payloads
            if pending.activity_type.name == "hosts.watch" and payloads:
                [report] = await self.client.data_converter.decode(payloads, [HostReport])
                assert isinstance(report, HostReport)
                return report
        return None

    def _apply(self, report: HostReport) -> None:
        moved = [c for c in report.containers if c.state is not TaskState.FINISHED]
        with self.store.read() as session:
            steps = [c for c in moved if _is_step(session, c)]
        with self.store.write() as session:
            for container in steps:
                row = jobs.find_attempt(session, container.key)
                if row is not None:
                    jobs.mark_started(session, row, container.state, since=container.since)
            hosts.seen(session, report.host_id, now=datetime.now(UTC))

    async def reconcile(self) -> None:
        """Close the rows of jobs whose workflow ended without booking its end."""
        before = datetime.now(UTC) - self.reconcile_after
        with self.store.read() as session:
            live: Sequence[JobRow] = [j for j in jobs.live(session) if j.created_at < before]
        for job in live:
            description = await self._describe(job.workflow_id, job.run_id)
            status = description.status if description else None
            if status is WorkflowExecutionStatus.CONTINUED_AS_NEW:
                description = await self._describe(job.workflow_id, None)
                status = description.status if description else None
            if status is not WorkflowExecutionStatus.RUNNING:
                self._close(job, status.name.lower() if status else "gone")

    async def reconcile_builds(self) -> None:
        """Book OS builds as failed whose workflow ended without a word: their claims are free."""
        before = datetime.now(UTC) - self.reconcile_after
        with self.store.read() as session:
            building = [r for r in releases.building(session) if r.created_at < before]
        for row in building:
            description = await self._describe(row.workflow_id, row.run_id)
            if description and description.status is WorkflowExecutionStatus.RUNNING:
                continue
            status = description.status if description else None
            log.info("closing a build whose workflow is over", workflow_id=row.workflow_id)
            with self.store.write() as session:
                ended = status.name.lower() if status else "gone"
                releases.abandon(session, row, f"the workflow is {ended}", now=datetime.now(UTC))

    async def reconcile_bakes(self) -> None:
        """Book bakes as failed whose workflow ended without a word."""
        before = datetime.now(UTC) - self.reconcile_after
        with self.store.read() as session:
            running = [row for row in bakes.running(session) if row.created_at < before]
        for row in running:
            description = await self._describe(row.workflow_id, row.run_id)
            if description and description.status is WorkflowExecutionStatus.RUNNING:
                continue
            status = description.status if description else None
            ended = status.name.lower() if status else "gone"
            with self.store.write() as session:
                bakes.abandon(session, row, f"the workflow is {ended}", now=datetime.now(UTC))

    def _close(self, job: JobRow, status: str) -> None:
        log.info("closing the rows of a workflow that is over", workflow_id=job.workflow_id)
        request = FinishJob(
            job=JobHeader.model_validate(job.spec),
            state=TaskState.FINISHED if job.kind == "task" else "cancelled",
            result={
                "reason": EndReason.KILLED,
                "message": f"the workflow is {status}; the reconciler freed what it held",
            },
        )
        with self.store.write() as session:
            jobs.finish(session, request, now=datetime.now(UTC))

    async def _describe(
        self, workflow_id: str, run_id: str | None
    ) -> WorkflowExecutionDescription | None:
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        try:
            return await handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise


def _is_step(session: Session, container: ContainerReport) -> bool:
    row = jobs.find_attempt(session, container.key)
    return row is not None and jobs.is_forward(TaskState(row.state), container.state)
