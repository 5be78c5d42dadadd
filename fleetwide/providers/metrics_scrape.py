"""One look at a copy's own metrics endpoint: by HTTP, at the container's own address.

Redirects are not followed; what is late, too much or cut off is no answer. Messages have nothing
in them that the server sent, but its status.
"""

from http.client import HTTPException, HTTPResponse
from socket import socket
from typing import cast

from fleetwide.models.metrics_endpoint import MetricsEndpoint
from fleetwide.providers.bounded_connections import BoundedConnection
from fleetwide.services.exposition import Unreadable

MAX_ANSWER = 2 * 1024**2
SCRAPE_TIMEOUT_SECONDS = 5.0


def scrape(address: str, endpoint: MetricsEndpoint, seconds: float) -> bytes:
    """The body of the answer; raises ``Unreadable``."""
    what = f"GET :{endpoint.port}{endpoint.path}"
    request = (
        f"GET {endpoint.path} HTTP/1.1\r\nHost: {address}:{endpoint.port}\r\n"
        "User-Agent: fleetwide-metrics\r\nAccept: text/plain;version=0.0.4\r\n"
        "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    try:
        with BoundedConnection(address, endpoint.port, seconds, MAX_ANSWER) as connection:
            connection.send(request.encode())
            return _body(connection)
    except OSError as error:
        raise Unreadable(f"{what}: {error.strerror or error}") from error
    except HTTPException as error:
        raise Unreadable(f"{what}: what came back is no whole HTTP answer") from error
    except Unreadable as error:
        raise Unreadable(f"{what}: {error}") from error


def _body(connection: BoundedConnection) -> bytes:
    # The parser uses nothing of a socket but makefile().
    answer = HTTPResponse(cast("socket", connection), method="GET")
    with answer:
        answer.begin()
        if answer.status != 200:
            raise Unreadable(f"status {answer.status}")
        if answer.getheader("Content-Encoding", "identity") != "identity":
            raise Unreadable("the answer is compressed")
        return answer.read()
