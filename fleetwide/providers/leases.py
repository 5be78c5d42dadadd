"""The leases of one host worker: taken before a container starts, renewed by Temporal's answers.

A renewal is a heartbeat of the attempt's own activity that Temporal has answered. It counts from
when it was sent, so the host's lease ends before Temporal can give the attempt up.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedTooLong
from dataclasses import replace
from datetime import timedelta

from temporalio import activity
from temporalio.api.common.v1 import Payloads
from temporalio.api.workflowservice.v1 import RecordActivityTaskHeartbeatRequest
from temporalio.client import Client
from temporalio.service import RPCError

from fleetwide.containers.launch import labels
from fleetwide.containers.leases import Lease, renewal_seconds
from fleetwide.errors import DockerUnavailable, ServiceUnavailable
from fleetwide.models.containers import RunContainer
from fleetwide.models.hosts import RunProgress
from fleetwide.providers.lease_folder import LeaseFolder, boot_id, boot_time

ANSWER = timedelta(seconds=5)
FIRST_ANSWER_SECONDS = 10.0
_log = logging.getLogger(__name__)


class AttemptLease:
    """The lease of one attempt, for as long as one try of its activity holds it. Thread-safe."""

    def __init__(self, leases: "Leases", lease: Lease, token: bytes) -> None:
        self.lease = lease
        self._leases = leases
        self._token = token
        self._sent: Future[None] | None = None
        self._tried_at = 0.0
        self._every = renewal_seconds(lease.stop_after)

    def take(self, progress: RunProgress) -> None:
        """Return once the attempt's containers may run here; ``progress`` is what it tells.

        Raises ``ServiceUnavailable`` when Temporal does not answer, or has given this try up, and
        ``DockerUnavailable`` where this host's disk has no room for a lease.
        """
        sent = self._renew(progress)
        try:
            sent.result(FIRST_ANSWER_SECONDS)
        except (RPCError, WaitedTooLong) as error:
            raise ServiceUnavailable(
                f"Temporal did not confirm that {self.lease.name} shall run here: {error}"
            ) from error
        except OSError as error:
            raise DockerUnavailable(
                f"this host cannot keep a lease of {self.lease.name}: {error.strerror}",
                hint=f"df -h {self._leases.folder.folder}",
            ) from error

    def tick(self, progress: RunProgress) -> None:
        """Renew the lease when it is time; does not wait for the answer."""
        waits = self._sent is not None and not self._sent.done()
        if not waits and self._leases.clock() - self._tried_at >= self._every:
            self._renew(progress)

    def check(self) -> None:
        """Look, before something is started, whether it may be.

        Raises ``ServiceUnavailable`` when the lease is over: it was not renewed while an image was
        pulled, for example.
        """
        if self.lease.is_over(self._leases.boot, self._leases.clock()):
            raise ServiceUnavailable(
                f"{self.lease.name} may not start here: Temporal has been out of reach for too long"
            )

    def fenced(self) -> bool:
        """Whether the containers were stopped because the lease was not renewed."""
        return self._leases.folder.is_fenced(self.lease.name)

    def close(self) -> None:
        """Nothing of the attempt is here any more."""
        self._leases.folder.drop(self.lease.name)

    def _renew(self, progress: RunProgress) -> Future[None]:
        self._tried_at = self._leases.clock()
        self._sent = self._leases.send(self._token, progress, self._answered)
        self._sent.add_done_callback(self._note_failure)
        return self._sent

    def _answered(self, sent_at: float) -> None:
        self.lease = replace(self.lease, renewed_at=max(sent_at, self.lease.renewed_at))
        self._leases.folder.write(self.lease)

    def _note_failure(self, sent: Future[None]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            _log.info("the lease of %s was not renewed: %s", self.lease.name, error)


class Leases:
    """Takes and renews leases over a worker's own connection; made inside its event loop."""

    def __init__(
        self, folder: LeaseFolder, client: Client, clock: Callable[[], float] = boot_time
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._client = client
        self._loop = asyncio.get_running_loop()
        self.boot = boot_id()

    def open(self, run: RunContainer, platform: str) -> AttemptLease:
        """The lease of the attempt that the current activity is a try of."""
        info = activity.info()
        policy, grace = run.container.disconnect, run.container.stop_grace_seconds
        lease = Lease(
            name=run.key.container_name(),
            labels=labels(run, platform),
            boot_id=self.boot,
            renewed_at=0.0,
            stop_after=policy.stop_after(grace),
            grace=grace,
            workflow_id=info.workflow_id or "",
            run_id=info.workflow_run_id or "",
            activity_id=info.activity_id,
        )
        return AttemptLease(self, lease, info.task_token)

    def send(
        self, token: bytes, progress: RunProgress, answered: Callable[[float], None]
    ) -> Future[None]:
        """Heartbeat for a try; ``answered`` gets the time when it was sent."""
        coroutine = self._send(token, progress, answered)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _send(
        self, token: bytes, progress: RunProgress, answered: Callable[[float], None]
    ) -> None:
        payloads = await self._client.data_converter.encode([progress])
        request = RecordActivityTaskHeartbeatRequest(
            namespace=self._client.namespace,
            identity=self._client.identity,
            task_token=token,
            details=Payloads(payloads=payloads),
        )
        sent_at = self.clock()
        service = self._client.workflow_service
        await service.record_activity_task_heartbeat(request, timeout=ANSWER)
        answered(sent_at)
