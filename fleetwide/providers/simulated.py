"""The container engine of a simulated host: no Docker, no processes, only scenarios."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any

from fleetwide.containers.launch import docker_image
from fleetwide.containers.outcome import ContainerState
from fleetwide.containers.scenarios import SIMULATE, Course, Scenario, parse_scenario
from fleetwide.errors import ImageNotFound, InvalidInput
from fleetwide.models.hosts import HostFacts, HostSpec, PullProgress, image_mark
from fleetwide.providers.architectures import this_architecture
from fleetwide.providers.docker_resources import MOST_IMAGES
from fleetwide.providers.engine import FollowedLog, ListedContainer
from fleetwide.providers.simulated_state import SimulatedContainer, SimulatedState

ENGINE = "simulated"
PULL_STEP_SECONDS = 0.5
PULLED_BYTES_A_SECOND = 50_000_000
LONGEST_WAIT_SECONDS = 3600.0


class SimulatedEngine:
    """A ``ContainerEngine`` whose containers follow the scenario in their environment.

    ``default`` is the scenario of those that have none; it also says what theirs leaves out.
    """

    def __init__(
        self, spec: HostSpec, platform: str, registry_url: str, state: SimulatedState, default: str
    ) -> None:
        self.host_id = spec.host_id
        self.platform = platform
        self.seccomp_dir: Path | None = None
        self._spec = spec
        self._registry_url = registry_url
        self._state = state
        self._default = default
        self._lock = Lock()
        self._containers = state.containers(spec.host_id)
        self._images = state.images(spec.host_id)
        self._pulls: dict[str, _Pull] = {}

    def facts(self) -> HostFacts:
        return HostFacts(
            host_id=self.host_id,
            docker_version=ENGINE,
            os=ENGINE,
            kernel="",
            architecture=str(this_architecture()),
            cpus=ceil(self._spec.cpu),
            memory=int(self._spec.memory),
        )

    def written(self) -> dict[str, int]:
        return {}

    def stats(self, container: str) -> dict[str, Any] | None:  # noqa: ARG002
        return None

    def held_images(self) -> list[str]:
        with self._lock:
            return sorted(image_mark(image) for image in self._images)[:MOST_IMAGES]

    def image_name(self, image: str) -> str:
        return docker_image(self._registry_url, image)

    def pull(self, image: str, go_on: Callable[[PullProgress], bool]) -> None:
        """Let the time of the pull go by; pulls of one image side by side are one."""
        with self._lock:
            pull = self._pulls.setdefault(image, _Pull(Scenario(), image))
        while not pull.scenario.image_is_missing and go_on(pull.progress()) and pull.rest() > 0:
            time.sleep(min(PULL_STEP_SECONDS, pull.rest()))
        has_come = not pull.scenario.image_is_missing and pull.rest() == 0
        with self._lock:
            # Whoever asks next begins anew, by a scenario of its own.
            self._pulls.pop(image, None)
            if has_come:
                self._images.add(image)
        if pull.scenario.image_is_missing:
            raise ImageNotFound(f"the registry has no image {image}")
        if has_come:
            self._state.add_image(self.host_id, image)

    def create(self, name: str, body: dict[str, Any]) -> ContainerState | None:
        """Make the container, or find the one of that name; None when the image is not here.

        Raises ``InvalidInput`` for a scenario that cannot be read.
        """
        script, image = self._script(body), body["Image"]
        scenario = _parsed(script)
        with self._lock:
            known = self._containers.get(name)
            if known is not None:
                return _state(known)
            if image not in self._images:
                self._pulls.setdefault(image, _Pull(scenario, name))
                return None
            made = _made(name, script, scenario, body)
            self._containers[name] = made
        self._state.save(self.host_id, made)
        return _state(made)

    def start(self, container: str) -> None:
        """Start it; a running one stays as it is. Raises ``InvalidInput`` for ``no-start``."""
        found = self._find(container)
        if found is None:
            return
        if found.course.scenario.start_is_refused:
            raise InvalidInput.for_field("container", "the scenario refuses to start it (no-start)")
        time.sleep(found.course.scenario.start.of(found.course.name))
        with self._lock:
            if found.course.started_at is not None or found.removed:
                return
            found.course = replace(found.course, started_at=time.time())
            self._state.save_start(self.host_id, found)

    def follow(self, container: str) -> FollowedLog:
        """The container's log from its first line on, each when it is written."""
        return SimulatedLog(self._find(container))

    def read(self, stream: FollowedLog) -> Iterator[bytes]:
        yield from stream

    def recent_log(self, container: str, lines: int) -> bytes:
        found = self._find(container)
        written = b"" if found is None else found.course.log(time.time())
        return b"".join(written.splitlines(keepends=True)[-lines:])

    def inspect(self, container: str) -> ContainerState | None:
        found = self._find(container)
        return None if found is None else _state(found)

    def stop(self, container: str) -> None:
        """SIGTERM, and SIGKILL after its grace; returns when the scenario has let it end."""
        found = self._find(container)
        if found is None or found.course.status(time.time()) != "running":
            return
        with self._lock, found.changed:
            if found.course.stopped_at is None:
                found.course = replace(found.course, stopped_at=time.time())
                self._state.save(self.host_id, found)
            found.changed.notify_all()
        time.sleep(max(0.0, found.course.ends_at - time.time()))

    def remove(self, container: str) -> None:
        found = self._find(container)
        if found is None:
            return
        with self._lock, found.changed:
            self._containers.pop(found.course.name, None)
            self._state.forget(self.host_id, found.course.name)
            found.removed = True
            found.changed.notify_all()

    def list_ours(self) -> list[ListedContainer]:
        now = time.time()
        with self._lock:
            found = list(self._containers.values())
        return [
            ListedContainer(
                id=one.id,
                name=one.course.name,
                status=one.course.status(now),
                created_at=int(one.course.created_at),
                labels=one.labels,
            )
            for one in found
        ]

    def _script(self, body: dict[str, Any]) -> str:
        given = dict(word.partition("=")[::2] for word in body.get("Env") or [])
        return f"{self._default} {given.get(SIMULATE, '')}".strip()

    def _find(self, container: str) -> SimulatedContainer | None:
        """By name or id, as Docker finds them."""
        with self._lock:
            named = self._containers.get(container)
            if named is not None:
                return named
            return next((one for one in self._containers.values() if one.id == container), None)


