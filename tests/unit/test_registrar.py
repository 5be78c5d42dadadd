"""The turn that tells load balancers of copies: it ends where SQL is, wherever it was broken off."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.errors import CloudUnavailable, NotFound, ServiceUnavailable
from fleetwide.models.task_states import TaskState
from fleetwide.services.target_groups import Health, Told
from fleetwide.services.upstreams import Place
from fleetwide.store import targets
from fleetwide.store.session import Store
from tests.serving import ADDRESS, Serving
from workers import targets as turn
from workers.leading import Leadership
from workers.load_balancers import GroupTeller, NginxTeller
from workers.targets import Registrar

ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/0123456789abcdef"
WEB = {"port": "http", "nginx": "shop", "drain_seconds": 0}
GROUP = {"port": "http", "target_group": ARN}


class ScriptedNginx:
    """Takes files, or not."""

    def __init__(self) -> None:
        self.upstreams: dict[str, set[Place]] = {}
        self.error: Exception | None = None

    def put(self, upstreams: dict[str, set[Place]]) -> bool:
        if self.error is not None:
            raise self.error
        changed = upstreams != self.upstreams
        self.upstreams = {name: set(places) for name, places in upstreams.items()}
        return changed


class ScriptedGroups:
    """A target group that finds targets well when it is told to, and drains until then."""

    def __init__(self) -> None:
        self.told: dict[Place, Told] = {}
        self.error: Exception | None = None

    def health(self, arn: str) -> dict[Place, Health]:
        if self.error is not None:
            raise self.error
        return {place: Health(word, "AWS says so") for place, word in self.told.items()}

    def register(self, arn: str, places: Sequence[Place]) -> None:
        self.told.update(dict.fromkeys(places, Told.WAITS))

    def deregister(self, arn: str, places: Sequence[Place]) -> None:
        self.told.update(dict.fromkeys(places, Told.DRAINING))


class Balanced:
    """A scheduler's turn, with both kinds of load balancers."""

    def __init__(self, store: Store) -> None:
        self.serving = Serving(store)
        self.nginx, self.groups = ScriptedNginx(), ScriptedGroups()
        self.leadership = Leadership(store, "one", seconds=60)
        self.restart()

    def restart(self) -> None:
        """Another process goes on: nothing is known but what SQL says."""
        self.registrar = Registrar(
            self.serving.store,
            self.leadership,
            NginxTeller(self.nginx),  # type: ignore[arg-type]
            GroupTeller(lambda: self.groups),  # type: ignore[arg-type, return-value]
        )

    async def turns(self, count: int = 3) -> dict[str, str]:
        for _ in range(count):
            assert self.leadership.leads()
            await self.registrar.turn()
        return self.serving.states()


@pytest.fixture
def world(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Balanced]:
    monkeypatch.setattr(turn, "SETTLES", timedelta())
    monkeypatch.setattr(turn, "LOOK_AT_ALL", 3600)
    store = Store.open(database_url)
    yield Balanced(store)
    store.engine.dispose()


async def test_a_copy_is_registered_when_it_is_healthy_and_left_before_it_stops(
    world: Balanced,
) -> None:
    serving = world.serving
    serving.service("s", [WEB])
    assert await world.turns() == {}
    assert world.nginx.upstreams == {"shop": set()}
    one, two = serving.copy("s", 0, 20_000), serving.copy("s", 1, 20_001, checked=True)
    assert await world.turns() == {f"{one} shop": "registered"}
    serving.health(two, "healthy")
    assert await world.turns() == {f"{one} shop": "registered", f"{two} shop": "registered"}
    serving.health(two, "unhealthy")
    assert (await world.turns())[f"{two} shop"] == "deregistered"
    assert world.nginx.upstreams == {"shop": {(ADDRESS, 20_000)}}
    assert not serving.released(one)
    assert not serving.release(one)
    await world.turns()
    assert serving.released(one)
    assert world.nginx.upstreams == {"shop": set()}


