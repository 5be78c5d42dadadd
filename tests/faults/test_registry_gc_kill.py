"""kill -9 at every step that a collection takes on the storage: the next one finishes the rest."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.registry_index import blob, image, index
from tests.registry_shelf import Shelf, shelf

OTHER = "apps/other"
ALIVE = 0
FAILED = 3


class Deadly:
    """The storage's tree, whose process is killed when it has made the n-th change.

    What the database was to be told of that change, it never hears.
    """

    def __init__(self, tree: object, steps: int) -> None:
        self._tree = tree
        self._left = steps

    def __getattr__(self, name: str) -> object:
        method = getattr(self._tree, name)
        if name not in ("remove", "remove_empty", "remove_folder", "write", "copy"):
            return method

        def change(*arguments: object) -> object:
            self._left -= 1
            answer = method(*arguments)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return change


def collect(database_url: str, folder: Path, steps: int) -> int:
    """Collect in a process of its own, which is killed; how it ended."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException), shelf(database_url, folder) as box:
            tree = Deadly(box.storage._tree, steps)
            box.storage._tree = tree  # type: ignore[assignment]
            box.collect()
            os._exit(ALIVE)
        os._exit(FAILED)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (ALIVE, -signal.SIGKILL)
    return ended


def fill(box: Shelf, number: int) -> str:
    """An index and its image that go, and a blob that another repository has too."""
    name = f"apps/hello{number}"
    box.upload(name, "config", f"own{number}", "shared")
    box.push(name, index(box.push(name, image(f"own{number}", "shared"))), "gone")
    box.untag(name, "gone")
    return name


@pytest.mark.integration
def test_a_collection_that_is_killed_at_any_step_is_finished_by_the_next(
    database_url: str, tmp_path: Path
) -> None:
    with shelf(database_url, tmp_path) as box:
        box.upload(OTHER, "config", "shared")
        box.push(OTHER, image("shared"), "v1")
        box.collect()
    ended, step = -signal.SIGKILL, 0
    while ended != ALIVE:
        step += 1
        with shelf(database_url, tmp_path) as box:
            name = fill(box, step)
        ended = collect(database_url, tmp_path, step)
        with shelf(database_url, tmp_path) as box:
            assert box.faults() == [], f"killed after step {step}"
            box.collect()
            assert box.faults() == []
            assert box.manifests(name) == set()
            assert box.stored(f"own{step}", "shared", "config") == {"shared", "config"}
            assert not box.storage.has_layer(name, blob("shared"))
    assert step > 10
