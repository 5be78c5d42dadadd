"""What the scheduler learns from Temporal: which containers started, which workflows are over."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.models.containers import FinishJob, JobHeader
from fleetwide.models.hosts import ANSWERS, HostReport
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import attempt_health, bakes, host_images, hosts, jobs, releases
from fleetwide.store.image_collections import Collections
from fleetwide.store.session import Store
from fleetwide.store.tables import JobRow
from fleetwide.store.usage_notes import UsageNotes
from fleetwide.temporal.attempt_metrics import count_dropped, meter_of
from workers.rota import Rota

# A younger job may still be on its way into its first activity.
RECONCILE_AFTER = timedelta(seconds=10)
# A look costs the Temporal server a millisecond, and there may be thousands to look at.
HOSTS_A_TURN = 40
JOBS_A_TURN = 200

log = structlog.get_logger()


class Watcher:
    """Reads the hosts' heartbeats and finds what terminated workflows left behind."""

    def __init__(
        self, store: Store, client: Client, reconcile_after: timedelta = RECONCILE_AFTER
    ) -> None:
        self.store = store
        self.client = client
        self.reconcile_after = reconcile_after
        self._collections = Collections()
        self.usages = UsageNotes()
        self.hosts_in_turn = Rota(HOSTS_A_TURN)
        self.jobs_in_turn = Rota(JOBS_A_TURN)

    async def watch_hosts(self) -> None:
        """Carry the states that hosts report into SQL: one call to Temporal per host.

        Hosts on which something starts come first; of a large fleet some at a time.
        """
        with self.store.read() as session:
            active = [h.host_id for h in hosts.listing(session) if h.state in ANSWERS]
            starting = hosts.starting(session)
        chosen = self.hosts_in_turn.next(active, starting)
        reports = await asyncio.gather(*(self._report(host_id) for host_id in chosen))
        await asyncio.to_thread(self._apply, [one for one in reports if one is not None])

    async def _report(self, host_id: str) -> HostReport | None:
        """What the host told last; one that cannot be read keeps no other from being heard."""
        try:
            return await self._read(host_id)
        except Exception:
            log.exception("could not read what a host reports", host_id=host_id)
            return None

    async def _read(self, host_id: str) -> HostReport | None:
        description = await self._describe(f"host/{host_id}", None)
        if description is None:
            return None
        for pending in description.raw_description.pending_activities:
            payloads = pending.heartbeat_details.payloads
            if pending.activity_type.name == "hosts.watch" and payloads:
                [report] = await self.client.data_converter.decode(payloads, [HostReport])
                assert isinstance(report, HostReport)
                return report
        return None

    def _apply(self, reports: Sequence[HostReport]) -> None:
        moved = [
            c for report in reports for c in report.containers if c.state is not TaskState.FINISHED
        ]
        with self.store.read() as session:
            rows = jobs.on_hosts(session, [report.host_id for report in reports])
            known = [(rows[c.key], c) for c in moved if c.key in rows]
            steps = [c for row, c in known if jobs.is_news(row, c.state)]
            told = [c for row, c in known if attempt_health.differs(row, c)]
            images = [r for r in reports if host_images.differ(session, r.host_id, r.images)]
            pressed = hosts.pressed(session)
        with self.store.write() as session:
            now = datetime.now(UTC)
            outcomes = [jobs.mark(session, container, now=now) for container in steps]
            for container in told:
                attempt_health.write(session, container, now=now)
            for report in images:
                host_images.write(session, report.host_id, report.images or [])
            for report in reports:
                if bool(report.pressure) != (report.host_id in pressed):
                    hosts.press(session, report.host_id, report.pressure, now=datetime.now(UTC))
                self._collections.note(session, report.host_id, report.collected)
                self.usages.note(session, report)
            hosts.seen(session, [report.host_id for report in reports], now=now)
        count_dropped(outcomes, meter_of(self.client))

    async def reconcile(self) -> None:
        """Close the rows of jobs whose workflow ended without booking its end; some at a time."""
        before = datetime.now(UTC) - self.reconcile_after
        with self.store.read() as session:
            live = {str(j.id): j for j in jobs.live(session) if j.created_at < before}
        for job in (live[key] for key in self.jobs_in_turn.next(live)):
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
