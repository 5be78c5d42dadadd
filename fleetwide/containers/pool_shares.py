"""Which pool starts machines for work that several could take: all come to the same answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fleetwide.containers.placement import Offer, Plan, Request, scale_up


@dataclass(frozen=True)
class OtherPool:
    """What another pool could start, and what it has on its way."""

    name: str
    offers: Sequence[Offer]
    room: int
    """So many machines it may still start; 0 while it cannot."""
    coming: Mapping[str, int]
    """Machines of each type that have not joined the fleet yet."""


@dataclass(frozen=True)
class _Bid:
    pool: str
    offer: Offer
    hosts: int
    left: tuple[int, ...]
    placed: int

    @property
    def rank(self) -> tuple[float, str, str]:
        """The most work for its price comes first; of equals, the first by name."""
        return -self.placed / (self.hosts * self.offer.price), self.pool, self.offer.name


def own_share(
    requests: Sequence[Request],
    made: Plan,
    own: OtherPool,
    others: Iterable[OtherPool],
) -> Mapping[str, int]:
    """How many machines of each type ``own`` should start for what the plan left waiting.

    Work that has room on machines that are on their way to other pools is theirs. The rest is
    given out by the same rule in each pool's look: to the type that places the most for its price.
    """
    others = list(others)
    rest = list(requests)
    for pool in others:
        for offer in pool.offers:
            rest = _left(rest, made, offer, pool.coming.get(offer.name, 0))
    if not others:
        return scale_up(rest, made, own.offers, own.room).hosts
    return _given_out(rest, made, {pool.name: pool for pool in (own, *others)}, own.name)


def _left(rest: list[Request], made: Plan, offer: Offer, most: int) -> list[Request]:
    if not rest or most <= 0:
        return rest
    left = set(scale_up(rest, made, [offer], most).left)
    return [one for one in rest if one.request_id in left]


def _given_out(
    rest: list[Request], made: Plan, pools: dict[str, OtherPool], own: str
) -> Mapping[str, int]:
    chosen: dict[str, int] = {}
    while bids := [bid for pool in pools.values() for bid in _bids(rest, made, pool)]:
        best = min(bids, key=lambda one: one.rank)
        pool = pools[best.pool]
        pools[best.pool] = replace(pool, room=pool.room - best.hosts)
        left = set(best.left)
        rest = [one for one in rest if one.request_id in left]
        if best.pool == own:
            chosen[best.offer.name] = chosen.get(best.offer.name, 0) + best.hosts
    return chosen


def _bids(rest: list[Request], made: Plan, pool: OtherPool) -> Iterable[_Bid]:
    """What each type of a pool with room could do for the work."""
    if not rest or pool.room <= 0:
        return
    for offer in pool.offers:
        grown = scale_up(rest, made, [offer], pool.room)
        hosts = sum(grown.hosts.values())
        if hosts:
            yield _Bid(pool.name, offer, hosts, grown.left, len(rest) - len(grown.left))
