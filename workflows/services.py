"""``ContainerService``: so many copies of one container, kept healthy, deployed, scaled, moved.

It is level-triggered: the database says what is wanted and what there is, each look brings the
second closer to the first, and a look may be taken at any time. So the workflow keeps nothing
that could be lost: who is told of a change looks again, and a slow timer looks in any case.
"""

from contextlib import suppress
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.services import ServiceActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.service_documents import ServiceState, ServiceStatus
    from fleetwide.models.service_moves import (
        CopyMove,
        CopyTermination,
        DeployRequest,
        ServiceAttributes,
        ServiceMove,
        ServiceProcesses,
        ServiceRollback,
        ServiceScale,
        ServiceSwitch,
        TaskMove,
    )
    from fleetwide.models.service_turns import (
        ServiceChange,
        ServiceStart,
        ServiceTurn,
        ServiceTurned,
    )
    from fleetwide.models.services import ContainerServiceSpec
    from fleetwide.services.status import service_details
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT
from workflows.running import stop_if_cancelled, to_the_end

SLOW = timedelta(minutes=5)
"""So often it looks though nobody has told it anything."""
LEAST_PAUSE = timedelta(milliseconds=100)
TURN_LIMIT = timedelta(minutes=2)
CANCELLED = ServiceMove(by="temporal", reason="the workflow was cancelled")


