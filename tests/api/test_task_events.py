"""The stream of tasks: what lives now, a cursor, then every change; and the filters of lists."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sse_starlette import ServerSentEvent
from starlette.testclient import TestClient

from api.deps import Platform
from api.routers import task_events
from api.task_filters import TaskFilter
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import events
from fleetwide.store.archive_tables import EventHorizonRow
from tests.api.harness import HOST, Plane, task_spec

Told = tuple[str, dict[str, Any], str | None]
STORY = ["Accepted", "Launched", "StartInitiated", "Started", "Finished"]


@pytest.fixture
def platform(plane: Plane) -> Iterator[Platform]:
    opened = Platform.open(plane.settings)
    yield opened
    opened.close()


def run(http: TestClient, *command: str, app: str, wait: int = 30, **more: Any) -> str:
    spec = {**task_spec(*command), "app": app, **more}
    response = http.post("/v1/tasks", params={"wait": wait}, json=spec)
    assert response.status_code in (200, 202), response.text
    task_id: str = response.json()["id"]
    return task_id


def stream(
    platform: Platform, wanted: TaskFilter, after: int | None = None
) -> AsyncIterator[ServerSentEvent]:
    return task_events._stream(platform, wanted.wanted(), after)


def told(item: ServerSentEvent) -> Told:
    return str(item.event), json.loads(str(item.data)), item.id


async def until(events: AsyncIterator[ServerSentEvent], wanted: str, **data: Any) -> list[Told]:
    """What is told up to the first event of the ``wanted`` kind with these values."""
    found: list[Told] = []
    async with asyncio.timeout(60):
        async for item in events:
            found.append(told(item))
            name, content, _ = found[-1]
            if name == wanted and data.items() <= content.items():
                return found
    raise AssertionError("the stream has an end")


async def test_a_snapshot_then_changes_in_order_and_a_cursor_to_go_on_from(
    http: TestClient, platform: Platform
) -> None:
    alive = await asyncio.to_thread(run, http, "sleep", app="streamed", wait=0)
    await asyncio.to_thread(run, http, "exit", "0", app="streamed")
    events = stream(platform, TaskFilter(app="streamed"))
    *snapshot, (_, cursor, event_id) = await until(events, "snapshotEnd")
    assert [(kind, task["id"], number) for kind, task, number in snapshot] == [
        ("task", alive, None)
    ]
    assert event_id == str(cursor["seq"])
    await asyncio.to_thread(run, http, "exit", "0", app="unseen")
    second = await asyncio.to_thread(run, http, "exit", "0", app="streamed")
    changes = await until(events, "change", task_id=second, kind="finished")
    mine = [one for _, one, _ in changes if one["task_id"] == second and one["kind"] == "state"]
    assert [one["state"] for one in mine] == STORY
    assert {one["host_id"] for one in mine[1:]} == {HOST}
    assert mine[-1]["reason"] == "normal"
    assert {one["task_id"] for _, one, _ in changes} <= {alive, second}
    numbers = [one["seq"] for _, one, _ in changes]
    assert numbers == sorted(set(numbers))
    assert [int(number or 0) for _, _, number in changes] == numbers
    resumed = stream(platform, TaskFilter(app="streamed"), after=mine[1]["seq"])
    again = await until(resumed, "change", task_id=second, kind="finished")
    assert [one["state"] for _, one, _ in again if one["kind"] == "state"] == STORY[2:]
    http.post(f"/v1/tasks/{alive}/cancel", json={"reason": "enough"})


async def test_a_kill_is_told_before_the_end_and_filters_hold_for_changes(
    http: TestClient, platform: Platform
) -> None:
    start = task_events._newest(platform)
    task = await asyncio.to_thread(run, http, "sleep", app="killed", wait=0)
    ends = TaskFilter(app="killed", state=[TaskState.KILL_INITIATED, TaskState.FINISHED])
    events = stream(platform, ends, after=start)
    await until(stream(platform, TaskFilter(app="killed"), start), "change", state="Launched")
    await asyncio.to_thread(
        http.post, f"/v1/tasks/{task}/cancel", json={"reason": "enough of this"}
    )
    changes = await until(events, "change", state="Finished")
    states = [(one["state"], one["reason"]) for _, one, _ in changes]
    assert states == [("KillInitiated", "killed"), ("Finished", "killed")]
    assert "enough of this" in changes[0][1]["message"]


async def test_a_silent_stream_tells_how_far_it_has_looked(
    http: TestClient, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_events, "KEEP_ALIVE_SECONDS", 0.0)
    await asyncio.to_thread(run, http, "exit", "0", app="noise")
    events = stream(platform, TaskFilter(app="nobody"), after=0)
    newest = task_events._newest(platform)
    [*_, (_, cursor, number)] = await until(events, "keepAlive", seq=newest)
    assert number == str(cursor["seq"])


@pytest.mark.parametrize("bad", ["x", "-1", "1" * 30])
def test_a_cursor_that_is_none_is_refused(http: TestClient, bad: str) -> None:
    answer = http.get("/v1/tasks/events", headers={"Last-Event-ID": bad})
    assert answer.status_code == 422
    assert answer.json()["code"] == "InvalidInput"


def test_lists_are_filtered_by_all_that_is_asked(http: TestClient) -> None:
    good = run(http, "exit", "0", app="filtered", owner="ann", labels={"tier": "one"})
    bad = run(http, "exit", "3", app="filtered", owner="bob")

    def found(**query: Any) -> list[str]:
        answer = http.get("/v1/tasks", params={"app": "filtered", **query})
        assert answer.status_code == 200, answer.text
        return [task["id"] for task in answer.json()["items"]]

    assert found() == [bad, good]
    assert found(owner="ann") == found(label="tier=one") == [good]
    assert found(reason=[EndReason.FAILED, EndReason.LOST]) == [bad]
    assert found(state=["Started", "Finished"]) == [bad, good]
    assert found(state="Started") == []
    assert found(host=HOST) == [bad, good]
    assert found(host="h2") == []
    task = http.get(f"/v1/tasks/{good}").json()
    digest = task["image"].partition("@")[2]
    assert found(image=digest) == [bad, good]
    assert found(submitted_after=task["created_at"]) == [bad, good]
    assert found(submitted_before=task["created_at"]) == []
    assert http.get("/v1/tasks", params={"state": "Nowhere"}).status_code == 422


def test_each_attempt_tells_where_it_comes_from(http: TestClient) -> None:
    retry = {"retries": 1, "delay_seconds": 0.01}
    task = http.get(f"/v1/tasks/{run(http, 'flaky', app='lineage', retry=retry)}").json()
    first, second = (attempt["lineage"] for attempt in task["attempts"])
    assert (first["original"], first["follows"], first["spent"]["user"]) == (1, None, 0)
    assert (second["original"], second["follows"], second["delay_seconds"]) == (1, 1, 0.01)
    spent = {"user": 1, "system": 0, "eviction": 0, "preemption": 0, "system_in_a_row": 0}
    assert second["spent"] == spent


@pytest.mark.parametrize("path", ["/v1/tasks/events", "/v1/events?follow=true", "/v1/events"])
def test_a_cursor_whose_events_are_deleted_is_refused(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    known = EventHorizonRow(name="events", seq=2, xid=0, highest=2, pruned_at=datetime.now(UTC))
    monkeypatch.setattr(events, "horizon", lambda _: known)
    query = "" if "tasks" in path else "&cursor=1" if "?" in path else "?cursor=1"
    headers = {"Last-Event-ID": "1"} if "tasks" in path else {}
    refused = http.get(path + query, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (410, "CursorGone")
    assert "without a cursor" in refused.json()["hint"]
