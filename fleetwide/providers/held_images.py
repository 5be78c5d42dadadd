"""The images of this host for its reports, looked up now and then: reports come every second."""

import logging
from collections.abc import Callable
from time import monotonic

from fleetwide.errors import FleetwideError

LOOK_SECONDS = 20.0
_log = logging.getLogger(__name__)


class HeldImages:
    """Remembers what the engine said last; a failed look changes nothing."""

    def __init__(self, look: Callable[[], list[str]]) -> None:
        self._look = look
        self._known: list[str] | None = None
        self._next = monotonic()

    def now(self) -> list[str] | None:
        """Marks of the images; None before the first look that worked."""
        if monotonic() >= self._next:
            self._next = monotonic() + LOOK_SECONDS
            try:
                self._known = self._look()
            except FleetwideError:
                _log.warning("could not list the images of this host", exc_info=True)
        return self._known
