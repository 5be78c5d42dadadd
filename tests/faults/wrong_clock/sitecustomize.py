"""Tells every Python process that has this folder on its path another time than it is.

``WRONG_CLOCK`` says by how many seconds. The clocks that count from the boot stay right: nobody
sets those.
"""

import datetime as dt
import os
import time

SKEW = float(os.environ.get("WRONG_CLOCK", "0"))
_right = dt.datetime
_time, _time_ns = time.time, time.time_ns


class _AnyTime(type):
    """So that right times pass for what the class below makes, too."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, _right)


class WrongTime(_right, metaclass=_AnyTime):
    """The standard library's class, but for its now."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _right:  # type: ignore[override]
        return _right.now(tz) + dt.timedelta(seconds=SKEW)


dt.datetime = WrongTime  # type: ignore[misc]
time.time = lambda: _time() + SKEW
time.time_ns = lambda: _time_ns() + int(SKEW * 1e9)
