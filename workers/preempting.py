"""Takes back what was lent: tells tasks that they have to leave, and asks them to in the end.

Three steps, each in the rows before the next one: marked with the time until which it may stay, let
go by the gate of disruption budgets, asked to end. Whatever dies in between, the next turn goes on
from the rows; a mark whose need is gone is dropped. What is kept here may be forgotten at any time.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import process_time
from typing import Any

import structlog
from sqlmodel import Session
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.containers.placement import (
    Claim,
    Clearing,
    Engine,
    Ledger,
    Plan,
    Preemption,
    guaranteed,
    propose,
)
from fleetwide.intervals import is_over
from fleetwide.models.containers import JobKind
from fleetwide.models.disturbances import Answer, Cause, Disturbed
from fleetwide.models.evictions import Eviction
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.task_states import EndReason
from fleetwide.store import disruptions, preemptions
from fleetwide.store.pending import Pending
from fleetwide.store.preemptions import Marked, Need
from fleetwide.store.session import Store
from workers.leading import Leadership

NOTICE = timedelta(seconds=120)
AGAIN = timedelta(seconds=30)
"""How often the gate, and whoever does not end, is asked again."""
LONGEST_REFUSAL = timedelta(minutes=5)
REST = 10.0
"""A turn that took long is followed by a pause of so many times its length."""
BY = "scheduler"
WHY = "work within the guarantee of its capacity group needs the place"
NOT_NEEDED = "its place is not needed any more"

log = structlog.get_logger()


@dataclass(frozen=True)
class Look:
    """What a tick has decided, and what it was decided from."""

    engine: Engine
    entries: Mapping[int, Pending]
    made: Plan
    ledger: Ledger


@dataclass(frozen=True)
class Leave:
    """One attempt that is asked to end now."""

    attempt: Disturbed
    message: str
    forced: bool = False
    """Only services look at it: the copy is stopped before another has taken its place."""


@dataclass
class _Turn:
    """What one turn has found, and what it wants to write."""

    now: datetime
    marks: Mapping[int, Marked]
    needs: dict[int, Need] = field(default_factory=dict)
    """By attempt that has to leave."""
    fresh: list[tuple[Need, list[int]]] = field(default_factory=list)
    """Who needs places, and attempts that do not know yet that they have to leave them."""
    again: list[int] = field(default_factory=list)
    """Those that the gate is asked for once more."""
    dropped: dict[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)
    """Of attempts that could be asked."""


class Preempting:
    """Takes turns with the scheduler's own ticks, after them."""

    def __init__(self, store: Store, leadership: Leadership, notice: timedelta = NOTICE) -> None:
        self.store = store
        self.leadership = leadership
        self.notice = notice
        self.claims: tuple[Claim, ...] = ()
        """The places that are being cleared, for the engine to keep."""
        self.clearings: dict[int, Clearing] = {}
        """The same for people, by attempt that waits."""
        self._asked: dict[int, datetime] = {}
        """When attempts were asked to end."""
        self._gated: dict[int, datetime] = {}
        """When the gate was asked last for those that were told."""
        self._refused: dict[int, datetime] = {}
        """Until when the gate need not be asked."""
        self._not_before: datetime | None = None

    def forget(self) -> None:
        """Another scheduler may have acted meanwhile."""
        self.claims, self.clearings = (), {}
        self._asked, self._gated, self._refused = {}, {}, {}
        self._not_before = None

    def turn(self, look: Look | None, now: datetime) -> list[Leave]:
        """Who is to be asked to end now. Without a look nothing waits for a host.

        Raises:
            LeaseLost: another scheduler acts; nothing was written.
        """
        if self._not_before is not None and now < self._not_before:
            return []
        began = process_time()
        turn = self._turn(look, now)
        leaves = self._write(turn) if turn.fresh or turn.again or turn.dropped else []
        self._not_before = now + timedelta(seconds=(process_time() - began) * REST)
        return leaves

    async def ask_to_end(self, client: Client, leaves: Sequence[Leave], now: datetime) -> None:
        """Send the signals; what cannot be told is told by a later turn."""
        answers = await asyncio.gather(
            *(_signal(client, leave) for leave in leaves), return_exceptions=True
        )
        for leave, answer in zip(leaves, answers, strict=True):
            if answer is None:
                self._asked[leave.attempt.attempt_id] = now
            else:
                name = leave.attempt.key.workflow_id
                log.error("a preemption was not told", workflow_id=name, exc_info=answer)

    def _turn(self, look: Look | None, now: datetime) -> _Turn:
        entries = look.entries if look else {}
        waiting = []
        if look is not None:
            requests = [entry.request for entry in entries.values()]
            waiting = guaranteed(requests, look.made, look.ledger)
        with self.store.read() as session:
            marks = preemptions.marked(session)
            self._prune(marks, now)
            announced = marks.keys() - self._asked.keys()
            running = preemptions.running(session, announced, self._asked.keys()) if waiting else []
        turn = _Turn(now, marks, groups={int(each.task_id): each.group for each in running})
        found: tuple[Preemption, ...] = ()
        self.claims = ()
        if look is not None:
            able = [
                task
                for task in running
                if task.leaving or task.announced or int(task.task_id) not in self._refused
            ]
            found, self.claims = propose(
                look.engine.board, look.ledger, waiting, able, look.engine.kind_of
            )
        self._note(turn, found, entries)
        # What was decided for them may not have been written, or they were not looked at.
        placed = {decision.request_id for decision in look.made.decisions} if look else set[int]()
        self._drop(turn, entries.keys() - placed)
        self._clear(turn)
        return turn

    def _prune(self, marks: Mapping[int, Marked], now: datetime) -> None:
        self._asked = {number: at for number, at in self._asked.items() if number in marks}
        self._gated = {number: at for number, at in self._gated.items() if number in marks}
        self._refused = {number: at for number, at in self._refused.items() if at > now}

    def _note(
        self, turn: _Turn, found: Sequence[Preemption], entries: Mapping[int, Pending]
    ) -> None:
        """Who has to be told, and who is to be asked."""
        for each in found:
            entry = entries[each.request_id]
            need = Need(each.request_id, entry.workflow_id, entry.request.group)
            victims = [int(name) for name in each.victims]
            turn.needs |= dict.fromkeys(victims, need)
            fresh = [number for number in victims if number not in turn.marks]
            if fresh:
                turn.fresh.append((need, fresh))
        for number, mark in turn.marks.items():
            told = number in self._asked or number in turn.needs
            if told and not mark.ends and self._is_due(mark, turn.now):
                turn.again.append(number)

    def _drop(self, turn: _Turn, looked_at: Collection[int]) -> None:
        """Let those stay that nobody needs any more, as far as who needed them was looked at."""
        for number, mark in turn.marks.items():
            needed = number in self._asked or number in turn.needs or mark.ends
            if not needed and not (mark.still_waits and mark.needed_by not in looked_at):
                turn.dropped[number] = NOT_NEEDED

    def _is_due(self, mark: Marked, now: datetime) -> bool:
        """Whether it is to be asked to end, or the gate for it once more."""
        number = mark.attempt_id
        if number in self._asked:
            return is_over(self._asked[number], AGAIN, now)
        return mark.at <= now or is_over(self._gated.get(number), AGAIN, now)

    def _clear(self, turn: _Turn) -> None:
        """Put into words what is being cleared for whom, as it will be when it is written."""
        new = {number: need.attempt_id for need, numbers in turn.fresh for number in numbers}
        self.clearings = {}
        for claim in self.claims:
            here = [mark for mark in turn.marks.values() if mark.host_id == claim.host_id]
            fresh = [number for number, needed_by in new.items() if needed_by == claim.request_id]
            if here or fresh:
                times = [mark.at for mark in here] + [turn.now + self.notice] * bool(fresh)
                groups = {mark.group for mark in here} | {turn.groups[each] for each in fresh}
                self.clearings[claim.request_id] = Clearing(
                    claim.host_id, len(here) + len(fresh), ", ".join(sorted(groups)), max(times)
                )

    def _write(self, turn: _Turn) -> list[Leave]:
        with self.store.write(reason=WHY) as session:
            self.leadership.fence(session)
            if turn.dropped:
                preemptions.call_off(session, turn.dropped, now=turn.now)
            if turn.fresh:
                self._announce(session, turn)
            return self._again(session, turn) if turn.again else []

    def _announce(self, session: Session, turn: _Turn) -> None:
        """All who have to leave one place, or none of them: if one stays, it is all in vain."""
        answer = self._gate(session, [one for _, some in turn.fresh for one in some], turn.now)
        granted = {one.attempt_id for one in answer.granted}
        for need, numbers in turn.fresh:
            if granted.issuperset(numbers):
                at = turn.now + self.notice
                preemptions.announce(session, numbers, need, at=at, now=turn.now)
                granted -= set(numbers)
            else:
                self.claims = tuple(c for c in self.claims if c.request_id != need.attempt_id)
                self.clearings.pop(need.attempt_id, None)
        if granted:
            disruptions.give_back(session, granted, now=turn.now)

    def _again(self, session: Session, turn: _Turn) -> list[Leave]:
        """Who is to be asked to end now, of those whom the gate still lets go."""
        answer = self._gate(session, turn.again, turn.now)
        stay = {
            one.attempt_id: f"{one.code}: {one.sentence}"
            for one in answer.refused
            if one.attempt_id not in self._asked
        }
        if stay:
            preemptions.call_off(session, stay, now=turn.now)
        return [
            self._leave(turn, one)
            for one in answer.granted
            if turn.marks[one.attempt_id].at <= turn.now
        ]

    def _gate(self, session: Session, numbers: Sequence[int], now: datetime) -> Answer:
        wanted = disruptions.disturbed(session, numbers)
        answer = disruptions.ask(session, wanted, cause=Cause.PREEMPTION, by=BY, now=now)
        self._gated |= dict.fromkeys((one.attempt_id for one in answer.granted), now)
        for one in answer.refused:
            until = one.until or now + AGAIN
            self._refused[one.attempt_id] = min(max(until, now + AGAIN), now + LONGEST_REFUSAL)
        return answer

    def _leave(self, turn: _Turn, one: Disturbed) -> Leave:
        need = turn.needs.get(one.attempt_id)
        host_id = turn.marks[one.attempt_id].host_id
        message = need.sentence(host_id) if need else f"its place on {host_id} is taken back"
        return Leave(one, message, forced=one.attempt_id in self._asked)


async def _signal(client: Client, leave: Leave) -> None:
    """Ask one attempt, or its service, to end it; a workflow that is over needs no asking."""
    one = leave.attempt
    told: dict[str, Any] = {"reason": EndReason.PREEMPTED, "message": leave.message[:500]}
    told["host_id"] = one.host_id
    if one.service_id is not None:
        name, signal = f"service/{one.service_id}", "move"
        argument: Eviction = CopyMove(index=one.copy_index, forced=leave.forced, **told)
    else:
        index = one.key.index if one.kind == JobKind.BATCH else None
        name, signal = one.key.workflow_id, "evict"
        argument = Eviction(index=index, attempt=one.key.attempt, **told)
    # The newest run: a batch job may have continued as new since the attempt was placed.
    handle = client.get_workflow_handle(name)
    try:
        await handle.signal(signal, argument)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
