"""A large fetch tells that it goes on, also while it is hashed and stored."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities import errands
from activities.errands import HostErrandActivities
from fleetwide.models.containers import AttemptKey
from fleetwide.models.errands import FetchWork, PlacedErrand
from fleetwide.providers.container_files import Taken
from fleetwide.providers.objects import FolderStore

PIECES = 5000


class Files:
    """A file of many small pieces."""

    def fetch(self, _path: str, sink: IO[bytes], _limit: int, go_on: Callable[[], None]) -> Taken:
        for _ in range(PIECES):
            go_on()
            sink.write(b"x")
        return Taken("content", folder=False)


class FarStore(FolderStore):
    """Has stored a file only when two heartbeats were heard meanwhile."""

    beats = threading.Semaphore(0)

    def move_file(self, key: str, path: Path) -> None:
        while self.beats.acquire(blocking=False):
            pass
        assert all(self.beats.acquire(timeout=30) for _ in range(2))
        super().move_file(key, path)


class Host:
    host_id = "h"


def test_a_fetch_beats_while_it_is_stored_and_not_for_each_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def root(*_: Any) -> Iterator[Files]:
        yield Files()

    monkeypatch.setattr(errands, "container_root", root)
    store = FarStore(tmp_path)
    heard: list[Any] = []
    environment = ActivityEnvironment()

    def hear(*_: Any) -> None:
        heard.append(1)
        store.beats.release()

    environment.on_heartbeat = hear
    placed = PlacedErrand(
        errand_id="e",
        key=AttemptKey(workflow_id="task/t", run_id="r"),
        host_id="h",
        work=FetchWork(path="/content"),
    )
    host: Any = Host()
    result = environment.run(HostErrandActivities(host, store).run_errand, placed)
    assert result.fetched
    assert result.fetched.size == PIECES
    assert len(heard) < PIECES
