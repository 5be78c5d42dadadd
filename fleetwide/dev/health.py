"""Ask one server whether it works; every question is short and made on this machine."""

import http.client
import socket
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT = 2.0


def healthy(check: str) -> bool:
    """Whether ``check`` holds: http://..., tcp:host:port, unix:/path or file:/path.

    An HTTP server is healthy when it answers with a status below 400.
    """
    kind, _, rest = check.partition(":")
    if kind == "http":
        return _http(check)
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        return _connects(socket.AF_INET, (host, int(port)))
    if kind == "unix":
        return _connects(socket.AF_UNIX, rest)
    return Path(rest).exists()


def _http(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT)
    path = parts.path or "/"
    try:
        connection.request("GET", f"{path}?{parts.query}" if parts.query else path)
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connects(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect(address)
        except OSError:
            return False
    return True
