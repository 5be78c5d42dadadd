"""Where a batch job as a whole stands."""

from enum import StrEnum


class BatchState(StrEnum):
    """Where the whole job stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
