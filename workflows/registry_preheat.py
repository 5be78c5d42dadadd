"""``ImagePreheat``: an image on many hosts before a job needs it there."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.registry_preheat import PreheatPlanActivities
    from fleetwide.models.hosts import host_task_queue
    from fleetwide.models.registry_preheat import (
        PreheatOutcome,
        PreheatPlan,
        PreheatRest,
        PreheatRun,
        PreheatSpec,
        WarmedHost,
        WarmHost,
    )
    from fleetwide.registry import preheat
    from fleetwide.registry.preheat import Spread, Step
    from fleetwide.temporal import search_attributes as attributes

from workflows.baseos_steps import book
from workflows.running import stop_if_cancelled, to_the_end

HOST_LIMIT = timedelta(hours=1)
HOST_HEARTBEAT = timedelta(seconds=30)
HOST_SILENCE = timedelta(seconds=60)
"""A host whose worker does not take the task by then is left out."""
WARMING = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)


@workflow.defn(name="ImagePreheat")
class ImagePreheat:
    """A few hosts fetch from the registry; whoever has the image serves the next ones."""

    def __init__(self) -> None:
        self.outcome = PreheatOutcome(reference="")

    @workflow.run
    async def run(self, spec: PreheatRun) -> PreheatOutcome:
        rest: PreheatRest | None = None
        try:
            rest = await self._spread(spec, spec.rest or await _planned(spec))
        finally:
            # What is left goes on in a new run, under the same rights.
            if rest is None:
                await to_the_end(_take_rights)
        if rest is not None:
            workflow.continue_as_new(spec.model_copy(update={"rest": rest}))
        return self.outcome

    async def _spread(self, spec: PreheatRun, begun: PreheatRest) -> PreheatRest | None:
        """Warm the hosts; what is left when the history is long, None when nothing is."""
        stop_if_cancelled()
        plan, self.outcome = begun.plan, begun.outcome
        self._tell(plan)
        spread = Spread(plan.hosts, seeds=spec.seeds, fan_out=spec.fan_out, peers=begun.peers)
        running: set[asyncio.Task[None]] = set()
        while True:
            while _has_room(running) and (step := spread.next()) is not None:
                running.add(asyncio.create_task(self._warm(plan, spread, step)))
            if not running:
                break
            done, running = await _first(running)
            for task in done:
                task.result()
            self._tell(plan)
        stop_if_cancelled()
        if not spread.waiting:
            return None
        waiting = plan.model_copy(update={"hosts": list(spread.waiting)})
        return PreheatRest(plan=waiting, peers=spread.peers, outcome=self.outcome)

    async def _warm(self, plan: PreheatPlan, spread: Spread, step: Step) -> None:
        serves = None
        try:
            warmed = await _warm_host(plan, step)
        except ActivityError as error:
            why = str(getattr(error.cause, "message", None) or error)
            outcome = self.outcome.with_failed(step.host, why)
        else:
            serves, outcome = warmed.peer_url, self.outcome.with_warm(warmed)
            if warmed.faults and step.peer is not None:
                spread.distrust(step.peer)
        spread.ended(step, serves)
        self.outcome = outcome.model_copy(update={"waiting": len(spread.waiting)})

    def _tell(self, plan: PreheatPlan) -> None:
        done = self.outcome
        workflow.set_current_details(
            f"`{done.reference}`\n- {done.done} of {done.hosts} hosts have it, "
            f"{done.lost} failed\n- {done.bytes_registry} bytes from the registry, "
            f"{done.bytes_peers} from other hosts"
        )
        workflow.upsert_search_attributes(
            attributes.updates(
                {attributes.PRODUCT: "registry", attributes.IMAGE_DIGEST: plan.digest}
            )
        )

    @workflow.query(description="Which hosts have the image, and from where it came")
    def progress(self) -> PreheatOutcome:
        return self.outcome


async def _planned(spec: PreheatRun) -> PreheatRest:
    asked = PreheatSpec.model_validate(spec.model_dump(exclude={"rest"}))
    plan: PreheatPlan = await book(
        PreheatPlanActivities.plan_preheat, asked, summary="pin the image and choose the hosts"
    )
    count = len(plan.hosts)
    outcome = PreheatOutcome(
        reference=f"{plan.repository}@{plan.digest}", hosts=count, waiting=count
    )
    return PreheatRest(plan=plan, peers=[], outcome=outcome)


def _has_room(running: set[asyncio.Task[None]]) -> bool:
    """Whether another host may begin in this run."""
    events = workflow.info().get_current_history_length()
    return len(running) < preheat.AT_A_TIME and events < preheat.RUN_EVENTS


async def _first(
    running: set[asyncio.Task[None]],
) -> tuple[list[asyncio.Task[None]], set[asyncio.Task[None]]]:
    """Wait for one; when the workflow is cancelled, the hosts are too."""
    try:
        done, left = await workflow.wait(running, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    return list(done), set(left)


async def _take_rights() -> None:
    await book(PreheatPlanActivities.take_rights, summary="end what the hosts may pull for this")


async def _warm_host(plan: PreheatPlan, step: Step) -> WarmedHost:
    source = f"with {step.peer}" if step.peer else "from the registry"
    warmed: WarmedHost = await workflow.execute_activity(
        "preheat.warm_host",
        WarmHost(repository=plan.repository, digest=plan.digest, peer=step.peer),
        result_type=WarmedHost,
        task_queue=host_task_queue(step.host),
        schedule_to_start_timeout=HOST_SILENCE,
        start_to_close_timeout=HOST_LIMIT,
        heartbeat_timeout=HOST_HEARTBEAT,
        retry_policy=WARMING,
        summary=f"have the image on {step.host}, {source}",
    )
    return warmed
