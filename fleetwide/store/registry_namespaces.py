"""What somebody has set for a namespace, instead of what the policy file says."""

from datetime import datetime

from sqlmodel import Session

from fleetwide.models.registry_documents import NamespaceSettings
from fleetwide.store import events
from fleetwide.store.registry_tables import NamespaceRow


def put(
    session: Session, name: str, settings: NamespaceSettings, *, by: str, now: datetime
) -> None:
    """Set quota and owner of the namespace; no quota means no limit."""
    row = session.get(NamespaceRow, name) or NamespaceRow(name=name, updated_at=now)
    row.quota = None if settings.quota is None else int(settings.quota)
    row.owner, row.updated_at = settings.owner, now
    session.add(row)
    session.flush()
    limit = "without a limit" if row.quota is None else f"{row.quota} bytes"
    data = {"by": by, "quota": row.quota, "owner": row.owner}
    _tell(session, name, "namespace-set", f"{name} may hold: {limit}", data, now)


def remove(session: Session, name: str, *, by: str, now: datetime) -> None:
    """Let the policy file decide again; a namespace that nobody has set stays as it is."""
    row = session.get(NamespaceRow, name)
    if row is None:
        return
    session.delete(row)
    _tell(session, name, "namespace-unset", f"the policy decides on {name}", {"by": by}, now)


def _tell(
    session: Session,
    name: str,
    kind: str,
    message: str,
    data: dict[str, str | int | None],
    now: datetime,
) -> None:
    events.append(session, f"registry-namespace/{name}", kind, message, at=now, data=data)
