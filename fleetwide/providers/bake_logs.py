"""The log of a bake: a part for each stage and try, live in the object store while it grows."""

import time
from collections.abc import Callable

from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.progress import Progress

FLUSH_SECONDS = 1.0
MAX_BYTES = 8 * 1024**2


def log_folder(run_id: str) -> str:
    """Where the parts of one run's log lie."""
    return f"bakery/logs/{run_id}"


def part_key(run_id: str, number: int, stage: str, attempt: int) -> str:
    """One part; parts are read in the order of their keys."""
    return f"{log_folder(run_id)}/{number:02d}-{stage}-{attempt}"


def parts(objects: ObjectStore, run_id: str) -> list[str]:
    """The keys of the parts that there are so far, in order."""
    found = {item.key.rpartition("/")[0] for item in objects.list(f"{log_folder(run_id)}/")}
    return sorted(found)


class BakeLog:
    """Writes one part. What a step tells as progress becomes lines, beside what tools print."""

    def __init__(
        self, objects: ObjectStore, key: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer = LogWriter(objects, key, limit=MAX_BYTES)
        self._clock = clock
        self._flushed = clock()
        self._phrase = ""

    def write(self, data: bytes) -> None:
        """Append what a tool printed."""
        self._writer.write(data)
        self._flush_in_time()

    def line(self, text: str) -> None:
        """Append one line."""
        self.write(f"{text}\n".encode())

    def close(self) -> None:
        self._writer.flush()

    def following(self, progress: Progress) -> Progress:
        """``progress`` that also notes each new phrase in the log."""

        def told(phrase: str, fraction: float | None) -> None:
            if phrase != self._phrase:
                self._phrase = phrase
                self.line(phrase)
            self._flush_in_time()
            progress(phrase, fraction)

        return told

    def _flush_in_time(self) -> None:
        now = self._clock()
        if now - self._flushed >= FLUSH_SECONDS:
            self._flushed = now
            self._writer.flush()
