"""Every error that Fleetwide raises on purpose.

FleetwideError
├── UserError                 the request is at fault; the same request can never succeed
│   ├── InvalidInput          a field is missing, unknown, malformed or out of range
│   ├── NotFound              the named thing does not exist
│   │   └── ImageNotFound     the named container image is not in the registry
│   ├── Conflict              the thing exists already, or changed in between
│   ├── CursorGone            the events behind a cursor were deleted, as they were old
│   ├── Unauthenticated       nobody knows who asks: log in first
│   ├── Denied                a rule, or what the account is granted, forbids it
│   ├── ArtifactRejected      a deployment artifact is not what it says it is
│   │   ├── ArtifactMismatch  its bytes are not those of its SHA-256
│   │   └── WrongArchitecture it is built for other machines than the base
│   ├── DependencyUnsatisfied the base and its archives do not have what an artifact needs
│   ├── InstallFailed         an artifact's own install script failed
│   │   └── InstallTimedOut   or did not come to an end
│   ├── LimitExceeded         a script or a build took more of the builder than it may
│   ├── BaseUnusable          the OS release is held, revoked or retired
│   ├── PolicyRefused         the image breaks a rule of the bakery policy
│   ├── SmokeTestFailed       the image does not start as it should
│   ├── BuildFailed           the user's own packages or scripts failed to build
│   ├── TaskFailed            a container task ended otherwise than with exit code 0
│   └── JobFailed             some children of a batch job failed for good
└── PlatformError             Fleetwide or something below it is at fault; trying again may help
    ├── RegistryUnavailable   Docker Distribution did not answer as a registry
    ├── DockerUnavailable     the container host's Docker daemon did not answer
    ├── ImagePullFailed       the image exists but a host could not fetch it
    ├── ObjectStoreUnavailable the log and artifact store did not answer
    ├── CloudUnavailable      EC2 or EBS did not answer, or refused this platform's own request
    └── ServiceUnavailable    another part of the platform (Temporal, the API) did not answer

An error has a code (its class), one sentence, an optional hint that can be pasted, and for bad
input the fields. ``TRAITS`` maps every code to an HTTP status, a retry decision and a title.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """The stable name of an error: the Temporal failure type and the API's problem type."""

    INVALID_INPUT = "InvalidInput"
    NOT_FOUND = "NotFound"
    IMAGE_NOT_FOUND = "ImageNotFound"
    CONFLICT = "Conflict"
    CURSOR_GONE = "CursorGone"
    UNAUTHENTICATED = "Unauthenticated"
    DENIED = "Denied"
    ARTIFACT_REJECTED = "ArtifactRejected"
    ARTIFACT_MISMATCH = "ArtifactMismatch"
    WRONG_ARCHITECTURE = "WrongArchitecture"
    DEPENDENCY_UNSATISFIED = "DependencyUnsatisfied"
    INSTALL_FAILED = "InstallFailed"
    INSTALL_TIMED_OUT = "InstallTimedOut"
    LIMIT_EXCEEDED = "LimitExceeded"
    BASE_UNUSABLE = "BaseUnusable"
    POLICY_REFUSED = "PolicyRefused"
    SMOKE_TEST_FAILED = "SmokeTestFailed"
    BUILD_FAILED = "BuildFailed"
    TASK_FAILED = "TaskFailed"
    JOB_FAILED = "JobFailed"
    REGISTRY_UNAVAILABLE = "RegistryUnavailable"
    DOCKER_UNAVAILABLE = "DockerUnavailable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    OBJECT_STORE_UNAVAILABLE = "ObjectStoreUnavailable"
    CLOUD_UNAVAILABLE = "CloudUnavailable"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    INTERNAL = "Internal"


@dataclass(frozen=True)
class ErrorTraits:
    """What an error code means to each reader: HTTP clients, retries, people."""

    status: int
    retryable: bool
    title: str


