"""Every error of the API as RFC 9457 problem+json."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from fleetwide.errors import (
    ErrorCode,
    FleetwideError,
    InvalidInput,
    NotFound,
    ServiceUnavailable,
)
from fleetwide.models.documents import Problem
from fleetwide.validation import faults_from, from_faults

MEDIA_TYPE = "application/problem+json"
# Where in a request FastAPI found the value; the field's own path follows.
_SOURCES = frozenset({"body", "query", "path", "header", "cookie"})

# A browser asks for the account and its secret by this.
_HEADERS = {
    401: {"WWW-Authenticate": 'Basic realm="fleetwide-registry", charset="UTF-8"'},
    503: {"Retry-After": "5"},
}

log = structlog.get_logger()


def problem_of(error: FleetwideError) -> Problem:
    """The problem that tells ``error``; ``instance`` and the request's id are filled in later."""
    traits = error.traits
    return Problem(
        type=f"urn:fleetwide:problem:{error.code}",
        title=traits.title,
        status=traits.status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
        fields=list(error.fields),
    )


def plain_problem(status: int, detail: str) -> Problem:
    """A problem of HTTP itself, such as a method that is not allowed."""
    phrase = HTTPStatus(status).phrase
    code = phrase.title().replace(" ", "").replace("-", "")
    return Problem(type="about:blank", title=phrase, status=status, detail=detail, code=code)


def internal_problem() -> Problem:
    """What a caller may know of an error that nobody expected."""
    error = FleetwideError(
        "an unexpected error occurred; it is logged under this request's id",
        hint="try again; if it stays, ask the platform's people with the request id",
    )
    return problem_of(error).model_copy(update={"code": ErrorCode.INTERNAL})


def respond(
    scope: Mapping[str, Any], problem: Problem, headers: Mapping[str, str] | None = None
) -> Response:
    """The problem as a response to the request of ``scope``."""
    told = problem.model_copy(
        update={"instance": scope["path"][:500], "request_id": scope.get("request_id", "")}
    )
    # A field's name may be anything that came in; ASCII escapes survive even lone surrogates.
    body = ascii_json(told)
    extra = _HEADERS.get(problem.status, {})
    return Response(body, problem.status, {**extra, **(headers or {})}, MEDIA_TYPE)


def ascii_json(model: BaseModel) -> bytes:
    return model.__pydantic_serializer__.to_json(model, exclude_none=True, ensure_ascii=True)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error as a problem."""

    @app.exception_handler(FleetwideError)
    async def _on_purpose(request: Request, error: FleetwideError) -> Response:
        return respond(request.scope, problem_of(error))

    @app.exception_handler(RequestValidationError)
    async def _not_valid(request: Request, error: RequestValidationError) -> Response:
        return respond(request.scope, problem_of(invalid_request(request, error)))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return respond(request.scope, _http_problem(request, error), error.headers)

    @app.exception_handler(DBAPIError)
    async def _database(request: Request, error: DBAPIError) -> Response:
        log.error("the database failed", error=str(error.orig))
        return respond(
            request.scope,
            problem_of(
                ServiceUnavailable("the database does not answer", hint="fleetwide db status")
            ),
        )


def _http_problem(request: Request, error: HTTPException) -> Problem:
    path = request.url.path
    if error.status_code == 404:
        return problem_of(NotFound(f"there is no page {path}", hint="see /docs"))
    if error.status_code == 400:
        return problem_of(InvalidInput.for_field("input", "is not JSON"))
    if error.status_code == 405:
        return plain_problem(405, f"{path} does not know the method {request.method}")
    return plain_problem(error.status_code, str(error.detail))


def invalid_request(request: Request, error: RequestValidationError) -> InvalidInput:
    """What FastAPI found wrong with a request, field by field."""
    details = [{**detail, "loc": _own_location(detail)} for detail in error.errors()]
    return from_faults(faults_from(details, _body_model(request)))


def _own_location(detail: Mapping[str, Any]) -> tuple[str | int, ...]:
    location = tuple(detail["loc"])
    if detail["type"] == "json_invalid":
        return ()
    return location[1:] if location and location[0] in _SOURCES else location


def _body_model(request: Request) -> type[BaseModel] | None:
    """The model that the route reads its body as."""
    field = getattr(request.scope.get("route"), "body_field", None)
    annotation = field.field_info.annotation if field is not None else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None
