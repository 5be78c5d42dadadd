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
    """The storage's tree, whose process is killed before or after the n-th change."""

    def __init__(self, tree: object, steps: int, *, before: bool) -> None:
        self._tree = tree
        self._left = steps
        self._before = before

    def __getattr__(self, name: str) -> object:
        method = getattr(self._tree, name)
        if name not in ("remove", "remove_empty", "remove_folder", "write", "move"):
            return method

        def change(*arguments: object) -> object:
            self._left -= 1
            if self._left == 0 and self._before:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = method(*arguments)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return change


def collect(database_url: str, folder: Path, steps: int, when: str) -> int:
    """Collect in a process of its own, which is killed; how it ended."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException), shelf(database_url, folder) as box:
            tree = Deadly(box.storage._tree, steps, before=when == "before")
            box.storage._tree = tree  # type: ignore[assignment]
            box.collect()
            os._exit(ALIVE)
        os._exit(FAILED)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (ALIVE, -signal.SIGKILL)
    return ended


def fill(box: Shelf, number: int) -> str:
    """An index and its image that go, an image that stays, a blob of two repositories, a stray."""
    name = f"apps/hello{number}"
    box.upload(name, "config", "kept", f"own{number}", f"stray{number}")
    box.push(name, image("kept"), "kept")
    box.push(name, index(box.push(name, image(f"own{number}", "kept"))), "gone")
    box.upload(OTHER, "config", f"own{number}")
    box.push(OTHER, image(f"own{number}"), "v1")
    box.untag(name, "gone")
    return name


@pytest.mark.integration
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_collection_that_is_killed_at_any_step_is_finished_by_the_next(
    database_url: str, tmp_path: Path, when: str
) -> None:
    ended, step = -signal.SIGKILL, 0
    while ended != ALIVE:
        step += 1
        with shelf(database_url, tmp_path) as box:
            name = fill(box, step)
        ended = collect(database_url, tmp_path, step, when)
        with shelf(database_url, tmp_path) as box:
            assert box.faults() == [], f"killed {when} step {step}"
            box.collect()
            assert box.faults() == []
            assert len(box.manifests(name)) == 1
            assert box.stored(f"own{step}", f"stray{step}", "kept") == {f"own{step}", "kept"}
            assert not box.storage.has_layer(name, blob(f"own{step}"))
            box.untag(OTHER, "v1")
    assert step > 10
