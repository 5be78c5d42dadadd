"""Requests, answers, errors and event streams of the HTTP API."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from fleetwide import __version__
from fleetwide.errors import FleetwideError, ServiceUnavailable, UserError, error_class
from fleetwide.models.documents import Problem

Answer = TypeVar("Answer")
Value = str | int | float | bool | list[str]
Query = Mapping[str, Value | None]

CONNECT_SECONDS = 5.0
# The server pings a silent stream every 15 seconds.
READ_SECONDS = 60.0
STREAM_RETRIES = 5
STREAM_RETRY_SECONDS = 1.0


class Transport:
    """One pooled connection to the API."""

    def __init__(
        self,
        api_url: str,
        http: httpx2.Client | None = None,
        auth: httpx2.Auth | None = None,
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self._http = http or httpx2.Client(
            base_url=self.api_url,
            auth=auth,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": f"fleetwide/{__version__}"},
        )

    def close(self) -> None:
        self._http.close()

    def get(
        self,
        path: str,
        answer: type[Answer],
        query: Query | None = None,
        *,
        also: frozenset[int] = frozenset(),
    ) -> Answer:
        """GET; statuses in ``also`` are answers and no errors."""
        return self._read(self._send("GET", path, also=also, params=_given(query)), answer)

    def post(
        self,
        path: str,
        answer: type[Answer],
        *,
        body: BaseModel | None = None,
        query: Query | None = None,
        wait: float = 0,
        **request: Any,
    ) -> Answer:
        """POST; ``wait`` in seconds is sent along, and waited for."""
        if body is not None:
            request["json"] = _sent(body)
        params = dict(_given(query))
        if wait:
            params["wait"] = wait
            request["timeout"] = httpx2.Timeout(READ_SECONDS + wait, connect=CONNECT_SECONDS)
        return self._read(self._send("POST", path, params=params, **request), answer)

    def put(self, path: str, answer: type[Answer], body: BaseModel) -> Answer:
        return self._read(self._send("PUT", path, json=_sent(body)), answer)

    def delete(self, path: str, query: Query | None = None) -> None:
        self._send("DELETE", path, params=_given(query))

    def delete_or_wait(
        self, path: str, answer: type[Answer], query: Query | None = None
    ) -> Answer | None:
        """DELETE; what is to be waited for before asking again, or None when it is gone."""
        response = self._send("DELETE", path, params=_given(query))
        return self._read(response, answer) if response.status_code == 202 else None

    def text(self, path: str, query: Query | None = None) -> str:
        return self._send("GET", path, params=_given(query)).text

    def content(self, path: str) -> bytes:
        return self._send("GET", path).content

    def download(self, path: str, sink: IO[bytes]) -> int:
        """GET into ``sink``, piece by piece; the number of bytes."""
        size = 0
        with self._translated(), self._http.stream("GET", path) as response:
            if response.status_code != 200:
                response.read()
                raise error_of(response)
            for piece in response.iter_bytes():
                size += sink.write(piece)
        return size

    def events(
        self, path: str, query: Query | None = None, last_id: str = ""
    ) -> Iterator[httpx2.ServerSentEvent]:
        """Server-sent events; a broken connection is taken up again behind the last event."""
        failures = 0
        while True:
            try:
                for event in self._events(path, query, last_id):
                    last_id, failures = event.id or last_id, 0
                    yield event
            except ServiceUnavailable:
                failures += 1
                if failures > STREAM_RETRIES:
                    raise
                time.sleep(STREAM_RETRY_SECONDS)
            else:
                return

    def _events(
        self, path: str, query: Query | None, last_id: str
    ) -> Iterator[httpx2.ServerSentEvent]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        params = {**_given(query), "follow": True}
        with (
            self._translated(),
            self._http.stream("GET", path, params=params, headers=headers) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise error_of(response)
            yield from httpx2.EventSource(response)

    def _send(
        self, method: str, path: str, *, also: frozenset[int] = frozenset(), **request: Any
    ) -> httpx2.Response:
        with self._translated():
            response = self._http.request(method, path, **request)
        if response.status_code >= 400 and response.status_code not in also:
            raise error_of(response)
        return response

    def _read(self, response: httpx2.Response, answer: type[Answer]) -> Answer:
        try:
            return TypeAdapter(answer).validate_json(response.content)
        except ValidationError as error:
            raise ServiceUnavailable(
                f"{self.api_url} does not answer as Fleetwide's API does",
                hint="check FLEETWIDE_API_URL",
            ) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ServiceUnavailable(
                f"the API at {self.api_url} does not answer: {error}", hint="fleetwide dev up"
            ) from error


def segment(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")


def error_of(response: httpx2.Response) -> FleetwideError:
    """The error that a response tells; the class is the one that was raised on the other side."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return ServiceUnavailable(
            f"{response.request.url} answered {response.status_code}",
            hint="check FLEETWIDE_API_URL",
        )
    return error_from(problem)


def error_from(problem: Problem) -> FleetwideError:
    """The error that a problem document tells."""
    cls = error_class(problem.code)
    if cls is FleetwideError and problem.status < 500:
        cls = UserError
    message = problem.detail
    if problem.status == 500:
        message = f"{message} (request {problem.request_id})"
    return cls(message, hint=problem.hint, fields=tuple(problem.fields))


def _sent(body: BaseModel) -> Any:
    """What was given: what was not stays away, for the API knows the defaults."""
    return body.model_dump(mode="json", exclude_unset=True)


def _given(query: Query | None) -> dict[str, Value]:
    return {key: value for key, value in (query or {}).items() if value is not None}
