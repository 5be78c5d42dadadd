"""Putting many equal tasks on hosts: each on the best host that is left, in as few steps as can be.

The result is the same as placing them one by one, each on its best host.
"""

from itertools import islice

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.kinds import Kind
from fleetwide.containers.placement.ranking import Ranking, Rankings

LEVELS = 5
BULK = 4
"""From so many tasks on, whole hosts are filled at once."""


def fill(rankings: Rankings, kind: Kind, wanted: int) -> list[int]:
    """Take hosts for up to ``wanted`` tasks of a kind; one host each, fewer when all are full."""
    if kind.balanced and kind.job:
        return _Balance(rankings, kind).fill(wanted)
    ranking = rankings.of(kind)
    if kind.settled and wanted >= BULK:
        return _whole_hosts(ranking, wanted, 0, ranking.board.fleet.size)
    return _one_by_one(ranking, wanted)


def _one_by_one(ranking: Ranking, wanted: int) -> list[int]:
    taken: list[int] = []
    while len(taken) < wanted:
        ranking.refresh()
        host = ranking.best()
        if host < 0:
            break
        ranking.board.take(ranking.kind, host)
        taken.append(host)
    return taken


def _whole_hosts(ranking: Ranking, wanted: int, first: int, end: int) -> list[int]:
    """Fill the best hosts one after the other: the best one stays so until it is full."""
    board, kind = ranking.board, ranking.kind
    hosts = _enough(ranking, wanted, first, end)
    counts = board.room(kind, hosts, wanted)
    total = counts.cumsum()
    used = int(total.searchsorted(wanted)) + 1
    hosts, counts = hosts[:used], counts[:used]
    if hosts.size and total[used - 1 : used].sum() > wanted:
        counts[-1] -= int(total[used - 1]) - wanted
    board.take_many(kind, hosts, counts)
    return hosts.repeat(counts).tolist()


def _enough(ranking: Ranking, wanted: int, first: int, end: int) -> npt.NDArray[np.intp]:
    """Hosts, best first, that have room for all: a few scores often do, as most hosts are alike."""
    found: list[npt.NDArray[np.intp]] = []
    missing = wanted
    for hosts in islice(ranking.levels(first, end), LEVELS):
        found.append(hosts)
        missing -= int(ranking.board.room(ranking.kind, hosts, wanted).sum())
        if missing <= 0:
            return np.concatenate(found)
    return ranking.top(wanted, first, end)


class _Balance:
    """Spreads a job over zones: the next task goes to the zone that has the fewest of them.

    When the balance is hard, a zone that is full keeps the others from going on.
    """

    def __init__(self, rankings: Rankings, kind: Kind) -> None:
        self.board = rankings.board
        self.kind = kind
        self.ranking = rankings.of(kind)
        self.counts = zone_counts(self.board.fleet.zone_of, self.board.marks, kind)

    def fill(self, wanted: int) -> list[int]:
        """Whole rounds over all zones first, the rest task by task."""
        taken: list[int] = []
        while len(taken) < wanted:
            step = self._rounds(wanted - len(taken)) or self._one()
            if not step:
                break
            taken += step
        return taken

    def _one(self) -> list[int]:
        self.ranking.refresh()
        best = [(zone, self._best(zone)) for zone in self._next_zones()]
        open_hosts = [(zone, host) for zone, host in best if host >= 0]
        if not open_hosts:
            return []
        scores = self.ranking.scores
        zone, host = max(open_hosts, key=lambda each: (scores[each[1]], -each[1]))
        self.board.take(self.kind, host)
        self.counts[zone] += 1
        return [host]

    def _next_zones(self) -> list[str]:
        zones = self._judged_zones()
        fewest = min(zones.values(), default=0)
        return [zone for zone, count in zones.items() if count == fewest]

    def _judged_zones(self) -> dict[str, int]:
        """The zones whose counts are compared: full ones only when the balance is hard."""
        if self.kind.shape.hard.zone_balance:
            return self.counts
        return {zone: count for zone, count in self.counts.items() if self._best(zone) >= 0}

    def _best(self, zone: str) -> int:
        return self.ranking.best_between(*self.board.fleet.zones[zone])

    def _rounds(self, wanted: int) -> list[int]:
        """As many tasks for each zone as all of them have room for, when they are level."""
        self.ranking.refresh()
        zones = self._judged_zones()
        level = len(set(zones.values())) == 1
        each = wanted // len(zones) if zones else 0
        if not (level and self.kind.settled and each >= BULK):
            return []
        each = min([each, *(self._room(zone, each) for zone in zones)])
        taken: list[int] = []
        for zone in zones if each else ():
            taken += _whole_hosts(self.ranking, each, *self.board.fleet.zones[zone])
            self.counts[zone] += each
        return taken

    def _room(self, zone: str, limit: int) -> int:
        hosts = self.ranking.top(limit, *self.board.fleet.zones[zone])
        return min(int(self.board.room(self.kind, hosts, limit).sum()), limit)


def zone_counts(
    zone_of: tuple[str, ...], marks: dict[tuple[str, str], dict[int, int]], kind: Kind
) -> dict[str, int]:
    """How many tasks of a kind's job are in each zone that has a host for it."""
    counts = dict.fromkeys(kind.facts.zones, 0)
    for host, count in marks.get(("job", kind.job), {}).items():
        if zone_of[host] in counts:
            counts[zone_of[host]] += count
    return counts
