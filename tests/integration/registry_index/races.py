"""Actions that start at one moment, each in a thread of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from fleetwide.errors import FleetwideError

ROUNDS = 20
PATIENCE = 30.0


def side_by_side(*actions: Callable[[], Any]) -> list[Any]:
    """Start all at one moment; their results, or what they raised on purpose."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait(PATIENCE)
        try:
            return action()
        except FleetwideError as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        running = [pool.submit(run, action) for action in actions]
        assert not wait(running, PATIENCE).not_done
        return [one.result() for one in running]
