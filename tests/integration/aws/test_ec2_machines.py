"""Pool machines on EC2: started once, found, described, ended, and each refusal told."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.exceptions import ClientError

from fleetwide.errors import CloudUnavailable, InvalidInput, PlatformError
from fleetwide.models.pools import HostPoolSpec, MachineState, PoolLaunch
from fleetwide.providers.ec2_instance import instance_tags, interruption
from fleetwide.providers.ec2_machines import Ec2Machines
from fleetwide.settings import Settings
from tests.aws import REGION, Aws, running_aws
from workers.ec2_host import identified


class Ec2:
    """Moto with an image and subnets in two zones."""

    def __init__(self, aws: Aws) -> None:
        self.client = aws.client("ec2")
        self.machines = Ec2Machines(Settings(aws_endpoint_url=aws.url), aws.cloud())
        vpc = self.client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.client.create_subnet(
                VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("ab")
        ]
        self.image = self.client.register_image(
            Name="host", RootDeviceName="/dev/xvda", Architecture="x86_64"
        )["ImageId"]

    def spec(self, kind: str = "m5.large", **more: Any) -> HostPoolSpec:
        ec2 = {"region": REGION, "subnets": self.subnets, "image": self.image, **more}
        content = {"name": "web", "types": [{"name": kind}], "ec2": ec2, "labels": {"team": "a"}}
        return HostPoolSpec.model_validate(content)

    def launch(self, spec: HostPoolSpec, count: int, token: str = "t-1") -> list[str]:
        kind = spec.types[0].name
        wanted = PoolLaunch(spec=spec, type=kind, count=count, image=self.image, token=token)
        return [one.id for one in self.machines.launch(wanted)]

    def instance(self, machine: str) -> Any:
        found = self.client.describe_instances(InstanceIds=[machine])
        return found["Reservations"][0]["Instances"][0]


@pytest.fixture
def ec2() -> Iterator[Ec2]:
    with running_aws(like_aws=False) as aws:
        yield Ec2(aws)


def test_machines_are_spread_over_zones_and_say_whose_they_are(ec2: Ec2) -> None:
    spec = ec2.spec(spot=True)
    ids = ec2.launch(spec, 4)
    found = {one.id: one for one in ec2.machines.listing(spec)}
    assert sorted(found) == sorted(ids)
    assert sorted(one.zone for one in found.values()) == [f"{REGION}a"] * 2 + [f"{REGION}b"] * 2
    assert {one.image for one in found.values()} == {ec2.image}
    instance = ec2.instance(ids[0])
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert (tags["fleetwide:pool"], tags["fleetwide:labels"]) == ("web", "team=a")
    assert instance["InstanceLifecycle"] == "spot"
    assert instance["MetadataOptions"]["HttpTokens"] == "required"


def test_the_same_token_starts_machines_once(ec2: Ec2) -> None:
    spec = ec2.spec()
    first = ec2.launch(spec, 3)
    assert sorted(ec2.launch(spec, 3)) == sorted(first)
    assert len(ec2.machines.listing(spec)) == 3
    assert not set(ec2.launch(spec, 1, "t-2")) & set(first)


def test_ended_machines_are_not_listed_and_others_are_not_touched(ec2: Ec2) -> None:
    spec = ec2.spec()
    first, second = ec2.launch(spec, 2)
    [strange] = ec2.client.run_instances(ImageId=ec2.image, MinCount=1, MaxCount=1)["Instances"]
    ec2.machines.terminate(spec, [first, strange["InstanceId"], "i-0123456789abcdef0"])
    ec2.machines.terminate(spec, [first])
    left = ec2.machines.listing(spec)
    assert [(one.id, one.state) for one in left] == [(second, MachineState.RUNNING)]
    assert ec2.instance(strange["InstanceId"])["State"]["Name"] == "running"


def test_only_what_ec2_says_is_off_is_off(ec2: Ec2) -> None:
    spec = ec2.spec()
    ended, stopped, untagged, running = ec2.launch(spec, 4)
    ec2.client.terminate_instances(InstanceIds=[ended])
    ec2.client.stop_instances(InstanceIds=[stopped])
    ec2.client.delete_tags(Resources=[untagged], Tags=[{"Key": "fleetwide:pool"}])
    forgotten = "i-0123456789abcdef0"
    assert {one.id for one in ec2.machines.listing(spec)} == {stopped, running}
    asked = [ended, stopped, untagged, running, forgotten]
    assert ec2.machines.off(spec, asked) == [ended, stopped, forgotten]


def test_a_type_offers_what_ec2_says_less_the_reserve(ec2: Ec2) -> None:
    [offer] = ec2.machines.offers(ec2.spec())
    assert offer.host.total.cpu_milli == 2000
    assert 0 < offer.host.total.memory_bytes < 8 * 1024**3
    assert ("pool", "web") in offer.host.traits.labels
    assert ("team", "a") in offer.host.traits.labels
    with pytest.raises(InvalidInput, match="no such instance type"):
        ec2.machines.offers(ec2.spec("m99.huge"))


def test_a_zone_without_capacity_gives_way_to_the_next(
    ec2: Ec2, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ec2.machines._run
    full = {ec2.subnets[0]}

    def run(launch: PoolLaunch, subnet: str, least: int, most: int) -> Any:
        if subnet in full:
            raise refusal("InsufficientInstanceCapacity")
        return real(launch, subnet, least, most)

    monkeypatch.setattr(ec2.machines, "_run", run)
    spec = ec2.spec()
    assert ec2.launch(spec, 3)
    assert {one.zone for one in ec2.machines.listing(spec)} == {f"{REGION}b"}
    full.add(ec2.subnets[1])
    with pytest.raises(CloudUnavailable, match=r"EC2 has no m5\.large left"):
        ec2.launch(spec, 1, "t-2")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("InvalidSubnetID.NotFound", InvalidInput),
        ("InstanceLimitExceeded", CloudUnavailable),
        ("UnauthorizedOperation", CloudUnavailable),
    ],
)
def test_a_refusal_is_told(
    ec2: Ec2, monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception]
) -> None:
    def run(*_: Any) -> Any:
        raise refusal(code)

    monkeypatch.setattr(ec2.machines, "_run", run)
    with pytest.raises(error, match=code):
        ec2.launch(ec2.spec(), 1)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "RunInstances")


ABOUT = {"instanceId": "i-1", "region": REGION, "availabilityZone": f"{REGION}a"}


class Metadata:
    """An instance's metadata service; what it does not have is not found."""

    def __init__(self) -> None:
        self.pages = {"/latest/dynamic/instance-identity/document": json.dumps(ABOUT)}
        pages = self.pages

        class Service(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.tell(200, "token")

            def do_GET(self) -> None:
                known = self.headers["X-aws-ec2-metadata-token"] == "token"
                text = pages.get(unquote(self.path))
                self.tell(401 if not known else 404 if text is None else 200, text or "")

            def tell(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    service = Metadata()
    yield service
    service.server.shutdown()
    service.server.server_close()


def test_an_instance_names_itself_and_its_pool(metadata: Metadata) -> None:
    tags = {"fleetwide:pool": "web", "fleetwide:labels": "team=a", "Name": "x y"}
    root = "/latest/meta-data/tags/instance"
    metadata.pages |= {root: "\n".join(tags), **{f"{root}/{k}": v for k, v in tags.items()}}
    assert instance_tags(metadata.url) == tags
    given = Settings(host_id="ec2", host_labels="disk=ssd", host_metadata_url=metadata.url)
    settings = identified(given)
    assert settings.host_id == "i-1"
    assert settings.host_labels == "team=a,pool=web,disk=ssd"


def test_an_instance_whose_tags_are_not_shown_has_none(metadata: Metadata) -> None:
    assert instance_tags(metadata.url) == {}
    assert identified(Settings(host_id="rack-1")).host_id == "rack-1"


def test_an_interruption_is_told_by_its_time(metadata: Metadata) -> None:
    assert interruption(metadata.url) is None
    notice = {"action": "terminate", "time": "2026-01-02T03:04:05Z"}
    metadata.pages["/latest/meta-data/spot/instance-action"] = json.dumps(notice)
    found = interruption(metadata.url)
    assert found is not None
    assert found.isoformat() == "2026-01-02T03:04:05+00:00"
    metadata.pages["/latest/meta-data/spot/instance-action"] = "[]"
    with pytest.raises(PlatformError, match="cannot be read"):
        interruption(metadata.url)
