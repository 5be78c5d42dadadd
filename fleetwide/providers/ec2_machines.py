"""EC2 instances as the machines of host pools.

An instance is its own host: its id is the host's id, and its tags, which its metadata service
shows it, say which pool it belongs to. No secret is in its user data.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError

from fleetwide.containers.offers import Kept, reserve_of
from fleetwide.containers.placement import UNCOUNTED, Amounts, Host, Offer, traits_of
from fleetwide.errors import CloudUnavailable, InvalidInput
from fleetwide.models.pools import (
    LABELS_TAG,
    POOL_LABEL,
    POOL_TAG,
    Ec2Launch,
    HostPoolSpec,
    HostType,
    Machine,
    MachineState,
    PoolLaunch,
    label_text,
)
from fleetwide.providers.cloud import BOTO_ERRORS, Cloud, code_of, translated
from fleetwide.settings import Settings

LAUNCH_TAG = "fleetwide:launch"
WORKFLOW_TAG = "fleetwide:workflow-id"
MAX_TOKEN = 64
MAX_AT_ONCE = 100
"""Instances that one request names."""
_STATES: dict[str, MachineState] = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "stopping": MachineState.ENDING,
    # Nobody stops machines of a pool but people and AWS's retirements: they are of no use then.
    "stopped": MachineState.GONE,
    "shutting-down": MachineState.ENDING,
}
"""Total over the states that are listed; a terminated instance is not."""
_OFF = frozenset({"stopped", "terminated"})
# Another subnet, and so another zone, may still have some.
_FULL = frozenset({"InsufficientInstanceCapacity", "InsufficientFreeAddressesInSubnet"})
_WRONG = frozenset(
    {
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "InvalidSubnetID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidAMIID.NotFound",
        "InvalidAMIID.Malformed",
        "InvalidInstanceType",
        "Unsupported",
    }
)


class Ec2Machines:
    """Needs ``ec2:RunInstances``, ``DescribeInstances``, ``DescribeInstanceTypes``,
    ``TerminateInstances`` and ``CreateTags``; see ``docs/reference/iam/control.json``.
    """

    def __init__(self, settings: Settings, cloud: Cloud | None = None) -> None:
        self._cloud = cloud or Cloud(settings)
        self._kept = Kept(
            settings.host_reserve_cpu, settings.host_reserve_memory, settings.host_reserve_disk
        )
        self._described = lru_cache(maxsize=256)(self._describe_type)

    def offers(self, spec: HostPoolSpec) -> Sequence[Offer]:
        return [self._offer(spec, one) for one in spec.types]

    def _offer(self, spec: HostPoolSpec, one: HostType) -> Offer:
        ec2 = _ec2(spec)
        total = _amounts(one, self._described(ec2.region, one.name), self._kept)
        labels = {"machine-type": one.name, **labels_of(spec)}
        host = Host(f"new-{one.name}", total=total, free=total, traits=traits_of(labels))
        return Offer(one.name, host, one.price)

    def _describe_type(self, region: str, name: str) -> Mapping[str, Any]:
        with translated(region):
            try:
                found = self._cloud.ec2(region).describe_instance_types(
                    InstanceTypes=[name]  # type: ignore[list-item]  # any text: EC2 judges it
                )["InstanceTypes"]
            except ClientError as error:
                if code_of(error) != "InvalidInstanceType":
                    raise
                found = []
        if not found:
            raise InvalidInput.for_field(
                "types",
                f"EC2 has no such instance type in {region}",
                given=name,
                hint=f"aws ec2 describe-instance-type-offerings --region {region}",
            )
        return found[0]

    def launch(self, launch: PoolLaunch) -> Sequence[Machine]:
        """Spread over the subnets; where one has less capacity, the next one gets more."""
        ec2 = _ec2(launch.spec)
        machines = self._launched(ec2.region, launch.token)
        full = ""
        for left, subnet in _in_turn(launch.token, ec2.subnets):
            count = -(-(launch.count - len(machines)) // left)
            if count <= 0:
                break
            for least in sorted({count, 1}, reverse=True):
                try:
                    machines += self._run(launch, subnet, least, count)
                    break
                except BOTO_ERRORS as error:
                    full = _full(error, ec2.region)
        if not machines:
            raise CloudUnavailable(f"EC2 has no {launch.type} left: {full}")
        return machines

    def _launched(self, region: str, token: str) -> list[Machine]:
        """What an earlier try has started: EC2 forgets its own tokens after a day or two."""
        return self._find(region, {f"tag:{LAUNCH_TAG}": [token]})

    def _run(self, launch: PoolLaunch, subnet: str, least: int, most: int) -> Sequence[Machine]:
        request = _request(launch, subnet, least, most)
        answer = self._cloud.ec2(_ec2(launch.spec).region).run_instances(**request)
        return [_machine(one) for one in answer["Instances"]]

    def listing(self, spec: HostPoolSpec) -> Sequence[Machine]:
        wanted = {f"tag:{POOL_TAG}": [spec.name], "instance-state-name": list(_STATES)}
        return self._find(_ec2(spec).region, wanted)

    def _find(self, region: str, wanted: Mapping[str, list[str]]) -> list[Machine]:
        found = [_machine(one) for one in self._described_by(region, wanted)]
        return sorted(found, key=lambda one: (one.launched_at, one.id))

    def _described_by(
        self, region: str, wanted: Mapping[str, list[str]]
    ) -> list[Mapping[str, Any]]:
        filters: Any = [{"Name": name, "Values": values} for name, values in wanted.items()]
        found = list[Mapping[str, Any]]()
        with translated(region):
            pages = self._cloud.ec2(region).get_paginator("describe_instances")
            for page in pages.paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    found += reservation.get("Instances", [])
        return found

    def off(self, spec: HostPoolSpec, machines: Sequence[str]) -> Collection[str]:
        """By id, whatever the tags: EC2 forgets an instance an hour after its end."""
        found: dict[str, str] = {}
        for first in range(0, len(machines), MAX_AT_ONCE):
            some = list(machines[first : first + MAX_AT_ONCE])
            found |= self._states(_ec2(spec).region, {"instance-id": some})
        return [one for one in machines if found.get(one, "terminated") in _OFF]

    def _states(self, region: str, wanted: Mapping[str, list[str]]) -> dict[str, str]:
        return {
            one["InstanceId"]: one["State"]["Name"] for one in self._described_by(region, wanted)
        }

    def terminate(self, spec: HostPoolSpec, machines: Sequence[str]) -> None:
        region = _ec2(spec).region
        there = sorted({one.id for one in self.listing(spec)} & set(machines))
        with translated(region):
            for first in range(0, len(there), MAX_AT_ONCE):
                some = there[first : first + MAX_AT_ONCE]
                self._cloud.ec2(region).terminate_instances(InstanceIds=some)


def labels_of(spec: HostPoolSpec) -> dict[str, str]:
    """The labels of every host of the pool."""
    return {**spec.labels, POOL_LABEL: spec.name}


def _ec2(spec: HostPoolSpec) -> Ec2Launch:
    assert spec.ec2 is not None  # the model's validator
    return spec.ec2


def _request(launch: PoolLaunch, subnet: str, least: int, most: int) -> dict[str, Any]:
    """``RunInstances``: IMDSv2 only, with tags that the instance itself can read."""
    spec, ec2 = launch.spec, _ec2(launch.spec)
    seed = f"{launch.token}/{subnet}/{least}/{most}"
    token = hashlib.sha256(seed.encode()).hexdigest()[:MAX_TOKEN]
    tags = {
        "Name": f"fleetwide {spec.name}",
        POOL_TAG: spec.name,
        LAUNCH_TAG: launch.token,
        LABELS_TAG: label_text(spec.labels),
        WORKFLOW_TAG: f"pool/{spec.name}",
    }
    pairs = [{"Key": name, "Value": value} for name, value in tags.items() if value]
    request: dict[str, Any] = {
        "ClientToken": token,
        "ImageId": launch.image,
        "InstanceType": launch.type,
        "MinCount": least,
        "MaxCount": most,
        "SubnetId": subnet,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,  # containers reach no metadata
            "InstanceMetadataTags": "enabled",
        },
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": pairs} for kind in ("instance", "volume")
        ],
    }
    if ec2.security_groups:
        request["SecurityGroupIds"] = ec2.security_groups
    if ec2.instance_profile:
        request["IamInstanceProfile"] = {"Name": ec2.instance_profile}
    if ec2.spot:
        request["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
    return request


def _machine(found: Mapping[str, Any]) -> Machine:
    return Machine(
        id=found["InstanceId"],
        type=found["InstanceType"],
        state=_STATES.get(found["State"]["Name"], MachineState.ENDING),
        image=found.get("ImageId", ""),
        zone=found.get("Placement", {}).get("AvailabilityZone", ""),
        launched_at=found["LaunchTime"],
    )


def _amounts(one: HostType, found: Mapping[str, Any], kept: Kept) -> Amounts:
    memory = found["MemoryInfo"]["SizeInMiB"] * 1024**2
    reserve = reserve_of(kept, memory, None)
    gpus: Sequence[Mapping[str, Any]] = found.get("GpuInfo", {}).get("Gpus", [])
    cpu = one.cpu if one.cpu is not None else found["VCpuInfo"]["DefaultVCpus"] - reserve.cpu
    return Amounts(
        cpu_milli=round(cpu * 1000),
        memory_bytes=int(one.memory) if one.memory is not None else memory - reserve.memory,
        disk_bytes=UNCOUNTED,
        network_mbps=UNCOUNTED,
        gpus=sum(int(gpu.get("Count", 0)) for gpu in gpus),
    )


def _in_turn(token: str, subnets: Sequence[str]) -> Iterable[tuple[int, str]]:
    """The subnets, beginning at another one for each token, with how many are still to come."""
    first = int(hashlib.sha256(token.encode()).hexdigest(), 16) % len(subnets)
    order = [*subnets[first:], *subnets[:first]]
    return ((len(order) - number, subnet) for number, subnet in enumerate(order))


def _full(error: Exception, region: str) -> str:
    """What EC2 says of a subnet without capacity; every other refusal is raised.

    Raises:
        InvalidInput: the request can never work.
        CloudUnavailable: anything else.
    """
    if code_of(error) in _FULL:
        return str(error)
    if code_of(error) in _WRONG:
        raise InvalidInput(f"EC2 refused the launch in {region}: {error}") from error
    with translated(region):
        raise error
    raise AssertionError  # translated raises
