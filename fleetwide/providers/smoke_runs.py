"""One run of a smoke test: from the start of a container to a word on how it went."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fleetwide.bakery.container_users import Accounts, container_user
from fleetwide.bakery.oci_runtime import HOSTS as HOSTS_TEXT
from fleetwide.bakery.oci_runtime import StartedAs, oci_config, oci_process
from fleetwide.bakery.smoke import (
    KEPT_LINES,
    RUN_SECONDS,
    SIGNALLED,
    Ending,
    HealthTally,
    counted,
    explain_ending,
    explain_refusal,
    failure,
    is_fault_of_image,
    words_of,
)
from fleetwide.baseos.verdicts import last_lines
from fleetwide.errors import BuildFailed, PlatformError, SmokeTestFailed
from fleetwide.models.bakery import BakeSpec, HealthCheck
from fleetwide.providers.cgroups import ControlGroup
from fleetwide.providers.crun import HOSTS, ROOT, Container, end_executed
from fleetwide.providers.progress import INTERVAL_SECONDS
from fleetwide.providers.pump import Pump

MAX_LOG_BYTES = 1024**2
MAX_ACCOUNTS_BYTES = 1024**2
MAKE_SECONDS = 60.0
"""Longest time that a container may take to be made."""
STOP_SECONDS = 1.0
"""What a workload gets between being asked to end and being ended."""
_TAIL_BYTES = 16 * 1024
_LINE_WIDTH = 500
_CUT_OFF = b"\n[more output is not kept]\n"


@dataclass
class Output:
    """What a container wrote: the beginning went to the log, the end is kept."""

    log: Callable[[bytes], None]
    logged: int = 0
    tail: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> None:
        self.tail += data
        del self.tail[:-_TAIL_BYTES]
        fitting = data[: MAX_LOG_BYTES - self.logged]
        if fitting:
            self.log(fitting)
            self.logged += len(fitting)
            if self.logged == MAX_LOG_BYTES:
                self.log(_CUT_OFF)

    @property
    def lines(self) -> list[str]:
        kept = last_lines(self.tail.decode(errors="replace"), KEPT_LINES)
        return [line[:_LINE_WIDTH] for line in kept]


@dataclass
class SmokeRun:
    """One container from its start to its end."""

    spec: BakeSpec
    env: Mapping[str, str]
    container: Container
    group: ControlGroup
    output: Output
    pump: Pump
    deadline: float = 0.0

    def run(self) -> tuple[str, int | None]:
        """How it passed, and its exit code where it ended by itself.

        Raises:
            SmokeTestFailed: it did not pass.
            PlatformError: crun could not start it, for reasons that are not the image's.
        """
        started = self._started_as()
        process = oci_process(words_of(self.spec), started)
        root, hosts = (str(self.container.mounts / place) for place in (ROOT, HOSTS))
        self.container.start(oci_config(self.spec, process, root, hosts), HOSTS_TEXT)
        self.pump.add(self.container.process, self.output.feed)
        try:
            self._await_container()
            self.deadline = time.monotonic() + self.spec.smoke.timeout_seconds
            if self.spec.smoke.command:
                return self._await_success()
            if self.spec.healthcheck:
                return self._await_health(self.spec.healthcheck, started)
            return self._await_running()
        finally:
            self.pump.close()

    def _started_as(self) -> StartedAs:
        try:
            with self.container.root() as files:
                passwd, group = (
                    (files.read(path, MAX_ACCOUNTS_BYTES) or b"").decode(errors="replace")
                    for path in ("/etc/passwd", "/etc/group")
                )
        except BuildFailed as error:
            raise SmokeTestFailed(error.message) from error
        user = container_user(self.spec.user, Accounts(passwd, group))
        return StartedAs(user, self.env, self.spec.workdir)

    def _await_container(self) -> None:
        """A busy builder's time is not taken from the image's."""
        limit = time.monotonic() + MAKE_SECONDS
        if not self.pump.until(
            lambda: self.container.was_made or self._has_ended(), "starting the image", limit
        ):
            raise PlatformError(f"this builder did not start the image in {MAKE_SECONDS:g} s")

    def _await_success(self) -> tuple[str, int | None]:
        limit = self.spec.smoke.timeout_seconds
        if not self._ended_by(self.deadline, "running the image's own check"):
            raise self._failure(f"its check did not end in {limit:g} s", self._more_time())
        self._must_have_succeeded()
        return "its own check ended with exit code 0", 0

    def _await_running(self) -> tuple[str, int | None]:
        until = min(time.monotonic() + RUN_SECONDS, self.deadline)
        if self._ended_by(until, "starting the image"):
            self._must_have_succeeded()
            return "it ended with exit code 0", 0
        self._stop()
        return f"it ran for {min(RUN_SECONDS, self.spec.smoke.timeout_seconds):g} s", None

    def _await_health(self, check: HealthCheck, started: StartedAs) -> tuple[str, int | None]:
        phrase = "waiting for the health check"
        tally = HealthTally(check, time.monotonic())
        while not tally.is_unhealthy:
            if self._ended_by(min(tally.next_try, self.deadline), phrase):
                break
            begun = time.monotonic()
            if begun >= self.deadline:
                break
            tally.tries += 1
            said = self._check(check, started)
            if said is None:
                self._stop()
                return f"its health check passed after {counted(tally.tries)}", None
            tally.note_failure(begun, said)
        # A crash also ends the check that is under way, a moment before it is seen itself.
        if self._ended_by(time.monotonic() + INTERVAL_SECONDS, phrase):
            self._must_have_succeeded()
            raise self._failure("it ended with exit code 0 before its health check passed")
        raise self._failure(tally.explain(), "" if tally.is_unhealthy else self._more_time())

    def _check(self, check: HealthCheck, started: StartedAs) -> str | None:
        """None when the health check passes, else the last that it wrote."""
        said = Output(lambda _data: None)
        process = self.container.execute(oci_process(check.command, started))
        try:
            self.pump.add(process, said.feed)
            ended = self.pump.until(
                lambda: process.poll() is not None or self._has_ended(),
                "checking its health",
                min(time.monotonic() + check.timeout_seconds, self.deadline),
            )
            passed = process.poll() == 0
            self.pump.remove(process)
            self.pump.drain(process, said.feed)
        finally:
            end_executed(process)
        if passed:
            return None
        last = "".join(said.lines[-1:])
        return last if ended else f"nothing within {check.timeout_seconds:g} s"

    def _stop(self) -> None:
        self.container.terminate()
        self._ended_by(time.monotonic() + STOP_SECONDS, "stopping the image")

    def _ended_by(self, deadline: float, phrase: str) -> bool:
        if not self.pump.until(self._has_ended, phrase, deadline):
            return False
        self.pump.drain(self.container.process, self.output.feed)
        return True

    def _has_ended(self) -> bool:
        return self.container.process.poll() is not None

    def _ending(self) -> Ending:
        code = self.container.process.wait()
        shown = SIGNALLED - code if code < 0 else code
        return Ending(shown, self.output.lines, self.group.out_of_memory)

    def _must_have_succeeded(self) -> None:
        ending = self._ending()
        if not self.container.was_made:
            complaint = " ".join(ending.lines) or f"crun ended with exit code {ending.code}"
            if is_fault_of_image(self.spec, complaint):
                raise explain_refusal(self.spec, complaint)
            raise PlatformError(f"this builder cannot start the image: {complaint}")
        if ending.code != 0:
            raise explain_ending(self.spec, ending)

    def _more_time(self) -> str:
        return f"smoke: {{timeout_seconds: {min(self.spec.smoke.timeout_seconds * 2, 900):g}}}"

    def _failure(self, how: str, hint: str = "") -> SmokeTestFailed:
        return failure(self.spec, how, self.output.lines, hint)
