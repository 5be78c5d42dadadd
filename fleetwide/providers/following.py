"""A container that is followed to its end: its log goes to the object store as it comes."""

from collections.abc import Sequence
from threading import Event

from fleetwide.containers.masks import Masker
from fleetwide.containers.outcome import EXIT_KILLED, ContainerState
from fleetwide.errors import FleetwideError, ServiceUnavailable
from fleetwide.providers.attempt_logs import KEPT_LINES, LogWriter, last_lines
from fleetwide.providers.engine import ContainerEngine, FollowedLog

POLL_SECONDS = 1.0
# Docker cuts longer lines into pieces.
ENTRY_BYTES = 16 * 1024
# The kernel's word on a memory kill reaches Docker beside the exit, at times just after it.
OOM_NEWS_SECONDS = (0.02, 0.1, 0.3)


class Follower:
    """Follows one container in the calling thread; ``detach`` may be called from any other.

    ``secrets`` are taken out of what is stored and told; where they are None, nobody knows them
    any more, and nothing of the log is.
    """

    def __init__(
        self,
        host: ContainerEngine,
        log: LogWriter,
        name: str,
        secrets: Sequence[bytes] | None = (),
    ) -> None:
        self.log = log
        self._host = host
        self._name = name
        self._secrets = secrets or ()
        self._withheld = secrets is None
        self._heard = b""
        self._detached = Event()
        self._expected = False
        self._stream: FollowedLog | None = None

    def detach(self) -> None:
        """Let go of the container, which goes on; who follows it raises soon."""
        self._detached.set()
        if self._stream is not None:
            self._stream.interrupt()

    def expect_end(self) -> None:
        """The platform ends the container: nobody asks the kernel why."""
        self._expected = True

    def raise_if_detached(self) -> None:
        if self._detached.is_set():
            raise ServiceUnavailable(
                f"this worker let go of container {self._name}; the next try takes it up"
            )

    def follow(self, container: str) -> ContainerState | None:
        """Take the container's log until it has ended; None when somebody removed it.

        Raises ``ServiceUnavailable`` after ``detach``.
        """
        while True:
            self._take_log(container)
            self.raise_if_detached()
            state = self._host.inspect(container)
            if state is not None and state.over:
                self._take_unfinished_line(container)
            if state is None or state.over:
                return self._with_oom_news(state)
            if self._skips_log() and self._detached.wait(POLL_SECONDS):
                self.raise_if_detached()

    def last_lines(self) -> list[str]:
        """The last lines of the log, also when it was too long to be kept whole."""
        if self._withheld:
            return []
        if self.log.is_full():
            recent = self._host.recent_log(self._name, KEPT_LINES)
            masker = Masker(self._secrets)
            return last_lines(masker.feed(recent) + masker.end())
        return self.log.tail()

    def _skips_log(self) -> bool:
        return self._withheld or self.log.is_full()

    def _take_log(self, container: str) -> None:
        if self._withheld:
            self.log.withhold()
        if self._skips_log():
            return
        self.log.restart()
        self._heard = b""
        masker = Masker(self._secrets)
        stream = self._stream = self._host.follow(container)
        if self._detached.is_set():
            stream.interrupt()
        try:
            for piece in self._host.read(stream):
                self._heard = (self._heard + piece)[-ENTRY_BYTES:]
                self.log.write(masker.feed(piece))
                if self.log.is_full():
                    break
            else:
                self.log.write(masker.end())
        except (FleetwideError, OSError, ValueError):
            # Closing a stream under its reader surfaces in many ways.
            self.raise_if_detached()
            raise
        finally:
            stream.close()

    def _take_unfinished_line(self, container: str) -> None:
        """What the program wrote last, without an end of line.

        Docker stores it when the program has ended; by then it may have ended a followed log.
        """
        if self._skips_log():
            return
        last = self._host.recent_log(container, 1)
        if last and not last.endswith(b"\n") and not self._heard.endswith(last):
            masker = Masker(self._secrets)
            self.log.write(masker.feed(last) + masker.end())

    def _with_oom_news(self, state: ContainerState | None) -> ContainerState | None:
        for pause in OOM_NEWS_SECONDS:
            if state is None or state.oom_killed or state.exit_code != EXIT_KILLED:
                break
            if self._expected or self._detached.wait(pause):
                break
            state = self._host.inspect(state.id)
        return state
