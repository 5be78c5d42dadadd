"""The VM face of bakes and its way into regions, with a scripted builder and cloud."""

from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from fleetwide.models.bakes import BakeState
from fleetwide.store import bakes, images
from tests.workflow.os_lines import BOTH, build, cancel, failure, until_step
from tests.workflow.test_bakes import BAKE, bake, row_of, upload
from tests.workflow.world import World

VM: dict[str, Any] = {
    **BAKE,
    "targets": ["container", "vm"],
    "ami": {"regions": ["eu-west-1", "us-east-2"], "accounts": ["1" * 12]},
}


@pytest.fixture
async def ready(plane: World) -> World:
    """A plane with a stable base that has both faces, and an uploaded artifact."""
    await (await build(plane, **BOTH)).execute_update("promote", {})
    await upload(plane)
    return plane


async def test_both_faces_are_baked_and_the_ami_is_in_every_region(ready: World) -> None:
    image = await bake(ready, "bake/1", VM)
    assert image["digest"]
    assert image["disk"]["digest"]
    regions = {one["region"]: one["state"] for one in image["regions"]}
    assert regions == {"eu-west-1": "available", "us-east-2": "available"}
    assert sorted(one["region"] for one in image["amis"]) == ["eu-west-1", "us-east-2"]
    assert ready.baked.shared == {"eu-west-1", "us-east-2"}
    assert [stage["stage"] for stage in row_of(ready, "bake/1").stages][-2:] == [
        "distributing",
        "available",
    ]


async def test_a_vm_alone_has_no_container_image(ready: World) -> None:
    image = await bake(ready, "bake/1", VM, targets=["vm"])
    assert (image["digest"], image["built"], image["smoke"]) == (None, None, None)
    assert ready.bakes.pushed == []


async def test_the_vm_is_booted_when_it_is_asked_for(ready: World) -> None:
    image = await bake(ready, "bake/1", VM, ami={**VM["ami"], "boot_test": True})
    assert image["boot"]["passed"]
    first = ready.builder.steps.index("boot_disk")
    assert first < ready.builder.steps.index("publish")


async def test_a_base_without_a_disk_is_told(plane: World) -> None:
    await (await build(plane)).execute_update("promote", {})
    await upload(plane)
    told = await failure(await plane.start("Bake", VM, "bake/1"))
    assert (told.type, "has no vm face" in told.message) == ("NotFound", True)


async def test_a_region_that_fails_costs_no_build_and_is_run_again_alone(ready: World) -> None:
    ready.baked.away.add("us-east-2")
    image = await bake(ready, "bake/1", VM)
    regions = {one["region"]: one["state"] for one in image["regions"]}
    assert regions == {"eu-west-1": "available", "us-east-2": "failed"}
    assert row_of(ready, "bake/1").state == BakeState.AVAILABLE
    ready.baked.away.clear()
    request = {"bake_key": image["bake_key"], "region": "us-east-2"}
    await (await ready.start("BakeDistribution", request, "again")).result()
    with ready.store.read() as session:
        found = images.by_key(session, image["bake_key"])
    assert found is not None
    assert {one.region: one.state for one in found.regions}["us-east-2"] == "available"
    assert ready.builder.steps.count("build_disk") == 1


async def test_other_metadata_tag_the_amis_anew(ready: World) -> None:
    await bake(ready, "bake/1", VM)
    await bake(ready, "bake/2", VM, owner="me")
    assert ready.baked.tags["owner"] == "me"
    assert ready.builder.steps.count("build_disk") == 1


async def test_a_forced_bake_has_amis_of_its_own_and_hides_those_before(ready: World) -> None:
    first = await bake(ready, "bake/1", VM)
    second = await bake(ready, "bake/2", VM, rebake=True)
    before = {one["region"]: one["image_id"] for one in first["amis"]}
    after = {one["region"]: one["image_id"] for one in second["amis"]}
    assert before.keys() == after.keys()
    assert not {*before.values()} & {*after.values()}
    told = {one.ami.image_id: one.replaced_by for one in ready.baked.replaced}
    assert told == {before[region]: after[region] for region in before}
    assert (await bake(ready, "bake/3", VM))["amis"] == second["amis"]


async def test_a_region_without_the_new_ami_keeps_the_one_before(ready: World) -> None:
    await bake(ready, "bake/1", VM)
    ready.baked.away.add("us-east-2")
    await bake(ready, "bake/2", VM, rebake=True)
    assert [one.ami.region for one in ready.baked.replaced] == ["eu-west-1"]


@pytest.mark.parametrize("step", ["build_disk", "upload_baked_disk", "register_baked_ami"])
async def test_cancel_takes_away_what_is_in_the_cloud(ready: World, step: str) -> None:
    (ready.cloud if step == "register_baked_ami" else ready.builder).stuck_at.add(step)
    handle = await ready.start("Bake", VM, "bake/c")
    await until_step(ready, step)
    await cancel(ready, handle)
    assert ready.baked.amis == {}
    assert ready.builder.steps[-2:] == ["drop_baked_amis", "drop_baked_upload"]


