"""How bakes come in: requests are admitted, joined, or answered with the image that there is."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import Session
from temporalio.common import WorkflowIDReusePolicy

from api.deps import Platform
from api.lifecycles import Start
from api.links import links_of
from fleetwide.bakery.images import metadata_changed
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BakedImage, ResolvedBake
from fleetwide.models.documents import Operation, OperationStatus
from fleetwide.settings import Settings
from fleetwide.store import bakes
from fleetwide.temporal import search_attributes as attributes


@dataclass(frozen=True)
class Admission:
    """A request that can be baked; ``image`` is the answer where nothing is left to do."""

    request: BakeSpec
    bake: ResolvedBake
    image: BakedImage | None
    running: str | None = None
    """The workflow that bakes the same just now, where it was started under another key."""


def admit(platform: Platform, spec: BakeSpec) -> Admission:
    """Resolve a request as its bake would.

    Raises:
        NotFound: the base, the recipe or an artifact that should have been uploaded.
        BaseUnusable: the base is held, revoked or retired.
        InvalidInput: the recipe's parameters do not fit.
    """
    with platform.store.read() as session:
        bake = bakes.resolve(session, spec)
        if _is_answer(bake):
            return Admission(spec, bake, bake.cached)
        return Admission(spec, bake, None, bakes.at_work(session, bake.bake_key))


def known_image(session: Session, spec: BakeSpec) -> BakedImage | None:
    """The image that answers a request, where nothing is left to do. Raises like ``admit``."""
    bake = bakes.resolve(session, spec)
    return bake.cached if _is_answer(bake) else None


def _is_answer(bake: ResolvedBake) -> bool:
    """Whether the image that there is has all that the request asks for."""
    if bake.cached is None or bake.spec.rebake or not bake.pinned or bake.missing is not None:
        return False
    return not metadata_changed(bake.cached, bake)


def with_token(platform: Platform, admission: Admission, token: str) -> str:
    """The bake that a client's token stands for; this one when the token is new."""
    start = start_of(admission)
    with platform.store.write() as session:
        return bakes.remember_token(
            session, token, start.fingerprint, start.workflow_id, now=datetime.now(UTC)
        )


def start_of(admission: Admission) -> Start:
    """The workflow of an admitted request: one at a time for each bake key.

    A run that comes late finds the image of the one before, and builds nothing. One that joins
    another request's run is told to it, which serves it after its own.
    """
    spec, bake = admission.request, admission.bake
    return Start(
        workflow_type="Bake",
        workflow_id=admission.running or f"bake/{bake.bake_key}",
        spec=spec,
        summary=f"{spec.name} {spec.version} onto {spec.base}",
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        join=bake.spec,
        attributes=attributes.pairs(
            {
                attributes.APP: spec.name,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "bakery",
            }
        ),
    )


def finished(settings: Settings, image: BakedImage) -> Operation:
    """The answer to a request whose image there is."""
    return Operation(
        id=image.bake_key,
        workflow_id=image.workflow_id,
        run_id="",
        workflow_type="Bake",
        status=OperationStatus.COMPLETED,
        summary=f"{image.name} {image.version} onto {image.base_name}:{image.base_version}",
        closed_at=image.created_at,
        result=image,
        links=links_of(settings, image.workflow_id, ""),
    )
