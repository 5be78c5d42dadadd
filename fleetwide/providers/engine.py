"""What an attempt needs of a host's container engine: Docker's, or a simulated one.

What is used of a host is named here, so that both stay in step: a method that the code of
attempts, watches and orphans begins to call is added here and to both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fleetwide.containers.outcome import ContainerState
from fleetwide.errors import DockerUnavailable
from fleetwide.models.hosts import HostFacts, PullProgress


class NotGranted(DockerUnavailable):
    """The host has not got what placement counted on: a port, a device. Another one may."""


@dataclass(frozen=True)
class ListedContainer:
    """One container of a listing; ``created_at`` in Unix seconds."""

    id: str
    name: str
    status: str
    created_at: int
    labels: dict[str, str]


class FollowedLog(Protocol):
    """The followed log of one container; one thread reads and closes it, any may interrupt it."""

    def __iter__(self) -> Iterator[bytes]: ...

    def interrupt(self) -> None:
        """Have the reader see an end or an error at once."""

    def close(self) -> None:
        """Give back what the log holds."""


class ContainerEngine(Protocol):
    """The containers of one host. Thread-safe.

    Every method raises ``DockerUnavailable`` when the engine does not answer.
    """

    @property
    def host_id(self) -> str: ...

    @property
    def platform(self) -> str:
        """Whose containers these are: several platforms may share an engine."""
        ...

    @property
    def seccomp_dir(self) -> Path | None: ...

    def facts(self) -> HostFacts: ...

    def written(self) -> dict[str, int]:
        """Bytes that the containers of each attempt wrote, by ``AttemptKey.container_name``.

        Only containers that run are looked at, and nothing outside their own root.
        """
        ...

    def stats(self, container: str) -> dict[str, Any] | None:
        """The Engine's figures of a container at once; None when it does not run."""
        ...

    def held_images(self) -> list[str]:
        """Marks (``image_mark``) of the images that it holds: bounded, the newest ones."""
        ...

    def image_name(self, image: str) -> str:
        """The name that the engine knows ``image`` (repository@digest) by."""
        ...

    def pull(self, image: str, go_on: Callable[[PullProgress], bool]) -> None:
        """Fetch ``image`` (an ``image_name``); given up when ``go_on`` answers False.

        Raises ``ImageNotFound`` or ``ImagePullFailed``.
        """

    def create(self, name: str, body: dict[str, Any]) -> ContainerState | None:
        """Make the container, or find the one of that name; None when the image is not here.

        Raises ``InvalidInput`` when the request can never succeed.
        """
        ...

    def start(self, container: str) -> None:
        """Start it; a running one stays as it is.

        Raises ``InvalidInput`` when it cannot be started on any host.
        """

    def follow(self, container: str) -> FollowedLog:
        """The container's log from its first byte on; empty when the container is gone."""
        ...

    def read(self, stream: FollowedLog) -> Iterator[bytes]:
        """The pieces of a followed log; ends with the container."""
        ...

    def recent_log(self, container: str, lines: int) -> bytes:
        """The last lines of the container's log; empty when it is gone."""
        ...

    def inspect(self, container: str) -> ContainerState | None:
        """How it is; None when there is none."""
        ...

    def stop(self, container: str) -> None:
        """SIGTERM, and SIGKILL after the grace it was made with; returns when it has ended."""

    def remove(self, container: str) -> None:
        """Kill the container if it runs and remove it; a missing one counts as removed."""

    def list_ours(self) -> list[ListedContainer]:
        """This platform's containers on this host, in any state."""
        ...
