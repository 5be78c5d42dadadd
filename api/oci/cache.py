"""What a gateway keeps in memory of manifests, bounded by bytes and by count."""

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

ENTRY_BYTES = 256
"""About what an entry takes beside its bytes."""


class ManifestCache:
    """Bytes of manifests by digest: what a digest names never changes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def get(self, digest: str) -> bytes | None:
        data = self._kept.get(digest)
        if data is not None:
            self._kept.move_to_end(digest)
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Keep ``data``, and drop what was used longest ago where that is too much."""
        if digest in self._kept or len(data) + ENTRY_BYTES > self.limit:
            return
        self._kept[digest] = data
        self.size += len(data) + ENTRY_BYTES
        while self.size > self.limit:
            _, dropped = self._kept.popitem(last=False)
            self.size -= len(dropped) + ENTRY_BYTES


class Recent(Generic[Key, Value]):
    """The last answers by question, for when nobody can be asked."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        return self._kept.get(key)

    def put(self, key: Key, value: Value | None) -> None:
        """Remember an answer; None forgets the one before."""
        if value is None:
            self._kept.pop(key, None)
            return
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self.limit:
            self._kept.popitem(last=False)
