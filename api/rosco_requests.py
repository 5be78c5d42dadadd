"""How Spinnaker's requests for images become bakes, and which bases they can name."""

from datetime import UTC, datetime
from functools import partial

from starlette.concurrency import run_in_threadpool

from api import bakes as admission
from api import lifecycles
from api.bakes import Admission
from api.deps import Platform
from api.rosco_bakes import BakeId, status
from fleetwide.bakery.bases import split_base
from fleetwide.bakery.rosco import AMI_ID, PROVIDERS, base_wanted, provider_of, spec_of
from fleetwide.bakery.rosco_answers import options_of, status_of
from fleetwide.bakery.rosco_artifacts import wanted
from fleetwide.errors import NotFound
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BakeState
from fleetwide.models.os_releases import OSRelease
from fleetwide.models.rosco import (
    BakeOptions,
    BaseImageOption,
    RoscoBase,
    RoscoRequest,
    RoscoStatus,
)
from fleetwide.providers.rosco_bases import load_bases
from fleetwide.store import bakes, releases
from fleetwide.store import rosco as books


async def create(
    platform: Platform, region: str, request: RoscoRequest, *, rebake: bool
) -> RoscoStatus:
    """Start, join or answer the bake that is asked for.

    Raises:
        InvalidInput: naming the request's own fields.
        NotFound: the base, a recipe or an artifact.
        BaseUnusable: the base is held, revoked or retired.
    """
    admitted = await run_in_threadpool(_admit, platform, region, request, rebake=rebake)
    region = region if admitted.request.ami else ""
    known = await run_in_threadpool(_known, platform, admitted)
    if known:
        return await status(platform, str(BakeId(*known, region)))
    start = admission.start_of(admitted)
    handle = await lifecycles.start(platform, start)
    assert handle.result_run_id is not None
    bake_id = BakeId(handle.id.removeprefix("bake/"), handle.result_run_id, region)
    return status_of(str(bake_id), BakeState.PENDING)


def _admit(platform: Platform, region: str, request: RoscoRequest, *, rebake: bool) -> Admission:
    spec = read_request(platform, region, request)
    admitted = admission.admit(platform, spec)
    if not rebake and not _is_stale(platform, admitted):
        return admitted
    # Whoever asks rosco for a rebake wants today's packages as well.
    anew = spec.model_copy(update={"rebake": True, "refresh": rebake})
    return admission.admit(platform, anew)


def _is_stale(platform: Platform, admitted: Admission) -> bool:
    """Whether there is an image that was forgotten."""
    cached = admitted.bake.cached
    if cached is None:
        return False
    with platform.store.read() as session:
        return books.is_forgotten(session, cached.bake_key)


def _known(platform: Platform, admitted: Admission) -> tuple[str, str] | None:
    """Key and run of the bake that made the image which is the answer."""
    if admitted.image is None:
        return None
    with platform.store.read() as session:
        row = books.last_success(session, admitted.image.bake_key)
    return (row.workflow_id.removeprefix("bake/"), row.run_id) if row else None


def read_request(platform: Platform, region: str, request: RoscoRequest) -> BakeSpec:
    """The request as a bake of ours; raises like ``create``."""
    provider_of(request)
    named = base_wanted(request, load_bases(platform.settings))
    with platform.store.read() as session:
        if AMI_ID.fullmatch(named):
            release = books.release_of_ami(session, named)
            named = f"{release.name}:{release.version}"
        line, pointer = split_base(named)
        row = releases.find(session, line, pointer) or releases.resolve(session, line, pointer)
        architecture = releases.to_model(session, row).architecture
        content = wanted(request, partial(books.uploads, session), architecture)
    return spec_of(request, region, named, content)


def forget(platform: Platform, region: str, request: RoscoRequest) -> str:
    """Let the next such request bake anew; answers the bake's key.

    Raises:
        NotFound: it was never baked; and like ``create``.
    """
    key = admission.admit(platform, read_request(platform, region, request)).bake.bake_key
    with platform.store.write() as session:
        row = bakes.find(session, key)
        if row is None:
            raise NotFound(f"there is no bake with the key {key}", hint="fleetwide bake list")
        books.forget(session, row, now=datetime.now(UTC))
    return key


def all_options(platform: Platform) -> list[BakeOptions]:
    """The bases of every cloud provider that is baked for."""
    bases = _bases(platform)
    return [options_of(provider, bases) for provider in PROVIDERS]


def options(platform: Platform, provider: str) -> BakeOptions:
    """The bases of one cloud provider.

    Raises:
        NotFound: nothing is baked for it.
    """
    if provider not in PROVIDERS:
        raise NotFound(f"nothing is baked for the cloud provider {provider[:40]}")
    return options_of(provider, _bases(platform))


def base_image(platform: Platform, provider: str, base_os: str) -> BaseImageOption:
    """One base of a cloud provider.

    Raises:
        NotFound: it has no such base; the message lists those that there are.
    """
    known = options(platform, provider).base_images
    found = next((one for one in known if one.id == base_os), None)
    if found is None:
        names = ", ".join(one.id for one in known) or "none yet"
        raise NotFound(
            f"{provider} has no base image {base_os[:80]}; there are {names}",
            hint="fleetwide os list",
        )
    return found


def _bases(platform: Platform) -> list[tuple[str, RoscoBase, OSRelease]]:
    mapped = load_bases(platform.settings).bases
    with platform.store.read() as session:
        if not mapped:
            found = books.lines(session)
            return [(one.name, RoscoBase(line=one.name), one) for one in found]
        pairs = [(name, base, books.line(session, base.line)) for name, base in mapped.items()]
    return [(name, base, release) for name, base, release in pairs if release is not None]