async def test_a_copy_that_was_moved_leaves_the_targets_of_the_one_and_joins_those_of_the_other(
    world: Balanced,
) -> None:
    """What both name it never leaves; afterwards its health counts for the other service."""
    serving = world.serving
    both, new = {**WEB, "nginx": "both"}, {**WEB, "nginx": "new"}
    serving.service("s", [WEB, both])
    serving.service("t", [both, new])
    one, two = (serving.copy("s", index, 20_000 + index, checked=True) for index in range(2))
    third = serving.copy("t", 0, 20_002)
    for task_id in (one, two):
        serving.health(task_id, "healthy")
    await world.turns()
    assert world.nginx.upstreams["shop"] == {(ADDRESS, 20_000), (ADDRESS, 20_001)}
    serving.move(one, "t", 1)
    told = await world.turns(1)
    assert told[f"{one} both"] == "registered"
    told = await world.turns()
    assert {name: state for name, state in told.items() if name.startswith(one)} == {
        f"{one} shop": "deregistered",
        f"{one} both": "registered",
        f"{one} new": "registered",
    }
    assert world.nginx.upstreams["shop"] == {(ADDRESS, 20_001)}
    assert world.nginx.upstreams["new"] == {(ADDRESS, 20_000), (ADDRESS, 20_002)}
    assert not serving.released(one)
    serving.health(one, "unhealthy")
    assert (await world.turns())[f"{one} new"] == "deregistered"
    assert (await world.turns())[f"{third} new"] == "registered"


async def test_a_silent_host_or_an_end_takes_a_copy_out_and_a_changed_spec_all(
    world: Balanced,
) -> None:
    serving = world.serving
    serving.service("s", [WEB])
    one, two, three = (serving.copy("s", index, 20_000 + index) for index in range(3))
    await world.turns()
    serving.state(one, TaskState.DISCONNECTED)
    serving.state(two, TaskState.FINISHED)
    found = await world.turns()
    assert {found[f"{one} shop"], found[f"{two} shop"]} == {"deregistered"}
    serving.state(three, TaskState.DISCONNECTED)
    assert (await world.turns())[f"{three} shop"] == "registered"
    serving.service("s", [], rev=2)
    assert (await world.turns())[f"{three} shop"] == "deregistered"


async def test_nginx_that_fails_keeps_copies_until_it_was_told(world: Balanced) -> None:
    serving = world.serving
    serving.service("s", [WEB])
    one = serving.copy("s", 0, 20_000)
    world.nginx.error = ServiceUnavailable("nginx refused it")
    assert await world.turns() == {f"{one} shop": "registering!"}
    world.nginx.error = None
    world.restart()
    assert await world.turns() == {f"{one} shop": "registered"}
    world.nginx.error = ServiceUnavailable("nginx is away")
    serving.release(one)
    assert await world.turns() == {f"{one} shop": "draining!"}
    assert not serving.released(one)
    world.nginx.error = None
    world.restart()
    await world.turns()
    assert serving.released(one)


