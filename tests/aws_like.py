"""What AWS does and moto does not, as far as the contract tests of AMIs need it."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ebs.models import EBSSnapshot
from moto.ebs.responses import EBSResponse
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.utils import random_ami_id

BLOCK_BYTES = 524288
BLOCKS_PER_GIB = 2048


@contextmanager
def aws_like() -> Iterator[None]:
    """Put the answers of this module in the place of moto's."""
    tokens = _Tokens()
    answers = {
        (EBSResponse, "start_snapshot"): lambda self: _start_snapshot(self, tokens),
        (EBSResponse, "put_snapshot_block"): _put_snapshot_block(EBSResponse.put_snapshot_block),
        (EBSResponse, "complete_snapshot"): _complete_snapshot,
        (AmisResponse, "register_image"): _register_image,
        (AmisResponse, "copy_image"): lambda self: _copy_image(self, tokens),
        (AmisResponse, "enable_image_deprecation"): _enable_image_deprecation,
        (AmisResponse, "disable_image_deprecation"): _disable_image_deprecation,
    }
    with ExitStack() as stack:
        for (owner, name), answer in answers.items():
            stack.enter_context(patch.object(owner, name, answer, create=True))
        yield


class EbsRefusal(ServiceException):
    """An error answer of EBS; moto takes the service's name from the module's."""

    __module__ = "moto.ebs.exceptions"


