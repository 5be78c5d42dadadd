"""``OSImageBuild`` on a real server: from a spec to a candidate, or to what is left of one."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetwide.errors import BuildFailed, InvalidInput
from tests.workflow.os_lines import (
    AMIS,
    BOTH,
    HOME_AMI,
    SPEC,
    booked,
    build,
    failure,
    pointers,
    start,
    states,
)
from tests.workflow.world import World


async def test_a_container_base_goes_through_its_steps_and_becomes_a_candidate(
    plane: World,
) -> None:
    handle = await build(plane)
    assert plane.builder.steps == [
        "resolve_lock",
        "fetch_packages",
        "build_container",
        "publish_image",
        "attach_documents",
    ]
    assert (pointers(plane), states(plane)) == ({"candidate": "1"}, {"1": "candidate"})
    release = (await handle.query("status"))["release"]
    assert release["image_digest"].startswith("sha256:")
    assert (release["package_count"], release["disk"], release["amis"]) == (2, None, [])


async def test_both_faces_are_built_booted_and_told_of(plane: World) -> None:
    release = (await (await build(plane, **BOTH)).query("status"))["release"]
    assert plane.builder.steps.index("test_boot") < plane.builder.steps.index("publish_image")
    assert release["boot"]["passed"]
    assert release["static"].keys() == {"container", "vm"}
    [told] = plane.builder.documents
    assert (told.image_digest, told.disk is not None) == (release["image_digest"], True)


async def test_a_vm_alone_has_a_disk_and_no_image(plane: World) -> None:
    release = (await (await build(plane, targets=["vm"])).query("status"))["release"]
    assert release["disk"]["digest"].startswith("sha256:")
    assert release["image_digest"] is None
    assert "publish_image" not in plane.builder.steps


async def test_a_boot_test_that_is_switched_off_is_left_out(plane: World) -> None:
    handle = await build(plane, **BOTH, tests={"boot": False})
    assert "test_boot" not in plane.builder.steps
    assert (await handle.execute_update("promote", {}))["state"] == "stable"


async def test_amis_are_made_in_every_region_and_shared(plane: World) -> None:
    release = (await (await build(plane, **AMIS)).query("status"))["release"]
    assert [ami["region"] for ami in release["amis"]] == ["eu-west-1", "us-east-2"]
    assert plane.cloud.shares.keys() == plane.cloud.amis.keys()
    assert plane.cloud.shares[HOME_AMI].accounts == ["1" * 12]


async def test_a_child_is_sent_on_top_of_its_parent_s_snapshot(plane: World) -> None:
    parent = (await (await build(plane, "1", **AMIS)).query("status"))["release"]
    child = (await (await build(plane, "2", **AMIS)).query("status"))["release"]
    assert child["parent"] == "1"
    first, second = plane.builder.uploads
    assert (first.parent, first.parent_disk) == (None, None)
    assert second.parent is not None
    assert second.parent.image_id == HOME_AMI
    assert second.parent_disk == parent["disk"]["digest"]


@pytest.mark.parametrize("step", ["build_container", "test_boot", "upload_snapshot"])
async def test_a_failed_step_is_told_and_leaves_nothing(plane: World, step: str) -> None:
    plane.builder.fail_at[step] = BuildFailed("E: it does not work")
    handle = await start(plane, **AMIS)
    fault = await failure(handle)
    assert (fault.type, fault.message) == ("BuildFailed", "E: it does not work")
    assert (states(plane), pointers(plane)) == ({"1": "failed"}, {})
    assert plane.cloud.amis == {}
    plane.builder.fail_at.clear()
    await build(plane)


async def test_what_failed_is_in_the_books(plane: World) -> None:
    plane.builder.fail_at["fetch_packages"] = BuildFailed("the mirror has no more dash 0.5")
    await failure(await start(plane))
    assert booked(plane)["reason"] == "the mirror has no more dash 0.5"


async def test_when_one_face_fails_the_other_is_stopped_first(plane: World) -> None:
    plane.builder.stuck_at.add("build_vm")
    plane.builder.fail_at["build_container"] = BuildFailed("E: no")
    assert (await failure(await start(plane, **BOTH))).message == "E: no"
    assert states(plane) == {"1": "failed"}


async def test_a_copy_that_fails_takes_the_first_ami_away_again(plane: World) -> None:
    plane.cloud.fail_at["copy_ami"] = InvalidInput("us-east-2 is not enabled")
    await failure(await start(plane, **AMIS))
    assert (plane.cloud.amis, states(plane)) == ({}, {"1": "failed"})
    assert "drop_upload" in plane.builder.steps


async def test_a_version_that_is_taken_is_a_conflict(plane: World) -> None:
    await build(plane)
    handle = await plane.start("OSImageBuild", {**SPEC, "version": "1"}, "os/another-id")
    assert (await failure(handle)).type == "Conflict"
    assert (pointers(plane), states(plane)) == ({"candidate": "1"}, {"1": "candidate"})


async def test_without_a_version_the_day_and_a_number_are_taken(plane: World) -> None:
    today = datetime.now(UTC).strftime("%Y%m%d")
    for number in (1, 2):
        await plane.start("OSImageBuild", SPEC, f"os/baseos/auto{number}")
        await plane.until(
            lambda so_far=number: len(pointers(plane)) and len(states(plane)) == so_far
        )
    assert sorted(states(plane)) == [f"{today}.1", f"{today}.2"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"suite": "bookwurm"}, "suite"),
        ({"ami": {"regions": ["eu-west-1"]}}, "ami"),
        ({"ami": {"regions": ["eu-west-1"], "tags": {"Name": "x"}}, "targets": ["vm"]}, "ami.tags"),
        ({"packages": ["vim"], "exclude": ["vim"]}, "exclude"),
        ({"promotion_window_days": 7}, "promotion_window_days"),
    ],
)
async def test_bad_input_fails_at_once_and_claims_nothing(
    plane: World, wrong: dict[str, Any], field: str
) -> None:
    fault = await failure(await start(plane, **wrong))
    assert fault.type == "InvalidInput"
    assert field in fault.message
    assert (states(plane), plane.builder.steps) == ({}, [])


async def test_a_lock_that_did_not_change_is_no_release(plane: World) -> None:
    plane.builder.lock = plane.builder.security = "today"
    first = await build(plane, "1")
    again = await (await start(plane, "2")).result()
    assert (again["outcome"], again["version"]) == ("noChange", "1")
    assert (states(plane), plane.builder.builds) == ({"1": "candidate"}, 1)
    await first.execute_update("promote", {})
    assert (await (await start(plane, "2")).result())["state"] == "stable"


async def test_a_lock_that_changed_is_a_release(plane: World) -> None:
    plane.builder.lock = "monday"
    await build(plane, "1")
    plane.builder.lock = "tuesday"
    release = (await (await build(plane, "2")).query("status"))["release"]
    assert (release["parent"], pointers(plane)) == ("1", {"candidate": "2"})


@pytest.mark.parametrize(
    "change",
    [{"packages": ["vim"]}, {"files": [{"path": "/etc/motd", "content": "hi"}]}, {"trim": []}],
)
async def test_the_same_lock_with_another_spec_is_a_release(
    plane: World, change: dict[str, Any]
) -> None:
    plane.builder.lock = "today"
    await build(plane, "1")
    await build(plane, "2", **change)


async def test_a_forced_build_is_built_although_nothing_changed(plane: World) -> None:
    plane.builder.lock = "today"
    await build(plane, "1")
    await build(plane, "2", force=True)
    assert plane.builder.builds == 2


async def test_only_security_fixes_count_where_that_was_asked_for(plane: World) -> None:
    plane.builder.lock = "monday"
    await build(plane, "1", rebuild_on="security")
    plane.builder.lock = "tuesday"
    same = await (await start(plane, "2", rebuild_on="security")).result()
    assert (same["outcome"], same["version"]) == ("noChange", "1")
    plane.builder.security = "a fix"
    await build(plane, "2", rebuild_on="security")


async def test_another_spec_is_built_also_where_only_security_fixes_count(plane: World) -> None:
    plane.builder.lock = "monday"
    await build(plane, "1", rebuild_on="security")
    await build(plane, "2", rebuild_on="security", packages=["vim"])


async def test_two_builds_with_one_key_at_the_same_moment_build_once(plane: World) -> None:
    plane.builder.lock = "today"
    plane.builder.stuck_at.add("build_container")
    handles = [await start(plane, version) for version in ("1", "2")]
    results = [asyncio.create_task(handle.result()) for handle in handles]
    done, waiting = await asyncio.wait(results, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    plane.builder.stuck_at.clear()
    assert [one.result()["outcome"] for one in done] == ["noChange"]
    await plane.until(lambda: list(states(plane).values()) == ["candidate"])
    assert plane.builder.builds == 1
    for one in waiting:
        one.cancel()
