"""Exit codes, documented in ``fleetwide --help``."""

from enum import IntEnum

from fleetwide.errors import ErrorCode


class Exit(IntEnum):
    """What an exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNAVAILABLE = 6
    INTERRUPTED = 130


# Total over ErrorCode (a test asserts it).
EXIT_OF: dict[ErrorCode, Exit] = {
    ErrorCode.INVALID_INPUT: Exit.BAD_INPUT,
    ErrorCode.NOT_FOUND: Exit.NOT_FOUND,
    ErrorCode.IMAGE_NOT_FOUND: Exit.NOT_FOUND,
    ErrorCode.CONFLICT: Exit.CONFLICT,
    ErrorCode.CURSOR_GONE: Exit.CONFLICT,
    ErrorCode.UNAUTHENTICATED: Exit.FAILED,
    ErrorCode.DENIED: Exit.FAILED,
    ErrorCode.ARTIFACT_REJECTED: Exit.BAD_INPUT,
    ErrorCode.ARTIFACT_MISMATCH: Exit.BAD_INPUT,
    ErrorCode.WRONG_ARCHITECTURE: Exit.BAD_INPUT,
    ErrorCode.DEPENDENCY_UNSATISFIED: Exit.FAILED,
    ErrorCode.INSTALL_FAILED: Exit.FAILED,
    ErrorCode.INSTALL_TIMED_OUT: Exit.FAILED,
    ErrorCode.LIMIT_EXCEEDED: Exit.FAILED,
    ErrorCode.BASE_UNUSABLE: Exit.CONFLICT,
    ErrorCode.POLICY_REFUSED: Exit.FAILED,
    ErrorCode.SMOKE_TEST_FAILED: Exit.FAILED,
    ErrorCode.BUILD_FAILED: Exit.FAILED,
    ErrorCode.TASK_FAILED: Exit.FAILED,
    ErrorCode.JOB_FAILED: Exit.FAILED,
    ErrorCode.REGISTRY_UNAVAILABLE: Exit.UNAVAILABLE,
    ErrorCode.DOCKER_UNAVAILABLE: Exit.UNAVAILABLE,
    ErrorCode.IMAGE_PULL_FAILED: Exit.UNAVAILABLE,
    ErrorCode.OBJECT_STORE_UNAVAILABLE: Exit.UNAVAILABLE,
    ErrorCode.CLOUD_UNAVAILABLE: Exit.UNAVAILABLE,
    ErrorCode.SERVICE_UNAVAILABLE: Exit.UNAVAILABLE,
    ErrorCode.INTERNAL: Exit.UNAVAILABLE,
}

HELP = (
    "Exit codes: 0 all is well; 1 the thing itself failed; 2 wrong usage; 3 bad input; "
    "4 not found; 5 conflict; 6 the platform is unavailable; 130 interrupted."
)
