"""Puts the API together."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from pydantic.warnings import UnsupportedFieldAttributeWarning

from api import problems
from api.cached_bakes import CachedBakes
from api.deps import Platform
from api.middleware import RequestEdge
from api.routers import (
    bakery,
    baseos,
    baseos_details,
    baseos_lines,
    baseos_moves,
    batch,
    capacity_groups,
    capacity_requests,
    containers,
    discovery,
    disruptions,
    errands,
    events,
    fleet,
    hosts,
    images,
    metrics,
    operations,
    pools,
    queues,
    recipes,
    registry,
    registry_accounts,
    registry_changes,
    registry_gc,
    registry_pages,
    registry_regions,
    rosco,
    services,
    task_events,
    worker_versions,
)
from fleetwide import __version__
from fleetwide.models.documents import Problem
from fleetwide.settings import Settings

DESCRIPTION = """
Build the operating system, bake workloads onto it, host the images, run containers and batch.
Every start answers `202` with an operation; `?wait=<seconds>` waits for its end. Every error is
`application/problem+json` with a stable `code`, the wrong `fields`, and a `hint` to paste.
"""
ERRORS = (404, 409, 422, 503)
ROUTERS = (
    baseos,
    baseos_moves,
    baseos_details,
    baseos_lines,
    bakery,
    images,
    recipes,
    task_events,
    containers,
    hosts,
    fleet,
    errands,
    pools,
    services,
    capacity_groups,
    discovery,
    disruptions,
    metrics,
    queues,
    capacity_requests,
    batch,
    registry_accounts,
    registry_changes,
    registry_gc,
    registry_pages,
    registry_regions,
    registry,
    events,
    operations,
    worker_versions,
    rosco,
)

# FastAPI gives a body the name of its parameter as an alias, and silences pydantic's warning while
# it makes the body's field; our models are built later, at the first request.
warnings.filterwarnings(
    "ignore", "The 'alias' attribute", category=UnsupportedFieldAttributeWarning
)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application; it opens what it stands on when it starts up."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.platform = Platform.open(settings)
        try:
            yield
        finally:
            app.state.platform.close()

    app = FastAPI(
        title="Fleetwide",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        responses={status: _problem_response(status) for status in ERRORS},
    )
    problems.install(app)
    app.add_middleware(CachedBakes)
    app.add_middleware(RequestEdge)
    for module in ROUTERS:
        app.include_router(module.router)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app


def _problem_response(status: int) -> dict[str, object]:
    return {
        "model": Problem,
        "description": problems.plain_problem(status, "").title,
        "content": {problems.MEDIA_TYPE: {}},
    }
