from typing import Any

import pytest

from fleetwide.bakery.vm_tags import (
    PLATFORM_TAGS,
    VmFacts,
    appversion,
    base_ami,
    check_vm_tags,
    vm_description,
    vm_name,
    vm_tags,
)
from fleetwide.baseos.amis import BUILD_KEY_TAG, WORKFLOW_TAG
from fleetwide.errors import InvalidInput
from fleetwide.models.os_releases import AmiImage
from tests.unit.bakes import BASE, bake_spec, resolved

BUILD = {
    "job": "HELLO-master",
    "number": "12",
    "commit": "1a2b3c4",
    "url": "https://ci.example/12",
    "host": "ci.example",
}
AMI = AmiImage(region="eu-west-1", image_id="ami-1", snapshot_id="snap-1", name="baseos-1")
FACTS = VmFacts("bake/1", AMI, "sha256:" + "5" * 64)


def vm(**changes: Any) -> dict[str, Any]:
    return {"targets": ["vm"], "ami": {"regions": ["eu-west-1"]}, **changes}


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (BUILD, "hello-1.0.0-h12.1a2b3c4/HELLO-master/12"),
        ({"number": "12", "commit": "1a2b3c4"}, "hello-1.0.0-h12.1a2b3c4"),
        ({"number": "12"}, "hello-1.0.0-h12"),
        ({"job": "x", "commit": "1a2b3c4"}, "hello-1.0.0"),
        ({**BUILD, "job": "j" * 200, "commit": "a" * 64}, f"hello-1.0.0-h12.{'a' * 64}"),
    ],
)
def test_the_appversion_is_netflixs(build: dict[str, str], text: str) -> None:
    assert appversion(bake_spec(build=build)) == text


def test_every_tag_of_the_common_metadata_is_there() -> None:
    bake = resolved(**vm(build=BUILD, owner="team", labels={"tier": "web"}))
    assert vm_tags(bake, FACTS) == {
        "Name": vm_name(bake),
        "appversion": "hello-1.0.0-h12.1a2b3c4/HELLO-master/12",
        "creator": "fleetwide",
        "creation_time": "2026-11-22T00:00:00Z",
        "owner": "team",
        "os_line": "baseos",
        "os_release": "20261122.1",
        "channel_at_bake": "stable",
        "base_digest": BASE.digest,
        "base_ami_id": "ami-1",
        "base_ami_name": "baseos-1",
        "base_ami_version": "20261122.1",
        "build_host": "ci.example",
        "build_job": "HELLO-master",
        "build_number": "12",
        "build_info_url": "https://ci.example/12",
        "commit_hash": "1a2b3c4",
        "sbom_digest": "sha256:" + "5" * 64,
        "bake_key": bake.bake_key,
        BUILD_KEY_TAG: bake.bake_key,
        WORKFLOW_TAG: "bake/1",
        "tier": "web",
    }


def test_what_is_not_known_gets_no_tag() -> None:
    bake = resolved(**vm())
    exact = bake.spec.model_copy(update={"base": "baseos:20261122.1"})
    tags = vm_tags(bake.model_copy(update={"spec": exact}), VmFacts("bake/1"))
    assert all(tags.values())
    assert {"base_ami_id", "sbom_digest", "owner", "channel_at_bake"}.isdisjoint(tags)


def test_tags_of_the_ami_go_before_labels() -> None:
    ami = {"regions": ["eu-west-1"], "tags": {"tier": "ami"}}
    bake = resolved(**vm(labels={"tier": "label", "x": "y"}, ami=ami))
    tags = vm_tags(bake, FACTS)
    assert (tags["tier"], tags["x"]) == ("ami", "y")


def test_the_name_tells_these_very_bytes() -> None:
    bake = resolved(**vm())
    assert vm_name(bake) == f"hello-1.0.0-x86_64-202611220000-{bake.bake_key[:12]}"
    assert vm_name(resolved(**vm(build=BUILD, owner="x"))) == vm_name(bake)


def test_the_description_is_aminators() -> None:
    assert vm_description(resolved(**vm()), AMI) == (
        "name=hello, version=1.0.0, arch=x86_64, ancestor_name=baseos, "
        "ancestor_version=20261122.1, ancestor_id=ami-1"
    )


def test_the_bases_ami_is_that_of_the_region_and_has_a_snapshot() -> None:
    bare = AMI.model_copy(update={"region": "us-east-1", "snapshot_id": ""})
    bake = resolved(BASE.model_copy(update={"amis": [bare, AMI]}), **vm())
    assert base_ami(bake, "eu-west-1") == AMI
    assert base_ami(bake, "us-east-1") is None


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"appversion": "x"}, "labels.appversion: is set by the platform"),
        ({"fleetwide:x": "x"}, "labels.fleetwide:x: is set by the platform"),
        ({"AWS:x": "x"}, "the prefix aws: is reserved"),
        ({"x": "v" * 256}, "labels.x: a value has 1 to 255 characters"),
        ({"k" * 128: "x"}, "a key has 1 to 127 characters"),
        ({f"k{number}": "x" for number in range(50)}, "labels: holds 50 tags; there is room for"),
    ],
)
def test_a_label_that_ec2_would_refuse_is_named(labels: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_vm_tags(bake_spec(**vm(labels=labels)))


def test_labels_and_tags_together_are_counted() -> None:
    labels = {f"l{number}": "x" for number in range(20)}
    tags = {f"t{number}": "x" for number in range(20)}
    spec = bake_spec(**vm(labels=labels, ami={"regions": ["eu-west-1"], "tags": tags}))
    with pytest.raises(InvalidInput, match=f"there is room for {50 - len(PLATFORM_TAGS)}"):
        check_vm_tags(spec)
