"""What outside the registry needs a digest: work that runs, OS releases, baked images.

A digest counts wherever it lies: who runs it may have pinned it from any repository.
"""

from collections.abc import Collection, Iterator

from sqlalchemy import or_
from sqlmodel import Session, col, select

from fleetwide.models.batch_states import BatchState
from fleetwide.models.registry_gc import Use
from fleetwide.models.task_states import TaskState
from fleetwide.store.releases import WORTH_KEEPING
from fleetwide.store.tables import AttemptRow, ImageDigestRow, ImageRow, JobRow, OSReleaseRow

LIVE = (*(one for one in TaskState if one is not TaskState.FINISHED), BatchState.RUNNING)
CHUNK = 500
"""Parameters of one statement; SQLite takes some thousand."""


def in_use(session: Session, digests: Collection[str]) -> dict[str, list[Use]]:
    """Who needs each of ``digests``; those that nobody needs are left out."""
    found: dict[str, list[Use]] = {}
    ordered = sorted(set(digests))
    if not ordered:
        return found
    wanted = frozenset(ordered)
    for digest, use in _jobs(session):
        if digest in wanted:
            found.setdefault(digest, []).append(use)
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        for digest, use in (*_releases(session, chunk), *_images(session, chunk)):
            found.setdefault(digest, []).append(use)
    return found


def _jobs(session: Session) -> Iterator[tuple[str, Use]]:
    """Tasks and batch jobs that have not ended, and those with an attempt that has not."""
    # By the states that there are, which the indexes serve; most rows are of the past.
    running = select(AttemptRow.job_id).where(col(AttemptRow.state).in_(LIVE))
    query = select(JobRow.image, JobRow.extra_images, JobRow.kind, JobRow.workflow_id).where(
        or_(col(JobRow.state).in_(LIVE), col(JobRow.id).in_(running))
    )
    for image, extras, kind, workflow_id in session.exec(query):
        use = Use(kind="batch" if kind == "batch" else "task", id=workflow_id)
        for one in {image, *(extras or {}).values()}:
            yield one.partition("@")[2], use


def _releases(session: Session, digests: list[str]) -> Iterator[tuple[str, Use]]:
    query = select(OSReleaseRow.image_digest, OSReleaseRow.workflow_id).where(
        col(OSReleaseRow.image_digest).in_(digests), col(OSReleaseRow.state).in_(WORTH_KEEPING)
    )
    for digest, workflow_id in session.exec(query):
        yield str(digest), Use(kind="osRelease", id=workflow_id)


def _images(session: Session, digests: list[str]) -> Iterator[tuple[str, Use]]:
    """Baked images by each manifest that they have had, since tasks may have pinned any."""
    known = select(ImageDigestRow.digest, ImageDigestRow.bake_key).where(
        col(ImageDigestRow.digest).in_(digests)
    )
    now = select(ImageRow.digest, ImageRow.bake_key).where(col(ImageRow.digest).in_(digests))
    for digest, bake_key in {*session.exec(known), *session.exec(now)}:
        yield digest, Use(kind="image", id=bake_key)