async def test_a_copy_that_is_released_while_it_is_being_registered_leaves(
    world: Balanced, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = world.serving
    serving.service("s", [WEB])
    one = serving.copy("s", 0, 20_000)
    put = world.nginx.put

    def while_it_is_told(upstreams: dict[str, set[Place]]) -> bool:
        if upstreams.get("shop"):
            assert not serving.release(one)
        return put(upstreams)

    monkeypatch.setattr(world.nginx, "put", while_it_is_told)
    assert await world.turns() == {f"{one} shop": "deregistered"}
    assert world.nginx.upstreams == {"shop": set()}
    assert serving.released(one)


async def test_a_scheduler_that_leads_no_more_tells_nobody(world: Balanced) -> None:
    serving = world.serving
    serving.service("s", [WEB])
    await world.turns()
    serving.copy("s", 0, 20_000)
    world.leadership.give_back()
    assert Leadership(serving.store, "other", seconds=60).leads()
    await world.registrar.turn()
    assert serving.states() == {}
    assert world.nginx.upstreams == {"shop": set()}


async def test_a_target_group_keeps_the_old_copy_until_the_new_one_serves(
    world: Balanced, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, told = world.serving, world.groups.told
    serving.service("s", [GROUP])
    one = serving.copy("s", 0, 20_000)
    assert await world.turns() == {f"{one} {ARN}": "registering!"}
    told[ADDRESS, 20_000] = Told.SERVES
    assert await world.turns() == {f"{one} {ARN}": "registered"}
    two = serving.copy("s", 1, 20_001)
    serving.release(one)
    assert (await world.turns())[f"{one} {ARN}"] == "draining"
    assert told[ADDRESS, 20_000] is Told.SERVES
    told[ADDRESS, 20_001] = Told.SERVES
    assert (await world.turns())[f"{one} {ARN}"] == "draining"
    assert told[ADDRESS, 20_000] is Told.DRAINING
    assert not serving.released(one)
    del told[ADDRESS, 20_000]
    assert await world.turns() == {f"{one} {ARN}": "deregistered", f"{two} {ARN}": "registered"}
    assert serving.released(one)
    del told[ADDRESS, 20_001]  # somebody else took it out: no event tells of that
    monkeypatch.setattr(turn, "LOOK_AT_ALL", 0)
    assert (await world.turns())[f"{two} {ARN}"] == "registering!"
    assert told == {(ADDRESS, 20_001): Told.WAITS}


async def test_a_group_that_is_gone_holds_nobody_and_one_that_is_away_does(world: Balanced) -> None:
    serving = world.serving
    serving.service("s", [GROUP])
    one = serving.copy("s", 0, 20_000)
    world.groups.error = CloudUnavailable("AWS is away")
    assert await world.turns() == {f"{one} {ARN}": "registering!"}
    serving.release(one)
    world.restart()
    assert await world.turns() == {f"{one} {ARN}": "draining!"}
    world.groups.error = NotFound("no such group")
    world.restart()
    await world.turns()
    assert serving.released(one)


@pytest.mark.parametrize("taken", [False, True])
async def test_a_scheduler_that_dies_while_it_tells_is_followed_by_one_that_goes_on(
    world: Balanced, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, put = world.serving, world.nginx.put

    def dies(upstreams: dict[str, set[Place]]) -> bool:
        if taken:
            put(upstreams)
        raise RuntimeError("killed")

    async def dying_turn() -> None:
        with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="killed"):
            broken.setattr(world.nginx, "put", dies)
            await world.registrar.turn()
        world.restart()

    serving.service("s", [WEB])
    one = serving.copy("s", 0, 20_000)
    assert world.leadership.leads()
    await dying_turn()
    assert await world.turns() == {f"{one} shop": "registered"}
    serving.release(one)
    await dying_turn()
    assert not serving.released(one)
    await world.turns()
    assert serving.released(one)
    assert world.nginx.upstreams == {"shop": set()}


async def test_patience_with_a_load_balancer_ends_and_what_is_over_is_forgotten(
    world: Balanced,
) -> None:
    serving, store = world.serving, world.serving.store
    serving.service("s", [WEB])
    one, two = serving.copy("s", 0, 20_000), serving.copy("s", 1, 20_001)
    await world.turns()
    serving.release(one)
    now = datetime.now(UTC)
    with store.read() as session:
        assert not targets.released(session, one, now + targets.PATIENCE / 2)
        assert targets.released(session, one, now + targets.PATIENCE * 2)
    later = now + 2 * targets.FORGET_AFTER
    serving.state(one, TaskState.FINISHED)
    with store.write() as session:
        targets.forget(session, now=later)
    assert set(serving.states()) == {f"{one} shop", f"{two} shop"}  # one still is to be left
    await world.turns()
    with store.write() as session:
        targets.forget(session, now=later)
    assert serving.states() == {f"{two} shop": "registered"}
    assert not serving.released(one)  # nobody asks any more
