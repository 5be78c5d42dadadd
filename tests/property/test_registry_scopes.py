"""Scopes and grants: nobody gets more than was asked for, nor more than was granted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import Action, Grant
from fleetwide.registry.scopes import (
    CATALOG_ACCESS,
    Access,
    actions_on,
    allowed,
    allows,
    matches,
    parse_scopes,
    readable,
    scope_text,
)

SEGMENTS = st.sampled_from(["apps", "hello", "app", "base-os", "a", "team.x"])
NAMES = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
ACTIONS = st.sets(st.sampled_from(["pull", "push", "delete", "*"]), min_size=1)
PATTERNS = st.one_of(NAMES, NAMES.map(lambda name: f"{name}/*"), st.just("*"))
GRANTS = st.lists(
    st.builds(
        lambda pattern, actions: Grant(
            repositories=pattern, actions=[Action(one) for one in sorted(actions)]
        ),
        PATTERNS,
        ACTIONS,
    ),
    max_size=4,
)
SCOPES = st.lists(
    st.builds(lambda name, actions: Access("repository", name, frozenset(actions)), NAMES, ACTIONS),
    max_size=4,
)


def covers(pattern: str, name: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    if wanted[-1] != "*":
        return parts == wanted
    return len(parts) >= len(wanted) and parts[: len(wanted) - 1] == wanted[:-1]


@given(SCOPES, GRANTS)
def test_a_token_covers_what_is_both_asked_and_granted(
    wanted: list[Access], grants: list[Grant]
) -> None:
    got = allowed(wanted, grants, catalog=False)
    for name in {scope.name for scope in wanted}:
        asked = {action for scope in wanted if scope.name == name for action in scope.actions}
        asked = {"pull", "push", "delete"} if "*" in asked else asked
        for action in ("pull", "push", "delete"):
            granted = any(
                covers(one.repositories, name) and {Action(action), Action.ALL} & {*one.actions}
                for one in grants
            )
            held = allows(got, Access.repository(name, action))
            assert held == (action in asked and granted)
    assert {access.name for access in got} <= {scope.name for scope in wanted}


@given(SCOPES)
def test_scopes_survive_being_written_and_read(wanted: list[Access]) -> None:
    whole = parse_scopes([scope_text(wanted)])
    apart = parse_scopes([str(scope) for scope in wanted])
    assert whole == apart
    for scope in wanted:
        assert allows(whole, scope)
    assert len({scope.name for scope in whole}) == len(whole)


@given(GRANTS, NAMES)
def test_a_listing_shows_exactly_what_can_be_pulled(grants: list[Grant], name: str) -> None:
    shown = readable(grants)
    listed = shown is None or any(
        name.startswith(one) if one.endswith("/") else name == one for one in shown
    )
    assert listed == ("pull" in actions_on(grants, name))


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse_scopes([text])
    except InvalidInput:
        return
    # What is parsed can stand in a header between quotes.
    assert not any(sign in scope_text(found) for sign in '"\\\r\n')


def test_dockers_own_forms_are_read() -> None:
    texts = [
        "repository:apps/hello:pull,push repository:base/debian:pull",
        "repository(plugin):apps/hello:pull",
        "repository:host.example:5000/a/b:*",
        "registry:catalog:*",
        "repository:apps/hello:",
    ]
    assert [str(scope) for scope in parse_scopes(texts)] == [
        "repository:apps/hello:pull,push",
        "repository:base/debian:pull",
        "repository:host.example:5000/a/b:*",
        "registry:catalog:*",
    ]


@pytest.mark.parametrize(
    "text",
    ["repository", "repository:a", ":a:pull", "repository::pull", "repository:a:Pull", "a  b",
     "repository:a:pull,", 'repository:a":pull', "repository:a:pull\n", "repository:" + "a" * 2000 + ":pull"],
)  # fmt: skip
def test_malformed_scopes_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="scope"):
        parse_scopes([text])


def test_too_many_scopes_are_refused() -> None:
    many = " ".join(f"repository:a{number}:pull" for number in range(51))
    with pytest.raises(InvalidInput, match="limit is 50"):
        parse_scopes([many])


def test_a_path_is_not_the_start_of_a_name() -> None:
    grant = Grant(repositories="apps/*", actions=[Action.PULL])
    assert matches(grant, "apps/hello/world")
    assert not matches(grant, "apps")
    assert not matches(grant, "apps2/hello")
    assert not matches(Grant(repositories="apps", actions=[Action.PULL]), "apps/hello")


def test_the_catalog_is_for_those_who_may_have_it() -> None:
    wanted = parse_scopes(["registry:catalog:*", "registry:other:*", "secrets:all:*"])
    assert allowed(wanted, [], catalog=True) == [CATALOG_ACCESS]
    assert allowed(wanted, [], catalog=False) == []


@pytest.mark.parametrize(
    "pattern", ["", "/", "apps/", "*/x", "a*", "Apps/*", "../x", "apps/**", "a//b", "a b"]
)
def test_a_grant_has_a_plain_pattern(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Grant(repositories=pattern, actions=[Action.PULL])
