"""Which copies are registered: whatever happens, nobody is left out or behind, and health alone
never empties a target. And what may stand in nginx's file: names, addresses and ports, no more.
"""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.models.targets import Target, TargetState
from fleetwide.services.target_groups import Health, Told, group_steps
from fleetwide.services.targets import IN, Change, ReachableCopy, Registration, due
from fleetwide.services.upstreams import names_in, upstream_file

SHOP = Target(port="http", nginx="shop")
GONE = "nginx:old"
ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/0123456789abcdef"

states = st.none() | st.sampled_from(TargetState)
kinds = st.sampled_from(["well", "unwell", "leaving", "over", "moved"])
worlds = st.lists(st.tuples(states, kinds), max_size=6)


def copies_of(world: list[tuple[TargetState | None, str]]) -> list[ReachableCopy]:
    return [
        ReachableCopy(
            f"s.{number}.1",
            healthy=kind in {"well", "moved"},
            leaving=kind == "leaving",
            address="10.0.0.9" if kind == "moved" else "10.0.0.1",
            ports={"http": 20_000 + number},
        )
        for number, (_, kind) in enumerate(world)
        if kind != "over"
    ]


def rows_of(
    world: list[tuple[TargetState | None, str]], target: str = SHOP.key
) -> list[Registration]:
    return [
        Registration(f"s.{number}.1", target, state, "10.0.0.1", 20_000 + number)
        for number, (state, _) in enumerate(world)
        if state is not None
    ]


def applied(rows: list[Registration], changes: list[Change]) -> list[Registration]:
    known = {(row.task_id, row.target): row for row in rows}
    for change in changes:
        key = (change.task_id, change.target)
        if change.to is TargetState.REGISTERING:
            known[key] = Registration(*key, change.to, change.address, change.port)
        else:
            known[key] = replace(known[key], state=change.to)
    return list(known.values())


@given(worlds)
@example([(TargetState.REGISTERED, "unwell")])
@example([(TargetState.REGISTERED, "unwell"), (TargetState.REGISTERING, "well")])
def test_what_is_due_is_whole_and_no_target_is_emptied_by_health(
    world: list[tuple[TargetState | None, str]],
) -> None:
    copies, before = copies_of(world), rows_of(world)
    after = applied(before, due([SHOP], copies, before))
    assert due([SHOP], copies, after) == []
    kind = {f"s.{number}.1": kind for number, (_, kind) in enumerate(world)}
    inside = {row.task_id for row in after if row.state in IN}
    assert not {one for one in inside if kind[one] in {"leaving", "over"}}
    assert {one for one, what in kind.items() if what == "well"} <= inside
    may_serve = {
        row.task_id
        for row in before
        if row.state is TargetState.REGISTERED and kind[row.task_id] in {"well", "unwell"}
    }
    stays = {row.task_id for row in after if row.state is TargetState.REGISTERED}
    assert bool(may_serve) == bool(may_serve & stays)
    if any(kind[one] == "well" for one in stays):
        assert not {one for one in inside if kind[one] == "unwell"}


@given(worlds)
def test_a_target_that_is_named_no_more_is_left_by_all(
    world: list[tuple[TargetState | None, str]],
) -> None:
    rows = rows_of(world, GONE)
    after = applied(rows, due([], copies_of(world), rows))
    assert not [row for row in after if row.state in IN]


def test_nobody_is_registered_without_an_address_or_the_port() -> None:
    known = ReachableCopy("s.0.1", healthy=True, address="10.0.0.1", ports={"http": 20_000})
    assert len(due([SHOP], [known], [])) == 1
    assert due([SHOP], [replace(known, address="")], []) == []
    assert due([SHOP], [replace(known, ports={"admin": 20_000})], []) == []


told = st.none() | st.sampled_from(Told)


