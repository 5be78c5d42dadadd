"""Target groups of AWS (ELBv2) whose targets are IP addresses, as places for copies of services."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from fleetwide.errors import CloudUnavailable, NotFound
from fleetwide.providers.cloud import BOTO_ERRORS, code_of
from fleetwide.services.target_groups import TOLD, Health, Told
from fleetwide.services.upstreams import Place
from fleetwide.settings import Settings

MAX_AT_ONCE = 100
"""Targets that one request names."""
_NO_GROUP = "TargetGroupNotFound"
_NO_TARGET = "InvalidTarget"


class TargetGroups:
    """Needs ``elasticloadbalancing:RegisterTargets``, ``DeregisterTargets`` and
    ``DescribeTargetHealth``; see ``docs/reference/iam/scheduler.json``. Safe for many threads.

    ``NotFound`` is raised of a group that does not exist, ``CloudUnavailable`` of all else.
    """

    def __init__(self, settings: Settings) -> None:
        self._endpoint = settings.aws_endpoint_url
        self._session = boto3.session.Session()
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def health(self, arn: str) -> dict[Place, Health]:
        """All targets of the group, whoever put them there, that are not gone from it."""
        try:
            found = self._client(arn).describe_target_health(TargetGroupArn=arn)
        except BOTO_ERRORS as error:
            raise _translate(error, arn) from error
        told = [
            (each["Target"], each["TargetHealth"]) for each in found["TargetHealthDescriptions"]
        ]
        return {
            (target["Id"], int(target.get("Port", 0))): _health(health)
            for target, health in told
            if health.get("Reason") != "Target.NotRegistered"
        }

    def register(self, arn: str, places: Sequence[Place]) -> None:
        """Have the group send requests to these places; those that are in it already stay."""
        for some in _portions(places):
            try:
                self._client(arn).register_targets(TargetGroupArn=arn, Targets=some)
            except BOTO_ERRORS as error:
                raise _translate(error, arn) from error

    def deregister(self, arn: str, places: Sequence[Place]) -> None:
        """Have the group send these places nothing new; those that are not in it are no error."""
        for some in _portions(places):
            try:
                self._client(arn).deregister_targets(TargetGroupArn=arn, Targets=some)
            except BOTO_ERRORS as error:
                if code_of(error) != _NO_TARGET:
                    raise _translate(error, arn) from error

    def _client(self, arn: str) -> Any:
        region = arn.split(":")[3]
        with self._lock:
            if region not in self._clients:
                make: Any = self._session.client  # there are no types for this service
                self._clients[region] = make(
                    "elbv2",
                    region_name=region,
                    endpoint_url=self._endpoint,
                    config=Config(
                        connect_timeout=5,
                        read_timeout=10,
                        retries={"mode": "standard", "total_max_attempts": 2},
                    ),
                )
            return self._clients[region]


def _portions(places: Sequence[Place]) -> Iterable[list[dict[str, Any]]]:
    for first in range(0, len(places), MAX_AT_ONCE):
        some = places[first : first + MAX_AT_ONCE]
        yield [{"Id": address, "Port": port} for address, port in some]


def _health(told: dict[str, Any]) -> Health:
    words = ": ".join(told[key] for key in ("State", "Reason", "Description") if told.get(key))
    return Health(TOLD.get(told["State"], Told.WAITS), f"AWS says {words}")


def _translate(error: Exception, arn: str) -> CloudUnavailable | NotFound:
    if code_of(error) == _NO_GROUP:
        return NotFound(f"AWS has no target group {arn}")
    said, needs = type(error).__name__, ""
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message") or "no reason given"
        said = f"refused {error.operation_name}: {code_of(error)} ({message})"
        needs = f"  # the role needs elasticloadbalancing:{error.operation_name}"
    return CloudUnavailable(f"AWS, target group {arn}: {said}", hint=_HINT + needs)


_HINT = "aws sts get-caller-identity"
