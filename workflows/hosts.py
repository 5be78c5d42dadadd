"""``Host``: a machine of the fleet, from its registration to its removal.

A missed heartbeat of the watch activity is the failure detector: no other process polls hosts.
"""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.containers import ContainerActivities
    from fleetwide.models.containers import HostSpec, HostState, host_task_queue
    from fleetwide.models.hosts import HostFacts, HostRegistration
    from fleetwide.temporal import search_attributes as attributes

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
WATCH_LIMIT = timedelta(days=30)
ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name="Host")
class Host:
    """Active while its watch activity heartbeats, Disconnected while it does not."""

    def __init__(self) -> None:
        self.state = HostState.DISCONNECTED
        self.offer: HostSpec | None = None

    @workflow.run
    async def run(self, spec: HostSpec) -> None:
        try:
            while not workflow.info().is_continue_as_new_suggested():
                await self._one_connection(spec)
        except BaseException as error:
            if is_cancelled_exception(error):
                await _book(ContainerActivities.remove_host, spec.host_id)
                self._enter(HostState.REMOVED, spec)
            raise
        workflow.continue_as_new(self.offer or spec)

    async def _one_connection(self, spec: HostSpec) -> None:
        """Wait for the host's worker, register what it offers, watch it until it goes silent."""
        facts: HostFacts = await workflow.execute_activity(
            "hosts.describe",
            result_type=HostFacts,
            task_queue=host_task_queue(spec.host_id),
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=PERSISTENT,
            summary="ask the host what it offers; waits until its worker is there",
        )
        await workflow.execute_activity_method(
            ContainerActivities.register_host,
            HostRegistration(spec=self.offer or spec, facts=facts),
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="let the scheduler use the host",
        )
        self._enter(HostState.ACTIVE, spec)
        try:
            await workflow.execute_activity(
                "hosts.watch",
                task_queue=host_task_queue(spec.host_id),
                start_to_close_timeout=WATCH_LIMIT,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=ONCE,
                summary="the host reports every second",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
        await _book(ContainerActivities.disconnect_host, spec.host_id)
        self._enter(HostState.DISCONNECTED, spec)

    def _enter(self, state: HostState, spec: HostSpec) -> None:
        self.state = state
        workflow.set_current_details(f"**{state}**\n- queue: `{host_task_queue(spec.host_id)}`")
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "containers",
                    attributes.HOST: spec.host_id,
                    attributes.STATE: state,
                }
            )
        )

    @workflow.signal(description="The host's worker started and tells what it offers now")
    def offers(self, spec: HostSpec) -> None:
        self.offer = spec

    @workflow.query(description="Whether the host takes work")
    def status(self) -> HostState:
        return self.state


async def _book(step: Callable[[ContainerActivities, str], None], host_id: str) -> None:
    await workflow.execute_activity_method(
        step,
        host_id,
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary="stop the scheduler from using the host",
    )
