"""Which reasons of waiting are written: new ones at once, new numbers now and then."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetwide.containers.placement import Explanation, Reason, reason
from fleetwide.models.base import Waiting
from fleetwide.models.task_states import PendingCode

REFRESH_AFTER = timedelta(seconds=5)
WRITES_A_SECOND = 500
"""Of all ticks together, however many tasks wait: what is too much now is written later."""
MOST_AT_ONCE = 500


@dataclass(slots=True)
class _Written:
    code: PendingCode
    since: datetime
    sentence: str
    at: datetime


class Waits:
    """What was written of each waiting attempt, and when."""

    def __init__(self) -> None:
        self._written: dict[int, _Written] = {}
        self._credit = float(MOST_AT_ONCE)
        self._counted_at: datetime | None = None

    def __len__(self) -> int:
        return len(self._written)

    def clear(self) -> None:
        """Nobody waits any more."""
        self._written.clear()

    def told_at(self, number: int) -> float:
        """When an attempt's reason was last looked at, in seconds; 0 when it has none yet."""
        written = self._written.get(number)
        return 0.0 if written is None else written.at.timestamp()

    def news(
        self, waiting: Mapping[int, Explanation], queue: Collection[int], *, now: datetime
    ) -> dict[int, Waiting]:
        """The reasons worth writing now; they count as written.

        What is in the ``queue`` no more is forgotten; what is not explained this time is kept.
        """
        self._written = {key: each for key, each in self._written.items() if key in queue}
        self._set_back(now)
        most = self._allowance(now)
        words: dict[int, Reason] = {}
        found: dict[int, Waiting] = {}
        for number, explained in waiting.items():
            if len(found) >= most:
                break
            if self._is_due(self._written.get(number), explained, now):
                said = words.get(id(explained))
                if said is None:  # thousands may share one explanation
                    said = words[id(explained)] = reason(explained)
                self._note(number, said, now, found)
        self._credit -= len(found)
        return found

    def _set_back(self, now: datetime) -> None:
        """Nothing was written later than now: the clock may have been set back since."""
        if self._counted_at is not None and now < self._counted_at:
            for each in self._written.values():
                each.at = min(each.at, now)

    def _allowance(self, now: datetime) -> int:
        if self._counted_at is not None:
            passed = max((now - self._counted_at).total_seconds(), 0.0)
            self._credit = min(self._credit + passed * WRITES_A_SECOND, float(MOST_AT_ONCE))
        self._counted_at = now
        return int(self._credit)

    def _is_due(self, before: _Written | None, explained: Explanation, now: datetime) -> bool:
        if before is None or before.code is not explained.code:
            return True
        # With many that wait, each is refreshed more seldom.
        patience = max(REFRESH_AFTER, timedelta(seconds=len(self._written) * 2 / WRITES_A_SECOND))
        return now - before.at >= patience

    def _note(self, number: int, said: Reason, now: datetime, found: dict[int, Waiting]) -> None:
        before = self._written.get(number)
        same = before is not None and before.code is said.code
        since = before.since if before is not None and same else now
        if not (before is not None and same and before.sentence == said.sentence):
            found[number] = said.since(since)
        self._written[number] = _Written(said.code, since, said.sentence, now)
