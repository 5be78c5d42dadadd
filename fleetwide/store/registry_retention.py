"""Retention over the index: the facts of tags."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleetwide.registry.retention import TagFacts
from fleetwide.store.registry_tables import TagRow
from fleetwide.store.registry_usage import in_use
from fleetwide.store.registry_visibility import tagged_images
from fleetwide.store.session import Store

PAGE = 500
TIMES = 5000
"""Names and times are small."""


def tag_times(
    store: Store, repository_id: int, until: datetime
) -> Iterator[list[tuple[str, datetime]]]:
    """Names of the tags that were set by ``until``, and when, page by page."""
    after = ""
    while True:
        with store.read() as session:
            query = select(TagRow.name, TagRow.started_at).where(
                TagRow.repository_id == repository_id,
                col(TagRow.ended_at).is_(None),
                TagRow.name > after,
                col(TagRow.started_at) <= until,
            )
            found = list(session.exec(query.order_by(col(TagRow.name)).limit(TIMES)))
        if not found:
            return
        yield found
        after = found[-1][0]


def facts_page(
    session: Session, repository_id: int, *, after: str, until: datetime, limit: int = PAGE
) -> list[TagFacts]:
    """What is known of the tags that were set by ``until``, by name from behind ``after``."""
    found = tagged_images(session, repository_id, after=after, before=until, limit=limit)
    uses = in_use(session, [one.digest for one in found])
    return [
        TagFacts(
            name=one.name,
            digest=one.digest,
            pushed_at=one.started_at,
            last_pulled_at=one.last_pulled_at,
            size=one.size,
            in_use=tuple(str(use) for use in uses.get(one.digest, ())),
        )
        for one in found
    ]


def live_tags(session: Session, repository_id: int, digests: Iterable[str]) -> dict[str, int]:
    """How many tags mean each of ``digests`` now."""
    query = (
        select(TagRow.digest, func.count())
        .where(TagRow.repository_id == repository_id, col(TagRow.ended_at).is_(None))
        .where(col(TagRow.digest).in_(set(digests)))
        .group_by(col(TagRow.digest))
    )
    return dict(session.exec(query).all())
