"""The scheduler: rounds one after the other on a state that only changes where something happened.

``schedule`` is the same as a pure function of a snapshot; a property test holds them equal.
"""

from fleetwide.batch.scheduling.room import Hosts, Room
from fleetwide.batch.scheduling.round import decide
from fleetwide.batch.scheduling.state import State
from fleetwide.batch.scheduling.waiting import Wait, why
from fleetwide.batch.scheduling.work import (
    Pending,
    Reservation,
    Round,
    RowKey,
    Running,
    Snapshot,
    TaskKey,
)


def schedule(snapshot: Snapshot, now: float, room: Room | None = None) -> Round:
    """What one round decides. The same snapshot always gives the same."""
    return Scheduler(snapshot, room).round(now)


class Scheduler:
    """Rows and tasks come and go by ``add``, ``remove``, ``run`` and ``end``; ``round`` decides.

    A round is kept as if it had been done: what started runs, who has to leave is leaving. Is a
    start not carried out, ``end`` the task and ``add`` its row again.
    """

    def __init__(self, snapshot: Snapshot, room: Room | None = None) -> None:
        self.state = State(snapshot, room or Hosts(snapshot.hosts))
        self._hosts = snapshot.hosts
        self._reservation: Reservation | None = None

    def add(self, row: Pending) -> None:
        self.state.add(row)

    def remove(self, key: RowKey) -> Pending:
        return self.state.remove(key)

    def run(self, task: Running) -> None:
        self.state.run(task)

    def end(self, key: TaskKey) -> Running:
        return self.state.end(key)

    def round(self, now: float) -> Round:
        """Decide what starts now. Times are seconds on any clock that does not go back."""
        made = decide(self.state, now)
        self._reservation = made.reservation
        return made

    def why(self, key: RowKey, now: float) -> Wait:
        """Why a row waits after the last round. Raises ``KeyError`` when it does not."""
        return why(self.state, key, now, self._reservation)

    def snapshot(self) -> Snapshot:
        """Everything as it is, from which another scheduler would decide the same."""
        state = self.state
        return Snapshot(
            tree=state.tree,
            hosts=self._hosts,
            pending=tuple(state.rows.values()),
            running=tuple(state.tasks.values()),
            pins=tuple(state.pins),
            reserved=state.reserved,
            history=dict(state.history),
            preempted=tuple(state.preempted),
            rules=state.rules,
        )
