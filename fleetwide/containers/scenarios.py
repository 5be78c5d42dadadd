"""Scenarios: what a simulated container does, in a line such as ``pull=2s run=5s exit=0 log=3``.

Everything follows from the scenario, the container's name and the times of its start and stop, so
that whoever asks, and whenever, gets the same answer: nothing has to run for it.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

SIMULATE = "FLEETWIDE_SIMULATE"
"""Environment variable of a task: its scenario on a simulated host."""
EXIT_CRASHED = 139
EXIT_KILLED = 137
EXIT_TERMINATED = 143
MOST_LINES = 10_000
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Span:
    """A length of time in seconds, or a range of which each container has its own."""

    least: float
    most: float

    def of(self, seed: str) -> float:
        """The length for the container of that name: the same whenever it is asked for."""
        if self.least == self.most:
            return self.least
        drawn = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=6).digest()) / 2**48
        return self.least + drawn * (self.most - self.least)


NONE = Span(0, 0)


@dataclass(frozen=True)
class Scenario:
    """What happens to a container, unless it is stopped."""

    pull: Span = NONE
    """How long its image takes to come to a host that does not have it."""
    start: Span = NONE
    run: Span = Span(1, 1)
    """Infinite for ``forever``."""
    term: Span = NONE
    """From SIGTERM to its end; infinite for one that is deaf to it."""
    exit_code: int = 0
    lines: int = 1
    oom: bool = False
    image_is_missing: bool = False
    start_is_refused: bool = False


def parse_scenario(text: str) -> Scenario:
    """The scenario that ``text`` describes; of two words for one thing the later one counts.

    Raises ``ValueError`` with the word that is wrong, and what there is.
    """
    scenario = Scenario()
    for word in text.split():
        name, _, value = word.partition("=")
        read = _WORDS.get(name)
        if read is None:
            raise ValueError(f"{word!r} is no part of a scenario; there are {', '.join(_WORDS)}")
        try:
            scenario = read(scenario, value)
        except ValueError as error:
            raise ValueError(f"{word!r}: {error}") from None
    return scenario


def _run(text: str) -> Span:
    return Span(inf, inf) if text == "forever" else _span(text)


def _span(text: str) -> Span:
    least, _, most = text.partition("..")
    span = Span(_seconds(least), _seconds(most or least))
    if span.least > span.most:
        raise ValueError("the first of a range is the smaller one, such as 2s..10s")
    return span


def _seconds(text: str) -> float:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError("a length of time is a number with ms, s, m or h, such as 2s")
    return float(found[1]) * _SECONDS[found[2]]


def _number(text: str, most: int) -> int:
    if not text.isdecimal() or int(text) > most:
        raise ValueError(f"must be a whole number from 0 to {most}")
    return int(text)


def _oom(scenario: Scenario, value: str) -> Scenario:
    run = _span(value) if value else scenario.run
    return replace(scenario, oom=True, exit_code=EXIT_KILLED, run=run)


def _flag(value: str) -> bool:
    if value:
        raise ValueError("takes no value")
    return True


_WORDS: dict[str, Callable[[Scenario, str], Scenario]] = {
    "pull": lambda known, value: replace(known, pull=_span(value)),
    "start": lambda known, value: replace(known, start=_span(value)),
    "run": lambda known, value: replace(known, run=_run(value)),
    "exit": lambda known, value: replace(known, exit_code=_number(value, 255)),
    "log": lambda known, value: replace(known, lines=_number(value, MOST_LINES)),
    "oom": _oom,
    "crash-after": lambda known, value: replace(known, run=_span(value), exit_code=EXIT_CRASHED),
    "term": lambda known, value: replace(known, term=_span(value)),
    "deaf": lambda known, value: replace(known, term=Span(inf, inf)) if _flag(value) else known,
    "no-image": lambda known, value: replace(known, image_is_missing=_flag(value)),
    "no-start": lambda known, value: replace(known, start_is_refused=_flag(value)),
}


@dataclass(frozen=True)
class Course:
    """One container on its way through its scenario; times in Unix seconds."""

    name: str
    scenario: Scenario
    grace: float
    """Seconds from SIGTERM to SIGKILL."""
    created_at: float
    started_at: float | None = None
    stopped_at: float | None = None
    """When it got SIGTERM."""

    @property
    def ends_at(self) -> float:
        """When it ends; infinite for never, and before it was started."""
        return min(self._ends_by_itself(), self._ends_by_stop())

    def status(self, now: float) -> str:
        """Docker's word."""
        if self.started_at is None:
            return "created"
        return "running" if now < self.ends_at else "exited"

    @property
    def exit_code(self) -> int:
        """How it ends, whether it has or not."""
        if self._ends_by_itself() <= self._ends_by_stop():
            return self.scenario.exit_code
        return EXIT_TERMINATED if self._heeds_sigterm() else EXIT_KILLED

    @property
    def oom_killed(self) -> bool:
        return self.scenario.oom and self.exit_code == EXIT_KILLED

    def line_at(self, number: int) -> float:
        """When line ``number`` (from 0) is written: they are spread evenly, the first at once."""
        assert self.started_at is not None
        length = self.scenario.run.of(self.name)
        step = 1.0 if length == inf else length / self.scenario.lines
        return self.started_at + number * step

    def line(self, number: int) -> bytes:
        """Its text."""
        return f"{self.name}: line {number + 1} of {self.scenario.lines}\n".encode()

    def log(self, now: float) -> bytes:
        """All that it has written."""
        if self.started_at is None:
            return b""
        until = min(now, self.ends_at)
        numbers = range(self.scenario.lines)
        return b"".join(self.line(one) for one in numbers if self.line_at(one) <= until)

    def _ends_by_itself(self) -> float:
        return inf if self.started_at is None else self.started_at + self.scenario.run.of(self.name)

    def _ends_by_stop(self) -> float:
        if self.started_at is None or self.stopped_at is None:
            return inf
        return self.stopped_at + min(self.scenario.term.of(self.name), self.grace)

    def _heeds_sigterm(self) -> bool:
        return self.scenario.term.of(self.name) <= self.grace
