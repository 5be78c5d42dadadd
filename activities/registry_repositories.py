"""The end of a repository: first nobody sees it, then its parts go, then its name."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlmodel import Session
from temporalio import activity

from activities.progress import heartbeat
from fleetwide.errors import Conflict
from fleetwide.models.registry_documents import DeletionRequest, DeletionStep
from fleetwide.providers.progress import meanwhile
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.store import registry_deletion as deletion
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_usage import in_use
from fleetwide.store.session import Store

TAGS = 500
MANIFESTS = 100
BLOBS = 200
LOOK = 500
MAX_NAMED = 5
BUDGET_SECONDS = 10.0
"""How long one activity goes on: a history holds some thousand of them, a repository more."""


class RepositoryActivities:
    """Control side: the index. Each step may be done again after a kill."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="registry.mark_repository")
    def mark_repository(self, request: DeletionRequest) -> None:
        """Take the repository out of sight.

        Raises:
            NotFound: there is no such repository.
            Conflict: something needs an image of it; ``force`` does not ask.
        """
        by, now = request.by, datetime.now(UTC)
        with self.store.read() as session:
            row = deletion.find_any(session, request.repository)
            marked = row is not None and row.deleting_since is not None
        if not marked and not request.force:
            self._refuse_in_use(request.repository)
        with self.store.write(reason=request.reason) as session:
            deletion.mark(session, request.repository, by=by, now=now)
        if not request.force:
            self._refuse_started_meanwhile(request)

    def _refuse_started_meanwhile(self, request: DeletionRequest) -> None:
        try:
            self._refuse_in_use(request.repository)
        except Conflict as error:
            with self.store.write() as session:
                now = datetime.now(UTC)
                deletion.unmark(session, request.repository, error.message, by=request.by, now=now)
            raise

    def _refuse_in_use(self, name: str) -> None:
        uses = self._uses(name)
        if uses:
            more = f" and {len(uses) - MAX_NAMED} more" if len(uses) > MAX_NAMED else ""
            raise Conflict(
                f"{name} is needed by {', '.join(uses[:MAX_NAMED])}{more}",
                hint=f"fleetwide registry delete {name} --force",
            )

    def _uses(self, name: str) -> list[str]:
        after, found = "", list[str]()
        while True:
            with self.store.read() as session:
                row = deletion.find_any(session, name)
                if row is None:
                    return found
                digests = deletion.digests_page(session, id_of(row), after=after, limit=LOOK)
                uses = in_use(session, digests)
            found += [str(use) for digest in digests for use in uses.get(digest, ())]
            if len(digests) < LOOK:
                return sorted(set(found))
            after = digests[-1]
            heartbeat(f"looking who needs {name}", None)

    @activity.defn(name="registry.end_repository_tags", no_thread_cancel_exception=True)
    def end_repository_tags(self, step: DeletionStep) -> int:
        """End tags for a while; how many. 0 when there are no more."""
        return self._batches(
            step,
            lambda session, now: deletion.end_tags(
                session, step.repository, TAGS, by=step.by, now=now
            ),
        )

    @activity.defn(name="registry.delete_repository_manifests", no_thread_cancel_exception=True)
    def delete_repository_manifests(self, step: DeletionStep) -> int:
        """Delete manifests for a while; how many. 0 when there are no more."""
        return self._batches(
            step,
            lambda session, now: deletion.delete_manifests(
                session, step.repository, MANIFESTS, by=step.by, now=now
            ),
        )

    @activity.defn(name="registry.drop_repository_blobs", no_thread_cancel_exception=True)
    def drop_repository_blobs(self, step: DeletionStep) -> int:
        """Let blobs no longer belong to it, for a while; how many. 0 when there are no more."""
        return self._batches(
            step,
            lambda session, now: deletion.drop_blobs(session, step.repository, BLOBS, now=now),
        )

    @activity.defn(name="registry.finish_deletion")
    def finish_deletion(self, step: DeletionStep) -> None:
        """Forget what its tags meant, and its name."""
        while True:
            with self.store.write(reason=step.reason) as session:
                if deletion.find_any(session, step.repository) is None:
                    return
                if not deletion.forget_history(session, step.repository, TAGS):
                    now = datetime.now(UTC)
                    deletion.finish(session, step.repository, by=step.by, now=now)
                    return
            heartbeat(f"forgetting the tags of {step.repository}", None)

    @activity.defn(name="registry.stop_deletion")
    def stop_deletion(self, step: DeletionStep) -> None:
        """Let what is left be used again, and say what is gone."""
        with self.store.write() as session:
            now = datetime.now(UTC)
            message = f"the deletion was stopped: {step.removed.sentence}"
            deletion.unmark(session, step.repository, message, by=step.by, now=now)

    def _batches(self, step: DeletionStep, work: Callable[[Session, datetime], int]) -> int:
        """Batch after batch for a while, each a transaction; a cancel waits for the count."""
        deadline, done = time.monotonic() + BUDGET_SECONDS, 0
        while time.monotonic() < deadline:
            with self.store.write(reason=step.reason) as session:
                count = work(session, datetime.now(UTC))
            if count == 0:
                break
            done += count
        return done


class RepositoryLinks:
    """Storage side: what Distribution keeps of a repository."""

    def __init__(self, storage: RegistryStorage) -> None:
        self.storage = storage

    @activity.defn(name="registry.unlink_repository", no_thread_cancel_exception=True)
    def unlink_repository(self, name: str) -> None:
        """Remove all links of the repository; the bytes stay until they are collected."""
        meanwhile(
            heartbeat,
            f"removing the links of {name}",
            lambda: self.storage.remove_repository(name),
        )
