"""Which EC2 instance this machine is, and what becomes of it, as its metadata service tells."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from urllib.parse import quote

import httpx2

from fleetwide.errors import PlatformError

METADATA_URL = "http://169.254.169.254"
TIMEOUT_SECONDS = 2.0
TAGS = "/latest/meta-data/tags/instance"


@dataclass(frozen=True)
class Instance:
    """An EC2 instance and where it runs."""

    id: str
    region: str
    zone: str
    machine_type: str = ""


def this_instance(url: str = METADATA_URL) -> Instance:
    """The instance that this process runs on. Source: "Instance identity documents", IMDSv2.

    Raises ``PlatformError`` when there is no metadata service: this is no EC2 instance.
    """
    try:
        with _metadata(url) as client:
            found = client.get("/latest/dynamic/instance-identity/document").raise_for_status()
        told = found.json()
        return Instance(
            told["instanceId"],
            told["region"],
            told["availabilityZone"],
            told.get("instanceType", ""),
        )
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise PlatformError(
            "this machine is no EC2 instance that knows itself",
            hint="FLEETWIDE_VM_BAKE=disk for a builder, or allow IMDSv2 on the instance",
        ) from error


def instance_tags(url: str = METADATA_URL) -> dict[str, str]:
    """The instance's own tags; empty where its metadata does not show them.

    Raises ``PlatformError`` when the metadata service does not answer.
    """
    try:
        with _metadata(url) as client:
            names = client.get(TAGS)
            if names.status_code == HTTPStatus.NOT_FOUND:
                return {}
            found = names.raise_for_status().text.splitlines()
            return {
                name: client.get(f"{TAGS}/{quote(name, safe='')}").raise_for_status().text
                for name in found
            }
    except httpx2.HTTPError as error:
        raise PlatformError(
            f"the instance's metadata do not tell its tags: {type(error).__name__}"
        ) from error


def interruption(url: str = METADATA_URL) -> datetime | None:
    """When EC2 takes this spot instance back; None while it has not said so.

    Source: "Spot Instance interruption notices": two minutes ahead, at best effort. Raises
    ``PlatformError`` when the metadata service does not answer.
    """
    try:
        with _metadata(url) as client:
            told = client.get("/latest/meta-data/spot/instance-action")
            if told.status_code == HTTPStatus.NOT_FOUND:
                return None
            return datetime.fromisoformat(told.raise_for_status().json()["time"])
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise PlatformError(
            f"the instance's metadata cannot be read: {type(error).__name__}"
        ) from error


@contextmanager
def _metadata(url: str) -> Iterator[httpx2.Client]:
    """A client of the metadata service with a session token (IMDSv2)."""
    with httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        wanted = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = client.put("/latest/api/token", headers=wanted).raise_for_status().text
        client.headers["X-aws-ec2-metadata-token"] = token
        yield client
