"""How many copies each version may have now, so that a service is never short by a deploy.

Percentages are rounded as Kubernetes does: the surge up, the copies that may be missing down; one
copy may be missing where both come to none, as nothing could move otherwise.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetwide.models.copies import Copy
from fleetwide.models.services import DeployPolicy, Strategy
from fleetwide.models.task_states import TaskState

# Percentages come as floats: 28 % of 25 copies are 7, not the 8 of 7.000000000000001 rounded up.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Limits:
    """What a deploy may do to the number of copies."""

    desired: int
    surge: int
    """Copies beyond ``desired``."""
    unavailable: int
    """Copies that may be missing of ``desired``."""

    @property
    def most(self) -> int:
        """Never more copies live."""
        return self.desired + self.surge

    @property
    def least(self) -> int:
        """Never fewer copies are ready by the deploy's own doing."""
        return self.desired - self.unavailable


@dataclass(frozen=True)
class Count:
    """Copies of one version that live, are not leaving, and whose hosts answer."""

    live: int = 0
    ready: int = 0
    silent: int = 0
    """Further ones whose hosts do not answer: others take their place meanwhile."""


@dataclass(frozen=True)
class View:
    """A service's copies at one moment, counted."""

    limits: Limits
    counts: Mapping[int, Count]
    """By revision."""
    leaving: int
    """Copies that live and are leaving: they take room, and are not relied upon."""
    now: datetime

    def of(self, revision: int | None) -> Count:
        """The copies of a revision."""
        return Count() if revision is None else self.counts.get(revision, Count())

    def others(self, *revisions: int | None) -> Count:
        """The copies of all other revisions."""
        rest = [count for number, count in self.counts.items() if number not in revisions]
        return Count(sum(one.live for one in rest), sum(one.ready for one in rest))


@dataclass(frozen=True)
class Roll:
    """Which version shall take over, and how far."""

    goal: int
    share: int
    """The most copies that ``goal`` may have: those of a canary's step, or all."""
    base: int | None = None
    """The good version that fills what ``goal`` does not have; None: what runs is only used up."""
    peak: int = 0
    """Copies of ``goal`` that have been ready at once: what is lost of them is not filled."""


def share_of(percent: float, desired: int) -> int:
    """The copies of a canary's step: rounded up, at least one of a service that has any."""
    return min(desired, math.ceil(desired * percent / 100 - _TOLERANCE))


def limits_of(policy: DeployPolicy, desired: int) -> Limits:
    """The limits of a deploy; of blue/green all copies twice, and a surge for those that move."""
    surge = math.ceil(desired * policy.max_surge_percent / 100 - _TOLERANCE)
    if policy.strategy is Strategy.BLUE_GREEN:
        return Limits(desired, surge=desired + surge, unavailable=0)
    missing = math.floor(desired * policy.max_unavailable_percent / 100 + _TOLERANCE)
    return Limits(desired, surge, missing if surge or missing else min(desired, 1))


def view_of(limits: Limits, copies: Sequence[Copy], now: datetime, seconds: float) -> View:
    """Count the copies; one is ready when it has been healthy for ``seconds``."""
    living = [copy for copy in copies if copy.lives]
    staying = [copy for copy in living if not copy.leaving]
    counts: dict[int, Count] = {}
    for copy in staying:
        before = counts.get(copy.membership.revision, Count())
        silent = copy.state is TaskState.DISCONNECTED
        counts[copy.membership.revision] = Count(
            live=before.live + (not silent),
            ready=before.ready + copy.ready(now, seconds),
            silent=before.silent + silent,
        )
    return View(limits, counts, leaving=len(living) - len(staying), now=now)


def rolled(view: View, roll: Roll) -> dict[int, int]:
    """How many copies each version shall have now, one step nearer to ``roll``.

    Only copies that live and are not leaving are meant; among those of a version the ones that are
    not ready have to go first. In all they are never more than ``limits.most``, and what is ready
    stays at ``limits.least`` or above, if it was.
    """
    goal, ready = view.of(roll.goal), min(view.of(roll.goal).ready, roll.share)
    rest = view.limits.desired - roll.share
    keep = max(view.limits.least - ready, rest, 0)
    base = _base(view, roll, keep, rest)
    shares = _given_up(view, roll, keep - min(view.of(roll.base).ready, base))
    if roll.base is not None and roll.base != roll.goal:
        shares[roll.base] = base
    taken = sum(max(count, view.of(number).live) for number, count in shares.items())
    room = view.limits.most - view.leaving - taken
    used = sum(min(count, view.of(number).ready) for number, count in shares.items())
    # More than its share is ready of it when the same version was tried before.
    relied_upon = min(goal.ready, view.limits.least - used)
    shares[roll.goal] = max(min(roll.share, max(goal.live, room)), relied_upon, 0)
    return _trimmed(
        shares, {roll.goal: max(ready, relied_upon), roll.base: view.of(roll.base).ready}, view
    )


def beside(view: View, new: int, old: int | None, share: int) -> dict[int, int]:
    """All copies of the new version beside all of the old one."""
    desired = view.limits.desired
    shares = {} if old is None else {old: desired}
    missing = max(0, desired - view.of(old).ready)
    shares |= _kept(view, [number for number in view.counts if number not in (new, old)], missing)
    taken = sum(max(count, view.of(number).live) for number, count in shares.items())
    room = view.limits.most - view.leaving - taken
    shares[new] = min(share, desired, max(view.of(new).live, room))
    return shares


def _base(view: View, roll: Roll, keep: int, rest: int) -> int:
    """Copies of the good version: down to what is needed, and up to it where some were lost."""
    live = view.of(roll.base).live
    if roll.base in (None, roll.goal) or live >= keep:
        return min(live, keep)
    lacks = max(view.limits.least - roll.peak, rest)
    room = view.limits.most - view.leaving - view.others(roll.base).live
    return max(live, min(lacks, room))


def _given_up(view: View, roll: Roll, needed: int) -> dict[int, int]:
    """Versions that have no future: only copies that are ready stay, and those while needed."""
    return _kept(view, [one for one in view.counts if one not in (roll.goal, roll.base)], needed)


def _kept(view: View, revisions: Iterable[int], needed: int) -> dict[int, int]:
    """At most ``needed`` ready copies of some versions, of the newest first."""
    kept: dict[int, int] = {}
    for number in sorted(revisions, reverse=True):
        kept[number] = min(view.of(number).ready, max(needed - sum(kept.values()), 0))
    return kept


def _trimmed(shares: dict[int, int], ready: Mapping[int | None, int], view: View) -> dict[int, int]:
    """Without what is too much after ``desired`` has shrunk; copies that are ready stay."""
    excess = sum(shares.values()) - view.limits.most
    for number, used in ready.items():
        if number in shares and excess > 0:
            cut = min(excess, max(shares[number] - used, 0))
            shares[number] -= cut
            excess -= cut
    return shares
