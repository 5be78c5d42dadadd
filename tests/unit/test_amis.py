from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from fleetwide.baseos.amis import (
    BUILD_KEY_TAG,
    PLATFORM_TAGS,
    WORKFLOW_TAG,
    AmiSubject,
    ami_description,
    ami_name,
    ami_tags,
    boot_mode_of,
    check_ami_tags,
    permission_change,
)
from fleetwide.errors import (
    CloudUnavailable,
    Conflict,
    FleetwideError,
    InvalidInput,
    NotFound,
)
from fleetwide.models.baseos import Architecture, BootMode, BuildPlan, OSImageSpec
from fleetwide.providers.cloud import Patience, is_passing, translated

ORGANIZATION = "arn:aws:organizations::123456789012:organization/o-abc"
UNIT = "arn:aws:organizations::123456789012:ou/o-abc/ou-def"


def plan_of(version: str = "20261122.1", **changes: Any) -> BuildPlan:
    ami = {"regions": ["eu-west-1"], "tags": changes.pop("tags", {})}
    fields = {"name": "baseos", "suite": "bookworm", "targets": ["vm"], "ami": ami, **changes}
    spec = OSImageSpec.model_validate(fields)
    return BuildPlan(
        workflow_id=f"os/{spec.name}/{version}",
        spec=spec,
        name=spec.name,
        version=version,
        repository=f"os/{spec.name}",
        tag=version,
        parent="20261121.1",
    )


def subject_of(plan: BuildPlan) -> AmiSubject:
    return AmiSubject(plan, "sha256:key", "sha256:lock", 86400, "sha256:image")


def test_the_name_tells_line_version_architecture_and_boot() -> None:
    assert ami_name(plan_of()) == "baseos-20261122.1-x86_64-bios"
    arm = plan_of(architecture="arm64", vm={"boot": "uefi"})
    assert ami_name(arm) == "baseos-20261122.1-arm64-uefi"


def test_debian_versions_fit_into_ec2_names() -> None:
    assert ami_name(plan_of("1.0~rc1+b2")) == "baseos-1.0@rc1_b2-x86_64-bios"


def test_long_names_are_cut_and_stay_apart() -> None:
    names = [ami_name(plan_of("1" * 62 + end, name="n" * 63)) for end in "ab"]
    assert [len(name) for name in names] == [128, 128]
    assert names[0] != names[1]


def test_the_description_names_the_distribution() -> None:
    assert ami_description(plan_of()) == "baseos 20261122.1: debian bookworm, amd64"


def test_tags_tell_where_the_image_comes_from() -> None:
    tags = ami_tags(subject_of(plan_of(owner="core", tags={"cost": "42"})))
    assert tags == {
        "Name": "baseos-20261122.1-x86_64-bios",
        "creator": "fleetwide",
        "creation_time": "1970-01-02T00:00:00Z",
        "os_line": "baseos",
        "os_release": "20261122.1",
        "os_parent": "20261121.1",
        "lock_digest": "sha256:lock",
        "image_digest": "sha256:image",
        "owner": "core",
        "cost": "42",
        WORKFLOW_TAG: "os/baseos/20261122.1",
        BUILD_KEY_TAG: "sha256:key",
    }
    assert tags.keys() - {"cost"} == PLATFORM_TAGS


def test_empty_values_make_no_tags() -> None:
    assert "owner" not in ami_tags(subject_of(plan_of()))


@pytest.mark.parametrize(
    ("tags", "fault"),
    [
        ({"Name": "mine"}, "set by the platform"),
        ({"fleetwide:anything": "x"}, "set by the platform"),
        ({"AWS:x": "y"}, "reserved"),
        ({"k" * 128: "x"}, "1 to 127"),
        ({"k": "v" * 256}, "1 to 255"),
        ({"k": ""}, "1 to 255"),
        ({f"k{number}": "v" for number in range(40)}, "room for 39"),
    ],
)
def test_tags_that_cannot_be(tags: dict[str, str], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        check_ami_tags(tags)


def test_as_many_tags_as_there_is_room_for() -> None:
    check_ami_tags({f"k{number}": "v" for number in range(39)})


def test_boot_modes_in_ec2s_words() -> None:
    assert boot_mode_of(Architecture.AMD64, BootMode.BIOS) == "legacy-bios"
    assert boot_mode_of(Architecture.ARM64, BootMode.UEFI) == "uefi"
    with pytest.raises(InvalidInput, match="UEFI only"):
        boot_mode_of(Architecture.ARM64, BootMode.BIOS)


def test_permissions_change_only_where_they_differ() -> None:
    now = [{"UserId": "1"}, {"UserId": "2"}, {"Group": "all"}]
    change = permission_change(now, ["2", "3"], [UNIT, ORGANIZATION])
    assert change.add == [
        {"OrganizationArn": ORGANIZATION},
        {"OrganizationalUnitArn": UNIT},
        {"UserId": "3"},
    ]
    assert change.remove == [{"Group": "all"}, {"UserId": "1"}]
    assert not permission_change([{"UserId": "2"}], ["2"], [])


def aws_error(code: str, operation: str, status: int = 400) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "so it is"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, operation)


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (aws_error("UnauthorizedOperation", "CopyImage"), CloudUnavailable, "ec2:CopyImage"),
        (aws_error("ExpiredToken", "StartSnapshot"), CloudUnavailable, "ebs:StartSnapshot"),
        (aws_error("SnapshotLimitExceeded", "CopyImage"), CloudUnavailable, "service-quotas"),
        (aws_error("InvalidAMIID.NotFound", "CopyImage"), NotFound, None),
        (aws_error("ResourceNotFoundException", "StartSnapshot"), NotFound, None),
        (aws_error("ResourceNotFoundException", "PutSnapshotBlock"), CloudUnavailable, None),
        (aws_error("InvalidSnapshot.InUse", "DeleteSnapshot"), Conflict, None),
        (aws_error("InvalidAMIAttributeItemValue", "ModifyImageAttribute"), InvalidInput, None),
        (aws_error("Whatever", "CopyImage"), CloudUnavailable, None),
        (NoCredentialsError(), CloudUnavailable, "get-caller-identity"),
        (EndpointConnectionError(endpoint_url="x"), CloudUnavailable, "eu-west-1"),
    ],
)
def test_what_aws_says_in_the_platforms_words(
    error: Exception, kind: type[FleetwideError], hint: str | None
) -> None:
    with pytest.raises(FleetwideError) as caught, translated("eu-west-1"):
        raise error
    assert type(caught.value) is kind
    assert (hint or "") in (caught.value.hint or "")
    if isinstance(error, ClientError):
        assert error.operation_name in caught.value.message
        assert "so it is" in caught.value.message


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (aws_error("RequestThrottledException", "PutSnapshotBlock"), True),
        (aws_error("Anything", "PutSnapshotBlock", 503), True),
        (aws_error("ResourceNotFoundException", "PutSnapshotBlock"), True),
        (aws_error("ResourceNotFoundException", "StartSnapshot"), False),
        (aws_error("ValidationException", "PutSnapshotBlock"), False),
        (EndpointConnectionError(endpoint_url="x"), True),
        (NoCredentialsError(), False),
    ],
)
def test_which_errors_pass_by_themselves(error: Exception, passing: bool) -> None:
    assert is_passing(error) is passing


def test_patience_asks_again_and_tells_progress() -> None:
    answers = iter([False, False, True])
    told: list[str] = []
    patience = Patience(seconds=60, poll_seconds=0.01)
    patience.until(lambda: next(answers), lambda phrase, _fraction: told.append(phrase), "a thing")
    assert told == ["a thing", "a thing"]