TRAITS: dict[ErrorCode, ErrorTraits] = {
    ErrorCode.INVALID_INPUT: ErrorTraits(422, retryable=False, title="The input is not valid"),
    ErrorCode.NOT_FOUND: ErrorTraits(404, retryable=False, title="There is no such thing"),
    ErrorCode.IMAGE_NOT_FOUND: ErrorTraits(404, retryable=False, title="There is no such image"),
    ErrorCode.CONFLICT: ErrorTraits(409, retryable=False, title="The request conflicts"),
    ErrorCode.CURSOR_GONE: ErrorTraits(410, retryable=False, title="The cursor is too old"),
    ErrorCode.UNAUTHENTICATED: ErrorTraits(401, retryable=False, title="Log in first"),
    ErrorCode.DENIED: ErrorTraits(403, retryable=False, title="It is not allowed"),
    ErrorCode.ARTIFACT_REJECTED: ErrorTraits(
        422, retryable=False, title="The artifact was refused"
    ),
    ErrorCode.ARTIFACT_MISMATCH: ErrorTraits(
        422, retryable=False, title="The artifact has other bytes than its digest says"
    ),
    ErrorCode.WRONG_ARCHITECTURE: ErrorTraits(
        422, retryable=False, title="The artifact is built for other machines"
    ),
    ErrorCode.DEPENDENCY_UNSATISFIED: ErrorTraits(
        422, retryable=False, title="A dependency cannot be satisfied"
    ),
    ErrorCode.INSTALL_FAILED: ErrorTraits(
        422, retryable=False, title="The artifact's own install script failed"
    ),
    ErrorCode.INSTALL_TIMED_OUT: ErrorTraits(
        422, retryable=False, title="The artifact's own install script did not end"
    ),
    ErrorCode.LIMIT_EXCEEDED: ErrorTraits(
        422, retryable=False, title="A script took more of the builder than it may"
    ),
    ErrorCode.BASE_UNUSABLE: ErrorTraits(
        410, retryable=False, title="The OS release must not be used"
    ),
    ErrorCode.POLICY_REFUSED: ErrorTraits(
        422, retryable=False, title="The bakery policy refuses the image"
    ),
    ErrorCode.SMOKE_TEST_FAILED: ErrorTraits(
        422, retryable=False, title="The image failed its smoke test"
    ),
    ErrorCode.BUILD_FAILED: ErrorTraits(422, retryable=False, title="The build failed"),
    ErrorCode.TASK_FAILED: ErrorTraits(422, retryable=False, title="The task failed"),
    ErrorCode.JOB_FAILED: ErrorTraits(422, retryable=False, title="The batch job failed"),
    ErrorCode.REGISTRY_UNAVAILABLE: ErrorTraits(
        503, retryable=True, title="The registry does not answer"
    ),
    ErrorCode.DOCKER_UNAVAILABLE: ErrorTraits(
        503, retryable=True, title="The Docker daemon does not answer"
    ),
    ErrorCode.IMAGE_PULL_FAILED: ErrorTraits(
        503, retryable=True, title="The image could not be pulled"
    ),
    ErrorCode.OBJECT_STORE_UNAVAILABLE: ErrorTraits(
        503, retryable=True, title="The object store does not answer"
    ),
    ErrorCode.CLOUD_UNAVAILABLE: ErrorTraits(
        503, retryable=True, title="The cloud does not answer"
    ),
    ErrorCode.SERVICE_UNAVAILABLE: ErrorTraits(
        503, retryable=True, title="The service does not answer"
    ),
    ErrorCode.INTERNAL: ErrorTraits(500, retryable=True, title="Something broke inside"),
}


@dataclass(frozen=True)
class FieldFault:
    """One wrong field: where it is, what is wrong with it, what was given."""

    field: str
    message: str
    given: str | None = None

    def __str__(self) -> str:
        given = "" if self.given is None else f" (given: {self.given})"
        return f"{self.field}: {self.message}{given}"


class FleetwideError(Exception):
    """Base of all; ``except FleetwideError`` catches everything raised on purpose."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(
        self, message: str, *, hint: str | None = None, fields: tuple[FieldFault, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    @property
    def traits(self) -> ErrorTraits:
        return TRAITS[self.code]


class UserError(FleetwideError):
    """The request is at fault."""

    code = ErrorCode.INVALID_INPUT


class InvalidInput(UserError):
    """A field is missing, unknown, malformed or out of range; ``fields`` names each."""

    code = ErrorCode.INVALID_INPUT

    @classmethod
    def for_field(
        cls, field: str, message: str, *, given: object = None, hint: str | None = None
    ) -> "InvalidInput":
        fault = FieldFault(field, message, None if given is None else repr(given)[:80])
        return cls(str(fault), hint=hint, fields=(fault,))


class NotFound(UserError):
    """The named thing does not exist."""

    code = ErrorCode.NOT_FOUND


class ImageNotFound(NotFound):
    """The named container image is not in the registry."""

    code = ErrorCode.IMAGE_NOT_FOUND


class Conflict(UserError):
    """The thing exists already, or changed in between."""

    code = ErrorCode.CONFLICT


class CursorGone(UserError):
    """Events behind the cursor of a stream were deleted, as they were old: it has a gap."""

    code = ErrorCode.CURSOR_GONE


class Unauthenticated(UserError):
    """The request has no account's credentials, or wrong ones."""

    code = ErrorCode.UNAUTHENTICATED


