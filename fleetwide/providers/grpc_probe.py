"""The standard health check of gRPC, ``grpc.health.v1.Health/Check``, without TLS.

One call needs little of gRPC: a message before and a status after the answer. HTTP/2 is a
library's; the two messages have one field each and are written and read here.
"""

from dataclasses import dataclass, field
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from fleetwide.models.health import GrpcProbe
from fleetwide.providers.bounded_connections import BoundedConnection

MAX_ANSWER = 65_536
_METHOD = "/grpc.health.v1.Health/Check"
_SERVING = 1
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_OK, _NOT_FOUND, _UNIMPLEMENTED = "0", "5", "12"
_CODES = {
    "1": "CANCELLED",
    "2": "UNKNOWN",
    "3": "INVALID_ARGUMENT",
    "4": "DEADLINE_EXCEEDED",
    "7": "PERMISSION_DENIED",
    "8": "RESOURCE_EXHAUSTED",
    "13": "INTERNAL",
    "14": "UNAVAILABLE",
    "16": "UNAUTHENTICATED",
}
_TLS_ALERT = b"\x15\x03"
_SETTINGS = b"\x04"
"""The type of the frame that a server begins with."""
_NO_GRPC = "what came back is no gRPC"


def grpc_complaint(address: str, probe: GrpcProbe, seconds: float) -> str | None:
    """None when the server says in time that the service is SERVING."""
    what = f"gRPC :{probe.port}" + (f" {probe.service}" if probe.service else "")
    try:
        with BoundedConnection(address, probe.port, seconds, MAX_ANSWER) as connection:
            call = HealthCall(f"{address}:{probe.port}", probe.service, seconds)
            while not call.over:
                connection.send(call.outgoing())
                call.take(connection.receive())
    except OSError as error:
        return f"{what}: {error.strerror or error}"
    said = call.complaint()
    return None if said is None else f"{what}: {said}"


@dataclass
class _Answer:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """With those that come last."""
    body: bytes = b""


class HealthCall:
    """One call, fed with what the server sends; raises nothing, whatever that is."""

    def __init__(self, authority: str, service: str, seconds: float) -> None:
        self.over = False
        self._service = service
        self._received = b""
        self._trouble: str | None = None
        self._answer = _Answer()
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._http.initiate_connection()
        stream = self._http.get_next_available_stream_id()
        self._http.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", _METHOD),
                (":authority", authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "fleetwide-health"),
                ("grpc-timeout", f"{seconds * 1000:.0f}m"),
            ],
        )
        self._http.send_data(stream, _framed(_request(service)), end_stream=True)

    def outgoing(self) -> bytes:
        """What is to be sent before more is taken."""
        return self._http.data_to_send()

    def take(self, piece: bytes) -> None:
        """The next that the server sent; empty when it sends no more."""
        if not piece:
            self._end(self._cut_off())
            return
        self._received = (self._received + piece)[:16]
        if self._received[3:4] not in (b"", _SETTINGS):  # else whole "frames" would be waited for
            self._end(_no_http2(self._received))
            return
        try:
            events = self._http.receive_data(piece)
        except H2Error:
            self._end(_no_http2(self._received))
            return
        for event in events:  # none is acknowledged: more than a window is too much anyway
            self._note(event)

    def complaint(self) -> str | None:
        """Once it is over: None when all is well."""
        return self._trouble or _complaint(self._answer, self._service)

    def _note(self, event: Event) -> None:
        match event:
            case ResponseReceived() | TrailersReceived():
                self._answer.headers.update((bytes(n), bytes(v)) for n, v in event.headers)
            case DataReceived():
                self._answer.body += event.data
            case StreamEnded():
                self.over = True
            case StreamReset() | ConnectionTerminated():
                if not self.over:
                    self._end(f"the call was broken off (HTTP/2 error {event.error_code})")
            case _:
                pass

    def _end(self, trouble: str) -> None:
        self.over, self._trouble = True, trouble

    def _cut_off(self) -> str:
        if self._received:
            return _no_http2(self._received, "the connection was closed within the answer")
        return "the connection was closed without an answer"


def _no_http2(received: bytes, otherwise: str = _NO_GRPC) -> str:
    if received.startswith(_TLS_ALERT):
        return "the server wants TLS; the check speaks without"
    if received.startswith(b"HTTP/1"):
        return f"{_NO_GRPC}: the server speaks HTTP/1"
    return otherwise


def _complaint(answer: _Answer, service: str) -> str | None:
    status, kind = _text(answer, b":status"), _text(answer, b"content-type")
    if status != "200":
        return f"status {status[:9]}"
    if not kind.startswith("application/grpc"):
        return f"{_NO_GRPC}: its content type is {kind[:100] or 'not told'}"
    code = _text(answer, b"grpc-status")
    if code == _OK:
        return _serving(answer.body)
    if code == _NOT_FOUND:
        return f"the server does not know the service {service}" if service else "NOT_FOUND"
    if code == _UNIMPLEMENTED:
        return "the server does not offer grpc.health.v1.Health"
    told = unquote(_text(answer, b"grpc-message"), errors="replace")
    name = _CODES.get(code, f"grpc-status {code[:9] or 'missing'}")
    return f"{name}: {told}" if told else name


def _text(answer: _Answer, name: bytes) -> str:
    return answer.headers.get(name, b"").decode(errors="replace")


def _serving(body: bytes) -> str | None:
    status = _status(body)
    if status is None:
        return f"{_NO_GRPC}: the answer is no HealthCheckResponse"
    return None if status == _SERVING else _STATUSES.get(status, f"status {status}")


def _request(service: str) -> bytes:
    """``HealthCheckRequest``: field 1 is the service; empty ones are left out."""
    name = service.encode()
    return b"\x0a" + bytes([len(name)]) + name if name else b""


def _framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _status(body: bytes) -> int | None:
    """Field 1 of the ``HealthCheckResponse``; None where it is none, or compressed."""
    message = body[5:]
    if body[:1] != b"\0" or int.from_bytes(body[1:5], "big") != len(message):
        return None
    if not message:
        return 0
    fits = len(message) == 2 and message[0] == 0x08 and message[1] < 0x80
    return message[1] if fits else None
