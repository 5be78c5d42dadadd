"""An AWS for tests: moto on a loopback port of this process, plain or made more like AWS.

Plain moto keeps no block devices, tags or boot mode of a registered image, checks no checksum and
knows no pending snapshots. ``tests/aws_like.py`` adds what the contract tests need of that.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
from moto.core.base_backend import BackendDict
from moto.ebs.responses import EBSResponse
from moto.ec2.models import ec2_backends
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from fleetwide.providers.cloud import Cloud
from fleetwide.settings import Settings
from tests.aws_like import aws_like

REGION = "eu-west-1"
COPY_REGION = "us-east-2"
ACCOUNT = "123456789012"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}


@dataclass
class Traffic:
    """What reached the server of an upload, and what a test does to it."""

    asked: list[int] = field(default_factory=list)
    """Block index of each request."""
    answered: list[int] = field(default_factory=list)
    """Block index of each request that was accepted."""
    before: Callable[[int], None] = lambda _index: None
    """Called with the block index ahead of each one; may wait, or raise ``ServiceException``."""
    started: Callable[[str], object] = lambda _snapshot_id: None
    """Called with the snapshot's id before StartSnapshot is answered."""
    sealed: Callable[[str], None] = lambda _snapshot_id: None
    """Called with the snapshot's id after CompleteSnapshot was accepted."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, eq=False)
class Aws:
    """A running server and the ways to look at it."""

    url: str
    traffic: Traffic

    # EC2's description takes half a second to load: it is loaded once for each server.
    @cache  # noqa: B019
    def cloud(self, in_flight: int = 4) -> Cloud:
        return Cloud(Settings(aws_endpoint_url=self.url), in_flight)

    @cache  # noqa: B019
    def client(self, service: str, region: str = REGION) -> Any:
        make: Any = _session().client
        return make(service, region_name=region, endpoint_url=self.url)

    def image(self, image_id: str, region: str = REGION) -> Any:
        return self.client("ec2", region).describe_images(ImageIds=[image_id])["Images"][0]

    def snapshot(self, snapshot_id: str, region: str = REGION) -> Any:
        found = self.client("ec2", region).describe_snapshots(SnapshotIds=[snapshot_id])
        return found["Snapshots"][0]

    def snapshot_ids(self, region: str = REGION) -> list[str]:
        return sorted(_ec2(region).snapshots)

    def set_snapshot_state(self, snapshot_id: str, state: str) -> None:
        _ec2(REGION).snapshots[snapshot_id].status = state

    def set_image_state(self, image_id: str, state: str, region: str = REGION) -> None:
        _ec2(region).amis[image_id].state = state

    def blocks(self, snapshot_id: str, region: str = REGION) -> dict[int, bytes]:
        """Every block of the snapshot, as it is read back."""
        ebs = self.client("ebs", region)
        return {
            block["BlockIndex"]: ebs.get_snapshot_block(SnapshotId=snapshot_id, **block)[
                "BlockData"
            ].read()
            for block in ebs.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"]
        }


@cache
def _session() -> boto3.session.Session:
    return boto3.session.Session("testing", "testing")


def _ec2(region: str) -> Any:
    return ec2_backends[ACCOUNT][region]


@contextmanager
def running_aws(*, like_aws: bool) -> Iterator[Aws]:
    """A server without any state, gone afterwards."""
    traffic = Traffic()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, ENVIRONMENT))
        if like_aws:
            stack.enter_context(aws_like())
        stack.enter_context(_watched(traffic))
        stack.callback(BackendDict.reset)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        yield Aws(f"http://{host}:{port}", traffic)


@contextmanager
def _watched(traffic: Traffic) -> Iterator[None]:
    put, complete = EBSResponse.put_snapshot_block, EBSResponse.complete_snapshot
    start = EBSResponse.start_snapshot

    def watched(self: EBSResponse) -> Any:
        index = int(self._get_param("BlockIndex"))
        with traffic.lock:
            traffic.asked.append(index)
        traffic.before(index)
        answer = put(self)
        with traffic.lock:
            traffic.answered.append(index)
        return answer

    def started(self: EBSResponse) -> Any:
        answer: Any = start(self)
        traffic.started(answer.result["SnapshotId"])
        return answer

    def sealed(self: EBSResponse) -> Any:
        answer = complete(self)
        traffic.sealed(self._get_param("SnapshotId"))
        return answer

    with (
        patch.object(EBSResponse, "put_snapshot_block", watched),
        patch.object(EBSResponse, "complete_snapshot", sealed),
        patch.object(EBSResponse, "start_snapshot", started),
    ):
        yield
