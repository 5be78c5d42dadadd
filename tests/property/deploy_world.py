"""A small world of copies that a deploy is played in: they start, get healthy, fail, vanish."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.models.health import HealthStatus
from fleetwide.models.membership import Membership
from fleetwide.models.services import DeployPolicy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.services.deploys import advance, begin
from fleetwide.services.reconcile import Goal, Steps, reconcile
from fleetwide.services.shares import Limits, limits_of

T0 = datetime(2026, 1, 2, 12, tzinfo=UTC)
STEP = timedelta(seconds=5)
SILENT = TaskState.DISCONNECTED


@dataclass(frozen=True)
class Version:
    """How the copies of a version do."""

    fate: Callable[[Copy, int], EndReason | HealthStatus | None] = lambda copy, age: (
        HealthStatus.HEALTHY if age else None
    )
    """By a copy and its age in steps: an end, a health, or nothing new."""


@dataclass
class World:
    """All copies of a service, and the deploy that goes on."""

    policy: DeployPolicy
    desired: int
    versions: dict[int, Version]
    state: DeployState
    now: datetime = T0
    copies: dict[str, Copy] = field(default_factory=dict)
    ended: list[Copy] = field(default_factory=list)
    born: dict[int, int] = field(default_factory=dict)
    shares: dict[int, int] = field(default_factory=dict)
    log: list[tuple[DeployPhase, dict[int, int], int]] = field(default_factory=list)

    @classmethod
    def running(cls, policy: DeployPolicy, desired: int, versions: dict[int, Version]) -> "World":
        """Version 1 runs well everywhere."""
        world = cls(policy, desired, versions, begin(1, 1, policy, T0))
        world.settle()
        return world

    def deploy(self, to: int) -> None:
        self.state = begin(self.state.number + 1, to, self.policy, self.now, self.state)

    def settle(self, steps: int = 400) -> None:
        """Until the deploy is over."""
        for _ in range(steps):
            self.step()
            if self.state.over:
                return
        raise AssertionError(f"it does not come to an end: {self.state}")

    def step(self) -> None:
        """A look, what follows of it, and some time."""
        self.look()
        self.pass_time()

    def pass_time(self) -> None:
        self.now += STEP
        for copy in list(self.copies.values()):
            self._live(copy)

    def look(self) -> None:
        copies, ended, self.ended = list(self.copies.values()), self.ended, []
        self.state, self.shares = advance(
            self.state, self.policy, self.desired, copies, ended, self.now
        )
        again = advance(self.state, self.policy, self.desired, copies, ended, self.now)
        assert again[0].model_dump() == self.state.model_dump(), "told twice, it says another thing"
        assert again[1] == self.shares
        self._reconcile()
        self.log.append((self.state.phase, dict(self.shares), self.ready()))

    def ready(self, revision: int | None = None) -> int:
        return sum(
            copy.ready(self.now, self.policy.healthy_seconds)
            for copy in self.copies.values()
            if not copy.leaving and revision in (None, copy.membership.revision)
        )

    def live(self, revision: int | None = None) -> int:
        """Copies on hosts that answer."""
        return sum(
            revision in (None, copy.membership.revision) and copy.state is not SILENT
            for copy in self.copies.values()
        )

    def lose(self, task_id: str, reason: EndReason = EndReason.LOST) -> None:
        copy = self.copies.pop(task_id)
        self.ended.append(self._changed(copy, state=TaskState.FINISHED, reason=reason))

    def change(self, task_id: str, **update: object) -> None:
        self.copies[task_id] = self._changed(self.copies[task_id], **update)

    def _reconcile(self) -> None:
        limits = limits_of(
            self.policy.model_copy(update={"strategy": self.state.strategy}), self.desired
        )
        steps = self._steps(limits)
        before, ready = self.live(), self.ready()
        for stopping in steps.stops:
            self.lose(stopping.task_id, stopping.stop.reason)
        assert self.ready() >= min(ready, limits.least), "short by the deploy's own doing"
        for start in steps.starts:
            self._start(start.index, start.revision)
        allowed = max(limits.most, before)
        assert self.live() <= allowed, "more copies than desired and the surge"

    def _steps(self, limits: Limits) -> Steps:
        goal = Goal(
            want=self.shares,
            target=self.state.goes_to,
            desired=self.desired,
            surge=limits.surge,
            unavailable=limits.unavailable,
            healthy_seconds=self.policy.healthy_seconds,
        )
        return reconcile(goal, list(self.copies.values()), [], self.now)

    def _start(self, index: int, revision: int) -> None:
        self.born[index] = self.born.get(index, -1) + 1
        membership = Membership(
            service_id="web", index=index, revision=revision, incarnation=self.born[index]
        )
        self.copies[membership.task_id] = Copy(
            membership=membership,
            state=TaskState.ACCEPTED,
            accepted_at=self.now,
            host_id=f"h{len(self.copies) % 3}",
        )

    def _live(self, copy: Copy) -> None:
        if copy.state is SILENT:
            return
        age = int((self.now - copy.accepted_at) / STEP) - 1
        fate = self.versions[copy.membership.revision].fate(copy, age)
        task_id = copy.membership.task_id
        if isinstance(fate, EndReason):
            self.lose(task_id, fate)
        elif fate is HealthStatus.HEALTHY and copy.healthy_since is None:
            self.change(task_id, **_started(copy, self.now), health=fate, healthy_since=self.now)
        elif fate is not None and fate is not HealthStatus.HEALTHY:
            self.change(task_id, **_started(copy, self.now), health=fate, healthy_since=None)

    @staticmethod
    def _changed(copy: Copy, **update: object) -> Copy:
        return copy.model_copy(update=update)


def _started(copy: Copy, now: datetime) -> Mapping[str, object]:
    return {"state": TaskState.STARTED, "started_at": copy.started_at or now}