@given(st.lists(st.tuples(st.sampled_from(TargetState), told, st.booleans()), max_size=5))
def test_a_target_group_loses_nobody_before_another_one_serves(
    world: list[tuple[TargetState, Told | None, bool]],
) -> None:
    rows, health, over = list[Registration](), dict[tuple[str, int], Health](), set[str]()
    for number, (state, word, ended) in enumerate(world):
        task, place = f"s.{number}.1", (f"10.0.0.{number}", 80)
        rows.append(Registration(task, f"targetGroup:{ARN}", state, *place))
        if word is not None:
            health[place] = Health(word, "AWS says so")
        if ended and state not in IN:
            over.add(task)
    steps = group_steps(rows, health, over)
    places = {(row.address, row.port): row for row in rows}
    assert all(places[place].state in IN for place in steps.register)
    leaving = [places[place] for place in steps.deregister]
    assert all(row.state is TargetState.DRAINING for row in leaving)
    comes = any(row.state in IN for row in rows)
    serves = any(
        row.state in IN and health.get((row.address, row.port), Health(Told.WAITS)).told == "serves"
        for row in rows
    )
    if comes and not serves:
        assert {row.task_id for row in leaving} <= over
    else:
        waits = {Told.SERVES, Told.WAITS}
        assert len(leaving) == sum(
            row.state is TargetState.DRAINING
            and (found := health.get((row.address, row.port))) is not None
            and found.told in waits
            for row in rows
        )


def test_a_copy_that_took_the_place_of_another_is_not_taken_out_with_it() -> None:
    place = ("10.0.0.1", 20_000)
    old = Registration("s.0.1", f"targetGroup:{ARN}", TargetState.DRAINING, *place)
    new = replace(old, task_id="s.0.2", state=TargetState.REGISTERED)
    steps = group_steps([old, new], {place: Health(Told.SERVES)}, {"s.0.1"})
    assert (steps.deregister, steps.drained) == ([], [old])


hostile = st.text(st.sampled_from("ab1-_ ;{}#\"'\\$\n\r\t\0:/[]%"), max_size=12)


@given(hostile | st.just("shop"), hostile | st.just("10.0.0.1"))
@example("shop\n", "10.0.0.1")
@example("shop", "10.0.0.1; } evil {")
@example("shop", "fe80::1%eth0; evil")
def test_nothing_else_gets_into_the_file_of_nginx(name: str, address: str) -> None:
    try:
        text = upstream_file({name: [(address, 80)]})
    except InvalidInput:
        return
    assert names_in(text) == {name}
    assert all(one.isalnum() or one in "-_" for one in name)
    assert text.count(";") == text.count("server ") == 1


def test_the_file_says_who_serves_and_is_whole_without_anybody() -> None:
    text = upstream_file({"shop": [("10.0.0.2", 80), ("::1", 80), ("10.0.0.2", 80)], "empty": []})
    assert text.count("    server 10.0.0.2:80 max_fails=3 fail_timeout=5s;\n") == 1
    assert "    server [::1]:80 max_fails=3 fail_timeout=5s;\n" in text
    assert "upstream empty {\n    server 127.0.0.1:1 down;" in text
    assert names_in(text) == {"shop", "empty"}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"port": "admin", "nginx": "shop"}, "has no port 'admin'"),
        ({"port": "dns", "nginx": "shop"}, "nginx needs tcp"),
        ({"port": "http", "nginx": "shop;}"}, "nginx"),
        ({"port": "http"}, "exactly one of"),
        ({"port": "http", "nginx": "shop", "target_group": ARN}, "exactly one of"),
        ({"port": "http", "target_group": f"{ARN}\n"}, "target_group"),
    ],
)
def test_a_target_that_cannot_be_is_refused_by_name(target: dict[str, str], says: str) -> None:
    ports = {"http": {"to": 80}, "dns": {"to": 53, "protocol": "udp"}}
    content = {
        "app": "shop",
        "container": {"image": "apps/shop:1", "resources": {"ports": ports}},
        "targets": [target],
    }
    with pytest.raises(ValidationError, match=says):
        ContainerServiceSpec.model_validate(content)
    content["targets"] = [{"port": "http", "nginx": "shop"}] * 2
    with pytest.raises(ValidationError, match="two of them are nginx:shop"):
        ContainerServiceSpec.model_validate(content)
