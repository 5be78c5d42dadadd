"""What is garbage: judgements over facts, without looking anywhere.

Nothing is garbage by a single look. Who takes a reference away, or uploads something, has it
looked at a day later; what has been touched since is looked at again. A judgement is carried out
only if nobody has touched the thing in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetwide.models.registry_gc import Kept

ASK_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class ManifestFacts:
    """What speaks for a manifest."""

    tagged: bool
    child: bool
    """An index of its repository refers to it."""
    subject_lives: bool
    """It refers to a manifest of its repository, as a signature does."""
    in_use: bool
    touched_at: datetime


@dataclass(frozen=True)
class Membership:
    """A blob belongs to a repository."""

    repository_id: int
    referenced: bool
    """A manifest of the repository refers to it."""
    lease_until: datetime


@dataclass(frozen=True)
class BlobFacts:
    """What speaks for a blob."""

    memberships: Sequence[Membership]
    is_manifest: bool
    """The digest is that of a manifest in the index, whose bytes Distribution keeps as a blob."""
    touched_at: datetime


@dataclass(frozen=True)
class Verdict:
    """What becomes of something: it goes, or it stays for a reason.

    ``later`` is when it has to be looked at again, if nothing happens to it before.
    """

    kept: Kept | None
    later: datetime | None = None
    unlink: tuple[int, ...] = ()
    """Repositories that the blob no longer belongs to."""

    @property
    def goes(self) -> bool:
        return self.kept is None


def judge_manifest(facts: ManifestFacts, now: datetime, grace: timedelta) -> Verdict:
    """Whether a manifest goes.

    What stays because of a tag, an index or a subject is queued again by whoever takes that away;
    uses end without telling the registry, so they are asked for again after ``grace``.
    """
    if facts.tagged:
        return Verdict(Kept.TAGGED)
    if facts.child:
        return Verdict(Kept.CHILD)
    if facts.subject_lives:
        return Verdict(Kept.REFERRER)
    if facts.in_use:
        return Verdict(Kept.IN_USE, now + max(grace, ASK_AGAIN))
    if facts.touched_at + grace > now:
        return Verdict(Kept.FRESH, facts.touched_at + grace)
    return Verdict(None)


def judge_blob(facts: BlobFacts, now: datetime, grace: timedelta) -> Verdict:
    """Which repositories a blob no longer belongs to, and whether its bytes go."""
    stale = tuple(
        one.repository_id
        for one in facts.memberships
        if not one.referenced and one.lease_until <= now
    )
    leases = [one.lease_until for one in facts.memberships if not one.referenced]
    later = min((until for until in leases if until > now), default=None)
    if len(stale) < len(facts.memberships):
        referenced = any(one.referenced for one in facts.memberships)
        return Verdict(Kept.REFERENCED if referenced else Kept.FRESH, later, stale)
    if facts.is_manifest:
        return Verdict(Kept.REFERENCED, None, stale)
    if facts.touched_at + grace > now:
        # Somebody may have been told a moment ago that it is here.
        return Verdict(Kept.FRESH, facts.touched_at + grace)
    return Verdict(None, None, stale)
