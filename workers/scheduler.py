"""The scheduler: places pending attempts on hosts, tells the workflows, watches and cleans up."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from fleetwide.store.session import Store
from workers.placing import Placer
from workers.process import Process, run
from workers.watching import Watcher

TICK_SECONDS = 0.015
IDLE_TICK_SECONDS = 0.06
STAY_QUICK_SECONDS = 2.0
WATCH_SECONDS = 1.0
RECONCILE_SECONDS = 10.0

log = structlog.get_logger()


async def serve(process: Process) -> None:
    """Four loops side by side; a failing turn is logged and the next one tries again."""
    store = Store.from_settings(process.settings)
    placer, watcher = Placer(store, process.client), Watcher(store, process.client)
    loops = [
        _place(placer),
        _every(WATCH_SECONDS, watcher.watch_hosts),
        _every(RECONCILE_SECONDS, watcher.reconcile),
        _every(RECONCILE_SECONDS, watcher.reconcile_builds),
        _every(RECONCILE_SECONDS, watcher.reconcile_bakes),
    ]
    tasks = [asyncio.create_task(loop) for loop in loops]
    await process.stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _place(placer: Placer) -> None:
    """Tick quickly while there is work and for a moment after, slowly while there is none."""
    quick_until = 0.0
    while True:
        try:
            if await placer.tick():
                quick_until = monotonic() + STAY_QUICK_SECONDS
        except Exception:
            log.exception("scheduler turn failed", turn="place")
            await asyncio.sleep(1)
        await asyncio.sleep(TICK_SECONDS if monotonic() < quick_until else IDLE_TICK_SECONDS)


async def _every(seconds: float, turn: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await turn()
        except Exception:
            log.exception("scheduler turn failed", turn=turn.__name__)
            await asyncio.sleep(1)
        await asyncio.sleep(seconds)


def main() -> None:
    run("scheduler", serve)
