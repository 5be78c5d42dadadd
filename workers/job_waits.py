"""The scheduler's turn that tells batch jobs that one has ended for which they wait."""

import asyncio

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.store import job_waits
from fleetwide.store.batch_tables import JobWaitRow
from fleetwide.store.session import Store

TELL_SECONDS = 0.25


class JobWaitTeller:
    """Tells each at least once: the job asks again how the others stand."""

    def __init__(self, store: Store, client: Client) -> None:
        self.store = store
        self.client = client

    async def turn(self) -> None:
        """Tell those whose wait may be over; who could not be told is told by a later turn."""
        waits = await asyncio.to_thread(self._ended)
        answers = await asyncio.gather(*map(self._tell, waits), return_exceptions=True)
        told = [each for each, answer in zip(waits, answers, strict=True) if answer is None]
        if told:
            await asyncio.to_thread(self._forget, told)
        for answer in answers:
            if answer is not None:
                raise answer

    def _ended(self) -> list[JobWaitRow]:
        with self.store.read() as session:
            return list(job_waits.to_tell(session))

    def _forget(self, told: list[JobWaitRow]) -> None:
        with self.store.write() as session:
            job_waits.forget(session, told)

    async def _tell(self, wait: JobWaitRow) -> None:
        try:
            await self.client.get_workflow_handle(wait.workflow_id).signal("others_ended")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # one that is over waits no more
                raise
