"""Races in the older parts of the store, which PostgreSQL brings to light."""

from collections.abc import Iterator
from functools import partial

import pytest
from sqlmodel import select

from fleetwide.errors import Conflict
from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    ContainerSpec,
    JobHeader,
    JobKind,
)
from fleetwide.models.os_releases import Channel
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason
from fleetwide.store import bakes, channels, events, images, jobs
from fleetwide.store.channels import Move
from fleetwide.store.session import Store
from fleetwide.store.tables import ArtifactRow, ChannelMoveRow
from tests.integration.registry_index.races import ROUNDS, side_by_side
from tests.registry_index import NOW

pytestmark = pytest.mark.integration


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def test_one_token_stands_for_one_bake(store: Store) -> None:
    def remember(token: str, fingerprint: str, bake_id: str) -> str:
        with store.write() as session:
            return bakes.remember_token(session, token, fingerprint, bake_id, now=NOW)

    for number in range(ROUNDS):
        token = f"token {number}"
        same = side_by_side(
            partial(remember, token, "f", "bake/1"), partial(remember, token, "f", "bake/2")
        )
        assert len(set(same)) == 1
        with pytest.raises(Conflict):
            remember(token, "another", "bake/3")


def test_one_artifact_is_uploaded_by_two(store: Store) -> None:
    def save(sha256: str) -> None:
        with store.write() as session:
            images.save_artifact(session, sha256, "a.whl", 1, now=NOW)

    for number in range(ROUNDS):
        assert side_by_side(*[partial(save, f"{number:064}")] * 3) == [None] * 3
    with store.read() as session:
        assert len(session.exec(select(ArtifactRow)).all()) == ROUNDS


def test_two_who_move_a_channel_first_come_one_after_the_other_or_are_told(store: Store) -> None:
    def move(name: str, version: str) -> str | None:
        with store.write() as session:
            return channels.point(session, Move(name, Channel.STABLE, version, "me"), now=NOW)

    refused = 0
    for number in range(ROUNDS):
        name = f"line{number}"
        found = side_by_side(partial(move, name, "1"), partial(move, name, "2"))
        refused += sum(isinstance(one, Conflict) for one in found)
    with store.read() as session:
        moves = session.exec(select(ChannelMoveRow)).all()
    assert len(moves) == 2 * ROUNDS - refused
    assert len({(row.name, row.revision) for row in moves}) == len(moves)


def test_the_end_of_an_attempt_is_booked_once_by_two(store: Store) -> None:
    container = ContainerSpec.model_validate(
        {"image": "apps/x:1", "resources": {"cpu": 1, "memory": "64MiB"}}
    )
    header = JobHeader(
        workflow_id="task/1",
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=container,
        retry=RetryPolicy(),
    )
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        wanted = [AttemptRequest(index=index) for index in range(ROUNDS)]
        jobs.ensure_attempts(session, job, header, wanted, waiter, now=NOW)

    def end(index: int) -> None:
        key = AttemptKey(workflow_id="task/1", run_id="r", index=index)
        result = AttemptResult(key=key, reason=EndReason.NORMAL, message="ok", exit_code=0)
        with store.write() as session:
            jobs.record_attempt(session, result, now=NOW)

    for index in range(ROUNDS):
        side_by_side(*[partial(end, index)] * 3)
    with store.read() as session:
        told = [one for one in events.after(session, 0) if one.data.get("state") == "Finished"]
    assert len(told) == ROUNDS
