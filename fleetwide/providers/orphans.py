"""Containers that nobody waits for any more: evidence kept, container removed."""

from fleetwide.containers.company import CONTAINER_LABEL
from fleetwide.containers.masks import Masker
from fleetwide.containers.outcome import Outcome, classify, stopped_before_start
from fleetwide.models.containers import AttemptKey
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.attempt_results import ended, load_result, save_result
from fleetwide.providers.companion_orphans import held_secrets, salvage_companion
from fleetwide.providers.engine import ContainerEngine, ListedContainer
from fleetwide.providers.objects import ObjectStore


def salvage(
    host: ContainerEngine,
    store: ObjectStore,
    found: ListedContainer,
    attempt: AttemptKey,
    *,
    reason: EndReason = EndReason.KILLED,
) -> None:
    """Stop the container if it runs, store its log and result unless known, remove it.

    ``reason`` is why it is not waited for; a lost one is lost, however it ended by itself.
    """
    name = found.labels.get(CONTAINER_LABEL)
    if name is not None:
        salvage_companion(host, store, found, attempt, name)
        return
    if load_result(store, attempt) is None:
        if found.status == "created":
            outcome = stopped_before_start(reason)
            save_result(store, ended(attempt, host.host_id, outcome, None))
        else:
            _keep_evidence(host, store, found, attempt, reason)
    host.remove(found.id)


def _keep_evidence(
    host: ContainerEngine,
    store: ObjectStore,
    found: ListedContainer,
    attempt: AttemptKey,
    reason: EndReason,
) -> None:
    runs = found.status != "exited"
    if runs:
        host.stop(found.id)
    log = _store_log(host, store, found.id, attempt)
    state = host.inspect(found.id)
    if state is None:
        return
    ended_by_us = runs or reason is EndReason.LOST
    outcome: Outcome = classify(state, reason if ended_by_us else None, log.tail())
    result = ended(attempt, host.host_id, outcome, state).model_copy(
        update={"log_key": attempt.log_key(), "last_lines": log.tail()}
    )
    save_result(store, result)


def _store_log(
    host: ContainerEngine, store: ObjectStore, container: str, attempt: AttemptKey
) -> LogWriter:
    log = LogWriter(store, attempt.log_key())
    secrets = held_secrets(host, attempt)
    if secrets is None:
        log.withhold()
        log.flush()
        return log
    masker = Masker(secrets)
    stream = host.follow(container)
    try:
        for piece in host.read(stream):
            log.write(masker.feed(piece))
        log.write(masker.end())
    finally:
        stream.close()
    log.flush()
    return log
