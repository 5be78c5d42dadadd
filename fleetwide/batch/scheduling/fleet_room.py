"""A ``Room`` of real hosts: the placement engine's own board, scores and constraints."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from fleetwide.batch.scheduling.room import Mask, Placed
from fleetwide.containers.placement.board import Board, Occupant
from fleetwide.containers.placement.filling import fill
from fleetwide.containers.placement.fleet import Fleet, Whole
from fleetwide.containers.placement.kinds import Kind
from fleetwide.containers.placement.ranking import Rankings
from fleetwide.containers.placement.requests import Shape

MOST_CHANGES = 100_000


class FleetRoom:
    """Hosts as the placement engine sees them, with their traits, labels, taints and ports.

    Wishes about other tasks of the same job (``unique_host``, ``zone_balance``) are not looked at:
    they are the engine's when it commits.
    """

    def __init__(self, fleet: Fleet, occupants: tuple[Occupant, ...] = ()) -> None:
        self._board = Board(fleet, occupants)
        self._rankings = Rankings(self._board)
        self.total: Whole = fleet.total
        self.free: Whole = self._board.free
        self.spare: Whole | None = None

    @property
    def names(self) -> Sequence[str]:
        return self._board.fleet.ids

    @property
    def index(self) -> Mapping[str, int]:
        return self._board.fleet.index

    def _kind(self, shape: Shape) -> Kind:
        return self._board.kind(shape)

    def suits(self, shape: Shape) -> Mask:
        mask: Mask = np.asarray(self._kind(shape).facts.codes == 0)
        return mask

    def fits_one(self, shape: Shape) -> bool:
        return self._rankings.of(self._kind(shape)).best() >= 0

    def fit(self, shape: Shape, wanted: int, *, outlasts: bool) -> list[Placed]:
        kept = self._keep_for_reserved() if outlasts and self.spare is not None else {}
        counts = Counter(fill(self._rankings, self._kind(shape), wanted))
        for host, amounts in kept.items():
            self._board.give(host, amounts)
        placed = [Placed(host, tasks) for host, tasks in counts.items()]
        if outlasts and self.spare is not None:
            for host, tasks in placed:
                self.spare[:, host] -= np.array(shape.amounts.vector, dtype=np.int64) * tasks
        self._trim()
        return placed

    def _keep_for_reserved(self) -> dict[int, Whole]:
        """Take away what is free now and will be needed by the reserved job."""
        assert self.spare is not None
        over = (self.free - self.spare).clip(0)
        kept = {int(host): over[:, host].copy() for host in np.flatnonzero(over.any(axis=0))}
        for host, amounts in kept.items():
            self._board.give(host, -amounts)
        return kept

    def take(self, shape: Shape, placed: Placed, *, outlasts: bool) -> None:
        self._board.take(self._kind(shape), placed.host, placed.tasks)
        if outlasts and self.spare is not None:
            amounts = np.array(shape.amounts.vector, dtype=np.int64)
            self.spare[:, placed.host] -= amounts * placed.tasks

    def _trim(self) -> None:
        """Forget old changes, and the scores that have not followed them."""
        if len(self._board.changed) > MOST_CHANGES:
            self._board.changed.clear()
            self._rankings = Rankings(self._board)
