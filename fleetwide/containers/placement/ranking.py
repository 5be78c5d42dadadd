"""Scores of all hosts for a kind of task, computed anew only where a host changed.

Scores are split into blocks whose best is known, so that the best host of a large fleet is found
without looking at all of them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.board import Board, added
from fleetwide.containers.placement.fleet import Real
from fleetwide.containers.placement.kinds import FIT_WEIGHT, Kind

BLOCK = 64
FEW = 4
"""Up to so many changed hosts are looked at one by one."""
MOST_RANKINGS = 256
MOST_OF_JOBS = 32
"""Rankings of single jobs: most are used once, and those of their shapes are to stay."""
NO = -np.inf
Hosts = npt.NDArray[np.intp]


class Ranking:
    """The scores of one kind. ``best`` and ``top`` are current after ``refresh``."""

    def __init__(self, board: Board, kind: Kind, like: "Ranking | None" = None) -> None:
        self.board = board
        self.kind = kind
        if like is None:
            size = board.fleet.size
            self.fixed = _fixed(board, kind)
            self.grid: Real = np.full((max(-(-size // BLOCK), 1), BLOCK), NO)
            self.scores = self.grid.reshape(-1)
            self.scores[:size] = self._of_all()
            self.tops: Real = self.grid.max(axis=1)
        else:
            self.fixed = like.fixed
            self.grid = like.grid.copy()
            self.scores = self.grid.reshape(-1)
            self.tops = like.tops.copy()
            self._again(list(_marked(board, kind)))
        self.cursor = len(board.changed)

    def refresh(self) -> None:
        """Look again at the hosts that changed since the last time."""
        changed = self.board.changed
        if self.cursor != len(changed):
            self._again(changed[self.cursor :])
            self.cursor = len(changed)

    def _again(self, hosts: list[int]) -> None:
        """A host may be named twice: to leave one out takes longer than to look twice."""
        if len(hosts) <= FEW:
            for host in hosts:
                self.scores[host] = self._of_one(host)
            for block in {host // BLOCK for host in hosts}:
                self.tops[block] = self.grid[block].max()
            return
        numbers = np.array(hosts, dtype=np.intp)
        self.scores[numbers] = self._of_some(numbers)
        blocks = numbers // BLOCK
        self.tops[blocks] = self.grid[blocks].max(axis=1)

    def _of_one(self, host: int) -> float:
        """How good one host is for one more task; minus infinity when it cannot take it."""
        board, kind = self.board, self.kind
        value = float(self.fixed[host])
        if value == NO or repelled(board, kind, host):
            return NO
        free: list[int] = board.free[:, host].tolist()
        for asked, has in zip(kind.facts.need, free, strict=True):
            if asked > has:
                return NO
        left = float(board.left[host])
        value = value - left if kind.packs else value + left
        return value - kind.facts.soft_step * _dislikes(board, kind, host) if kind.choosy else value

    def _of_some(self, hosts: Hosts) -> Real:
        """The same for many hosts."""
        board, kind = self.board, self.kind
        fixed, left = self.fixed.take(hosts), board.left.take(hosts)
        scores: Real = fixed - left if kind.packs else fixed + left
        blocked = np.asarray((board.free.take(hosts, axis=1) < kind.facts.column).any(axis=0))
        if kind.alone:
            blocked |= board.tasks.take(hosts) > 0
        if kind.choosy or kind.looks_at:
            return self._by_others(scores, blocked, hosts.tolist())
        scores[blocked] = NO
        return scores

    def _of_all(self) -> Real:
        """The same for all hosts."""
        board, kind = self.board, self.kind
        scores: Real = self.fixed - board.left if kind.packs else self.fixed + board.left
        blocked = np.asarray((board.free < kind.facts.column).any(axis=0))
        if kind.alone:
            blocked |= board.tasks > 0
        return self._by_others(scores, blocked, range(board.fleet.size))

    def _by_others(
        self, scores: Real, blocked: npt.NDArray[np.bool_], numbers: Sequence[int]
    ) -> Real:
        """What other tasks on a host make of its score."""
        board, kind = self.board, self.kind
        if kind.choosy:
            scores -= kind.facts.soft_step * _all_dislikes(board, kind, numbers)
        for place in _places(numbers, _marked(board, kind)):
            blocked[place] |= repelled(board, kind, numbers[place])
        scores[blocked] = NO
        return scores

    def best(self) -> int:
        """The best host, the first one among equals; -1 when none takes the kind."""
        block = int(self.tops.argmax())
        if self.tops[block] == NO:
            return -1
        return block * BLOCK + int(self.grid[block].argmax())

    def best_between(self, first: int, end: int) -> int:
        """The best of some neighbouring hosts; -1 when none takes the kind."""
        host = first + int(self.scores[first:end].argmax())
        return -1 if self.scores[host] == NO else host

    def levels(self, first: int, end: int) -> Iterator[npt.NDArray[np.intp]]:
        """Some neighbouring hosts, those of one score after the other, best first."""
        scores = self.scores[first:end]
        below = np.inf
        while (level := scores.max(initial=NO, where=scores < below)) > NO:
            yield np.flatnonzero(scores == level) + first
            below = level

    def top(self, count: int, first: int, end: int) -> npt.NDArray[np.intp]:
        """Up to ``count`` of some neighbouring hosts, best first; the first one among equals."""
        scores = self.scores[first:end]
        if count < scores.size:
            last = np.partition(scores, scores.size - count)[scores.size - count]
            above = np.flatnonzero(scores > last)
            equal = np.flatnonzero((scores == last) & (scores > NO))[: count - above.size]
            chosen = np.sort(np.concatenate((above, equal)))
        else:
            chosen = np.flatnonzero(scores > NO)
        return chosen[np.argsort(-scores[chosen], kind="stable")] + first


class Rankings:
    """The rankings of a board, the ones that were used last."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._shapes: dict[Kind, Ranking] = {}
        self._jobs: dict[Kind, Ranking] = {}

    def of(self, kind: Kind) -> Ranking:
        """The current ranking of a kind."""
        kept, most = (self._jobs, MOST_OF_JOBS) if kind.job else (self._shapes, MOST_RANKINGS)
        known = kept.pop(kind, None)
        if known is None:
            # All jobs of a shape look alike where none of their tasks is.
            like = self.of(self.board.kind(kind.shape)) if kind.job else None
            known = Ranking(self.board, kind, like)
            if len(kept) >= most:
                del kept[next(iter(kept))]
        else:
            known.refresh()
        kept[kind] = known
        return known


