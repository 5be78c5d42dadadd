"""Where the machines of host pools come from: one protocol, a provider each."""

from collections.abc import Collection, Sequence
from typing import Protocol

from fleetwide.containers.placement import Offer
from fleetwide.models.pools import HostPoolSpec, Machine, PoolLaunch


class MachineProvider(Protocol):
    """Starts and ends machines. Every call may be repeated."""

    def offers(self, spec: HostPoolSpec) -> Sequence[Offer]:
        """What an empty machine of each of the pool's types would offer the fleet."""
        ...

    def launch(self, launch: PoolLaunch) -> Sequence[Machine]:
        """Start machines, or find those that the same token has started; maybe fewer than asked.

        Raises:
            CloudUnavailable: the provider has none left, refused or did not answer.
            InvalidInput: it can never work as it is asked for.
        """
        ...

    def listing(self, spec: HostPoolSpec) -> Sequence[Machine]:
        """The pool's machines that have not ended, whoever started them."""
        ...

    def off(self, spec: HostPoolSpec, machines: Sequence[str]) -> Collection[str]:
        """Those of the machines on which surely nothing runs any more.

        Not to be listed is not enough: somebody may have taken the pool's tag away.

        Raises:
            CloudUnavailable: the provider did not answer.
        """
        ...

    def terminate(self, spec: HostPoolSpec, machines: Sequence[str]) -> None:
        """End machines; those that are gone count as ended."""
        ...
