"""Explanations for people: one sentence and numbers for each code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetwide.containers.placement.amounts import (
    NUMBER,
    UNCOUNTED,
    UNIT,
    Dimension,
    for_people,
    numbers,
    sentence,
)
from fleetwide.containers.placement.blockers import BY_SIZE, BY_USE, PHRASE, Blocker
from fleetwide.containers.placement.explain import Explanation, Standing
from fleetwide.models.base import Waiting
from fleetwide.models.task_states import PendingCode


@dataclass(frozen=True)
class Reason:
    """Why a request waits, in a code, a sentence and numbers."""

    code: PendingCode
    sentence: str
    numbers: dict[str, float]

    def since(self, when: datetime) -> Waiting:
        return Waiting(code=self.code, sentence=self.sentence, numbers=self.numbers, since=when)


def reason(explained: Explanation) -> Reason:
    """An explanation in words."""
    words = SENTENCE[explained.code](explained)
    more = (_group(explained), _clearing(explained), _help(explained))
    return Reason(explained.code, words + "".join(more), _numbers(explained))


def _no_hosts(explained: Explanation) -> str:
    return f"no host is active; the task asks for {sentence(explained.asked)}"


def _too_large(explained: Explanation) -> str:
    assert explained.nearest is not None
    there = _hosts(_count(explained, BY_SIZE))
    return (
        f"asks for {sentence(explained.asked)}; the largest of {there}, "
        f"{explained.nearest.host_id}, has {_like(explained)} in all{_others(explained, BY_SIZE)}"
    )


def _full(explained: Explanation) -> str:
    there, nearest = _count(explained, BY_USE), explained.nearest
    if nearest is None:
        return f"asks for {sentence(explained.asked)}; hosts that could take it wait for others"
    return (
        f"asks for {sentence(explained.asked)}; no host has that free now, the nearest of "
        f"{_hosts(there)}, {nearest.host_id}, has {_like(explained)}{_others(explained, BY_USE)}"
    )


def _unmet(explained: Explanation) -> str:
    if set(explained.ruled_out) == {Blocker.LABEL_MISSING}:
        wanted = ", ".join(f"{key}={value}" for key, value in explained.wanted)
        return f"none of {_hosts(explained.hosts)} has the labels {wanted}"
    return f"none of {_hosts(explained.hosts)} meets its constraints: {_list(explained)}"


def _above_cap(explained: Explanation) -> str:
    standing = explained.standing
    which = f" {standing.group}" if standing else ""
    uses = f", which uses {_of(standing, standing.cap, 'at most')}" if standing else ""
    return (
        f"asks for {sentence(explained.asked)}, more than its capacity group{which} may still "
        f"use{uses}; it waits until tasks of the group end"
    )


def _of(standing: Standing, bounds: Mapping[Dimension, int], word: str) -> str:
    """Of each resource that is bounded, what is used: ``3 of at most 4 CPU``."""
    return ", ".join(
        f"{for_people(standing.used, each):g} of {word} {_one(most, each):g} {UNIT[each]}"
        for each, most in bounds.items()
    )


def _group(explained: Explanation) -> str:
    """How its group stands, where room is what it lacks."""
    standing = explained.standing
    if standing is None or explained.code is not PendingCode.HOSTS_FULL or not standing.guarantee:
        return ""
    uses = _of(standing, standing.guarantee, "guaranteed")
    return f"; its capacity group {standing.group} uses {uses}"


def _clearing(explained: Explanation) -> str:
    place = explained.clearing
    if place is None:
        return ""
    tasks = "1 task" if place.tasks == 1 else f"{place.tasks} tasks"
    return (
        f"; its place on {place.host_id} is being cleared: {tasks} of {place.group} asked to "
        f"leave by {place.until:%H:%M:%S} UTC"
    )


def _gang(explained: Explanation) -> str:
    size = explained.extra.get("gangSize", 0)
    if "gangFits" in explained.extra:
        fits = explained.extra["gangFits"]
        return f"starts only together with its gang of {size:g}, of which {fits:g} fit now"
    there = explained.extra.get("gangMembers", 0)
    return f"starts only together with its gang of {size:g}, of which {there:g} are here"


def _retry(explained: Explanation) -> str:
    return f"waits for its next attempt; it asks for {sentence(explained.asked)}"


# Total over PendingCode (a test asserts it).
SENTENCE: dict[PendingCode, Callable[[Explanation], str]] = {
    PendingCode.NO_HOSTS: _no_hosts,
    PendingCode.EXCEEDS_EVERY_HOST: _too_large,
    PendingCode.HOSTS_FULL: _full,
    PendingCode.CONSTRAINTS_UNMET: _unmet,
    PendingCode.ABOVE_CAPACITY_LIMIT: _above_cap,
    PendingCode.GANG_INCOMPLETE: _gang,
    PendingCode.WAITING_RETRY: _retry,
}


def _numbers(explained: Explanation) -> dict[str, float]:
    """What is asked, the nearest host, and how many hosts each reason ruled out."""
    told = numbers(explained.asked)
    if explained.code is PendingCode.EXCEEDS_EVERY_HOST:
        told |= {**_nearest(explained, "largestHost"), "hosts": _count(explained, BY_SIZE)}
    elif explained.code is PendingCode.HOSTS_FULL:
        told |= {**_nearest(explained, "nearestFree"), "hosts": _count(explained, BY_USE)}
    elif explained.code is not PendingCode.NO_HOSTS:
        told["hosts"] = explained.hosts
    told |= {f"ruledOut.{code.name}": count for code, count in explained.ruled_out.items()}
    return told | dict(explained.extra) | _standing(explained.standing)


def _standing(standing: Standing | None) -> dict[str, float]:
    """Of each resource that is bounded: its bounds, and what the group uses of it."""
    if standing is None:
        return {}
    told: dict[str, float] = {}
    for word, bounds in (("guarantee", standing.guarantee), ("cap", standing.cap)):
        for each, most in bounds.items():
            told[f"{word}.{NUMBER[each]}"] = _one(most, each)
            told[f"used.{NUMBER[each]}"] = for_people(standing.used, each)
    return told


def _nearest(explained: Explanation, prefix: str) -> dict[str, float]:
    if explained.nearest is None:
        return {}
    told = {
        f"{prefix}{NUMBER[each][0].upper()}{NUMBER[each][1:]}": for_people(
            explained.nearest.amounts, each
        )
        for each in _shown(explained)
    }
    dimension = explained.nearest.dimension
    short = explained.nearest.asked - explained.nearest.has
    return told | {f"short.{NUMBER[dimension]}": _one(short, dimension)}


def _one(amount: int, dimension: Dimension) -> float:
    return for_people(tuple(amount if each is dimension else 0 for each in Dimension), dimension)


def _shown(explained: Explanation) -> list[Dimension]:
    """The resources worth telling of the nearest host: asked for, and measured there."""
    assert explained.nearest is not None
    always, has = (Dimension.CPU, Dimension.MEMORY), explained.nearest.amounts
    wanted = (each for each in Dimension if each in always or explained.asked[each])
    return [each for each in wanted if has[each] < UNCOUNTED // 2]


def _like(explained: Explanation) -> str:
    """What the nearest host has, of the resources that are asked for."""
    assert explained.nearest is not None
    shown, has = _shown(explained), explained.nearest.amounts
    return sentence(tuple(has[each] if each in shown else 0 for each in Dimension))


def _help(explained: Explanation) -> str:
    own = {PendingCode.ABOVE_CAPACITY_LIMIT, PendingCode.GANG_INCOMPLETE}
    if explained.new_hosts is None or explained.code in own:
        return ""
    if not explained.new_hosts:
        return "; no kind of new host would help"
    return f"; a new host would help: {', '.join(explained.new_hosts)}"


def _others(explained: Explanation, told: frozenset[Blocker]) -> str:
    """The reasons that the sentence has not told yet."""
    rest = {code: count for code, count in explained.ruled_out.items() if code not in told}
    return f"; {_phrases(rest)}" if rest else ""


def _list(explained: Explanation) -> str:
    return _phrases(dict(explained.ruled_out))


def _phrases(counts: dict[Blocker, int]) -> str:
    return ", ".join(f"{count} {PHRASE[code]}" for code, count in counts.items())


def _count(explained: Explanation, told: frozenset[Blocker]) -> int:
    return sum(count for code, count in explained.ruled_out.items() if code in told)


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"
