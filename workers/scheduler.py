"""The scheduler: places pending attempts on hosts, tells the workflows, watches and cleans up."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic

import structlog

from fleetwide.store.session import Store
from workers.archiving import Archiver
from workers.defragmenting import LOOK_SECONDS, Defragmenter
from workers.fleet import FleetWatch
from workers.job_waits import TELL_SECONDS, JobWaitTeller
from workers.leading import Leadership
from workers.placing import Placer
from workers.process import Process, run
from workers.pruning import Pruner
from workers.scaling import SCALE_SECONDS, Scaler
from workers.services import SERVICES_SECONDS, ServiceTeller
from workers.sweeping import SWEEP_SECONDS, Sweeper
from workers.targets import TARGETS_SECONDS, Registrar
from workers.watching import Watcher

TICK_SECONDS = 0.015
IDLE_TICK_SECONDS = 0.06
STAY_QUICK_SECONDS = 2.0
WATCH_SECONDS = 1.0
RECONCILE_SECONDS = 10.0
ARCHIVE_SECONDS = 60.0
PRUNE_SECONDS = 300.0

log = structlog.get_logger()


async def serve(process: Process) -> None:
    """Loops side by side; a failing turn is logged and the next one tries again.

    Only the scheduler that holds the lease acts: any number of them may stand by.
    """
    store = Store.from_settings(process.settings)
    leadership = Leadership(store)
    notice = timedelta(seconds=process.settings.preemption_notice)
    placer = Placer(store, process.client, leadership, notice)
    watcher = Watcher(store, process.client)
    scaler = Scaler(store, process.client, watcher.usages)
    sweeper = Sweeper.from_settings(process.settings, store)
    archiver = Archiver(store, timedelta(hours=process.settings.archive_after_hours))
    registrar = Registrar.from_settings(process.settings, store, leadership)
    turns = (
        (WATCH_SECONDS, watcher.watch_hosts),
        (SERVICES_SECONDS, ServiceTeller(store, process.client).turn),
        (TELL_SECONDS, JobWaitTeller(store, process.client).turn),
        (WATCH_SECONDS, FleetWatch(store, process.settings).watch_valve),
        (RECONCILE_SECONDS, watcher.reconcile),
        (RECONCILE_SECONDS, watcher.reconcile_builds),
        (RECONCILE_SECONDS, watcher.reconcile_bakes),
        (RECONCILE_SECONDS, sweeper.tell_wanted_images),
        (TARGETS_SECONDS, registrar.turn),
        (SWEEP_SECONDS, sweeper.sweep_errands),
        (ARCHIVE_SECONDS, archiver.turn),
        (PRUNE_SECONDS, Pruner.from_settings(process.settings, store).turn),
        (SCALE_SECONDS, scaler.scale_services),
        (LOOK_SECONDS, Defragmenter(process.settings, store, process.client).turn),
    )
    loops = [_place(placer), *(_every(seconds, turn, leadership) for seconds, turn in turns)]
    tasks = [asyncio.create_task(loop) for loop in loops]
    await process.stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    leadership.give_back()


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


async def _every(
    seconds: float, turn: Callable[[], Awaitable[None]], leadership: Leadership
) -> None:
    while True:
        try:
            if leadership.leads():
                await turn()
        except Exception:
            log.exception("scheduler turn failed", turn=turn.__name__)
            await asyncio.sleep(1)
        await asyncio.sleep(seconds)


def main() -> None:
    run("scheduler", serve)
