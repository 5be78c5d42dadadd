"""Progress and cancellation of long library calls: one callback for both.

A long call takes ``progress(phrase, fraction)`` and calls it a few times a second, also while
nothing new can be told. An exception raised by the callback cancels the call: it stops at once,
ends the processes it started, removes what it left on disk and at the registry, and lets the
exception through. There is no second way to cancel. An activity must therefore not have exceptions
thrown into its thread (``no_thread_cancel_exception=True``): those may break a request off in the
middle, and Docker Distribution cannot be told to drop such an upload.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

Progress = Callable[[str, float | None], None]
"""A short phrase, and the fraction done (0 to 1) where it is known."""

INTERVAL_SECONDS = 0.25


def no_progress(_phrase: str, _fraction: float | None) -> None:
    """For callers that neither show progress nor cancel."""


def meanwhile(progress: Progress, phrase: str, call: Callable[[], object]) -> None:
    """Make a call that tells nothing by itself, and say ``phrase`` for as long as it takes.

    What ``progress`` raises comes through when the call has ended.
    """
    with ThreadPoolExecutor(1, "meanwhile") as thread:
        future = thread.submit(call)
        while not future.done():
            progress(phrase, None)
            wait([future], INTERVAL_SECONDS)
        future.result()


class Throttled:
    """Passes the first call of each interval on, and always a new phrase."""

    def __init__(self, progress: Progress, interval: float = INTERVAL_SECONDS) -> None:
        self._progress = progress
        self._interval = interval
        self._phrase: str | None = None
        self._last = 0.0

    def __call__(self, phrase: str, fraction: float | None) -> None:
        now = time.monotonic()
        if phrase != self._phrase or now - self._last >= self._interval:
            self._phrase, self._last = phrase, now
            self._progress(phrase, fraction)


def span(progress: Progress, start: float, end: float) -> Progress:
    """``progress`` for one part of the whole that runs from ``start`` to ``end`` of it."""

    def inner(phrase: str, fraction: float | None) -> None:
        progress(phrase, None if fraction is None else start + (end - start) * fraction)

    return inner
