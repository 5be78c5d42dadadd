"""Two versions of a service compared: all that differs is told, but no credential is."""

from typing import Any

import pytest

from fleetwide.models.revisions import EFFECT_TEXT, ChangeKind, Effect
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.services.revisions import change_lines, effect_of, plan, plan_lines, spec_changes

BASE: dict[str, Any] = {
    "app": "web",
    "capacity": {"desired": 10},
    "container": {
        "image": "apps/web:1",
        "env": {"COLOUR": "blue", "DB_PASSWORD": "hunter2-old"},
        "secrets": {"db": {"from": "db/main", "as": {"file": "/run/db"}}},
        "extra_containers": [{"name": "proxy", "image": "apps/proxy:1"}],
    },
}


def spec(**container: Any) -> ContainerServiceSpec:
    return ContainerServiceSpec.model_validate(
        {**BASE, "container": {**BASE["container"], **container}}
    )


def with_top(**top: Any) -> ContainerServiceSpec:
    return ContainerServiceSpec.model_validate({**BASE, **top})


def test_each_value_that_differs_has_its_path() -> None:
    after = spec(
        image="apps/web:2",
        env={"SHAPE": "round", "DB_PASSWORD": "hunter2-old"},
        extra_containers=[
            {"name": "log", "image": "apps/log:1"},
            {"name": "proxy", "image": "apps/proxy:2"},
        ],
        command=[],
    )
    found = {one.path: one for one in spec_changes(spec(), after)}
    assert found["container.image"].model_dump(exclude={"hidden"}) == {
        "path": "container.image",
        "kind": ChangeKind.CHANGED,
        "before": "apps/web:1",
        "after": "apps/web:2",
    }
    assert found["container.env.COLOUR"].kind is ChangeKind.REMOVED
    assert found["container.env.SHAPE"].kind is ChangeKind.ADDED
    assert found["container.command"].after == [], "it clears the image's command"
    assert found["container.extra_containers.proxy.image"].after == "apps/proxy:2"
    assert found["container.extra_containers.log.image"].kind is ChangeKind.ADDED
    assert not [path for path in found if "PASSWORD" in path or path.endswith(".mounts")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"DB_PASSWORD": "hunter2-old"}, {"DB_PASSWORD": "hunter2-new"}),
        ({}, {"API_TOKEN": "hunter2"}),
        ({"URL": "postgres://u:hunter2@h/d"}, {"URL": "postgres://h/d"}),
        ({"PEM": "-----BEGIN RSA PRIVATE KEY-----hunter2"}, {}),
    ],
)
def test_what_may_be_a_credential_is_never_shown(
    before: dict[str, str], after: dict[str, str]
) -> None:
    changes = spec_changes(spec(env=before), spec(env=after))
    assert [one.hidden for one in changes] == [True]
    assert "hunter2" not in str([one.model_dump() for one in changes])
    assert "hunter2" not in str(change_lines(changes))


def test_a_change_of_a_secret_tells_its_name_and_place() -> None:
    other = {"db": {"from": "db/next", "as": {"file": "/run/db"}}}
    changes = spec_changes(spec(), spec(secrets=other))
    assert [(one.path, one.after) for one in changes] == [("container.secrets.db.from", "db/next")]


@pytest.mark.parametrize(
    ("after", "effect"),
    [
        (with_top(), Effect.NOTHING),
        (with_top(labels={"team": "a"}), Effect.ATTRIBUTES),
        (with_top(enabled=False), Effect.ATTRIBUTES),
        (with_top(deploy={"max_surge_percent": 50}), Effect.ATTRIBUTES),
        (with_top(capacity={"desired": 11}), Effect.CAPACITY),
        (spec(image="apps/web:2"), Effect.DEPLOY),
        (spec(entrypoint=[]), Effect.DEPLOY),
    ],
)
def test_only_what_copies_are_made_from_leads_to_a_deploy(
    after: ContainerServiceSpec, effect: Effect
) -> None:
    assert effect_of(spec(), after) is effect
    planned = plan("web", 4, spec(), after)
    assert planned.replaced == (10 if effect is Effect.DEPLOY else 0)
    assert bool(planned.changes) == (effect is not Effect.NOTHING)
    lines = plan_lines(planned)
    assert any("--expected-version 4" in line for line in lines) == bool(planned.changes)


def test_a_plan_tells_how_many_copies_live_and_stay_ready() -> None:
    after = with_top(
        capacity={"desired": 12},
        container={**BASE["container"], "image": "apps/web:2"},
        deploy={"max_surge_percent": 20, "max_unavailable_percent": 10},
    )
    planned = plan("web", 4, spec(), after)
    assert (planned.started, planned.stopped, planned.most, planned.least) == (2, 0, 15, 11)
    assert planned.sentence == (
        "deploy (rolling): 10 copies are replaced, at most 15 live and at least 11 stay ready "
        "meanwhile; 10 copies become 12"
    )
    assert "~ container.image: apps/web:1 -> apps/web:2" in plan_lines(planned)


def test_a_value_with_control_characters_stays_on_its_line() -> None:
    lines = change_lines(
        spec_changes(spec(), spec(env={**BASE["container"]["env"], "A": "x\n\x1b[2J"}))
    )
    assert lines == ["+ container.env.A: x\\n\\x1b[2J"]


def test_each_effect_has_a_text() -> None:
    assert set(EFFECT_TEXT) == set(Effect)
