"""EC2 and EBS: one client per region, retries, polling, and what their errors mean."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as NotConnectedError
from botocore.parsers import ResponseParserError

from fleetwide.errors import CloudUnavailable, Conflict, FleetwideError, InvalidInput, NotFound
from fleetwide.providers.progress import INTERVAL_SECONDS, Progress
from fleetwide.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ebs import EBSClient
    from mypy_boto3_ec2 import EC2Client

Result = TypeVar("Result")

# The last one comes of an answer that is not AWS's, such as a proxy's page; it has no other base.
BOTO_ERRORS = (ClientError, BotoCoreError, ResponseParserError)

DEFAULT_IN_FLIGHT = 16
EBS_OPERATIONS = frozenset({"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot"})
# EBS may not know a snapshot for some seconds after StartSnapshot has answered with its id.
WRITING_OPERATIONS = frozenset({"PutSnapshotBlock", "CompleteSnapshot"})
THROTTLED_CODES = frozenset(
    {
        "RequestThrottledException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "ConcurrentLimitExceededException",
        "SlowDown",
    }
)
DENIED_CODES = frozenset(
    {
        "UnauthorizedOperation",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "AccessDenied",
        "AccessDeniedException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "OptInRequired",
    }
)
MISSING_CODES = frozenset(
    {
        "InvalidAMIID.NotFound",
        "InvalidAMIID.Malformed",
        "InvalidAMIID.Unavailable",
        "InvalidSnapshot.NotFound",
        "InvalidSnapshotID.Malformed",
        "InvalidVolume.NotFound",
        "ResourceNotFoundException",
    }
)
CONFLICT_CODES = frozenset({"InvalidAMIName.Duplicate", "InvalidSnapshot.InUse"})
INPUT_CODES = frozenset({"InvalidAMIAttributeItemValue", "InvalidUserID.Malformed"})


class Cloud:
    """The platform's way to EC2 and EBS; safe to share between threads.

    ``in_flight`` is how many EBS requests can be under way at once.
    """

    def __init__(self, settings: Settings, in_flight: int = DEFAULT_IN_FLIGHT) -> None:
        self._endpoint = settings.aws_endpoint_url
        self._session = boto3.session.Session()
        self._lock = threading.Lock()
        self._ec2: dict[str, EC2Client] = {}
        self._ebs: dict[str, EBSClient] = {}
        self.in_flight = in_flight

    def ec2(self, region: str) -> "EC2Client":
        with self._lock:
            if region not in self._ec2:
                self._ec2[region] = self._session.client(
                    "ec2",
                    region_name=region,
                    endpoint_url=self._endpoint,
                    config=_config(attempts=6),
                )
            return self._ec2[region]

    def ebs(self, region: str) -> "EBSClient":
        """A client that never retries: ``Retries`` does, since it can be stopped in between."""
        with self._lock:
            if region not in self._ebs:
                self._ebs[region] = self._session.client(
                    "ebs",
                    region_name=region,
                    endpoint_url=self._endpoint,
                    config=_config(attempts=1, connections=self.in_flight),
                )
            return self._ebs[region]


def _config(attempts: int, connections: int = 10) -> Config:
    return Config(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )


@dataclass(frozen=True)
class Retries:
    """How often a request is made, and the waits in between: doubled each time, half of it random.

    The defaults last about a minute, which outlasts a snapshot that EBS does not know yet.
    """

    attempts: int = 12
    first_wait_seconds: float = 0.1
    longest_wait_seconds: float = 20.0

    def run(self, call: Callable[[], Result], stopped: threading.Event) -> Result:
        """The answer of ``call``; its last error when none came, or once ``stopped`` is set."""
        for attempt in range(self.attempts - 1):
            try:
                return call()
            except BOTO_ERRORS as error:
                pause = min(self.first_wait_seconds * 2**attempt, self.longest_wait_seconds)
                if not is_passing(error) or stopped.wait(pause * random.uniform(0.5, 1)):  # noqa: S311
                    raise
        return call()

    def attended(self, call: Callable[[], Result], tell: Callable[[], None]) -> Result:
        """Like ``run``, calling ``tell`` a few times a second meanwhile.

        What ``tell`` raises ends the retries; it comes through when the last request is over, and
        what ``call`` did with its answer is then done.
        """
        stopped = threading.Event()
        with ThreadPoolExecutor(1, "aws-request") as pool:
            answer = pool.submit(self.run, call, stopped)
            try:
                while wait([answer], INTERVAL_SECONDS).not_done:
                    tell()
            finally:
                stopped.set()
        return answer.result()


@dataclass(frozen=True)
class Patience:
    """How long something that the cloud does by itself is waited for."""

    seconds: float = 3600.0
    poll_seconds: float = 3.0

    def until(self, done: Callable[[], bool], progress: Progress, what: str) -> None:
        """Ask until ``done``; ``CloudUnavailable`` when it takes too long."""
        deadline = time.monotonic() + self.seconds
        while not done():
            if time.monotonic() >= deadline:
                raise CloudUnavailable(f"{what} was not over after {self.seconds:g} s")
            next_poll = time.monotonic() + self.poll_seconds
            while (left := next_poll - time.monotonic()) > 0:
                progress(what, None)
                time.sleep(min(left, INTERVAL_SECONDS))


def code_of(error: Exception) -> str:
    """AWS's error code, or the class of an error that is not AWS's answer."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    if not isinstance(error, ClientError):
        return isinstance(error, (HTTPClientError, NotConnectedError, ResponseParserError))
    if error.operation_name in WRITING_OPERATIONS and code_of(error) in MISSING_CODES:
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or code_of(error) in THROTTLED_CODES


@contextmanager
def missing_is_fine() -> Iterator[None]:
    """Let an answer pass that says that the thing does not exist."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in MISSING_CODES:
            raise


@contextmanager
def translated(region: str) -> Iterator[None]:
    """Raise what botocore raises as errors of the platform."""
    try:
        yield
    except ClientError as error:
        raise _translate(error, region) from error
    except NoCredentialsError as error:
        raise CloudUnavailable(
            "this worker has no AWS credentials", hint="aws sts get-caller-identity"
        ) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise CloudUnavailable(
            f"AWS did not answer in {region}: {type(error).__name__}",
            hint=f"aws ec2 describe-images --owners self --region {region}",
        ) from error


def _translate(error: ClientError, region: str) -> FleetwideError:
    code, operation = code_of(error), error.operation_name
    service = "ebs" if operation in EBS_OPERATIONS else "ec2"
    said = error.response.get("Error", {}).get("Message") or "no reason given"
    text = f"{service.upper()} refused {operation} in {region}: {code} ({said})"
    if code in DENIED_CODES:
        return CloudUnavailable(
            text, hint=f"aws sts get-caller-identity  # its role needs {service}:{operation}"
        )
    if "LimitExceeded" in code or "QuotaExceeded" in code:
        hint = f"aws service-quotas list-service-quotas --service-code {service} --region {region}"
        return CloudUnavailable(text, hint=hint)
    if code in MISSING_CODES and operation not in WRITING_OPERATIONS:
        return NotFound(text)
    if code in CONFLICT_CODES:
        return Conflict(text)
    if code in INPUT_CODES:
        return InvalidInput(text)
    return CloudUnavailable(text)