class _Tokens:
    """Client tokens: the same token gives the same answer, and only for the same request."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, str]] = {}

    def once(self, token: str, request: Any, make: Any) -> str:
        if token in self._known:
            before, answer = self._known[token]
            if before != request:
                raise EbsRefusal("ConflictException", "another request had this token")
            return answer
        answer = str(make())
        self._known[token] = (request, answer)
        return answer


def _snapshot(response: EBSResponse, snapshot_id: str) -> EBSSnapshot:
    found = response.ebs_backend.snapshots.get(snapshot_id)
    if found is None or snapshot_id not in response.ebs_backend.ec2_backend.snapshots:
        raise EbsRefusal("ResourceNotFoundException", f"The snapshot {snapshot_id} does not exist.")
    return found


def _pending(response: EBSResponse) -> EBSSnapshot:
    found = _snapshot(response, response._get_param("SnapshotId"))
    if found.status != "pending":
        raise EbsRefusal("ValidationException", "The snapshot is not pending.")
    return found


def _start_snapshot(response: EBSResponse, tokens: _Tokens) -> ActionResult:
    names = ("VolumeSize", "ParentSnapshotId", "Description", "Timeout")
    request = {name: response._get_param(name) for name in names}
    tags = response._get_param("Tags") or []
    backend = response.ebs_backend
    parent_id = request["ParentSnapshotId"]
    if parent_id and _snapshot(response, parent_id).status != "completed":
        raise EbsRefusal("ValidationException", "The parent snapshot is not completed.")

    def make() -> str:
        started = backend.start_snapshot(request["VolumeSize"], tags, request["Description"])
        started.block_size = BLOCK_BYTES
        started.parent_id = parent_id  # type: ignore[attr-defined]
        backend.ec2_backend.snapshots[started.snapshot_id].status = "pending"
        return started.snapshot_id

    snapshot_id = tokens.once(response._get_param("ClientToken"), (request, tags), make)
    found = backend.snapshots[snapshot_id]
    return ActionResult(
        {
            "SnapshotId": snapshot_id,
            "Status": found.status,
            "VolumeSize": found.volume_size,
            "BlockSize": found.block_size,
            "ParentSnapshotId": parent_id,
        }
    )


def _put_snapshot_block(plain: Any) -> Any:
    def put(response: EBSResponse) -> Any:
        snapshot = _pending(response)
        data = response._get_param("BlockData")
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        if response._get_param("Checksum") != digest:
            raise EbsRefusal("ValidationException", "The checksum does not match the block.")
        if len(data) != BLOCK_BYTES or int(response._get_param("DataLength")) != BLOCK_BYTES:
            raise EbsRefusal("ValidationException", "A block has 524288 bytes.")
        if int(response._get_param("BlockIndex")) >= snapshot.volume_size * BLOCKS_PER_GIB:
            raise EbsRefusal("ValidationException", "The block lies beyond the volume.")
        return plain(response)

    return put


def _complete_snapshot(response: EBSResponse) -> ActionResult:
    snapshot = _pending(response)
    if int(response._get_param("ChangedBlocksCount")) != len(snapshot.blocks):
        raise EbsRefusal("ValidationException", "The count of changed blocks does not match.")
    checksum = response._get_param("Checksum")
    if checksum is not None and checksum != _linear(snapshot):
        raise EbsRefusal("ValidationException", "The checksum does not match the blocks.")
    snapshot.status = "completed"
    backend = response.ebs_backend
    backend.ec2_backend.snapshots[snapshot.snapshot_id].status = "completed"
    parent = backend.snapshots.get(snapshot.parent_id or "")  # type: ignore[attr-defined]
    if parent:
        snapshot.blocks = {**parent.blocks, **snapshot.blocks}
    return ActionResult({"Status": "completed"})


def _linear(snapshot: EBSSnapshot) -> str:
    digests = [
        base64.b64decode(snapshot.blocks[index].checksum or "") for index in sorted(snapshot.blocks)
    ]
    return base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()


class _KeptAmi(Ami):
    """An image that keeps what it was registered with."""

    def __init__(self, backend: Any, snapshot: Snapshot, request: dict[str, Any]) -> None:
        super().__init__(
            backend,
            random_ami_id(),
            name=request["Name"],
            description=request["Description"],
            architecture=request["Architecture"],
            virtualization_type=request["VirtualizationType"],
            root_device_name=request["RootDeviceName"],
            root_device_type="ebs",
            boot_mode=request["BootMode"],
        )
        del backend.snapshots[self.ebs_snapshot.id]
        self.ebs_snapshot = snapshot
        snapshot.from_ami = self.id  # moto then refuses to delete it
        self.request = request
        self.ena_support = request["EnaSupport"]
        self.imds_support = request["ImdsSupport"]
        self.deprecation_time: datetime | None = None
        backend.amis[self.id] = self

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        disk = self.request["BlockDeviceMappings"][0]["Ebs"]
        kept = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": self.ebs_snapshot.volume_size}
        return [{"DeviceName": self.root_device_name, "Ebs": {**disk, **kept}}]


REGISTERED = (
    *("Name", "Description", "Architecture", "VirtualizationType", "RootDeviceName"),
    *("BootMode", "EnaSupport", "ImdsSupport", "BlockDeviceMappings"),
)


def _register_image(response: AmisResponse) -> ActionResult:
    request = {name: response._get_param(name) for name in REGISTERED}
    backend = response.ec2_backend
    if any(ami.name == request["Name"] for ami in backend.amis.values()):
        raise EC2ClientError(
            "InvalidAMIName.Duplicate", f"AMI name {request['Name']} is already in use"
        )
    snapshot = backend.get_snapshot(request["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"])
    if snapshot.status != "completed":
        raise EC2ClientError("IncorrectState", "The snapshot is not completed.")
    ami: Any = _KeptAmi(backend, snapshot, request)
    ami.add_tags(response._parse_tag_specification().get("image", {}))
    return ActionResult({"ImageId": ami.id})


def _copy_image(response: AmisResponse, tokens: _Tokens) -> ActionResult:
    backend: Any = response.ec2_backend
    region, image_id = response._get_param("SourceRegion"), response._get_param("SourceImageId")
    source: Any = ec2_backends[backend.account_id][region].describe_images(ami_ids=[image_id])[0]

    def make() -> str:
        copied: Any = backend.copy_snapshot(source.ebs_snapshot.id, region, "copy", None)
        copied.add_tags(response._parse_tag_specification().get("snapshot", {}))
        ami: Any = _KeptAmi(
            backend, copied, {**source.request, "Name": response._get_param("Name")}
        )
        if response._get_bool_param("CopyImageTags"):
            ami.add_tags({tag["key"]: tag["value"] for tag in source.get_tags()})
        return str(ami.id)

    return ActionResult(
        {"ImageId": tokens.once(response._get_param("ClientToken"), (region, image_id), make)}
    )


def _enable_image_deprecation(response: AmisResponse) -> ActionResult:
    at = datetime.fromisoformat(str(response._get_param("DeprecateAt"))).replace(tzinfo=UTC)
    if at < datetime.now(UTC):
        raise EC2ClientError("InvalidParameterValue", "DeprecateAt lies in the past.")
    response.ec2_backend.amis[response._get_param("ImageId")].deprecation_time = at
    return ActionResult({"Return": True})


def _disable_image_deprecation(response: AmisResponse) -> ActionResult:
    response.ec2_backend.amis[response._get_param("ImageId")].deprecation_time = None
    return ActionResult({"Return": True})
