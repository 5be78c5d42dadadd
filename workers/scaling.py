"""The scheduler's turn that scales services: look, decide, ask the service, write down why."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError

from fleetwide.models.scaling import HoldCode, LastAction
from fleetwide.models.service_moves import ServiceScale
from fleetwide.services.scaling import Decision, Hold, decide
from fleetwide.services.scaling_memory import noticed, remember
from fleetwide.store import metrics, scaling
from fleetwide.store.scaling import Outcome, ScaledService
from fleetwide.store.session import Store
from fleetwide.store.usage_notes import UsageNotes

SCALE_SECONDS = 15.0
PRUNE_SECONDS = 60.0
UPDATE_SECONDS = 10.0
UPDATES_AT_A_TIME = 20
MAX_REASON = 500
AUTOSCALER = "autoscaler"
# Samples that came in late are still read by the next decision.
LEEWAY = timedelta(seconds=30)

# What a look further back may make something else of.
_NEED_MORE = frozenset({HoldCode.TOO_FEW_SAMPLES, HoldCode.NO_SAMPLES})

log = structlog.get_logger()


@dataclass(frozen=True)
class _Case:
    """One service with what was decided for it."""

    service: ScaledService
    last_actions: list[LastAction]
    found: Decision | Hold
    at: datetime

    def outcome(
        self, desired: int, code: HoldCode | None, sentence: str, actions: Sequence[LastAction]
    ) -> Outcome:
        return Outcome(
            service_id=self.service.service_id,
            desired=desired,
            sentence=sentence,
            code=code,
            numbers=self.found.numbers,
            verdicts=self.found.verdicts,
            last_actions=actions,
            at=self.at,
        )


class Scaler:
    """Scales the services that have policies; ``usages`` learns which figures it goes by."""

    def __init__(self, store: Store, client: Client, usages: UsageNotes) -> None:
        self.store = store
        self.client = client
        self.usages = usages
        self._slots = asyncio.Semaphore(UPDATES_AT_A_TIME)
        self._scaled: list[str] = []
        self._prune_at = 0.0

    async def scale_services(self) -> None:
        """Decide for each service, have it changed where something is to change, and say why."""
        cases = await asyncio.to_thread(self._look)
        settled = await asyncio.gather(*(self._settled(case) for case in cases))
        outcomes = [one for one in settled if one is not None]
        await asyncio.to_thread(self._write, cases, outcomes)

    def _look(self) -> list[_Case]:
        with self.store.read() as session:
            services = scaling.listing(session)
        self._scaled = [one.service_id for one in services]
        self.usages.wanted = {one.service_id: one.metrics for one in services}
        self.usages.moved = {
            task_id: one.service_id
            for one in services
            for task_id in one.bounds.live or ()
            if task_id.rsplit(".", 2)[0] != one.service_id
        }
        decided = [self._decided(service) for service in services]
        return [one for one in decided if one is not None]

    def _decided(self, service: ScaledService) -> _Case | None:
        """One service's trouble keeps no other from being looked at."""
        try:
            return self._decide(service)
        except Exception:
            log.exception("could not decide for a service", service=service.service_id)
            return None

    def _decide(self, service: ScaledService) -> _Case:
        """By the newest samples alone where these say enough, which they mostly do."""
        now, desired = datetime.now(UTC), service.bounds.desired
        actions = noticed(service.last_actions, service.seen_desired, desired, now)
        bounds = replace(service.bounds, faults=self.usages.faults(service.service_id))
        with self.store.read() as session:

            def by(span: timedelta) -> Decision | Hold:
                since = now - span - LEEWAY
                of = (session, service.service_id, service.metrics, since)
                samples, minutes = metrics.samples_of(*of), metrics.minutes_of(*of)
                return decide(service.policies, bounds, samples, actions, now, minutes)

            found = by(service.recent)
            if any(one.code in _NEED_MORE for one in found.verdicts):
                found = by(service.history)
        return _Case(service, actions, found, now)

    async def _settled(self, case: _Case) -> Outcome | None:
        """One service's trouble keeps no other from being scaled."""
        try:
            return await self._settle(case)
        except Exception:
            log.exception("could not scale a service", service=case.service.service_id)
            return None

    async def _settle(self, case: _Case) -> Outcome:
        found, before = case.found, case.service.bounds.desired
        if isinstance(found, Hold):
            return case.outcome(before, found.code, found.sentence, case.last_actions)
        refusal = await self._change(case.service, found, case.last_actions)
        if refusal is not None:
            sentence = f"{found.sentence}; refused: {refusal}"
            return case.outcome(before, HoldCode.UPDATE_REFUSED, sentence, case.last_actions)
        action = LastAction(policy=found.policy, at=case.at, before=before, after=found.desired)
        log.info("scaled", service=case.service.service_id, why=found.sentence)
        actions = remember(case.last_actions, action)
        return case.outcome(found.desired, None, found.sentence, actions)

    async def _change(
        self, service: ScaledService, found: Decision, actions: Sequence[LastAction]
    ) -> str | None:
        """Have the service changed; why it was not, else None."""
        request = ServiceScale(
            by=AUTOSCALER,
            reason=found.sentence[:MAX_REASON],
            expected_version=service.version,
            desired=found.desired,
            numbers=found.numbers,
        )
        handle = self.client.get_workflow_handle(service.workflow_id)
        name = update_id(service, actions)
        try:
            async with self._slots:
                call = handle.execute_update("scale", request, id=name)
                await asyncio.wait_for(call, UPDATE_SECONDS)
        except WorkflowUpdateFailedError as error:
            return getattr(error.cause, "message", str(error.cause))
        except (RPCError, TimeoutError) as error:
            log.warning("a service does not answer", service=service.service_id, error=str(error))
            return "the service does not answer"
        return None

    def _write(self, cases: Sequence[_Case], outcomes: Sequence[Outcome]) -> None:
        prune = monotonic() >= self._prune_at
        with self.store.write() as session:
            scaling.save(session, outcomes)
            if prune:
                scaling.forget_others(session, self._scaled)
                spans = {case.service.service_id: case.service.history + LEEWAY for case in cases}
                metrics.prune(session, spans, now=datetime.now(UTC))
        if prune:
            self._prune_at = monotonic() + PRUNE_SECONDS


def update_id(service: ScaledService, actions: Sequence[LastAction]) -> str:
    """The same for the same change, so that one that is asked for again happens once."""
    last = max((one.at for one in actions), default=None)
    since = f"{last.timestamp():.3f}" if last else "first"
    return f"{AUTOSCALER}/{service.version}/{service.bounds.desired}/{since}"
