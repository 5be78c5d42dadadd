"""BaseOS: what is in a release, and what is known about it."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from ulid import ULID

from api.deps import Platform, PlatformDep, WaitQuery
from api.documents import document_entry
from api.lifecycles import Start
from api.releases import find_release
from api.starts import start_and_answer
from fleetwide.baseos.package_diff import package_diff
from fleetwide.baseos.verdicts import plain
from fleetwide.errors import NotFound
from fleetwide.models.documents import Operation, Page, ReleaseDocument
from fleetwide.models.os_documents import DocumentEntry, ReleaseDiff
from fleetwide.models.os_locks import Lock, lock_key
from fleetwide.models.os_reports import FixesRequest, ReproductionRequest
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1/os/releases", tags=["baseos"])


@router.get("/{name}/{pointer}/lock")
def get_lock(platform: PlatformDep, name: str, pointer: str) -> Lock:
    """Every package of the release, to the byte."""
    return _lock(platform, find_release(platform, name, pointer))


def _lock(platform: Platform, release: ReleaseDocument) -> Lock:
    if release.lock is None:
        raise NotFound(
            f"OS release {release.name} {release.version} has no lock: it is {release.state}",
            hint=f"fleetwide os show {release.name} {release.version}",
        )
    return Lock.model_validate_json(platform.objects.get_bytes(lock_key(release.lock.digest)))


@router.get("/{name}/{pointer}/diff")
def get_diff(
    platform: PlatformDep, name: str, pointer: str, against: str | None = None
) -> ReleaseDiff:
    """What changed since another release, by version or channel; unset means since its parent."""
    release = find_release(platform, name, pointer)
    after, before = _lock(platform, release), against or release.parent
    earlier = find_release(platform, name, before) if before else None
    diff = package_diff(_lock(platform, earlier) if earlier else [], after)
    return ReleaseDiff(
        name=name,
        version=release.version,
        against=earlier.version if earlier else None,
        summary=diff.summary,
        diff=diff,
    )


@router.get("/{name}/{pointer}/documents")
def list_documents(platform: PlatformDep, name: str, pointer: str) -> Page[DocumentEntry]:
    """SBOMs, provenance and its signature."""
    release = find_release(platform, name, pointer)
    return Page(items=[document_entry(release, one) for one in release.attachments])


@router.get(
    "/{name}/{pointer}/documents/{file}",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
)
def get_document(platform: PlatformDep, name: str, pointer: str, file: str) -> Response:
    """One document, byte for byte, with its own media type."""
    release = find_release(platform, name, pointer)
    entries = {entry.name: entry for entry in list_documents(platform, name, pointer).items}
    if file not in entries:
        known = f"; there are {', '.join(entries)}" if entries else "; it has none"
        raise NotFound(
            f"OS release {name} {release.version} has no document {file}{known}",
            hint=f"fleetwide os documents {name} {release.version}",
        )
    entry = entries[file]
    return Response(platform.objects.get_bytes(entry.key), media_type=entry.artifact_type)


@router.get("/{name}/{pointer}/console", response_class=PlainTextResponse)
def get_console(platform: PlatformDep, name: str, pointer: str) -> str:
    """What the VM said on its serial console in the boot test; kept of a failed build too."""
    release = find_release(platform, name, pointer)
    key = f"baseos/consoles/{release.name}/{release.version}.log"
    try:
        console = platform.objects.get_bytes(key)
    except NotFound as error:
        raise NotFound(
            f"OS release {release.name} {release.version} has no console: it was not booted",
            hint="give the spec the target vm, and tests.boot: true",
        ) from error
    return plain(console.decode(errors="replace"))


@router.post("/{name}/{pointer}/fixes", status_code=202)
async def find_fixes(
    platform: PlatformDep, response: Response, name: str, pointer: str, wait: WaitQuery = 0
) -> Operation:
    """Look for published fixes that the release lacks. It is no vulnerability scan.

    The operation's result is a `FixesReport`.
    """
    release = await run_in_threadpool(find_release, platform, name, pointer)
    spec = FixesRequest(name=name, pointer=release.version)
    start = _about(release, "OSFixesAvailable", "os-fixes", spec, "published fixes that it lacks")
    return await start_and_answer(platform, response, start, wait)


@router.post("/{name}/{pointer}/reproduction", status_code=202)
async def reproduce(
    platform: PlatformDep, response: Response, name: str, pointer: str, wait: WaitQuery = 0
) -> Operation:
    """Build the release again from its lock and compare the bytes; nothing is published.

    The operation's result is a `ReproductionReport`.
    """
    release = await run_in_threadpool(find_release, platform, name, pointer)
    spec = ReproductionRequest(name=name, pointer=release.version)
    start = _about(release, "OSReproduction", "os-reproduction", spec, "the same bytes again?")
    return await start_and_answer(platform, response, start, wait)


def _about(
    release: ReleaseDocument, workflow_type: str, prefix: str, spec: BaseModel, question: str
) -> Start:
    """The start of a workflow that answers a question about one release."""
    return Start(
        workflow_type=workflow_type,
        workflow_id=f"{prefix}/{release.name}/{release.version}/{str(ULID()).lower()}",
        spec=spec,
        summary=f"{release.name} {release.version}: {question}",
        attributes=attributes.pairs(
            {
                attributes.APP: release.name,
                attributes.PRODUCT: "baseos",
                attributes.OS_RELEASE: f"{release.name}:{release.version}",
            }
        ),
    )
