"""Containers that nobody waits for any more: evidence kept, container removed."""

from fleetwide.containers.outcome import Outcome, classify, stopped_before_start
from fleetwide.models.containers import AttemptKey, EndReason
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.attempt_results import ended, load_result, save_result
from fleetwide.providers.docker import ContainerHost, ListedContainer
from fleetwide.providers.objects import ObjectStore


def salvage(
    host: ContainerHost, store: ObjectStore, found: ListedContainer, attempt: AttemptKey
) -> None:
    """Stop the container if it runs, store its log and result unless known, remove it."""
    if load_result(store, attempt) is None and found.status != "created":
        _keep_evidence(host, store, found, attempt)
    elif found.status == "created":
        outcome = stopped_before_start(EndReason.KILLED)
        save_result(store, ended(attempt, host.host_id, outcome, None))
    host.remove(found.id)


def _keep_evidence(
    host: ContainerHost, store: ObjectStore, found: ListedContainer, attempt: AttemptKey
) -> None:
    runs = found.status != "exited"
    if runs:
        host.stop(found.id)
    log = _store_log(host, store, found.id, attempt)
    state = host.inspect(found.id)
    if state is None:
        return
    outcome: Outcome = classify(state, EndReason.KILLED if runs else None, log.tail())
    result = ended(attempt, host.host_id, outcome, state).model_copy(
        update={"log_key": attempt.log_key(), "last_lines": log.tail()}
    )
    save_result(store, result)


def _store_log(
    host: ContainerHost, store: ObjectStore, container: str, attempt: AttemptKey
) -> LogWriter:
    log = LogWriter(store, attempt.log_key())
    stream = host.follow(container)
    try:
        for piece in host.read(stream):
            log.write(piece)
    finally:
        stream.close()
    log.flush()
    return log
