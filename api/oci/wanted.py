"""What a request needs a token for; pure. As Docker Distribution asks for it."""

from dataclasses import dataclass

from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import Action
from fleetwide.registry.names import check_repository
from fleetwide.registry.scopes import CATALOG_ACCESS, Access

_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """``needed`` or the request is refused; ``useful`` is told in the challenge besides."""

    needed: tuple[Access, ...] = ()
    useful: tuple[Access, ...] = ()


NOTHING = Wanted()
_CATALOG = Wanted((CATALOG_ACCESS,))


def wanted_by(kind: str, method: str, repository: str, mount_from: str | None = None) -> Wanted:
    """What a request of a route's ``kind`` needs.

    A mount is useful to be allowed: without it the client gets an upload and sends the bytes.
    """
    if kind == "catalog":
        return _CATALOG
    if not repository:
        return NOTHING
    if kind == "uploads":
        return Wanted((_write(repository),), _source(mount_from))
    if method in _READS:
        return Wanted((Access.repository(repository, Action.PULL),))
    if method == "DELETE":
        return Wanted((Access.repository(repository, Action.DELETE),))
    return Wanted((_write(repository),))


def _write(repository: str) -> Access:
    return Access.repository(repository, Action.PULL, Action.PUSH)


def _source(mount_from: str | None) -> tuple[Access, ...]:
    if mount_from is None:
        return ()
    try:
        check_repository(mount_from)
    except InvalidInput:
        return ()  # it would stand in the challenge; the mount itself is refused elsewhere
    return (Access.repository(mount_from, Action.PULL),)
