"""Which repository, and what of it, a path means; pure.

Paths are read as they were sent. Nothing in a legal one needs percent-encoding but the colon of a
digest; whatever else is encoded (slashes, dots, NUL) is no name.
"""

from dataclasses import dataclass

from api.oci.errors import OciError, name_invalid
from fleetwide.errors import InvalidInput
from fleetwide.registry.names import check_repository

PREFIX = "/v2/"
MAX_PATH = 1024


@dataclass(frozen=True, slots=True)
class Route:
    """``kind`` is the resource; ``reference`` is a tag, a digest, an upload's id or nothing."""

    kind: str
    repository: str = ""
    reference: str = ""


BASE = Route("base")
CATALOG = Route("catalog")
NOTHING = Route("nothing")
PREHEAT = "_preheat"
"""Of this registry alone; no repository's name can have such a part."""
_KINDS = frozenset({"manifests", "blobs", "referrers", PREHEAT})


def route_of(raw_path: bytes) -> Route:
    """The route of a path.

    Raises:
        OciError: NAME_INVALID where a repository is named that cannot be one.
    """
    if b"%" in raw_path:
        raw_path = raw_path.replace(b"%3A", b":").replace(b"%3a", b":")
    if len(raw_path) > MAX_PATH:
        raise name_invalid("the path is too long")
    path = raw_path.decode("latin-1")
    if not path.startswith(PREFIX):
        return BASE if path == "/v2" else NOTHING
    if path == PREFIX:
        return BASE
    if path == "/v2/_catalog":
        return CATALOG
    return _of_repository(path.removeprefix(PREFIX))


def _of_repository(path: str) -> Route:
    head, _, last = path.rpartition("/")
    name, _, kind = head.rpartition("/")
    if kind == "uploads" and name.endswith("/blobs"):
        return _checked("uploads", name.removesuffix("/blobs"), last)
    if kind == "blobs" and last == "uploads":
        return _checked("uploads", name, "")
    if kind == "tags" and last == "list":
        return _checked("tags", name, "")
    if kind in _KINDS and last:
        return _checked(kind, name, last)
    return NOTHING


def _checked(kind: str, name: str, reference: str) -> Route:
    try:
        check_repository(name)
    except InvalidInput as fault:
        raise _invalid(fault) from fault
    return Route(kind, name, reference)


def _invalid(fault: InvalidInput) -> OciError:
    return name_invalid(fault.message)
