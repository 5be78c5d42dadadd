"""What people are told of queues: each with what it uses and can count on, and what changes do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from fleetwide.batch.queue_shares import counts_on
from fleetwide.batch.queues import Inherited, Specs, children_of, tree_of, warnings
from fleetwide.containers.capacity import Vector, amounts_of, bounds_of
from fleetwide.containers.placement import UNCOUNTED, Dimension
from fleetwide.models.capacity_groups import GroupAmounts
from fleetwide.models.queues import (
    Hold,
    QueueDocument,
    QueueEdit,
    QueueOutlook,
    QueuePlan,
    parent_of,
    short_path,
)
from fleetwide.store import capacity_groups, queue_changes, queue_preview, queues
from fleetwide.store.queue_tables import QueueRow
from fleetwide.store.queues import QueueUse

Amounts = Mapping[Dimension, int]


@dataclass(frozen=True)
class _Picture:
    """All queues at one moment."""

    specs: Specs
    uses: Mapping[str, QueueUse]
    whole: Vector
    """All hosts that take work together."""
    shares: Mapping[str, GroupAmounts]


def documents(session: Session, rows: Sequence[QueueRow]) -> list[QueueDocument]:
    """These queues, as they stand."""
    picture = _picture(session)
    below = children_of(picture.specs)
    return [_document(row, picture, leaf=not below[row.path]) for row in rows]


def plan(session: Session, edits: Sequence[QueueEdit]) -> QueuePlan:
    """What these changes would do now."""
    picture = _picture(session)
    found = queue_changes.refusals(session, picture.specs, edits)
    stale = queue_changes.stale(session, edits)
    told = [str(fault) for fault in (*stale, *found)]
    if found:
        return QueuePlan(valid=False, faults=told)
    wanted = queue_changes.after(picture.specs, edits)
    shares = _shares(wanted, picture.whole)
    edited = {edit.path for edit in edits}
    paths = sorted(picture.specs.keys() | wanted.keys())
    return QueuePlan(
        valid=not told,
        faults=told,
        warnings=warnings(wanted, picture.whole),
        preempted=queue_preview.preempted(session, tree_of(picture.specs), tree_of(wanted)),
        queues=[
            _outlook(path, picture, wanted, shares)
            for path in paths
            if path in edited or picture.shares.get(path) != shares.get(path)
        ],
    )


def _picture(session: Session) -> _Picture:
    specs = queues.specs(session)
    whole = capacity_groups.room(session).whole
    return _Picture(specs, queues.uses(session), whole, _shares(specs, whole))


def _shares(specs: Specs, whole: Vector) -> dict[str, GroupAmounts]:
    """By short path; of a resource that nobody counts there is nothing to tell."""
    counted = [each for each in Dimension if whole[each] < UNCOUNTED]
    found = counts_on(tree_of(specs), whole)
    return {short_path(path): amounts_of(_some(share, counted)) for path, share in found.items()}


def _document(row: QueueRow, picture: _Picture, *, leaf: bool) -> QueueDocument:
    use = picture.uses[row.path]
    hold, whose = Inherited.of(row.path, picture.specs).hold()
    page = f"/v1/queues/{row.path}"
    return QueueDocument(
        path=row.path,
        parent=parent_of(row.path),
        leaf=leaf,
        spec=picture.specs[row.path],
        revision=row.revision,
        by=row.by,
        reason=row.reason,
        used=_used(use),
        counts_on=picture.shares[row.path],
        jobs=use.jobs,
        running=use.running,
        waiting=use.waiting,
        held_by=None if hold is Hold.OPEN else whose,
        created_at=row.created_at,
        updated_at=row.updated_at,
        links={
            "self": page,
            "history": f"{page}/history",
            "events": f"/v1/events?subject=queue/{row.path}",
        },
    )


def _outlook(
    path: str, picture: _Picture, wanted: Specs, shares: Mapping[str, GroupAmounts]
) -> QueueOutlook:
    use = picture.uses.get(path, QueueUse())
    spec = wanted.get(path)
    limit = {} if spec is None else bounds_of(spec.limit)
    guarantee = {} if spec is None else bounds_of(spec.guarantee)
    promised = {each: guarantee.get(each, 0) for each in Dimension}
    return QueueOutlook(
        path=path,
        counts_on=picture.shares.get(path),
        would_count_on=shares.get(path),
        used=_used(use),
        above_limit=amounts_of(_beyond(use.amounts, limit)),
        reclaimable=amounts_of(_beyond(use.amounts, promised)),
    )


def _used(use: QueueUse) -> GroupAmounts:
    return amounts_of(dict(zip(Dimension, use.amounts, strict=True)))


def _beyond(used: Vector, bounds: Amounts) -> Amounts:
    return {each: used[each] - most for each, most in bounds.items() if used[each] > most}


def _some(amounts: Amounts, dimensions: Iterable[Dimension]) -> Amounts:
    return {each: amounts[each] for each in dimensions}