@workflow.defn(name="ContainerService")
class ContainerService:
    """Lives until it is deleted or cancelled: then its copies are stopped."""

    @workflow.init
    def __init__(self, spec: ContainerServiceSpec) -> None:
        self.spec = spec
        self.service_id = workflow.info().workflow_id.removeprefix("service/")
        self.known = False
        self.awake = True
        self.changes = 0
        self.moves: list[CopyMove] = []
        self.told: ServiceStatus | None = None
        self.shown = ""

    @workflow.run
    async def run(self, spec: ContainerServiceSpec) -> ServiceStatus:
        try:
            await self._ensure(spec)
            while not self._over():
                await self._wait(await self._turn())
                await workflow.wait_condition(
                    lambda: not self._over() or workflow.all_handlers_finished()
                )
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            await to_the_end(self._clear)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        if not self._deleted():
            workflow.continue_as_new(spec)
        return self.status()

    async def _ensure(self, spec: ContainerServiceSpec) -> None:
        info = workflow.info()
        self.told = await workflow.execute_local_activity_method(
            ServiceActivities.ensure,
            ServiceStart(service_id=self.service_id, run_id=info.first_execution_run_id, spec=spec),
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="make the service known",
        )
        self.known = True
        self._index()

    def _deleted(self) -> bool:
        return self.told is not None and self.told.state is ServiceState.DELETED

    def _over(self) -> bool:
        """Deleted, or time for a history anew: but with nothing that was not looked at yet."""
        if self._deleted():
            return True
        return workflow.info().is_continue_as_new_suggested() and not self.moves

    async def _turn(self) -> ServiceTurned:
        """Look and act; what comes meanwhile is for the next one."""
        self.awake, moves, changes = False, list(self.moves), self.changes
        turned = await workflow.execute_activity_method(
            ServiceActivities.turn,
            ServiceTurn(service_id=self.service_id, moves=moves),
            start_to_close_timeout=TURN_LIMIT,
            retry_policy=PERSISTENT,
            summary="look at the copies, start and stop what is due",
        )
        del self.moves[: len(moves)]
        if self.changes == changes:  # else it looked before somebody changed what is wanted
            self._show(turned.status)
        stop_if_cancelled()
        return turned

    async def _wait(self, turned: ServiceTurned) -> None:
        """Until somebody tells of a change, or the clock does."""
        if self._over():
            return
        pause = SLOW
        if turned.again_in_seconds is not None:
            pause = min(max(timedelta(seconds=turned.again_in_seconds), LEAST_PAUSE), SLOW)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.awake, timeout=pause, timeout_summary="look again"
            )

    async def _clear(self) -> None:
        """Delete the service, after a cancel."""
        with suppress(ApplicationError):  # it is being deleted already
            await self._change("delete", CANCELLED)
        while not self._deleted():
            await self._wait(await self._turn())

    def _show(self, status: ServiceStatus) -> None:
        self.told = status
        details = service_details(status)
        if details != self.shown:
            self.shown = details
            workflow.set_current_details(details)

    def _index(self) -> None:
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.APP: self.spec.app,
                    attributes.OWNER: self.spec.owner,
                    attributes.PRODUCT: "containers",
                }
            )
        )

    async def _change(self, name: str, argument: BaseModel) -> ServiceStatus:
        """Write down what somebody wants, and look at once.

        Raises what ``services.change`` does.
        """
        # An update may arrive together with the start, before there is a row.
        await workflow.wait_condition(lambda: self.known)
        update = workflow.current_update_info()
        try:
            status = await workflow.execute_local_activity_method(
                ServiceActivities.change,
                ServiceChange(
                    service_id=self.service_id,
                    name=name,
                    argument=argument.model_dump(mode="json", exclude_unset=True),
                    change_id=update.id if update is not None else None,
                ),
                start_to_close_timeout=BOOKING_TIMEOUT,
                retry_policy=PERSISTENT,
                summary=f"write down: {name}",
            )
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError):
                raise error.cause from None
            raise
        self._show(status)
        self.changes += 1
        self.awake = True
        return status

    @workflow.query(description="Counts by revision, the deploy, what the service waits for")
    def status(self) -> ServiceStatus:
        if self.told is None:
            raise ApplicationError("the service has not been looked at yet")
        return self.told

    @workflow.signal(description="A copy has changed: look again")
    def changed(self) -> None:
        self.awake = True

    @workflow.signal(description="A copy has to leave its host")
    def move(self, move: CopyMove) -> None:
        self.moves.append(move)
        self.awake = True

    @workflow.update(description="A new version of the spec")
    async def deploy(self, request: DeployRequest) -> ServiceStatus:
        return await self._change("deploy", request)

    @workflow.update(description="Change how many copies there are: min, desired, max")
    async def scale(self, request: ServiceScale) -> ServiceStatus:
        return await self._change("scale", request)

    @workflow.update(description="Whether anything scales it by itself")
    async def set_enabled(self, request: ServiceSwitch) -> ServiceStatus:
        return await self._change("set_enabled", request)

    @workflow.update(description="What nobody may do to desired until it is allowed again")
    async def set_processes(self, request: ServiceProcesses) -> ServiceStatus:
        return await self._change("set_processes", request)

    @workflow.update(description="Another owner, other labels; no copy is replaced")
    async def set_attributes(self, request: ServiceAttributes) -> ServiceStatus:
        return await self._change("set_attributes", request)

    @workflow.update(description="Hold the deploy")
    async def pause(self, request: ServiceMove) -> ServiceStatus:
        return await self._change("pause", request)

    @workflow.update(description="Let the deploy go on")
    async def resume(self, request: ServiceMove) -> ServiceStatus:
        return await self._change("resume", request)

    @workflow.update(description="Let the new version have everything")
    async def promote(self, request: ServiceMove) -> ServiceStatus:
        return await self._change("promote", request)

    @workflow.update(description="Give the deploy up where it stands")
    async def abort(self, request: ServiceMove) -> ServiceStatus:
        return await self._change("abort", request)

    @workflow.update(description="Back to an earlier revision")
    async def rollback(self, request: ServiceRollback) -> ServiceStatus:
        return await self._change("rollback", request)

    @workflow.update(description="End one copy, and perhaps want one less")
    async def terminate_copy(self, request: CopyTermination) -> ServiceStatus:
        return await self._change("terminate_copy", request)

    @workflow.update(description="Let a running copy be one of another service")
    async def move_task(self, request: TaskMove) -> ServiceStatus:
        return await self._change("move_task", request)

    @workflow.update(description="Stop all copies and end the service")
    async def delete(self, request: ServiceMove) -> ServiceStatus:
        return await self._change("delete", request)

    @deploy.validator
    def _may_deploy(self, request: DeployRequest) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @scale.validator
    def _may_scale(self, request: ServiceScale) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @set_enabled.validator
    def _may_set_enabled(self, request: ServiceSwitch) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @set_processes.validator
    def _may_set_processes(self, request: ServiceProcesses) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @set_attributes.validator
    def _may_set_attributes(self, request: ServiceAttributes) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @pause.validator
    def _may_pause(self, request: ServiceMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @resume.validator
    def _may_resume(self, request: ServiceMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @promote.validator
    def _may_promote(self, request: ServiceMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @abort.validator
    def _may_abort(self, request: ServiceMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @rollback.validator
    def _may_rollback(self, request: ServiceRollback) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @terminate_copy.validator
    def _may_terminate_copy(self, request: CopyTermination) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @move_task.validator
    def _may_move_task(self, request: TaskMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    @delete.validator
    def _may_delete(self, request: ServiceMove) -> None:  # noqa: ARG002
        self._refuse_if_deleting()

    def _refuse_if_deleting(self) -> None:
        if self.told is not None and self.told.state is not ServiceState.ACTIVE:
            raise ApplicationError(
                f"service {self.service_id} is being deleted",
                type=ErrorCode.CONFLICT,
                non_retryable=True,
            )
