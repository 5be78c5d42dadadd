"""What simulated hosts have on them, kept in one file for all of them.

Docker's containers outlive the worker that made them, and so do these: the file says when each was
started and what its scenario is, and the rest follows from the clock.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Lock

from fleetwide.containers.scenarios import Course, parse_scenario

STARTS_KEPT_SECONDS = 86_400
_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS containers (
    host TEXT, name TEXT, id TEXT, labels TEXT, script TEXT, grace REAL,
    created_at REAL, started_at REAL, stopped_at REAL, PRIMARY KEY (host, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (host TEXT, image TEXT, PRIMARY KEY (host, image)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS starts (host TEXT, name TEXT, at REAL);
"""


@dataclass
class SimulatedContainer:
    """A container that nobody runs."""

    id: str
    labels: dict[str, str]
    script: str
    course: Course
    removed: bool = False
    changed: Condition = field(default_factory=Condition)
    """Notified when it was stopped or removed, or when its log is not followed any more."""


class SimulatedState:
    """Containers, images and starts of all simulated hosts of one process. Thread-safe.

    The file is written without waiting for the disk: it survives the process, not the machine.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._file.executescript(_TABLES)
        since = time.time() - STARTS_KEPT_SECONDS
        self._file.execute("DELETE FROM starts WHERE at < ?", [since])

    def containers(self, host: str) -> dict[str, SimulatedContainer]:
        """What a process before this one left on the host, by name."""
        with self._lock:
            rows = self._file.execute(
                "SELECT name, id, labels, script, grace, created_at, started_at, stopped_at "
                "FROM containers WHERE host = ?",
                [host],
            ).fetchall()
        return {row[0]: _container(row) for row in rows}

    def images(self, host: str) -> set[str]:
        """The images that the host has."""
        with self._lock:
            rows = self._file.execute("SELECT image FROM images WHERE host = ?", [host]).fetchall()
        return {image for (image,) in rows}

    def starts(self) -> list[tuple[str, str]]:
        """Host and name of each start of a container within a day, oldest first."""
        with self._lock:
            return self._file.execute("SELECT host, name FROM starts ORDER BY rowid").fetchall()

    def add_image(self, host: str, image: str) -> None:
        self._write("INSERT OR IGNORE INTO images VALUES (?, ?)", [host, image])

    def save(self, host: str, container: SimulatedContainer) -> None:
        """Write the container as it is now."""
        self._write(*_saving(host, container))

    def save_start(self, host: str, container: SimulatedContainer) -> None:
        """The same, and that it was started, both or neither."""
        course = container.course
        with self._lock, self._transaction():
            self._file.execute(*_saving(host, container))
            self._file.execute(
                "INSERT INTO starts VALUES (?, ?, ?)", [host, course.name, course.started_at]
            )

    def forget(self, host: str, name: str) -> None:
        self._write("DELETE FROM containers WHERE host = ? AND name = ?", [host, name])

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _write(self, statement: str, values: list[object]) -> None:
        with self._lock:
            self._file.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._file.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")


def _saving(host: str, container: SimulatedContainer) -> tuple[str, list[object]]:
    course = container.course
    values = [
        host,
        course.name,
        container.id,
        json.dumps(container.labels),
        container.script,
        course.grace,
        course.created_at,
        course.started_at,
        course.stopped_at,
    ]
    return "INSERT OR REPLACE INTO containers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values


def _container(
    row: tuple[str, str, str, str, float, float, float | None, float | None],
) -> SimulatedContainer:
    name, identity, labels, script, grace, created_at, started_at, stopped_at = row
    course = Course(name, parse_scenario(script), grace, created_at, started_at, stopped_at)
    return SimulatedContainer(identity, json.loads(labels), script, course)
