"""Leases: for how long a host may run a container without a word from Temporal.

Only the standard library is used here: the guard that outlives a killed worker imports this.
"""

import json
from dataclasses import dataclass

LONGEST_RENEWAL_SECONDS = 15.0
RENEWALS_PER_LEASE = 4


@dataclass(frozen=True)
class Lease:
    """A host's right to run one attempt's containers.

    Times are seconds of the machine's own clock since it booted (``CLOCK_BOOTTIME``), which nobody
    sets and which goes on while the machine sleeps; of another boot they mean nothing.
    """

    name: str
    """The name of the attempt's container."""
    labels: dict[str, str]
    """What all containers of the attempt carry."""
    boot_id: str
    renewed_at: float
    """When the last renewal that was answered had been sent."""
    stop_after: float
    grace: float
    workflow_id: str = ""
    run_id: str = ""
    activity_id: str = ""

    @property
    def ends_at(self) -> float:
        """When the containers are stopped, unless it is renewed before."""
        return self.renewed_at + self.stop_after

    def is_over(self, boot_id: str, now: float) -> bool:
        """Whether the containers must be stopped now; those of another boot are gone already."""
        return self.boot_id == boot_id and now >= self.ends_at

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> "Lease":
        """Raises ``ValueError`` for anything else than a lease."""
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from error


def renewal_seconds(stop_after: float) -> float:
    """How often a lease is renewed: a few answers may be missing without harm."""
    return min(LONGEST_RENEWAL_SECONDS, stop_after / RENEWALS_PER_LEASE)