def _fixed(board: Board, kind: Kind) -> Real:
    """The part of the scores that no placement changes.

    What is left on a host after the task is what is free on it (``Board.left``) less what the task
    takes: so the second part is here, and a changed host costs one subtraction.
    """
    parts = kind.facts.column * board.fleet.weights
    takes = FIT_WEIGHT * added(parts)
    base = kind.facts.base
    return base + (FIT_WEIGHT + takes) if kind.packs else base - takes


def repelled(board: Board, kind: Kind, host: int) -> bool:
    """Whether other tasks on a host keep the kind off it."""
    if kind.alone and board.tasks[host]:
        return True
    for mark, _ in kind.repelled:
        there = board.marks.get(mark)
        if there and host in there:
            return True
    return False


def _places(numbers: Sequence[int], wanted: set[int]) -> list[int]:
    """Where the wanted hosts stand among the numbers."""
    if isinstance(numbers, range):
        return list(wanted)
    return [place for place, host in enumerate(numbers) if host in wanted] if wanted else []


def _all_dislikes(board: Board, kind: Kind, numbers: Sequence[int]) -> Real:
    if kind.shape.soft.exclusive_host:
        return np.array([_dislikes(board, kind, host) for host in numbers], dtype=np.float64)
    counts = np.zeros(len(numbers))
    for place in _places(numbers, _marked(board, kind)):
        counts[place] = _dislikes(board, kind, numbers[place])
    return counts


def _dislikes(board: Board, kind: Kind, host: int) -> int:
    """How many soft wishes about other tasks a host denies."""
    denied = sum(
        any(host in board.marks.get(mark, ()) for mark in marks) for marks in kind.disliked
    )
    return denied + (kind.shape.soft.exclusive_host and bool(board.tasks[host]))


def _marked(board: Board, kind: Kind) -> set[int]:
    """The hosts that have any mark that the kind looks at."""
    found: set[int] = set()
    for mark in kind.looks_at:
        there = board.marks.get(mark)
        if there:
            found.update(there)
    return found
