"""When a job that does not fit now will fit, and what the others may use until then."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fleetwide.batch.scheduling.room import Placed
from fleetwide.batch.scheduling.state import State
from fleetwide.batch.scheduling.work import Pending
from fleetwide.containers.placement.amounts import Dimension
from fleetwide.containers.placement.fleet import Whole

LEAST_OVERRUN = 1.0
"""Seconds that a task is expected to go on at least when it has run for longer than expected."""


class Releases:
    """What tasks give back and when, the next one first."""

    def __init__(self, state: State, now: float) -> None:
        ends = sorted(_expected(state, now))
        self.times = [at for at, _, _ in ends]
        self.hosts: npt.NDArray[np.intp] = np.array([host for _, host, _ in ends], dtype=np.intp)
        amounts = np.array([amounts for _, _, amounts in ends], dtype=np.int64)
        self.amounts: Whole = amounts.reshape(len(ends), len(Dimension)).T

    def until(self, count: int, dimension: int, hosts: int) -> npt.NDArray[np.int64]:
        """How much of a resource the first releases give back on each host."""
        weights = self.amounts[dimension, :count]
        sums = np.bincount(self.hosts[:count], weights=weights, minlength=hosts)
        return sums.astype(np.int64)


def _expected(state: State, now: float) -> Iterator[tuple[float, int, tuple[int, ...]]]:
    """Who runs for longer than expected goes on for as long again as it is late."""
    for end, key in state.ends:
        task = state.tasks[key]
        host = state.room.index.get(task.host)
        if host is not None:
            at = end if end > now else now + max(now - end, LEAST_OVERRUN)
            yield at, host, task.row.shape.amounts.vector


def earliest(state: State, row: Pending, now: float) -> tuple[float, list[Placed]] | None:
    """When and where a row's next unit will fit, and leave what is spare then to the others.

    None when it does not fit on empty hosts either.
    """
    releases = Releases(state, now)
    suits = state.room.suits(row.shape)
    if _rooms(state, row, releases, len(releases.times), suits).sum() < row.unit:
        return None
    low, high = 0, len(releases.times)
    while low < high:
        middle = (low + high) // 2
        enough = _rooms(state, row, releases, middle, suits).sum() >= row.unit
        low, high = (low, middle) if enough else (middle + 1, high)
    at = now if low == 0 else releases.times[low - 1]
    placed = _fullest_first(_rooms(state, row, releases, low, suits), row.unit)
    state.room.spare = _spare(state, row, releases, at, placed)
    return at, placed


def _rooms(
    state: State, row: Pending, releases: Releases, count: int, suits: npt.NDArray[np.bool_]
) -> Whole:
    """How many tasks of a row fit on each host after the first releases."""
    room = state.room
    rooms: Whole = np.where(suits, row.unit, 0).astype(np.int64)
    for each, amount in enumerate(row.shape.amounts.vector):
        if amount:
            there = room.free[each] + releases.until(count, each, len(room.names))
            rooms = np.minimum(rooms, there // amount)
    return rooms.clip(0)


def _fullest_first(rooms: Whole, wanted: int) -> list[Placed]:
    """The hosts with the least room first: the others stay whole."""
    placed: list[Placed] = []
    able = np.flatnonzero(rooms)
    for host in able[np.argsort(rooms[able], kind="stable")].tolist():
        count = min(int(rooms[host]), wanted)
        placed.append(Placed(host, count))
        wanted -= count
        if not wanted:
            break
    return placed


def _spare(
    state: State, row: Pending, releases: Releases, at: float, placed: Sequence[Placed]
) -> Whole:
    count = int(np.searchsorted(releases.times, at, side="right"))
    spare: Whole = state.room.free.copy()
    for each in range(len(Dimension)):
        spare[each] += releases.until(count, each, spare.shape[1])
    for host, tasks in placed:
        spare[:, host] -= np.array(row.shape.amounts.vector, dtype=np.int64) * tasks
    return spare
