"""Containers on one host, through the Docker Engine's API.

A container that runs and ends costs five requests (create, start, logs, inspect, remove), one more
than the barest loop: the end of the followed log tells that the container ended, so nothing waits
besides. The SDK's higher calls are passed by where they add an inspect of their own.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import requests
from docker import APIClient
from docker.errors import APIError, DockerException
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnectionPool
from docker.types import CancellableStream
from docker.utils import parse_host
from urllib3.exceptions import HTTPError, ReadTimeoutError

from fleetwide.containers.launch import HOST_LABEL, NETWORK_LABEL, PLATFORM_LABEL, docker_image
from fleetwide.containers.outcome import ContainerState, is_not_granted, start_is_hopeless
from fleetwide.errors import (
    Conflict,
    DockerUnavailable,
    FleetwideError,
    ImagePullFailed,
    InvalidInput,
    NotFound,
)
from fleetwide.models.containers import MAX_STOP_GRACE_SECONDS
from fleetwide.models.hosts import HostFacts, PullProgress
from fleetwide.providers.docker_ends import UNKNOWN_CODE, remembered_end
from fleetwide.providers.docker_images import (
    consume_pull,
    lacks_space,
    pull_failure,
    raising_stalls,
)
from fleetwide.providers.docker_resources import held_images, with_size, written_bytes
from fleetwide.providers.engine import FollowedLog, ListedContainer, NotGranted
from fleetwide.providers.engine_times import began, up_since
from fleetwide.providers.machine import Machine, has_quotas
from fleetwide.providers.network_limits import limit, why_not
from fleetwide.providers.registry_auth import Credentials
from fleetwide.settings import Settings

# A follower that heard nothing for so long asks whether its container still runs.
QUIET_LOG_SECONDS = 600
_REQUEST_SECONDS = 120
PULL_STALL_SECONDS = 300
"""The Engine tells of every 512 kB of a layer, and fetches three at a time: of a slow registry
(10 kB/s) it may be silent for two and a half minutes.
"""
_POOL_CONNECTIONS = 256
_ANY_URL = "http+docker://localhost"
_FRAME_HEADER = struct.Struct(">BxxxL")


class LogStream:
    """The followed log of one container; one thread reads and closes it, any may interrupt it."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self._cancel = CancellableStream(iter(()), response)

    def __iter__(self) -> Iterator[bytes]:
        if not self._response.ok:
            return
        raw = self._response.raw
        while header := raw.read(_FRAME_HEADER.size):
            yield raw.read(_FRAME_HEADER.unpack(header)[1])

    def interrupt(self) -> None:
        """Have the reader see an end or an error at once."""
        with suppress(OSError, AttributeError):
            self._cancel.close()

    def close(self) -> None:
        """Give the connection back, or drop it when the log was not read to its end."""
        self._response.close()


class ImageRoom(Protocol):
    """Keeps the disk from filling up with images."""

    def note_use(self, image: str) -> None:
        """A container is made of ``image``, or it was fetched."""

    def make_room(self) -> bool:
        """A pull found none; whether there is more now."""
        ...


class _SharedConnections(UnixHTTPAdapter):
    """The SDK's adapter keeps a pool per URL, so each container opens connections of its own.

    They all lead to the same socket: one pool for all saves a fifth of the client's CPU.
    """

    def get_connection(self, url: bytes | str, proxies: Any = None) -> UnixHTTPConnectionPool:  # noqa: ARG002  # the base's signature
        return super().get_connection(_ANY_URL, proxies)


