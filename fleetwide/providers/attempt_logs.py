"""Container logs in the object store.

S3 cannot append, so a log is a row of segments ``<key>/000001.log``, ``000002.log``, ... Each is
exactly ``SEGMENT_BYTES`` long but for the last, which is written anew as it grows. So a byte
offset names its segment, and a writer that starts over from the beginning of the same log writes
the same segments: nothing is lost or doubled.
"""

from threading import Lock

from fleetwide.errors import NotFound
from fleetwide.providers.objects import ObjectStore

SEGMENT_BYTES = 256 * 1024
MAX_LOG_BYTES = 64 * 1024**2
KEPT_LINES = 10
KEPT_LINE_CHARACTERS = 256
WITHHELD = b"[fleetwide] the rest of the log is withheld: its secrets are no longer known\n"
_TAIL_BYTES = 16 * 1024


def segment_key(key: str, number: int) -> str:
    """The object of segment ``number``, counted from 1."""
    return f"{key}/{number:06d}.log"


def last_lines(
    data: bytes, count: int = KEPT_LINES, width: int = KEPT_LINE_CHARACTERS
) -> list[str]:
    """The last ``count`` lines of ``data`` as text, each cut after ``width`` characters."""
    lines = data.decode(errors="replace").splitlines()
    return [line[:width] for line in lines[-count:]] if count > 0 else []


class LogWriter:
    """Writes one container's log. ``write`` and ``flush`` may be called from different threads.

    Give it the log from its first byte on: what an earlier writer stored in full segments is
    skipped. At ``limit`` bytes it adds a line that says so and drops the rest.
    """

    def __init__(self, store: ObjectStore, key: str, *, limit: int = MAX_LOG_BYTES) -> None:
        self._store = store
        self._key = key
        self._limit = limit
        self._lock = Lock()
        self._segments = self._stored_segments()
        self._pending = bytearray()
        self._position = 0
        self._tail = b""
        self._dirty = False
        self._full = False

    def is_full(self) -> bool:
        """Whether the log passed the limit: what follows is dropped."""
        return self._full

    @property
    def size(self) -> int:
        """Bytes of the log so far, its closing notice included."""
        return self._position

    def restart(self) -> None:
        """Expect the log from its first byte again."""
        with self._lock:
            self._pending.clear()
            self._position = 0
            self._tail = b""
            self._dirty = False
            self._full = False

    def write(self, data: bytes) -> None:
        with self._lock:
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
            if self._full:
                return
            taken = data[: self._limit - self._position]
            self._full = len(taken) < len(data)
            self._append(taken + self._notice() if self._full else taken)

    def withhold(self) -> None:
        """Leave what an earlier writer stored as it is, and end it with a line that says so.

        For a log whose secrets are no longer known: nothing else of it may be written.
        """
        with self._lock:
            stored = self._stored_end()
            if not stored.endswith(WITHHELD):
                stored += b"\n" * (stored[-1:] not in (b"", b"\n")) + WITHHELD
            self._position = self._segments * SEGMENT_BYTES + len(stored)
            self._pending = bytearray(stored)
            self._dirty = True

    def flush(self) -> None:
        """Store what was written since the last flush."""
        with self._lock:
            if self._dirty:
                self._store_full_segments()
                if self._pending:
                    self._put(bytes(self._pending))
                self._dirty = False

    def tail(self) -> list[str]:
        """The last lines that were written, cut to a size that fits a history."""
        with self._lock:
            return last_lines(self._tail)

    def _stored_segments(self) -> int:
        stored = self._store.list(f"{self._key}/")
        return sum(1 for segment in stored if segment.size == SEGMENT_BYTES)

    def _stored_end(self) -> bytes:
        try:
            return self._store.get_bytes(segment_key(self._key, self._segments + 1))
        except NotFound:
            return b""

    def _append(self, data: bytes) -> None:
        stored_already = max(0, self._segments * SEGMENT_BYTES - self._position)
        self._position += len(data)
        self._pending += data[stored_already:]
        self._dirty = bool(self._pending)
        self._store_full_segments()

    def _store_full_segments(self) -> None:
        while len(self._pending) >= SEGMENT_BYTES:
            self._put(bytes(self._pending[:SEGMENT_BYTES]))
            del self._pending[:SEGMENT_BYTES]
            self._segments += 1

    def _put(self, data: bytes) -> None:
        self._store.put_bytes(segment_key(self._key, self._segments + 1), data)

    def _notice(self) -> bytes:
        return f"\n[fleetwide] the log passed {self._limit} bytes; the rest was not kept\n".encode()


def read_log(store: ObjectStore, key: str, offset: int) -> tuple[bytes, int]:
    """What follows ``offset`` in the log, one segment at most, and the offset after it.

    An empty answer means: nothing further yet.
    """
    number, skip = divmod(offset, SEGMENT_BYTES)
    try:
        data = store.get_bytes(segment_key(key, number + 1))[skip:]
    except NotFound:
        data = b""
    return data, offset + len(data)


def tail_lines(store: ObjectStore, key: str, count: int) -> list[str]:
    """The last ``count`` lines of the log so far."""
    data = b""
    for segment in reversed(store.list(f"{key}/")):
        data = store.get_bytes(segment.key) + data
        if data.count(b"\n") > count:
            break
    return last_lines(data, count, len(data))
