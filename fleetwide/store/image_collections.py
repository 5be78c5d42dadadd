"""What hosts did to have room for images, as events of these hosts; which images are wanted."""

from datetime import datetime

from sqlmodel import Session, col, select

from fleetwide.models.image_room import ImageCollection
from fleetwide.store import events
from fleetwide.store.tables import JobRow

KIND = "imagesCollected"


def wanted(session: Session) -> set[str]:
    """The images (repository@digest) of jobs that are not finished."""
    live = col(JobRow.finished_at).is_(None)
    extra = select(JobRow.extra_images).where(live, col(JobRow.extra_images).is_not(None))
    found = set(session.exec(select(JobRow.image).where(live).distinct()))
    return found.union(*((images or {}).values() for images in session.exec(extra)))


class Collections:
    """Writes each collection once, however often it is reported, and over restarts."""

    def __init__(self) -> None:
        self._last: dict[str, datetime] = {}

    def note(self, session: Session, host_id: str, found: ImageCollection | None) -> None:
        """Record a collection that is not recorded yet."""
        if found is None or self._last.get(host_id) == found.at:
            return
        subject = f"host/{host_id}"
        data = found.model_dump(mode="json")
        known = events.latest(session, KIND, subject=subject)
        if not (known and known[0].data.get("at") == data["at"]):
            events.append(session, subject, KIND, found.sentence(), at=found.at, data=data)
        self._last[host_id] = found.at
