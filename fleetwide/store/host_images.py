"""Images that hosts hold already: tasks of these start there at once."""

from collections.abc import Collection

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from fleetwide.store.host_tables import HostImageRow
from fleetwide.store.tables import HostRow

DIGESTS_AT_ONCE = 500


def holders(session: Session, digests: Collection[str]) -> dict[str, frozenset[str]]:
    """Host id to which of these images it holds; hosts with none of them are left out."""
    found: dict[str, set[str]] = {}
    wanted = sorted(digest for digest in digests if digest)
    for first in range(0, len(wanted), DIGESTS_AT_ONCE):
        some = wanted[first : first + DIGESTS_AT_ONCE]
        query = select(HostImageRow).where(col(HostImageRow.digest).in_(some))
        for row in session.exec(query):
            found.setdefault(row.host_id, set()).add(row.digest)
    return {host_id: frozenset(there) for host_id, there in found.items()}


def of(session: Session, host_id: str) -> list[str]:
    """The images of one host."""
    query = select(HostImageRow.digest).where(HostImageRow.host_id == host_id)
    return sorted(session.exec(query))


def differ(session: Session, host_id: str, digests: Collection[str] | None) -> bool:
    """Whether a host tells of other images than are known of it; None tells nothing."""
    return digests is not None and set(of(session, host_id)) != set(digests)


def write(session: Session, host_id: str, digests: Collection[str]) -> bool:
    """Make these the images of a host; False when they are already.

    Raises the host's version, so that the scheduler looks at the host again.
    """
    known, now = set(of(session, host_id)), set(digests)
    if known == now:
        return False
    session.exec(
        delete(HostImageRow).where(
            col(HostImageRow.host_id) == host_id, col(HostImageRow.digest).in_(known - now)
        )
    )
    session.add_all(HostImageRow(host_id=host_id, digest=digest) for digest in now - known)
    session.exec(
        update(HostRow).where(col(HostRow.host_id) == host_id).values(version=HostRow.version + 1)
    )
    return True
