"""Reconciliation: list the storage, compare it with the index, mend what differs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from temporalio import activity

from activities.progress import heartbeat
from activities.registry_comparing import Comparison
from activities.registry_mending import TOLD, Mender, Terms
from activities.registry_repairs import Repairs
from fleetwide.models.registry_gc import (
    MAX_EXAMPLES,
    Adoption,
    Difference,
    Found,
    NamesRequest,
    ReconcileOne,
    ReconcileReport,
    ReconcileStage,
)
from fleetwide.providers.registry_policies import PolicyFile
from fleetwide.providers.registry_replicas import BlobSource, NoReplicas
from fleetwide.providers.registry_storage import PREFIXES, RegistryStorage
from fleetwide.registry.digests import PREFIX
from fleetwide.settings import Settings
from fleetwide.store import (
    events,
    registry_gc,
    registry_repositories,
    registry_reviews,
    registry_views,
)
from fleetwide.store.registry_admission import Rules
from fleetwide.store.registry_blobs import LIVE
from fleetwide.store.session import Store

BEHIND_HEX = "g"


@dataclass(frozen=True)
class ReconcileActivities:
    """Storage side: needs the database and Distribution's storage."""

    settings: Settings
    store: Store
    storage: RegistryStorage
    source: BlobSource = NoReplicas()  # noqa: RUF009 (it holds nothing)

    @activity.defn(name="registry.list_names")
    def list_names(self, request: NamesRequest) -> list[str]:
        """Repositories of the index, or those of the storage that the index does not know.

        For blobs it is the beginnings of their digests.
        """
        if request.stage is ReconcileStage.BLOBS:
            return [one for one in PREFIXES if one > request.after][: request.limit]
        if request.stage is ReconcileStage.INDEX:
            with self.store.read() as session:
                rows = registry_repositories.page(session, after=request.after, limit=request.limit)
                return [row.name for row in rows]
        return list(islice(self._unknown(request.after), request.limit))

    def _unknown(self, after: str) -> Iterable[str]:
        def listing() -> None:
            heartbeat("listing repositories", None)

        for name in self.storage.repositories(after, listing):
            heartbeat(f"looking at {name}", None)
            with self.store.read() as session:
                known = registry_gc.is_known(session, name)
            if not known:
                yield name

    @activity.defn(name="registry.reconcile_repository")
    def reconcile_repository(self, one: ReconcileOne) -> ReconcileReport:
        """Compare a repository's tags, manifests and links, and mend what differs.

        Stretch by stretch for ten minutes; of a larger one ``rest`` says where to go on.
        """
        settled = datetime.now(UTC) - timedelta(seconds=one.settle_seconds)
        comparison = Comparison(self.store, self.storage, one.name, settled)
        mender = self._mender(one, settled)
        report = ReconcileReport(repositories=0 if one.rest else 1)
        for differences, rest in comparison.stretches(one.rest):
            found = []
            for number, difference in enumerate(differences):
                heartbeat(f"mending {one.name}", number / len(differences))
                found.append(mender.mend(difference))
            found += mender.found_beside(differences)
            report = report.plus(_report(one.name, [item for item in found if item.done]))
            report = report.model_copy(update={"rest": rest})
        if report.counts:
            self._tell(f"registry/{one.name}", report)
        return report

    def _mender(self, one: ReconcileOne, settled: datetime) -> Mender:
        policy = PolicyFile(self.settings.registry_policy)
        lease = timedelta(seconds=self.settings.registry_lease_seconds)
        terms = Terms(settled, lease, Rules(policy.current(), policy.source))
        return Mender(self.store, self.storage, one, terms)

    def _tell(self, subject: str, report: ReconcileReport) -> None:
        told = ", ".join(f"{count} {kind}" for kind, count in report.counts.items())
        with self.store.write() as session:
            events.append(
                session,
                subject,
                "reconciled",
                f"index and storage differed: {told}",
                at=datetime.now(UTC),
                data={"counts": report.counts, "examples": report.examples},
            )

    @activity.defn(name="registry.reconcile_blobs")
    def reconcile_blobs(self, one: ReconcileOne) -> ReconcileReport:
        """Compare the blobs of one beginning of digests; queue strays, repair what is lost.

        Where what was found is only told of, strays are too: they may be what it is made of.
        """
        settled = datetime.now(UTC) - timedelta(seconds=one.settle_seconds)
        stored = {}
        for blob in self.storage.blobs(one.name):
            stored[blob.digest] = blob
            heartbeat(f"listing blobs {one.name}", None)
        first, behind = f"{PREFIX}{one.name}", f"{PREFIX}{one.name}{BEHIND_HEX}"
        with self.store.read() as session:
            indexed = {
                row.digest: row for row in registry_views.blobs_between(session, first, behind)
            }
            manifests = registry_views.manifests_between(session, first, behind)
        strays = [
            blob
            for digest, blob in sorted(stored.items())
            if digest not in indexed and digest not in manifests and blob.modified_at <= settled
        ]
        found = []
        for blob in strays:
            heartbeat(f"queueing strays {one.name}", None)
            done = TOLD
            if one.adoption is Adoption.ADOPT:
                with self.store.write() as session:
                    sizes = {blob.digest: blob.size}
                    registry_reviews.track(session, sizes, now=datetime.now(UTC))
                done = "queued for review"
            found.append(Found(kind=Difference.STRAY_BLOB, name=blob.digest, done=done))
        lost = [d for d, row in sorted(indexed.items()) if row.state == LIVE and d not in stored]
        found += [item for digest in lost if (item := self._lost(digest)) is not None]
        report = _report("", found).plus(ReconcileReport(blobs=len({*indexed, *stored})))
        if found:
            self._tell(f"registry-blobs/{one.name}", report)
        return report

    def _lost(self, digest: str) -> Found | None:
        heartbeat(f"looking for {digest}", None)
        if self.storage.blob(digest) is not None:  # came in meanwhile
            return None
        repairs = Repairs(self.store, self.storage, self.source)
        fetched = repairs.broken(digest, "its bytes are missing")
        if fetched is None:
            return None
        done = "fetched again from a replica" if fetched else "marked broken"
        return Found(kind=Difference.MISSING_BLOB, name=digest, done=done)


def _report(where: str, found: list[Found]) -> ReconcileReport:
    at = f"{where}: " if where else ""
    return ReconcileReport(
        counts=dict(Counter(item.kind for item in found)),
        mended=sum(not item.done.startswith("told") for item in found),
        examples=[f"{at}{item.kind} {item.name}: {item.done}" for item in found[:MAX_EXAMPLES]],
    )
