"""Known values taken out of a text that comes piece by piece."""

import re
from collections.abc import Iterable

MASK = b"********"
MIN_BYTES = 4
"""Shorter values stand in too many places by chance, and tell little."""


class Masker:
    """Replaces values in a stream of bytes; what comes out does not depend on how it is cut.

    The end of a piece that may be the beginning of a value waits for the next piece.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        # A program may print a value line by line.
        found = {line for value in values for line in (value.strip(), *value.splitlines())}
        self._values = sorted((one for one in found if len(one) >= MIN_BYTES), key=len)[::-1]
        self._pattern = re.compile(b"|".join(map(re.escape, self._values)) or b"(?!)")
        # Each place where a value may begin, as far as its first bytes tell.
        heads = {one[:MIN_BYTES] for one in self._values}
        self._heads = re.compile(b"(?=" + (b"|".join(map(re.escape, heads)) or b"(?!)") + b")")
        self._waiting = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be told after this piece."""
        if not self._values:
            return piece
        text, self._waiting = self._waiting + piece, b""
        keep = self._first_open(text)
        done: list[bytes] = []
        position = 0
        while (found := self._pattern.search(text, position)) and found.start() < keep:
            done += (text[position : found.start()], MASK)
            position = found.end()
            if position > keep:
                keep = self._first_open(text, position)
        done.append(text[position:keep])
        self._waiting = text[keep:]
        return b"".join(done)

    def end(self) -> bytes:
        """What was still waiting."""
        rest, self._waiting = self._waiting, b""
        return self._pattern.sub(MASK, rest)

    def text(self, text: str) -> str:
        """A whole text without the values."""
        return self._pattern.sub(MASK, text.encode()).decode(errors="replace")

    def _first_open(self, text: bytes, position: int = 0) -> int:
        """Where the end of ``text`` begins that may become a value, or a longer one."""
        lowest = max(position, len(text) - len(self._values[0]) + 1)
        for found in self._heads.finditer(text, lowest):
            if self._may_become_a_value(text[found.start() :]):
                return found.start()
        # What is shorter than a head.
        for start in range(max(lowest, len(text) - MIN_BYTES + 1), len(text)):
            if self._may_become_a_value(text[start:]):
                return start
        return len(text)

    def _may_become_a_value(self, end: bytes) -> bool:
        return any(len(one) > len(end) and one.startswith(end) for one in self._values)
