"""The registry's garbage collection as activities: next to the database and the storage."""

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity

from activities.progress import heartbeat
from activities.registry_collector import Collector
from fleetwide.models.registry_gc import BatchDone, GarbageBatch, GarbageReport, UpkeepRun
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.settings import Settings
from fleetwide.store import events, registry_gc_plan
from fleetwide.store.session import Store


def _told(phrase: str) -> None:
    heartbeat(phrase, None)


def _counted(done: BatchDone) -> BatchDone:
    """An earlier try, which was cut off, took with it what it had counted."""
    report = done.report.model_copy(update={"at_least": activity.info().attempt > 1})
    return done.model_copy(update={"report": report})


class GarbageActivities:
    """Storage side: needs the database and Distribution's storage."""

    def __init__(self, settings: Settings, store: Store, storage: RegistryStorage) -> None:
        self.store = store
        self.collector = Collector(
            store,
            storage,
            lease=timedelta(seconds=settings.registry_lease_seconds),
            upload_age=timedelta(hours=settings.registry_upload_hours),
        )

    @activity.defn(name="registry.plan_garbage")
    def plan_garbage(self) -> GarbageReport:
        """What a collection would free now, and what comes later; nothing is changed."""
        with self.store.read() as session:
            return registry_gc_plan.plan_all(session, now=datetime.now(UTC), told=_told)

    @activity.defn(name="registry.collect_garbage")
    def collect_garbage(self, batch: GarbageBatch) -> BatchDone:
        """Look at what is due, and remove what nobody needs.

        When it is cut off, another one does the rest: what is done is off the queue.
        """
        return _counted(self.collector.reviews(batch, _told))

    @activity.defn(name="registry.collect_leftovers")
    def collect_leftovers(self, batch: GarbageBatch) -> BatchDone:
        """Remove old uploads and empty repositories from the storage, or only count them."""
        done = self.collector.leftovers(batch, _told)
        return done if batch.dry_run else _counted(done)

    @activity.defn(name="registry.record_upkeep")
    def record_upkeep(self, run: UpkeepRun) -> None:
        """Keep the report of a run as an event."""
        info = activity.info()
        subject = info.workflow_id or run.kind
        data: dict[str, Any] = {"report": run.report, "kind": run.kind}
        with self.store.write() as session:
            events.append(session, subject, "upkeep", run.sentence, at=datetime.now(UTC), data=data)