class SimulatedLog:
    """The log of one simulated container; ends with it."""

    def __init__(self, container: SimulatedContainer | None) -> None:
        self._container = container
        self._interrupted = False

    def __iter__(self) -> Iterator[bytes]:
        found, number = self._container, 0
        while found is not None and not self._is_broken_off(found):
            course, now = found.course, time.time()
            until = course.ends_at
            if number < course.scenario.lines:
                until = min(until, course.line_at(number))
            if now < until:
                self._wait(found, course, until - now)
            elif number < course.scenario.lines and course.line_at(number) <= course.ends_at:
                yield course.line(number)
                number += 1
            else:
                return

    def interrupt(self) -> None:
        """Have the reader see an end at once."""
        self._interrupted = True
        if self._container is not None:
            with self._container.changed:
                self._container.changed.notify_all()

    def close(self) -> None:
        """Nothing is held."""

    def _is_broken_off(self, found: SimulatedContainer) -> bool:
        return self._interrupted or found.removed

    def _wait(self, found: SimulatedContainer, course: Course, seconds: float) -> None:
        with found.changed:
            if found.course is course and not self._is_broken_off(found):
                found.changed.wait(min(seconds, LONGEST_WAIT_SECONDS))


class _Pull:
    """An image on its way to one host; the time that it takes is that of who asked first."""

    def __init__(self, scenario: Scenario, seed: str) -> None:
        self.scenario = scenario
        self._seconds = scenario.pull.of(seed)
        self._began = time.monotonic()

    def rest(self) -> float:
        """Seconds until it is here."""
        return max(0.0, self._began + self._seconds - time.monotonic())

    def progress(self) -> PullProgress:
        rest = self.rest()
        return PullProgress(
            layers=1,
            layers_done=int(rest == 0),
            bytes_done=int((self._seconds - rest) * PULLED_BYTES_A_SECOND),
            bytes_total=int(self._seconds * PULLED_BYTES_A_SECOND),
        )


def _parsed(script: str) -> Scenario:
    try:
        return parse_scenario(script)
    except ValueError as error:
        raise InvalidInput.for_field(f"env.{SIMULATE}", str(error)) from None


def _made(name: str, script: str, scenario: Scenario, body: dict[str, Any]) -> SimulatedContainer:
    course = Course(name, scenario, float(body.get("StopTimeout", 10)), time.time())
    return SimulatedContainer(uuid.uuid4().hex, dict(body["Labels"]), script, course)


def _state(container: SimulatedContainer) -> ContainerState:
    course = container.course
    status = course.status(time.time())
    ended = status == "exited"
    return ContainerState(
        id=container.id,
        status=status,
        exit_code=course.exit_code if ended else 0,
        oom_killed=ended and course.oom_killed,
        started_at=_time(course.started_at),
        finished_at=_time(course.ends_at if ended else None),
        labels=container.labels,
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
