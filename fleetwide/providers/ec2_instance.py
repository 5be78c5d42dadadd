"""Which EC2 instance this builder is, as its own metadata service tells."""

from dataclasses import dataclass

import httpx2

from fleetwide.errors import PlatformError

METADATA_URL = "http://169.254.169.254"
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Instance:
    """An EC2 instance and where it runs."""

    id: str
    region: str
    zone: str


def this_instance(url: str = METADATA_URL) -> Instance:
    """The instance that this process runs on. Source: "Instance identity documents", IMDSv2.

    Raises ``PlatformError`` when there is no metadata service: this is no EC2 instance.
    """
    try:
        with httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            wanted = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            token = client.put("/latest/api/token", headers=wanted).raise_for_status().text
            answer = client.get(
                "/latest/dynamic/instance-identity/document",
                headers={"X-aws-ec2-metadata-token": token},
            )
            found = answer.raise_for_status().json()
        return Instance(found["instanceId"], found["region"], found["availabilityZone"])
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise PlatformError(
            "this builder is no EC2 instance that knows itself: VMs cannot be baked on volumes",
            hint="FLEETWIDE_VM_BAKE=disk, or allow IMDSv2 on the instance",
        ) from error
