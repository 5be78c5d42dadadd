"""The pre-heats that a host takes part in: their keys, and what it serves for each of them."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from fleetwide.errors import FleetwideError, RegistryUnavailable
from fleetwide.providers.distribution import RegistryClient
from fleetwide.registry.sharing import ShareKey, Together

MAX_SHARES = 100
Ask = Callable[[], ShareKey]


def ask_key(registry: RegistryClient, together: Together) -> ShareKey:
    """The pre-heat's key, from the registry, which tells it to those hosts that take part.

    Raises:
        Denied: this one does not, or no longer.
        RegistryUnavailable: the registry does not answer, or knows no accounts.
    """
    path = f"/v2/{together.repository}/_preheat/{together.digest}"
    document = registry.own_document(path, workflow=together.preheat)
    try:
        until = monotonic() + float(document["expires_in"])
        return ShareKey(bytes.fromhex(document["key"]), until)
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryUnavailable("the registry answers no key of a pre-heat") from error


@dataclass
class _Share:
    ask: Ask
    key: ShareKey
    blobs: frozenset[str]
    lock: Lock = field(default_factory=Lock)

    def secret(self) -> bytes:
        """The key as the registry tells it, which may have ended it.

        Raises:
            FleetwideError: it has, or does not answer.
        """
        with self.lock:
            if self.key.until < monotonic():
                self.key = self.ask()
            return self.key.secret


class Shares:
    """What this host serves to others; safe to share between threads.

    A key that is old is asked for anew before it is used: what has ended for this host, or for
    all, is served for ``KEY_SECONDS`` longer at the most.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, _Share] = OrderedDict()

    def open(self, together: Together, key: ShareKey, ask: Ask, blobs: Iterable[str]) -> None:
        """Serve these blobs to who has the pre-heat's key; ``ask`` fetches the key once more."""
        with self._lock:
            self._known[together.mark] = _Share(ask, key, frozenset(blobs))
            self._known.move_to_end(together.mark)
            if len(self._known) > MAX_SHARES:
                self._known.popitem(last=False)

    def secret(self, mark: str, digest: str) -> bytes | None:
        """The key by which a blob may be fetched for a pre-heat; None when it is not served."""
        share = self._known.get(mark)
        if share is None or digest not in share.blobs:
            return None
        try:
            return share.secret()
        except FleetwideError:
            with self._lock:
                self._known.pop(mark, None)
            return None
