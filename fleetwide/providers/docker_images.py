"""Image pulls through the Docker Engine's API."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from urllib3.exceptions import ReadTimeoutError

from fleetwide.errors import ImageNotFound, ImagePullFailed
from fleetwide.models.hosts import PullProgress

_MISSING = ("manifest unknown", "name unknown", "repository does not exist", "not found: ")
# Docker says of a refusal that the repository may not exist, so this is looked for first.
_REFUSED = ("unauthorized", "denied: ", "no basic auth credentials")
_FULL = "no space left on device"
_FETCHED = frozenset({"Download complete", "Pull complete", "Already exists"})


class PullMeter:
    """Adds up the Engine's per-layer messages."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._done: set[str] = set()

    def take(self, message: dict[str, Any]) -> None:
        layer = message.get("id", "")
        status = message.get("status", "")
        if status == "Pulling fs layer" or status in _FETCHED:
            self._layers.setdefault(layer, (0, 0))
        if status in _FETCHED:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
            self._done.add(layer)
        elif status == "Downloading":
            detail = message.get("progressDetail", {})
            self._layers[layer] = (detail.get("current", 0), detail.get("total", 0))

    def progress(self) -> PullProgress:
        return PullProgress(
            layers=len(self._layers),
            layers_done=len(self._done),
            bytes_done=sum(current for current, _ in self._layers.values()),
            bytes_total=sum(total for _, total in self._layers.values()),
        )


def pull_failure(image: str, message: str) -> ImageNotFound | ImagePullFailed:
    """The error for what the Engine said when a pull of ``image`` failed."""
    lowered = message.lower()
    if any(phrase in lowered for phrase in _REFUSED):
        return ImagePullFailed(
            f"the registry refused this host the image {image}: {message[:300]}",
            hint="check the host's FLEETWIDE_REGISTRY_USERNAME and FLEETWIDE_REGISTRY_PASSWORD",
        )
    if any(phrase in lowered for phrase in _MISSING):
        return ImageNotFound(f"the registry has no image {image}")
    return ImagePullFailed(
        f"the image {image} could not be pulled: {message[:300]}", hint=f"docker pull {image}"
    )


def lacks_space(error: ImagePullFailed) -> bool:
    """Whether a pull failed because the host's disk is full."""
    return _FULL in error.message.lower()


def consume_pull(image: str, lines: Iterator[bytes], go_on: Callable[[PullProgress], bool]) -> None:
    """Read the Engine's answer to a pull while ``go_on`` says so; raises its ``pull_failure``."""
    meter = PullMeter()
    for line in lines:
        message = json.loads(line)
        if "error" in message:
            raise pull_failure(image, message["error"])
        meter.take(message)
        if not go_on(meter.progress()):
            return


@contextmanager
def raising_stalls(image: str, seconds: float) -> Iterator[None]:
    """Tell an answer that went silent for ``seconds`` as a pull that stands still."""
    try:
        yield
    except requests.RequestException as error:
        if not any(isinstance(one, ReadTimeoutError) for one in (error, *error.args)):
            raise
        raise ImagePullFailed(
            f"the image {image} came no step forward for {seconds:g} s", hint=f"docker pull {image}"
        ) from error
