"""Promotion by itself when the soak is over, on a server that skips time."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.os_lines import AMIS, WHY, build, history, pointers, start, states, until_state
from tests.workflow.world import World, world

AUTOMATIC: dict[str, Any] = {"promotion": {"soak_hours": 24, "automatic": True}}


@pytest.fixture
async def skipping(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, skipping=True) as running:
        yield running


async def sleep(plane: World, hours: float) -> None:
    await plane.environment.sleep(timedelta(hours=hours))


async def test_a_candidate_promotes_itself_when_its_soak_is_over(skipping: World) -> None:
    handle = await build(skipping, **AUTOMATIC)
    await sleep(skipping, 23)
    assert pointers(skipping) == {"candidate": "1"}
    await sleep(skipping, 2)
    await until_state(skipping, handle, "stable")
    last = history(skipping)[-1]
    assert (last.channel, last.by, last.reason) == ("stable", "fleetwide", "its soak is over")


async def test_without_a_soak_it_is_stable_at_once(skipping: World) -> None:
    handle = await start(skipping, promotion={"automatic": True})
    await until_state(skipping, handle, "stable")
    assert pointers(skipping) == {"candidate": "1", "stable": "1"}


async def test_a_held_candidate_waits_until_it_is_let_go(skipping: World) -> None:
    handle = await build(skipping, **AUTOMATIC)
    await handle.execute_update("hold", WHY)
    await sleep(skipping, 48)
    assert (states(skipping), pointers(skipping)) == ({"1": "held"}, {"candidate": "1"})
    await handle.execute_update("unhold", WHY)
    await until_state(skipping, handle, "stable")


async def test_a_release_that_was_stable_does_not_come_back_by_itself(skipping: World) -> None:
    first = await build(skipping, "1", **AUTOMATIC)
    second = await build(skipping, "2", **AUTOMATIC)
    for handle in (first, second):
        await handle.execute_update("promote", {"emergency": True})
    await until_state(skipping, first, "previous")
    await first.execute_update("hold", WHY)
    await first.execute_update("unhold", WHY)
    await sleep(skipping, 48)
    assert pointers(skipping)["stable"] == "2"


async def test_an_older_candidate_does_not_take_the_place_of_a_newer_one(skipping: World) -> None:
    older = await build(skipping, "1", **AUTOMATIC)
    newer = await build(skipping, "2")
    await newer.execute_update("promote", {})
    await sleep(skipping, 48)
    assert (await older.query("status"))["state"] == "candidate"
    assert pointers(skipping)["stable"] == "2"
    assert "not promoted by itself" in (await older.query("status"))["step"]
    # By hand it can be.
    await older.execute_update("promote", {"by": "ada"})
    assert pointers(skipping)["stable"] == "1"


async def test_a_refused_promotion_is_told_and_can_be_done_by_hand(skipping: World) -> None:
    handle = await build(skipping, **{**AMIS, **AUTOMATIC})
    skipping.cloud.invisible.add("us-east-2")
    await sleep(skipping, 48)
    status = await handle.query("status")
    assert status["state"] == "candidate"
    assert "us-east-2" in status["step"]
    skipping.cloud.invisible.clear()
    await handle.execute_update("promote", {})
    assert pointers(skipping)["stable"] == "1"


async def test_a_release_that_is_never_promoted_stays_a_candidate(skipping: World) -> None:
    handle = await build(skipping)
    await sleep(skipping, 24 * 400)
    assert (await handle.query("status"))["state"] == "candidate"
    assert pointers(skipping) == {"candidate": "1"}
