"""The upstreams of the nginx beside the scheduler: one file, written whole, tested, then loaded.

Beside the file lies ``<file>.loaded``, a copy of what nginx loaded last. Whatever a killed
scheduler left behind: by it the next one sees that nginx has still to be told, or what to go back
to.
"""

import fcntl
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from fleetwide.errors import ServiceUnavailable
from fleetwide.services.upstreams import Place, names_in, upstream_file
from fleetwide.settings import Settings

PROGRAM_SECONDS = 30
LOAD_SECONDS = 30.0
POLL_SECONDS = 0.02
WORKER = "nginx: worker process"
"""As it calls itself until it is to end; then it adds that it is shutting down."""
MOST_WORDS = 500
FILE_MODE = 0o644


class NginxUpstreams:
    """One file that an nginx includes; two schedulers beside one nginx take turns."""

    def __init__(self, file: Path, test: str, reload: str, pid: Path) -> None:
        self._file = file
        self._pid = pid
        self._loaded = file.with_name(f"{file.name}.loaded")
        self._lock = file.with_name(f"{file.name}.lock")
        self._test = shlex.split(test)
        self._reload = shlex.split(reload)

    @classmethod
    def from_settings(cls, settings: Settings) -> "NginxUpstreams | None":
        """None where this scheduler has no nginx."""
        file = settings.targets_nginx_file
        if file is None:
            return None
        return cls(
            file,
            settings.targets_nginx_test,
            settings.targets_nginx_reload,
            settings.targets_nginx_pid,
        )

    def put(self, upstreams: Mapping[str, Iterable[Place]]) -> bool:
        """Have nginx use exactly these upstreams; whether it had to be told.

        An upstream that is named no more stays in the file, without servers: nginx's own
        configuration may still use it, and would not load without it.

        When this returns, no process of nginx takes a request by the file from before any more.

        Raises:
            InvalidInput: something could not stand in the file; nothing was changed.
            ServiceUnavailable: nginx refused it, and has the file from before again; or it could
                not be told, or did not load it.
        """
        with self._alone():
            before = _text(self._file)
            left = dict.fromkeys(names_in(before) - upstreams.keys(), ())
            text = upstream_file({**left, **upstreams})
            if text == before == _text(self._loaded):
                return False
            _write(self._file, text)
            self._check(before)
            self._load()
            _write(self._loaded, text)
            return True

    def _check(self, before: str) -> None:
        """Go back to what nginx loaded last, else to what there was, when it refuses the file."""
        try:
            self._run(self._test, f"refused the upstreams in {self._file}")
        except ServiceUnavailable:
            _write(self._file, _text(self._loaded) or before)
            raise

    def _load(self) -> None:
        """Have nginx load its files, and wait until its old processes take no more requests.

        For a tenth of a second and more nginx has old and new ones side by side.
        """
        before = _taking(self._pid)
        self._run(self._reload, "could not be told to load its upstreams")
        deadline = time.monotonic() + LOAD_SECONDS
        while before and (before & (now := _taking(self._pid)) or not now):
            if time.monotonic() >= deadline:
                raise ServiceUnavailable(
                    "nginx was told to load its upstreams and has not: its error log says why",
                    hint=shlex.join(self._test),
                )
            time.sleep(POLL_SECONDS)

    def _run(self, command: list[str], what: str) -> None:
        hint = shlex.join(command)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROGRAM_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceUnavailable(f"nginx {what}: {error}", hint=hint) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise ServiceUnavailable(f"nginx {what}: {said[-MOST_WORDS:]}", hint=hint)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except OSError as error:
            raise ServiceUnavailable(
                f"the upstreams in {self._file} cannot be written: {error.strerror or error}",
                hint=f"ls -ld {self._file.parent} {self._file}*",
            ) from error


def _taking(pid_file: Path) -> set[tuple[int, float]]:
    """The processes of nginx that take requests, with their starts; none where nobody can tell."""
    try:
        master = psutil.Process(int(pid_file.read_text()))
        children = {(one.pid, one.create_time()): one.cmdline() for one in master.children()}
    except (OSError, ValueError, psutil.Error):
        return set()
    return {who for who, words in children.items() if words and words[0].strip() == WORKER}


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _write(file: Path, text: str) -> None:
    """Put the file in the place of the one before, at once."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as fresh:
            fresh.write(text)
            fresh.flush()
            os.fsync(fresh.fileno())
        Path(name).chmod(FILE_MODE)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
