"""Counters of pulls; the gateway notes them in memory and writes them in batches."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from fleetwide.store.registry_tables import ManifestRow


def note(session: Session, counts: Mapping[tuple[int, str], int], now: datetime) -> None:
    """Add pulls of (repository id, digest); a manifest that is gone meanwhile is passed over."""
    # In one order, so that two gateways never wait for each other.
    for (repository_id, digest), count in sorted(counts.items()):
        session.exec(
            update(ManifestRow)
            .where(
                col(ManifestRow.repository_id) == repository_id, col(ManifestRow.digest) == digest
            )
            .values(pulls=ManifestRow.pulls + count, last_pulled_at=now)
            .execution_options(synchronize_session=False)
        )
