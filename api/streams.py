"""Server-sent events: small pieces that both kinds of streams share."""

import codecs
from collections.abc import AsyncIterator

from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.problems import ascii_json
from fleetwide.errors import InvalidInput

POLL_SECONDS = 0.4
PING_SECONDS = 15


def event(kind: str, data: BaseModel, event_id: str | None = None) -> ServerSentEvent:
    """One event whose data is the model as one line of JSON."""
    return ServerSentEvent(data=ascii_json(data).decode(), event=kind, id=event_id)


def event_stream(events: AsyncIterator[ServerSentEvent]) -> EventSourceResponse:
    """The response; it ends with the iterator, with the client, or with the server."""
    return EventSourceResponse(events, ping=PING_SECONDS)


def sequence_of(last_event_id: str) -> int:
    """The number in a Last-Event-ID header.

    Raises:
        InvalidInput: it is none.
    """
    if not (last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) < 19):
        raise InvalidInput.for_field(
            "Last-Event-ID", "must be the id of an earlier event", given=last_event_id
        )
    return int(last_event_id)


def whole_text(data: bytes, *, final: bool) -> tuple[str, int]:
    """``data`` as text and the bytes that it took.

    A character whose last bytes have not arrived yet is left for later, unless ``final``.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data, final)
    return text, len(data) - len(decoder.getstate()[0])
