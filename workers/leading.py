"""Which of several schedulers acts: the one that holds the lease."""

import os
import socket
from time import monotonic

import structlog
from sqlmodel import Session

from fleetwide.store import scheduler_lease
from fleetwide.store.scheduler_lease import LEASE_SECONDS, LeaseLost
from fleetwide.store.session import Store

TRY_SECONDS = 0.5
MOST_SECONDS = 30.0
"""The longest lease that is taken, however long a tick took."""
REMEMBER_SECONDS = 60.0
"""For how long one long tick makes leases longer."""

log = structlog.get_logger()


def own_name() -> str:
    """The machine and the process, for people who look for the holder."""
    return f"{socket.gethostname()}/{os.getpid()}"


class Leadership:
    """Takes the lease when nobody holds it, keeps it, and fences what its holder writes."""

    def __init__(
        self, store: Store, holder: str | None = None, seconds: float = LEASE_SECONDS
    ) -> None:
        self.store = store
        self.holder = holder or own_name()
        self.seconds = seconds
        self.token: int | None = None
        self._lease = seconds
        self._shorter_from = 0.0
        self._again = 0.0

    def leads(self) -> bool:
        """Whether this scheduler may act. Looks into the database now and then only."""
        if monotonic() >= self._again:
            self._keep() if self.token is not None else self._try()
        return self.token is not None

    def fence(self, session: Session) -> None:
        """Renew the lease within a transaction, which fails if somebody else has it.

        Raises:
            LeaseLost: nothing of the transaction is written.
        """
        if self.token is None:
            raise LeaseLost("this scheduler does not hold the lease to place work")
        try:
            scheduler_lease.hold(session, self.token, seconds=self._lease)
        except LeaseLost:
            log.warning("another scheduler has taken over", token=self.token)
            self.token = None
            raise
        self._again = monotonic() + self.seconds / 3

    def allow_for(self, tick_seconds: float) -> None:
        """The lease outlasts the longest tick of late three times."""
        lease, now = max(self.seconds, min(3 * tick_seconds, MOST_SECONDS)), monotonic()
        if lease >= self._lease or now >= self._shorter_from:
            self._lease, self._shorter_from = lease, now + REMEMBER_SECONDS

    def give_back(self) -> None:
        """Let a standby take over at once."""
        if self.token is not None:
            with self.store.write() as session:
                scheduler_lease.give_back(session, self.token)
            self.token = None

    def _keep(self) -> None:
        try:
            with self.store.write() as session:
                self.fence(session)
        except LeaseLost:
            self._again = monotonic() + TRY_SECONDS

    def _try(self) -> None:
        self._again = monotonic() + TRY_SECONDS
        with self.store.read() as session:
            lease = scheduler_lease.look(session)
        if lease is not None and lease.held:
            return
        with self.store.write() as session:
            self.token = scheduler_lease.take(session, self.holder, seconds=self._lease)
        if self.token is not None:
            self._again = monotonic() + self.seconds / 3
            log.info("leads", holder=self.holder, token=self.token)
