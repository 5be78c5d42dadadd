"""Target groups on moto: copies come and go, others' targets stay, errors say what to do."""

from typing import Any

import pytest

from fleetwide.errors import CloudUnavailable, NotFound
from fleetwide.providers.target_groups import TargetGroups
from fleetwide.services.target_groups import Told
from fleetwide.settings import Settings
from tests.aws import REGION, Aws

ONE, TWO, OTHER = ("10.0.0.1", 20_000), ("10.0.0.2", 20_001), ("10.0.0.3", 80)


def group(aws: Aws) -> str:
    ec2, elb = aws.client("ec2"), aws.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made: dict[str, Any] = elb.create_target_group(
        Name="shop", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip"
    )
    return str(made["TargetGroups"][0]["TargetGroupArn"])


def test_targets_come_and_go_and_those_of_others_stay(aws: Aws) -> None:
    arn, groups = group(aws), TargetGroups(Settings(aws_endpoint_url=aws.url))
    others = [{"Id": OTHER[0], "Port": OTHER[1]}]
    aws.client("elbv2").register_targets(TargetGroupArn=arn, Targets=others)
    for _ in range(2):
        groups.register(arn, [ONE, TWO])
    assert {place: one.told for place, one in groups.health(arn).items()} == dict.fromkeys(
        (ONE, TWO, OTHER), Told.SERVES
    )
    for _ in range(2):
        groups.deregister(arn, [ONE])
    assert set(groups.health(arn)) == {TWO, OTHER}
    groups.register(arn, [])


def test_a_group_that_does_not_exist_and_one_that_cannot_be_asked_differ(aws: Aws) -> None:
    missing = f"arn:aws:elasticloadbalancing:{REGION}:123456789012:targetgroup/no/0123456789abcdef"
    groups = TargetGroups(Settings(aws_endpoint_url=aws.url))
    with pytest.raises(NotFound, match="no target group"):
        groups.health(missing)
    away = TargetGroups(Settings(aws_endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(CloudUnavailable, match="EndpointConnectionError") as told:
        away.register(missing, [ONE])
    assert told.value.hint is not None
