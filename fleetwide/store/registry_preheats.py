"""What hosts may pull for a pre-heat: given at its start, taken away at its end."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, delete, select

from fleetwide.registry.references import ImageReference
from fleetwide.store.registry_tables import PreheatRightRow


def grant(
    session: Session,
    workflow_id: str,
    image: ImageReference,
    hosts: Sequence[str],
    *,
    now: datetime,
    until: datetime,
) -> None:
    """Let these hosts pull the image's repository; what the pre-heat gave before is replaced.

    Rights that have ended go on the way: a pre-heat that was killed left them.
    """
    session.exec(delete(PreheatRightRow).where(col(PreheatRightRow.until) <= now))
    revoke(session, workflow_id)
    session.add_all(
        PreheatRightRow(
            workflow_id=workflow_id, host_id=host, repository=image.repository, until=until
        )
        for host in hosts
    )


def revoke(session: Session, workflow_id: str) -> None:
    """Take away what the pre-heat gave; nothing happens when that is nothing."""
    session.exec(delete(PreheatRightRow).where(col(PreheatRightRow.workflow_id) == workflow_id))


def repositories(session: Session, host_id: str, *, now: datetime) -> set[str]:
    """What the host may pull for pre-heats at this moment."""
    found = select(PreheatRightRow.repository).where(
        PreheatRightRow.host_id == host_id, col(PreheatRightRow.until) > now
    )
    return set(session.exec(found))


def takes_part(
    session: Session, workflow_id: str, host_id: str, repository: str, *, now: datetime
) -> datetime | None:
    """Until when the host takes part in a pre-heat of the repository; None when it does not."""
    row = session.get(PreheatRightRow, (workflow_id, host_id))
    if row is None or row.repository != repository or row.until <= now:
        return None
    return row.until
