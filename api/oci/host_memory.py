"""What hosts are known to be and to need, for a while in which SQL does not answer.

Work that runs, and work that was given to a host, goes on then: its images can be pulled. What is
taken from a host meanwhile is taken from it when this memory ends.
"""

import time
from collections.abc import Sequence

import structlog

from api.oci.cache import Recent
from fleetwide.models.registry_access import Grant
from fleetwide.registry.accounts import Account

HOSTS = 50_000
"""Hosts that one gateway remembers."""

log = structlog.get_logger()


class HostMemory:
    """The last answers of SQL about hosts, each believed for ``seconds``; 0 remembers nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._accounts: Recent[str, tuple[float, Account]] = Recent(HOSTS)
        self._grants: Recent[str, tuple[float, Sequence[Grant]]] = Recent(HOSTS)

    def note_account(self, name: str, account: Account | None) -> None:
        """What SQL says of the account now; None when it has none."""
        self._accounts.put(name, None if account is None else (time.monotonic(), account))

    def note_grants(self, host_id: str, grants: Sequence[Grant]) -> None:
        """What SQL says that the host may pull now."""
        self._grants.put(host_id, (time.monotonic(), grants))

    def account(self, name: str) -> Account | None:
        """The account as it was last known; None when that is nothing, or too long ago."""
        at, account = self._accounts.get(name) or (0.0, None)
        if account is None or not self._is_fresh(at):
            return None
        self._tell(name, at)
        return account

    def grants(self, host_id: str) -> Sequence[Grant] | None:
        """What the host could pull last; None when that is unknown, or too long ago."""
        at, grants = self._grants.get(host_id) or (0.0, None)
        return grants if grants is not None and self._is_fresh(at) else None

    def _is_fresh(self, at: float) -> bool:
        return time.monotonic() - at < self._seconds

    @staticmethod
    def _tell(name: str, at: float) -> None:
        age = round(time.monotonic() - at)
        log.warning("registry.host_by_memory", account=name, known_for_seconds=age)
