"""Containers of images that may have to be fetched first."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from time import monotonic
from typing import Any

from fleetwide.containers.outcome import ContainerState
from fleetwide.errors import ImagePullFailed
from fleetwide.models.hosts import PullProgress
from fleetwide.providers.engine import ContainerEngine

LOOK_SECONDS = 0.5


class Fetcher:
    """Makes containers on a host, pulling their images when they are not there.

    ``note`` is told of each step of a pull; it is given up once ``wanted`` answers False.
    """

    def __init__(
        self,
        host: ContainerEngine,
        note: Callable[[PullProgress], None],
        wanted: Callable[[], bool],
    ) -> None:
        self._host = host
        self._note = note
        self._wanted = wanted
        self.seconds: dict[str, float] = {}
        """How long the pull of an image took, for those that were pulled."""

    def create(self, name: str, request: dict[str, Any]) -> ContainerState | None:
        """The container of that name, made now or before; None when the pull was given up.

        Raises:
            ImageNotFound: the image is not in the registry.
            ImagePullFailed: it could not be fetched.
            InvalidInput: no such container can ever be made.
        """
        found = self._host.create(name, request)
        if found is not None:
            return found
        image = request["Image"]
        self.pull(image)
        if not self._wanted():
            return None
        found = self._host.create(name, request)
        if found is None:
            raise ImagePullFailed(f"the image {image} was pulled, but Docker does not have it")
        return found

    def pull(self, image: str) -> None:
        """Fetch an image; it may come short when it is not wanted any more."""
        if not self._wanted():
            return
        began = monotonic()
        pulling = Future[None]()
        Thread(target=self._pull, args=(image, pulling), name="pull", daemon=True).start()
        # A registry that stands still says nothing: who waits for it looks for itself.
        while self._wanted():
            done, _ = wait([pulling], LOOK_SECONDS)
            if done:
                pulling.result()
                self.seconds[image] = monotonic() - began
                return

    def _pull(self, image: str, pulling: "Future[None]") -> None:
        try:
            self._host.pull(image, self._go_on)
        except BaseException as error:
            pulling.set_exception(error)
        else:
            pulling.set_result(None)

    def _go_on(self, progress: PullProgress) -> bool:
        self._note(progress)
        return self._wanted()
