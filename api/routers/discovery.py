"""Where services are reached: their healthy copies, and how these stand at load balancers."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.deps import MAX_WAIT_SECONDS, PlatformDep
from api.endpoint_watch import read_endpoints
from api.problems import ascii_json
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.discovery import Endpoints, RegistrationDocument
from fleetwide.models.documents import Page
from fleetwide.models.targets import Provider, TargetState
from fleetwide.store import targets
from fleetwide.store.target_tables import ServiceTargetRow

router = APIRouter(prefix="/v1/services", tags=["containers"])

ServiceId = Annotated[str, Path(pattern=NAME_PATTERN)]
Version = Annotated[str, Query(max_length=64, description="version of the answer before")]
Wait = Annotated[
    float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait for another version")
]


@router.get("/{service_id}/endpoints", response_model=Endpoints)
async def service_endpoints(
    request: Request,
    platform: PlatformDep,
    service_id: ServiceId,
    after: Version = "",
    wait: Wait = 0,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """The healthy copies: addresses and ports, without DNS and at once.

    With `wait` and the `version` of an earlier answer as `after` (or its `ETag` as
    `If-None-Match`) the answer comes as soon as it is another one, at the latest after `wait`
    seconds. It answers 304 to `If-None-Match` when nothing has changed.
    """
    known = after or if_none_match.removeprefix("W/").strip('"')
    if wait and known:
        watch = platform.endpoints
        found = await watch.changed(service_id, known, wait, request.is_disconnected)
    else:
        found = await run_in_threadpool(read_endpoints, platform.store, service_id)
    headers = {"ETag": f'"{found.version}"', "Cache-Control": "no-cache"}
    if if_none_match.removeprefix("W/") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(ascii_json(found), media_type="application/json", headers=headers)


@router.get("/{service_id}/targets")
def service_targets(platform: PlatformDep, service_id: ServiceId) -> Page[RegistrationDocument]:
    """How each copy stands at each load balancer that the service names; none for no service."""
    with platform.store.read() as session:
        rows = targets.listing(session, service_id)
    return Page(items=[_registration(row) for row in rows])


def _registration(row: ServiceTargetRow) -> RegistrationDocument:
    provider, _, place = row.target.partition(":")
    return RegistrationDocument(
        task_id=row.task_id,
        provider=Provider(provider),
        place=place,
        address=row.address,
        port=row.port,
        state=TargetState(row.state),
        since=row.since,
        tries=row.tries,
        message=row.error,
    )
