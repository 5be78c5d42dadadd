"""The two things that the platform asks of a Docker daemon, without the cost of its SDK."""

import http.client
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from fleetwide.containers.launch import PLATFORM_LABEL
from fleetwide.dev.unix import UnixConnection
from fleetwide.errors import DockerUnavailable

DEFAULT_URL = "unix:///var/run/docker.sock"
_PING_SECONDS = 2.0
_STOP_SECONDS = 5
_ANSWER_SECONDS = 30.0
_UNREACHABLE = (OSError, http.client.HTTPException)


def url_from(shell: Mapping[str, str]) -> str:
    """The daemon that the shell points at, as the docker CLI would find it."""
    return shell.get("FLEETWIDE_DOCKER_URL") or shell.get("DOCKER_HOST") or DEFAULT_URL


def answers(url: str) -> bool:
    """Whether a Docker daemon answers at ``url`` (unix:// or tcp://)."""
    try:
        status, _ = _request(url, "GET", "/_ping", _PING_SECONDS)
    except (*_UNREACHABLE, DockerUnavailable):
        return False
    return status == 200


def stop_containers(url: str, state: Path) -> int:
    """Stop the running containers of the platform in ``state``; return how many there were.

    Raises:
        DockerUnavailable: the daemon refused, or went away meanwhile.
    """
    if not answers(url):
        return 0
    filters = quote(json.dumps({"label": [f"{PLATFORM_LABEL}={state}"]}))
    try:
        _, body = _request(url, "GET", f"/containers/json?filters={filters}", _ANSWER_SECONDS)
        ids = [str(container["Id"]) for container in json.loads(body)]
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(partial(_stop, url), ids))
    except _UNREACHABLE as error:
        raise DockerUnavailable(f"{url}: {error}") from None
    return len(ids)


def _stop(url: str, container: str) -> None:
    status, body = _request(
        url, "POST", f"/containers/{container}/stop?t={_STOP_SECONDS}", _ANSWER_SECONDS
    )
    # 304: it has stopped by itself; 404: it was removed meanwhile.
    if status >= 400 and status != 404:
        raise DockerUnavailable(f"container {container[:12]} does not stop: {body[:200]!r}")


def _request(url: str, method: str, path: str, timeout: float) -> tuple[int, bytes]:
    connection = _connection(url, timeout)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _connection(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return UnixConnection(Path(parts.path), timeout)
    if parts.scheme in {"tcp", "http"} and parts.hostname:
        return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=timeout)
    raise DockerUnavailable(f"{url}: only unix:// and tcp:// addresses of Docker are known")
