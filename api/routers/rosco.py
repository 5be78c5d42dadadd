"""The HTTP surface of Spinnaker's bakery (rosco), so that Spinnaker can bake with Fleetwide.

Paths, field names and states are rosco's; ``docs/guides/spinnaker.md`` tells what differs.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute

from api import problems, rosco_bakes, rosco_requests
from api.deps import PlatformDep
from fleetwide.errors import FleetwideError
from fleetwide.models.rosco import (
    BakeLogs,
    BakeOptions,
    BaseImageOption,
    DeleteRequest,
    RoscoBake,
    RoscoProblem,
    RoscoRequest,
    RoscoStatus,
)


class RoscoRoute(APIRoute):
    """Tells each error as a problem that also has the fields Spinnaker's services read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except FleetwideError as error:
                return _told(request, error)
            except RequestValidationError as error:
                return _told(request, problems.invalid_request(request, error))

        return handle


def _told(request: Request, error: FleetwideError) -> Response:
    problem = problems.problem_of(error)
    hint = [f"hint: {error.hint}"] if error.hint else []
    whole = RoscoProblem(
        **problem.model_dump(),
        error=problem.title,
        message=error.message,
        # Orca shows the first one alone.
        messages=["; ".join([error.message, *hint])],
    )
    return problems.respond(request.scope, whole)


router = APIRouter(route_class=RoscoRoute, tags=["rosco"])

Region = Annotated[str, Path(max_length=80)]
BakeIdText = Annotated[str, Path(max_length=300)]


@router.post("/api/v1/{region}/bake", response_model_exclude_none=True)
async def create_bake(
    platform: PlatformDep,
    region: Region,
    request: RoscoRequest,
    rebake: Annotated[str, Query(description="1 bakes anew what was baked before")] = "0",
) -> RoscoStatus:
    """Bake an image, join the bake of the same image, or answer with the one that there is."""
    return await rosco_requests.create(platform, region, request, rebake=rebake == "1")


@router.get("/api/v1/{region}/status/{bake_id}", response_model_exclude_none=True)
async def get_status(platform: PlatformDep, region: Region, bake_id: BakeIdText) -> RoscoStatus:  # noqa: ARG001
    """Where a bake stands."""
    return await rosco_bakes.status(platform, bake_id)


@router.get("/api/v1/{region}/bake/{bake_id}", response_model_exclude_none=True)
async def get_bake(platform: PlatformDep, region: Region, bake_id: BakeIdText) -> RoscoBake:
    """The image that a bake made."""
    return await rosco_bakes.details(platform, region, bake_id)


@router.get("/api/v1/{region}/logs/{bake_id}")
async def get_logs(platform: PlatformDep, region: Region, bake_id: BakeIdText) -> BakeLogs:  # noqa: ARG001
    """What a bake has written."""
    return await rosco_bakes.logs(platform, bake_id)


@router.get("/api/v1/{region}/logs/image/{image_id}")
async def get_image_logs(platform: PlatformDep, region: Region, image_id: str) -> BakeLogs:
    """What the bake of an image has written."""
    return await rosco_bakes.logs_of_image(platform, region, image_id)


@router.get("/api/v1/{region}/cancel/{bake_id}", response_class=PlainTextResponse)
@router.post("/api/v1/{region}/cancel/{bake_id}", response_class=PlainTextResponse)
async def cancel_bake(platform: PlatformDep, region: Region, bake_id: BakeIdText) -> str:  # noqa: ARG001
    """Stop a bake."""
    await rosco_bakes.cancel(platform, bake_id)
    return f"Canceled bake '{bake_id}'."


@router.delete("/api/v1/{region}/bake", response_class=PlainTextResponse)
def delete_bake(platform: PlatformDep, region: Region, request: RoscoRequest) -> str:
    """Forget a bake: the next request for it bakes anew. Its image stays."""
    key = rosco_requests.forget(platform, region, request)
    return f"Deleted bake '{key}'."


@router.post("/api/v1/bakes/delete-requests", status_code=204)
def delete_bakes(request: DeleteRequest) -> None:
    """Take note that pipelines are gone: the books of bakes are kept for as long as images are."""


@router.get("/bakeOptions")
def list_options(platform: PlatformDep) -> list[BakeOptions]:
    """The bases that pipelines can name, for each cloud provider."""
    return rosco_requests.all_options(platform)


@router.get("/bakeOptions/{provider}")
def get_options(platform: PlatformDep, provider: str) -> BakeOptions:
    """The bases of one cloud provider."""
    return rosco_requests.options(platform, provider)


@router.get("/bakeOptions/{provider}/baseImages/{base_os}")
def get_base_image(platform: PlatformDep, provider: str, base_os: str) -> BaseImageOption:
    """One base of a cloud provider."""
    return rosco_requests.base_image(platform, provider, base_os)
