"""Capacity groups: parts of the fleet that people may count on."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from api.deps import Platform, PlatformDep
from api.examples import CAPACITY_GROUP
from fleetwide.containers.capacity import Loan, amounts_of, group_of, loans, warnings
from fleetwide.containers.placement import Dimension
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.capacity_groups import (
    CapacityGroupChange,
    CapacityGroupDocument,
    GroupAmounts,
    Tier,
)
from fleetwide.models.documents import Page
from fleetwide.store import capacity_groups
from fleetwide.store.capacity_groups import Removal, Uses
from fleetwide.store.capacity_tables import CapacityGroupRow

router = APIRouter(prefix="/v1/capacity-groups", tags=["containers"])

GroupName = Annotated[str, Path(pattern=NAME_PATTERN)]
MAX_REASON = 500


@router.get("")
def list_groups(platform: PlatformDep) -> Page[CapacityGroupDocument]:
    """All groups by name, with what each uses now, and what is lent and borrowed."""
    return Page(items=list(_documents(platform).values()))


@router.get("/{name}")
def get_group(platform: PlatformDep, name: GroupName) -> CapacityGroupDocument:
    """One group, with what it uses now."""
    return _found(platform, name)


@router.put("/{name}")
def put_group(
    platform: PlatformDep,
    name: GroupName,
    change: Annotated[CapacityGroupChange, Body(openapi_examples=CAPACITY_GROUP)],
) -> CapacityGroupDocument:
    """Make a group, or change all of it; what the fleet cannot hold is told as a warning.

    With ``revision`` only if it still has that one (0: if it is not there); else it is a conflict.
    """
    with platform.store.write() as session:
        capacity_groups.put(session, name, change, now=datetime.now(UTC))
    return _found(platform, name)


@router.delete("/{name}", status_code=204)
def delete_group(
    platform: PlatformDep,
    name: GroupName,
    reason: Annotated[str, Query(min_length=1, max_length=MAX_REASON)],
    by: Annotated[str, Query(max_length=200)] = "",
    revision: Annotated[int | None, Query(ge=1)] = None,
) -> None:
    """Remove a group that nothing counts to; the default one stays."""
    with platform.store.write() as session:
        removal = Removal(revision, by, reason)
        capacity_groups.remove(session, name, removal, now=datetime.now(UTC))


def _found(platform: Platform, name: str) -> CapacityGroupDocument:
    with platform.store.read() as session:
        capacity_groups.get(session, name)
    return _documents(platform)[name]


def _documents(platform: Platform) -> dict[str, CapacityGroupDocument]:
    with platform.store.read() as session:
        rows = capacity_groups.listing(session)
        uses = capacity_groups.uses(session)
    groups = [group_of(row.name, capacity_groups.spec_of(row)) for row in rows]
    lent = loans(groups, {name: use.amounts for name, use in uses.by_group.items()}, uses.room.free)
    told = warnings(groups, uses.room.whole)
    return {
        row.name: _document(row, uses, lent[row.name], told if group.guarantee else [])
        for row, group in zip(rows, groups, strict=True)
    }


def _document(
    row: CapacityGroupRow, uses: Uses, loan: Loan, told: list[str]
) -> CapacityGroupDocument:
    use = uses.of(row.name)
    return CapacityGroupDocument(
        name=row.name,
        tier=Tier(row.tier),
        weight=row.weight,
        owner=row.owner,
        revision=row.revision,
        by=row.by,
        reason=row.reason,
        guarantee=GroupAmounts.model_validate(row.guarantee),
        cap=GroupAmounts.model_validate(row.cap),
        used=amounts_of(dict(zip(Dimension, use.amounts, strict=True))),
        lent=amounts_of(loan.lent),
        borrowed=amounts_of(loan.borrowed),
        running=use.running,
        waiting=use.waiting,
        leaving=use.leaving,
        warnings=told,
        created_at=row.created_at,
        updated_at=row.updated_at,
        links={
            "self": f"/v1/capacity-groups/{row.name}",
            "events": f"/v1/events?subject=capacity-group/{row.name}",
        },
    )
