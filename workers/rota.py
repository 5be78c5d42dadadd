"""Whom to look at next, when there are more than can be looked at in one turn."""

from collections.abc import Collection, Iterable
from itertools import count


class Rota:
    """Takes turns: who was looked at longest ago is next; those with news come first.

    A quarter of each turn is kept for the others, so that nobody is passed over for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._looked: dict[str, int] = {}
        self._turns = count(1)

    def next(self, names: Iterable[str], urgent: Collection[str] = ()) -> list[str]:
        """At most ``most`` of the names; one that is not named any more is forgotten."""
        self._looked = {name: self._looked.get(name, 0) for name in names}
        waiting = sorted(self._looked, key=lambda name: self._looked[name])
        first = [name for name in waiting if name in urgent]
        rest = [name for name in waiting if name not in urgent]
        kept = min(len(rest), self._most // 4)
        chosen = first[: self._most - kept]
        chosen += rest[: self._most - len(chosen)]
        turn = next(self._turns)
        self._looked.update((name, turn) for name in chosen)
        return chosen
