"""Where every child of an array stands. Plain data and pure steps; it survives continue-as-new.

Children that were never asked for cost nothing, whatever the size: they are all the indexes from
``fresh_from`` on. Ended children are kept one by one only in small arrays; SQL has them all.
"""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel

from fleetwide.batch.outcome import child_state
from fleetwide.batch.ranges import Ranges
from fleetwide.containers.retries import Retry, hosts_to_avoid, retry_after
from fleetwide.models.base import Timestamp, Waiting
from fleetwide.models.batch import Child, ChildState
from fleetwide.models.batch_control import IndexRange
from fleetwide.models.batch_states import BatchState
from fleetwide.models.containers import AttemptRequest, AttemptResult
from fleetwide.models.retries import Lineage, RetryPolicy

KEPT_CHILDREN = 1000


class Phase(StrEnum):
    """What an open child does right now."""

    READY = "ready"
    RUNNING = "running"
    DELAYED = "delayed"


class OpenChild(BaseModel):
    """A child that was asked for and has not ended for good."""

    attempt: int = 1
    phase: Phase = Phase.READY
    lineage: Lineage = Lineage()
    avoid_hosts: list[str] = []


class Array(BaseModel):
    """All children of one job, and what people want of them."""

    size: int
    fresh_from: int = 0
    open: dict[int, OpenChild] = {}
    ended: dict[ChildState, int] = {}
    attempts: int = 0
    kept: dict[int, Child] = {}
    quorum: int | None = None
    """So many have to succeed; None for all."""
    dropped: int = 0
    """Children that were cancelled one by one: the job can succeed without them."""
    unwanted: Ranges = Ranges()
    """All that anybody asked to cancel, whether they had ended or not."""
    skipped: Ranges = Ranges()
    """Those that were cancelled before they had been asked for."""
    dropping: set[int] = set()
    """Those that run still, and are being stopped."""
    stopped: str = ""
    """Why the platform stopped the job before its end; empty while it did not."""
    accumulates: bool = False
    """Whether more children may come."""
    held: Waiting | None = None
    ends_at: Timestamp | None = None

    @property
    def done(self) -> bool:
        return self.fresh_from >= self.size and not self.open and not self.accumulates

    @property
    def running(self) -> int:
        return self._in(Phase.RUNNING)

    @property
    def quiet(self) -> bool:
        """Nothing runs and no timer is pending: the moment to continue as new."""
        return self.running == 0 and self._in(Phase.DELAYED) == 0

    def _in(self, phase: Phase) -> int:
        return sum(child.phase is phase for child in self.open.values())

    @property
    def has_wanting(self) -> bool:
        return self.fresh_from < self.size or self._in(Phase.READY) > 0

    def wanted(self, limit: int) -> list[AttemptRequest]:
        """Up to ``limit`` attempts that want a host: retries first, then fresh indexes.

        Asking changes nothing for a child but that it is open; it may be asked for again.
        """
        ready = [index for index, child in self.open.items() if child.phase is Phase.READY]
        while len(ready) < limit and self.fresh_from < self.size:
            ready.append(self.fresh_from)
            self.open[self.fresh_from] = OpenChild()
            self._go_to(self.fresh_from + 1)
        return [
            AttemptRequest(
                index=index,
                attempt=self.open[index].attempt,
                avoid_hosts=self.open[index].avoid_hosts,
                lineage=self.open[index].lineage,
            )
            for index in ready[:limit]
        ]

    def placed(self, index: int) -> None:
        """A host was found for the child."""
        self.open[index].phase = Phase.RUNNING

    def ended_attempt(self, result: AttemptResult, policy: RetryPolicy) -> Retry | None:
        """Count an ended attempt; the child is either done or delayed for the returned retry."""
        index = result.key.index
        child = self.open[index]
        self.attempts += 1
        retry = retry_after(result, policy, child.lineage.spent)
        state = ChildState.RETRYING if retry else child_state(result.reason)
        self._keep(index, state, result)
        if retry is None:
            del self.open[index]
            self._count(state)
            if index in self.dropping and state is ChildState.CANCELLED:
                self.dropped += 1
            self.dropping.discard(index)
            return None
        child.phase = Phase.DELAYED
        child.lineage = retry.lineage(child.attempt)
        child.attempt += 1
        child.avoid_hosts = hosts_to_avoid(result)
        return retry

    def ready_again(self, index: int) -> None:
        """The delay of a retry is over."""
        if index in self.open:
            self.open[index].phase = Phase.READY

    def drop(self, ranges: Iterable[IndexRange]) -> tuple[int, list[int]]:
        """Cancel some children: how many waited and will not run, and which ones run still.

        Nothing may be asked for meanwhile that the scheduler could still answer.
        """
        before, running = self.dropped, list[int]()
        for first, last in ranges:
            self._skip(max(first, self.fresh_from), min(last, self.size - 1))
            for index in [each for each in self.open if first <= each <= last]:
                if self.open[index].phase is Phase.RUNNING:
                    running.append(index)
                else:
                    self._drop_open(index)
        self.dropping.update(running)
        self._go_to(self.fresh_from)
        return self.dropped - before, sorted(set(running))

    def resize(self, size: int, *, close: bool) -> None:
        """Have so many children; not fewer than were asked for or cancelled by now."""
        if self.size <= KEPT_CHILDREN < size:
            self.kept = {}  # SQL has them all
        self.size = size
        self.accumulates = not close

    @property
    def smallest_size(self) -> int:
        """The least that it can be resized to."""
        return max(self.fresh_from, *(last + 1 for _, last in self.skipped.parts), 1)

    def _skip(self, first: int, last: int) -> None:
        count = self.skipped.add(first, last) if first <= last else 0
        self.dropped += count
        for index in range(first, min(last + 1, KEPT_CHILDREN)):
            self._keep_child(Child(index=index, state=ChildState.CANCELLED))
        self._count(ChildState.CANCELLED, count)

    def _drop_open(self, index: int) -> None:
        child = self.open.pop(index)
        known = self.kept.get(index, Child(index=index, attempts=child.attempt - 1))
        self._keep_child(known.model_copy(update={"state": ChildState.CANCELLED}))
        self.dropped += 1
        self._count(ChildState.CANCELLED)

    def _go_to(self, index: int) -> None:
        """The next fresh index from there on that is still wanted."""
        self.fresh_from = self.skipped.beyond(index)

    def _count(self, state: ChildState, count: int = 1) -> None:
        if count:
            self.ended[state] = self.ended.get(state, 0) + count

    @property
    def _fresh(self) -> int:
        """Children that nobody has asked for yet."""
        return max(self.size - self.fresh_from, 0) - self.skipped.count_from(self.fresh_from)

    @property
    def needed(self) -> int:
        """How many have to succeed."""
        return self.quorum or max(self.size - self.dropped, 1)

    @property
    def hopeless(self) -> bool:
        """Whether too many have failed or were cancelled, however the others end."""
        lost = self.ended.get(ChildState.FAILED, 0) + self.ended.get(ChildState.CANCELLED, 0)
        return self.size - lost < self.needed

    def cancel_rest(self) -> None:
        """Everything that has not ended will not run any more."""
        self._count(ChildState.CANCELLED, len(self.open) + self._fresh)
        for index in (*self.open, *range(self.fresh_from, min(self.size, KEPT_CHILDREN))):
            known = self.kept.get(index, Child(index=index))
            self._keep_child(known.model_copy(update={"state": ChildState.CANCELLED}))
        self.open = {}
        self.fresh_from = self.size
        self.accumulates = False

    def _keep(self, index: int, state: ChildState, result: AttemptResult) -> None:
        self._keep_child(
            Child(
                index=index,
                state=state,
                attempts=result.key.attempt,
                exit_code=result.exit_code,
                reason=result.reason,
                host_id=result.host_id,
            )
        )

    def _keep_child(self, child: Child) -> None:
        if self.size <= KEPT_CHILDREN:
            self.kept[child.index] = child

    def counts(self) -> dict[ChildState, int]:
        """How many children stand where; adds up to ``size``."""
        phases = {
            ChildState.RUNNING: self._in(Phase.RUNNING),
            ChildState.RETRYING: self._in(Phase.DELAYED),
            ChildState.PENDING: self._in(Phase.READY) + self._fresh,
        }
        return {**phases, **self.ended}

    def outcome(self) -> BatchState:
        """The job's state, from its children's."""
        if not self.done:
            return BatchState.RUNNING
        if self.ended.get(ChildState.CANCELLED, 0) > self.dropped and not self.stopped:
            return BatchState.CANCELLED
        if self.ended.get(ChildState.SUCCEEDED, 0) >= self.needed:
            return BatchState.SUCCEEDED
        failed = self.stopped or self.ended.get(ChildState.FAILED)
        return BatchState.FAILED if failed else BatchState.CANCELLED

    def children(self) -> list[Child]:
        """Every child of a small array; of a large one only those that are open."""
        shown = dict(self.kept)
        for index, child in self.open.items():
            state = {
                Phase.READY: ChildState.PENDING,
                Phase.RUNNING: ChildState.RUNNING,
                Phase.DELAYED: ChildState.RETRYING,
            }[child.phase]
            known = self.kept.get(index, Child(index=index))
            shown[index] = known.model_copy(update={"state": state, "attempts": child.attempt})
        if self.size <= KEPT_CHILDREN:
            for index in range(self.fresh_from, self.size):
                shown.setdefault(index, Child(index=index))
        return [shown[index] for index in sorted(shown)]
