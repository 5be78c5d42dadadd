"""When containers ran, noted as their Docker daemon tells it.

The daemon itself remembers no more than the last 256 events of all its containers, health checks
included: on a busy one the start of a container is forgotten before its end.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

import docker

from tests.integration.containers_fixtures import DOCKER_URL


@dataclass(frozen=True)
class Run:
    """One container's life as the daemon saw it: seconds since the epoch."""

    name: str
    started: float
    ended: float


class Lives:
    """Listens from its making until ``close``, to the containers of one platform alone."""

    def __init__(self, platform: str, docker_url: str = DOCKER_URL) -> None:
        self._told: list[dict[str, Any]] = []
        self._api = docker.APIClient(base_url=docker_url)
        wanted = {
            "type": ["container"],
            "event": ["start", "die"],
            "label": [f"fleetwide.platform={platform}"],
        }
        self._stream = self._api.events(filters=wanted, decode=True)
        self._thread = Thread(target=self._listen, name="docker events", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._stream:
            self._told.append(event)

    def of(self, workflow_id: str) -> list[Run]:
        """Each container of a task, the earliest first; what still runs ends now."""
        assert self._thread.is_alive(), "the daemon has gone away: not all was heard"
        started: dict[str, float] = {}
        ended: dict[str, float] = {}
        for event in list(self._told):
            about = event["Actor"]["Attributes"]
            if about["fleetwide.workflow_id"] != workflow_id:
                continue
            name, at = about["name"], event["timeNano"] / 1e9
            if event["Action"] == "start":
                assert name not in started, f"{name} was started twice"
                started[name] = at
            else:
                # It may tell of one end twice: by its signal, and as 255 a moment later.
                ended.setdefault(name, at)
        now = time.time()
        lives = [Run(name, at, ended.get(name, now)) for name, at in started.items()]
        return sorted(lives, key=lambda life: life.started)

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
        self._thread.join(10)
        self._api.close()
