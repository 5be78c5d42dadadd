"""The real rounds run forward: what starts when, if tasks run for as long as is said of them.

From event to event: rows come, tasks end, those that were told to leave are gone and wait again.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.work import Eviction, Pending, Round, Running, TaskKey

RunTime = Callable[[Pending, int], float]
"""For how many seconds a task of a row, by its index, runs in all; also one that runs already."""


class Span(NamedTuple):
    """A task from its start to its end."""

    row: Pending
    child: int
    host: str
    started: float
    ended: float
    preempted: bool


@dataclass
class Progress:
    """What has been simulated so far."""

    now: float
    rounds: int = 0
    preemptions: int = 0


class Simulation:
    """A scheduler and a clock of its own. The scheduler is used up by it."""

    def __init__(self, scheduler: Scheduler, run_time: RunTime, now: float = 0.0) -> None:
        self.scheduler = scheduler
        self.progress = Progress(now)
        self._run_time = run_time
        self._arrivals: list[tuple[float, str, int, Pending]] = []
        self._ends: list[tuple[float, TaskKey, float]] = []
        self._times: Counter[str] = Counter()
        """How often each job was preempted."""
        self._gangs: dict[str, int] = {}
        """How many of a gang that leaves are still there."""
        for task in scheduler.state.tasks.values():
            self._will_end(task)

    def arrive(self, rows: Iterable[Pending]) -> None:
        """Rows that come when they say that they were submitted."""
        for row in rows:
            heapq.heappush(self._arrivals, (row.submitted, row.job, row.first, row))

    def run(self, until: float = float("inf")) -> Iterator[Span]:
        """All tasks that end up to a moment, as they do."""
        yield from self._step(self.progress.now)
        while (at := self._next()) <= until and at < float("inf"):
            yield from self._step(at)

    def _next(self) -> float:
        coming = [queue[0][0] for queue in (self._arrivals, self._ends) if queue]
        return min(coming, default=float("inf"))

    def _step(self, at: float) -> list[Span]:
        """Everything that happens at one moment, and a round."""
        self.progress.now = at
        spans = list(self._ended(at))
        while self._arrivals and self._arrivals[0][0] <= at:
            self.scheduler.add(heapq.heappop(self._arrivals)[-1])
        self._take_up(self.scheduler.round(at), at)
        return spans

    def _ended(self, at: float) -> Iterator[Span]:
        tasks = self.scheduler.state.tasks
        while self._ends and self._ends[0][0] <= at:
            ended, key, started = heapq.heappop(self._ends)
            task = tasks.get(key)
            if task is None or task.started != started:  # it has left before
                continue
            lost = task.leaving is not None and ended < started + self._run_time(task.row, key[1])
            self.scheduler.end(key)
            if lost:
                self._again(task, at)
            yield Span(task.row, task.index, task.host, task.started, ended, lost)

    def _take_up(self, made: Round, at: float) -> None:
        self.progress.rounds += 1
        state = self.scheduler.state
        for start in made.starts:
            for index in range(start.first, start.first + start.tasks):
                self._will_end(state.tasks[TaskKey(start.job, index)])
        for eviction in made.evictions:
            self._leaves(eviction, at)

    def _will_end(self, task: Running) -> None:
        end = task.started + self._run_time(task.row, task.index)
        if task.leaving is not None:
            end = min(end, task.leaving)
        heapq.heappush(self._ends, (end, task.key, task.started))

    def _leaves(self, eviction: Eviction, at: float) -> None:
        self.progress.preemptions += 1
        task = self.scheduler.state.tasks[eviction.task]
        heapq.heappush(self._ends, (max(eviction.leave_by, at), task.key, task.started))

    def _again(self, task: Running, now: float) -> None:
        """A task that was preempted waits again, since when it first did; a gang once all left."""
        row = task.row
        if row.gang:
            self._gangs[row.job] = self._gangs.get(row.job, row.count) - 1
            if self._gangs[row.job]:
                return
            del self._gangs[row.job]
        else:
            row = replace(row, first=task.index, count=1)
        least = self.scheduler.state.tree[row.queue].min_protected_seconds
        back_off = least * 2.0 ** min(self._times[row.job], 10)
        self._times[row.job] += 1
        self.scheduler.add(replace(row, preempts_from=now + back_off))