class ContainerHost:
    """The Docker daemon of one host. Thread-safe; connects when first used.

    Every method raises ``DockerUnavailable`` when the daemon does not answer.
    """

    def __init__(
        self,
        docker_url: str,
        registry_url: str,
        *,
        host_id: str,
        platform: str,
        credentials: Credentials | None = None,
        seccomp_dir: Path | None = None,
    ) -> None:
        self.host_id = host_id
        self.platform = platform
        self.seccomp_dir = seccomp_dir
        self._docker_url = docker_url
        self._registry_url = registry_url
        self._credentials = credentials
        self.machine: Machine | None = None
        """Without it, facts are no more than Docker knows."""
        self._rates: dict[str, int] = {}
        """Mbit/s of containers that were made and not started yet."""
        self._quotas: bool | None = None
        self._away_at: datetime | None = None
        """When the daemon did not answer last."""
        self._client: APIClient | None = None
        self._connecting = Lock()
        self.images: ImageRoom | None = None
        """Whoever keeps the disk from filling up with images, if anybody does."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "ContainerHost":
        host = cls(
            settings.docker_url,
            settings.registry_url,
            host_id=settings.host_id,
            platform=str(settings.state_dir.absolute()),
            credentials=Credentials.of(settings),
            seccomp_dir=settings.seccomp_dir,
        )
        host.machine = Machine(settings)
        return host

    def image_name(self, image: str) -> str:
        """The name that Docker knows ``image`` (repository@digest) by."""
        return docker_image(self._registry_url, image)

    def facts(self) -> HostFacts:
        with self._asking("describe this host"):
            info = self._api().info()
        facts = HostFacts(
            host_id=self.host_id,
            docker_version=info["ServerVersion"],
            os=info["OperatingSystem"],
            kernel=info["KernelVersion"],
            architecture=info["Architecture"],
            cpus=info["NCPU"],
            memory=info["MemTotal"],
            cgroup_version=info.get("CgroupVersion", ""),
        )
        if self.machine is None:
            return facts
        return self.machine.complete(facts, info, sum(self.written().values()))

    def written(self) -> dict[str, int]:
        """Bytes that the containers of each attempt wrote, by ``AttemptKey.container_name``."""
        with self._asking("measure what containers wrote"):
            return written_bytes(self._api(), self._ours())

    def stats(self, container: str) -> dict[str, Any] | None:
        """The Engine's figures of a container at once; None when it does not run."""
        try:
            with self.engine(f"measure {container}") as api:
                found: dict[str, Any] = api.stats(container, stream=False, one_shot=True)
        except (NotFound, Conflict):
            return None
        return None if found["read"].startswith("0001-") else found

    def held_images(self) -> list[str]:
        """Marks (``image_mark``) of this platform's images that lie here, of the newest ones."""
        with self._asking("list images"):
            found = self._api().images()
        return held_images(found, self.image_name("").rstrip("/"))

    def _hold_rate(self, container: str) -> None:
        """Hold what it sends and receives to its rate, where this host can; see its facts."""
        rate = self._rates.pop(container, None)
        if rate is None or why_not() is not None:
            return
        with self._answering(f"inspect {container}"):
            limit(self._api().inspect_container(container)["State"]["Pid"], rate)

    def _ours(self) -> list[str]:
        return [f"{PLATFORM_LABEL}={self.platform}", f"{HOST_LABEL}={self.host_id}"]

    def _fitted(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request as this host's storage can have it."""
        if self._quotas is None:
            self._quotas = has_quotas(self._api().info())
        return with_size(body) if self._quotas else body

    def pull(self, image: str, go_on: Callable[[PullProgress], bool]) -> None:
        """Fetch ``image`` (an ``image_name``); given up when ``go_on`` answers False.

        Pulls of one image side by side fetch its layers once: the Engine sees to it.

        Where the disk is full, room is made once, and it is tried again.

        Raises ``ImageNotFound`` or ``ImagePullFailed``, also when it came no step forward for long.
        """
        try:
            self._pull(image, go_on)
        except ImagePullFailed as error:
            if self.images is None or not lacks_space(error) or not self.images.make_room():
                raise
            self._pull(image, go_on)
        self._note_use(image)

    def _pull(self, image: str, go_on: Callable[[PullProgress], bool]) -> None:
        api = self._api()
        name, _, digest = image.rpartition("@")
        # Of a registry that never answers the Engine says nothing at all, not even that it asks.
        with self._asking(f"pull {image}"), raising_stalls(image, PULL_STALL_SECONDS):
            response = api.post(
                f"{api.base_url}/v{api.api_version}/images/create",
                params={"fromImage": name, "tag": digest},
                headers=self._login(name),
                stream=True,
                timeout=(_REQUEST_SECONDS, PULL_STALL_SECONDS),
            )
            with response:
                if not response.ok:
                    raise pull_failure(image, response.json().get("message", ""))
                consume_pull(image, response.iter_lines(), go_on)

    def has_image(self, image: str) -> bool:
        """Whether the daemon knows an image by this name (an ``image_name``)."""
        try:
            with self._reaching(f"look for {image}"):
                self._api().inspect_image(image)  # type: ignore[no-untyped-call]
        except APIError as error:
            if error.status_code == HTTPStatus.NOT_FOUND:
                return False
            raise self._refusal(f"look for {image}", error) from error
        return True

    def forget_name(self, image: str) -> None:
        """Take a name from an image; one that has no other name, and no container, goes."""
        try:
            with self._reaching(f"forget {image}"):
                self._api().remove_image(image)
        except APIError as error:
            if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise self._refusal(f"forget {image}", error) from error

    def _note_use(self, image: str) -> None:
        if self.images is not None:
            self.images.note_use(image)

    def _login(self, name: str) -> dict[str, str]:
        """The header by which the daemon logs in at the registry of an image's name."""
        if self._credentials is None:
            return {}
        return {"X-Registry-Auth": self._credentials.for_docker(name.partition("/")[0])}

    def create(self, name: str, body: dict[str, Any]) -> ContainerState | None:
        """Make the container, or find the one of that name; None when the image is not here.

        Raises ``InvalidInput`` when the request can never succeed.
        """
        try:
            with self._reaching(f"create {name}"):
                created: dict[str, Any] = self._api().create_container_from_config(
                    self._fitted(body), name
                )  # type: ignore[no-untyped-call]
                self._note_use(body["Image"])
                self._note_rate(created["Id"], body["Labels"])
                return ContainerState(created["Id"], "created", 0, oom_killed=False)
        except APIError as error:
            if error.status_code == HTTPStatus.CONFLICT:
                return self._found(name)
            if error.status_code == HTTPStatus.NOT_FOUND:
                return None
            raise self._refusal(f"create {name}", error) from error

    def _found(self, name: str) -> ContainerState | None:
        """A container that an earlier try made, and maybe started without more."""
        found = self.inspect(name)
        if found is not None:
            self._note_rate(found.id, found.labels or {})
            if found.status == "running":
                self._hold_rate(found.id)
        return found

    def _note_rate(self, container: str, labels: dict[str, str]) -> None:
        if NETWORK_LABEL in labels:
            self._rates[container] = int(labels[NETWORK_LABEL])

    def start(self, container: str) -> None:
        """Start it; a running one stays as it is.

        Raises ``InvalidInput`` when it cannot be started on any host.
        """
        try:
            with self._reaching(f"start {container}"):
                self._api().start(container)
            self._hold_rate(container)
        except APIError as error:
            raise self._refusal(f"start {container}", error) from error

    def follow(self, container: str) -> LogStream:
        """The container's log from its first byte on, both streams; it ends with the container.

        Empty when the container is gone.
        """
        api = self._api()
        what = f"read the log of {container}"
        with self._asking(what):
            response = api.get(
                f"{api.base_url}/v{api.api_version}/containers/{container}/logs",
                params={"stdout": 1, "stderr": 1, "follow": 1},
                stream=True,
                timeout=(_REQUEST_SECONDS, QUIET_LOG_SECONDS),
            )
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            with response:
                raise self._unavailable(what, response.text)
        return LogStream(response)

    def read(self, stream: FollowedLog) -> Iterator[bytes]:
        """The pieces of a followed log; ends early, too, when it was quiet for very long."""
        with self._asking("follow a log"), suppress(ReadTimeoutError):
            yield from stream

    def recent_log(self, container: str, lines: int) -> bytes:
        """The last lines of the container's log; empty when it is gone."""
        pieces = [b""]
        with self._answering(f"read the log of {container}"):
            pieces.append(self._api().logs(container, tail=lines))
        return pieces[-1]

    def inspect(self, container: str) -> ContainerState | None:
        """What Docker says of the container; None when there is none."""
        found: dict[str, Any] | None = None
        with self._answering(f"inspect {container}"):
            found = self._api().inspect_container(container)
        return None if found is None else self._first_told(self._state(found))

    def _first_told(self, state: ContainerState) -> ContainerState:
        """The state with the end that Docker heard of first, where a second one may hide it."""
        if not state.over or state.exit_code != UNKNOWN_CODE:
            return state
        end = None
        with self._answering(f"look for the end of {state.id}"):
            end = remembered_end(self._api(), state.id)
        if end is None or end.exit_code == UNKNOWN_CODE:
            return state
        return replace(state, exit_code=end.exit_code, finished_at=end.at)

    def _state(self, found: dict[str, Any]) -> ContainerState:
        state = found["State"]
        started, finished = _time(state["StartedAt"]), _time(state["FinishedAt"])
        ended = state["Status"] == "exited" and state["ExitCode"] != 0
        if state["Status"] == "exited" and started and finished:
            # Docker notes the start once it hears of it: a program may have ended by then.
            started = min(started, finished)
        return ContainerState(
            id=found["Id"],
            status=state["Status"],
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            error=state["Error"],
            started_at=started,
            finished_at=finished,
            labels=found["Config"]["Labels"] or {},
            engine_since=up_since(self._docker_url, self._away_at) if ended else None,
            began=began(state["Pid"], found["Id"]),
        )

    def stop(self, container: str) -> None:
        """SIGTERM, and SIGKILL after the grace it was made with; at once when it does not run."""
        api = self._api()
        url = f"{api.base_url}/v{api.api_version}/containers/{container}/stop"
        what = f"stop {container}"
        with self._answering(what):
            # The SDK's own call gives up before a long grace is over.
            response = api.post(url, timeout=_REQUEST_SECONDS + MAX_STOP_GRACE_SECONDS)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._unavailable(what, response.text)

    def remove(self, container: str) -> None:
        """Kill the container if it runs and remove it; a missing one counts as removed."""
        with self._answering(f"remove {container}"):
            self._api().remove_container(container, force=True, v=True)

    def list_ours(self) -> list[ListedContainer]:
        """This platform's containers on this host, in any state."""
        with self._asking("list containers"):
            found = self._api().containers(all=True, filters={"label": self._ours()})
        return [
            ListedContainer(
                id=item["Id"],
                name=item["Names"][0].removeprefix("/") if item["Names"] else item["Id"],
                status=item["State"],
                created_at=item["Created"],
                labels=item["Labels"] or {},
            )
            for item in found
        ]

    @contextmanager
    def engine(self, what: str) -> Iterator[APIClient]:
        """The Engine's API, for what needs more of it than attempts do.

        Raises ``NotFound`` and ``Conflict`` for a container that is not there or does not run,
        ``InvalidInput`` for what else the Engine refuses.
        """
        try:
            with self._reaching(what):
                yield self._api()
        except APIError as error:
            if error.status_code == HTTPStatus.NOT_FOUND:
                raise NotFound(f"Docker could not {what}: {_said(error)[:300]}") from error
            if error.status_code == HTTPStatus.CONFLICT:
                raise Conflict(f"Docker could not {what}: {_said(error)[:300]}") from error
            raise self._refusal(what, error) from error

    def close(self) -> None:
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _api(self) -> APIClient:
        with self._connecting:
            if self._client is None:
                with self._asking("connect"):
                    self._client = self._connect()
            return self._client

    def _connect(self) -> APIClient:
        api = APIClient(
            base_url=self._docker_url,
            version="auto",
            timeout=_REQUEST_SECONDS,
            max_pool_size=_POOL_CONNECTIONS,
        )
        # Else each request reads netrc and the proxy variables: a millisecond of CPU.
        api.trust_env = False
        address = str(parse_host(self._docker_url))
        if address.startswith("http+unix://"):
            shared = _SharedConnections(address, _REQUEST_SECONDS, max_pool_size=_POOL_CONNECTIONS)
            api.mount("http+docker://", shared)
        return api

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        """Translate a daemon that is away; what it answers passes through."""
        try:
            yield
        except APIError:
            raise
        except (requests.RequestException, DockerException, HTTPError) as error:
            self._away_at = datetime.now(UTC)
            raise self._unavailable(what, type(error).__name__) from error

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Translate a daemon that is away, and any refusal."""
        try:
            with self._reaching(what):
                yield
        except APIError as error:
            raise self._unavailable(what, _said(error)) from error

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """As ``_asking``, for requests where a missing or stopped container is fine."""
        try:
            with self._reaching(what):
                yield
        except APIError as error:
            if error.status_code not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise self._unavailable(what, _said(error)) from error

    def _refusal(self, what: str, error: APIError) -> FleetwideError:
        said = _said(error)
        if is_not_granted(said):
            return NotGranted(f"Docker could not {what}: {said[:300]}")
        if error.is_client_error() or start_is_hopeless(said):
            return InvalidInput.for_field("container", said)
        return self._unavailable(what, said)

    def _unavailable(self, what: str, why: str) -> DockerUnavailable:
        return DockerUnavailable(
            f"Docker at {self._docker_url} could not {what}: {why[:300]}", hint="docker info"
        )


def _said(error: APIError) -> str:
    return str(error.explanation or error)


def _time(text: str) -> datetime | None:
    """Docker's time stamps; the year 1 stands for never."""
    return None if text.startswith("0001-") else datetime.fromisoformat(text)
