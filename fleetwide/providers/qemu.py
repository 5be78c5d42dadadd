"""Boot a disk image in QEMU and read on the serial console what the machine says about itself."""

import os
import secrets
import selectors
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fleetwide.baseos.smoke import END
from fleetwide.baseos.verdicts import dead_end, judge, last_lines, read_verdict
from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.os_releases import BootReport
from fleetwide.providers.progress import INTERVAL_SECONDS, Progress, Throttled
from fleetwide.providers.qemu_command import BootRequest, qemu_command
from fleetwide.providers.sandbox import isolation

MAX_CONSOLE = 4 * 1024**2
"""Bytes of console output that are kept; a machine that writes more is ended."""
TOLD_LINES = 20
PHRASE_WIDTH = 60
# After a dead end a kernel still prints where it was.
LAST_WORDS_SECONDS = 5.0
# How far back a prompt or a panic may begin that the newest bytes complete.
LOOK_BACK = 400


def boot_test(request: BootRequest, progress: Progress) -> BootReport:
    """Boot the disk until the machine has reported; the caller fills ``console_key``.

    The machine has no way to any network. ``progress`` hears the console's last line a few times a
    second; what it raises ends the machine and comes through, as does the end of this process.

    Raises:
        BuildFailed: the machine panicked, stopped at a prompt, went off, or did not report in
            ``timeout_seconds``; the message ends with the console's last lines.
        InvalidInput: the commands are too long to be handed to the machine.
        PlatformError: QEMU or its firmware is missing or does not run on this builder.
    """
    token = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix=".boot-", dir=request.console.parent) as folder:
        scratch = Path(folder)
        command = [*isolation(network=False), *qemu_command(request, token, scratch)]
        with request.console.open("wb") as kept:
            return _Boot(request, _Console(kept, token)).run(command, scratch, progress)


@dataclass
class _Console:
    """The console's output so far, on disk and in memory."""

    kept: BinaryIO
    token: str
    raw: bytearray = field(default_factory=bytearray)
    dead_end: str | None = None
    reported: bool = False

    @property
    def text(self) -> str:
        return self.raw.decode(errors="replace")

    @property
    def is_full(self) -> bool:
        return len(self.raw) >= MAX_CONSOLE

    def feed(self, data: bytes) -> None:
        data = data[: MAX_CONSOLE - len(self.raw)]
        self.kept.write(data)
        self.kept.flush()
        fresh = max(0, len(self.raw) - LOOK_BACK)
        self.raw += data
        fresh_text = self.raw[fresh:].decode(errors="replace")
        self.dead_end = self.dead_end or dead_end(fresh_text)
        if f"@@fleetwide:{self.token}:{END}:" in fresh_text:
            self.reported = read_verdict(self.text, self.token).complete

    def phrase(self) -> str:
        """The last whole line, for progress."""
        whole = self.raw[-LOOK_BACK:].rpartition(b"\n")[0].decode(errors="replace")
        line = next(iter(last_lines(whole, 1)), "the firmware starts")
        return f"booting: {line}"[:PHRASE_WIDTH]


@dataclass
class _Boot:
    """One run of a machine."""

    request: BootRequest
    console: _Console
    started: float = field(default_factory=time.monotonic)

    def run(self, command: list[str], scratch: Path, progress: Progress) -> BootReport:
        complaints = scratch / "complaints"
        environment = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(scratch)}
        with (
            complaints.open("wb") as stderr,
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            ) as process,
        ):
            try:
                self._follow(process, Throttled(progress))
                code = process.poll()
            finally:
                _end(process)
        return self._report(code, complaints)

    def _follow(self, process: "subprocess.Popen[bytes]", progress: Progress) -> None:
        """Read the console until the machine has reported, or nothing more is to be expected."""
        assert process.stdout is not None
        deadline = self.started + self.request.timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not self.console.reported and time.monotonic() < deadline:
                progress(self.console.phrase(), None)
                if not selector.select(INTERVAL_SECONDS):
                    continue
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    process.wait()
                    return
                alive = self.console.dead_end is None
                self.console.feed(data)
                if alive and self.console.dead_end:
                    deadline = min(deadline, time.monotonic() + LAST_WORDS_SECONDS)
                if self.console.is_full:
                    return

    def _report(self, code: int | None, complaints: Path) -> BootReport:
        if not self.console.reported:
            raise self._failure(code, complaints.read_text(errors="replace"))
        facts = read_verdict(self.console.text, self.console.token).facts
        checks = judge(facts, self.request.commands)
        return BootReport(
            passed=all(check.passed for check in checks),
            state=facts.get("state", ""),
            checks=checks,
            accelerator=self.request.accelerator,
            boot=self.request.boot,
            seconds=round(time.monotonic() - self.started, 3),
            console_key="",
        )

    def _failure(self, code: int | None, complaints: str) -> BuildFailed | PlatformError:
        console = self.console
        lines = last_lines(console.text, TOLD_LINES)
        if console.dead_end is None and code:
            said = complaints.strip()[-1000:]
            return PlatformError(f"QEMU ended with exit code {code}: {said or 'it said nothing'}")
        hint = None
        if console.dead_end is not None:
            why = console.dead_end
        elif code == 0:
            why = "the machine went off or started anew before it reported"
        elif console.is_full:
            why = f"the console was flooded with {MAX_CONSOLE} bytes"
        else:
            place = f"it hung at: {lines[-1]}" if lines else "it printed nothing"
            why = f"no report within {self.request.timeout_seconds:g} s; {place}"
            hint = f"tests: {{boot_timeout_seconds: {self.request.timeout_seconds * 2:g}}}"
        told = "\n".join(["The console's last lines:", *lines]) if lines else ""
        return BuildFailed(f"the boot test failed: {why}\n{told}".strip(), hint=hint)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the machine and wait until it is gone: only then the console has no writer any more."""
    assert process.stdout is not None
    process.kill()
    while os.read(process.stdout.fileno(), 65536):
        continue
    process.wait()
