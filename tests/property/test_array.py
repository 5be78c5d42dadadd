"""The array of a batch job as a state machine: whatever happens, the counts add up."""

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fleetwide.batch.array import Array, Phase
from fleetwide.models.batch import ChildState
from fleetwide.models.batch_states import BatchState
from fleetwide.models.containers import AttemptKey, AttemptResult
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason

FINAL = {ChildState.SUCCEEDED, ChildState.FAILED, ChildState.CANCELLED}


class ArrayMachine(RuleBasedStateMachine):
    """Places, ends, delays and cancels children in any order."""

    @initialize(size=st.integers(1, 12), retries=st.integers(0, 2))
    def begin(self, size: int, retries: int) -> None:
        self.array = Array(size=size)
        self.policy = RetryPolicy(retries=retries)
        self.ended: dict[int, ChildState] = {}
        self.attempts: dict[int, int] = {}
        self.cancelled = False

    def children_in(self, phase: Phase) -> list[int]:
        return [index for index, child in self.array.open.items() if child.phase is phase]

    @precondition(lambda self: self.array.has_wanting)
    @rule(limit=st.integers(1, 5), data=st.data())
    def ask_and_place_some(self, limit: int, data: st.DataObject) -> None:
        wanted = self.array.wanted(limit)
        assert 0 < len(wanted) <= limit
        assert len({request.index for request in wanted}) == len(wanted)
        for request in data.draw(st.lists(st.sampled_from(wanted), unique_by=id)):
            assert request.attempt == self.attempts.get(request.index, 0) + 1
            self.array.placed(request.index)

    @precondition(lambda self: self.children_in(Phase.RUNNING))
    @rule(data=st.data(), reason=st.sampled_from(EndReason))
    def one_ends(self, data: st.DataObject, reason: EndReason) -> None:
        index = data.draw(st.sampled_from(self.children_in(Phase.RUNNING)))
        attempt = self.array.open[index].attempt
        key = AttemptKey(workflow_id="batch/x", run_id="r", index=index, attempt=attempt)
        result = AttemptResult(key=key, reason=reason, message="")
        self.attempts[index] = attempt
        if self.array.ended_attempt(result, self.policy) is None:
            assert index not in self.ended, "a child ended twice"
            self.ended[index] = self.array.kept[index].state

    @precondition(lambda self: self.children_in(Phase.DELAYED))
    @rule(data=st.data())
    def a_delay_is_over(self, data: st.DataObject) -> None:
        self.array.ready_again(data.draw(st.sampled_from(self.children_in(Phase.DELAYED))))

    @precondition(lambda self: not self.array.done)
    @rule(sure=st.integers(0, 9))
    def cancel_rarely(self, sure: int) -> None:
        if sure == 0:
            self.array.cancel_rest()
            self.cancelled = True

    @rule(first=st.integers(0, 11), more=st.integers(0, 5))
    def drop_some(self, first: int, more: int) -> None:
        before, running = self.array.counts(), set(self.children_in(Phase.RUNNING))
        count, left = self.array.drop([(first, first + more), (first, first)])
        assert set(left) == {index for index in running if first <= index <= first + more}
        cancelled = self.array.counts().get(ChildState.CANCELLED, 0)
        assert cancelled - before.get(ChildState.CANCELLED, 0) == count
        for child in self.array.children():
            if first <= child.index <= first + more and child.index not in running:
                assert child.state in FINAL

    @precondition(lambda self: not self.cancelled)
    @rule(more=st.integers(0, 3), close=st.booleans())
    def resize(self, more: int, close: bool) -> None:
        if self.array.done or self.array.size + more > 20:
            return
        self.array.resize(max(self.array.size + more, self.array.smallest_size), close=close)

    @rule()
    def continue_as_new(self) -> None:
        self.array = Array.model_validate_json(self.array.model_dump_json())

    @invariant()
    def counts_add_up(self) -> None:
        assert sum(self.array.counts().values()) == self.array.size
        assert [child.index for child in self.array.children()] == list(range(self.array.size))
        assert self.array.attempts == sum(self.attempts.values())

    @invariant()
    def the_outcome_fits_the_children(self) -> None:
        states = {child.state for child in self.array.children()}
        if self.array.outcome() is BatchState.RUNNING:
            assert not states <= FINAL
        else:
            assert states <= FINAL
        if self.cancelled:
            assert self.array.outcome() is BatchState.CANCELLED
        elif self.array.done and not self.array.ended.get(ChildState.FAILED):
            assert (self.array.outcome() is BatchState.SUCCEEDED) == (
                self.array.size - self.array.ended.get(ChildState.CANCELLED, 0) > 0
            )


TestArray = ArrayMachine.TestCase
