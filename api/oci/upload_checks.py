"""What nginx asks before it lets a request through to an upload at Distribution.

nginx passes on neither status nor body of a refusal, so both travel in headers; the words are
those of ``fleetwide.registry.nginx``.
"""

from starlette.types import Scope

from api.oci import uploads
from api.oci.auth import Authority
from api.oci.errors import OciError, fault_reply, upload_unknown
from api.oci.gateway import Gateway
from api.oci.replies import Header, Reply, header
from api.oci.requests import Request
from api.oci.routes import route_of
from fleetwide.errors import FleetwideError
from fleetwide.registry import nginx

METHODS = frozenset({"GET", "HEAD", "PATCH", "PUT", "DELETE"})
"""All that goes on with an upload. Distribution takes a POST there for a new one, and mounts by it
whatever blob of whatever repository the query names."""
PASSED_ON = frozenset({b"www-authenticate", b"retry-after", b"range", b"location"})
_METHOD, _URI, _LENGTH = (
    name.lower().encode()
    for name in (nginx.ORIGINAL_METHOD, nginx.ORIGINAL_URI, nginx.ORIGINAL_LENGTH)
)


async def answer(gateway: Gateway, authority: Authority, request: Request) -> Reply:
    """204 for yes; 403 with what the client shall get for no."""
    try:
        original = _original(request)
        authority.admit(original)
        length = request.header(_LENGTH)
        await uploads.check(gateway, original, int(length) if length.isdecimal() else None)
    except FleetwideError as fault:
        return _refusal(fault_reply(fault).reply())
    except OciError as error:
        return _refusal(error.reply())
    return Reply(204)


def _original(request: Request) -> Request:
    """The request that nginx has before it."""
    path, _, query = request.headers.get(_URI, b"").partition(b"?")
    route = route_of(path)
    if route.kind != "uploads" or not route.reference:
        raise upload_unknown()
    method = request.header(_METHOD)
    if method not in METHODS:
        raise OciError(405, "UNSUPPORTED", f"an upload takes no {method[:20]}")
    scope: Scope = {
        **request.scope,
        "method": method,
        "raw_path": path,
        "query_string": query,
    }
    return Request(scope, request.receive, route)


def _refusal(reply: Reply) -> Reply:
    kept: list[Header] = [one for one in reply.headers if one[0] in PASSED_ON]
    body = reply.body.decode("ascii", "replace")
    told = [
        header(nginx.REFUSAL_STATUS, str(reply.status)),
        header(nginx.REFUSAL_BODY, body),
    ]
    return Reply(403, [*told, *kept])
