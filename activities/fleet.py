"""The fleet as a whole, control side: how hosts stand, drains, and what may be given up as lost."""

from datetime import UTC, datetime, timedelta

from sqlmodel import Session
from temporalio import activity

from activities import drains
from fleetwide.containers.valve import ValveRules
from fleetwide.errors import Conflict
from fleetwide.models.base import Waiting
from fleetwide.models.containers import AttemptKey
from fleetwide.models.disconnects import HOST_SILENT
from fleetwide.models.host_moves import (
    DrainProgress,
    DrainStep,
    HostChange,
    Judgement,
    SilentAttempt,
    SilentHost,
    ValveState,
    Verdict,
)
from fleetwide.models.hosts import ANSWERS, HostState
from fleetwide.models.task_states import TaskState
from fleetwide.settings import Settings
from fleetwide.store import clock, hosts, jobs, relocations, standings
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow

ASK_AGAIN_SECONDS = 10.0
FROZEN_SECONDS = 30.0
MOST_RETURNS = 3
# A host that gave up its drain stays Inactive: what is on it is to leave yet.
_BEING_EMPTIED = (HostState.INACTIVE, HostState.REMOVABLE)


class FleetActivities:
    """Needs the database; drains need Temporal, too."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.rules = valve_rules(settings)
        self.host_lost_after = timedelta(seconds=settings.host_lost_after)

    @activity.defn(name="fleet.change_standing")
    def change_standing(self, change: HostChange) -> None:
        """Write down what people want of a host, who wants it and why."""
        with self.store.write() as session:
            standings.change(session, change, now=datetime.now(UTC))
            if change.wanted not in _BEING_EMPTIED:
                relocations.forget_host(session, change.host_id)

    @activity.defn(name="fleet.remove_host")
    def remove_host(self, change: HostChange) -> None:
        """Take a host out of the fleet that has no tasks any more.

        Raises:
            Conflict: attempts still hold something of it.
        """
        with self.store.write() as session:
            left = len(standings.on_host(session, change.host_id))
            if left:
                raise Conflict(
                    f"{left} tasks are on host {change.host_id}",
                    hint=f"fleetwide host drain {change.host_id} --reason ...",
                )
            standings.change(session, change, now=datetime.now(UTC))

    @activity.defn(name="fleet.drain_step")
    async def drain_step(self, step: DrainStep) -> DrainProgress:
        """Ask some more tasks of a host to end and run elsewhere; what is left of them."""
        return await drains.drain_step(self.store, activity.client(), step)

    def _connected(self, host_id: str) -> bool:
        with self.store.read() as session:
            host = session.get(HostRow, host_id)
            return host is not None and host.state in ANSWERS

    def _is_gone(self, host_id: str) -> bool:
        with self.store.read() as session:
            return standings.standing(session, host_id).gone_at is not None

    @activity.defn(name="fleet.judge_host")
    def judge_host(self, question: SilentHost) -> Judgement:
        """Give up a host that was silent for long, unless many vanished together."""
        with self.store.read() as session:
            now = clock.now(session)
            host = session.get(HostRow, question.host_id)
            since = standings.standing(session, question.host_id).silent_since
        if host is None or since is None or host.state != HostState.DISCONNECTED:
            return Judgement(verdict=Verdict.BACK)
        left = (since + self.host_lost_after - now).total_seconds()
        if left > 0:
            sentence = f"silent since {since:%H:%M:%S} UTC; lost in {left:.0f} s"
            return Judgement(verdict=Verdict.WAIT, seconds=left + 0.1, sentence=sentence)
        valve = self._valve(now)
        if valve.frozen:
            return _held(valve)
        return self._lose(question, now)

    def _lose(self, question: SilentHost, now: datetime) -> Judgement:
        """Give the host up, unless it has answered meanwhile, or the valve has closed."""
        with self.store.write() as session:
            host = hosts.find_locked(session, question.host_id)
            if host is None or host.state != HostState.DISCONNECTED:
                return Judgement(verdict=Verdict.BACK)
            valve = standings.note_valve(session, self.rules, now=now)
            if valve.frozen:
                return _held(valve)
            standings.lose(session, host, now=now)
        return Judgement(verdict=Verdict.LOST)

    def _valve(self, now: datetime) -> ValveState:
        """The valve; many ask at the same time, so it is written only when it closes or opens."""
        with self.store.read() as session:
            seen = standings.valve(session, self.rules, now=now)
            noted = standings.valve_row(session, now=now).frozen
        if seen.frozen == noted:
            return seen
        with self.store.write() as session:
            return standings.note_valve(session, self.rules, now=now)

    @activity.defn(name="fleet.judge_attempt")
    def judge_attempt(self, silent: SilentAttempt) -> Judgement:
        """Whether an attempt may be given up: its container is surely stopped, and it is no blip.

        It may not while its host answers again, nor before the host has surely stopped it, nor
        while many hosts are silent together; at once where the host's machine is surely off.
        """
        now = datetime.now(UTC)
        judgement = self._judge(silent, now)
        self._explain(silent, judgement, now)
        return judgement

    def _judge(self, silent: SilentAttempt, now: datetime) -> Judgement:
        left = silent.fenced_in_seconds
        if left is None:  # a workflow of an older release asks
            left = (silent.fenced_at - now).total_seconds()
        if silent.returns < MOST_RETURNS and self._connected(silent.host_id):
            return Judgement(verdict=Verdict.BACK)
        if self._is_gone(silent.host_id):
            return Judgement(verdict=Verdict.LOST)
        if left > 0:
            sentence = (
                f"host {silent.host_id} does not answer; it stops the container by itself by "
                f"{silent.fenced_at:%H:%M:%S} UTC, and only then may the task run elsewhere"
            )
            return Judgement(
                verdict=Verdict.WAIT, seconds=min(left + 0.1, ASK_AGAIN_SECONDS), sentence=sentence
            )
        valve = self._valve(now)
        if valve.frozen:
            return _held(valve)
        return Judgement(verdict=Verdict.LOST)

    def _explain(self, silent: SilentAttempt, judgement: Judgement, now: datetime) -> None:
        """Show why a silent attempt is not given up yet; writes only what is not shown already."""
        with self.store.read() as session:
            if not _is_news(session, silent, judgement):
                return
        with self.store.write() as session:
            _explain(session, silent, judgement, now)


def valve_rules(settings: Settings) -> ValveRules:
    """How many silent hosts are many, by the settings."""
    return ValveRules(
        settings.lost_valve_share, settings.lost_valve_hosts, settings.lost_valve_seconds
    )


def _held(valve: ValveState) -> Judgement:
    return Judgement(verdict=Verdict.WAIT, seconds=FROZEN_SECONDS, sentence=valve.sentence)


def _live(session: Session, silent: SilentAttempt) -> AttemptRow | None:
    key = AttemptKey.model_validate(silent.model_dump(include=set(AttemptKey.model_fields)))
    row = jobs.find_attempt(session, key)
    return None if row is None or row.state == TaskState.FINISHED else row


def _is_news(session: Session, silent: SilentAttempt, judgement: Judgement) -> bool:
    row = _live(session, silent)
    if row is None:
        return False
    if judgement.verdict is not Verdict.WAIT:
        return row.waiting is not None
    return (row.waiting or {}).get("sentence") != judgement.sentence


def _explain(session: Session, silent: SilentAttempt, judgement: Judgement, now: datetime) -> None:
    row = _live(session, silent)
    if row is None:
        return
    waits = judgement.verdict is Verdict.WAIT
    row.waiting = (
        Waiting(code=HOST_SILENT, sentence=judgement.sentence, since=now).model_dump(mode="json")
        if waits
        else None
    )
    session.add(row)