async def test_another_region_gets_a_copy_and_costs_no_build(ready: World) -> None:
    first = await bake(ready, "bake/1", VM)
    more = {"regions": ["ap-south-1", "eu-west-1"], "accounts": ["2" * 12]}
    second = await bake(ready, "bake/2", VM, ami=more)
    assert second["amis"][: len(first["amis"])] == first["amis"]
    assert {one["region"] for one in second["amis"]} == {"eu-west-1", "us-east-2", "ap-south-1"}
    assert ready.baked.granted["ap-south-1"] == {"1" * 12, "2" * 12}
    assert ready.baked.granted["eu-west-1"] == {"1" * 12, "2" * 12}
    assert ready.baked.granted["us-east-2"] == {"1" * 12}
    assert ready.builder.steps.count("build_disk") == 1
    stages = [stage["stage"] for stage in row_of(ready, "bake/2").stages]
    assert stages == ["resolving", "distributing", "cached"]
    copies = ready.builder.steps.count("copy_baked_ami")
    assert (await bake(ready, "bake/3", VM, ami=more))["amis"] == second["amis"]
    assert ready.builder.steps.count("copy_baked_ami") == copies


async def test_requests_side_by_side_for_different_regions_lose_nothing(ready: World) -> None:
    await bake(ready, "bake/1", VM)
    asked = {"ap-south-1": "3" * 12, "ca-central-1": "4" * 12, "us-east-1": "5" * 12}
    handles = [
        await ready.start(
            "Bake", {**VM, "ami": {"regions": ["eu-west-1", region], "accounts": [account]}}, region
        )
        for region, account in asked.items()
    ]
    for handle in handles:
        await handle.result()
    with ready.store.read() as session:
        [row] = images.listing(session)
        found = images.distributed(session, row.bake_key)
    assert {one.region for one in found.image.amis} == {*asked, "eu-west-1", "us-east-2"}
    assert {*found.ami.accounts} == {*asked.values(), "1" * 12}
    assert ready.baked.granted["eu-west-1"] == {*asked.values(), "1" * 12}
    assert len(found.image.amis) == len({one.region for one in found.image.amis})


async def test_tags_of_a_later_request_reach_the_amis(ready: World) -> None:
    await bake(ready, "bake/1", VM)
    await bake(ready, "bake/2", VM, ami={**VM["ami"], "tags": {"tier": "gold"}})
    assert ready.baked.tags["tier"] == "gold"
    tagged = ready.builder.steps.count("retag_amis")
    await bake(ready, "bake/3", VM, ami={**VM["ami"], "tags": {"tier": "gold"}})
    assert ready.builder.steps.count("retag_amis") == tagged


async def test_an_ami_that_was_not_asked_for_before_is_made(ready: World) -> None:
    without = {**VM, "ami": None}
    assert (await bake(ready, "bake/1", without))["amis"] == []
    image = await bake(ready, "bake/2", VM)
    assert sorted(one["region"] for one in image["amis"]) == ["eu-west-1", "us-east-2"]


async def test_a_cancelled_distribution_leaves_the_image_and_nothing_half(ready: World) -> None:
    image = await bake(ready, "bake/1", VM)
    ready.cloud.stuck_at.add("copy_baked_ami")
    copies = ready.builder.steps.count("copy_baked_ami")
    more = {**VM, "ami": {"regions": ["ap-south-1"]}}
    handle = await ready.start("Bake", more, "bake/2")
    await until_step(ready, "copy_baked_ami", copies + 1)
    await cancel(ready, handle)
    assert ready.baked.half == set()
    assert "drop_baked_amis" not in ready.builder.steps
    assert ready.bakes.withdrawn == []
    with ready.store.read() as session:
        found = images.by_key(session, image["bake_key"])
    assert found is not None
    assert {one.region for one in found.amis} == {"eu-west-1", "us-east-2"}
    ready.cloud.stuck_at.clear()
    await bake(ready, "bake/3", more)
    assert "ap-south-1" in ready.baked.shared


async def test_a_forced_bake_cancelled_while_it_is_copied_leaves_one_ami_a_region(
    ready: World,
) -> None:
    first = await bake(ready, "bake/1", VM)
    copies = ready.builder.steps.count("copy_baked_ami")
    ready.cloud.stuck_at.add("copy_baked_ami")
    handle = await ready.start("Bake", {**VM, "rebake": True}, "bake/2")
    await until_step(ready, "copy_baked_ami", copies + 1)
    await cancel(ready, handle)
    with ready.store.read() as session:
        image = images.by_key(session, first["bake_key"])
    assert image is not None
    before = {one["region"]: one["image_id"] for one in first["amis"]}
    after = {one.region: one.image_id for one in image.amis}
    assert after["us-east-2"] == before["us-east-2"]
    assert after["eu-west-1"] != before["eu-west-1"]
    hidden = [one.ami.image_id for one in ready.baked.replaced]
    assert hidden == [before["eu-west-1"]]
    assert ready.baked.half == set()
    ready.cloud.stuck_at.clear()
    healed = await bake(ready, "bake/3", VM)
    hidden = [one.ami.image_id for one in ready.baked.replaced]
    assert hidden == [before["eu-west-1"], before["us-east-2"]]
    assert {one["region"]: one["state"] for one in healed["regions"]} == {
        "eu-west-1": "available",
        "us-east-2": "available",
    }