class Denied(UserError):
    """A rule of the organisation forbids it, or no grant allows it; the message says which."""

    code = ErrorCode.DENIED


class ArtifactRejected(UserError):
    """A deployment artifact is not what it says it is, or is unsafe to unpack."""

    code = ErrorCode.ARTIFACT_REJECTED


class ArtifactMismatch(ArtifactRejected):
    """The artifact's bytes are not those of its SHA-256: another file, or one that was cut off."""

    code = ErrorCode.ARTIFACT_MISMATCH


class WrongArchitecture(ArtifactRejected):
    """The artifact is built for other machines than the base."""

    code = ErrorCode.WRONG_ARCHITECTURE


class DependencyUnsatisfied(UserError):
    """Neither the base nor its archives have what an artifact needs."""

    code = ErrorCode.DEPENDENCY_UNSATISFIED


class InstallFailed(UserError):
    """An artifact's own install script failed; the message keeps its last lines."""

    code = ErrorCode.INSTALL_FAILED


class InstallTimedOut(InstallFailed):
    """An artifact's own install script did not come to an end."""

    code = ErrorCode.INSTALL_TIMED_OUT


class LimitExceeded(UserError):
    """A script or a build took more memory, processes or disk of the builder than it may."""

    code = ErrorCode.LIMIT_EXCEEDED


class BaseUnusable(UserError):
    """The OS release is held, revoked or retired."""

    code = ErrorCode.BASE_UNUSABLE


class PolicyRefused(UserError):
    """The image breaks a rule that the bakery policy refuses; the message names rule and place."""

    code = ErrorCode.POLICY_REFUSED


class SmokeTestFailed(UserError):
    """The image does not start as it should; the message keeps its last lines."""

    code = ErrorCode.SMOKE_TEST_FAILED


class BuildFailed(UserError):
    """The user's packages or scripts failed; the message keeps the last lines of output."""

    code = ErrorCode.BUILD_FAILED


class TaskFailed(UserError):
    """A container task ended otherwise than with exit code 0."""

    code = ErrorCode.TASK_FAILED


class JobFailed(UserError):
    """Some children of a batch job failed for good."""

    code = ErrorCode.JOB_FAILED


class PlatformError(FleetwideError):
    """Fleetwide or something below it is at fault; the operation may be tried again."""

    code = ErrorCode.INTERNAL


class RegistryUnavailable(PlatformError):
    """Docker Distribution did not answer as a registry."""

    code = ErrorCode.REGISTRY_UNAVAILABLE


class DockerUnavailable(PlatformError):
    """The Docker daemon of this host did not answer."""

    code = ErrorCode.DOCKER_UNAVAILABLE


class ImagePullFailed(PlatformError):
    """The image exists but this host could not fetch it."""

    code = ErrorCode.IMAGE_PULL_FAILED


class ObjectStoreUnavailable(PlatformError):
    """The log and artifact store did not answer."""

    code = ErrorCode.OBJECT_STORE_UNAVAILABLE


class CloudUnavailable(PlatformError):
    """EC2 or EBS did not answer, or refused a request that is the platform's own."""

    code = ErrorCode.CLOUD_UNAVAILABLE


class ServiceUnavailable(PlatformError):
    """Another part of the platform did not answer."""

    code = ErrorCode.SERVICE_UNAVAILABLE


def error_class(code: str) -> type[FleetwideError]:
    """The class that a code stands for; the base class for a code that is not known here."""
    families = (FleetwideError, UserError, PlatformError)
    leaves = [cls for cls in _subclasses(FleetwideError) if cls not in families]
    return next((cls for cls in leaves if cls.code == code), FleetwideError)


def _subclasses(cls: type[FleetwideError]) -> list[type[FleetwideError]]:
    return [item for sub in cls.__subclasses__() for item in (sub, *_subclasses(sub))]
