"""Bakes that Spinnaker asked for: where they stand, what came of them, their logs, their end."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool

from api import lifecycles
from api.bake_logs import BakeLogReader, whole_log
from api.deps import Platform
from fleetwide.bakery.rosco import AMI_ID
from fleetwide.bakery.rosco_answers import SeenImage, details_of, failure_lines, status_of
from fleetwide.errors import Conflict, NotFound
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import (
    ENDED,
    BakedImage,
    BakeFailure,
    BakeState,
    RegionState,
    RegionStatus,
)
from fleetwide.models.base import DIGEST_PATTERN
from fleetwide.models.documents import OperationStatus
from fleetwide.models.rosco import BakeLogs, RoscoBake, RoscoStatus
from fleetwide.store import images, releases
from fleetwide.store import rosco as books
from fleetwide.store.tables import BakeRow, ImageRow

_ID = re.compile(
    r"([0-9a-f]{64})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.([a-z0-9-]+))?"
)


@dataclass(frozen=True)
class BakeId:
    """How Spinnaker knows a bake: its key, the run, and for an AMI the region.

    Regions are not in the key: a bake that is asked for in several regions runs once, and each of
    them has a status of its own.
    """

    key: str
    run_id: str
    region: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (self.key, self.run_id, self.region) if part)

    @property
    def workflow_id(self) -> str:
        return f"bake/{self.key}"

    @classmethod
    def parse(cls, text: str) -> "BakeId":
        """Raises ``NotFound`` for anything that was never an id."""
        match = _ID.fullmatch(text)
        if match is None:
            raise _unknown(text[:200])
        return cls(match[1], match[2], match[3] or "")


@dataclass(frozen=True)
class Standing:
    """Where one run of a bake stands."""

    state: BakeState
    row: BakeRow | None = None
    """None for a run that is not in the books yet, or never came so far."""
    messages: tuple[str, ...] = ()


async def status(platform: Platform, text: str) -> RoscoStatus:
    """Where a bake stands for the region that it was asked for.

    Raises:
        NotFound: there is no such bake.
    """
    bake_id = BakeId.parse(text)
    standing = await _standing(platform, bake_id)
    if standing.row is None or not bake_id.region or standing.state not in _DONE:
        return status_of(text, standing.state, standing.messages)
    state, messages = await _in_region(platform, standing.row, bake_id)
    return status_of(text, state, messages)


async def details(platform: Platform, region: str, text: str) -> RoscoBake:
    """The image that a bake made.

    Raises:
        NotFound: there is no such bake, or no image of it in that region (yet).
    """
    bake_id = BakeId.parse(text)
    standing = await _standing(platform, bake_id)
    if standing.row is not None and standing.state in _DONE:
        seen = await run_in_threadpool(_seen, platform, text, standing.row)
        found = details_of(seen, bake_id.region or region)
        if found is not None:
            return found
    raise NotFound(f"the bake {text} has no image in {region[:80]}")


async def logs(platform: Platform, text: str) -> BakeLogs:
    """What a bake has written so far, and why it failed.

    Raises:
        NotFound: there is no such bake, or nothing was written yet.
    """
    bake_id = BakeId.parse(text)
    standing = await _standing(platform, bake_id)
    written = await run_in_threadpool(whole_log, BakeLogReader(platform, bake_id.run_id))
    content = written + "".join(f"{line}\n" for line in standing.messages)
    if not content:
        raise NotFound(f"the bake {text} has written nothing yet")
    return BakeLogs(logs_content=content)


async def logs_of_image(platform: Platform, region: str, image_id: str) -> BakeLogs:
    """The log of the bake that made an image: an AMI's id, or a manifest's digest.

    Raises:
        NotFound: it was not baked here.
    """
    row = await run_in_threadpool(_run_of_image, platform, region, image_id)
    if row is None:
        raise NotFound(f"no bake made the image {image_id[:100]} in {region[:80]}")
    return await logs(platform, str(_id_of(row)))


async def cancel(platform: Platform, text: str) -> None:
    """Stop a bake, for everybody who joined it.

    Raises:
        NotFound: there is no such bake.
        Conflict: it has ended already.
    """
    bake_id = BakeId.parse(text)
    standing = await _standing(platform, bake_id)
    if standing.state in ENDED:
        raise Conflict(f"the bake {text} has ended already: it is {standing.state}")
    await lifecycles.cancel(platform, bake_id.workflow_id, "cancelled by Spinnaker")


_DONE = frozenset({BakeState.AVAILABLE, BakeState.CACHED})


async def _standing(platform: Platform, bake_id: BakeId) -> Standing:
    booked = await run_in_threadpool(_booked, platform, bake_id)
    if booked is not None:
        return booked
    try:
        operation = await lifecycles.operation(platform, bake_id.workflow_id, bake_id.run_id)
    except NotFound as error:
        raise _unknown(str(bake_id)) from error
    if operation.status is OperationStatus.RUNNING:
        return Standing(BakeState.PENDING)
    booked = await run_in_threadpool(_booked, platform, bake_id)
    # A run that was terminated, or failed before there was anything to book.
    why = operation.error.detail if operation.error else f"the bake was {operation.status}"
    return booked or Standing(BakeState.FAILED, messages=(why,))


def _booked(platform: Platform, bake_id: BakeId) -> Standing | None:
    """What the books say of a run that has ended."""
    with platform.store.read() as session:
        row = books.run(session, bake_id.run_id)
    if row is None or row.workflow_id != bake_id.workflow_id or row.state not in ENDED:
        return None
    failure = BakeFailure.model_validate(row.failure) if row.failure else None
    return Standing(BakeState(row.state), row, tuple(failure_lines(failure) if failure else ()))


async def _in_region(
    platform: Platform, row: BakeRow, bake_id: BakeId
) -> tuple[BakeState, tuple[str, ...]]:
    there = await run_in_threadpool(_there, platform, row, bake_id.region)
    if there is None or there.state is not RegionState.AVAILABLE:
        # Whoever joined the bake is served after its end is booked.
        if await _runs(platform, bake_id):
            return BakeState.DISTRIBUTING, ()
        there = await run_in_threadpool(_there, platform, row, bake_id.region)
    if there is not None and there.state is RegionState.AVAILABLE:
        return BakeState.AVAILABLE, ()
    why = there.message if there else "nobody asked for it"
    return BakeState.FAILED, (f"the AMI did not get to {bake_id.region}: {why}",)


def _there(platform: Platform, row: BakeRow, region: str) -> RegionStatus | None:
    regions = _image(platform, row).regions
    return next((one for one in regions if one.region == region), None)


async def _runs(platform: Platform, bake_id: BakeId) -> bool:
    try:
        known = await lifecycles.operation(platform, bake_id.workflow_id, bake_id.run_id)
    except NotFound:
        return False
    return known.status is OperationStatus.RUNNING


def _image(platform: Platform, row: BakeRow) -> BakedImage:
    with platform.store.read() as session:
        image = images.by_key(session, row.bake_key)
    if image is None:
        raise NotFound(f"the image of the bake {row.bake_key} is gone")
    return image


def _seen(platform: Platform, text: str, row: BakeRow) -> SeenImage:
    image = _image(platform, row)
    with platform.store.read() as session:
        base = releases.find(session, image.base_name, image.base_version)
        amis = releases.to_model(session, base).amis if base else []
    return SeenImage(
        bake_id=text,
        spec=BakeSpec.model_validate(row.spec),
        image=image,
        registry=urlsplit(platform.settings.registry_url).netloc.rpartition("@")[2],
        base_amis={ami.region: ami.image_id for ami in amis},
    )


def _run_of_image(platform: Platform, region: str, image_id: str) -> BakeRow | None:
    with platform.store.read() as session:
        found: ImageRow | None = None
        if re.fullmatch(DIGEST_PATTERN, image_id):
            found = images.by_digest(session, image_id)
        elif AMI_ID.fullmatch(image_id):
            found = books.image_of_ami(session, region, image_id)
        return books.last_success(session, found.bake_key) if found else None


def _id_of(row: BakeRow) -> BakeId:
    return BakeId(row.workflow_id.removeprefix("bake/"), row.run_id)


def _unknown(text: str) -> NotFound:
    return NotFound(f"there is no bake {text}", hint="fleetwide bake list")
