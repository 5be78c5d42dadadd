"""What the scheduler knows between rounds: queues, rows that wait, tasks that run, room."""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from fleetwide.batch.scheduling.ledger import Ledger
from fleetwide.batch.scheduling.lines import Heads, Line, ShareOf, rank
from fleetwide.batch.scheduling.room import Placed, Room
from fleetwide.batch.scheduling.tree import StopMode
from fleetwide.batch.scheduling.work import (
    Pending,
    Pin,
    RowKey,
    Running,
    Snapshot,
    Start,
    TaskKey,
)
from fleetwide.containers.placement.requests import Shape

NEVER = float("inf")
Vain = Callable[[Pending], bool]


def nothing_is_vain(_row: Pending) -> bool:
    return False


class State:
    """Everything that one change of a row, a task or a pin keeps up to date."""

    def __init__(self, snapshot: Snapshot, room: Room) -> None:
        self.tree = snapshot.tree
        self.rules = snapshot.rules
        self.room = room
        self.ledger = Ledger(snapshot.tree, room.total.sum(axis=1).tolist())
        self.lines = [Line() for _ in snapshot.tree]
        nodes = snapshot.tree.nodes
        self._open = [
            all(nodes[each].stop is StopMode.OPEN for each in line) for line in self.tree.line_of
        ]
        self.rows: dict[RowKey, Pending] = {}
        self.asking: defaultdict[Shape, Counter[int]] = defaultdict(Counter)
        """For each shape the leaves that ask for it, and by how many rows."""
        self._firsts: dict[int, tuple[list[Pending], float]] = {}
        """What was found of a leaf; it holds until then if nothing happens there."""
        self.tasks: dict[TaskKey, Running] = {}
        self.tasks_of: list[dict[TaskKey, Running]] = [{} for _ in snapshot.tree]
        """The tasks of each leaf."""
        self.leaving: dict[TaskKey, Running] = {}
        self.ends: list[tuple[float, TaskKey]] = []
        """When each task is expected to end, the next one first."""
        self.pins: list[Pin] = list(snapshot.pins)
        self.reserved = snapshot.reserved
        self.history = dict(snapshot.history)
        self.preempted = list(snapshot.preempted)
        for row in snapshot.pending:
            self.add(row)
        for task in snapshot.running:
            self.run(task)

    def add(self, row: Pending) -> None:
        """A row begins to wait. Raises ``KeyError`` when its queue is not there or has queues."""
        if not self.tree.is_leaf(row.queue):
            raise KeyError(row.queue)
        self.rows[row.key] = row
        if not row.held:
            leaf = self.tree.number(row.queue)
            self.lines[leaf].add(row)
            self.asking[row.shape][leaf] += 1
            self._firsts.pop(leaf, None)

    def remove(self, key: RowKey) -> Pending:
        """A row waits no more."""
        row = self.rows.pop(key)
        if not row.held:
            leaf = self.tree.number(row.queue)
            self.lines[leaf].remove(row)
            self._firsts.pop(leaf, None)
            leaves = self.asking[row.shape]
            leaves[leaf] -= 1
            if not leaves[leaf]:
                del leaves[leaf]
                if not leaves:
                    del self.asking[row.shape]
        return row

    def run(self, task: Running) -> None:
        """A task runs. One on a host that is not here counts for its queue only."""
        self.tasks[task.key] = task
        self.tasks_of[self.tree.number(task.row.queue)][task.key] = task
        self.ledger.book(task.row, 1)
        self._firsts.pop(self.tree.number(task.row.queue), None)
        insort(self.ends, (self.expected_end(task), task.key))
        if task.leaving is not None:
            self.leaving[task.key] = task
        host = self.room.index.get(task.host)
        if host is not None:
            self.room.take(task.row.shape, Placed(host, 1), outlasts=False)

    def end(self, key: TaskKey) -> Running:
        """A task runs no more, for whatever reason."""
        task = self.tasks.pop(key)
        del self.tasks_of[self.tree.number(task.row.queue)][key]
        self.leaving.pop(key, None)
        self.ledger.book(task.row, -1)
        self._firsts.pop(self.tree.number(task.row.queue), None)
        del self.ends[bisect_left(self.ends, (self.expected_end(task), key))]
        host = self.room.index.get(task.host)
        if host is not None:
            self.room.take(task.row.shape, Placed(host, -1), outlasts=False)
        return task

    def leave(self, key: TaskKey, by: float) -> None:
        """A task was told to leave."""
        task = self.end(key)
        self.run(replace(task, leaving=by))

    def expected_end(self, task: Running) -> float:
        """When a task will be over, as far as that was expected when it started."""
        if task.leaving is not None:
            return task.leaving
        seconds = self.rules.usual_seconds if task.row.seconds is None else task.row.seconds
        return task.started + seconds

    def start(self, row: Pending, placed: Iterable[Placed], now: float) -> Iterator[Start]:
        """The first tasks of a row run on hosts where ``Room.fit`` has taken their places.

        What is left of the row goes on waiting, and so do the pins that it has.
        """
        self.remove(row.key)
        first = row.first
        for host, count in placed:
            name = self.room.names[host]
            for index in range(first, first + count):
                self.room.take(row.shape, Placed(host, -1), outlasts=False)
                self.run(Running(row, index, name, now))
            yield Start(row.job, first, count, name)
            first += count
        left = row.count - (first - row.first)
        if left:
            rest = replace(row, first=first, count=left)
            self.add(rest)
            self.pins = [
                replace(pin, row=rest.key) if pin.row == row.key else pin for pin in self.pins
            ]
            if self.reserved == row.key:
                self.reserved = rest.key

    def open(self, leaf: int) -> bool:
        """Whether the work of a leaf may start: it and all above it are open."""
        return self._open[leaf]

    def heads(self, leaf: int, now: float, vain: Vain) -> Heads:
        """The order of service in a leaf, but for what is of no use; it follows owners' shares."""
        line, since = self.lines[leaf], now - self.rules.overdue_seconds
        groups = [group for group, rows in line.groups.items() if not vain(rows[0])]
        return Heads(line, self._share_of(leaf), since, groups)

    def _share_of(self, leaf: int) -> ShareOf:
        return lambda owner: self.ledger.owner_share(leaf, owner)

    def first(self, leaf: int, now: float, vain: Vain = nothing_is_vain) -> Pending | None:
        """The row that is next in a leaf, but for those that are of no use."""
        known = self._firsts.get(leaf)
        if known is None or now >= known[1]:
            known = self._firsts[leaf] = self._look(leaf, now)
        return next((row for row in known[0] if not vain(row)), None)

    def _look(self, leaf: int, now: float) -> tuple[list[Pending], float]:
        """The first of all rows that fit alike, in the order of service, and until when."""
        overdue, share_of = self.rules.overdue_seconds, self._share_of(leaf)
        rows = [rows[0] for rows in self.lines[leaf].groups.values()]
        firsts: dict[tuple[Shape, float | None, int], Pending] = {}
        for row in sorted(rows, key=lambda row: rank(row, share_of, now - overdue)):
            firsts.setdefault((row.shape, row.seconds, row.unit), row)
        until = min((at for row in rows if (at := row.submitted + overdue) > now), default=NEVER)
        return list(firsts.values()), until

    def past(self, number: int) -> float:
        """What past use adds to the share of a leaf."""
        rules = self.rules
        known = self.history.get(self.tree.nodes[number].path, 0.0) if self.history else 0.0
        if not known:
            return 0.0
        per = self.tree.nodes[number].weight * rules.history_window_seconds
        return rules.history_weight * known / per
