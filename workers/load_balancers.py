"""Tells nginx and AWS what rows of registrations want, and what they made of it; no SQL here."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from fleetwide.errors import FleetwideError, NotFound
from fleetwide.models.targets import Provider, TargetState
from fleetwide.providers.nginx_targets import NginxUpstreams
from fleetwide.services.target_groups import GroupSteps, group_steps
from fleetwide.services.targets import IN, Registration
from fleetwide.services.upstreams import Place, server_of
from fleetwide.store.targets import Key
from workers.rota import Rota

if TYPE_CHECKING:
    from fleetwide.providers.target_groups import TargetGroups

GROUPS_A_TURN = 6
"""Each costs up to three calls, and AWS takes some 20 a second of an account."""
MOST_WAIT = 60.0
NO_NGINX = "this scheduler has no nginx; set FLEETWIDE_TARGETS_NGINX_FILE where it runs"

log = structlog.get_logger()


@dataclass
class Outcome:
    """What became of rows."""

    registered: list[Key] = field(default_factory=list)
    lost: list[Key] = field(default_factory=list)
    """Were registered, and are no more."""
    removed: list[Key] = field(default_factory=list)
    """Get nothing new."""
    drained: list[Key] = field(default_factory=list)
    """Have nothing under way either."""
    waiting: list[tuple[Key, str]] = field(default_factory=list)
    """Their load balancer finds them unwell; its words are news."""
    failed: list[tuple[Key, str]] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.registered += other.registered
        self.lost += other.lost
        self.removed += other.removed
        self.drained += other.drained
        self.waiting += other.waiting
        self.failed += other.failed


class Waits:
    """Whom not to try again yet: each failure in a row doubles the wait, up to a minute."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}

    def over(self, name: str) -> bool:
        """Whether it may be tried."""
        return monotonic() >= self._failed.get(name, (0, 0.0))[1]

    def failed(self, name: str) -> None:
        times = self._failed.get(name, (0, 0.0))[0]
        self._failed[name] = (times + 1, monotonic() + min(2.0**times, MOST_WAIT))

    def worked(self, name: str) -> None:
        self._failed.pop(name, None)


def key_of(one: Registration) -> Key:
    return one.task_id, one.target


def provider_of(one: Registration) -> Provider:
    return Provider(one.target.partition(":")[0])


def place_of(one: Registration) -> str:
    """The upstream, or the ARN."""
    return one.target.partition(":")[2]


class NginxTeller:
    """All upstreams are one file: it is written when any of them is another than it was."""

    def __init__(self, nginx: NginxUpstreams | None) -> None:
        self._nginx = nginx
        self._waits = Waits()

    def tell(self, rows: Sequence[Registration], names: Collection[str]) -> Outcome:
        """``names`` are the upstreams that services name, with copies or without."""
        joining = [one for one in rows if one.state is TargetState.REGISTERING]
        leaving = [
            key_of(one) for one in rows if one.state is TargetState.DRAINING and not one.removed
        ]
        if not self._waits.over("nginx"):
            return Outcome()
        if self._nginx is None:
            self._waits.failed("nginx")
            return Outcome(removed=leaving, failed=[(key_of(one), NO_NGINX) for one in joining])
        outcome = Outcome()
        upstreams: dict[str, set[Place]] = {name: set() for name in names}
        for one in rows:
            if one.state not in IN:
                continue
            try:
                server_of(one.address, one.port)
            except FleetwideError as error:
                outcome.failed.append((key_of(one), error.message))
                continue
            upstreams.setdefault(place_of(one), set()).add((one.address, one.port))
        wrong = {key for key, _ in outcome.failed}
        right = [key_of(one) for one in joining if key_of(one) not in wrong]
        try:
            if self._nginx.put(upstreams):
                log.info("targets.nginx_loaded", upstreams=len(upstreams))
        except FleetwideError as error:
            self._waits.failed("nginx")
            log.warning("targets.nginx_failed", error=error.message)
            outcome.failed += [(key, error.message) for key in [*right, *leaving]]
            return outcome
        self._waits.worked("nginx")
        outcome.registered, outcome.removed = right, leaving
        return outcome


class GroupTeller:
    """Target groups, some at a time."""

    def __init__(self, open_groups: Callable[[], "TargetGroups"]) -> None:
        """``open_groups`` is called when a service first names a group: AWS's library is large."""
        self._groups = cache(open_groups)
        self._waits = Waits()
        self._rota = Rota(GROUPS_A_TURN)

    def tell(self, rows: Sequence[Registration], over: Collection[str]) -> Outcome:
        """``over`` are the ids of copies that have ended."""
        by_arn: dict[str, list[Registration]] = {}
        for one in rows:
            if one.state is not TargetState.DEREGISTERED:
                by_arn.setdefault(place_of(one), []).append(one)
        busy = {
            arn
            for arn, those in by_arn.items()
            if any(one.state is not TargetState.REGISTERED for one in those)
        }
        outcome = Outcome()
        for arn in self._rota.next([arn for arn in by_arn if self._waits.over(arn)], busy):
            outcome.add(self._one(arn, by_arn[arn], over))
        return outcome

    def _one(self, arn: str, rows: Sequence[Registration], over: Collection[str]) -> Outcome:
        try:
            groups = self._groups()
            steps = group_steps(rows, groups.health(arn), over)
            groups.register(arn, steps.register)
            groups.deregister(arn, steps.deregister)
        except FleetwideError as error:
            self._waits.failed(arn)
            log.warning("targets.group_failed", arn=arn, error=error.message)
            return _failure(rows, error)
        self._waits.worked(arn)
        return _told(steps)


def _failure(rows: Sequence[Registration], error: FleetwideError) -> Outcome:
    """A group that does not exist sends nobody anything: whoever leaves it has left."""
    unsettled = [one for one in rows if one.state is not TargetState.REGISTERED]
    gone = isinstance(error, NotFound)
    leaving = [key_of(one) for one in unsettled if gone and one.state is TargetState.DRAINING]
    kept = [key_of(one) for one in unsettled if key_of(one) not in leaving]
    return Outcome(drained=leaving, failed=[(key, error.message) for key in kept])


def _told(steps: GroupSteps) -> Outcome:
    return Outcome(
        registered=[key_of(one) for one in steps.registered],
        lost=[key_of(one) for one in steps.lost],
        drained=[key_of(one) for one in steps.drained],
        waiting=[(key_of(one), words) for one, words in steps.waiting],
    )
