"""Who fetches an image from whom; pure."""

import hashlib
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleetwide.errors import Conflict, InvalidInput
from fleetwide.models.registry_preheat import PreheatSpec

RUN_EVENTS = 20_000
"""Events in a run's history from which on the pre-heat goes on in a new one; Temporal ends one
with 51,200."""
AT_A_TIME = 500
"""Hosts that have begun and are not done; Temporal lets 2,000 activities of a workflow wait."""
MAX_PEERS = 1000
"""Warm hosts that others are sent to; more would serve no one sooner."""
MAX_CHOSEN = 20_000
"""Hosts of one pre-heat: their names have to fit into one message of Temporal's."""


@dataclass(frozen=True)
class Step:
    """A host that begins; ``peer`` is whom it fetches from, None for the registry."""

    host: str
    peer: str | None


class Spread:
    """Hosts in the order in which they may begin.

    A few fetch from the registry. Whoever is done serves others, so the registry sends the image
    a few times, however many hosts there are.
    """

    def __init__(
        self, hosts: Iterable[str], *, seeds: int, fan_out: int, peers: Iterable[str] = ()
    ) -> None:
        self.waiting = deque(hosts)
        self._seeds = seeds
        self._fan_out = fan_out
        self._seeding = 0
        self._busy: Counter[str] = Counter()
        self._peers = dict.fromkeys(peers)

    @property
    def peers(self) -> list[str]:
        """Who serves others."""
        return list(self._peers)

    def next(self) -> Step | None:
        """The next that may begin; None while everybody who could serve it is busy."""
        if not self.waiting:
            return None
        if not self._peers:
            if self._seeding >= self._seeds:
                return None
            self._seeding += 1
            return Step(self.waiting.popleft(), None)
        peer = min(self._peers, key=self._busy.__getitem__)
        if self._busy[peer] >= self._fan_out:
            return None
        self._busy[peer] += 1
        return Step(self.waiting.popleft(), peer)

    def ended(self, step: Step, serves: str | None) -> None:
        """A step is over; ``serves`` is where the host serves from now on, if it does."""
        if step.peer is None:
            self._seeding -= 1
        else:
            self._busy[step.peer] -= 1
        if serves is not None and len(self._peers) < MAX_PEERS:
            self._peers[serves] = None

    def distrust(self, peer: str) -> None:
        """Send nobody there any more."""
        self._peers.pop(peer, None)


def choose_hosts(
    active: Mapping[str, Mapping[str, str]], spec: PreheatSpec, digest: str
) -> list[str]:
    """Those of the ``active`` hosts (with their labels) that are asked for.

    A share of them is chosen by digest and name: the same for one image each time, others for
    another.

    Raises:
        InvalidInput: a host that is named is not active.
        Conflict: none is left, or too many are.
    """
    missing = sorted(set(spec.hosts) - set(active))
    if missing:
        raise InvalidInput.for_field("hosts", "must take work", given=missing[0])
    fitting = [
        host
        for host, labels in active.items()
        if (not spec.hosts or host in spec.hosts)
        and all(labels.get(name) == value for name, value in spec.labels.items())
    ]
    if not fitting:
        raise Conflict("no host that takes work has these labels", hint="fleetwide host list")
    ordered = sorted(fitting, key=lambda host: hashlib.sha256(f"{digest} {host}".encode()).digest())
    chosen = ordered[: math.ceil(len(ordered) * spec.fraction)]
    if len(chosen) > MAX_CHOSEN:
        raise Conflict(
            f"{len(chosen)} hosts fit, and one pre-heat takes {MAX_CHOSEN}",
            hint="choose some of them by --label or --fraction, and the rest by another pre-heat",
        )
    return chosen


def platform_of(manifests: Sequence[Mapping[str, object]], architecture: str) -> str | None:
    """The digest of an index's entry for Linux on an architecture, in OCI's words."""
    for entry in manifests:
        platform = entry.get("platform")
        if (
            isinstance(platform, dict)
            and platform.get("os") == "linux"
            and platform.get("architecture") == architecture
        ):
            return str(entry["digest"])
    return None
