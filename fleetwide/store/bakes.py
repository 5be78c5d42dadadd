"""Bakes in the books: a request resolved against the inventory, its pins, and each run of it."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from fleetwide.bakery.bases import base_of, split_base
from fleetwide.bakery.distribution import lacks_ami, missing_of
from fleetwide.bakery.images import check_labels
from fleetwide.bakery.keys import (
    bake_document,
    content_document,
    key_of,
    needs_resolution,
    repository_of,
    request_document,
)
from fleetwide.bakery.outcome import failure_of
from fleetwide.bakery.recipes import apply_recipe
from fleetwide.bakery.vm_tags import check_vm_tags
from fleetwide.errors import BaseUnusable, Conflict, NotFound
from fleetwide.models.bake_amis import SweepPlan
from fleetwide.models.bakery import ArtifactType, BakeSpec
from fleetwide.models.bakes import (
    ENDED,
    AppliedRecipe,
    BakeBooking,
    BakeState,
    BaseImage,
    Dependency,
    ResolvedBake,
    ReusableLayer,
)
from fleetwide.models.os_releases import Channel, OSRelease, ReleaseState
from fleetwide.store import events, images, recipes, releases
from fleetwide.store.tables import BakeRow, BakeTokenRow, ImageRow, PinRow
from fleetwide.store.upserts import add_new

UNUSABLE = frozenset({ReleaseState.HELD, ReleaseState.REVOKED, ReleaseState.RETIRED})
_KNOWN_STATES = UNUSABLE.union(releases.FINISHED)
_CHANNELS = frozenset(Channel)


def resolve(session: Session, spec: BakeSpec) -> ResolvedBake:
    """Apply the recipe, pin the base, compute the keys, look the image up.

    Dependencies are those of the same request before, where there was one.

    Raises:
        NotFound: the base, the recipe, or an artifact that should have been uploaded.
        BaseUnusable: the base is held, revoked or retired.
        InvalidInput: the recipe's parameters do not fit, or a label cannot be one.
    """
    spec, recipe = _with_recipe(session, spec)
    check_labels(spec.labels)
    if spec.ami is not None:
        check_vm_tags(spec)
    base = _base(session, spec)
    request = key_of(request_document(spec, base, recipe))
    pinned = _known_dependencies(session, spec, request)
    bake = ResolvedBake(
        spec=spec,
        base=base,
        request_key=request,
        bake_key=request,
        content_key=request,
        repository=repository_of(spec.name),
        recipe=recipe,
        pinned=pinned is not None,
    )
    bake = with_dependencies(session, bake, pinned or [])
    if bake.cached is None:
        _check_uploads(session, spec)
    return bake


def with_dependencies(
    session: Session, bake: ResolvedBake, dependencies: Sequence[Dependency]
) -> ResolvedBake:
    """The bake with its dependencies, its keys, and the image or the layer that there is."""
    request = request_document(bake.spec, bake.base, bake.recipe)
    document = bake_document(request, dependencies)
    update = {
        "dependencies": list(dependencies),
        "bake_key": key_of(document),
        "content_key": key_of(content_document(document, bake.base)),
    }
    keyed = bake.model_copy(update=update)
    cached = images.by_key(session, keyed.bake_key)
    reusable = None if cached else _reusable(session, keyed)
    missing = missing_of(cached, keyed.spec.ami) if cached else None
    found = keyed.model_copy(update={"cached": cached, "missing": missing, "reusable": reusable})
    if cached is None or not (found.spec.rebake or lacks_ami(found)):
        return found  # of nothing, or a cached answer, which must be quick
    digests = images.digests_of_key(session, found.bake_key)
    return found.model_copy(update={"known_digests": digests})


def inputs_of(bake: ResolvedBake) -> dict[str, object]:
    """Every input of the bake key by its name."""
    request = request_document(bake.spec, bake.base, bake.recipe)
    return bake_document(request, bake.dependencies)


def pins(session: Session, request_key: str) -> list[Dependency] | None:
    """What the dependencies of a request were resolved to; None when they never were."""
    row = session.get(PinRow, request_key)
    return [Dependency.model_validate(one) for one in row.dependencies] if row else None


def pin(
    session: Session, bake: ResolvedBake, found: Sequence[Dependency], *, now: datetime
) -> list[Dependency]:
    """Remember what was resolved; the first answer of a request stays unless it asks anew."""
    pinned = {
        "request_key": bake.request_key,
        "dependencies": [one.model_dump(mode="json") for one in found],
        "resolved_at": now,
    }
    if add_new(session, PinRow, [pinned], key=["request_key"]):
        return list(found)
    row = session.get_one(PinRow, bake.request_key)
    if not bake.spec.refresh:
        return [Dependency.model_validate(one) for one in row.dependencies]
    row.sqlmodel_update(pinned)
    session.add(row)
    return list(found)


def book(session: Session, booking: BakeBooking, run: tuple[str, str], *, now: datetime) -> None:
    """Write where the run (workflow id and run id) of a bake stands."""
    bake, (workflow_id, run_id) = booking.bake, run
    row = session.exec(select(BakeRow).where(BakeRow.run_id == run_id)).first()
    if row is None:
        row = BakeRow(
            workflow_id=workflow_id,
            run_id=run_id,
            request_key=bake.request_key,
            bake_key=bake.bake_key,
            name=bake.spec.name,
            version=bake.spec.version,
            owner=bake.spec.owner,
            state=booking.state,
            created_at=now,
        )
    row.bake_key, row.state = bake.bake_key, booking.state
    row.inputs, row.spec = inputs_of(bake), bake.spec.model_dump(mode="json")
    row.stages = [stage.model_dump(mode="json") for stage in booking.stages]
    row.failure = booking.failure.model_dump(mode="json") if booking.failure else None
    if booking.state in ENDED and row.finished_at is None:
        row.finished_at = now
        message = f"{row.name} {row.version} is {booking.state}"
        if booking.failure:
            message += f" at {booking.failure.stage}: {booking.failure.message}"
        events.append(session, workflow_id, str(booking.state), message, at=now)
    session.add(row)


def remember_token(
    session: Session, token: str, fingerprint: str, bake_id: str, *, now: datetime
) -> str:
    """The bake that a client's token stands for, which is ``bake_id`` when it is new.

    Raises:
        Conflict: the token was used for another request.
    """
    hashed = hashlib.sha256(token.encode()).hexdigest()
    mine = {"token": hashed, "fingerprint": fingerprint, "bake_id": bake_id, "created_at": now}
    add_new(session, BakeTokenRow, [mine], key=["token"])
    row = session.get_one(BakeTokenRow, hashed)
    if row.fingerprint != fingerprint:
        raise Conflict(
            "the Idempotency-Key was used before for another bake",
            hint="use a new key for a new request",
        )
    return row.bake_id


def running(session: Session) -> Sequence[BakeRow]:
    """Every run that is not known to have ended."""
    query = select(BakeRow).where(col(BakeRow.state).not_in([*ENDED]))
    return session.exec(query).all()


def at_work(session: Session, bake_key: str) -> str | None:
    """The workflow that bakes a key just now, whatever key it was started under."""
    query = select(BakeRow.workflow_id).where(
        BakeRow.bake_key == bake_key, col(BakeRow.state).not_in([*ENDED])
    )
    return session.exec(query.order_by(col(BakeRow.id).desc())).first()


def abandon(session: Session, row: BakeRow, reason: str, *, now: datetime) -> None:
    """Book a run as failed whose own workflow cannot do it any more."""
    known = session.get(BakeRow, row.id)
    if known is None or known.state in ENDED:
        return
    failure = failure_of(BakeState(known.state), "", reason)
    known.state, known.finished_at = BakeState.FAILED, now
    known.failure = failure.model_dump(mode="json")
    session.add(known)
    message = f"{known.name} {known.version}: {reason}"
    events.append(session, known.workflow_id, "failed", message, at=now)


def sweep_plan(session: Session) -> SweepPlan:
    """Where bakes publish, and whose things there and in the object store are to stay."""
    rows = running(session)
    baked = session.exec(select(ImageRow.workflow_id)).all()
    specs = session.exec(select(BakeRow.spec)).all()
    regions = {region for spec in specs for region in (spec.get("ami") or {}).get("regions", [])}
    # A distribution on its own copies to regions that no bake's request names.
    for image in session.exec(select(ImageRow.image)):
        regions |= {one["region"] for one in [*image.get("regions", []), *image.get("amis", [])]}
    return SweepPlan(
        regions=sorted(regions),
        workflow_ids=sorted({*baked, *(row.workflow_id for row in rows)}),
        run_ids=sorted(row.run_id for row in rows),
    )


def find(session: Session, key: str) -> BakeRow | None:
    """The newest run of a bake, by its bake key or its request key."""
    query = select(BakeRow).where((BakeRow.bake_key == key) | (BakeRow.request_key == key))
    return session.exec(query.order_by(col(BakeRow.id).desc())).first()


def before(session: Session, row: BakeRow) -> BakeRow | None:
    """The last run for the same application with another bake key."""
    query = select(BakeRow).where(
        BakeRow.name == row.name, BakeRow.bake_key != row.bake_key, col(BakeRow.id) < row.id
    )
    return session.exec(query.order_by(col(BakeRow.id).desc())).first()


def listing(
    session: Session,
    *,
    name: str | None = None,
    state: str | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> Sequence[BakeRow]:
    """Runs of bakes, newest first; ``before_id`` is the id of the last row already seen."""
    query = select(BakeRow)
    if name is not None:
        query = query.where(BakeRow.name == name)
    if state is not None:
        query = query.where(BakeRow.state == state)
    if before_id is not None:
        query = query.where(col(BakeRow.id) < before_id)
    return session.exec(query.order_by(col(BakeRow.id).desc()).limit(limit)).all()


def _with_recipe(session: Session, spec: BakeSpec) -> tuple[BakeSpec, AppliedRecipe | None]:
    if spec.recipe is None:
        return spec, None
    name, _, version = spec.recipe.partition(":")
    recipe = recipes.get(session, name, int(version) if version else None)
    applied, extras = apply_recipe(spec, recipe)
    # Pinned, so that the same request made again from the books is the same bake.
    return applied.model_copy(update={"recipe": extras.reference}), extras


def _known_dependencies(
    session: Session, spec: BakeSpec, request_key: str
) -> list[Dependency] | None:
    """None where a builder has to find them out first."""
    if not needs_resolution(spec):
        return []
    return None if spec.refresh else pins(session, request_key)


def _base(session: Session, spec: BakeSpec) -> BaseImage:
    line, pointer = split_base(spec.base)
    # Which channels point at it is one more query, and nothing that a bake needs to know.
    release = None if pointer in _CHANNELS else releases.document(session, line, pointer)
    if release is None or release.state not in _KNOWN_STATES:
        row = releases.resolve(session, line, pointer)
        release = OSRelease.model_validate({**row.release, "state": row.state})
    if release.state in UNUSABLE:
        raise BaseUnusable(
            f"the OS release {line} {release.version} is {release.state}"
            + (f": {release.reason}" if release.reason else ""),
            hint=f"fleetwide os channels {line}",
        )
    return base_of(release, spec.targets)


def _reusable(session: Session, bake: ResolvedBake) -> ReusableLayer | None:
    image = images.rebaseable(session, bake.content_key)
    if image is None or image.built is None:
        return None
    return ReusableLayer(bake_key=image.bake_key, repository=image.repository, built=image.built)


def _check_uploads(session: Session, spec: BakeSpec) -> None:
    for artifact in spec.artifacts:
        elsewhere = artifact.url or artifact.object_key or artifact.type is ArtifactType.IMAGE
        if not elsewhere and images.artifact(session, artifact.sha256) is None:
            raise NotFound(
                f"artifact {artifact.filename} (sha256 {artifact.sha256}) was never uploaded",
                hint=f"fleetwide artifact upload {artifact.filename}",
            )