async def test_a_forced_bake_cancelled_before_its_amis_are_shared_shares_them(ready: World) -> None:
    ami = {**VM["ami"], "accounts": ["7" * 12]}
    first = await bake(ready, "bake/1", VM, ami=ami)
    ready.baked.granted.clear()
    shares = ready.builder.steps.count("share_baked_ami")
    ready.cloud.stuck_at.add("share_baked_ami")
    handle = await ready.start("Bake", {**VM, "ami": ami, "rebake": True}, "bake/2")
    await until_step(ready, "share_baked_ami", shares + 2)
    await handle.cancel()
    await until_step(ready, "share_baked_ami", shares + 4)
    assert ready.baked.granted == {}
    ready.cloud.stuck_at.clear()
    await ready.until_status(handle, WorkflowExecutionStatus.CANCELED)
    with ready.store.read() as session:
        image = images.by_key(session, first["bake_key"])
    assert image is not None
    assert {one.region: one.state for one in image.regions} == {
        "eu-west-1": "available",
        "us-east-2": "available",
    }
    assert ready.baked.granted == {one.region: {"7" * 12} for one in image.amis}
    before = {one["image_id"] for one in first["amis"]}
    assert {one.ami.image_id for one in ready.baked.replaced} == before
    assert before.isdisjoint(one.image_id for one in image.amis)


async def test_a_request_that_joins_is_served_after_the_build(ready: World) -> None:
    ready.builder.stuck_at.add("build_disk")
    handle = await ready.start("Bake", VM, "bake/1")
    await until_step(ready, "build_disk")
    for owner, region in (("ada", "ap-south-1"), ("bob", "us-east-1")):
        ami = {"regions": [region], "accounts": ["7" * 12], "tags": {owner: "yes"}}
        await handle.signal("join", {**VM, "owner": owner, "ami": ami, "rebake": True})
    ready.builder.stuck_at.clear()
    image = await handle.result()
    regions = {"eu-west-1", "us-east-2", "ap-south-1", "us-east-1"}
    assert {one["region"] for one in image["amis"]} == regions
    assert all(ready.baked.granted[region] >= {"7" * 12} for region in regions)
    assert image["metadata"]["fleetwide.owner"] == "bob"
    assert (ready.baked.tags["ada"], ready.baked.tags["bob"]) == ("yes", "yes")
    assert ready.builder.steps.count("build_disk") == 1


async def test_a_forced_request_that_joins_a_mere_answer_is_built_after_it(ready: World) -> None:
    await bake(ready, "bake/1", VM)
    ready.cloud.stuck_at.add("retag_amis")
    handle = await ready.start("Bake", {**VM, "owner": "ada"}, "bake/2")
    await until_step(ready, "retag_amis")
    await handle.signal("join", {**VM, "rebake": True})
    ready.cloud.stuck_at.clear()
    await handle.result()
    assert ready.builder.steps.count("build_disk") == 2
    assert row_of(ready, "bake/2").state == BakeState.AVAILABLE


async def test_a_distribution_of_what_is_no_ami_is_refused(ready: World) -> None:
    image = await bake(ready, "bake/1")
    request = {"bake_key": image["bake_key"], "region": "us-east-2"}
    told = await failure(await ready.start("BakeDistribution", request, "none"))
    assert told.type == "NotFound"


async def test_a_sweep_leaves_what_runs_and_what_is_in_the_books(ready: World) -> None:
    await bake(ready, "bake/done", VM)
    ready.builder.stuck_at.add("build_disk")
    handle = await ready.start("Bake", {**VM, "version": "2"}, "bake/at-work")
    await until_step(ready, "build_disk", 2)
    report = await (await ready.start("BakerySweep", {"dry_run": False}, "sweep")).result()
    assert report["layers"] == ["bakery/layers/lost.tar.gz"]
    assert report["cloud"] == ["snapshot snap-lost in eu-west-1"]
    [sweep] = ready.baked.sweeps
    assert sweep.regions == ["eu-west-1", "us-east-2"]
    assert {"bake/done", "bake/at-work"} <= {*sweep.keep}
    assert ready.bakes.kept == [row_of(ready, "bake/at-work").run_id]
    await cancel(ready, handle)


async def test_a_sweep_looks_where_a_distribution_on_its_own_copied_to(ready: World) -> None:
    image = await bake(ready, "bake/1", VM)
    request = {"bake_key": image["bake_key"], "region": "ap-south-1"}
    await (await ready.start("BakeDistribution", request, "more")).result()
    with ready.store.read() as session:
        plan = bakes.sweep_plan(session)
    assert plan.regions == ["ap-south-1", "eu-west-1", "us-east-2"]
