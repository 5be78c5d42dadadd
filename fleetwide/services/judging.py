"""How a canary is judged: the new version's faults against the old one's in the same time."""

from fleetwide.models.deploys import Tally, Verdict
from fleetwide.models.services import Judgement


def judge(step: int, new: Tally, old: Tally, rules: Judgement, seconds: float) -> Verdict:
    """Whether the new version is as good as the old one, by events per copy.

    Events are ends that the platform is not to blame for (each is a restart, too) and copies that
    were unhealthy. Without a copy of the old version only ``tolerated_events`` are let pass.
    """
    allowed = old.rate * rules.tolerated_ratio
    few = new.events <= rules.tolerated_events
    good = few or new.rate <= allowed
    return Verdict(
        step=step,
        good=good,
        new=new,
        old=old,
        allowed_rate=allowed,
        seconds=seconds,
        sentence=_sentence(new, old, allowed, seconds),
    )


def _sentence(new: Tally, old: Tally, allowed: float, seconds: float) -> str:
    against = f"{allowed:.2f} per copy were allowed" if old.copies else "nothing to compare with"
    return (
        f"in {seconds:.0f} s the new version had {_told(new)}, the old one {_told(old)}; {against}"
    )


def _told(tally: Tally) -> str:
    return (
        f"{tally.ends} ends and {tally.unhealthy} unhealthy of {tally.copies} copies "
        f"({tally.rate:.2f} per copy)"
    )
