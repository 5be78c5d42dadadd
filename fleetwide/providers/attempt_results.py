"""Results of ended attempts, kept in the object store so that a retry finds them."""

from pydantic import ValidationError

from fleetwide.containers.outcome import ContainerState, Outcome
from fleetwide.errors import NotFound
from fleetwide.models.containers import AttemptKey, AttemptResult
from fleetwide.providers.objects import ObjectStore


def result_key(attempt: AttemptKey) -> str:
    """The object that holds an attempt's result."""
    return f"results/{attempt.container_name()}.json"


def load_result(store: ObjectStore, attempt: AttemptKey) -> AttemptResult | None:
    """The stored result; None when the attempt has not ended yet, as far as is known."""
    try:
        return AttemptResult.model_validate_json(store.get_bytes(result_key(attempt)))
    except (NotFound, ValidationError):
        return None


def save_result(store: ObjectStore, result: AttemptResult) -> None:
    """Store the result; the same again is fine."""
    store.put_bytes(result_key(result.key), result.model_dump_json().encode())


def ended(
    attempt: AttemptKey, host_id: str, outcome: Outcome, state: ContainerState | None
) -> AttemptResult:
    """The result of an attempt that came to ``outcome``; its log is not looked at."""
    return AttemptResult(
        key=attempt,
        host_id=host_id,
        reason=outcome.reason,
        message=outcome.message,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        oom_killed=outcome.oom_killed,
        started_at=state.started_at if state else None,
        finished_at=state.finished_at if state else None,
    )
