"""However drains, ends, returns, crashes and deaths of drains come between each other, no budget is
broken: the gate in SQL against a model that only counts.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.containers.disruptions import min_healthy
from fleetwide.models.containers import AttemptRequest
from fleetwide.models.disruptions import DisruptionPolicy
from fleetwide.store import jobs
from fleetwide.store.disruption_gates import EXPIRES
from fleetwide.store.session import Store
from tests.eviction_jobs import NOW, add, asks, enter, header

NAME = "batch/b"
POLICIES = (
    {"unhealthy_limit": {"copies": 1}},
    {"unhealthy_limit": {"copies": 3}},
    {"availability_percentage": {"percent": 70}},
)
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["drain", "drain", "dies", "ends", "returns", "silent", "answers", "waits"]
        ),
        st.integers(0, 100),
    ),
    min_size=5,
    max_size=40,
)


@dataclass
class Array:
    """Children with one live attempt each, on two hosts that are both drained."""

    store: Store
    policy: DisruptionPolicy
    size: int
    now: datetime = NOW
    numbers: list[int] = field(default_factory=list)
    """The newest attempt of each child."""
    states: list[str] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    """Attempts that will surely end."""
    unheard: dict[int, datetime] = field(default_factory=dict)
    """Those that were let go by a drain that died."""
    attempts: list[int] = field(default_factory=list)

    def begin(self) -> None:
        budget = {"policy": self.policy.model_dump(exclude_none=True)}
        self.numbers = add(self.store, NAME, budget, size=self.size)
        self.states = ["Started"] * self.size
        self.attempts = [1] * self.size

    def left(self) -> int:
        """Healthy ones that nobody has asked to leave."""
        held = {number for number, at in self.unheard.items() if self.now < at + EXPIRES}
        return sum(
            state == "Started" and number not in self.told | held
            for number, state in zip(self.numbers, self.states, strict=True)
        )

    def ask(self, host: int, *, dies: bool) -> None:
        """One drain asks for what is on its host; nothing healthy goes beyond the budget."""
        wanted = [self.numbers[child] for child in range(host, self.size, 2)]
        before = self.left()
        let_go = [one.attempt_id for one in asks(self.store, wanted, now=self.now).granted]
        if dies:
            self.unheard |= {one: self.now for one in let_go if one not in self.told}
        else:
            self.told |= set(let_go)
            for one in let_go:
                self.unheard.pop(one, None)
        assert self.left() >= min(before, min_healthy(self.policy, self.size))

    def step(self, kind: str, number: int) -> None:
        child = number % self.size
        attempt, state = self.numbers[child], self.states[child]
        match kind:
            case "drain" | "dies":
                self.ask(number % 2, dies=kind == "dies")
            case "ends" if attempt in self.told and state != "Finished":
                self._enter(child, "Finished", reason="hostDraining")
            case "returns" if state == "Finished":
                self._try_again(child)
            case "silent" if state == "Started":
                self._enter(child, "Disconnected", left_state="Started")
            case "answers" if state == "Disconnected":
                self._enter(child, "Started", left_state=None)
            case "waits":
                self.now += timedelta(seconds=number)

    def _enter(self, child: int, state: str, **values: str | None) -> None:
        enter(self.store, self.numbers[child], state, **values)
        self.states[child] = state

    def _try_again(self, child: int) -> None:
        self.attempts[child] += 1
        wanted = header(NAME, {"policy": self.policy.model_dump(exclude_none=True)}, size=self.size)
        asked = [AttemptRequest(index=child, attempt=self.attempts[child])]
        with self.store.write() as session:
            job = jobs.ensure(session, wanted, "", now=self.now)
            waiter = jobs.ensure_waiter(session, job, "r", "1", now=self.now)
            [row] = jobs.ensure_attempts(session, job, wanted, asked, waiter, now=self.now)
            row.state, row.host_id, row.reserved = "Started", "h3", True
            session.add(row)
            session.flush()
            self.numbers[child], self.states[child] = row.id or 0, "Started"


@settings(max_examples=15, deadline=None)
@given(steps=STEPS, size=st.integers(2, 7), policy=st.sampled_from(POLICIES))
def test_no_budget_is_broken_whatever_comes_between(
    sqlite_template: Path,
    steps: Sequence[Step],
    size: int,
    policy: dict[str, dict[str, int]],
) -> None:
    file = sqlite_template.with_name("property.db")
    for leftover in file.parent.glob("property.db*"):
        leftover.unlink()
    shutil.copy(sqlite_template, file)
    store = Store.open(f"sqlite:///{file}")
    try:
        array = Array(store, DisruptionPolicy.model_validate(policy), size)
        array.begin()
        for kind, number in steps:
            array.step(kind, number)
    finally:
        store.engine.dispose()
