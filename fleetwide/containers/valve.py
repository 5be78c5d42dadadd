"""The fleet's valve: when many hosts fall silent together, none of them is given up.

Hosts that vanish at the same moment have most likely not failed: the network between them and
Temporal has. Giving all their work up would start the whole of it again elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

SEVERAL = 2
"""One host is never many, however small the fleet."""


@dataclass(frozen=True)
class ValveRules:
    """How many hosts are many: more than ``share`` of the fleet, or ``hosts`` of them."""

    share: float = 0.2
    hosts: int = 5
    seconds: float = 60.0
    """They vanished together when it was within so many seconds."""

    def limit(self, fleet: int) -> int:
        """How many hosts have to vanish together in a fleet of this size."""
        return min(self.hosts, max(SEVERAL, int(self.share * fleet) + 1))


@dataclass(frozen=True)
class Silence:
    """A host that does not answer, and since when."""

    host_id: str
    since: datetime


def vanished_together(
    silences: Iterable[Silence],
    fleet: int,
    rules: ValveRules,
    released_at: datetime | None = None,
) -> tuple[Silence, ...]:
    """The hosts because of which nothing may be given up now; empty when the valve is open.

    ``fleet`` is the number of hosts that belong to it, silent ones too. Hosts that fell silent
    before ``released_at`` do not count.
    """
    counted = sorted(
        (one for one in silences if released_at is None or one.since > released_at),
        key=lambda one: (one.since, one.host_id),
    )
    limit, window = rules.limit(fleet), timedelta(seconds=rules.seconds)
    held: set[Silence] = set()
    first = 0
    for last, silence in enumerate(counted):
        while silence.since - counted[first].since > window:
            first += 1
        if last - first + 1 >= limit:
            held.update(counted[first : last + 1])
    return tuple(one for one in counted if one in held)


def sentence(held: tuple[Silence, ...], fleet: int) -> str:
    """Why nothing is given up, for people."""
    names = ", ".join(one.host_id for one in held[:5])
    more = f" and {len(held) - 5} more" if len(held) > 5 else ""
    return (
        f"{len(held)} of {fleet} hosts fell silent together ({names}{more}): nothing of theirs is "
        "given up as lost until they are back or somebody releases it"
    )
